"""How a session's methods keep out of each other's way: one lock, which a step loop lets go of between two steps."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..accel.modes import plain_torch
from ..budget.available import is_out_of_memory
from ..budget.estimate import TooLargeError
from ..errors import NSTError

__all__ = ["locked"]

P = ParamSpec("P")
R = TypeVar("R")


class _Held(Protocol):
    """What a session has for it: the lock, the threads that wait for it, and a way out of half a step."""

    _lock: Any
    _waiting: set[int]

    def _undo_half_a_step(self) -> None: ...


S = TypeVar("S", bound=_Held)


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a method under the session's lock; a step loop in another thread lets it in after its evaluation."""

    @functools.wraps(method)
    def held(self: S, *args: P.args, **options: P.kwargs) -> R:
        thread = threading.get_ident()
        self._waiting.add(thread)
        try:
            with self._lock, plain_torch():
                self._waiting.discard(thread)
                self._undo_half_a_step()
                return method(self, *args, **options)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, NSTError) or not is_out_of_memory(error):
                raise
        finally:
            self._waiting.discard(thread)
        # Raised here and not in the handler: the caught error would keep the tensors that there was no room for.
        raise TooLargeError(
            "That needs more memory than there is, so nothing was changed: choose a smaller size or encoder."
        )

    return held
