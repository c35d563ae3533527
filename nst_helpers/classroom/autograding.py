"""nbgrader's autograder for one hand-in, in a course folder of its own, with kernels that are forked, not started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from .sandbox import Limits, die_with_parent, limit
from .sources import ASSIGNMENT, nbgrader_api

__all__ = ["STUDENT", "autograde", "start_fork_server"]

STUDENT = "hand-in"  # everybody's name in a folder of their own
_CLIENT = Path(__file__).with_name("kernel_stub.py")


def start_fork_server(folder: Path, limits: Limits) -> None:
    """Fork a process that forks a kernel for everyone who asks for one; torch is loaded in it already.

    Starting a kernel in the usual way takes seconds, most of them for `import torch`. Call this before anything else
    is done in the process.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(folder / "fork_server"))
    listening.listen(8)
    if os.fork():
        listening.close()
        return
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        with connection:
            path = connection.makefile().readline().strip()
            if path and not os.fork():
                listening.close()
                _be_a_kernel(path, limits)


def _be_a_kernel(path: str, limits: Limits) -> None:
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent()
    os.chdir(Path(path).parent)
    scratch = Path(path).parent / "scratch"
    scratch.mkdir(exist_ok=True)
    os.chdir(scratch)
    # Many questions share a kernel, and nbgrader keeps the time for each cell.
    limit(limits.memory, limits.total)
    try:
        IPKernelApp.launch_instance(argv=["-f", path, "--HistoryManager.hist_file=:memory:"])
    finally:
        os._exit(0)


def _announce_kernel(folder: Path) -> None:
    """Let "python3" mean our forked kernels, for this process."""
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-I", "-S", str(_CLIENT), str(folder / "fork_server"), "{connection_file}"]
    kernel = {"argv": command, "display_name": "Python 3", "language": "python", "interrupt_mode": "message"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    os.environ["JUPYTER_CONFIG_DIR"] = os.environ["IPYTHONDIR"] = str(folder / "config")


def autograde(folder: Path, limits: Limits) -> dict[str, Any]:
    """Run the autograder over `folder/submitted/hand-in/nst`; `folder` has gradebook.db from the course.

    Returns `scores` (grade id: points, None if a person has to mark it), `errors` (grade id: the error's text), and
    `log`, with nbgrader's own words if it failed.
    """
    from nbgrader.api import Gradebook

    _announce_kernel(folder)
    (folder / "source" / ASSIGNMENT).mkdir(parents=True, exist_ok=True)
    api = nbgrader_api(folder, seconds=max(1, round(3 * limits.seconds)))
    with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):  # noqa: PTH123
        result = api.autograde(ASSIGNMENT, STUDENT)
    scores: dict[str, float | None] = {}
    if result["success"]:
        with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "nst") as book:
            for notebook in book.find_submission(ASSIGNMENT, STUDENT).notebooks:
                scores |= {grade.name: grade.auto_score for grade in notebook.grades}
    log = "" if result["success"] else (result.get("error") or result.get("log") or "").strip()
    return {"scores": scores, "errors": _errors(folder), "log": log}


def _errors(folder: Path) -> dict[str, str]:
    found = {}
    for path in (folder / "autograded" / STUDENT / ASSIGNMENT).glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            for output in cell.get("outputs", []):
                if grade_id and output["output_type"] == "error":
                    found[grade_id] = f"{output['ename']}: {output['evalue']}".strip()[:300]
    return found
