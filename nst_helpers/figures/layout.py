"""What figures need to know before they draw: looks, pixels, curves, strong channels, how text and panels fit."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ImageError

__all__ = [
    "columns_for",
    "curves_of",
    "matrix",
    "packed",
    "pixels",
    "row_heights",
    "shortened",
    "spread",
    "strongest",
    "wrapped",
]

# Okabe & Ito's palette, which people with any colour vision can tell apart, without its yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), "-")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "grid.color": "#dddddd", "grid.linewidth": 0.7, "xtick.color": "#444444", "ytick.color": "#444444",
    "axes.labelcolor": "#222222", "hatch.linewidth": 0.6,
}  # fmt: skip


def strongest(maps: Tensor, count: int) -> dict[int, np.ndarray]:
    """The channels of feature maps (C, h, w) or (1, C, h, w) with the largest means, by their numbers.

    >>> import torch
    >>> list(strongest(torch.tensor([1.0, 3.0, 2.0]).view(1, 3, 1, 1), 2))
    [1, 2]
    """
    maps = maps.detach().float().cpu()
    maps = maps[0] if maps.ndim == 4 else maps
    chosen = maps.flatten(1).mean(1).argsort(descending=True)[:count].sort().values.tolist()
    return {channel: maps[channel].numpy() for channel in chosen}


def matrix(values: Tensor) -> np.ndarray:
    """A matrix (n, m), or a batch of one, as an array."""
    return values.detach().float().cpu().reshape(values.shape[-2:]).numpy()


def curves_of(history: Any, x: str) -> dict[str, tuple[list[float], list[float]]]:
    """The curves of a history, or of several by their labels; one that becomes NaN says so in its label.

    >>> curves_of({"Adam": [3.0, float("inf"), 1.0]}, "step")
    {'Adam: NaN at 2': ([1, 2, 3], [3.0, inf, 1.0])}
    """
    if isinstance(history, Mapping):
        curves = {label: _curve(records, x) for label, records in history.items()}
    else:
        curves = {"total": _curve(history, x)}
        for part in ("content", "style") if hasattr(history[0], "content") else ():
            if getattr(history[0], part):
                values = [float(np.mean(list(getattr(e, part).values()))) for e in history]
                curves[part] = (curves["total"][0], values)
    labelled = {}
    for label, (steps, values) in curves.items():
        broken = [s for s, v in zip(steps, values, strict=True) if not math.isfinite(v)]
        labelled[f"{label}: NaN at {broken[0]:g}" if broken else label] = (steps, values)
    return labelled


def columns_for(count: int) -> int:
    """How many columns that many panels have by default: at most four, and rows of nearly the same length."""
    return count if count <= 4 else math.ceil(count / math.ceil(count / 4))


def row_heights(
    panels: Sequence[np.ndarray], names: Sequence[str], columns: int, *, width: float, tallest: float, size: int
) -> list[float]:
    """How high, in inches, each row of panels is with the names above it: as high as its highest, but not too high."""
    heights = []
    for first in range(0, len(panels), columns):
        row = slice(first, first + columns)
        words = max(name.count("\n") + 1 for name in names[row]) * size / 72 * 1.3
        aspect = max(panel.shape[0] / panel.shape[1] for panel in panels[row])
        heights.append(min(aspect * width * 0.97, tallest) + words + 0.1)
    return heights


def spread(levels: Sequence[float], gap: float = 0.075) -> list[float]:
    """Rising levels moved apart until they are a gap apart, none above 1.

    >>> [round(level, 3) for level in spread([0.1, 0.11, 0.99, 1.0])]
    [0.1, 0.175, 0.925, 1.0]
    """
    placed = list(levels)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    top = 1.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], top)
        top = placed[i] - gap
    return placed


def wrapped(text: str, inches: float, *, size: int = 10) -> str:
    """A title in lines that fit a width: a letter is about half as wide as it is high."""
    letters = max(8, int(inches * 72 / (size * 0.63)))
    return "\n".join("\n".join(textwrap.wrap(line, letters)) for line in text.split("\n"))


def shortened(text: str, letters: int) -> str:
    """A text of so many letters at most; one that is cut ends in three dots.

    >>> shortened("a name", 6), shortened("a longer name", 6)
    ('a name', 'a lon…')
    """
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def packed(drawn: Image.Image, limit: int) -> tuple[bytes, str]:
    """A drawing as a file of at most `limit` bytes: PNG with a palette for lines and text, else the best JPEG.

    >>> packed(Image.new("RGB", (8, 8)), 1000)[1]
    'png'
    """
    if drawn.getcolors(4096):  # None if there are more
        drawn.quantize(256, dither=Image.Dither.NONE).save(file := io.BytesIO(), "PNG", optimize=True)
        if len(data := file.getvalue()) <= limit:
            return data, "png"
    for scale, quality in itertools.product((1, 0.8, 0.6, 0.4), (85, 75, 65)):
        size = (round(drawn.width * scale), round(drawn.height * scale))
        drawn.resize(size, Image.Resampling.LANCZOS).save(file := io.BytesIO(), "JPEG", quality=quality, optimize=True)
        if len(data := file.getvalue()) <= limit:
            break
    return data, "jpeg"


def pixels(image: Tensor) -> np.ndarray:
    """An image (1, 3, H, W) or (3, H, W), or grey (H, W), as an array with its channels last, clipped to [0, 1].

    Raises ImageError in one sentence for what can't be drawn.

    >>> pixels(np.zeros((8, 8, 3)))
    Traceback (most recent call last):
    nst_helpers.errors.ImageError: A figure takes image tensors, but a ndarray came: load_image makes one.
    """
    if not isinstance(image, Tensor):
        raise ImageError(f"A figure takes image tensors, but a {type(image).__name__} came: load_image makes one.")
    shape = tuple(image.shape)
    if not 2 <= len(shape) <= 4 or 0 in shape or (len(shape) > 2 and shape[-3] not in (1, 3, 4)):
        raise ImageError(f"A figure takes images (1, 3, H, W), (3, H, W) or (H, W), but the shape {shape} came.")
    if image.dtype == torch.uint8:
        raise ImageError("A figure takes images in [0, 1], but bytes came: use image.float() / 255.")
    image = image.detach().float().cpu()
    image = image[0] if image.ndim == 4 else image
    image = image.permute(1, 2, 0).squeeze(-1) if image.ndim == 3 else image
    return image.clamp(0, 1).numpy()


def _curve(records: Sequence[Any], x: str) -> tuple[list[float], list[float]]:
    if hasattr(records[0], "loss"):
        return [float(getattr(e, x)) for e in records], [float(e.loss) for e in records]
    if x != "step":
        raise ValueError("Plain numbers have no seconds: give a Result's history, or use x='step'.")
    return list(range(1, len(records) + 1)), [float(v) for v in records]
