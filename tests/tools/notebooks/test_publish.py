"""Publishing: one command writes the address everywhere, and what can't be published changes nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "nst_helpers/__init__.py",
         "tests/nbval.cfg", "notebooks/03_gram.ipynb", "notebooks/images/03_texture.jpg")  # fmt: skip


@pytest.fixture
def course(tmp_path) -> Path:
    """A copy of what publishing touches, with one lesson."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tools" / "notebooks", tmp_path / "tools" / "notebooks")
    return tmp_path


def publish(course: Path, account: str, tag: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/notebooks/publish.py", "--account", account, "--tag", tag, "--date", "2030-01-31"]
    return subprocess.run(command, cwd=course, capture_output=True, text=True)


def text(course: Path) -> dict[str, str]:
    return {
        str(p.relative_to(course)): p.read_text("utf-8")
        for p in course.rglob("*")
        if p.suffix in {".md", ".cff", ".ipynb"}
    }


@pytest.mark.slow
def test_one_command_writes_account_tag_version_and_changelog(course):
    done = publish(course, "ann-smith", "v9.1.0")
    assert done.returncode == 0, done.stderr
    for name, words in text(course).items():
        assert "YOUR_ACCOUNT" not in words, name
    colab = "https://colab.research.google.com/github/ann-smith/nst-notebooks/blob/v9.1.0/notebooks/03_gram.ipynb"
    lesson = nbformat.read(course / "notebooks" / "03_gram.ipynb", as_version=4)
    assert colab in lesson.cells[0].source.splitlines()[0]
    assert "--branch v9.1.0" in lesson.cells[1].source
    assert "https://github.com/ann-smith/nst-notebooks" in lesson.cells[1].source
    assert colab in (course / "README.md").read_text("utf-8")
    assert "on publication |" not in (course / "README.md").read_text("utf-8")
    citation = yaml.safe_load((course / "CITATION.cff").read_text("utf-8"))
    assert (str(citation["version"]), citation["date-released"]) == ("9.1.0", "2030-01-31")
    assert citation["repository-code"] == "https://github.com/ann-smith/nst-notebooks"
    changes = (course / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[Unreleased\]\n\n## \[9\.1\.0\] - 2030-01-31$", changes, re.M)
    assert "compare/v9.1.0...HEAD" in changes
    assert re.search(r'^version = "9.1.0"$', (course / "pyproject.toml").read_text("utf-8"), re.M)
    assert re.search(r'^__version__ = "9.1.0"$', (course / "nst_helpers" / "__init__.py").read_text("utf-8"), re.M)
    assert publish(course, "ann-smith", "v9.2.0").returncode == 0
    assert text(course)["notebooks/03_gram.ipynb"].count("v9.2.0") == 2
    assert text(course)["CHANGELOG.md"].count("## [9.") == 2


@pytest.mark.parametrize(
    ("account", "tag"), [("ann smith", "v9.1.0"), ("-ann", "v9.1.0"), ("ann", "9.1"), ("ann", "v0.1.0")]
)
def test_what_cant_be_published_is_told_and_nothing_changes(course, account, tag):
    before = text(course)
    done = publish(course, f"{account}", tag) if not account.startswith("-") else publish(course, f"={account}", tag)
    assert done.returncode == 2
    assert done.stderr.startswith("publish: ")
    assert done.stderr.count("\n") == 1
    assert text(course) == before
