"""What may be given as a picture's size: whole numbers of any type, one or a pair."""

from __future__ import annotations

import numbers

import numpy as np
from torch import Tensor

from ..errors import ImageError

__all__ = ["TargetSize", "check_size", "whole_number"]

TargetSize = int | tuple[int, int]  # pixels of the short side, or height and width


def whole_number(value: object) -> int | None:
    """A whole number of any type (256, 256.0, NumPy's, a tensor of one element) as an int; None for anything else.

    >>> whole_number(np.float32(256)), whole_number(True)
    (256, None)
    """
    try:
        plain = value.item() if isinstance(value, (np.generic, np.ndarray, Tensor)) else value
        if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
            return None
        number = float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # several elements, or far too large
        return None
    return int(number) if number.is_integer() else None


def check_size(size: object) -> TargetSize:
    """The size in its proper type. Raises ImageError, in one sentence, for what is none.

    >>> check_size([256.0, 384])
    (256, 384)
    """
    if isinstance(size, (np.ndarray, Tensor)) and size.ndim == 1 and len(size) > 1:
        size = size.tolist()
    sides = [whole_number(side) for side in (size if isinstance(size, (tuple, list)) else [size])]
    found = [side for side in sides if side is not None and side > 0]
    if len(found) != len(sides) or len(sides) not in ((2,) if isinstance(size, (tuple, list)) else (1,)):
        raise ImageError(f"size is {size!r}, expected whole pixels above zero, as in 256 (short side) or (256, 384).")
    return found[0] if len(found) == 1 else (found[0], found[1])
