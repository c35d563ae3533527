"""One large file over HTTP: resumed after a break, tried again, and trusted only once its SHA-256 is right."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..io.records import read_record

__all__ = ["DownloadError", "fetch", "file_sha256", "megabytes", "reason"]

TRIES = 3
PAUSE = 1.0  # seconds before the second try; doubled before each one after it
TIMEOUT = 30.0  # seconds without a single byte after which a server counts as stalled
CHUNK = 1 << 20
LIMIT = 1 << 30  # bytes; a server that sends more than this sends something else


class DownloadError(Exception):
    """A download that failed: `str(error)` is the reason, a clause to be put into a sentence."""


class _TryAgainError(Exception):
    """A failure that may pass: a broken connection, a stalled or overloaded server, a file that changed."""


def fetch(url: str, target: Path, *, sha256: str, progress: bool = True) -> None:
    """Download `url` to `target`, which appears under its name only when its SHA-256 begins with `sha256`.

    What has come is kept in `<target>.partial` (with a note of where it came from), so that a later try, also
    one of a later process, asks the server only for the rest. Callers keep two processes apart with a lock.

    Raises:
        DownloadError: the server refuses, stalls or breaks off `TRIES` times, another file came (it is
            removed), or the folder can't be written.

    >>> fetch("ftp://example.org/a.pth", Path("a.pth"), sha256="00")
    Traceback (most recent call last):
    nst_helpers.pretrained.download.DownloadError: 'ftp://example.org/a.pth' isn't an http or https address
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError(f"{url!r} isn't an http or https address")
    partial, note = target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.partial.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                _transfer(url, partial, note, progress=progress)
                break
            except _TryAgainError as error:
                failure = error
        else:
            kept = partial.stat().st_size if partial.exists() else 0
            hint = f"; {megabytes(kept)} are kept, and the next call goes on from there" if kept else ""
            raise DownloadError(f"{failure}, {TRIES} times{hint}")
        digest, size = file_sha256(partial), partial.stat().st_size
        if not digest.startswith(sha256):
            _discard(partial, note)
            raise DownloadError(
                f"another file came ({megabytes(size)}, with a SHA-256 that begins with {digest[: len(sha256)]} "
                f"and not {sha256}) and was removed"
            )
        partial.replace(target)
        note.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"the folder {target.parent} can't be written ({reason(error)})") from error


def _transfer(url: str, partial: Path, note: Path, *, progress: bool) -> None:
    """Bring `partial` from what it holds to the whole file, in one request."""
    from tqdm import tqdm

    known = _to_resume(url, partial, note)
    done = partial.stat().st_size if known else 0
    if known and done == known["total"]:
        return
    headers = {"User-Agent": "nst_helpers", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if known["validator"]:
            headers["If-Range"] = known["validator"]
    with _open(url, headers, on_bad_range=lambda: _discard(partial, note)) as response:
        total = None if response.length is None else response.length + (done if response.status == 206 else 0)
        if response.status == 206:
            span = re.fullmatch(r"bytes (\d{1,15})-\d+/(\d{1,15}|\*)", response.headers.get("Content-Range", ""))
            fits = span and int(span[1]) == done and total == known.get("total")
            if not fits or _validator(response) != known["validator"]:
                _discard(partial, note)
                raise _TryAgainError("the server sent a piece that doesn't fit what had come before")
        else:
            done = 0
        if total is not None and total > LIMIT:
            raise DownloadError(f"the server offers another file, of {megabytes(total)}")
        if total is not None and total - done > (free := shutil.disk_usage(partial.parent).free):
            lack = f"{megabytes(total - done)} are needed and {megabytes(free)} are free"
            raise DownloadError(f"the disk of {partial.parent} is too full ({lack})")
        if not done:
            _discard(partial, note)
            note.write_text(json.dumps({"url": url, "total": total, "validator": _validator(response)}), "utf-8")
        bar = tqdm(
            total=total, initial=done, unit="B", unit_scale=True, desc=partial.stem, file=sys.stdout,
            disable=not progress, mininterval=0.5,
        )  # fmt: skip
        with partial.open("ab") as file, bar:
            while (total is None or done < total) and done <= LIMIT:
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    stalled = isinstance(error, TimeoutError)
                    what = f"the server sent nothing for {TIMEOUT:g} s" if stalled else "the connection broke"
                    raise _TryAgainError(f"{what} after {megabytes(done)}") from error
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
        if done > LIMIT:
            _discard(partial, note)
            raise DownloadError(f"the server sends another file, of more than {megabytes(LIMIT)}")
        if total is not None and done < total:
            raise _TryAgainError(f"the connection broke off after {megabytes(done)} of {megabytes(total)}")


def _open(url: str, headers: dict[str, str], *, on_bad_range: Callable[[], None]) -> Any:
    """The server's answer; errors that may pass are told from those that won't."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
        if error.code == 416:
            on_bad_range()
        if error.code >= 500 or error.code in {408, 416, 425, 429}:
            raise _TryAgainError(answer) from error
        raise DownloadError(answer) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise DownloadError(f"{url!r} isn't an address that can be asked ({reason(error)})") from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _TryAgainError(f"no answer from {urlsplit(url).hostname} ({reason(cause)})") from error


def _validator(response: Any) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    value = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    return value if value and value.isascii() and value.isprintable() else None


def _to_resume(url: str, partial: Path, note: Path) -> dict[str, Any]:
    """The note on a partial file that can be gone on with; else both are removed and `{}` comes back."""
    known = read_record(note)
    total, validator = known.get("total"), known.get("validator")
    sound = validator is None or (isinstance(validator, str) and validator.isprintable())
    whole = partial.is_file() and not partial.is_symlink()
    same = sound and whole and known.get("url") == url
    if same and isinstance(total, int) and 0 < partial.stat().st_size <= total:
        return {"total": total, "validator": validator if validator and validator.isascii() else None}
    _discard(partial, note)
    return {}


def _discard(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def file_sha256(file: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def megabytes(size: int) -> str:
    """A size in bytes as a person reads it.

    >>> megabytes(574_673_361)
    '574.7 MB'
    """
    return f"{size / 1e6:.1f} MB"


def reason(error: object) -> str:
    """An error's own words without the path, on one line: "Permission denied", "timed out"."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())
