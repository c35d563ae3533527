"""The tool that runs and stores the lessons, and the first line and setup cell that it writes."""

from __future__ import annotations

import base64
import io
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import notebook_setup  # noqa: E402
import run_notebooks as tool  # noqa: E402


def notebook(*sources: str, **metadata) -> NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# Why?", id="title")]
    cells += [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def noise(height: int, width: int, *, smooth: int = 1) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // smooth, width // smooth, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def with_picture(data: bytes) -> NotebookNode:
    nb = notebook("draw()")
    shown = {"image/png": base64.b64encode(data).decode(), "text/plain": "<Figure>"}
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", shown, metadata={"image/png": {"width": 9}})]
    return nb


def test_a_lesson_runs_elsewhere_and_is_stored_clean(tmp_path):
    """Ids stay, counts run from 1, paths are cut, metadata goes, and nothing is written beside the lesson."""
    nb = notebook(
        "import pathlib\npathlib.Path('left.txt').write_text('x')\nprint('at', pathlib.Path.cwd())",
        "1 / 0",
        "6 * 7",
        widgets={"state": {}},
        colab={"provenance": []},
        language_info={"name": "python", "version": "2.7"},
    )
    nb.cells[2].metadata = {"tags": ["raises-exception"], "collapsed": True, "execution": {"now": 1}}
    nb.cells[3].execution_count = 99
    path = tmp_path / "nb.ipynb"
    nbformat.write(nb, path)
    assert tool.refresh(path) > 0
    assert [p.name for p in tmp_path.iterdir()] == ["nb.ipynb"]
    stored = nbformat.read(path, as_version=4)
    assert [cell.id for cell in stored.cells] == ["title", "c0", "c1", "c2"]
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3]
    assert stored.cells[1].outputs[0].text == "at PATH\n"
    assert stored.cells[2].metadata == {"tags": ["raises-exception"]}
    assert stored.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert stored.cells[3].outputs[0].data["text/plain"] == "42"
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert stored.metadata.language_info.version == platform.python_version()
    assert str(tmp_path) not in path.read_text("utf-8")


def test_a_picture_within_html_is_stored_to_the_byte():
    picture = "data:image/jpeg;base64,/9j/4AAQ+/ab/cd/ef==+/gh/ij"
    nb = notebook("show()")
    shown = {"text/html": f'<img src="{picture}" alt="from /home/me/it.jpg">', "text/plain": "x"}
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", shown)]
    html = tool.clean(nb).cells[1].outputs[0].data["text/html"]
    assert picture in html
    assert "/home" not in html


@pytest.mark.parametrize(
    "source",
    [
        "raise ValueError('so')",
        pytest.param("import sys; print('hot', file=sys.stderr)", marks=pytest.mark.slow),
    ],
)
def test_a_lesson_that_fails_is_not_stored(tmp_path, monkeypatch, capsys, source):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    path = tmp_path / "03_gram.ipynb"
    nbformat.write(notebook("print(1)", source), path)
    before = path.read_bytes()
    assert tool.main(["03_gram"]) == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["03_gram.ipynb"]
    said = capsys.readouterr().err
    assert "03_gram: not stored" in said
    assert "so" in said or "hot" in said


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_named(tmp_path):
    with pytest.raises(tool.NotebookError, match="timed out"):
        tool.run(notebook("import time\ntime.sleep(60)"), folder=tmp_path, timeout=1)


def test_an_unknown_lesson_is_answered_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    (tmp_path / "00_quickstart.ipynb").write_text("{}", "utf-8")
    assert tool.find([]) == tool.find(["00_quickstart.ipynb"]) == [tmp_path / "00_quickstart.ipynb"]
    with pytest.raises(tool.NotebookError, match="no lesson is called 07_more: there are 00_quickstart"):
        tool.find(["07_more"])


def test_a_widget_view_goes_and_its_text_stays():
    nb = notebook("FileUpload()")
    shown = {tool.WIDGET_VIEW: {"model_id": "4f"}, "text/plain": "FileUpload()"}
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", shown)]
    assert tool.clean(nb).cells[1].outputs[0].data == {"text/plain": "FileUpload()"}


def test_a_small_picture_stays_as_it_is():
    small = png(noise(40, 60))
    output = tool.clean(with_picture(small)).cells[1].outputs[0]
    assert base64.b64decode(output.data["image/png"]) == small
    assert output.metadata == {}


