"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, data: bytes, *, through_links: bool = True) -> None:
    """Write a file so that its name stands for the old bytes or the new ones, never for a part. Raises OSError.

    A link's target is written; with `through_links=False` the link itself gives way to the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.txt", b"whole")
    ...     (Path(folder) / "a.txt").read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(path)) if through_links else path
    temporary = target.with_name(f".nst-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:  # unlike tempfile's 0600, the mode follows the umask
            file.write(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
