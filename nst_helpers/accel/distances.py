"""Scalar losses with a backward pass written by hand, for a CPU: few operations where autograd makes many small ones.

Each convention's loss of a layer is a number times the sum of squared differences. That number depends on the target
alone, so it is found once. The total variation's gradient comes with its value, from the same differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses import CONVENTIONS, Convention

__all__ = ["distance", "factor_of", "squared_variation"]


def factor_of(convention: Convention, kind: str, target: Tensor) -> float | None:
    """What a convention's "content" or "style" loss multiplies the sum of squared differences to a target with.

    None where the loss may be more than that (a convention of the user's own, several targets), and on a GPU.

    >>> from nst_helpers.losses import get_convention
    >>> factor_of(get_convention("gatys"), "content", torch.ones(1, 4, 2, 2))
    0.5
    """
    if convention not in CONVENTIONS.values() or len(target) != 1 or target.device.type != "cpu":
        return None
    loss: Callable[[Tensor, Tensor], Tensor] = getattr(convention, kind)
    # Where the difference has no rounding error.
    other = torch.zeros_like(target) if target.any() else torch.ones_like(target)
    return (loss(other, target) / (other - target).square().sum()).item()


def distance(x: Tensor, target: Tensor, factor: float) -> Tensor:
    """The factor times the sum of squared differences, the mean over a batch, as a scalar in the target's format.

    >>> distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]), 0.5).item()
    2.5
    """
    return _Distance.apply(x, target, factor / len(x))


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, factor: float) -> Tensor:
        difference = x - target
        ctx.save_for_backward(difference)
        ctx.factor, ctx.dtype = factor, x.dtype
        # In the order in which they lie in memory.
        flat = (difference.permute(0, 2, 3, 1) if difference.ndim == 4 else difference).flatten()
        return torch.dot(flat, flat) * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        return (difference * (grad * (2 * ctx.factor))).to(ctx.dtype), None, None


def squared_variation(image: Tensor) -> Tensor:
    """The value of `losses.total_variation(image, kind="l2")`, (B, C, H, W) to a scalar.

    >>> squared_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).item()
    1.0
    """
    return _SquaredVariation.apply(image)


class _SquaredVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        gradient, total = torch.zeros_like(image), image.new_zeros(())
        for axis in (-2, -1):
            if pairs := image.shape[axis] - 1:
                change = image.narrow(axis, 1, pairs) - image.narrow(axis, 0, pairs)
                flat = change.flatten()
                total = torch.dot(flat, flat).div_(len(flat)).add_(total)
                gradient.narrow(axis, 1, pairs).add_(change, alpha=2 / len(flat))
                gradient.narrow(axis, 0, pairs).sub_(change, alpha=2 / len(flat))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gradient,) = ctx.saved_tensors
        return gradient * grad
