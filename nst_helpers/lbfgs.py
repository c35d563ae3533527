"""Limited-memory BFGS, the direction alone: which way to go from what the last steps told of the curvature.

`torch.optim.LBFGS` gives the same directions, and the tests hold this to them. It decides each step's length by itself,
though, and asks the device for a number three times an iteration. Here the caller makes the step, cut short or clamped
as it has to be, and tells what it came to; and nothing waits for a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["LBFGS"]

# A pair of step and change of gradient whose product is no larger tells of rounding, or of a curvature that isn't
# convex; torch.optim.LBFGS leaves out the same.
LEAST_CURVATURE = 1e-10


class LBFGS:
    """The last `history_size` pairs of a step and the change of gradient over it, flat tensors (N,).

    >>> curvature = torch.tensor([1.0, 10.0])
    >>> point, known = torch.tensor([3.0, 1.0]), LBFGS(history_size=2)
    >>> for _ in range(4):
    ...     direction = known.direction(curvature * point)
    ...     step = direction * (direction @ -(curvature * point) / (direction @ (curvature * direction)))
    ...     known.add(step, curvature * step)
    ...     point = point + step
    >>> bool(point.abs().max() < 1e-6)
    True

    Source: Nocedal & Wright 2006, Numerical Optimization, algorithm 7.4 and equation 7.20.
    """

    def __init__(self, history_size: int) -> None:
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history_size)
        self.scale: Tensor | None = None

    def add(self, step: Tensor, change: Tensor) -> None:
        """Learn that along `step` the gradient changed by `change`; the oldest pair gives way."""
        product = step.dot(change)
        good = product > LEAST_CURVATURE
        # Whether a pair is good only the device knows: one that isn't is kept with a weight of 0, and says nothing.
        weight = torch.where(good, 1 / product, torch.zeros_like(product))
        scale = torch.ones_like(product) if self.scale is None else self.scale
        self.scale = torch.where(good, product / change.dot(change), scale)
        self.pairs.append((step, change, weight))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse curvature times the gradient (N,); minus the gradient where nothing is known yet."""
        result = gradient.neg()
        shares = []
        for step, change, weight in reversed(self.pairs):
            share = step.dot(result) * weight
            result.addcmul_(change, share, value=-1)
            shares.append(share)
        if self.scale is not None:
            result.mul_(self.scale)
        for (step, change, weight), share in zip(self.pairs, reversed(shares), strict=True):
            result.addcmul_(step, share - change.dot(result) * weight)
        return result

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        return {"pairs": [tuple(t.cpu() for t in pair) for pair in self.pairs], "scale": self.scale}

    def load(self, state: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        """Go on from a `state()`."""
        self.pairs.clear()
        self.pairs.extend(tuple(t.to(device) for t in pair) for pair in state["pairs"])
        self.scale = None if state["scale"] is None else state["scale"].to(device)
