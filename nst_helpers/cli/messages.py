"""What the command line says: through any terminal, and without ever stopping a run for it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..budget.estimate import Estimate
    from ..optimize import Result

__all__ = ["SafeOutput", "closing", "countdown", "drop_unwritten_output", "open_closed_streams"]


class SafeOutput(io.TextIOBase):
    """A text stream that takes every character and survives a reader who has gone.

    >>> terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> _ = SafeOutput(terminal).write("café")
    >>> terminal.flush()
    >>> terminal.buffer.getvalue()
    b'caf\\\\xe9'
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None in a program that was started with its output closed

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream behind, UTF-8 where it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream behind is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """The file behind. Raises OSError where there is none."""
        if self._stream is None:
            raise OSError("there is no file behind this stream")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be written; what can't is dropped."""
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def say(self, *lines: str) -> None:
        """Write whole lines, at once."""
        self.write("".join(f"{line}\n" for line in lines))
        self.flush()


def open_closed_streams() -> None:
    """As a program begins: a file that is opened later must not become the standard output by its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def drop_unwritten_output() -> None:
    """As a program ends: what can't be flushed is dropped, where Python would complain and exit with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def countdown(ahead: Estimate) -> Callable[[int], str]:
    """Says after each step how long the rest takes: as estimated, corrected by the pace of the steps made so far.

    >>> from nst_helpers.budget.estimate import Estimate
    >>> countdown(Estimate(90.0, ((10, 2.0), (10, 7.0)), 0, 0, 0))(10)
    'about 70 s left'
    """
    from ..budget.progress import Pace, left_words

    pace, last = Pace(), 0

    def left(step: int) -> str:
        nonlocal last
        pace.done(ahead.after(last) - ahead.after(step))
        last, rest = step, ahead.after(step)
        return left_words(rest * (pace.each or 1.0)) if rest else ""

    return left


def closing(result: Result, output: Path, photo: tuple[int, int] | None = None) -> str:
    """The last line: where the picture is, its size, the steps, the losses; `photo` is the width and height given."""
    if not result.history:
        return f"{output}: {result.stopped} before the first step"
    best = min(result.history, key=lambda e: (e.size != result.history[-1].size, e.loss))
    style = sum(best.style.values()) / max(len(best.style), 1)
    content = sum(best.content.values()) / max(len(best.content), 1)
    how = "" if result.stopped == "finished" else f", {result.stopped}"
    height, width = best.size
    scaled, steps = "", result.history[-1].step
    if photo and min(photo) > min(width, height):
        scaled = f"; scaled down from {photo[0]} x {photo[1]}: --size fit takes the largest that the memory holds"
    return (
        f"{output}: {width} x {height}, {steps} step{'s' * (steps > 1)} in {result.seconds:.1f} s{how}; "
        f"loss {best.loss:.4g} (content {content:.3g}, style {style:.3g}, total variation {best.tv:.3g}){scaled}"
    )
