"""Limited-memory BFGS, the direction alone: which way to go from what the last steps told of the curvature.

`torch.optim.LBFGS` gives the same directions, and the tests hold this to them. It decides each step's length by itself,
though, and asks the device for a number three times an iteration. Here the caller makes the step, cut short or clamped
as it has to be, and tells what it came to; and nothing waits for a GPU.

The textbook's two loops go through the pairs one after the other. Their coefficients are also the solutions of two
triangular systems, whose matrix of steps times changes grows by a column with each pair. So the vectors are gone
through in four products, however many pairs there are: a tenth of the operations to start, which is what a GPU waits
for, and on a CPU half of the passes through memory.

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

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .preconditioner import Preconditioner

__all__ = ["COMPACT_FROM", "COMPACT_FROM_ON_GPU", "LBFGS", "is_compact"]

# Numbers of an image from which its steps are worth keeping in half of their memory.
COMPACT_FROM = 2**18
# A GPU has memory for those of all but the largest, and to convert them takes it many small operations.
COMPACT_FROM_ON_GPU = 2**23
PIECE = 2**15  # entries of each vector that are converted at a time

# A pair of step and change of gradient whose product is no larger tells of rounding, or of a curvature that isn't
# convex; torch.optim.LBFGS leaves out the same.
LEAST_CURVATURE = 1e-10
# How far the guess moves after a loss that fell, and what is left of the way after one that rose. Chosen by the loss
# after 100 to 300 evaluations, on trained and on random weights.
FURTHER, BACK = 0.02, 0.7
# The same for the trust in what was wished, where it begins, and the least that is left of it. Chosen in the same way.
MORE_TRUST, LESS_TRUST, FIRST_TRUST, LEAST_TRUST = 0.05, 0.7, 0.5, 0.25
SCALARS = ("scale", "spread", "reach", "trust", "loss")


class _Vectors:
    """Vectors (N,) in slots; compact ones are kept in float16, so many times smaller as their sizes say."""

    def __init__(self, slots: int, like: Tensor, *, compact: bool) -> None:
        self.kept = torch.empty(slots, len(like), dtype=torch.float16 if compact else like.dtype, device=like.device)
        self.sizes = torch.ones(slots, dtype=like.dtype, device=like.device)
        self.compact = compact

    def put(self, slot: int, vector: Tensor) -> Tensor:
        """Keep the vector; returns it as it was kept."""
        if not self.compact:
            self.kept[slot] = vector
            return vector
        size = vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
        self.kept[slot], self.sizes[slot] = vector / size, size
        return self.kept[slot].float() * size

    def dot(self, vector: Tensor, count: int) -> Tensor:
        """The first so many, each times the vector: (count,)."""
        if not self.compact:
            return self.kept[:count] @ vector
        return sum(rows @ vector[part] for part, rows in self._pieces(count)) * self.sizes[:count]

    def add_to(self, vector: Tensor, shares: Tensor) -> None:
        """Add the first ones, each times its share (count,), to the vector."""
        count = len(shares)
        if not self.compact:
            vector.addmv_(self.kept[:count].T, shares)
            return
        for part, rows in self._pieces(count):
            vector[part].addmv_(rows.T, shares * self.sizes[:count])

    def _pieces(self, count: int) -> Iterator[tuple[slice, Tensor]]:
        """The first so many in float32, (count, n), a piece at a time that a processor's cache holds."""
        step = PIECE if self.kept.device.type == "cpu" else COMPACT_FROM_ON_GPU
        for start in range(0, self.kept.shape[1], step):
            part = slice(start, start + step)
            yield part, self.kept[:count, part].float()


