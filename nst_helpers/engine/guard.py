"""What holds an optimisation in bounds: its learning rate over time, and when its loss counts as blown up."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Guard", "lr_factor"]


@dataclass
class Guard:
    """When an optimisation counts as blown up, and how often it may start again from its best image.

    Each new start halves `lr_scale`, which the learning rate is multiplied by.
    """

    factor: float = 10.0
    restarts: int = 0
    most: int = 8
    lr_scale: float = 1.0

    def broken(self, loss: float, best: float) -> bool:
        """Whether a loss is NaN, infinite, or so many times the best one."""
        return not math.isfinite(loss) or (math.isfinite(best) and loss > self.factor * best + 1e-12)

    def start_again(self) -> None:
        """Count a new start, with half the learning rate."""
        self.restarts += 1
        self.lr_scale /= 2

    @property
    def exhausted(self) -> bool:
        """Whether there were as many new starts as there may be."""
        return self.restarts >= self.most


def lr_factor(schedule: str, done: int, total: int) -> float:
    """What the learning rate is multiplied by after `done` of `total` evaluations.

    >>> [round(lr_factor("cosine", t, 4), 3) for t in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [lr_factor("step", t, 4) for t in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    share = min(done / max(total, 1), 1.0)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if schedule == "step":
        return 0.5 ** (share >= 0.5) * 0.5 ** (share >= 0.75)
    return 1.0
