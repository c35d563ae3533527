"""The pictures that come with the course: their names, what is known of them, and the images."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import ImageError
from .images import load_image
from .io.sizes import TargetSize
from .io.sources import shown

__all__ = ["list_samples", "load_sample", "sample_info"]

KINDS = ("content", "style")


def list_samples(kind: str | None = None) -> list[str]:
    """Names of the pictures that come with the course: all, or those of kind "content" or "style".

    Raises:
        ImageError: another kind, or pictures that are not where they belong.

    Example:
        >>> set(list_samples("style")) <= set(list_samples())
        True
    """
    if kind is not None and kind not in KINDS:
        raise ImageError(f"there is no kind of sample {shown(kind)}: choose 'content', 'style' or None for both.")
    return [entry["name"] for entry in _entries() if kind in (None, entry["kind"])]


def sample_info(name: str) -> dict[str, Any]:
    """What is known of a sample: title, author, year, licence, source, width, height, sha256, alt and path.

    Raises:
        ImageError: no sample of this name; the sentence lists those there are.

    Example:
        >>> all(sample_info(name)["path"].is_file() for name in list_samples())
        True
    """
    entries = {entry["name"]: entry for entry in _entries()}
    if not isinstance(name, str) or name not in entries:
        close = difflib.get_close_matches(str(name).lower()[:100], entries, n=1)
        guess = f"did you mean {close[0]!r}? There are" if close else "there are"
        raise ImageError(f"no sample is called {shown(name)}: {guess} {', '.join(entries)}.")
    return {**entries[name], "path": _data_root() / entries[name]["file"]}


def load_sample(name: str, *, size: TargetSize | None = None, crop: bool = False) -> Tensor:
    """Load a sample by its name, with `size` and `crop` as in `load_image`.

    Returns an image (1, 3, H, W), float32 in [0, 1].

    Raises:
        ImageError: no sample of this name, or an impossible size.

    Example:
        >>> [load_sample(name, size=64, crop=True).shape for name in list_samples("content")[:1]]
        [torch.Size([1, 3, 64, 64])]
    """
    return load_image(sample_info(name)["path"], size=size, crop=crop)


def _data_root() -> Path:
    """The folder of the samples: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    for root in (package / "data", package.parent / "data"):
        if (root / "images.toml").is_file():
            return root
    raise ImageError(f"the samples are missing from {package.parent / 'data'}: install nst-helpers again.")


def _entries() -> list[dict[str, Any]]:
    with (_data_root() / "images.toml").open("rb") as file:
        return tomllib.load(file)["image"]
