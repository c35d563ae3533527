"""Pictures in files <-> image tensors (B, 3, H, W), float32 in [0, 1]: load, resize, check, save."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .errors import ImageError
from .io.atomic import check_writable, write_whole
from .io.decode import check_pixels, decode, decode_opened
from .io.sizes import TargetSize, check_size, whole_number
from .io.sources import Source, open_source, shown

__all__ = [
    "check_image",
    "check_output",
    "check_picture",
    "load_image",
    "resize",
    "save_image",
    "scaled",
    "scaled_size",
]

TRANSPARENT = (".png", ".webp")  # the formats that hold transparency
_TOLERANCE = 1e-6  # what float arithmetic may add to a value that is meant to lie in [0, 1]
_SAVE_AS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def load_image(source: Source | Image.Image, *, size: TargetSize | None = None, crop: bool = False) -> Tensor:
    """Load a picture: upright, in sRGB, transparent parts on white.

    Reads JPEG, PNG, WebP, GIF (first frame), TIFF and BMP, AVIF where Pillow can, and HEIC where the package
    pillow-heif is installed: from a path (`~` is your home folder), from bytes, from an open binary file, or from an
    upload of one file (`uploader.value`, Colab's `files.upload()`). A picture of Pillow is taken too. `size` and
    `crop` as in `resize`; without a size the picture keeps its own, and `crop=True` cuts out the centre square.

    Returns an image (1, 3, H, W), float32 in [0, 1].

    Raises:
        ImageError: no such file, not a picture, a damaged one, an impossible size, or over 64 megapixels (256 for a
            JPEG that is loaded at a smaller size).

    Warns:
        UserWarning: a JPEG breaks off at its very end, and is used as it is.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30), "gold").save(file, "PNG")
        >>> load_image(file, size=15).shape
        torch.Size([1, 3, 15, 20])
    """
    target = None
    if size is not None:
        size = check_size(size)
        target = functools.partial(scaled_size, size=size, crop=crop)
    if isinstance(source, Image.Image):
        array = decode_opened(source, "the picture", target=target)
    else:
        file, label = open_source(source)
        with file:
            array = decode(file, label, target=target)
    image = torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()
    if size is None and crop:
        size = min(image.shape[-2:])
    return image if size is None else scaled(image, size, crop=crop)


def resize(image: Tensor, size: TargetSize, *, crop: bool = False) -> Tensor:
    """Scale an image, antialiased bicubic, clamped to [0, 1] after.

    `size` in pixels: a number is the length of the short side, the aspect ratio stays; a pair is the exact
    (height, width). With `crop=True` nothing is distorted: the image is scaled to cover (height, width), or
    the square of the number, and what stands over is cut off on both sides alike.

    image (B, 3, H, W) in [0, 1] -> new tensor (B, 3, h, w) in [0, 1], differentiable.

    Raises:
        ImageError: not an image, or a size that is not positive or over 64 megapixels.

    Example:
        >>> image = torch.rand(2, 3, 30, 40)
        >>> resize(image, 60).shape, resize(image, (8, 16), crop=True).shape
        (torch.Size([2, 3, 60, 80]), torch.Size([2, 3, 8, 16]))
    """
    return scaled(check_image(image), check_size(size), crop=crop).clamp(0, 1)


def scaled(image: Tensor, size: TargetSize, *, crop: bool = False) -> Tensor:
    """`resize` for an image and a size that have been checked; an image of that size already is returned itself.

    >>> image = torch.rand(1, 3, 30, 40)
    >>> scaled(image, 60).shape, scaled(image, (30, 40)) is image
    (torch.Size([1, 3, 60, 80]), True)
    """
    target = scaled_size(image.shape[-2], image.shape[-1], size=size, crop=crop)
    if target != image.shape[-2:]:
        device = image.device if image.device.type in ("cpu", "cuda") else "cpu"  # others may lack the kernel
        # A CPU can't do this with 16 bits.
        exact = torch.promote_types(image.dtype, torch.float32)
        resampled = F.interpolate(image.to(device, exact), size=target, mode="bicubic", antialias=True)
        image = resampled.clamp(0, 1).to(image)
    if crop:
        height, width = _cropped_size(size)
        top, left = (target[0] - height) // 2, (target[1] - width) // 2
        image = image[..., top : top + height, left : left + width].contiguous()
    return image


def _cropped_size(size: TargetSize) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def scaled_size(height: int, width: int, *, size: TargetSize, crop: bool) -> tuple[int, int]:
    """Height and width to which a picture is scaled, before what stands over is cut off.

    >>> scaled_size(30, 40, size=60, crop=False), scaled_size(30, 40, size=(8, 16), crop=True)
    ((60, 80), (12, 16))
    """
    if crop:
        least = _cropped_size(size)
        scale = max(least[0] / height, least[1] / width)
        target = (max(least[0], round(height * scale)), max(least[1], round(width * scale)))
    elif isinstance(size, int):
        short = min(height, width)
        target = (round(height * size / short), round(width * size / short))
    else:
        target = size
    check_pixels(*target, "the picture at this size")
    return target


def check_image(image: object, *, name: str = "image") -> Tensor:
    """Return the image itself, having made sure that it is one: (B, 3, H, W), floating, finite, in [0, 1].

    Raises:
        ImageError: in one sentence, what `name` is instead and how to mend it.

    Example:
        >>> check_image(torch.zeros(3, 8, 8), name="content")
        Traceback (most recent call last):
        nst_helpers.errors.ImageError: content has shape (3, 8, 8), expected (B, 3, H, W): add the batch ...
    """
    if not isinstance(image, Tensor):
        kind = f"a {type(image).__name__}" if image is not None else "None"
        use = "its .image" if isinstance(getattr(image, "image", None), Tensor) else "load_image"
        raise ImageError(f"{name} is {kind}, expected a tensor (B, 3, H, W): use {use}.")
    if stored := how_stored(image):
        raise ImageError(f"{name} is {stored}, expected plain numbers (B, 3, H, W): use load_image.")
    shape = tuple(image.shape)
    if len(shape) != 4 or shape[1] != 3 or 0 in shape:
        if 0 in shape:
            hint = "there are no pixels in it"
        elif len(shape) == 3 and shape[0] == 3:
            hint = f"add the batch dimension with {name}[None]"
        elif len(shape) == 4 and shape[3] == 3:
            hint = f"put the channels first with {name}.permute(0, 3, 1, 2)"
        elif len(shape) == 4 and shape[1] == 1:
            hint = f"make grey RGB with {name}.repeat(1, 3, 1, 1)"
        else:
            hint = "load_image gives an image of this shape"
        raise ImageError(f"{name} has shape {shape}, expected (B, 3, H, W): {hint}.")
    if not image.is_floating_point():
        hint = f"use {name}.float() / 255" if image.dtype == torch.uint8 else "load_image gives float32"
        raise ImageError(f"{name} is of {image.dtype}, expected floating point numbers in [0, 1]: {hint}.")
    low, high = (bound.item() for bound in torch.aminmax(image.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"{name} holds NaN or infinite values, expected [0, 1]: look for the step that made them.")
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        use = f"{name} / 255" if low >= 0 and 2 < high <= 255 else f"{name}.clamp(0, 1)"
        raise ImageError(f"{name} ranges from {low:.7g} to {high:.7g}, expected [0, 1]: use {use}.")
    return image


def check_picture(image: object, *, name: str = "image") -> Tensor:
    """Return the image itself, having made sure that it is one and no batch of several: (1, 3, H, W).

    Raises ImageError as `check_image` does.

    >>> check_picture(torch.zeros(2, 3, 8, 8), name="photo")
    Traceback (most recent call last):
    nst_helpers.errors.ImageError: photo is a batch of 2, expected one picture: take photo[:1].
    """
    image = check_image(image, name=name)
    if len(image) != 1:
        raise ImageError(f"{name} is a batch of {len(image)}, expected one picture: take {name}[:1].")
    return image


def how_stored(tensor: Tensor) -> str | None:
    """What a tensor is that doesn't hold its numbers one by one (sparse, nested, 8-bit floats); None for all others.

    >>> how_stored(torch.zeros(1, device="meta")), how_stored(torch.zeros(1))
    ('a tensor of torch.float32, torch.strided, on meta', None)
    """
    dense = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type != "meta"
    if dense and not (tensor.is_floating_point() and tensor.dtype.itemsize == 1):
        return None
    return f"a tensor of {tensor.dtype}, {'nested' if tensor.is_nested else tensor.layout}, on {tensor.device}"


def save_image(
    image: Tensor,
    path: str | os.PathLike[str],
    *,
    quality: int = 92,
    parents: bool = False,
    alpha: Tensor | None = None,
) -> Path:
    """Save an image (1, 3, H, W) in [0, 1] as PNG, JPEG or WebP, by the extension; returns the path.

    Values are rounded to the nearest of 256. The file appears, or is replaced, as a whole or not at all.
    `quality` (1 to 100) is that of JPEG and WebP; `parents=True` makes missing folders. `alpha` (1, 1, H, W) in [0, 1]
    is how opaque each pixel is, in a PNG or WebP.

    Raises:
        ImageError: not an image, several, an unknown extension, a missing folder, a failed write, or transparency of
            another size or for a JPEG.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(torch.rand(1, 3, 8, 8), Path(folder) / "new" / "out.jpg", parents=True).name
        'out.jpg'
    """
    check_image(image)
    if len(image) != 1:
        raise ImageError(f"image is a batch of {len(image)}, expected one picture: save image[:1], then the others.")
    if (whole := whole_number(quality)) is None or not 1 <= whole <= 100:
        raise ImageError(f"quality is {quality!r}, expected a whole number from 1 to 100.")
    path = _file_in_a_folder(path, remedy="make it, or pass parents=True") if not parents else _named(path)
    kind = _SAVE_AS[path.suffix.lower()]
    if alpha is not None:
        if kind == "JPEG":
            raise ImageError(f"{shown(path)} is to be a JPEG, which has no transparency: choose .png or .webp.")
        if not isinstance(alpha, Tensor) or alpha.shape != (1, 1, *image.shape[-2:]):
            came = f"has shape {tuple(alpha.shape)}" if isinstance(alpha, Tensor) else f"is a {type(alpha).__name__}"
            raise ImageError(f"alpha {came}, expected a tensor (1, 1, H, W) of the image's size.")
        check_image(alpha.expand(-1, 3, -1, -1), name="alpha")
        image = torch.cat([image, alpha.to(image)], 1)
    pixels = image[0].detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu()
    encoded = io.BytesIO()
    try:
        # Colour at full resolution: JPEG's usual half resolution smears brush strokes.
        options = {"subsampling": 0} if kind == "JPEG" else {}
        Image.fromarray(pixels.numpy()).save(encoded, kind, quality=whole, **options)
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encoded.getvalue())
    except FileNotFoundError as error:
        raise ImageError(f"the folder of {shown(path)} doesn't exist: make it, or pass parents=True.") from error
    except (OSError, ValueError) as error:
        raise _not_writable(path, error) from error
    return path


def check_output(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work is done, that an image can be saved under this name; returns the path.

    A file is written beside it and removed again: only that tells whether the folder takes one.

    Raises:
        ImageError: an unknown extension, a missing folder, one that can't be written, or a folder where the file
            should be.

    Example:
        >>> check_output("out.png").name
        'out.png'
    """
    path = _file_in_a_folder(path, remedy="make it first")
    try:
        check_writable(path)
    except OSError as error:
        raise _not_writable(path, error) from error
    return path


def _file_in_a_folder(path: object, *, remedy: str) -> Path:
    """The path, once its folder is there and it is no folder itself."""
    path = _named(path)
    try:
        if path.is_dir():
            raise ImageError(f"{shown(path)} is a folder, expected the name of a file: add one, such as out.png.")
        if not path.parent.is_dir():
            raise ImageError(f"the folder of {shown(path)} doesn't exist: {remedy}.")
    except OSError as error:
        raise _not_writable(path, error) from error
    return path


def _not_writable(path: Path, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or error
    return ImageError(f"{shown(path)} can't be written ({reason}): choose another place, name or format.")


def _named(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ImageError(f"path is a {type(path).__name__}, expected the name of a file, such as 'out.png'.")
    path = Path(path)
    with contextlib.suppress(RuntimeError):  # no such user: the name is taken as it is
        path = path.expanduser()
    if path.name.lower() in _SAVE_AS:
        raise ImageError(f"{shown(path)} is an ending without a name: choose one such as out{path.name.lower()}.")
    if path.suffix.lower() not in _SAVE_AS:
        raise ImageError(f"{shown(path)} doesn't end in {', '.join(_SAVE_AS)}: choose one of these to save an image.")
    return path
