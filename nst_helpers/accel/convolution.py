"""The first convolution of a run in bfloat16 on a CPU: the image keeps its digits.

bfloat16 has 8 binary digits, so an image would reach the network in steps as coarse as those of an 8-bit file, and an
optimiser's last small changes would be lost. `SplitConv` gives the first layer 6 channels in place of 3: the rounded
image, and what the rounding left out. That layer is little work, so nothing is lost by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

__all__ = ["SplitConv"]


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
