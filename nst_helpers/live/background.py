"""Work that may take longer than a message of the page should: a slow step, loading an encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Task"]

T = TypeVar("T")


class Task(Generic[T]):
    """A function that runs in a thread of its own. The thread ends with it, or with the program.

    >>> task = Task(lambda: 6 * 7)
    >>> task.wait(5), task.result()
    (True, 42)
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], T]) -> None:
        try:
            self._future.set_result(function())
        except BaseException as error:
            self._future.set_exception(error)

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._future.done()

    def wait(self, seconds: float) -> bool:
        """Wait for so long at most; returns whether it is done."""
        self._thread.join(seconds)
        return self.done

    def result(self) -> T:
        """What the function returned; raises what it raised."""
        return self._future.result()
