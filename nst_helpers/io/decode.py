"""Picture files of every common kind -> one upright RGB array; `images.load_image` is the way in."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import stat
import threading
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError

__all__ = ["FORMATS", "MAX_PIXELS", "check_pixels", "decode", "open_source"]

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP")
MAX_PIXELS = 64_000_000

_READABLE = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
_TOO_LARGE = f"has more than {MAX_PIXELS // 1_000_000} megapixels: scale it down or ask for a smaller size."

# warnings.catch_warnings swaps the filters of the whole process: two threads at it can leave the wrong ones.
_WARNINGS_LOCK = threading.Lock()

# EXIF orientation -> what puts the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_source(source: str | os.PathLike[str] | bytes | IO[bytes]) -> tuple[IO[bytes], str]:
    """Open a path, bytes or a binary file-like object for reading.

    Returns the open binary file, which is the caller's to close, and what to call it in errors.

    Raises:
        ImageError: nothing there, a folder, no permission, a file open as text, or another type altogether.

    Example:
        >>> open_source(b"GIF89a")[1]
        'the data given as bytes'
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), "the data given as bytes"
    if hasattr(source, "read"):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # streams only go forward
            source.seek(0)
        try:
            return io.BytesIO(source.read()), "the open file"
        except TypeError as error:
            raise ImageError("the open file gives text, expected bytes: open it with mode 'rb'.") from error
        except (OSError, ValueError) as error:
            raise ImageError(f"the open file can't be read ({error}): open it anew, with mode 'rb'.") from error
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise ImageError(f"a {kind} can't be loaded, expected a path, bytes or an open binary file of a picture.")
    path, label = Path(os.fsdecode(source)), f"'{os.fsdecode(source)}'"
    if label.startswith(("'http://", "'https://")):
        raise ImageError(f"{label} is a web address, expected a file: download it first, then give its path.")
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            return path.open("rb"), label
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"there is no file {label}{_hint(path)}") from error
    except PermissionError as error:
        raise ImageError(f"{label} may not be read: change its permissions, or copy it to a place of yours.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{label} can't be opened ({reason}): check the path.") from error
    what = "a folder" if stat.S_ISDIR(kind) else "not an ordinary file"
    raise ImageError(f"{label} is {what}, expected a picture file: name one.")


def _hint(missing: Path) -> str:
    """How to go on from a path that leads nowhere: a missing folder, or a file of a similar name."""
    folder = missing.parent
    if not folder.is_dir():
        return f": its folder doesn't exist either (the working folder is {Path.cwd()})."
    names = {}
    with contextlib.suppress(OSError):
        names = {entry.name.lower(): entry.name for entry in folder.iterdir() if entry.is_file()}
    close = difflib.get_close_matches(missing.name.lower(), names, n=1)
    return f": did you mean '{folder / names[close[0]]}'?" if close else f" in {folder.resolve()}: check the name."


def decode(file: IO[bytes], label: str) -> np.ndarray:
    """Read the first frame of an open picture file as sRGB.

    The picture is turned upright by its EXIF orientation, converted to sRGB by its ICC profile, and laid on
    white where it is transparent. What is wrong with the metadata alone is passed over. `label` names the
    file in errors.

    Returns an array (H, W, 3), float32 in [0, 1].

    Raises:
        ImageError: not a picture, damaged, or over 64 megapixels (seen in the header, before decoding).

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("CMYK", (3, 2), (0, 0, 0, 255)).save(file, "TIFF")
        >>> decode(file, "black.tif").max().item()
        0.0
    """
    file.seek(0)
    head = file.read(12)
    if not head:
        raise ImageError(f"{label} is empty (0 bytes): fetch or save the picture again.")
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=FORMATS) as picture:
                check_pixels(picture.height, picture.width, label)
                picture.load()
                return _to_rgb(_upright(picture))
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(f"{label} {_TOO_LARGE}") from error
        except UnidentifiedImageError as error:
            foreign = head[4:8] == b"ftyp"  # the container of HEIC, AVIF and MP4
            came = "a HEIC or AVIF picture, or a video" if foreign else "not a picture, or its beginning is damaged"
            raise ImageError(f"{label} is {came}: export it as {_READABLE}.") from error
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            reason = str(error) or type(error).__name__
            raise ImageError(
                f"{label} is damaged or cut short ({reason}): fetch or export the picture again."
            ) from error


def check_pixels(height: int, width: int, label: str) -> None:
    """Raise an ImageError if a picture of this height and width, in pixels, is over 64 megapixels.

    Example:
        >>> check_pixels(8000, 8000, "poster.png")
    """
    if height * width > MAX_PIXELS:
        raise ImageError(f"{label} ({width} x {height} pixels) {_TOO_LARGE}")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return picture
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _to_rgb(picture: Image.Image) -> np.ndarray:
    """A loaded picture of any mode -> (H, W, 3) float32 in [0, 1], sRGB, on white."""
    grey = alpha = None
    if picture.mode == "F" or picture.mode.startswith("I"):
        grey = np.asarray(picture)
        if "transparency" in picture.info:  # the one grey value that stands for nothing
            alpha = (grey != picture.info["transparency"]).astype(np.float32)[..., None]
        grey = _unit_range(grey, picture.mode)
        eight_bit = Image.fromarray(np.round(grey * 255).astype(np.uint8))
        eight_bit.info["icc_profile"] = picture.info.get("icc_profile")
        picture = eight_bit
    elif picture.has_transparency_data:
        mode = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
        if picture.mode == "La":
            picture = picture.convert("LA")
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"), dtype=np.float32)[..., None] / 255
        picture = picture.convert(mode)
    converted = _to_srgb(picture)
    if grey is not None and converted is picture:  # no profile: keep all 16 bits
        rgb = np.repeat(grey[..., None], 3, axis=-1)
    else:
        rgb = np.asarray(converted.convert("RGB"), dtype=np.float32) / 255
    return rgb if alpha is None else 1 - alpha * (1 - rgb)


def _unit_range(grey: np.ndarray, mode: str) -> np.ndarray:
    """Deep grey values -> [0, 1], float32.

    16-bit values are divided by 65535. 32-bit integers and floats have no agreed white: 1 (floats only), 255
    (floats only) or 65535, the first that no value exceeds, else the picture's own range is stretched.
    """
    if mode.startswith("I;16"):
        return grey.astype(np.float32) / 65535
    grey = grey.astype(np.float64)
    low, high = grey.min(), grey.max()
    if not np.isfinite(high - low):
        raise ValueError("it holds values that are not finite")
    for white in (65535,) if mode == "I" else (1, 255, 65535):
        if low >= 0 and high <= white:
            return (grey / white).astype(np.float32)
    return ((grey - low) / max(high - low, 1e-12)).astype(np.float32)


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Apply the embedded ICC profile; the picture itself where there's none, or none that fits and works."""
    if not picture.info.get("icc_profile"):
        return picture
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        space = profile.profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
        if mode != picture.mode and (mode != "RGB" or picture.mode == "CMYK"):
            return picture
        colours = picture.convert(mode)
        return ImageCms.profileToProfile(colours, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception:  # a broken profile is no reason to refuse the pixels
        return picture
