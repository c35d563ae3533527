"""Picture files of every common kind -> one upright RGB array; `images.load_image` is the way in."""

from __future__ import annotations

import importlib
import io
import threading
import warnings
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, JpegImagePlugin, UnidentifiedImageError, features
from torch.nn import functional as F

from ..errors import ImageError
from .colours import is_deep, rgb_bands
from .containers import Bare, bare_pixels
from .recognise import HEIC_BRANDS, what_it_is

__all__ = ["FORMATS", "MAX_PIXELS", "check_pixels", "decode", "decode_opened", "exif_orientation"]

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP")  # and AVIF and HEIC, where Pillow can
MAX_PIXELS = 64_000_000
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where a smaller picture is asked for, so it may have more pixels.
# A progressive one keeps all its coefficients in memory even then.
MAX_JPEG, MAX_PROGRESSIVE = 4 * MAX_PIXELS, 2 * MAX_PIXELS
SCALED_ABOVE = 4_000_000  # pixels; larger pictures are scaled band by band, and JPEGs on decoding

# The largest share of its rows that a JPEG may lack at its end and still be used.
_MISSING = 1 / 16
_DNG_VERSION = 50706  # a tag of TIFF
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

# warnings.catch_warnings swaps the filters of the whole process: two threads at it can leave the wrong ones.
_WARNINGS_LOCK = threading.Lock()

Target = Callable[[int, int], tuple[int, int]]  # the height and width wanted, for those of the upright picture


class _Decoded(NamedTuple):
    pixels: np.ndarray
    missing: int | None = None  # rows at the end that the file no longer holds; None for a whole file


def decode(file: IO[bytes], label: str, *, target: Target | None = None) -> np.ndarray:
    """Read the first frame of an open picture file as sRGB.

    The picture is turned upright by its EXIF orientation, converted to sRGB by its ICC profile, and laid on
    white where it is transparent. What is wrong with the metadata alone is passed over. `label` names the
    file in errors. With `target`, a picture over 4 megapixels comes scaled down to the height and width that
    `target(height, width)` gives, if it is larger; this takes little memory, and a JPEG may then have up to
    256 megapixels.

    Returns an array (H, W, 3), float32 in [0, 1].

    Raises:
        ImageError: not a picture, damaged, or over 64 megapixels (seen in the header, before decoding).

    Warns:
        UserWarning: a JPEG breaks off at its very end, and is read.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("CMYK", (3, 2), (0, 0, 0, 255)).save(file, "TIFF")
        >>> decode(file, "black.tif").max().item()
        0.0
    """
    try:
        file.seek(0)
        if not file.read(1):
            raise ImageError(f"{label} is empty (0 bytes): fetch or save the picture again.")
        with _WARNINGS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = _decode(file, label, target)
    except OSError as error:  # of the disk; what is wrong with the bytes is an ImageError by now
        raise ImageError(f"{label} can't be read ({error.strerror or error}): copy it to another place.") from error
    if decoded.missing is not None:
        rows = f"its last {decoded.missing} rows are missing" if decoded.missing else "its pixels are all there"
        warnings.warn(f"{label} breaks off before its end mark; {rows}, so it is used.", stacklevel=3)
    return decoded.pixels


def decode_opened(picture: Image.Image, label: str, *, target: Target | None = None) -> np.ndarray:
    """What `decode` returns, for a picture of Pillow; it stays at its size, so a JPEG isn't decoded smaller."""
    check_pixels(picture.height, picture.width, label, advice="scale it down with its method resize")
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture.load()
            return _pixels(picture, label, target)
        except ImageError:
            raise
        except Exception as error:
            raise _unreadable(None, label, error) from error


def check_pixels(height: int, width: int, label: str, *, advice: str = "ask for a smaller size") -> None:
    """Raise an ImageError if a picture of this height and width, in pixels, is over 64 megapixels.

    Example:
        >>> check_pixels(8000, 8000, "poster.png")
    """
    _check_count(height, width, label, MAX_PIXELS, advice)


