"""Run the lessons from top to bottom and store what they print and draw.

    python tools/notebooks/run_notebooks.py                   all lessons
    python tools/notebooks/run_notebooks.py 03_gram 04_model  some of them
    python tools/notebooks/run_notebooks.py --check 03_gram   compare only: nbval runs it, no file is written
    python tools/notebooks/run_notebooks.py --setup           write first line, header picture and setup cell into each

A lesson runs in an empty folder of its own outside the repository. It is stored only if it ran: no error in a cell
without the tag `raises-exception`, nothing on stderr, no picture over 150 kB even as a JPEG. Diagrams are stored with
a palette of 256 colours, which is a third of their size.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from notebook_setup import write_links, write_setup
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PICTURE_BYTES = 150_000
PALETTE_ERROR = 0.2  # in mean grey levels: diagrams stay below 0.17, photos are above 1
CELL_SECONDS = 120
KEPT_METADATA = {"tags", "nbgrader"}
# How a cell is folded, for JupyterLab and for Colab. An answer to a prediction opens when its cell is run.
FOLDED_SOURCE = {"cellView": "form", "jupyter": {"source_hidden": True}}
FOLDED_OUTPUT = {"collapsed": True, "jupyter": {"outputs_hidden": True}}
PATH = re.compile(r"(?<![\w.:/~-])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
PATH_IN_TRACEBACK = re.compile(r"~?/(?:[\w.+@-]+/)+(?=[\w.+@-]+/[\w.+@-]+\.py)")
EMBEDDED = re.compile(r"(data:image/\w+;base64,[\w+/=]+)")
COLOUR = re.compile(r"(\x1b\[[\d;]*m)")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookError(Exception):
    """A lesson that can't be stored; the message says which cell and why."""


def run(notebook: NotebookNode, *, folder: Path, timeout: int = CELL_SECONDS) -> NotebookNode:
    """Execute the notebook in the folder, in place, with this Python.

    Raises:
        NotebookError: a cell failed, or took longer than `timeout` seconds.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        raise NotebookError(str(error)) from error
    return notebook


def clean(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run or says where it ran, in place; cell ids stay.

    Raises:
        NotebookError: a cell wrote to stderr, or a picture is too large.
    """
    notebook.metadata = notebook_metadata()
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.metadata = metadata_of(cell)
        for output in cell.get("outputs", []):
            where = f"cell {number} ({cell.id})"
            if output.get("name") == "stderr":
                raise NotebookError(f"{where} writes to stderr: {output.text.strip()}")
            if "data" in output:
                _clean_display(output, where)
            _cut_paths(output)
    return notebook


def notebook_metadata() -> NotebookNode:
    """What JupyterLab itself writes when it opens a lesson with this Python, so that it finds nothing to change."""
    language = {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    }
    spec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.from_dict({"kernelspec": spec, "language_info": language})


def metadata_of(cell: NotebookNode) -> NotebookNode:
    """What a stored cell keeps of its metadata, and how it is folded."""
    kept = {k: v for k, v in cell.metadata.items() if k in KEPT_METADATA}
    return nbformat.from_dict(dict(sorted((kept | folding(cell)).items())))


def folding(cell: NotebookNode) -> dict[str, object]:
    """The metadata that fold a cell: the setup cell's source, and the outputs of cells whose id begins with "reveal".

    >>> folding(nbformat.v4.new_code_cell("1 + 1", id="reveal-2"))
    {'collapsed': True, 'jupyter': {'outputs_hidden': True}}
    """
    if cell.cell_type != "code":
        return {}
    return FOLDED_SOURCE if cell.id == "setup" else FOLDED_OUTPUT if cell.id.startswith("reveal") else {}


def _clean_display(output: NotebookNode, where: str) -> None:
    said = alternative_text(output)
    output.data.pop(WIDGET_VIEW, None)  # the model behind it is gone, and its id is random
    if "image/png" in output.data:
        output.data["image/png"] = base64.b64encode(with_palette(base64.b64decode(output.data["image/png"]))).decode()
    for kind in ("image/png", "image/jpeg"):
        if kind not in output.data or len(picture := base64.b64decode(output.data[kind])) <= PICTURE_BYTES:
            continue
        smaller = shrink(picture)
        if smaller is None:
            raise NotebookError(f"{where} draws a picture of {len(picture) // 1000} kB: make it smaller.")
        del output.data[kind]
        output.data["image/jpeg"] = base64.b64encode(smaller).decode()
    kind = next((kind for kind in output.data if kind.startswith("image/")), "")
    output.metadata = nbformat.from_dict({kind: {"alt": said}} if said and kind else {})


def alternative_text(output: NotebookNode) -> str:
    """What a picture says to those who can't see it, "" for one that says nothing; nbconvert puts it into the page.

    >>> alternative_text(nbformat.v4.new_output("display_data", metadata={"image/png": {"alt": "Two bars."}}))
    'Two bars.'
    """
    kinds = [part for kind, part in output.metadata.items() if kind.startswith("image/")]
    return next((part["alt"] for part in [*kinds, output.metadata] if part.get("alt")), "")