def test_a_diagram_gets_a_palette_and_looks_the_same():
    """Once: what has a palette stays as it is. A transparent one stays too."""
    large = Image.new("RGB", (1200, 800), "white")
    for i, colour in enumerate(["#0072B2", "#D55E00", "#009E73"]):
        ImageDraw.Draw(large).line([(0, 90 * i), (500, 700), (1100, 200 * i)], colour, width=9)
    picture = np.asarray(large.resize((300, 200), Image.Resampling.LANCZOS))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 300  # the edges are smooth
    data = tool.clean(with_picture(png(picture))).cells[1].outputs[0].data["image/png"]
    stored = Image.open(io.BytesIO(base64.b64decode(data)))
    assert stored.mode == "P"
    assert len(base64.b64decode(data)) < 0.8 * len(png(picture))
    assert np.abs(np.asarray(stored.convert("RGB")).astype(int) - picture).mean() < 0.2
    assert tool.with_palette(base64.b64decode(data)) == base64.b64decode(data)
    clear = png(np.dstack([picture, np.full((200, 300), 9, np.uint8)]))
    assert tool.with_palette(clear) == clear


def test_a_large_picture_becomes_a_jpeg_of_the_same_scene():
    picture = noise(480, 640, smooth=8)
    assert len(png(picture)) > tool.PICTURE_BYTES
    data = tool.clean(with_picture(png(picture))).cells[1].outputs[0].data
    assert set(data) == {"image/jpeg", "text/plain"}
    stored = base64.b64decode(data["image/jpeg"])
    assert len(stored) <= tool.PICTURE_BYTES
    assert np.abs(np.asarray(Image.open(io.BytesIO(stored))).astype(int) - picture).mean() < 4


def test_a_picture_that_stays_large_is_refused():
    with pytest.raises(tool.NotebookError, match=r"cell 1 \(c0\) draws a picture of \d+ kB"):
        tool.clean(with_picture(png(noise(600, 600))))


