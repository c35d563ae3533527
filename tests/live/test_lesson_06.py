"""Lesson 06 with a person at its panel: own photos, snapshots, and what a page without a kernel shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbconvert import HTMLExporter

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import run_notebooks  # noqa: E402

LESSON = ROOT / "notebooks" / "06_live_tuning.ipynb"

# What a person does between the panel's cell and the next: a photo and a style of their own, a snapshot before the
# first step, one after a few steps, and one of another size.
PERSON = """import IPython.display
def picture(seed):
    torch.manual_seed(seed)
    return nst.resize(torch.rand(1, 3, 6, 8), (150, 200)).clamp(0, 1)
session.snapshot()
session.set(content=picture(1), style=picture(2))
_ = session.step(4)
session.snapshot()
session.set(style_weight=5, style=picture(3))
_ = session.step(4)
session.snapshot()"""


def text_of(output) -> str:
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_lesson_goes_on_with_a_persons_own_pictures(tmp_path, monkeypatch):
    notebook = nbformat.read(LESSON, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"^STEPS = 50", "STEPS = 2", cell.source, flags=re.M)
            cell.source = re.sub(r"^SIZE = .*", "SIZE = 48", cell.source, flags=re.M)
    at = next(i for i, cell in enumerate(notebook.cells) if cell.id == "live-show") + 1
    notebook.cells.insert(at, nbformat.v4.new_code_cell(PERSON))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run_notebooks.run(notebook, folder=tmp_path, timeout=300)  # raises if a cell does
    said = {cell.id: "".join(map(text_of, cell.get("outputs", []))) for cell in notebook.cells}
    assert said["live-verdicts"].count("style weight") == 2  # the snapshot before the first step has no losses
    assert "content" in said["reveal-sweep"]  # what the person's photo is called
    assert said["replay"].startswith("✓ largest difference")  # of the person's own pictures, handed over
    assert "✗" not in said["replay"]
    assert "not with your pictures" in said["reveal-sweep"] + said["curve"]  # and the notebook went on
    assert "otter" not in "".join(said[i] for i in said if i.startswith(("reveal", "curve", "mine", "replay")))


@pytest.mark.slow
def test_the_exported_page_tells_of_each_picture_in_words():
    page, _ = HTMLExporter().from_filename(str(LESSON))
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) > 7
    assert all(re.search(r'alt="[^"]{20,}"', picture) for picture in pictures if "colab-badge" not in picture)


def test_the_text_of_a_picture_is_stored_with_it():
    data = {"image/png": _png(), "text/plain": "x"}
    shown = nbformat.v4.new_output("display_data", data, metadata={"image/png": {"alt": "Two bars.", "width": 3}})
    cell = nbformat.v4.new_code_cell("1", outputs=[shown], execution_count=1)
    stored = run_notebooks.clean(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs[0]
    assert stored.metadata == {"image/png": {"alt": "Two bars."}}


def _png() -> str:
    import base64

    from nst_helpers.live.thumbnails import png

    return base64.b64encode(png(torch.rand(1, 3, 8, 8))).decode()
