"""The badge and the setup cell of every lesson, and the one place that says where the course is published.

To publish: put the account in REPOSITORY, set TAG to the release, run `python tools/run_notebooks.py --setup`
and commit. The underscore keeps the placeholder from ever being somebody's account.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

REPOSITORY = "YOUR_ACCOUNT/nst-notebooks"
TAG = "v0.1.0"

SETUP = f"""\
# Setup: installs the helper package on Google Colab; elsewhere it does nothing.
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
    importlib.invalidate_caches()"""

COLAB = "https://colab.research.google.com/github"
BADGE_LINE = re.compile(r"^\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)\s*$", re.M)
COLAB_LINK = re.compile(re.escape(COLAB) + r"/[^\s)]*?/notebooks/(\w+)\.ipynb")


def colab_link(name: str) -> str:
    """Where Colab opens the lesson of this name.

    >>> colab_link("03_gram").endswith("/notebooks/03_gram.ipynb")
    True
    """
    return f"{COLAB}/{REPOSITORY}/blob/{TAG}/notebooks/{name}.ipynb"


def badge(name: str) -> str:
    """The lesson's badge, one line of Markdown."""
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_link(name)})"


def is_setup(source: str) -> bool:
    """Whether a code cell is the setup cell, this one, an older one or the placeholder `# SETUP`."""
    return source.strip().upper() == "# SETUP" or source.startswith("# Setup: installs the helper package")


def write_setup(notebook: NotebookNode, name: str) -> NotebookNode:
    """Put the badge at the top of the first cell and the setup cell after it; both replace what was there."""
    first = notebook.cells[0]
    first.source = badge(name) + "\n" + BADGE_LINE.sub("", first.source).lstrip("\n")
    cells = [c for c in notebook.cells if c.cell_type == "code" and is_setup(c.source)]
    if cells:
        cells[0].source = SETUP
    else:
        notebook.cells.insert(1, nbformat.v4.new_code_cell(SETUP, id="setup"))
    return notebook


def write_links(page: Path) -> bool:
    """Point every Colab link of a Markdown page to the published place; whether that changed anything."""
    old = page.read_text(encoding="utf-8")
    new = COLAB_LINK.sub(lambda found: colab_link(found[1]), old)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old
