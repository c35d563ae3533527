"""What Linux's C library holds of memory that was let go of, and how it is handed to the system."""

from __future__ import annotations

import ctypes
import functools
import sys

__all__ = ["MMAP", "release_memory"]

# Above this the C library maps each tensor for itself and hands it back to the system after use.
MMAP = 32 * 2**20


def release_memory() -> None:
    """Hand memory that is free to the system, before something large needs room; elsewhere it does nothing.

    >>> release_memory()
    """
    if library := _library():
        library.malloc_trim(0)


@functools.cache
def _library() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.malloc_trim else None
    except (OSError, AttributeError):
        return None
