"""What a page shows where the panel's widgets are dead: the last picture, and how to go on."""

from __future__ import annotations

import html
import sys
from typing import Any

from torch import Tensor

from .thumbnails import data_uri, sheet

__all__ = ["StillPicture", "running_cell"]

# The still picture gives way to the living panel above it. In JupyterLab each cell's outputs stand in an area of their
# own; other pages have no such class, and there it gives way to any panel.
STYLE = """<style>
.nst-still { margin:8px 0; } .nst-still img { max-width:100%; height:auto; } .nst-still figcaption { margin-top:4px; }
.jp-OutputArea:has(.nst-panel) > .jp-OutputArea-child:has(.nst-still) { display:none; }
body:not([data-jp-theme-name]):has(.nst-panel) .nst-still { display:none; }
.jp-OutputArea:has(.nst-still):not(:has(.nst-panel)) .jupyter-widgets { display:none; }
</style>"""


class StillPicture:
    """An output of its own below the panel, which is brought up to date now and then and stored with the notebook."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, *images: Tensor) -> None:
        """Display images (1, 3, H, W) side by side, with a text that says what they show."""
        from IPython import display

        self._handle = display.display(self._bundle(text, *images), raw=True, display_id=True)

    def update(self, text: str, *images: Tensor) -> None:
        """Put other images in the place of those shown; nothing where none are shown."""
        if self._handle is not None:
            self._handle.update(self._bundle(text, *images), raw=True)

    @staticmethod
    def _bundle(text: str, *images: Tensor) -> dict[str, str]:
        said = html.escape(text, quote=True)
        picture = f'<img src="{data_uri(sheet(*images), "image/jpeg")}" alt="{said}">'
        advice = "This picture stands still: run the cell again for a live panel."
        return {
            "text/plain": text,
            "text/html": f'{STYLE}<figure class="nst-still">{picture}<figcaption>{said} {advice}</figcaption></figure>',
        }


def running_cell() -> str | None:
    """The identity of the notebook cell that is being run, where the page tells it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "get_parent"):
        return None
    metadata = shell.get_parent().get("metadata", {})
    found = metadata.get("cellId") or metadata.get("colab", {}).get("cell_id")
    return str(found) if found else None
