"""From what people hand to `load_image` (a path, bytes, an open file, an upload) to an open file and a name for it."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import ImageError

__all__ = ["Source", "one_line", "open_source", "path_meant", "shown"]

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Mapping[str, Any] | tuple[Any, ...]

# What Python makes of a backslash and a letter in "C:\temple.jpg"; other control characters come from "\0" to "\7".
_ESCAPES = {"\a": r"\a", "\b": r"\b", "\t": r"\t", "\n": r"\n", "\v": r"\v", "\f": r"\f", "\r": r"\r", "\0": r"\0"}
_LONGEST = 160  # characters of a name that an error repeats


def open_source(source: Source) -> tuple[IO[bytes], str]:
    """Open a path, bytes, a binary file-like object or an upload with one file in it for reading.

    A path may begin with `~` or hold `$VARIABLE`s, stand in quotes, be a file:// address, or be written in another
    Unicode normal form than the name on the disk. An upload is `uploader.value` of ipywidgets 7 or 8, one entry of it,
    the widget itself, or what Colab's `files.upload()` returns.

    Returns the open binary file, which is the caller's to close, and what to call it in errors.

    Raises:
        ImageError: nothing there, a folder, no permission, a file open as text, an upload of no file or of several,
            or another type altogether.

    Example:
        >>> open_source(b"GIF89a")[1]
        'the data given as bytes'
        >>> open_source({"photo.gif": b"GIF89a"})[1]
        "the uploaded 'photo.gif'"
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        try:
            return io.BytesIO(bytes(source)), "the data given as bytes"
        except ValueError as error:  # a memoryview that was released
            raise ImageError(f"the bytes can't be read ({error}): give them anew.") from error
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fsdecode(source))
    if hasattr(source, "read"):
        return _open_stream(source), "the open file"
    files = _uploaded(source)
    if files is None:
        kind = type(source).__name__
        array = ": give an array as PIL.Image.fromarray(array)" if hasattr(source, "__array__") else ""
        raise ImageError(
            f"a {kind} can't be loaded, expected a path, bytes or an open binary file of a picture{array}."
        )
    if not files:
        raise ImageError(f"the {type(source).__name__} holds no file: upload a picture first, then load it.")
    if len(files) > 1:
        names = ", ".join(shown(name) for name, _ in files[:5]) + (", ..." if len(files) > 5 else "")
        raise ImageError(
            f"the upload holds {len(files)} files ({names}), expected one: load the content of one of them."
        )
    name, content = files[0]
    return io.BytesIO(content), f"the uploaded {shown(name)}"


def shown(name: object) -> str:
    r"""A file's name as an error repeats it: in quotes, on one line, its middle left out where it is long.

    >>> print(shown("C:\temple.jpg"))
    'C:\temple.jpg'
    """
    return f"'{one_line(name)}'"


def one_line(name: object) -> str:
    """What stands between the quotes of `shown`."""
    text = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else str(name)
    text = "".join(_ESCAPES.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 3 :]}"


def _open_stream(stream: Any) -> IO[bytes]:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # streams only go forward
        stream.seek(0)
    try:
        return io.BytesIO(stream.read())
    except TypeError as error:
        raise ImageError("the open file gives text, expected bytes: open it with mode 'rb'.") from error
    except Exception as error:  # a download that breaks off has an exception of its own, which isn't an OSError
        raise ImageError(f"the open file can't be read ({error}): open it anew, with mode 'rb'.") from error


def _uploaded(source: object) -> list[tuple[str, bytes]] | None:
    """Names and contents of the files in an upload; None where it is no upload."""
    value = getattr(source, "value", None)
    if isinstance(value, (Mapping, tuple, list)):
        return _uploaded(value)
    if isinstance(source, Mapping):
        if (entry := _entry("file", source)) is not None:
            return [entry]
        entries = [_entry(str(name), value) for name, value in source.items()]
    elif isinstance(source, (tuple, list)):
        entries = [_entry(f"file {number}", value) for number, value in enumerate(source, 1)]
    else:
        return None
    return None if None in entries else [entry for entry in entries if entry is not None]


