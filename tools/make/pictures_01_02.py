"""Draw the pictures at the head of lessons 01 and 02: `python tools/make/pictures_01_02.py`, in under a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import nst_helpers as nst

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
GAP = 6  # white pixels between two pictures of a strip


def strip(images: list[Tensor]) -> Tensor:
    """Images (1, 3, H, W) of one height beside each other on white."""
    white = torch.ones(1, 3, images[0].shape[-2], GAP)
    parts = [part for image in images for part in (white, image)][1:]
    return torch.cat(parts, dim=-1)


def descend(image: Tensor, loss: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """The image after that many steps of Adam, clamped after each."""
    image = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(image).backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


def lesson_01() -> Tensor:
    """Noise that becomes a photo by the mean squared error of its pixels."""
    photo = nst.load_sample("coffee", size=128)
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))
    return strip([descend(noise, lambda image: F.mse_loss(image, photo), steps) for steps in (0, 6, 15, 60)])


def lesson_02() -> Tensor:
    """A photo, and what four layers keep of it: faint noise brought to the same features, and held smooth."""
    encoder, photo = nst.load_encoder("mini"), nst.load_sample("cat", size=128)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    pictures = [photo]
    for layer in ("relu2_1", "relu3_1", "relu4_2", "relu5_1"):
        target = encoder(photo, [layer])[layer]

        def loss(image: Tensor, layer: str = layer, target: Tensor = target) -> Tensor:
            distance = nst.content_loss(encoder(image, [layer])[layer], target)
            return distance + 1.0 * nst.total_variation(image)

        pictures.append(descend(0.5 + 0.03 * noise, loss, 120))
    return strip(pictures)


if __name__ == "__main__":
    nst.save_image(lesson_01(), IMAGES / "01_noise_to_photo.jpg", quality=85, parents=True)
    nst.save_image(lesson_02(), IMAGES / "02_what_layers_keep.jpg", quality=88, parents=True)
