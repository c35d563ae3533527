"""One JupyterLab for all browser tests, started as the README does it, over a copy of the lessons.

tests/conftest.py registers this plugin: a second conftest.py would hide the first one's names.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Lab(NamedTuple):
    """What the server shows, its address with a place for a notebook's name, and the README's first notebook."""

    folder: Path
    address: str
    first: str


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The folder holds the lessons without outputs; a test that writes files takes a folder of its own in it."""
    import nbformat

    sys.path.insert(0, str(ROOT / "tools" / "notebooks"))
    import jupyter_lab

    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder)
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        nbformat.write(notebook, path)
    found = re.search(r"jupyter lab notebooks/(\w+\.ipynb)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert found, "the README starts no notebook"
    with jupyter_lab.serve(folder, opens=found[1]) as address:
        yield Lab(folder, address, found[1])