def _check_count(height: int, width: int, label: str, limit: int, advice: str) -> None:
    if height * width > limit:
        raise ImageError(
            f"{label} ({width} x {height} pixels) has more than {limit // 1_000_000} megapixels: {advice}."
        )


def _decode(file: IO[bytes], label: str, target: Target | None) -> _Decoded:
    """Try the file as it is, then its pixels without its metadata, then what there is of a JPEG that breaks off."""
    ways, failure = [_read_broken_off], Exception("its end is missing")
    if (bare := _filled_up(file)) is None:
        try:
            with _opened(file) as picture:
                return _Decoded(_pixels(picture, label, target))
        except ImageError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            failure = error
        file.seek(0)
        data = file.read()
        bare = bare_pixels(data)
        ways = [_read_bare, _read_broken_off] if data.startswith(_JPEG_START) else [_read_bare]
    if bare is not None:
        for way in ways:
            try:
                return way(bare, label, target)
            except ImageError:
                raise
            except Exception:  # the first failure says most
                continue
    raise _unreadable(file, label, failure) from failure


def _filled_up(file: IO[bytes]) -> Bare | None:
    """A JPEG without the zeros that stand at its end in place of pixels; None for any other file.

    A copy that was given its full length first and then broke off is such a file. A decoder takes the zeros for pixels
    and complains of nothing.
    """
    file.seek(0)
    is_jpeg = file.read(len(_JPEG_START)) == _JPEG_START
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - 64))
    if not is_jpeg or any(file.read()):
        return None
    file.seek(0)
    bare = bare_pixels(file.read().rstrip(b"\0"))
    return bare if bare is not None and _JPEG_END not in bare.data else None


def _read_bare(bare: Bare, label: str, target: Target | None) -> _Decoded:
    with _opened(io.BytesIO(bare.data)) as picture:
        if "white_is_zero" in bare.about and not is_deep(picture):
            raise ValueError("it isn't known how its samples are meant")
        picture.info.update(bare.about)
        return _Decoded(_pixels(picture, label, target))


def _read_broken_off(bare: Bare, label: str, target: Target | None) -> _Decoded:
    """A JPEG without its end. Two different endings are put to it: rows that come out alike don't depend on them."""
    data = bare.data.rstrip(b"\xff")
    noise = bytes(np.random.default_rng(0).integers(0, 255, 64, dtype=np.uint8))  # 0xFF would begin a marker
    with _opened(io.BytesIO(data + _JPEG_END)) as picture, _opened(io.BytesIO(data + noise + _JPEG_END)) as other:
        picture.info.update(bare.about)
        pixels = _pixels(picture, label, target)
        other.draft(None, picture.size)
        box = ImageChops.difference(picture, other).getbbox()
        missing = 0 if box is None else picture.height - box[1]
        if other.size != picture.size or missing > _MISSING * picture.height:
            raise OSError("its end is missing")
        return _Decoded(pixels, missing)


def _opened(file: IO[bytes]) -> Image.Image:
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    if head.startswith(_JPEG_START):  # without Pillow's own limit of pixels, which knows nothing of drafts
        try:
            return JpegImagePlugin.JpegImageFile(file)
        except SyntaxError as error:
            raise UnidentifiedImageError("not a JPEG after its first bytes") from error
    formats = list(FORMATS)
    if head[4:8] == b"ftyp":
        formats += ["AVIF"] if features.check("avif") else []
        formats += ["HEIF"] if any(brand in head for brand in HEIC_BRANDS) and _has_heif() else []
    return Image.open(file, formats=formats)


