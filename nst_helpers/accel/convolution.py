"""Convolutions of a run on a CPU: one layer with its ReLU in float32, and an image that keeps its digits in bfloat16.

Nothing reads what a convolution hands to its ReLU, and nothing else reads the gradient that comes back, so `ConvReLU`
works in both where they lie. Its weights never change: with a step of 1 and a padding of 1 its backward pass is a
convolution too, whose kernel is turned about once and not at each call. By pairs on one core, `mini` without it takes
1.05 times as long at 192 px, 1.14 times at 256 and 1.08 times at 384, and VGG-19 as long as with it. In bfloat16
nothing was gained, so there the layers stay as they are.

bfloat16 has 8 binary digits, so an image would reach the network in steps as coarse as those of an 8-bit file, and an
optimiser's last small changes would be lost. `SplitConv` gives the first layer 6 channels in place of 3: the rounded
image, and what the rounding left out. That layer is little work, so nothing is lost by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

__all__ = ["ConvReLU", "SplitConv"]


class ConvReLU(nn.Module):
    """A frozen 3 x 3 convolution with a step and a padding of 1, and the ReLU behind it; it shares the weights.

    >>> layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    >>> x = torch.rand(1, 4, 5, 7)
    >>> torch.allclose(ConvReLU(layer)(x), layer(x).relu(), atol=1e-6)
    True
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        turned = layer.weight.detach().flip(2, 3).transpose(0, 1)
        self.turned = turned.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the feature maps after the ReLU."""
        return _ConvReLU.apply(x, self.weight, self.bias, self.turned)


class _ConvReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, turned: Tensor) -> Tensor:
        features = conv2d(x, weight, bias, padding=1).relu_()
        ctx.save_for_backward(features, turned)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        features, turned = ctx.saved_tensors
        # Made for this layer by the one behind it. Only an expanded gradient, of a plain sum, has no room of its own.
        room = grad if 0 not in grad.stride() else grad.contiguous()
        torch.ops.aten.threshold_backward.grad_input(room, features, 0, grad_input=room)
        return conv2d(room, turned, padding=1), None, None, None


class SplitConv(nn.Conv2d):
    """A frozen first convolution in bfloat16 that takes an image (B, 3, H, W) in float32 and rounds none of it away.

    >>> layer = SplitConv(nn.Conv2d(3, 4, 3, padding=1).bfloat16().requires_grad_(False))
    >>> near = torch.ones(1, 3, 1, 1) * torch.tensor([1.0, 1.001]).view(2, 1, 1, 1)  # one number in bfloat16
    >>> split = _split(near)
    >>> bool((split[0, :3] == split[1, :3]).all()), bool((split[0, 3:] == split[1, 3:]).all())
    (True, False)
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """An image (B, 3, H, W) to feature maps in the weights' number format."""
        if self.weight.dtype != torch.bfloat16 or x.dtype == torch.bfloat16:
            return super().forward(x)
        weight = torch.cat([self.weight, self.weight], 1)
        return conv2d(_split(x), weight, self.bias, padding=1)


def _split(x: Tensor) -> Tensor:
    """(B, C, H, W) in float32 as (B, 2C, H, W) in bfloat16: rounded, and the rest. The gradient takes the first way."""
    rounded = x.to(torch.bfloat16)
    rest = (x.detach() - rounded.detach()).to(torch.bfloat16)
    return torch.cat([rounded, rest], 1).contiguous(memory_format=torch.channels_last)
