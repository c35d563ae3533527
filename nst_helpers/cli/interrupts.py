"""Ctrl-C and its kind: what they do depends on whether there is something to save yet."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["EXIT_CODE", "NOTHING_SAVED", "Interrupts"]

EXIT_CODE = 130  # what a shell reports for a program that Ctrl-C ended
NOTHING_SAVED = "nst_helpers: interrupted before the first step; nothing was saved."
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # those that the system has
HELD = (signal.SIGINT, signal.SIGTERM)  # by engine.interrupts


class Interrupts:
    """Hears Ctrl-C, a request to terminate, and a closed terminal, and treats the three alike.

    Before the first step there is nothing to save: the run ends at once. While it paints, a KeyboardInterrupt ends it;
    `engine.interrupts` lets the step under way end first, unless one more signal comes. What saves a picture is never
    interrupted.

    `exits=True` is for a program of its own: before the first step it leaves without going through code that may be in
    the middle of an import.

    >>> interrupts = Interrupts()
    >>> with interrupts.heard():
    ...     interrupts.saving()
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("saved")
    saved
    """

    def __init__(self, *, exits: bool = False) -> None:
        self._exits = exits
        self._phase = "before"

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear the signals meanwhile, and leave the caller's handlers as they were.

        Python lets only the main thread set handlers: in another one nothing is heard and nothing is changed.
        """
        old: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)
                # A shell starts a background job with Ctrl-C ignored, and this command heeds it all the same. Other
                # ignored signals stay ignored: nohup asks for that.
                if number is None or (signal.getsignal(number) is signal.SIG_IGN and name != "SIGINT"):
                    continue
                old[number] = signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in old.items():
                if self._exits and self._phase in ("ending", "saving"):
                    handler = signal.SIG_IGN  # all is saved, and the interpreter's own end is not to be cut short
                # None stands for a handler that Python didn't set and can't set again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def painting(self) -> None:
        """From now on there is a picture to save."""
        if self._phase == "before":
            self._phase = "painting"

    def saving(self) -> None:
        """From now on nothing may interrupt."""
        self._phase = "saving"

    def check(self) -> None:
        """End the run now, if that was asked for and got lost. Raises KeyboardInterrupt."""
        if self._phase == "ending":
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number not in HELD:
            signal.raise_signal(signal.SIGTERM)  # which a step under way holds back
        elif self._phase == "before" and self._exits:
            with contextlib.suppress(OSError):
                os.write(2, f"{NOTHING_SAVED}\n".encode())
            os._exit(EXIT_CODE)
        elif self._phase in ("before", "painting"):
            if self._phase == "painting":
                self._phase = "ending"
            raise KeyboardInterrupt
