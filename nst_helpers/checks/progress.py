"""How far a learner is: which exercises a check has found right, kept in a small file of the learner's own.

The file stays on the learner's computer and is never sent anywhere. `NST_PROGRESS` names another file, or is "off":
then nothing is kept, as in grading.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..io.atomic import write_whole
from ..io.records import read_record
from .verdicts import Verdict

__all__ = ["EXERCISES", "Progress", "note", "progress", "progress_file"]

# Each lesson's exercises that have a check, in the order of the lessons; a test holds this equal to the notebooks.
EXERCISES: dict[str, tuple[str, ...]] = {
    "00_quickstart": ("pixel_distance", "blend"),
    "01_images": ("to_tensor", "to_array", "normalize", "denormalize"),
    "02_content": ("receptive_field", "content_loss"),
    "03_gram": ("gram_matrix", "style_loss"),
    "04_model": ("content_loss_layer", "style_loss_layer", "total_loss"),
    "05_optimizers": ("make_closure", "total_variation"),
    "06_live_tuning": ("weight_ladder", "best_trades"),
    "07_control": ("match_color", "masked_gram"),
}
DONE, NOT_YET, TO_DO = "done", "not yet", "to do"


def progress_file() -> Path | None:
    """Where progress is kept, or None where that is switched off.

    >>> from unittest.mock import patch
    >>> with patch.dict("os.environ", NST_PROGRESS="off"):
    ...     print(progress_file())
    None
    """
    if (named := os.environ.get("NST_PROGRESS")) == "off":
        return None
    try:
        if named:
            return Path(named).expanduser()
        local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
        base = Path(os.environ.get("XDG_DATA_HOME") or local or "~/.local/share").expanduser()
    except RuntimeError:  # nobody's home: there is no place to keep it
        return None
    return base / "nst_helpers" / "progress.json"


def note(verdict: Verdict) -> None:
    """Remember what a check found. What was done once stays done; an unwritten answer changes nothing."""
    known, file = _read(), progress_file()
    state = DONE if verdict.passed else NOT_YET
    if file is None or verdict.mistake == "to-do" or known.get(verdict.name) in (DONE, state):
        return
    # A full disk or a read-only home costs the memory of an exercise, and never the answer to it.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({**known, verdict.name: state}, indent=1).encode())


@dataclass(frozen=True)
class Progress:
    """The exercises of each lesson, each with "done", "not yet" or "to do"."""

    lessons: dict[str, dict[str, str]]
    file: Path | None

    @property
    def done(self) -> int:
        """How many exercises are done."""
        return sum(state == DONE for states in self.lessons.values() for state in states.values())

    def __repr__(self) -> str:
        total, wide = sum(map(len, self.lessons.values())), max(map(len, self.lessons))
        marks = {DONE: "✓ {}", NOT_YET: "✗ {} (not yet)", TO_DO: "· {}"}
        lines = [
            f"{lesson:{wide}}  " + "   ".join(marks[state].format(name) for name, state in states.items())
            for lesson, states in self.lessons.items()
        ]
        kept = f"kept on this computer alone, in {self.file}" if self.file else "nothing is kept: NST_PROGRESS is off"
        return "\n".join([*lines, f"{self.done} of {total} exercises done ({kept})"])


def progress() -> Progress:
    """Which exercises of all lessons are done, as far as checks have seen on this computer.

    >>> from unittest.mock import patch
    >>> with patch.dict("os.environ", NST_PROGRESS="off"):
    ...     progress().done
    0
    """
    known = _read()
    return Progress({n: {e: known.get(e, TO_DO) for e in names} for n, names in EXERCISES.items()}, progress_file())


def _read() -> dict[str, str]:
    """What the file holds that can be used; anything else is as good as an empty file."""
    file = progress_file()
    names = {name for exercises in EXERCISES.values() for name in exercises}
    found = read_record(file) if file else {}
    return {name: state for name, state in found.items() if name in names and state in (DONE, NOT_YET)}
