"""Reading notebooks as people hand them in: any usual encoding, outputs left out, odd parts mended."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["clean_text", "read_notebook", "slim"]

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.S)
_COLON = re.compile(rb"\s*:\s*")


def slim(content: bytes) -> bytes:
    """A notebook's file as UTF-8, without its cells' outputs and attachments; other files as they are.

    The text is scanned, never parsed, so this needs little more memory than the file has bytes.
    """
    if content[:3] in (b"\xef\xbb\xbf",) or b"\0" in content[:4]:
        text = _decoded(content)[0]
        content = text.encode("utf-8", "replace") if text is not None else content
    if not re.match(rb"\s*\{", content) or b'"outputs"' not in content:
        return content
    kept, start, place = [], 0, 0
    while found := _TOKEN.search(content, place):
        place = found.end()
        if found[0] not in (b'"outputs"', b'"attachments"') or not (colon := _COLON.match(content, place)):
            continue
        opening = colon.end()
        if content[opening : opening + 1] not in (b"[", b"{"):
            continue
        depth, at = 0, opening
        while part := _TOKEN.search(content, at):
            at = part.end()
            depth += (part[0] in (b"[", b"{")) - (part[0] in (b"]", b"}"))
            if not depth:
                break
        else:
            return content  # it ends within the outputs: let whoever reads it say so
        kept += [content[start:opening], b"[]" if content[opening : opening + 1] == b"[" else b"{}"]
        start = place = at
    return b"".join([*kept, content[start:]])


def read_notebook(content: bytes) -> tuple[dict[str, Any], str]:
    """A notebook with each source as one string, and what has to be said of its encoding ("" for UTF-8).

    Raises ValueError with what is wrong with the file.
    """
    text, note = _decoded(slim(content))
    if len(first := _encodings(content)) == 1:  # which is UTF-8 by now
        note = _encoding_note(first[0])
    try:
        notebook = json.loads(text) if text is not None else None
    except (ValueError, RecursionError, MemoryError):
        notebook = None
    if notebook is None:
        raise ValueError("it is broken, or not a notebook (.ipynb)")
    if isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        notebook = {"cells": [c for sheet in sheets if isinstance(sheet.get("cells"), list) for c in sheet["cells"]]}
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("it holds no cells")
    cells = [_cell(cell) for cell in notebook["cells"] if isinstance(cell, dict)]
    if not cells:
        raise ValueError("it holds no cells")
    kernel = _dictionary(_dictionary(notebook.get("metadata")).get("kernelspec")).get("name")
    return {"cells": cells, "kernel": clean_text(kernel) if isinstance(kernel, str) else "python3"}, note


def clean_text(text: str) -> str:
    """A text that can be written to a file: halves of characters (lone surrogates) become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    source = cell.get("source", cell.get("input", ""))
    source = "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else source
    source = clean_text(source) if isinstance(source, str) else ""
    grading = _dictionary(_dictionary(cell.get("metadata")).get("nbgrader"))
    kind = cell.get("cell_type")
    return {
        "cell_type": kind if kind in ("code", "markdown", "raw") else "markdown",
        # Old Macs' and Windows' ends of lines; and no form feeds or zero bytes, which Python refuses.
        "source": re.sub(r"\r\n?", "\n", source).replace("\0", ""),
        "grade_id": clean_text(str(grading.get("grade_id", ""))) if grading else "",
        "id": clean_text(cell["id"]) if isinstance(cell.get("id"), str) else "",
    }


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _encodings(content: bytes) -> list[str]:
    """What the text may be stored as, by its first bytes."""
    if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return ["utf-32"]
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ["utf-16"]
    if b"\0" in content[:4]:
        return ["utf-16-le" if content[1:2] == b"\0" else "utf-16-be"]
    return ["utf-8-sig", "cp1252", "latin-1"]


def _decoded(content: bytes) -> tuple[str | None, str]:
    """The text, and what to say of its encoding; None where it is no text."""
    for encoding in _encodings(content):
        try:
            return content.decode(encoding), "" if encoding == "utf-8-sig" else _encoding_note(encoding)
        except UnicodeDecodeError:
            continue
    return None, ""


def _encoding_note(encoding: str) -> str:
    name = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}.get(encoding, encoding.upper())
    return f"its text is stored as {name}, not as UTF-8, and was read as such"
