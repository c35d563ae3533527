"""Running one hand-in: a bundle of plain values goes in, verdicts come out; so it can run here or on a Dask worker."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .box.server import Limits
from .questions import ClassroomError

__all__ = ["make_bundle", "run_bundle", "stop_judges"]

_idle: dict[str, queue.SimpleQueue[_Judge]] = {}
_all: list[_Judge] = []
_lock = threading.Lock()


def make_bundle(
    student: str,
    files: dict[str, tuple[bytes, float]],
    plan: dict[str, Any],
    *,
    limits: Limits,
    isolation: str = "auto",
) -> dict[str, Any]:
    """All that is needed to mark one hand-in, as plain values."""
    texts = {name: (base64.b64encode(content).decode(), when) for name, (content, when) in files.items()}
    return {"student": student, "files": texts, "plan": plan, "limits": asdict(limits), "isolation": isolation}


def run_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """Mark one hand-in; whatever is in it, this returns what `judge_hand_in` gives.

    Its `accident` is "time" where the whole took too long, "ended" where the judge has not survived it, else None.
    Raises ClassroomError where no judge can be started.
    """
    idle = _idle.setdefault(bundle["isolation"], queue.SimpleQueue())
    try:
        judge = idle.get_nowait()
    except queue.Empty:
        judge = _Judge(bundle["isolation"])
    result = judge.ask(bundle)
    if result is None:  # the next hand-in gets a new judge
        return {"accident": "ended", "isolation": judge.isolation}
    idle.put(judge)
    return {"isolation": judge.isolation, **result}


class _Judge:
    """A judge's process."""

    def __init__(self, isolation: str) -> None:
        package = str(Path(__file__).parents[2])
        path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "",
            "NST_PROGRESS": "off",
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "nst_helpers.classroom.judge", isolation, str(os.getpid())]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            with _lock:
                _all.append(self)
            ready = self._read()
            if ready is None:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                why = lines[-1] if lines else "it gave no reason"
                raise ClassroomError(f"The judge's process did not start: {why}.")
            if "failed" in ready:
                raise ClassroomError(ready["failed"])
        self.isolation = ready["isolation"]

    def ask(self, bundle: dict[str, Any]) -> dict[str, Any] | None:
        """The judge's reply, or None if it is gone."""
        assert self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(bundle) + "\n")
            self._process.stdin.flush()
            return self._read()
        return None

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout
        with contextlib.suppress(OSError, ValueError):
            line = self._process.stdout.readline()
            return json.loads(line) if line else None
        return None

    def stop(self) -> None:
        """End the process; what it has started ends with it."""
        # Killed first: closing a pipe that another thread reads from would wait for that thread.
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


def stop_judges() -> None:
    """End every judge that this process has started."""
    with _lock:
        while _all:
            _all.pop().stop()
        _idle.clear()