def _has_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _pixels(picture: Image.Image, label: str, target: Target | None) -> np.ndarray:
    """An opened picture -> (H, W, 3), float32, upright; scaled where it is large and `target` asks for less."""
    _check_header(picture, label, target)
    stored = picture.size
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and target and stored[0] * stored[1] > SCALED_ABOVE:
        turned = exif_orientation(picture) >= 5
        height, width = target(*(stored if turned else stored[::-1]))
        # Twice the size wanted leaves the last step of the scaling to a better filter.
        picture.draft(None, (2 * height, 2 * width) if turned else (2 * width, 2 * height))
        check_pixels(picture.height, picture.width, label)
    picture.load()
    # After loading: a TIFF is turned then, and a PNG's EXIF may stand at its end.
    orientation = exif_orientation(picture)
    if target is None or stored[0] * stored[1] <= SCALED_ABOVE:
        return _oriented_copy(picture, orientation)
    turned = orientation >= 5
    height, width = target(*(stored if turned else stored[::-1]))
    if turned:
        height, width = width, height
    if height >= picture.height or width >= picture.width:
        return _oriented_copy(picture, orientation)
    return np.ascontiguousarray(_upright(_scaled(picture, height, width), orientation))


def _check_header(picture: Image.Image, label: str, target: Target | None) -> None:
    height, width = picture.height, picture.width
    if 0 in picture.size:
        raise ImageError(f"{label} is {width} x {height} pixels, so there is nothing in it: make it again.")
    if _DNG_VERSION in getattr(picture, "tag_v2", {}):  # what Pillow would read is the thumbnail
        raise ImageError(f"{label} is a camera's raw picture (DNG): export it as PNG or JPEG.")
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        check_pixels(
            height, width, label, advice="scale it down with another program, or save it as JPEG, which is read smaller"
        )
    elif target is None:
        check_pixels(height, width, label, advice="ask for a smaller size, as in size=512")
    elif height * width > MAX_PIXELS:
        progressive = "progressive" in picture.info
        what = f"{label}, a {'progressive' if progressive else 'plain'} JPEG,"
        limit = MAX_PROGRESSIVE if progressive else MAX_JPEG
        _check_count(height, width, what, limit, "scale it down with another program")


def exif_orientation(picture: Image.Image) -> int:
    """How a picture is to be turned, 1 to 8 as EXIF counts; 1 where that can't be read."""
    try:
        found = int(picture.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return 1
    return found if 1 <= found <= 8 else 1


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A view of (H, W, 3) that is turned upright as the EXIF orientation says."""
    if orientation >= 5:
        stored = stored.transpose(1, 0, 2)
    # Now the rows or the columns, or both, may run backwards.
    return stored[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _oriented_copy(picture: Image.Image, orientation: int) -> np.ndarray:
    height, width = picture.size if orientation >= 5 else picture.size[::-1]
    upright = np.empty((3, height, width), np.float32).transpose(1, 2, 0)  # the order in which torch wants it
    # Turning is its own inverse but for quarter turns, which are each other's.
    stored = _upright(upright, {6: 8, 8: 6}.get(orientation, orientation))
    for top, band in rgb_bands(picture):
        stored[top : top + len(band)] = band
    return upright


def _scaled(picture: Image.Image, height: int, width: int) -> np.ndarray:
    """(height, width, 3), in the same way as `images.resize`, but across first and band by band, then down."""
    narrow = torch.empty(1, 3, picture.height, width, dtype=torch.float32, device="cpu")
    for top, band in rgb_bands(picture):
        rows = torch.from_numpy(band).permute(2, 0, 1)[None]
        narrow[:, :, top : top + len(band)] = F.interpolate(
            rows, size=(len(band), width), mode="bicubic", antialias=True
        )
    scaled = F.interpolate(narrow, size=(height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)[0].permute(1, 2, 0).numpy()


def _unreadable(file: IO[bytes] | None, label: str, error: Exception) -> ImageError:
    """The sentence for a picture that couldn't be read."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{label} has more than {MAX_PIXELS // 1_000_000} megapixels: scale it down first.")
    if isinstance(error, MemoryError):
        return ImageError(f"{label} needs more memory than there is: ask for a smaller size, or scale it down first.")
    if isinstance(error, UnidentifiedImageError):
        known = what_it_is(file) if file is not None else None
        other = "is not a picture of a kind that is read here, or its beginning is damaged: export it as"
        known = known or f"{other} {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        return ImageError(f"{label} {known}.")
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{label} is damaged or cut short ({reason}): fetch or export the picture again.")
