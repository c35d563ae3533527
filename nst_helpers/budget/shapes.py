"""Pictures by their heights and widths alone, which is all that a cost depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

__all__ = ["Image", "Images", "Shape", "shape_of", "shapes_of", "with_short_side"]

Shape = tuple[int, int]  # height and width
Image = Tensor | Shape
Images = Image | Sequence[Image]


def shape_of(image: Any) -> Shape:
    """Height and width of an image (1, 3, H, W), or of one that is given by them."""
    height, width = image.shape[-2:] if isinstance(image, Tensor) else image
    return int(height), int(width)


def shapes_of(style: Images) -> list[Shape]:
    """The same for one style picture or several.

    >>> shapes_of((30, 40)), shapes_of([(30, 40), (20, 20)])
    ([(30, 40)], [(30, 40), (20, 20)])
    """
    one = isinstance(style, Tensor) or (len(style) == 2 and isinstance(style[0], int))
    return [shape_of(style)] if one else [shape_of(image) for image in style]


def with_short_side(shape: Shape, short: float) -> Shape:
    """The height and width of a picture that is scaled to a short side in pixels.

    >>> with_short_side((30, 40), 60)
    (60, 80)
    """
    h, w = shape
    return max(1, round(h * short / min(h, w))), max(1, round(w * short / min(h, w)))
