"""Where pictures come from and where results go: both are tried before any work is done."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..engine.checkpoints import check_place
from ..engine.outputs import taken_places
from ..engine.values import file_path
from ..errors import ImageError, NSTError
from ..images import check_output, load_image
from ..io.atomic import check_writable, same_file
from ..io.decode import exif_orientation
from ..io.sources import one_line, open_source, path_meant, shown
from ..samples import list_samples, load_sample

__all__ = ["OutputPaths", "load_source", "pixels_of", "try_to_write"]


def load_source(source: str, size: int | None) -> tuple[Tensor, str]:
    """A picture (1, 3, H, W) from a file, or from the package where no such file is; and what there is to say of it.

    Raises ImageError where neither is there; the sentence names what it may have been meant to be.
    """
    try:
        path = Path(source).expanduser()
        is_folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null character, an unknown user
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(source)} can't be a picture's name ({reason}): give a shorter path.") from None
    samples = list_samples()
    if source in samples and (is_folder or not there):
        said = f"{source} is the package's own picture here, and not the folder beside it." if is_folder else ""
        return load_sample(source, size=size), said
    if not there and not path.is_symlink() and (guess := _guess(path, samples)):
        raise ImageError(
            f"{shown(source)} is neither a file nor one of the package's own pictures: did you mean {one_line(guess)}?"
        )
    return load_image(source, size=size), ""


def _guess(path: Path, samples: list[str]) -> str | None:
    """The sample, or the file in the same folder, whose name is most like this one's."""
    alone = path.name == str(path)
    if alone and path.stem in samples:  # as the sample's file is called
        return path.stem
    names = {name: name for name in samples} if alone and not path.suffix else {}
    with contextlib.suppress(OSError, ValueError):
        names |= {entry.name: str(path.with_name(entry.name)) for entry in path.parent.iterdir() if entry.is_file()}
    lower = {name.lower(): shown_as for name, shown_as in names.items()}
    close = difflib.get_close_matches(path.name.lower(), lower, n=1)
    return lower[close[0]] if close else None


def pixels_of(source: str) -> tuple[int, int] | None:
    """Width and height of a picture file as it is looked at, read from its header; None for what isn't a file."""
    # What is wrong with a picture has been told when it was loaded, and this must not stop the painting's saving.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file, _ = open_source(source)
        with file, Image.open(file) as picture:
            # Pillow tells the size of a TIFF as it is looked at.
            sideways = picture.format != "TIFF" and exif_orientation(picture) >= 5
            return (picture.height, picture.width) if sideways else picture.size
    return None


@dataclass(frozen=True)
class OutputPaths:
    """The files that a run writes: the picture, the checkpoint beside it, and the history if there is to be one."""

    picture: Path
    checkpoint: Path
    history: Path | None

    @classmethod
    def check(
        cls, output: str, history: str | None, *, sources: Iterable[str], on_the_way: Sequence[int] = ()
    ) -> OutputPaths:
        """Try every place; `on_the_way` are the steps after which a picture is saved, too.

        Raises ImageError or NSTError in one sentence where something stands in the way, or would be lost: a file that
        the run reads, or one beside the output that is no checkpoint.
        """
        try:
            picture = check_output(output)
        except OSError as error:
            raise NSTError(f"{shown(output)} can't be written ({error.strerror}): choose another name.") from None
        checkpoint = picture.with_name(f"{picture.name}.checkpoint")
        paths = cls(picture, checkpoint, None if history is None else file_path("--history", history))
        if paths.history and same_file(paths.history, picture):
            raise NSTError(f"--history and --output are both {shown(picture)}: give the history a name of its own.")
        if paths.history and same_file(paths.history, checkpoint):
            raise NSTError(f"--history is {shown(checkpoint)}, which is the checkpoint's name: choose another.")
        written = [("--output", picture), ("the checkpoint of --output", checkpoint)]
        written += [("--history", paths.history)] if paths.history else []
        written += [("--save-every", place) for place in taken_places(picture, on_the_way)]
        read = [path_meant(source) for source in sources]
        for what, place in written:
            if any(same_file(path, place) for path in read):
                raise NSTError(f"{what} is {shown(place)}, which is also a file to read: choose another name.")
        try_to_write(picture, "--output")
        try_to_write(checkpoint, "the checkpoint of --output")
        check_place(checkpoint)
        if paths.history:
            try_to_write(paths.history, "--history")
        return paths


def try_to_write(path: Path, what: str) -> None:
    """Make sure that a file of that name can be written, by writing one beside it; nothing stays behind.

    Raises NSTError in one sentence that begins with `what`.
    """
    try:
        if path.is_dir():
            raise NSTError(f"{what}: {shown(path)} is a folder: choose another name.")
        if not path.parent.is_dir():
            raise NSTError(f"{what}: the folder {shown(path.parent)} doesn't exist: make it first.")
        check_writable(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NSTError(f"{what}: {shown(path)} can't be written ({reason}): choose another place.") from None