def with_palette(png: bytes) -> bytes:
    """An opaque PNG of few colours as a smaller one with a palette; any other as it is."""
    image = Image.open(io.BytesIO(png))
    if image.mode not in ("RGB", "RGBA") or np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        return png
    full = image.convert("RGB")
    few = full.quantize(256, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - np.asarray(full, dtype=np.int16)).mean()
    few.save(file := io.BytesIO(), "PNG", optimize=True)
    return file.getvalue() if error <= PALETTE_ERROR and file.tell() < len(png) else png


def shrink(picture: bytes, *, limit: int = PICTURE_BYTES) -> bytes | None:
    """The picture as the best JPEG that fits into `limit` bytes; None if even quality 70 does not."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    for quality in (92, 88, 84, 80, 75, 70):
        file = io.BytesIO()
        paper.convert("RGB").save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= limit:
            return file.getvalue()
    return None


def _cut_paths(output: NotebookNode) -> None:
    """Absolute paths become PATH, as in tests/nbval.cfg; in tracebacks the folder and the file's name stay."""
    if "text" in output:
        output.text = _without_paths(output.text)
    if "evalue" in output:
        output.evalue = _without_paths(output.evalue)
        lines = [PATH_IN_TRACEBACK.sub("", line) for line in output.traceback]
        output.traceback = ["".join(_without_paths(part) for part in COLOUR.split(line)) for line in lines]
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            parts = EMBEDDED.split(value)  # a picture's bytes in base64 hold slashes, too
            output.data[kind] = "".join(part if i % 2 else _without_paths(part) for i, part in enumerate(parts))


def _without_paths(text: str) -> str:
    """The lesson runs in the temporary folder, whose name may have spaces; those of other paths end at a space."""
    return PATH.sub("PATH", text.replace(tempfile.gettempdir(), "/tmp"))


def store(notebook: NotebookNode, path: Path) -> None:
    """Write the notebook so that the file is the old one or the new one, never a part."""
    nbformat.validate(notebook)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refresh(path: Path) -> float:
    """Run, clean and store one lesson; returns the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="nst-lesson-") as folder, progress_elsewhere(Path(folder)):
        start = time.perf_counter()
        run(notebook, folder=Path(folder))
        seconds = time.perf_counter() - start
    clean(notebook)
    store(notebook, path)
    return seconds


@contextlib.contextmanager
def progress_elsewhere(folder: Path) -> Iterator[None]:
    """Within this, the exercises' checks note nothing in the progress of whoever runs the lessons."""
    before = os.environ.get("NST_PROGRESS")
    os.environ["NST_PROGRESS"] = str(folder.with_name(f"{folder.name}.progress.json"))
    try:
        yield
    finally:
        Path(os.environ["NST_PROGRESS"]).unlink(missing_ok=True)
        if before is None:
            del os.environ["NST_PROGRESS"]
        else:
            os.environ["NST_PROGRESS"] = before


def compare(paths: list[Path]) -> int:
    """Have nbval run the lessons and compare what it gets with what is stored, as the tests do."""
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", str(CELL_SECONDS)]
    options += ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg"), "-o", "addopts=", "-p", "no:cacheprovider"]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *options, *map(str, paths)], cwd=ROOT).returncode


def find(names: list[str]) -> list[Path]:
    """The lessons of these names, or all.

    Raises:
        NotebookError: there is no such lesson.
    """
    there = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    wanted = [Path(name).stem for name in names] or list(there)
    if missing := [name for name in wanted if name not in there]:
        raise NotebookError(f"no lesson is called {', '.join(missing)}: there are {', '.join(there) or 'none'}.")
    return [there[name] for name in wanted]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a lesson, such as 03_gram; all if none is given")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare with the stored outputs and write nothing")
    action.add_argument("--setup", action="store_true", help="write first line, picture and setup cell, run nothing")
    options = parser.parse_args(arguments)
    try:
        paths = find(options.names)
    except NotebookError as error:
        parser.error(str(error))
    if options.check:
        return compare(paths)
    if options.setup:
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            old = nbformat.writes(notebook)
            for cell in write_setup(notebook, path.stem, images=NOTEBOOKS / "images").cells:
                cell.metadata = metadata_of(cell)
            notebook.metadata = notebook_metadata()
            if changed := nbformat.writes(notebook) != old:
                store(notebook, path)
            print(
                f"{path.stem}: {'first line, picture and setup cell written' if changed else 'as it was'}", flush=True
            )
        write_links(ROOT / "README.md")
        return 0
    total, failed = 0.0, 0
    for path in paths:
        try:
            seconds = refresh(path)
        except NotebookError as error:
            print(f"{path.stem}: not stored\n{error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        total += seconds
        print(f"{path.stem}: {seconds:.0f} s", flush=True)
    if len(paths) - failed > 1:
        print(f"together: {total:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
