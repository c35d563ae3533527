"""Pictures of a person's own, as an upload widget brings them."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets

from ..errors import NSTError
from ..images import load_image, resize
from ..io.sources import shown
from ..samples import list_samples
from .sources import NamedImage, named_image

__all__ = ["uploaded", "uploaded_pictures"]

LARGEST = 768  # short side in pixels; the largest size on offer is 512


def uploaded_pictures(upload: widgets.FileUpload) -> list[NamedImage]:
    """Take the pictures out of an upload widget, each named as its file; ImageError names the file."""
    pictures = []
    for name, data in uploaded(upload):
        try:
            image = load_image(data)
        except NSTError as error:
            raise type(error)(str(error).replace("the data given as bytes", shown(name))) from error
        if min(image.shape[-2:]) > LARGEST:
            image = resize(image, LARGEST)
        stem = Path(name).stem or "yours"
        pictures.append(named_image(image, f"{stem} (yours)" if stem in list_samples() else stem))
    return pictures


def uploaded(upload: widgets.FileUpload) -> list[tuple[str, bytes]]:
    """Take the files out of an upload widget, (name, bytes) each; its value is a tuple in ipywidgets 8, a dict in 7."""
    value = upload.value
    if isinstance(value, dict):
        files = [(name, bytes(file["content"])) for name, file in value.items()]
        upload.value.clear()
        upload._counter = 0
    else:
        files = [(file["name"], bytes(file["content"])) for file in value]
        upload.value = ()
    return files
