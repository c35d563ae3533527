"""A temporary folder that ends with its process, or, where that one was killed, at the start of the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is marked
    fcntl = None  # type: ignore[assignment]

__all__ = ["ScratchFolder", "remove_abandoned"]

PREFIX = "nst-students-"
_LOCK = "in_use"


class ScratchFolder:
    """A new folder in the system's temporary folder, which this process holds a lock on while it needs it.

    The system lets go of the lock when the process ends, in whatever way.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked before it gets the name that others look for.
        fresh = self.path / f"{_LOCK}.new"
        self._lock = fresh.open("w")
        if fcntl:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self.path / _LOCK)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_abandoned() -> None:
    """Remove this user's folders that no living process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, in use, or gone by now
            if fcntl is None or folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
