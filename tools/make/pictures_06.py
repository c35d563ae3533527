"""The picture at the head of lesson 06.

python tools/make/pictures_06.py
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
    # Total variation in proportion: beside a style weight of 1, the default of 50 would blur everything.
    row = []
    for weight in (1, 5, 20, 100):
        weights = {"style_weight": weight, "tv_weight": weight / 2}
        row.append(nst.stylize(content, style, steps=100, **weights, **SETTINGS).image)
    save(row, "06_weights.jpg")


def save(row: list[Tensor], name: str) -> None:
    """A row of images (1, 3, H, W) of one size, with white gaps, as a JPEG."""
    white = torch.ones(1, 3, row[0].shape[-2], GAP)
    spaced = [piece for image in row for piece in (white, image)]
    nst.save_image(torch.cat(spaced[1:], dim=-1), FOLDER / name, quality=82)


if __name__ == "__main__":
    main()
