"""Limited-memory BFGS, the direction alone: which way to go, by the curvature that the last steps met.

`torch.optim.LBFGS` gives the same directions, and a test holds this to them. It also decides the length of each step,
though, and reads a number from the device three times an iteration. Here the caller makes the step, shortened or
clamped where it has to be, and reports the step it made; and nothing waits for a GPU.

The textbook's two loops go through the pairs one after the other. Their coefficients are also the solutions of two
triangular systems, whose matrix of steps times changes grows by a column with each pair. So the vectors are read in
four products, however many pairs there are. That takes a tenth of the operations to start, which is what a GPU waits
for, and on a CPU half of the passes through memory.

Steps and changes of gradient of large pictures are kept in float16, divided by their largest entry. That halves the
memory, of which they take the largest part, and the loss curves stay the same. Small ones are kept as they are.

In directions that no pair covers, the length of the step is a guess. PyTorch takes the shorter of the two lengths that
the last pair allows (Barzilai & Borwein 1988), which is safe and, for pictures, too short. Here the guess moves from
the shorter towards the longer as long as the loss falls, and back where it rises: at 100 evaluations the loss is 2 to
5 % lower, on 16 of 16 combinations of encoder, pictures and preconditioner (96 px), and a textbook loop's loss is
reached in 0.39 of its time for 0.41 (docs/performance.md). A preconditioner also gives the guess a shape.

A step that ends at the bounds of an image is shorter than the optimiser asked for, and either step may be learnt from.
The one asked for suggests less curvature than there is, and leads to longer steps. Its weight against the step that was
made also moves with the loss.
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
# How far the guess moves after a loss that fell, and the share of the way that is left after one that rose. Chosen by
# the loss after 100 to 300 evaluations, on trained and on random weights.
LONGER_BY, SHORTER_TIMES = 0.02, 0.7
# The same for the weight of the step that was asked for: its first value, and the least. Chosen in the same way.
WEIGHT_MORE_BY, WEIGHT_LESS_TIMES, FIRST_WEIGHT, LEAST_WEIGHT = 0.05, 0.7, 0.5, 0.25
SCALARS = ("scale", "spread", "progress", "asked_weight", "loss")


class _Vectors:
    """Vectors (N,) in slots; compact ones are kept in float16, each divided by its size."""

    def __init__(self, slots: int, example: Tensor, *, compact: bool) -> None:
        self.kept = torch.empty(
            slots, len(example), dtype=torch.float16 if compact else example.dtype, device=example.device
        )
        self.sizes = torch.ones(slots, dtype=example.dtype, device=example.device)
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
        total = vector.new_zeros(count)
        for part, rows in self._pieces(count):
            total = total + rows @ vector[part]
        return total * self.sizes[:count]

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
        self.history_size, self.added = history_size, 0  # how many pairs were added so far
        self.steps: _Vectors
        self.changes: _Vectors
        self.products: Tensor
        self.good: Tensor
        self.compact = compact
        self.preconditioner = preconditioner
        # The shorter length, and the longer as a multiple of it; None before the first pair.
        self.scale: Tensor | None = None
        self.spread: Tensor | None = None
        # How far the guess is on the way from the shorter to the longer (0 to 1), the weight of the step that was asked
        # for (0 to 1), and the last loss; None before the first loss.
        self.progress: Tensor | None = None
        self.asked_weight: Tensor | None = None
        self.loss: Tensor | None = None

    @property
    def count(self) -> int:
        """How many pairs are kept."""
        return min(self.added, self.history_size)

    def observe_loss(self, loss: Tensor) -> None:
        """Take in the loss (a scalar) that the last step led to: after one that fell, the next step is longer."""
        if self.loss is None or self.progress is None or self.asked_weight is None:
            self.progress, self.asked_weight = torch.zeros_like(loss), torch.full_like(loss, FIRST_WEIGHT)
        else:
            fell = loss < self.loss
            longer = (self.progress + LONGER_BY).clamp(max=1.0)
            self.progress = torch.where(fell, longer, self.progress * SHORTER_TIMES)
            more = (self.asked_weight + WEIGHT_MORE_BY).clamp(max=1.0)
            less = (self.asked_weight * WEIGHT_LESS_TIMES).clamp(min=LEAST_WEIGHT)
            self.asked_weight = torch.where(fell, more, less)
        self.loss = loss

    def weighted(self, taken: Tensor, asked: Tensor) -> Tensor:
        """The step to learn from: a mean of the one taken, which is overwritten, and the one asked for."""
        return taken if self.asked_weight is None else taken.lerp_(asked, self.asked_weight)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Learn that along `step` the gradient changed by `change`; the oldest pair gives way."""
        good = step.dot(change) > LEAST_CURVATURE
        if not self.added:
            self._make_room(step)
        slot = self.added % self.history_size
        self.added += 1
        # From here on the pair is what was kept of it: rounded, but the same wherever the algorithm needs it.
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
        # Only the device knows whether a pair is good, and isn't asked. One that isn't changes nothing.
        self.scale = torch.where(good, product / changes, scale)
        self.spread = torch.where(good, steps / product * (changes / product), spread)

    def _make_room(self, example: Tensor) -> None:
        size, compact = self.history_size, is_compact(example) if self.compact is None else self.compact
        self.steps, self.changes = (_Vectors(size, example, compact=compact) for _ in range(2))
        # Step i times change j of the slots, where j is no older than i, and which pairs show a curvature.
        self.products = example.new_zeros(size, size)
        self.good = torch.zeros(size, dtype=torch.bool, device=example.device)

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse curvature times the gradient (N,); minus the gradient where nothing is known yet."""
        result = gradient.neg()
        if not self.added:
            return result
        system, diagonal, good = self._system()
        first = self._solve(system, torch.where(good, self._by_age(self.steps.dot(result, self.count)), 0.0))
        self.changes.add_to(result, -self._by_slot(first))
        if self.scale is not None and self.spread is not None:
            result = self.preconditioner.apply(result) if self.preconditioner else result
            result.mul_(self.scale if self.progress is None else self.scale * self.spread**self.progress)
        left = diagonal * first - self._by_age(self.changes.dot(result, self.count))
        self.steps.add_to(result, self._by_slot(self._solve(system.T, torch.where(good, left, 0.0), upper=False)))
        return result

    def _system(self) -> tuple[Tensor, Tensor, Tensor]:
        """The products by age, oldest first, as an upper triangle; its diagonal; and which pairs are good.

        A pair that says nothing is left out: its row and column are those of the identity.
        """
        good = self._by_age(self.good[: self.count])
        products = self._by_age(self._by_age(self.products[: self.count, : self.count]).T).T
        system = torch.where(good & good[:, None], products, 0.0).triu()
        diagonal = system.diagonal()
        return system + (~good).to(system).diag(), diagonal, good

    def _by_age(self, by_slot: Tensor) -> Tensor:
        return by_slot.roll(-(self.added % self.history_size), 0) if self.added > self.history_size else by_slot

    def _by_slot(self, by_age: Tensor) -> Tensor:
        return by_age.roll(self.added % self.history_size, 0) if self.added > self.history_size else by_age

    @staticmethod
    def _solve(system: Tensor, right: Tensor, *, upper: bool = True) -> Tensor:
        return torch.linalg.solve_triangular(system, right[:, None], upper=upper).squeeze(1)

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        preconditioner = self.preconditioner.state() if self.preconditioner else {}
        kept: dict[str, Any] = {}
        if self.added:
            of = slice(self.count)
            parts = {"products": self.products[of, of], "good": self.good[of]}
            for name, vectors in (("steps", self.steps), ("changes", self.changes)):
                parts |= {name: vectors.kept[of], f"{name}_sizes": vectors.sizes[of]}
            kept = {name: part.to("cpu", copy=True) for name, part in parts.items()}
        return {"added": self.added, "kept": kept, "preconditioner": preconditioner} | {
            name: None if (value := getattr(self, name)) is None else value.cpu() for name in SCALARS
        }

    def load(self, state: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        """Go on from a `state()`."""
        self.added, kept = state["added"], state["kept"]
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


def is_compact(vector: Tensor) -> bool:
    """Whether vectors like this (N,) are kept in half of their memory: large ones, and the largest alone on a GPU.

    >>> is_compact(torch.zeros(100)), is_compact(torch.zeros(COMPACT_FROM))
    (False, True)
    """
    return vector.dtype == torch.float32 and len(vector) >= (COMPACT_FROM_ON_GPU if vector.is_cuda else COMPACT_FROM)
