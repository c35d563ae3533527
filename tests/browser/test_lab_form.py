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
IS_SHOWN = """path => { const w = window.jupyterapp.shell.currentWidget;
  return w && w.context && w.context.path == path && w.context.isReady && w.node.querySelector('.jp-Cell') }"""
# The notebooks in the main area: name, what the kernel does, and whether there is something to save.
NOTEBOOKS_SHOWN = """() => [...window.jupyterapp.shell.widgets('main')].filter(w => w.sessionContext).map(w => {
  const kernel = w.sessionContext.session && w.sessionContext.session.kernel;
  return {name: w.context.path.split('/').pop(), kernel: kernel && kernel.status, dirty: w.context.model.dirty} })"""
ALL_IDLE = f"count => ({NOTEBOOKS_SHOWN})().filter(w => w.kernel == 'idle').length == count"
SAVE_ALL = """async () => { for (const w of window.jupyterapp.shell.widgets('main'))
  if (w.sessionContext) { await w.context.save(); await w.sessionContext.shutdown() } }"""
QUIET = 1500  # milliseconds after the kernels are idle in which a change would have come


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
    opened = [*names, "old.ipynb"]
    before = {name: (folder / name).read_text(encoding="utf-8") for name in opened}
    with jupyter_lab.browse(lab.address, f"form/{names[0]}") as page:
        for name in opened:  # each is shown, while the kernels of those before it start
            page.evaluate(OPEN, f"form/{name}")
            page.wait_for_function(IS_SHOWN, arg=f"form/{name}", timeout=90_000)
        page.wait_for_function(ALL_IDLE, arg=len(opened), timeout=90_000)
        page.wait_for_timeout(QUIET)
        dirty = [shown["name"] for shown in page.evaluate(NOTEBOOKS_SHOWN) if shown["dirty"]]
        page.evaluate(SAVE_ALL)
    rewritten = [name for name in opened if (folder / name).read_text(encoding="utf-8") != before[name]]
    assert dirty == ["old.ipynb"]  # which shows that a mark would have been seen
    assert rewritten == ["old.ipynb"]
