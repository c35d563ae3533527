"""Limited-memory BFGS, the direction alone: which way to go from what the last steps told of the curvature.

`torch.optim.LBFGS` gives the same directions, and the tests hold this to them. It decides each step's length by itself,
though, and asks the device for a number three times an iteration. Here the caller makes the step, cut short or clamped
as it has to be, and tells what it came to; and nothing waits for a GPU.

Steps and changes of large pictures are kept in float16, in shares of their largest entry: half the memory, which there
is most of what a run holds, and the loss curves are the same. Small ones stay as they are, and need no conversion.

Where the pairs say nothing, the step's length is a guess. PyTorch's is the shorter of the two that the last pair allows
(Barzilai & Borwein 1988): safe, and for pictures too short. Here the guess moves from the shorter towards the longer as
long as the loss keeps falling, and back where it rises. A preconditioner gives the guess a shape besides.

A step that ends at the bounds of an image is shorter than it was wished to be, and either may be learnt from. The wish
tells of less curvature than there is, and leads to longer steps. How much of it counts, the trust in it, moves with the
loss as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from .preconditioner import Preconditioner

__all__ = ["COMPACT_FROM", "LBFGS"]

# Numbers of an image from which its steps are worth keeping in half of their memory.
COMPACT_FROM = 2**18

# A pair of step and change of gradient whose product is no larger tells of rounding, or of a curvature that isn't
# convex; torch.optim.LBFGS leaves out the same.
LEAST_CURVATURE = 1e-10
# How far the guess moves after a loss that fell, and what is left of the way after one that rose. Chosen by the loss
# after 100 to 300 evaluations, on trained and on random weights.
FURTHER, BACK = 0.02, 0.7
# The same for the trust in what was wished, where it begins, and the least that is left of it. Chosen in the same way.
MORE_TRUST, LESS_TRUST, FIRST_TRUST, LEAST_TRUST = 0.05, 0.7, 0.5, 0.25
SCALARS = ("scale", "spread", "reach", "trust", "loss")


@dataclass(frozen=True)
class _Pair:
    """A step and the change of gradient over it, each as it is kept: so many times smaller as its size says."""

    step: Tensor
    step_size: Tensor
    change: Tensor
    change_size: Tensor
    weight: Tensor  # 1 / (step . change) of what is kept, or 0 where that tells nothing


class LBFGS:
    """The last `history_size` pairs of a step and the change of gradient over it, flat tensors (N,).

    With `compact` they are kept in float16; by itself that is for `COMPACT_FROM` numbers and more in float32. A
    `preconditioner` learns from the same pairs.

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
        self, history_size: int, *, compact: bool | None = None, preconditioner: Preconditioner | None = None
    ) -> None:
        self.pairs: deque[_Pair] = deque(maxlen=history_size)
        # The shorter length, how many times as long the longer is, and how far from one to the other, 0 to 1.
        self.scale: Tensor | None = None
        self.spread: Tensor | None = None
        self.reach: Tensor | None = None
        self.trust: Tensor | None = None
        self.loss: Tensor | None = None
        self.compact = compact
        self.preconditioner = preconditioner

    def judge(self, loss: Tensor) -> None:
        """Hear the loss (a scalar) that the last step led to: the next one reaches further if it fell."""
        if self.loss is None:
            self.reach, self.trust = torch.zeros_like(loss), torch.full_like(loss, FIRST_TRUST)
        else:
            fell = loss < self.loss
            self.reach = torch.where(fell, (self.reach + FURTHER).clamp(max=1.0), self.reach * BACK)
            more, less = self.trust + MORE_TRUST, self.trust * LESS_TRUST
            self.trust = torch.where(fell, more.clamp(max=1.0), less.clamp(min=LEAST_TRUST))
        self.loss = loss

    def learnt(self, made: Tensor, wished: Tensor) -> Tensor:
        """The step to learn from, of the one that was made, which is overwritten, and the one that was wished for."""
        return made if self.trust is None else made.lerp_(wished, self.trust)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Learn that along `step` the gradient changed by `change`; the oldest pair gives way."""
        good = step.dot(change) > LEAST_CURVATURE
        (kept_step, step_size), (kept_change, change_size) = self._kept(step), self._kept(change)
        # From here on the pair is what was kept of it: the algorithm needs one pair of vectors, whichever it is.
        step, change = _full(kept_step) * step_size, _full(kept_change) * change_size
        product = step.dot(change)
        # Whether a pair is good only the device knows: one that isn't is kept with a weight of 0, and says nothing.
        weight = torch.where(good, step_size * change_size / product, torch.zeros_like(product))
        one = torch.ones_like(product)
        if self.preconditioner:
            steps, changes = self.preconditioner.learn(step, change, good)
        else:
            steps, changes = step.dot(step), change.dot(change)
        scale, spread = (one, one) if self.scale is None else (self.scale, self.spread)
        self.scale = torch.where(good, product / changes, scale)
        self.spread = torch.where(good, steps / product * (changes / product), spread)
        self.pairs.append(_Pair(kept_step, step_size, kept_change, change_size, weight))

    def _kept(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        large = vector.dtype == torch.float32 and len(vector) >= COMPACT_FROM
        if not (large if self.compact is None else self.compact):
            return vector, torch.ones_like(vector[0])
        size = vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
        return (vector / size).half(), size

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse curvature times the gradient (N,); minus the gradient where nothing is known yet."""
        result = gradient.neg()
        shares = []
        # With step = a s and change = b c, where s and c are kept: the sizes a and b leave but their quotient behind.
        for pair in reversed(self.pairs):
            share = _full(pair.step).dot(result) * pair.weight
            result.addcmul_(_full(pair.change), share, value=-1)
            shares.append(share)
        if self.scale is not None:
            result = self.preconditioner.apply(result) if self.preconditioner else result
            result.mul_(self.scale if self.reach is None else self.scale * self.spread**self.reach)
        for pair, share in zip(self.pairs, reversed(shares), strict=True):
            other = _full(pair.change).dot(result) * pair.weight
            result.addcmul_(_full(pair.step), share * (pair.step_size / pair.change_size) - other)
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


def _full(kept: Tensor) -> Tensor:
    return kept.float() if kept.dtype == torch.float16 else kept
