"""The first line, the header picture and the setup cell of every lesson, and where the course is published.

The picture comes from notebooks/images/ and is embedded, since Colab shows a notebook without the files beside it.

`python tools/notebooks/publish.py` sets REPOSITORY and TAG. Until then the underscore keeps the placeholder from ever
being somebody's account, and a line of text stands where the link to Colab will be.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"

REPOSITORY = "YOUR_ACCOUNT/nst-notebooks"
TAG = "v0.1.0"

SETUP = f"""\
# @title Setup: installs the helper package on Google Colab; run it first everywhere.
import importlib.util
import os
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("nst_helpers") is None:
    url = os.environ.get("NST_REPO", "https://github.com/{REPOSITORY}")
    git = "git -c advice.detachedHead=false clone --quiet --depth 1 --branch {TAG}"
    pip = f"{{sys.executable}} -m pip install --quiet --no-deps"
    command = f"folder=$(mktemp -d) && {{git}} {{url}} $folder && {{pip}} $folder"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"nst_helpers did not install, try again: {{done.stderr}}")
    importlib.invalidate_caches()
import nst_helpers  # noqa: F401 (before torch: it keeps waiting threads from spinning)"""

COLAB = "https://colab.research.google.com/github"
PLACEHOLDER = "YOUR_ACCOUNT"
UNPUBLISHED = "Google Colab: a link stands here in the published course."
COLAB_LINE = re.compile(r"^(?:\[!?\[?Open [^\n]*Colab[^\n]*|Google Colab: a link stands here[^\n]*)$", re.M)
COLAB_LINK = re.compile(re.escape(COLAB) + r"/[^\s)]*?/notebooks/(\w+)\.ipynb")
LESSON_ROW = re.compile(r"^(\|.*\]\(notebooks/(\w+)\.ipynb\).*\| )[^|\n]*( \|)$", re.M)

HEADER_BYTES, LATER_BYTES = 50_000, 100_000  # of the picture in the first cell, and of one further down
HEADER_WIDTHS, HEADER_QUALITIES = (740, 640, 560), (88, 82, 76, 70, 64)
DATA_URI = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/]+=*)")
HEADER = re.compile(rf"!\[([^\]]+)\]\((?:images/([\w.-]+)|{DATA_URI.pattern} \"([\w.-]+)\")\)")


def colab_link(name: str) -> str:
    """Where Colab opens the lesson of this name.

    >>> colab_link("03_gram").endswith("/notebooks/03_gram.ipynb")
    True
    """
    return f"{COLAB}/{REPOSITORY}/blob/{TAG}/notebooks/{name}.ipynb"


def published() -> bool:
    """Whether the course has an address yet."""
    return not REPOSITORY.startswith(PLACEHOLDER)


def colab_line(name: str) -> str:
    """The lesson's first line: its link to Colab, as text, which is there without a network too.

    >>> "Colab" in colab_line("03_gram")
    True
    """
    return f"[Open this lesson in Google Colab]({colab_link(name)})" if published() else UNPUBLISHED


def is_setup(source: str) -> bool:
    """Whether a code cell is the setup cell, this one, an older one or the placeholder `# SETUP`."""
    return source.strip().upper() == "# SETUP" or source.removeprefix("# @title ").removeprefix("# ").startswith(
        "Setup: installs the helper package"
    )


def embed(path: Path, old: bytes | None = None, *, limit: int = HEADER_BYTES) -> bytes:
    """A picture file as a JPEG of at most `limit` bytes, with the file's hash as its comment; `old` if it is of it.

    The hash, and not the bytes, says whether it is: another version of Pillow may write other bytes.

    Raises:
        ValueError: even the smallest is too large.
    """
    mark = hashlib.sha256(data := path.read_bytes()).hexdigest().encode()
    if old is not None and Image.open(io.BytesIO(old)).info.get("comment") == mark:
        return old
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for width, quality in itertools.product(HEADER_WIDTHS, HEADER_QUALITIES):
        scale = min(1, width / picture.width)
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
        small.save(file := io.BytesIO(), "JPEG", quality=quality, optimize=True, progressive=True, comment=mark)
        if file.tell() <= limit:
            return file.getvalue()
    raise ValueError(f"{path.name} does not fit into {limit // 1000} kB: make it smaller.")


def embed_header(text: str, images: Path = IMAGES, *, limit: int = HEADER_BYTES) -> str:
    """The text with its first picture from `images` inside it as a data URI, whose title keeps the file's name."""

    def inside(found: re.Match[str]) -> str:
        alt, linked, data, title = found.groups()
        jpeg = embed(images / (name := linked or title), base64.b64decode(data) if data else None, limit=limit)
        return f'![{alt}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()} "{name}")'

    return HEADER.sub(inside, text, count=1)


def write_setup(notebook: NotebookNode, name: str, *, images: Path = IMAGES) -> NotebookNode:
    """Put the first line and the pictures into the text, and the setup cell after it; all replace what was there."""
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = embed_header(cell.source, images, limit=LATER_BYTES if i else HEADER_BYTES)
    first = notebook.cells[0]
    first.source = colab_line(name) + "\n" + COLAB_LINE.sub("", first.source).lstrip("\n")
    cells = [c for c in notebook.cells if c.cell_type == "code" and is_setup(c.source)]
    if cells:
        cells[0].source = SETUP
    else:
        notebook.cells.insert(1, nbformat.v4.new_code_cell(SETUP, id="setup"))
    return notebook


def write_links(page: Path) -> bool:
    """Put the links to Colab into the last column of a page's table of lessons; whether that changed anything."""
    old = page.read_text(encoding="utf-8")

    def row(found: re.Match[str]) -> str:
        link = f"[open]({colab_link(found[2])})" if published() else "on publication"
        return f"{found[1]}{link}{found[3]}"

    new = LESSON_ROW.sub(row, old)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old
