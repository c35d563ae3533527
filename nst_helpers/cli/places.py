"""Where pictures come from and where results go: both are tried before any work is done."""

from __future__ import annotations

import contextlib
import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..errors import ImageError, NSTError
from ..images import check_output, load_image
from ..io.atomic import check_writable
from ..samples import list_samples, load_sample

__all__ = ["OutputPaths", "load_source", "pixels_of", "try_to_write"]

_SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height
_ORIENTATION = 0x0112


def load_source(source: str, size: int | None) -> tuple[Tensor, str]:
    """A picture (1, 3, H, W) from a file, or from the package where no such file is; and what there is to say of it.

    Raises ImageError where neither is there; the sentence names what it may have been meant to be.
    """
    try:
        path = Path(source).expanduser()
        is_folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null character, an unknown user
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"'{shortened(source)}' can't be a picture's name ({reason}): give a shorter path.") from None
    samples = list_samples()
    if source in samples and (is_folder or not there):
        said = f"{source} is the package's own picture here, and not the folder beside it." if is_folder else ""
        return load_sample(source, size=size), said
    if not there and (guess := _guess(path, samples)):
        raise ImageError(
            f"'{shortened(source)}' is neither a file nor one of the package's own pictures: did you mean {guess}?"
        )
    return load_image(path, size=size), ""


def _guess(path: Path, samples: list[str]) -> str | None:
    """The sample, or the file in the same folder, whose name is most like this one's."""
    names = {name: name for name in samples} if path.name == str(path) and not path.suffix else {}
    with contextlib.suppress(OSError):
        names |= {entry.name: str(path.with_name(entry.name)) for entry in path.parent.iterdir() if entry.is_file()}
    lower = {name.lower(): told for name, told in names.items()}
    close = difflib.get_close_matches(path.name.lower(), lower, n=1)
    return lower[close[0]] if close else None


def pixels_of(source: str) -> tuple[int, int] | None:
    """Width and height of a picture file as it is looked at, read from its header; None for what isn't a file."""
    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(source) as picture:
        sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
        return (picture.height, picture.width) if sideways else picture.size
    return None


@dataclass(frozen=True)
class OutputPaths:
    """The files that a run writes: the picture, the checkpoint beside it, and the history if there is to be one."""

    picture: Path
    checkpoint: Path
    history: Path | None

    @classmethod
    def check(cls, output: str, history: str | None, *, sources: list[str]) -> OutputPaths:
        """Try every place. Raises ImageError or NSTError in one sentence where something stands in the way."""
        try:
            picture = check_output(output)
        except OSError as error:
            raise NSTError(f"'{shortened(output)}' can't be written ({error.strerror}): choose another name.") from None
        paths = cls(picture, picture.with_name(f"{picture.name}.checkpoint"), Path(history) if history else None)
        if paths.history and _same(paths.history, picture):
            raise NSTError(f"--history and --output are both '{picture}': give the history a name of its own.")
        if any(_same(Path(source), picture) for source in sources):
            raise NSTError(f"--output is '{picture}', which is also the picture to read: choose another name.")
        try_to_write(paths.picture, "--output")
        try_to_write(paths.checkpoint, "the checkpoint of --output")
        if paths.history:
            try_to_write(paths.history, "--history")
        return paths


def try_to_write(path: Path, what: str) -> None:
    """Make sure that a file of that name can be written, by writing one beside it; nothing stays behind.

    Raises NSTError in one sentence that begins with `what`.
    """
    try:
        if path.is_dir():
            raise NSTError(f"{what}: '{path}' is a folder: choose another name.")
        if not path.parent.is_dir():
            raise NSTError(f"{what}: the folder {path.parent} doesn't exist: make it first.")
        check_writable(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NSTError(f"{what}: '{shortened(str(path))}' can't be written ({reason}): choose another place.") from None


def _same(a: Path, b: Path) -> bool:
    """Whether both names stand for one file, which need not be there yet."""
    try:
        return os.path.realpath(a) == os.path.realpath(b) or (a.exists() and b.exists() and a.samefile(b))
    except (OSError, ValueError):
        return False


def shortened(name: str, most: int = 80) -> str:
    """A name to be read in a sentence.

    >>> shortened("x" * 100, 9)
    'xxxx…xxxx'
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
