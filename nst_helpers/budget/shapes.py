"""Pictures by their heights and widths alone, which is all that a cost depends on."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import ImageError

__all__ = ["Image", "Images", "Shape", "shape_of", "shapes_of", "with_short_side"]

Shape = tuple[int, int]  # height and width
Image = Tensor | Shape
Images = Image | Sequence[Image]


def shape_of(image: Any) -> Shape:
    """Height and width of an image (1, 3, H, W), or of one that is given by them.

    Raises ImageError for anything else.

    >>> shape_of("temple")
    Traceback (most recent call last):
    nst_helpers.errors.ImageError: 'temple' has no height and width: give an image of load_image, or (height, width).
    """
    sides = list(image.shape[-2:]) if isinstance(image, Tensor) else image
    whole = isinstance(sides, (list, tuple)) and all(isinstance(n, numbers.Integral) and int(n) > 0 for n in sides)
    if not whole or len(sides) != 2:
        came = repr(image) if isinstance(image, (str, tuple)) else f"a {type(image).__name__}"
        raise ImageError(f"{came} has no height and width: give an image of load_image, or (height, width).")
    return int(sides[0]), int(sides[1])


def shapes_of(style: Images) -> list[Shape]:
    """The heights and widths of one style picture or several, given as `shape_of` takes them.

    >>> shapes_of((30, 40)), shapes_of([(30, 40), (20, 20)])
    ([(30, 40)], [(30, 40), (20, 20)])
    """
    one = not isinstance(style, (list, tuple)) or (len(style) == 2 and isinstance(style[0], numbers.Integral))
    return [shape_of(style)] if one else [shape_of(image) for image in style]


def with_short_side(shape: Shape, short: float) -> Shape:
    """The height and width of a picture that is scaled to a short side in pixels.

    >>> with_short_side((30, 40), 60)
    (60, 80)
    """
    h, w = shape
    return max(1, round(h * short / min(h, w))), max(1, round(w * short / min(h, w)))
