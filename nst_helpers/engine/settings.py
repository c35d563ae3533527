"""What a run depends on besides the pictures, and what follows from it: sizes, steps and the first image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..encoders import Encoder
from ..errors import ImageError
from ..images import check_image, resize
from ..losses import Convention
from ..model import CONTENT_LAYERS, STYLE_LAYERS, Weights
from .optimisation import HISTORY_SIZE

__all__ = ["INITS", "Settings", "first_image", "plan"]

INITS = ("content", "style", "noise")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a run depends on besides the pictures; see `stylize` for what each field means."""

    encoder: Encoder | str = "mini"
    steps: int | Sequence[int] = 200
    optimizer: str = "lbfgs"
    lr: float | None = None
    lr_schedule: str = "constant"
    content_weight: float = Weights.content
    style_weight: float = Weights.style
    tv_weight: float = Weights.tv
    tv_kind: str = "l2"
    content_layers: Sequence[str] = CONTENT_LAYERS
    style_layers: Sequence[str] = STYLE_LAYERS
    layer_weights: Mapping[str, float] | None = None
    style_mix: Sequence[float] | None = None
    convention: str | Convention = "relative"
    init: str | Tensor = "content"
    seed: int = 0
    scales: Sequence[int] | None = None
    device: torch.device | str | None = None
    precision: str = "auto"
    compiled: bool = False
    precondition: bool = False
    history_size: int = HISTORY_SIZE
    tile: int | None = None
    size: int | str | None = None

    @property
    def weights(self) -> Weights:
        return Weights(self.content_weight, self.style_weight, self.tv_weight)

    def in_tiles(self, size: tuple[int, int]) -> bool:
        """Whether an image of that height and width is evaluated in tiles.

        >>> [Settings(tile=tile).in_tiles((48, 80)) for tile in (64, 80, 0, None)]
        [True, False, False, False]
        """
        return bool(self.tile) and max(size) > self.tile


def plan(content: Tensor, settings: Settings) -> list[tuple[tuple[int, int], int]]:
    """The sizes (height, width) from coarse to fine, each with its number of steps.

    >>> plan(torch.rand(1, 3, 100, 200), Settings(scales=[25, 50], steps=30))
    [((25, 50), 15), ((50, 100), 15)]
    """
    h, w = content.shape[-2:]
    if settings.scales is None:
        sizes = [(h, w)]
    else:
        sizes = [(round(h * s / min(h, w)), round(w * s / min(h, w))) for s in settings.scales]
        if not sizes or [min(s) for s in sizes] != sorted({min(s) for s in sizes}) or min(sizes[0]) < 1:
            raise ValueError(
                f"The scales {list(settings.scales)} came: give short sides in rising order, as [64, 128]."
            )
    if isinstance(settings.steps, int):
        each, rest = divmod(settings.steps, len(sizes))
        steps = [each + (i < rest) for i in range(len(sizes))]
    else:
        steps = [int(n) for n in settings.steps]
    if len(steps) != len(sizes) or min(steps) < 0 or sum(steps) < 1:
        raise ValueError(
            f"steps={settings.steps!r} doesn't fit {len(sizes)} scale(s): give one number of at least 1, "
            "or one for each scale."
        )
    return list(zip(sizes, steps, strict=True))


def first_image(content: Tensor, style: Tensor, settings: Settings, size: tuple[int, int]) -> Tensor:
    """The image (1, 3, H, W) that the optimisation starts from; noise is the same for a seed on every device."""
    init = settings.init
    if isinstance(init, Tensor):
        check_image(init, name="init")
        return resize(init.to(content.device, content.dtype), size)
    if init == "content":
        return resize(content, size)
    if init == "style":
        return resize(style, size, crop=True)
    if init == "noise":
        generator = torch.Generator().manual_seed(settings.seed)
        return torch.rand(1, 3, *size, generator=generator).to(content.device, content.dtype)
    raise ImageError(f"The init {init!r} is unknown: use one of {', '.join(INITS)}, or an image (1, 3, H, W).")
