"""Masks: which part of a picture is meant, (1, 1, H, W) in [0, 1], from files and at the sizes that are needed."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MaskError
from ..images import how_stored, scaled_size
from ..io.alpha import alpha_of
from ..io.decode import decode
from ..io.sizes import check_size
from ..io.sources import Source, open_source

__all__ = ["check_mask", "load_alpha", "load_mask", "resize_mask"]


def load_mask(source: Source, *, size: int | tuple[int, int] | None = None) -> Tensor:
    """A mask from a picture file: white is the region, black is not, and grey is partly.

    In a picture with transparency, what is opaque is the region, whatever its colours. `size` as in `load_image`; it
    should be the photo's, but any size of its proportions will do.

    Returns a mask (1, 1, H, W), float32 in [0, 1]. Raises ImageError for what is no picture, or no size.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 2), 255).save(file, "PNG")
    >>> load_mask(file).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    target = None if size is None else functools.partial(scaled_size, size=check_size(size), crop=False)
    file, label = open_source(source)
    with file:
        light, alpha = decode(file, label, target=target).mean(-1), alpha_of(file)
    mask = torch.from_numpy(light if alpha is None else alpha)[None, None]
    return mask if target is None else _resized(mask, target(*mask.shape[-2:]))


def load_alpha(source: Source) -> Tensor | None:
    """How opaque a picture file is, (1, 1, H, W) in [0, 1]; None where all of it is."""
    file, label = open_source(source)
    with file:
        decode(file, label)
        alpha = alpha_of(file)
    return None if alpha is None else torch.from_numpy(alpha)[None, None]


def check_mask(mask: object, *, like: Tensor, name: str = "mask", most: float = 1.0) -> Tensor:
    """The mask itself, having made sure that it is one: (1, 1, H, W), in [0, 1], of the picture's proportions.

    Raises MaskError in one sentence.

    >>> check_mask(torch.ones(1, 1, 30, 40), like=torch.rand(1, 3, 40, 40))
    Traceback (most recent call last):
    nst_helpers.errors.MaskError: mask is 40 x 30 pixels and its picture 40 x 40: give one of its size or proportions.
    """
    if isinstance(mask, Tensor) and (stored := how_stored(mask)):
        raise MaskError(f"{name} is {stored}, expected plain numbers (1, 1, H, W): load_mask makes a mask.")
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[:2] != (1, 1) or not mask.is_floating_point():
        came = f"{tuple(mask.shape)}, {mask.dtype}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise MaskError(f"{name} is {came}, expected floating point numbers (1, 1, H, W): load_mask makes a mask.")
    low, high = (bound.item() for bound in torch.aminmax(mask)) if mask.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > most:
        expected = "[0, 1]" if most == 1 else "finite numbers of 0 or more"
        raise MaskError(f"{name} ranges from {low:.4g} to {high:.4g}, expected {expected}.")
    if high == 0:
        raise MaskError(f"{name} is black all over: white is what counts.")
    (h, w), (height, width) = mask.shape[-2:], like.shape[-2:]
    if (h, w) != (1, 1) and abs(h * width - w * height) > max(h, w, height, width):  # a pixel of rounding
        raise MaskError(
            f"{name} is {w} x {h} pixels and its picture {width} x {height}: give one of its size or proportions."
        )
    return mask


def resize_mask(mask: Tensor, *, like: Tensor) -> Tensor:
    """The mask (1, 1, h, w) at a picture's height and width, and where and in the number format in which that is.

    >>> resize_mask(torch.ones(1, 1, 2, 2), like=torch.rand(1, 3, 4, 6)).shape
    torch.Size([1, 1, 4, 6])
    """
    return _resized(mask.detach(), (like.shape[-2], like.shape[-1])).to(like.device, like.dtype)


def _resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    if mask.shape[-2:] == size:
        return mask
    # Bilinear: unlike the bicubic of pictures it stays within the values it is given, up to rounding.
    low, high = (bound.item() for bound in torch.aminmax(mask))
    exact = torch.promote_types(mask.dtype, torch.float32)
    return F.interpolate(mask.cpu().to(exact), size=size, mode="bilinear", antialias=True).clamp(low, high)
