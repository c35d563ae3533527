"""The panel's pictures: JPEG bytes, thumbnails as HTML with a text for those who can't see them, the static sheet."""

from __future__ import annotations

import base64
import html
import io

import torch
from PIL import Image
from torch import Tensor

from ..images import resize

__all__ = ["data_uri", "jpeg", "png", "sheet", "thumbnail"]

THUMB = 132  # short side in pixels, twice what is shown, for sharp screens


def jpeg(image: Tensor, *, quality: int = 88) -> bytes:
    """An image (1, 3, H, W) as JPEG: about a millisecond at 192 px, where PNG takes a hundred times as long.

    >>> jpeg(torch.rand(1, 3, 8, 8))[:2]
    b'\\xff\\xd8'
    """
    file = io.BytesIO()
    _pillow(image).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def png(image: Tensor) -> bytes:
    """An image (1, 3, H, W) as PNG, without loss."""
    file = io.BytesIO()
    _pillow(image).save(file, "PNG")
    return file.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that holds them.

    >>> data_uri(b"{}", "application/json")
    'data:application/json;base64,e30='
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(image: Tensor, text: str) -> str:
    """A small picture with its text, as HTML."""
    small = resize(image.detach().clamp(0, 1), min(THUMB, *image.shape[-2:]))
    return f'<img src="{data_uri(jpeg(small), "image/jpeg")}" alt="{html.escape(text, quote=True)}">'


def sheet(*images: Tensor, height: int = 240) -> bytes:
    """Pictures side by side as JPEG: what a page without a kernel shows.

    >>> Image.open(io.BytesIO(sheet(torch.rand(1, 3, 20, 10), torch.rand(1, 3, 20, 20)))).size
    (372, 240)
    """
    tiles = [_pillow(resize(x, (height, max(1, round(x.shape[-1] * height / x.shape[-2]))))) for x in images]
    paper = Image.new("RGB", (sum(t.width for t in tiles) + 12 * (len(tiles) - 1), height), "white")
    left = 0
    for tile in tiles:
        paper.paste(tile, (left, 0))
        left += tile.width + 12
    file = io.BytesIO()
    paper.save(file, "JPEG", quality=88)
    return file.getvalue()


def _pillow(image: Tensor) -> Image.Image:
    pixels = image[0].detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu()
    return Image.fromarray(pixels.numpy())
