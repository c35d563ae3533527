"""The small JSON files that the package writes for itself: read as a dictionary, or as nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["LARGEST_RECORD", "read_record", "what_is_wrong"]

LARGEST_RECORD = 1 << 25  # bytes; a file of ours is far smaller, so a larger one isn't ours


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} for one that is missing, cut short, too large, too deep or no object.

    People edit such files, disks fill up and programs die while they write: whoever reads one has to get on without it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for text in ('{"steps": 3}', "[3]", "{", "[" * 100_000):
    ...         _ = (Path(folder) / "a.json").write_text(text)
    ...         print(read_record(Path(folder) / "a.json"))
    {'steps': 3}
    {}
    {}
    {}
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_RECORD:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # a name with a null byte is a ValueError
        return {}
    return found if isinstance(found, dict) else {}


def what_is_wrong(path: Path) -> str:
    """The end of a sentence on a file from which `read_record` got nothing.

    >>> what_is_wrong(Path("no such file"))
    ', as there is no such file: check the path.'
    """
    try:
        if not path.is_file():
            return f", as there is {'only a folder of that name' if path.is_dir() else 'no such file'}: check the path."
        if path.stat().st_size <= LARGEST_RECORD:
            json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        return f" ({error}): mend what was edited there, or save it anew."
    except (OSError, ValueError, RecursionError):
        pass
    return ": check the path, or save it anew."
