"""The first convolution of a run in bfloat16 on a CPU: the image keeps its digits.

bfloat16 has 8 binary digits, so an image would reach the network in steps as coarse as those of an 8-bit file, and an
optimiser's last small changes would be lost. `SplitConv` gives the first layer 6 channels in place of 3: the rounded
image, and what the rounding left out. That layer is little work, so nothing is lost by it.

The gradient goes to the rounded image alone, whose three channels would fill a fifth of what oneDNN computes at a time.
So it is computed for squares of 2 x 2 pixels, twelve channels: half of the time, and the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pixel_shuffle
from torch.nn.grad import conv2d_input

__all__ = ["SplitConv"]


class SplitConv(nn.Conv2d):
    """A frozen first convolution in bfloat16 that takes an image (B, 3, H, W) in float32 and rounds none of it away.

    >>> layer = SplitConv(nn.Conv2d(3, 4, 3, padding=1).bfloat16().requires_grad_(False))
    >>> near = torch.ones(1, 3, 1, 1) * torch.tensor([1.0, 1.001]).view(2, 1, 1, 1)  # one number in bfloat16
    >>> split = _split(near)
    >>> bool((split[0, :3] == split[1, :3]).all()), bool((split[0, 3:] == split[1, 3:]).all())
    (True, False)
    """

    squares: Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("squares", _kernel_of_squares(layer.weight), persistent=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """An image (B, 3, H, W) to feature maps in the weights' number format."""
        if self.weight.dtype != torch.bfloat16 or x.dtype == torch.bfloat16:
            return super().forward(x)
        return _SplitConv.apply(x, self.weight, self.bias, self.squares)


class _SplitConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, squares: Tensor) -> Tensor:
        ctx.save_for_backward(weight, squares)
        ctx.size = x.shape
        return conv2d(_split(x), torch.cat([weight, weight], 1), bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, squares = ctx.saved_tensors
        if ctx.size[-2] % 2 or ctx.size[-1] % 2:
            gradient = conv2d_input(ctx.size, weight, grad, padding=1)
        else:
            gradient = pixel_shuffle(conv2d(grad, squares, stride=2, padding=1), 2)
        return gradient.float(), None, None, None


def _kernel_of_squares(weight: Tensor) -> Tensor:
    """(N, C, 3, 3) to the kernel (4C, N, 4, 4) that takes an output's gradient to that of 2 x 2 pixels of the input."""
    n, c = weight.shape[:2]
    kernel = weight.new_zeros(c, 2, 2, n, 4, 4)
    for row in range(2):
        for column in range(2):
            kernel[:, row, column, :, row : row + 3, column : column + 3] = weight.flip(2, 3).transpose(0, 1)
    return kernel.view(4 * c, n, 4, 4).contiguous(memory_format=torch.channels_last)


def _split(x: Tensor) -> Tensor:
    """(B, C, H, W) in float32 as (B, 2C, H, W) in bfloat16: rounded, and the rest."""
    rounded = x.to(torch.bfloat16)
    rest = (x - rounded).to(torch.bfloat16)
    return torch.cat([rounded, rest], 1).contiguous(memory_format=torch.channels_last)
