"""What of a picture file is opaque: its alpha channel, upright, which `decode` lays on white."""

from __future__ import annotations

import warnings
from typing import IO

import numpy as np
from PIL import Image, ImageOps

__all__ = ["alpha_of"]


def alpha_of(file: IO[bytes]) -> np.ndarray | None:
    """How opaque each pixel of an open picture file is, (H, W) float32 in [0, 1]; None where all of it is opaque.

    The file is one that `decode` has read.

    >>> import io
    >>> opened = io.BytesIO()
    >>> Image.new("RGBA", (2, 1), (0, 0, 0, 51)).save(opened, "PNG")
    >>> alpha_of(opened).tolist() == [[np.float32(0.2)] * 2]
    True
    """
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as picture:
                if "transparency" not in picture.info and "A" not in picture.getbands():
                    return None
                upright = ImageOps.exif_transpose(picture)
                alpha = np.asarray(upright.convert("RGBA").getchannel("A"), dtype=np.float32) / 255
    except Exception:  # decode reads some damaged files that Pillow by itself doesn't
        return None
    return None if alpha.min() == 1 else alpha
