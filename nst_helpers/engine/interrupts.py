"""Ctrl-C, the stop button and SIGTERM wait until the step that is being made is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["hold_interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def hold_interrupts(*, patience: int = 1, deliver: bool = True) -> Iterator[None]:
    """Within it, up to `patience` signals to stop wait for the end of the block; one more comes through at once.

    What comes is then handed to whoever handled it before, which for Ctrl-C means a KeyboardInterrupt. With
    `deliver=False` it is dropped: for the end of a run that is ending anyway. Outside of the main thread, where Python
    delivers no signals, this does nothing.

    >>> done = []
    >>> with contextlib.suppress(KeyboardInterrupt), hold_interrupts():
    ...     signal.raise_signal(signal.SIGINT)
    ...     done.append("all of it")
    >>> done
    ['all of it']
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    for stop in SIGNALS:
        if callable(handler := signal.getsignal(stop)):
            before[stop] = handler

    def keep_for_later(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))
        if len(held) > patience:
            hand_on()

    def hand_on() -> None:
        while held:
            number, frame = held.pop(0)
            before[number](number, frame)

    try:
        for number in before:
            signal.signal(number, keep_for_later)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if deliver:
            hand_on()
