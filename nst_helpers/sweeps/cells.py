"""One cell of a sweep: running it anywhere, naming it, and keeping it in a folder."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder
from ..engine.checkpoints import convention_in_words
from ..engine.settings import options
from ..errors import NSTError
from ..images import load_image, resize, save_image
from ..io.atomic import write_whole
from ..io.records import read_record
from ..losses import Convention
from ..optimize import stylize
from ..samples import list_samples, load_sample

__all__ = ["Cell", "Job", "cell_key", "finish", "recall", "run_job"]

Job = bytes | dict[str, Any]  # what a cell is run with, pickled unless it stays in this process
RECORDED = {"stopped", "seconds", "loss", "content", "style", "evaluations"}  # what a record keeps of a cell


@dataclass
class Cell:
    """One cell of a sweep: its settings, and the run's picture and last losses, or the sentence it failed with."""

    index: int
    label: str  # what sets this cell apart, in words
    settings: dict[str, Any]  # the grid's options of this cell, as words where they are no numbers
    image: Tensor | None = None
    loss: float | None = None
    content: dict[str, float] = field(default_factory=dict)
    style: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0
    seconds: float = 0.0
    stopped: str = ""  # "finished", "diverged", "interrupted" or "failed"
    error: str = ""
    path: str = ""  # the picture's file, where there is a folder

    @property
    def ok(self) -> bool:
        """Whether there is a picture."""
        return self.stopped in ("finished", "diverged")


def cell_key(job: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that are the same for the same run, in any process."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(repr(tuple(value.shape)).encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, Encoder):
            digest.update(repr((value.architecture, value.pool)).encode())
            for parameter in value.parameters():
                add(parameter)
        elif isinstance(value, Convention):
            digest.update(convention_in_words(value).encode())
        elif isinstance(value, Mapping):
            for name in sorted(value):
                add(name)
                add(value[name])
        elif isinstance(value, (list, tuple)):
            for part in value:
                add(part)
        elif isinstance(value, (str, Path)) and _is_file(value):
            digest.update(Path(value).read_bytes())
        else:
            digest.update(repr(value).encode())
        digest.update(b"\0")

    add(job)
    return digest.hexdigest()[:12]


def run_job(given: Job) -> bytes:
    """Run one cell in whatever process or thread this is; returns the pickled outcome."""
    job = pickle.loads(given) if isinstance(given, bytes) else dict(given)
    threads, before = job.pop("threads"), torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        # A number is the size to read at; "fit" is for stylize to find.
        size = options()["size"].check(job["size"])
        size = job.pop("size") if isinstance(size, int) else None
        content = _read(job.pop("content"), size)
        style = job.pop("style")
        style = [_read(s, size) for s in style] if isinstance(style, (list, tuple)) else _read(style, size)
        result = stylize(content, style, **job)
        best = min(result.history, key=lambda e: (e.size != result.history[-1].size, e.loss), default=None)
        record: dict[str, Any] = {"stopped": result.stopped, "seconds": result.seconds}
        if best is not None:
            record |= {
                "loss": best.loss,
                "content": best.content,
                "style": best.style,
                "evaluations": len(result.history),
            }
        return pickle.dumps((record, result.image.numpy()))
    except Exception as error:
        words = str(error) if isinstance(error, (NSTError, ValueError)) else f"{type(error).__name__}: {error}"
        return pickle.dumps(({"stopped": "failed", "error": words}, None))
    finally:
        torch.set_num_threads(before)


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a name that is too long for this system
        return False


def _read(picture: Any, size: int | None) -> Tensor:
    if isinstance(picture, Tensor):
        return picture if size is None else resize(picture, size)
    if str(picture) in list_samples() and not _is_file(picture):
        return load_sample(str(picture), size=size)
    return load_image(picture, size=size)


def finish(cell: Cell, outcome: bytes | BaseException, file: Path | None) -> None:
    """Put a run's outcome into its cell, and keep its picture and record beside `file`, a path without a suffix."""
    if isinstance(outcome, BaseException):
        words = (
            "the worker died; it may have run out of memory" if isinstance(outcome, BrokenExecutor) else str(outcome)
        )
        cell.stopped, cell.error = "failed", words or type(outcome).__name__
        return
    record, image = pickle.loads(outcome)
    for name, value in record.items():
        setattr(cell, name, value)
    cell.image = None if image is None else torch.from_numpy(image)
    if file is not None and cell.ok and cell.image is not None:
        picture = file.with_suffix(".png")
        try:
            save_image(cell.image, picture)
            # The record comes last and whole: where it is, the picture is too.
            write_whole(file.with_suffix(".json"), json.dumps({"label": cell.label, **record}, indent=1).encode())
        except (OSError, NSTError) as error:  # a full disk costs the files, not the sweep
            cell.error = f"it could not be kept in the folder: {' '.join(str(error).split())}"
            return
        recall(cell, file)


def recall(cell: Cell, file: Path | None) -> bool:
    """Take a finished cell from the folder, if it is there: its picture is the file's, rounded to 8 bits.

    A record that isn't one, whatever stands in it, counts as missing: the cell is run again.
    """
    if file is None:
        return False
    # By the run's key, whatever the cell's place in the grid was then.
    for kept in sorted(file.parent.glob(f"*_{file.name.rpartition('_')[2]}.json")):
        record = read_record(kept)
        if not _is_sound(record):
            continue
        try:
            cell.image = load_image(kept.with_suffix(".png"))
        except (OSError, ValueError):
            continue
        for name in RECORDED & record.keys():
            setattr(cell, name, record[name])
        cell.path = str(kept.with_suffix(".png"))
        return True
    return False


def _is_sound(record: Mapping[str, Any]) -> bool:
    """Whether a record says what a finished run says."""
    losses = [record.get(name, {}) for name in ("content", "style")]
    numbers = [record.get("seconds"), record.get("evaluations", 0), *([record["loss"]] if "loss" in record else [])]
    numbers += [value for part in losses if isinstance(part, dict) for value in part.values()]
    return (
        record.get("stopped") in ("finished", "diverged")
        and all(isinstance(part, dict) for part in losses)
        and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers)
    )
