"""The course on this machine: lessons 00 to 07 from top to bottom, for gpu_check.py.

    python tools/measure/gpu_course.py LESSON.ipynb

runs one of them and prints what it took, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from gpu_rows import Left

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
CELL_SECONDS = 120
NEEDED = ("nbclient", "nbformat", "ipykernel", "ipywidgets")
CORES_EACH = 4  # so many lessons run side by side that each has these


def measure(part: Any, wanted: Callable[[str], bool]) -> None:
    """One row for each lesson: the seconds it took; a cell that fails fails the row."""
    lessons = [path for path in sorted(LESSONS.glob("0[0-7]_*.ipynb")) if wanted(path.stem)]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // CORES_EACH)) as pool:
        running = {path.stem: pool.submit(apart, path, part) for path in lessons}
        for stem, run in running.items():
            part.row(stem, run.result, most=1000)


def apart(path: Path, part: Any) -> dict[str, Any]:
    """`in_place` in a process of its own, which ends with the part's time."""
    if part.left < 1:
        raise Left("no time was left for it")
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise Left(f"not installed: pip install {' '.join(missing)}")
    command = [sys.executable, __file__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=part.left - 0.5)
    except subprocess.TimeoutExpired:
        raise TimeoutError("it was under way when the part's time ended") from None
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2500:])
    return json.loads(done.stdout)


def in_place(path: Path) -> dict[str, Any]:
    """Execute a lesson in an empty folder; raises what its cell raised."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(LESSONS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
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
    found = {"seconds": round(seconds, 1), "slowest cells": slowest(notebook.cells), "cells": len(notebook.cells)}
    return found | {"stderr": warned}


def slowest(cells: list[Any], count: int = 4) -> dict[str, float]:
    """The seconds of the slowest cells, by place and first line."""
    took = {}
    for place, cell in enumerate(cells):
        times = cell.metadata.get("execution", {})
        if "iopub.execute_input" in times and "shell.execute_reply" in times:
            begin, end = (datetime.fromisoformat(times[k]) for k in ("iopub.execute_input", "shell.execute_reply"))
            took[f"{place} {cell.source.splitlines()[0][:30]}"] = round((end - begin).total_seconds(), 1)
    return dict(sorted(took.items(), key=lambda item: -item[1])[:count])


if __name__ == "__main__":
    print(json.dumps(in_place(Path(sys.argv[1]))))
