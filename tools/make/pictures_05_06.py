"""The pictures at the head of lessons 05 and 06.

python tools/make/pictures_05_06.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import nst_helpers as nst

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "images"
SIZE, GAP = 160, 6
SETTINGS = {"device": "cpu", "precision": "float32"}


def main() -> None:
    content, style = (nst.load_sample(name, size=SIZE) for name in ("temple", "night_swirls"))
    rows = []
    for optimizer in nst.engine.OPTIMIZERS:
        steps = nst.iterate(content, style, optimizer=optimizer, steps=80, **SETTINGS)
        rows.append([step.image for step in steps if step.evaluation.step in (5, 20, 80)])
    save(rows, "05_race.jpg")
    # Total variation in proportion: beside a style weight of 1, the default of 50 would blur everything.
    row = []
    for weight in (1, 5, 20, 100):
        weights = {"style_weight": weight, "tv_weight": weight / 2}
        row.append(nst.stylize(content, style, steps=100, **weights, **SETTINGS).image)
    save([row], "06_weights.jpg")


def save(rows: list[list[Tensor]], name: str) -> None:
    """Rows of images (1, 3, H, W) of one size, with white gaps, as one JPEG."""

    def joined(parts: list[Tensor], axis: int) -> Tensor:
        shape = list(parts[0].shape)
        shape[axis] = GAP
        spaced = [piece for part in parts for piece in (part, torch.ones(shape))]
        return torch.cat(spaced[:-1], axis)

    nst.save_image(joined([joined(row, 3) for row in rows], 2), FOLDER / name, quality=82)


if __name__ == "__main__":
    main()
