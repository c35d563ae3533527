"""Pictures of a person's own, as an upload widget brings them."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets
import traitlets

from ..errors import NSTError
from ..images import load_image, resize
from ..io.sources import shown
from ..samples import list_samples
from .sources import NamedImage, named_image

__all__ = ["Announcement", "too_large", "uploaded", "uploaded_pictures"]

LARGEST = 768  # short side in pixels; the largest size on offer is 512
LARGEST_MESSAGE = 10 * 2**20  # bytes: at a longer one a notebook server cuts the connection; the kernel hears nothing


class Announcement(widgets.Text):
    """What the page says of files right before it sends them: linked to an upload there, without the contents."""

    value = traitlets.Any(()).tag(sync=True)

    @classmethod
    def of(cls, upload: widgets.FileUpload) -> list[widgets.Widget]:
        """The announcement of an upload, and the link between the two; in ipywidgets 7 no link is possible."""
        if not upload.trait_metadata("value", "sync"):
            return []
        announced = cls()
        return [announced, widgets.jsdlink((upload, "value"), (announced, "value"))]


def too_large(announced: object) -> str:
    """A sentence about the first file that a notebook server won't let through; "" where there is none.

    >>> too_large([{"name": "a.jpg", "size": 14_000_000}])[:60]
    "'a.jpg' has 14 MB, and a notebook server takes 10 MB at once"
    >>> too_large([{"name": "a.jpg", "size": 9_000_000}])
    ''
    """
    for file in announced if isinstance(announced, (list, tuple)) else ():
        if file["size"] > LARGEST_MESSAGE - 2**16:  # the rest of the message counts, too
            return (
                f"'{file['name']}' has {file['size'] / 1e6:.0f} MB, and a notebook server takes 10 MB at once: save it "
                "smaller, 1000 pixels are plenty, and run this cell again, for the panel's connection may be cut."
            )
    return ""


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
