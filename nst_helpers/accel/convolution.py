"""Convolutions for bfloat16 on a CPU: weights in the processor's own order, and an image that keeps its digits.

PyTorch reorders a convolution's weights at every call, forward and backward. In bfloat16 the arithmetic is so quick
that this takes up to half of a deep layer's time. The weights here never change, so they are put in order once for each
size of feature maps. And since a step of 1 and a padding of 1 make the backward pass a convolution too, with the kernel
turned about and its channels exchanged, both passes use the same routine. The numbers are the same.

bfloat16 has 8 binary digits, so an image would reach the network in steps as coarse as those of an 8-bit file, and an
optimiser's last small changes would be lost. `SplitConv` gives the first layer 6 channels in place of 3: the rounded
image, and what the rounding left out. That layer is little work, so nothing is lost by it.
"""

from __future__ import annotations

import functools
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

__all__ = ["PackedConv", "SplitConv", "can_pack", "pack", "unpack"]

# The first layer's 3 channels are little work in any order.
FEWEST_CHANNELS = 8
AROUND = [1, 1]  # padding, stride and dilation of every convolution of a VGG


def can_pack(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the layer is a convolution as VGGs have them, and this build of PyTorch has the routines.

    >>> can_pack(nn.Conv2d(16, 16, 3)), can_pack(nn.ReLU())
    (False, False)
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.in_channels >= FEWEST_CHANNELS
        and (layer.kernel_size, layer.padding, layer.stride, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (layer.groups, layer.padding_mode) == (1, "zeros")
        and layer.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and _routines_work(layer.weight.dtype)
    )


@functools.cache
def _routines_work(dtype: torch.dtype) -> bool:
    """They are private ones of PyTorch's, which another version may lack or give another form."""
    x, weight = torch.ones(1, 8, 3, 3, dtype=dtype), torch.ones(8, 8, 3, 3, dtype=dtype)
    try:
        return _run(x, _ordered(weight, x), None)[0, 0, 1].tolist() == [48.0, 72.0, 48.0]
    except (RuntimeError, TypeError, AttributeError):
        return False


def pack(layer: nn.Module) -> nn.Module:
    """A `PackedConv` in the layer's place where that can be, or the layer itself.

    >>> layer = nn.Conv2d(16, 8, 3, padding=1).bfloat16().requires_grad_(False)
    >>> x = torch.rand(1, 16, 5, 7).bfloat16()
    >>> bool((pack(layer)(x) - layer(x)).abs().max() < 0.02)
    True
    """
    return PackedConv(layer) if can_pack(layer) else layer


def unpack(layer: nn.Module) -> nn.Module:
    """The layer, computing with its plain parameters."""
    if isinstance(layer, PackedConv):
        layer.packed = None
    return layer


class PackedConv(nn.Conv2d):
    """A frozen convolution that shares the parameters of the one it is made of; a copy shares its packed weights."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.packed: _Packed | None = _Packed(layer.weight)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.packed is None else _Convolve.apply(x, self.packed, self.bias)

    def _apply(self, fn: Any, recurse: bool = True) -> PackedConv:
        # Moved to another device or number format, it is a plain convolution.
        before = self.weight.data_ptr()
        super()._apply(fn, recurse)
        if self.weight.data_ptr() != before:
            self.packed = None
        return self


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
        if self.weight.dtype != torch.bfloat16 or x.dtype == torch.bfloat16:
            return super().forward(x)
        weight = torch.cat([self.weight, self.weight], 1)
        return nn.functional.conv2d(_split(x), weight, self.bias, padding=1)


def _split(x: Tensor) -> Tensor:
    """(B, C, H, W) in float32 as (B, 2C, H, W) in bfloat16: rounded, and the rest. The gradient takes the first way."""
    rounded = x.to(torch.bfloat16)
    rest = (x.detach() - rounded.detach()).to(torch.bfloat16)
    return torch.cat([rounded, rest], 1).contiguous(memory_format=torch.channels_last)


class _Packed:
    """The weights in order for either pass, made anew where the size of the feature maps changes.

    Which order is quick depends on the size. In another size's the routine reorders them itself, at each call: for maps
    of 12 pixels it was seen to take fifty times as long.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()
        self.orders: dict[bool, tuple[tuple[int, ...], Tensor]] = {}

    def order(self, maps: Tensor, *, turned: bool = False) -> Tensor:
        """For maps (B, C, H, W); `turned` is for the backward pass."""
        shape, order = self.orders.get(turned, (None, self.weight))
        if shape != maps.shape:
            weight = self.weight
            if turned:
                weight = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
            shape, order = self.orders[turned] = tuple(maps.shape), _ordered(weight, maps)
        return order

    def __deepcopy__(self, memo: dict[int, Any]) -> _Packed:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Another process, on another processor, makes an order of its own.
        return {"weight": self.weight, "orders": {}}


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: _Packed, bias: Tensor | None) -> Tensor:
        ctx.packed = packed
        return _run(x, packed.order(x), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _run(grad, ctx.packed.order(grad, turned=True), None), None, None


def _ordered(weight: Tensor, maps: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_convolution_weight(weight, AROUND, AROUND, AROUND, 1, list(maps.shape))


def _run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, AROUND, AROUND, AROUND, 1, "none", [], "")
