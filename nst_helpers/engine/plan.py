"""What follows from settings and pictures before anything is computed: sizes, steps and the first image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..control.masks import resize_mask
from ..images import scaled
from ..regions import stacked
from .settings import Settings

__all__ = ["Stage", "first_image", "next_image", "plan"]


class Stage(NamedTuple):
    """One scale of a run: the image's height and width, and the number of evaluations."""

    size: tuple[int, int]
    steps: int


def plan(size: tuple[int, int], settings: Settings) -> list[Stage]:
    """The scales from coarse to fine for a content picture of that height and width.

    Raises ValueError where the steps don't fit the scales.

    >>> plan((100, 200), Settings(scales=[25, 50], steps=30))
    [Stage(size=(25, 50), steps=15), Stage(size=(50, 100), steps=15)]
    """
    short = min(size)
    sizes = [size]
    if settings.scales is not None:
        sizes = [(round(size[0] * side / short), round(size[1] * side / short)) for side in settings.scales]
    if isinstance(settings.steps, int):
        each, rest = divmod(settings.steps, len(sizes))
        steps = [each + (i < rest) for i in range(len(sizes))]
    else:
        steps = list(settings.steps)
    if len(steps) != len(sizes) or sum(steps) < 1:
        raise ValueError(
            f"steps is {settings.steps!r}, which doesn't fit {len(sizes)} scale(s): give one number of at least 1, "
            "or one for each scale."
        )
    return [Stage(*pair) for pair in zip(sizes, steps, strict=True)]


def first_image(content: Tensor, style: Tensor, settings: Settings, size: tuple[int, int]) -> Tensor:
    """The image (1, 3, H, W) that the optimisation starts from; noise is the same for a seed on every device."""
    init = settings.init
    if isinstance(init, Tensor):
        return scaled(init.to(content.device, content.dtype).clamp(0, 1), size)
    if init == "style":
        return scaled(style, size, crop=True)
    if init == "noise":
        generator = torch.Generator(device="cpu").manual_seed(settings.seed)
        noise = torch.rand(1, 3, *size, generator=generator, dtype=torch.float32, device="cpu")
        return noise.to(content.device, content.dtype)
    return scaled(content, size)


def next_image(image: Tensor, content: Tensor, settings: Settings, size: tuple[int, int]) -> Tensor:
    """The image (1, 3, H, W) of one scale at the size of the next.

    In a run that starts from the photo, the photo's own detail comes in where no style pulls: nothing else would put
    it back, since the content loss of a deep layer hardly minds a blur.
    """
    image = scaled(image, size)
    if settings.masks is None or settings.init != "content":
        return image
    regions = stacked([resize_mask(mask, like=image) for mask in settings.masks], size)
    weights = image.new_tensor(settings.style_mix or [1.0] * len(regions)).view(-1, 1, 1, 1)
    painted = (regions * weights / weights.max()).sum(0, keepdim=True)
    return painted * image + (1 - painted) * scaled(content, size)
