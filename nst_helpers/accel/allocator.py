"""Memory that is used again and again stays with the process while a run lasts, and goes back to the system after it.

The C library of Linux hands every tensor above 32 MB back to the system when it is let go of, and asks for it anew at
the next one, zeroed page by page: from a twentieth to a fifth of an evaluation's time at 512 px. A run needs the same
tensors at each of its evaluations, so here they stay. A heap that keeps its pieces has holes, which take up to a fifth
more memory: that is for runs with room to spare. It holds for the whole process, and only while a run is under way.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator

__all__ = ["MMAP", "give_back", "keeps_memory", "kept_memory"]

# Above this the C library maps each tensor for itself and hands it back to the system after use.
MMAP = 32 * 2**20
# Of malloc.h: from how many bytes at the heap's end they are given back, and how many pieces may be mapped beside it.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
# What the C library arrives at by itself after large tensors, which setting any of the three would end.
USUAL = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: MMAP, M_TRIM_THRESHOLD: 64 * 2**20}
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}

_lock, _runs = threading.Lock(), 0


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The C library, where it is the one that knows these settings."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.gnu_get_libc_version and library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError):
        return None


def keeps_memory() -> bool:
    """Whether `kept_memory` can do anything here."""
    return _library() is not None


def give_back() -> None:
    """Hand memory that is free to the system.

    >>> give_back()
    """
    if library := _library():
        library.malloc_trim(0)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within it, memory that was let go of stays at hand; after the last of several, it is given back.

    >>> with kept_memory():
    ...     pass
    """
    global _runs
    if (library := _library()) is None:
        yield
        return
    with _lock:
        _runs += 1
        if _runs == 1:
            _set(library, KEEP)
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if not _runs:
                _set(library, USUAL)
                library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for option, value in values.items():
        library.mallopt(option, value)