class LBFGS:
    """The last `history_size` pairs of a step and the change of gradient over it, flat tensors (N,).

    With `compact` they are kept in float16; by itself that is for `COMPACT_FROM` numbers and more in float32. A
    `preconditioner` learns from the same pairs.

    >>> curvature = torch.tensor([1.0, 10.0])
    >>> point, known = torch.tensor([3.0, 1.0]), LBFGS(history_size=2)
    >>> for _ in range(3):
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
        self.history_size, self.told = history_size, 0  # how many pairs were told of so far
        self.steps: _Vectors
        self.changes: _Vectors
        self.products: Tensor
        self.good: Tensor
        # The shorter length, how many times as long the longer is, and how far from one to the other, 0 to 1.
        self.scale: Tensor | None = None
        self.spread: Tensor | None = None
        self.reach: Tensor | None = None
        self.trust: Tensor | None = None
        self.loss: Tensor | None = None
        self.compact = compact
        self.preconditioner = preconditioner

    @property
    def count(self) -> int:
        """How many pairs are kept."""
        return min(self.told, self.history_size)

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
        if not self.told:
            self._make_room(step)
        slot = self.told % self.history_size
        self.told += 1
        # From here on the pair is what was kept of it: the algorithm needs one pair of vectors, whichever it is.
        step, change = self.steps.put(slot, step), self.changes.put(slot, change)
        self.products[: self.count, slot] = self.steps.dot(change, self.count)
        self.good[slot] = good
        product = self.products[slot, slot]
        one = torch.ones_like(product)
        if self.preconditioner:
            steps, changes = self.preconditioner.learn(step, change, good)
        else:
            steps, changes = step.dot(step), change.dot(change)
        scale, spread = (one, one) if self.scale is None or self.spread is None else (self.scale, self.spread)
        # Whether a pair is good only the device knows: nothing is asked, and one that isn't changes nothing.
        self.scale = torch.where(good, product / changes, scale)
        self.spread = torch.where(good, steps / product * (changes / product), spread)

    def _make_room(self, like: Tensor) -> None:
        size, compact = self.history_size, is_compact(like) if self.compact is None else self.compact
        self.steps, self.changes = (_Vectors(size, like, compact=compact) for _ in range(2))
        # Step i times change j of the slots, where j is no older than i, and which pairs tell of a curvature.
        self.products = like.new_zeros(size, size)
        self.good = torch.zeros(size, dtype=torch.bool, device=like.device)

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse curvature times the gradient (N,); minus the gradient where nothing is known yet."""
        result = gradient.neg()
        if not self.told:
            return result
        system, diagonal, good = self._system()
        first = self._solve(system, torch.where(good, self._by_age(self.steps.dot(result, self.count)), 0.0))
        self.changes.add_to(result, -self._by_slot(first))
        if self.scale is not None:
            result = self.preconditioner.apply(result) if self.preconditioner else result
            result.mul_(self.scale if self.reach is None else self.scale * self.spread**self.reach)
        left = diagonal * first - self._by_age(self.changes.dot(result, self.count))
        self.steps.add_to(result, self._by_slot(self._solve(system.T, torch.where(good, left, 0.0), upper=False)))
        return result

    def _system(self) -> tuple[Tensor, Tensor, Tensor]:
        """The products by age, oldest first, as an upper triangle; its diagonal; and which pairs are good.

        A pair that tells nothing is left out: its row and column are those of the identity.
        """
        good = self._by_age(self.good[: self.count])
        products = self._by_age(self._by_age(self.products[: self.count, : self.count]).T).T
        system = torch.where(good & good[:, None], products, 0.0).triu()
        diagonal = system.diagonal()
        return system + (~good).to(system).diag(), diagonal, good

    def _by_age(self, by_slot: Tensor) -> Tensor:
        return by_slot.roll(-(self.told % self.history_size), 0) if self.told > self.history_size else by_slot

    def _by_slot(self, by_age: Tensor) -> Tensor:
        return by_age.roll(self.told % self.history_size, 0) if self.told > self.history_size else by_age

    @staticmethod
    def _solve(system: Tensor, right: Tensor, *, upper: bool = True) -> Tensor:
        return torch.linalg.solve_triangular(system, right[:, None], upper=upper).squeeze(1)

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        learnt = self.preconditioner.state() if self.preconditioner else {}
        kept: dict[str, Any] = {}
        if self.told:
            of = slice(self.count)
            parts = {"products": self.products[of, of], "good": self.good[of]}
            for name, vectors in (("steps", self.steps), ("changes", self.changes)):
                parts |= {name: vectors.kept[of], f"{name}_sizes": vectors.sizes[of]}
            kept = {name: part.to("cpu", copy=True) for name, part in parts.items()}
        return {"told": self.told, "kept": kept, "preconditioner": learnt} | {n: getattr(self, n) for n in SCALARS}

    def load(self, state: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        """Go on from a `state()`."""
        self.told, kept = state["told"], state["kept"]
        if kept:
            self._make_room(torch.empty(kept["steps"].shape[1], dtype=kept["products"].dtype, device=device))
            of = slice(self.count)
            self.products[of, of], self.good[of] = kept["products"].to(device), kept["good"].to(device)
            for name, vectors in (("steps", self.steps), ("changes", self.changes)):
                for slot, (row, size) in enumerate(zip(kept[name], kept[f"{name}_sizes"], strict=True)):
                    vectors.put(slot, row.to(self.products) * size.to(device))
        if self.preconditioner:
            self.preconditioner.load(state["preconditioner"])
        for name in SCALARS:
            setattr(self, name, None if state[name] is None else state[name].to(device))


def is_compact(like: Tensor) -> bool:
    """Whether vectors like this (N,) are kept in half of their memory: large ones, and the largest alone on a GPU.

    >>> is_compact(torch.zeros(100)), is_compact(torch.zeros(COMPACT_FROM))
    (False, True)
    """
    return like.dtype == torch.float32 and len(like) >= (COMPACT_FROM_ON_GPU if like.is_cuda else COMPACT_FROM)
