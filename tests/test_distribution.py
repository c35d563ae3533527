"""What is published: a wheel that paints by itself, and a source archive that holds all of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel", "-t", "sdist"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_paints_a_picture_outside_the_checkout(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys, nst_helpers; from nst_helpers.__main__ import program; print(nst_helpers.__file__)\n"
        "sys.argv = ['nst', 'temple', 'mosaic', '--size', '32', '--steps', '2', '--device', 'cpu', '-o', 'out.png']\n"
        "program()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site" / "nst_helpers"))
    with Image.open(tmp_path / "out.png") as picture:
        assert min(picture.size) == 32
        assert len(picture.getcolors(maxcolors=10**6)) > 100


def test_the_source_archive_holds_all_that_its_pages_link_to_and_its_tests_read(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)\s#]+)", readme) + re.findall(r'(?:src|href)="([^"#]+)"', readme)
    local = [target.rstrip("/") for target in linked if not re.match(r"https?:|mailto:", target)]
    assert local
    assert [t for t in local if t not in held and not any(name.startswith(f"{t}/") for name in held)] == []
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:  # in a checkout
        assert {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()} - held == set()
