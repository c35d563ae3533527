"""Running one hand-in: a bundle of bytes goes in, verdicts come out; so it can run here or on a Dask worker."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .questions import ClassroomError
from .sandbox import Limits

__all__ = ["make_bundle", "run_bundle", "stop_fork_servers"]

_idle: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
_all: list[subprocess.Popen] = []


def make_bundle(
    notebooks: dict[str, dict],
    gradebook: bytes,
    questions: list[dict],
    *,
    seed: int,
    limits: Limits,
    nbgrader: bool = True,
) -> dict[str, Any]:
    """All that is needed to mark one hand-in, as plain values; without `nbgrader`, for the second opinion alone."""
    texts = {name: json.dumps(notebook, ensure_ascii=False) for name, notebook in notebooks.items()}
    plan = {"questions": questions, "seed": seed, "nbgrader": nbgrader}
    return {"notebooks": texts, "gradebook": gradebook, "plan": plan, "limits": asdict(limits)}


def run_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """Mark one hand-in in a fork server of its own; whatever the student's code does, this returns.

    Gives `accident` ("time", "memory", "broken" or None), `verdicts`, `stopped`, `nbgrader`, and `autograded`, the
    notebooks as nbgrader left them.
    """
    from .autograding import STUDENT
    from .sources import ASSIGNMENT

    # Short, since a socket in it must have a path of at most 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="nst-"))
    try:
        home = folder / "submitted" / STUDENT / ASSIGNMENT
        home.mkdir(parents=True)
        for name, text in bundle["notebooks"].items():
            (home / f"{name}.ipynb").write_text(text, encoding="utf-8")
        (folder / "gradebook.db").write_bytes(bundle["gradebook"])
        (folder / "plan.json").write_text(json.dumps(bundle["plan"]))
        accident = _ask({"folder": str(folder), "limits": bundle["limits"]})
        result: dict[str, Any] = {"verdicts": {}, "stopped": {}, "nbgrader": None}
        for name in ("result.json", "judged.json"):
            if (folder / name).is_file():
                result = json.loads((folder / name).read_text())
                break
        else:
            accident = accident or "broken"
        log = (folder / "log.txt").read_text(errors="replace")[-2000:] if (folder / "log.txt").is_file() else ""
        graded = (folder / "autograded" / STUDENT / ASSIGNMENT).glob("*.ipynb")
        texts = {path.stem: path.read_text(encoding="utf-8") for path in graded}
        return {"accident": accident, "log": log, "autograded": texts, "nbgrader": None, **result}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(request: dict) -> str | None:
    try:
        fork_server = _idle.get_nowait()
    except queue.Empty:
        fork_server = _start()
    assert fork_server.stdin  # both are pipes
    assert fork_server.stdout
    try:
        fork_server.stdin.write(json.dumps(request) + "\n")
        fork_server.stdin.flush()
        line = fork_server.stdout.readline()
    except OSError:
        line = ""
    if not line:  # the fork server itself was killed; the next hand-in gets a new one
        return "broken"
    _idle.put(fork_server)
    return json.loads(line)["accident"]


def _start() -> subprocess.Popen:
    environment = {
        **os.environ,
        "NST_PROGRESS": "off",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "ignore", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }  # fmt: skip
    package = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "nst_helpers.classroom.fork_server"]
    with tempfile.TemporaryFile() as errors:
        fork_server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        _all.append(fork_server)
        assert fork_server.stdout
        if not fork_server.stdout.readline():
            errors.seek(0)
            told = errors.read().decode(errors="replace").strip().splitlines()
            raise ClassroomError(f"The marking process did not start: {told[-1] if told else 'it gave no reason'}.")
    return fork_server


def stop_fork_servers() -> None:
    """End every fork server that this process has started."""
    while _all:
        fork_server = _all.pop()
        # Killed first: closing a pipe that another thread reads from would wait for that thread.
        fork_server.kill()
        fork_server.wait()
        for pipe in (fork_server.stdin, fork_server.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
    while not _idle.empty():
        _idle.get_nowait()
