"""Limited-memory BFGS, the direction alone: which way to go from what the last steps told of the curvature.

`torch.optim.LBFGS` gives the same directions, and the tests hold this to them. It decides each step's length by itself,
though, and asks the device for a number three times an iteration. Here the caller makes the step, cut short or clamped
as it has to be, and tells what it came to; and nothing waits for a GPU.

Steps and changes may be kept in float16, in shares of their largest entry: half the memory, which for large pictures is
most of what a run holds, and the loss curves are the same.

Where the pairs say nothing, the step's length is a guess. PyTorch's is the shorter of the two that the last pair allows
(Barzilai & Borwein 1988): safe, and for pictures too short. Here the guess moves from the shorter towards the longer as
long as the loss keeps falling, and back where it rises. A preconditioner gives the guess a shape besides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from .precondition import Preconditioner

__all__ = ["LBFGS"]

# A pair of step and change of gradient whose product is no larger tells of rounding, or of a curvature that isn't
# convex; torch.optim.LBFGS leaves out the same.
LEAST_CURVATURE = 1e-10
# How far the guess moves after a loss that fell, and what is left of the way after one that rose. Chosen by the loss
# after 100 to 300 evaluations, on trained and on random weights.
FURTHER, BACK = 0.02, 0.7
SCALARS = ("scale", "spread", "reach", "loss")


@dataclass(frozen=True)
class _Pair:
    """A step and the change of gradient over it, each as numbers up to 1 and the size of the largest."""

    step: Tensor
    step_size: Tensor
    change: Tensor
    change_size: Tensor
    weight: Tensor  # 1 / (step . change), or 0 where that tells nothing


class LBFGS:
    """The last `history_size` pairs of a step and the change of gradient over it, flat tensors (N,).

    With `compact` they are kept in float16. A `preconditioner` learns from the same pairs.

    >>> curvature = torch.tensor([1.0, 10.0])
    >>> point, known = torch.tensor([3.0, 1.0]), LBFGS(history_size=2)
    >>> for _ in range(4):
    ...     direction = known.direction(curvature * point)
    ...     step = direction * (direction @ -(curvature * point) / (direction @ (curvature * direction)))
    ...     known.add(step, curvature * step)
    ...     point = point + step
    >>> bool(point.abs().max() < 1e-6)
    True

    Source: Nocedal & Wright 2006, Numerical Optimization, algorithm 7.4 and equation 7.20; Barzilai & Borwein 1988,
    Two-Point Step Size Gradient Methods, equations 5 and 6.
    """

    def __init__(
        self, history_size: int, *, compact: bool = False, preconditioner: Preconditioner | None = None
    ) -> None:
        self.pairs: deque[_Pair] = deque(maxlen=history_size)
        # The shorter length, how many times as long the longer is, and how far from one to the other, 0 to 1.
        self.scale: Tensor | None = None
        self.spread: Tensor | None = None
        self.reach: Tensor | None = None
        self.loss: Tensor | None = None
        self.compact = compact
        self.preconditioner = preconditioner

    def judge(self, loss: Tensor) -> None:
        """Hear the loss (a scalar) that the last step led to: the next one reaches further if it fell."""
        if self.loss is None:
            self.reach = torch.zeros_like(loss)
        else:
            further = (self.reach + FURTHER).clamp(max=1.0)
            self.reach = torch.where(loss < self.loss, further, self.reach * BACK)
        self.loss = loss

    def add(self, step: Tensor, change: Tensor) -> None:
        """Learn that along `step` the gradient changed by `change`; the oldest pair gives way."""
        good = step.dot(change) > LEAST_CURVATURE
        kept = (*self._kept(step), *self._kept(change))
        # From here on the pair is what was kept of it: the algorithm needs one pair of vectors, whichever it is.
        step, change = _full(*kept[:2]), _full(*kept[2:])
        product = step.dot(change)
        # Whether a pair is good only the device knows: one that isn't is kept with a weight of 0, and says nothing.
        weight = torch.where(good, 1 / product, torch.zeros_like(product))
        one = torch.ones_like(product)
        if self.preconditioner:
            steps, changes = self.preconditioner.learn(step, change, good)
        else:
            steps, changes = step.dot(step), change.dot(change)
        scale, spread = (one, one) if self.scale is None else (self.scale, self.spread)
        self.scale = torch.where(good, product / changes, scale)
        self.spread = torch.where(good, steps / product * (changes / product), spread)
        self.pairs.append(_Pair(*kept, weight))

    def _kept(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        if not self.compact:
            return vector, torch.ones_like(vector[0])
        size = vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
        return (vector / size).half(), size

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse curvature times the gradient (N,); minus the gradient where nothing is known yet."""
        result = gradient.neg()
        shares = []
        for pair in reversed(self.pairs):
            share = _full(pair.step, pair.step_size).dot(result) * pair.weight
            result.addcmul_(_full(pair.change, pair.change_size), share, value=-1)
            shares.append(share)
        if self.scale is not None:
            result = self.preconditioner.apply(result) if self.preconditioner else result
            result.mul_(self.scale if self.reach is None else self.scale * self.spread**self.reach)
        for pair, share in zip(self.pairs, reversed(shares), strict=True):
            other = _full(pair.change, pair.change_size).dot(result) * pair.weight
            result.addcmul_(_full(pair.step, pair.step_size), share - other)
        return result

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        pairs = [tuple(getattr(pair, f.name).cpu() for f in fields(_Pair)) for pair in self.pairs]
        learnt = self.preconditioner.state() if self.preconditioner else {}
        return {"pairs": pairs, "preconditioner": learnt} | {name: getattr(self, name) for name in SCALARS}

    def load(self, state: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        """Go on from a `state()`."""
        self.pairs.clear()
        self.pairs.extend(_Pair(*(t.to(device) for t in pair)) for pair in state["pairs"])
        if self.preconditioner:
            self.preconditioner.load(state["preconditioner"])
        for name in SCALARS:
            setattr(self, name, None if state[name] is None else state[name].to(device))


def _full(shares: Tensor, size: Tensor) -> Tensor:
    return shares.to(size.dtype).mul_(size) if shares.dtype == torch.float16 else shares
