"""What is known of one closure evaluation: its record, and its numbers while they are on the way from the device."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import to_host
from ..losses import TVLoss
from ..model import LossTerm, Objective

__all__ = ["Evaluation", "PendingEvaluation"]


@dataclass(frozen=True)
class Evaluation:
    """One closure evaluation: the losses of the image as it was before the step's change, unweighted per layer."""

    step: int
    loss: float
    content: dict[str, float]
    style: dict[str, float]
    tv: float
    seconds: float
    lr: float
    size: tuple[int, int]  # height and width of the image
    peak_memory: int | None = None  # bytes
    event: str = ""  # in words, where something out of the ordinary happened

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Evaluation:
        """The record that `as_dict` gave, also after JSON made lists of its tuples."""
        height, width = record["size"]
        return cls(**record | {"size": (height, width)})


class PendingEvaluation:
    """An evaluation that is made, whose numbers may still be on the way from the device.

    `image` is the image (1, 3, H, W) that was evaluated, and `lr` the learning rate of the step that followed.
    """

    def __init__(self, model: Objective, loss: Tensor, image: Tensor, lr: float) -> None:
        self.image, self.lr = image, lr
        self._content, self._style = list(model.content_losses), list(model.style_losses)
        layers: list[LossTerm | TVLoss] = [model.tv_loss]
        layers += [*model.content_losses.values(), *model.style_losses.values()]
        parts = [loss, *(layer.loss for layer in layers if layer.loss is not None)]
        # One transfer for all numbers.
        self._numbers, self._arrived = to_host(torch.stack([p.detach().float() for p in parts]))

    def read(self) -> tuple[float, dict[str, Any]]:
        """The loss, and the terms of an `Evaluation` by name; waits for the device where it has to."""
        if self._arrived:
            self._arrived.synchronize()
        loss, tv, *values = self._numbers.tolist()
        contents = len(self._content)
        return loss, {
            "content": dict(zip(self._content, values[:contents], strict=True)),
            "style": dict(zip(self._style, values[contents:], strict=True)),
            "tv": tv,
        }
