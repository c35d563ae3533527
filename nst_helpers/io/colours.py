"""A loaded picture of any mode -> sRGB on white, one band of rows after the other, so that large ones need little."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

__all__ = ["is_deep", "rgb_bands"]

BAND_PIXELS = 1 << 20
_WHITE_IS_ZERO, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 0, 258, 262, 339

Transform = Callable[[Image.Image], Image.Image]


def rgb_bands(picture: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a loaded picture from top to bottom, as (first row, array (rows, W, 3), float32 in [0, 1]).

    Colours are converted to sRGB by the ICC profile, and what is transparent is laid on white. Raises ValueError for
    values that are not finite.

    >>> [(top, band.tolist()) for top, band in rgb_bands(Image.new("L", (1, 2), 255))]
    [(0, [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]])]
    """
    deep = _deep_levels(picture) if is_deep(picture) else None
    mode = _opaque_mode(picture)
    to_srgb = _profile_transform(picture, mode)
    rows = max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        box = (0, top, picture.width, min(picture.height, top + rows))
        band = picture if rows >= picture.height else picture.crop(box)
        if deep is None:
            yield top, _shallow(band, mode, to_srgb)
        else:
            yield top, _deep(band, deep(np.asarray(band)), to_srgb)


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits a pixel."""
    return picture.mode == "F" or picture.mode.startswith("I")


def _opaque_mode(picture: Image.Image) -> str:
    if is_deep(picture):
        return "L"
    if picture.has_transparency_data:
        return "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
    return picture.mode


def _shallow(band: Image.Image, mode: str, to_srgb: Transform | None) -> np.ndarray:
    """8 bits or fewer a channel, with or without transparency."""
    alpha = None
    if band.has_transparency_data:
        layered = band.convert("LA") if band.mode == "La" else band
        layered = layered.convert("RGBA")
        alpha = np.asarray(layered.getchannel("A"), dtype=np.float32)[..., None] / 255
        band = layered.convert(mode)
    rgb = np.asarray((to_srgb(band) if to_srgb else band).convert("RGB"), dtype=np.float32) / 255
    return rgb if alpha is None else 1 - alpha * (1 - rgb)


def _deep(band: Image.Image, grey: np.ndarray, to_srgb: Transform | None) -> np.ndarray:
    """Grey of more than 8 bits, already in [0, 1]; a profile works on 8 bits, and without one all bits are kept."""
    if to_srgb is None:
        rgb = np.repeat(grey[..., None], 3, axis=-1)
    else:
        eight_bit = Image.fromarray(np.round(grey * 255).astype(np.uint8))
        rgb = np.asarray(to_srgb(eight_bit).convert("RGB"), dtype=np.float32) / 255
    if "transparency" in band.info:  # the one grey value that stands for nothing
        rgb[np.asarray(band) == band.info["transparency"]] = 1
    return rgb


def _deep_levels(picture: Image.Image) -> Callable[[np.ndarray], np.ndarray]:
    """The function from a picture's deep grey values to [0, 1], float32.

    16-bit values are divided by 65535, 12-bit ones by 4095. 32-bit integers and floats have no agreed white: 1 (floats
    only), 255 (floats only) or 65535, the first that no value exceeds, else the picture's own range is stretched.
    In a TIFF, zero may stand for white.
    """
    tags = getattr(picture, "tag_v2", {})
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or "white_is_zero" in picture.info
    unsigned = picture.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,)
    low, span = 0.0, 4095.0 if tags.get(_BITS) == (12,) else 65535.0
    if not picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        values = values.view(np.uint32) if unsigned else values
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(high - low):
            raise ValueError("it holds values that are not finite")
        whites = [w for w in ((65535.0,) if picture.mode == "I" else (1.0, 255.0, 65535.0)) if low >= 0 and high <= w]
        low, span = (0.0, whites[0]) if whites else (low, max(high - low, 1e-12))

    def levels(values: np.ndarray) -> np.ndarray:
        values = values.view(np.uint32) if unsigned else values
        grey = ((values.astype(np.float64) - low) / span).astype(np.float32)
        return 1 - grey if inverted else grey

    return levels


def _profile_transform(picture: Image.Image, mode: str) -> Transform | None:
    """What applies the embedded ICC profile to a picture of that mode; None without a profile that fits and works."""
    if not picture.info.get("icc_profile"):
        return None
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        space = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip())
        if space is None or (space != mode and (space != "RGB" or mode == "CMYK")):
            return None
        conversion = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), space, "RGB")
        apply = _applied(conversion, space)
        apply(Image.new(mode, (1, 1)))
    except Exception:  # a broken profile is no reason to refuse the pixels
        return None
    return apply


def _applied(conversion: ImageCms.ImageCmsTransform, space: str) -> Transform:
    from PIL import ImageCms

    def apply(picture: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(picture.convert(space), conversion)
        return picture if converted is None else converted

    return apply