def _entry(name: str, value: object) -> tuple[str, bytes] | None:
    """One uploaded file: its bytes, or the mapping of ipywidgets 7 or 8 that holds them."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return name, bytes(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), (bytes, bytearray, memoryview)):
        return None
    about = value.get("metadata")
    own_name = value.get("name") or (about.get("name") if isinstance(about, Mapping) else None)
    return str(own_name or name), bytes(value["content"])


def _open_path(text: str) -> tuple[IO[bytes], str]:
    if not text.strip():
        raise ImageError("the name of the picture is empty: give the path of a picture file.")
    if re.match(r"(https?|ftps?|s3|gs):/", text, re.I):  # with one slash where it came as a Path
        raise ImageError(f"{shown(text)} is a web address, expected a file: download it first, then give its path.")
    if text.lower().startswith("data:"):
        raise ImageError(f"{shown(text)} is a data URL, expected a file: decode its base64 part and give the bytes.")
    path = path_meant(text)
    label = shown(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            return path.open("rb"), label
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise ImageError(f"{label} is a link to {shown(path.readlink())}, which isn't there: mend it.") from error
        raise ImageError(f"there is no file {label}{_hint(path)}") from error
    except PermissionError as error:
        raise ImageError(f"{label} may not be read: change its permissions, or copy it to a place of yours.") from error
    except (OSError, ValueError) as error:
        advice = _escape_hint(path) or ": check the path."
        raise ImageError(f"{label} can't be opened ({getattr(error, 'strerror', None) or error}){advice}") from error
    what = "a folder" if stat.S_ISDIR(kind) else "not an ordinary file"
    raise ImageError(f"{label} is {what}, expected a picture file: name one.")


def path_meant(text: str) -> Path:
    """The path meant by the text, as `open_source` takes it: the first reading that exists, else the plainest.

    >>> path_meant("no such file.png").name
    'no such file.png'
    """
    readings = list(_readings(text))
    for path in readings:
        if _exists(path):
            return path
    for path in readings:
        if (found := _in_other_form(path)) is not None:
            return found
    return readings[-1] if text.startswith("~") else readings[0]


def _readings(text: str) -> Iterator[Path]:
    yield Path(text)
    plain = text.strip()
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "'\"":  # as "Copy as path" gives it
        plain = plain[1:-1]
    if plain.lower().startswith("file:"):
        plain = url2pathname(urlsplit(plain).path)
    plain = os.path.expandvars(plain)
    if plain != text and plain:
        yield Path(plain)
    if plain.startswith("~"):
        with contextlib.suppress(RuntimeError):  # no such user
            yield Path(plain).expanduser()


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # a name may be too long, or hold a zero
        return False
    return True


def _in_other_form(path: Path) -> Path | None:
    """The file whose name differs only in its Unicode form: é as one character or two, another kind of space."""
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not _exists(found / part):
            names: list[str] = []
            with contextlib.suppress(OSError, ValueError):
                names = [entry.name for entry in found.iterdir()]
            for form in ("NFC", "NFKC"):
                same = [n for n in names if unicodedata.normalize(form, n) == unicodedata.normalize(form, part)]
                if len(same) == 1:
                    break
            else:
                return None
            part = same[0]
        found /= part
    return found


def _hint(missing: Path) -> str:
    """How to go on from a path that leads nowhere: a lost backslash, a missing folder, or a file of a similar name."""
    if advice := _escape_hint(missing):
        return advice
    folder = missing.parent
    if not folder.is_dir():
        return f": its folder doesn't exist either (the working folder is {shown(Path.cwd())})."
    names = {}
    with contextlib.suppress(OSError):
        names = {entry.name.lower(): entry.name for entry in folder.iterdir() if entry.is_file()}
    close = difflib.get_close_matches(missing.name.lower(), names, n=1)
    if close:
        return f": did you mean {shown(folder / names[close[0]])}?"
    samples = "" if missing.suffix else ", or use load_sample for a picture of the course"
    return f" in {shown(folder.resolve())}: check the name{samples}."


def _escape_hint(path: Path) -> str:
    """What to write where Python has read a backslash and a letter of the path as one character, such as a tab."""
    text = str(path)
    if not any(c in _ESCAPES or c < " " for c in text):
        return ""
    return f': Python reads a backslash in plain quotes as the start of an escape, so write r"{shown(text)[1:-1]}".'
