"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import IO

__all__ = ["check_writable", "same_file", "write_whole"]


def write_whole(path: Path, data: bytes, *, through_links: bool = True) -> None:
    """Write a file so that its name stands for the old bytes or the new ones, never for a part. Raises OSError.

    A file that is replaced keeps its mode, and its owner where that may be set; a new one follows the umask. A link's
    target is written; with `through_links=False` the link itself gives way to the file. A device or a pipe is refused.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.txt", b"whole")
    ...     (Path(folder) / "a.txt").read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(path)) if through_links else path
    _check_replaceable(target, links=not through_links)
    temporary = _beside(target)
    try:
        with temporary.open("xb") as file:  # unlike tempfile's 0600, the mode follows the umask
            _take_mode(file, target)
            file.write(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Make sure that `write_whole` can write under this name, by writing an empty file beside it. Raises OSError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(Path(folder) / "a.txt")
    ...     list(Path(folder).iterdir())
    []
    """
    target = Path(os.path.realpath(path))
    _check_replaceable(target, links=False)
    temporary = _beside(target)
    try:
        with temporary.open("xb"):
            pass
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _check_replaceable(target: Path, *, links: bool) -> None:
    """Raise OSError for what a file must not take the place of: devices, pipes, links that lead round in a circle."""
    try:
        mode = target.lstat().st_mode  # also fails for a long name whose temporary neighbour's would be short enough
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode) and not links:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(target))


def same_file(a: Path, b: Path) -> bool:
    """Whether both names stand for one file, which need not be there yet.

    >>> same_file(Path("a.png"), Path("new/../a.png"))
    True
    """
    try:
        return os.path.realpath(a) == os.path.realpath(b) or (a.exists() and b.exists() and a.samefile(b))
    except (OSError, ValueError):
        return False


def _beside(target: Path) -> Path:
    return target.with_name(f".nst-{secrets.token_hex(8)}.tmp")


def _take_mode(file: IO[bytes], target: Path) -> None:
    """Give a new, still empty file the mode and the owner of the one that it will replace."""
    if os.name != "posix":
        return
    try:
        old, new = target.lstat(), os.fstat(file.fileno())
    except OSError:
        return
    if not stat.S_ISREG(old.st_mode):
        return
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(OSError):  # only the superuser may give files away
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
