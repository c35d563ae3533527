"""What the tiles of a large image add up: squares for the content losses, Gram sums for the style losses."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses import at_least_float32
from .gram import gram_sum
from .tile_grid import TileBox

__all__ = ["ContentTarget", "add", "add_grams", "roots_over", "squares"]


class ContentTarget(NamedTuple):
    """A content layer's features (B, C, h, w), and the map (1, 1, h, w) of their weights, if there is one."""

    features: Tensor
    map: Tensor | None

    def difference(self, features: Tensor, box: TileBox, stride: int) -> tuple[Tensor, Tensor | None]:
        """How far a tile's features are from the target, and its part of the map."""
        part = None if self.map is None else box.place(self.map, stride)
        return features - box.place(self.features, stride), part


def roots_over(features: Tensor, masks: Tensor | None, box: TileBox, stride: int) -> list[Tensor | None]:
    """The root of each region's mask over a tile, (1, h, w) in the features' format; one None where there are none."""
    return [None] if masks is None else list(box.place(masks, stride).sqrt().to(features.dtype))


def add_grams(
    sums: dict[str, Tensor], name: str, features: Tensor, masks: Tensor | None, box: TileBox, stride: int
) -> None:
    """Add a tile's Gram sums (R, B, C, C), and the weights (R, 1, 1, 1) of its positions that they are divided by."""
    roots = roots_over(features, masks, box, stride)
    add(sums, f"style {name}", torch.stack([gram_sum(features if r is None else features * r) for r in roots]))
    positions = torch.tensor(float(math.prod(features.shape[-2:])), device=features.device)
    weights = [positions if r is None else at_least_float32(r).square().sum() for r in roots]
    add(sums, f"weights {name}", torch.stack(weights).view(-1, 1, 1, 1))


def add(sums: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add to the sum of that name, in place."""
    sums[name] = sums[name].add_(part) if name in sums else part


def squares(x: Tensor, map: Tensor | None = None) -> Tensor:
    """The sum of squares of (C, h, w), by a map (1, 1, h, w) of weights where there is one."""
    each = at_least_float32(x).square()
    return each.sum() if map is None else (each * map[0]).sum()
