"""The course on this machine: lessons 00 to 07 from top to bottom, for gpu_check.py."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_rows import Left

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
CELL_SECONDS = 120


def measure(part: Any, wanted: Callable[[str], bool]) -> None:
    """One row for each lesson: the seconds it took; a cell that fails fails the row."""
    for path in sorted(LESSONS.glob("0[0-7]_*.ipynb")):
        if wanted(path.stem):
            part.row(path.stem, lambda path=path: run(path), most=100)


def run(path: Path) -> dict[str, Any]:
    """Execute a lesson in an empty folder; raises what its cell raised."""
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise Left(f"not installed ({error}): pip install nbclient ipykernel ipywidgets") from None
    notebook = nbformat.read(path, as_version=4)
    root = str(LESSONS.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="nst-lesson-") as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        )
        start = time.perf_counter()
        client.execute()
        seconds = time.perf_counter() - start
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    warned = [output.text.strip()[:300] for output in outputs if output.get("name") == "stderr"]
    return {"seconds": round(seconds, 1), "cells": len(notebook.cells), "stderr": warned}
