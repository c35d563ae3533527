"""What a run hands out: each step while it is under way, and the result at its end."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..io.atomic import write_whole
from .evaluation import Evaluation
from .inputs import output_image
from .optimisation import Optimisation
from .values import file_path

__all__ = ["Result", "Step"]


@dataclass(frozen=True)
class Step:
    """One step of a run: its evaluation, and the pictures as they are now."""

    evaluation: Evaluation
    optimisation: Optimisation
    scale: int = 0
    content: Tensor | None = None  # whose colours the pictures have, where color="luminance"

    @property
    def image(self) -> Tensor:
        """The image as it is after this step, (1, 3, H, W), clamped to [0, 1]."""
        return output_image(self.optimisation.image, self.content)

    @property
    def best(self) -> Tensor:
        """The image with the lowest loss evaluated so far at this scale, clamped to [0, 1]."""
        return output_image(self.optimisation.best, self.content)


@dataclass(eq=False)
class Result:
    """A run's picture and its history, one record per closure evaluation; it equals itself alone."""

    image: Tensor
    history: list[Evaluation] = field(default_factory=list)
    stopped: str = "finished"  # or "interrupted", or "diverged"

    @property
    def seconds(self) -> float:
        """How long the run took until its last evaluation was read; 0 before the first."""
        return self.history[-1].seconds if self.history else 0.0

    @property
    def loss(self) -> float:
        """The lowest loss evaluated at the last scale; infinite before the first evaluation."""
        return min((e.loss for e in self.history if e.size == self.history[-1].size), default=math.inf)

    def save_history(self, path: str | Path) -> Path:
        """Write the history as JSON, whole or not at all. Raises OSError, or ValueError for what is no path."""
        path = file_path("path", path)
        write_whole(path, json.dumps([e.as_dict() for e in self.history], indent=1).encode())
        return path
