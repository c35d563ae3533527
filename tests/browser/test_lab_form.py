"""The lessons in JupyterLab: a link opens the next, and what is opened and closed untouched asks nobody to save it.

They are stored in JupyterLab's own form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

# One kernel serves them all: what a lesson's stored form is held against is the same.
KERNEL = """() => { for (const w of window.jupyterapp.shell.widgets('main')) {
  const kernel = w.sessionContext && w.sessionContext.session && w.sessionContext.session.kernel;
  if (kernel) return {id: kernel.id, name: kernel.name} } }"""
OPEN = "([path, kernel]) => { window.jupyterapp.commands.execute('docmanager:open', {path, kernel}) }"
IS_SHOWN = """path => { const w = window.jupyterapp.shell.currentWidget;
  return w && w.context && w.context.path == path && w.context.isReady && w.node.querySelector('.jp-Cell') }"""
# The notebooks in the main area: name, what the kernel does, and whether there is something to save.
NOTEBOOKS_SHOWN = """() => [...window.jupyterapp.shell.widgets('main')].filter(w => w.sessionContext).map(w => {
  const kernel = w.sessionContext.session && w.sessionContext.session.kernel;
  return {name: w.context.path.split('/').pop(), kernel: kernel && kernel.status, dirty: w.context.model.dirty} })"""
ALL_IDLE = f"count => ({NOTEBOOKS_SHOWN})().filter(w => w.kernel == 'idle').length == count"
SAVE_ALL = """async () => { for (const w of window.jupyterapp.shell.widgets('main'))
  if (w.sessionContext) await w.context.save() }"""
SHUT_DOWN = """async () => { for (const w of window.jupyterapp.shell.widgets('main'))
  if (w.sessionContext) await w.sessionContext.shutdown().catch(() => null) }"""
QUIET = 1500  # milliseconds after the kernel is idle in which a change would have come
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def lesson(name: str) -> nbformat.NotebookNode:
    """As it is stored; but Python's version is that of whoever opens it."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    notebook.metadata.language_info.version = run_notebooks.notebook_metadata().language_info.version
    return notebook


@pytest.fixture(scope="module")
def form(lab) -> Path:
    folder = lab.folder / "form"
    folder.mkdir()
    for name in NAMES:
        run_notebooks.store(lesson(name), folder / name)
    return folder


@pytest.fixture(scope="module")
def page(lab, form) -> Iterator[Any]:
    with jupyter_lab.browse(lab.address, f"form/{lab.first}") as page:
        yield page


def test_a_click_opens_the_lesson(page):
    link = page.locator(".jp-RenderedMarkdown a[href*='01_images']").first
    link.scroll_into_view_if_needed()
    link.click()
    page.wait_for_selector(".lm-TabBar-tabLabel:has-text('01_images.ipynb')", timeout=30_000)


def test_a_lesson_opened_and_closed_untouched_is_not_marked_as_changed(page, form):
    assert len(NAMES) >= 7
    for name in NAMES:
        assert lesson(name).metadata == run_notebooks.notebook_metadata(), name
    old = nbformat.read(form / NAMES[0], as_version=4)
    old.metadata.language_info = {"name": "python"}
    nbformat.write(old, form / "old.ipynb")
    opened = [*NAMES, "old.ipynb"]
    before = {name: (form / name).read_text(encoding="utf-8") for name in opened}
    kernel = page.evaluate(KERNEL)
    for name in opened:
        page.evaluate(OPEN, [f"form/{name}", kernel])
        page.wait_for_function(IS_SHOWN, arg=f"form/{name}", timeout=90_000)
    page.wait_for_function(ALL_IDLE, arg=len(opened), timeout=90_000)
    page.wait_for_timeout(QUIET)
    dirty = [shown["name"] for shown in page.evaluate(NOTEBOOKS_SHOWN) if shown["dirty"]]
    page.evaluate(SAVE_ALL)
    page.evaluate(SHUT_DOWN)
    rewritten = [name for name in opened if (form / name).read_text(encoding="utf-8") != before[name]]
    assert dirty == ["old.ipynb"]  # which shows that a mark would have been seen
    assert rewritten == ["old.ipynb"]
