"""Draw the picture at the head of lesson 03, from the pictures in data/.

python tools/make/pictures_03.py
"""

from __future__ import annotations

from pathlib import Path

import torch

import nst_helpers as nst

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
SIDE, GAP = 160, 6


def strip(images: list[torch.Tensor]) -> torch.Tensor:
    """Images of one height side by side, with white gaps."""
    gap = torch.ones(1, 3, images[0].shape[-2], GAP)
    return torch.cat([part for image in images for part in (image, gap)][:-1], dim=-1)


def textures(name: str, size: int) -> torch.Tensor:
    """The middle of a style picture, coarse noise, and textures with one, two and five layers."""
    edge = (size - SIDE) // 2
    style = nst.load_sample(name, size=size, crop=True)[..., edge : edge + SIDE, edge : edge + SIDE]
    noise = torch.rand(1, 3, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(0))
    start = nst.resize(noise, (SIDE, SIDE))
    row = [style, start]
    for count in (1, 2, 5):
        layers = nst.STYLE_LAYERS[:count]
        options = {"content_layers": [], "style_layers": layers, "style_weight": 1e4, "tv_weight": 0.0}
        row.append(nst.stylize(start, style, init=start, steps=120, precision="float32", **options).image)
    return strip(row)


if __name__ == "__main__":
    rows = [textures("mosaic", 400), textures("night_swirls", 256)]
    gap = torch.ones(1, 3, GAP, rows[0].shape[-1])
    nst.save_image(torch.cat([rows[0], gap, rows[1]], dim=-2), IMAGES / "03_texture.jpg", quality=70)
