"""The pictures that a notebook's cells have drawn, however they are stored."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGE = re.compile(r"<img\b[^>]*>")
SOURCE = re.compile(r'\bsrc="data:image/(\w+);base64,([^"]+)"')
ALT = re.compile(r'\balt="([^"]*)"')


@dataclass(frozen=True)
class Stored:
    """A picture's kind ("png", "jpeg"), its bytes, and its alternative text."""

    kind: str
    data: bytes
    alt: str


def pictures_of(output: Mapping[str, Any]) -> list[Stored]:
    """The pictures of an output: bare images, to which JupyterLab gives no text, and those of a page."""
    data = output.get("data", {})
    found = [
        Stored(kind.split("/")[1], base64.b64decode(data[kind]), "")
        for kind in ("image/png", "image/jpeg")
        if kind in data
    ]
    for tag in IMAGE.findall(data.get("text/html", "")):
        if source := SOURCE.search(tag):
            alt = ALT.search(tag)
            said = html.unescape(alt[1]) if alt else ""
            found.append(Stored(source[1], base64.b64decode(source[2]), said))
    return found
