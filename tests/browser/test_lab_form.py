"""Every lesson is stored in JupyterLab's own form: opened and closed untouched, it asks nobody to save anything."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import jupyter_lab  # noqa: E402
import run_notebooks  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jupyter_lab.find_browser() is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

OPEN = "path => { window.jupyterapp.commands.execute('docmanager:open', {path}) }"
IS_OPEN = """path => { const w = window.jupyterapp.shell.currentWidget;
  return w && w.context && w.context.path == path && w.context.isReady }"""
IS_DIRTY = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
SHUT_DOWN = "() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"
SAVE = "() => window.jupyterapp.shell.currentWidget.context.save()"
QUIET = 1500  # milliseconds after the kernel is idle in which a change would have come


def test_a_lesson_opened_and_closed_untouched_is_not_marked_as_changed(lab):
    names = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    assert len(names) >= 7
    folder = lab.folder / "form"
    folder.mkdir()
    for name in names:
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        # Python's version is that of whoever opens it; the rest has to be stored as it is.
        notebook.metadata.language_info.version = run_notebooks.notebook_metadata().language_info.version
        assert notebook.metadata == run_notebooks.notebook_metadata(), name
        run_notebooks.store(notebook, folder / name)
    old = nbformat.read(folder / names[0], as_version=4)
    old.metadata.language_info = {"name": "python"}
    nbformat.write(old, folder / "old.ipynb")
    dirty, rewritten = [], []
    with jupyter_lab.browse(lab.address, f"form/{names[0]}") as page:
        for name in [*names, "old.ipynb"]:
            page.evaluate(OPEN, f"form/{name}")
            page.wait_for_function(IS_OPEN, arg=f"form/{name}", timeout=90_000)
            page.wait_for_function(jupyter_lab.KERNEL_IS, arg="idle", timeout=90_000)
            page.wait_for_timeout(QUIET)
            dirty += [name] if page.evaluate(IS_DIRTY) else []
            before = (folder / name).read_text(encoding="utf-8")
            page.evaluate(SAVE)
            rewritten += [name] if (folder / name).read_text(encoding="utf-8") != before else []
            page.evaluate(SHUT_DOWN)
    assert dirty == ["old.ipynb"]  # which shows that a mark would have been seen
    assert rewritten == ["old.ipynb"]