def test_a_transparent_picture_is_put_on_white():
    clear = np.zeros((400, 400, 4), np.uint8)
    clear[:, :, :3] = noise(400, 400)
    stored = tool.shrink(png(clear))
    assert np.asarray(Image.open(io.BytesIO(stored))).min() >= 250


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "nb.ipynb"
    path.write_text("old", "utf-8")

    def full(self, *args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        tool.store(notebook("1"), path)
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["nb.ipynb"]


def test_paths_are_cut_as_nbval_blanks_them():
    """Otherwise a stored output would differ from the next run's."""
    patterns = (ROOT / "tests" / "nbval.cfg").read_text("utf-8")
    assert f"regex: {tool.PATH.pattern}\nreplace: PATH\n" in patterns


def test_the_temporary_folders_name_may_have_spaces(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/their files/for a while")
    shown = nbformat.v4.new_output("stream", text="in /their files/for a while/nst-lesson-1/left.txt, 3/4\n")
    tool._cut_paths(shown)
    assert shown.text == "in PATH, 3/4\n"


def test_the_comparison_uses_the_options_of_the_tests(monkeypatch, tmp_path):
    called = []

    def record(command, **_):
        called.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    (tmp_path / "00_quickstart.ipynb").write_text("{}", "utf-8")
    assert tool.main(["--check"]) == 3
    assert {"--nbval", "--nbval-current-env", str(ROOT / "tests" / "nbval.cfg")} <= set(called[0])
    assert called[0][-1] == str(tmp_path / "00_quickstart.ipynb")
    assert (tmp_path / "00_quickstart.ipynb").read_text("utf-8") == "{}"


# The first line, the header picture and the setup cell


@pytest.mark.parametrize("old", [None, "# SETUP", notebook_setup.SETUP.replace(notebook_setup.TAG, "v0.0.1")])
def test_setup_is_written_once_and_then_stays(old):
    nb = notebook(*([] if old is None else [old]), "print(1)")
    once = notebook_setup.write_setup(nb, "03_gram").copy()
    assert [cell.source for cell in once.cells] == [
        f"{notebook_setup.colab_line('03_gram')}\n# Why?",
        notebook_setup.SETUP,
        "print(1)",
    ]
    text = nbformat.writes(once)
    assert nbformat.writes(notebook_setup.write_setup(nb, "03_gram")) == text


OLD_BADGE = "[![Open in Colab](https://example.org/colab-badge.svg)](https://example.org/blob/main/03_gram.ipynb)"


@pytest.mark.parametrize(
    "old", [OLD_BADGE, notebook_setup.UNPUBLISHED, "[Open this lesson in Google Colab](https://x.org)"]
)
@pytest.mark.parametrize("repository", [notebook_setup.REPOSITORY, "ann/course"])
def test_an_old_first_line_is_replaced(old, repository, monkeypatch):
    monkeypatch.setattr(notebook_setup, "REPOSITORY", repository)
    nb = notebook("print(1)")
    nb.cells[0].source = f"{old}\n# Why?"
    notebook_setup.write_setup(nb, "03_gram")
    assert nb.cells[0].source.splitlines() == [notebook_setup.colab_line("03_gram"), "# Why?"]


def test_a_first_line_is_a_link_when_there_is_something_to_link_to(monkeypatch):
    assert "](" not in notebook_setup.UNPUBLISHED
    assert notebook_setup.colab_line("03_gram") == notebook_setup.UNPUBLISHED or notebook_setup.published()
    monkeypatch.setattr(notebook_setup, "REPOSITORY", "ann/course")
    assert f"]({notebook_setup.colab_link('03_gram')})" in notebook_setup.colab_line("03_gram")
    assert "!" not in notebook_setup.colab_line("03_gram")


def header(images: Path, *, seed: int = 0, size: tuple[int, int] = (900, 300), smooth: int = 12) -> Path:
    height, width = size[1] // smooth, size[0] // smooth
    coarse = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    images.mkdir(exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(images / "03_it.jpg", quality=95)
    return images


def embedded(text: str) -> bytes:
    return base64.b64decode(notebook_setup.DATA_URI.search(text)[1])


def test_the_header_picture_is_embedded_small_and_stays(tmp_path, monkeypatch):
    """At most 50 kB and 740 pixels wide, the same scene; once written it stays, whatever Pillow would write now."""
    images = header(tmp_path / "images")
    once = notebook_setup.embed_header("# Why?\n\n![A map: red (left)](images/03_it.jpg)\n\nend", images)
    start, end = once.split(notebook_setup.DATA_URI.search(once)[0])
    assert (start, end) == ("# Why?\n\n![A map: red (left)](", ' "03_it.jpg")\n\nend')
    assert len(embedded(once)) <= 50_000
    small = Image.open(io.BytesIO(embedded(once)))
    assert (small.format, small.size) == ("JPEG", (740, 247))
    whole = Image.open(images / "03_it.jpg").resize(small.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(whole)).mean() < 6
    monkeypatch.setattr(notebook_setup, "HEADER_QUALITIES", (50,))
    assert notebook_setup.embed_header(once, images) == once


def test_a_new_header_picture_replaces_the_embedded_one(tmp_path):
    text = notebook_setup.embed_header("![it](images/03_it.jpg)", header(tmp_path))
    new = notebook_setup.embed_header(text, header(tmp_path, seed=1))
    assert embedded(new) != embedded(text)
    assert new == notebook_setup.embed_header("![it](images/03_it.jpg)", tmp_path)


def test_a_header_picture_that_stays_large_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"03_it.jpg does not fit into 50 kB"):
        notebook_setup.embed_header("![it](images/03_it.jpg)", header(tmp_path, size=(560, 300), smooth=1))


def test_setup_embeds_the_picture_and_writes_only_what_changes(tmp_path, monkeypatch):
    header(tmp_path / "images")
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tool, "write_links", lambda page: False)
    nb = notebook("print(1)")
    nb.cells[0].source += "\n\n![it](images/03_it.jpg)"
    path = tmp_path / "03_gram.ipynb"
    nbformat.write(nb, path)
    assert tool.main(["--setup", "03_gram"]) == 0
    first = path.read_text("utf-8")
    assert "data:image/jpeg;base64," in first
    assert "images/03_it.jpg" not in first
    monkeypatch.setattr(tool, "store", None)  # would raise if it were called again
    assert tool.main(["--setup"]) == 0
    assert path.read_text("utf-8") == first


def test_links_of_a_page_follow_the_constant(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    row = "| a picture | [03_gram](notebooks/03_gram.ipynb) | 55 min | {} |"
    page.write_text(f"[03](notebooks/03_gram.ipynb)\n{row.format('on publication')}\n| other | table |\n", "utf-8")
    assert not notebook_setup.write_links(page)
    monkeypatch.setattr(notebook_setup, "REPOSITORY", "ann/course")
    assert notebook_setup.write_links(page)
    link = f"[open]({notebook_setup.colab_link('03_gram')})"
    assert page.read_text("utf-8") == f"[03](notebooks/03_gram.ipynb)\n{row.format(link)}\n| other | table |\n"
    assert not notebook_setup.write_links(page)


def test_the_setup_cell_is_short_and_takes_the_constants():
    lines = notebook_setup.SETUP.splitlines()
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 88
    assert notebook_setup.REPOSITORY in notebook_setup.SETUP
    assert f"--branch {notebook_setup.TAG}" in notebook_setup.SETUP


@pytest.mark.parametrize("installed", [True, False])
def test_the_setup_cell_installs_nothing_outside_colab(installed, tmp_path):
    """No folder, no process, no output; without the package, Python says what is missing."""
    path = f"sys.path.insert(0, {str(ROOT)!r})" if installed else "pass"
    code = f"""
import os, subprocess, sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p and not os.path.exists(p + "/nst_helpers")]
{path}
def refuse(*args, **kwargs): raise AssertionError("a process was started")
subprocess.run = subprocess.Popen = os.system = refuse
try:
    exec({notebook_setup.SETUP!r})
except ModuleNotFoundError as error:
    print(error)
print(os.listdir())
"""
    out = subprocess.run([sys.executable, "-I", "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    missing = "" if installed else "No module named 'nst_helpers'\n"
    assert (out.stdout, out.stderr) == (missing + "[]\n", "")
