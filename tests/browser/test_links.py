"""The lessons' relative links, in JupyterLab as the README starts it."""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import notebook_setup  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def relative_links(path: Path) -> set[str]:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(notebook_setup.DATA_URI.sub("", cell.source) for cell in cells if cell.cell_type == "markdown")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:href|src)="([^"]+)"', text)
    return {link.partition("#")[0] for link in found if not re.match(r"\w+:|#", link)}


def status(address: str, path: str) -> int:
    home, _, token = address.partition("/lab/tree/{name}?")
    token = token.partition("&")[0]
    try:
        with urllib.request.urlopen(f"{home}/api/contents/{urllib.parse.quote(path)}?content=0&{token}") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_every_relative_link_is_within_what_the_server_shows(lab):
    links = {(path.name, link) for path in lab.folder.glob("*.ipynb") for link in relative_links(path)}
    assert (lab.first, "01_images.ipynb") in links
    assert {(name, link) for name, link in links if status(lab.address, link) != 200} == set()
    assert status(lab.address, "../data/README.md") != 200  # what a lesson linked to once
