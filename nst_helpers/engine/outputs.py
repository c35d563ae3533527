"""What a run leaves on disk: pictures on the way, checkpoints, and a second place where the first one fails."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..control.masks import resize_mask
from ..errors import ImageError, NSTError
from ..images import check_output, save_image
from ..io.atomic import same_file
from ..io.sources import path_meant, shown
from .checkpoints import check_place, write_checkpoint
from .values import check_value, count, file_path

__all__ = ["Outputs", "numbered", "save_or_rescue", "save_state", "taken_places"]


@dataclass(frozen=True)
class Outputs:
    """Where a run's picture and state go: every so many steps, and the state once more at the end.

    `alpha` (1, 1, H, W) is how opaque the pictures are, at any size of their proportions.
    Raises ValueError, ImageError or CheckpointError, before any work is done, for what can't be written.
    """

    every: int
    picture: Path | None
    checkpoint: Path | None
    alpha: Tensor | None = None

    def __post_init__(self) -> None:
        if self.every and self.picture is None and self.checkpoint is None:
            raise ValueError("save_every needs a path in save_to or checkpoint to save to.")
        if self.picture is not None and not self.every:
            raise ValueError("save_to needs save_every: it is for pictures on the way, every so many steps.")
        if self.picture is not None:
            check_output(self.picture)
        if self.checkpoint is not None:
            check_place(self.checkpoint)

    @classmethod
    def checked(cls, save_every: Any, save_to: Any, checkpoint: Any, resume: Any) -> Outputs:
        """The outputs that the options of `stylize` ask for; see the class for what it raises."""
        if check_value("flag", "resume", resume) and checkpoint is None:
            raise ValueError("resume needs a path in checkpoint to go on from.")
        return cls(
            every=count("save_every", save_every, least=0),
            picture=None if save_to is None else file_path("save_to", save_to),
            checkpoint=None if checkpoint is None else file_path("checkpoint", checkpoint),
        )

    def check_sources(self, content: object, styles: object, steps: int | Sequence[int]) -> None:
        """Raise ImageError where a picture on the way would replace a file that the run reads."""
        sources = [content, *(styles if isinstance(styles, (list, tuple)) else [styles])]
        read = [path_meant(os.fsdecode(source)) for source in sources if isinstance(source, (str, os.PathLike))]
        if self.picture is not None and read:
            total = steps if isinstance(steps, int) else sum(steps)
            for place in taken_places(self.picture, range(self.every, total + 1, self.every)):
                if any(same_file(path, place) for path in read):
                    raise ImageError(f"save_to would replace {shown(place)}, which is also read: choose another name.")

    def due(self, steps: int) -> bool:
        """Whether something is saved after so many steps."""
        return bool(self.every) and steps % self.every == 0

    def save_on_the_way(self, steps: int, image: Tensor, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save what there is to save after so many steps; a failure is told in a warning, and the run goes on."""
        for save in (lambda: self._save_picture(steps, image), lambda: self._save_checkpoint(state)):
            try:
                save()
            except NSTError as error:
                warnings.warn(f"After step {steps}: {error} The run goes on.", RuntimeWarning, stacklevel=3)

    def _save_picture(self, steps: int, image: Tensor) -> None:
        if self.picture is not None:
            alpha = None if self.alpha is None else resize_mask(self.alpha, like=image)
            save_image(image, numbered(self.picture, steps), alpha=alpha)

    def _save_checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, state())

    def save_state(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save the state at the end of a run, as the function of that name does."""
        if self.checkpoint is not None:
            save_state(self.checkpoint, state)


def save_state(path: Path, state: Callable[[], Mapping[str, Any]]) -> None:
    """Save a state, in a second place where the first one fails; where both fail it warns, as the picture is there."""
    try:
        content = state()
        save_or_rescue(lambda path: write_checkpoint(path, content), path)
    except (NSTError, OSError, MemoryError) as error:
        reason = str(error) or "not enough memory"
        warnings.warn(f"The run can't be resumed later: {reason}", RuntimeWarning, stacklevel=3)


def save_or_rescue(write: Callable[[Path], object], path: Path) -> Path:
    """Write a file; where that fails, write it to the folder for temporary files, and warn with its name.

    Returns where the file is. Raises what the first try raised where the second fails too.

    >>> import tempfile, warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     found = save_or_rescue(lambda path: path.write_text("state"), Path("no such folder") / "state.txt")
    >>> found.read_text(), str(found) in str(told[0].message)
    ('state', True)
    """
    try:
        write(path)
        return path
    except (NSTError, OSError) as error:
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix="nst_"))
            second = folder / path.name
            write(second)
        except (NSTError, OSError):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise error from None
        warnings.warn(
            f"{shown(path)} could not be written, so it was saved as '{second}': {error}", RuntimeWarning, stacklevel=2
        )
        return second


def taken_places(picture: Path, steps: Sequence[int]) -> list[Path]:
    """The files that pictures saved after these steps would replace.

    >>> taken_places(Path("no such folder") / "out.png", range(10, 100, 10))
    []
    """
    taken = []
    for entry in picture.parent.glob(f"{glob.escape(picture.stem)}_*"):
        step = entry.name.removeprefix(f"{picture.stem}_").removesuffix(picture.suffix)
        if step.isdecimal() and int(step) in steps and entry.name == numbered(picture, int(step)).name:
            taken.append(entry)
    return taken


def numbered(path: str | Path, step: int) -> Path:
    """The path with the step in its name.

    >>> numbered("out.png", 20).name
    'out_0020.png'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}_{step:04d}{path.suffix}")
