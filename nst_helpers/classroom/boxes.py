"""Boxes for students' code as the judge sees them: started from a process that has loaded everything, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from .box.server import LIMITS, Limits
from .box.wire import Channel
from .questions import ClassroomError
from .remote import Connection
from .scratch import ScratchFolder
from .student_package import write_package

__all__ = ["MOST_PROCESSES", "Box", "BoxServer", "Ending"]

MOST_PROCESSES = 100


@dataclass(frozen=True)
class Ending:
    """How a box has ended: "time", "memory", "processes", "exit", "crash", "garbled", or None if it was told to."""

    accident: str | None = None
    detail: str = ""


class BoxServer:
    """The process that boxes are forked from, with the students' package. Use it in a `with` statement.

    `isolation` is "auto", "namespaces" or "limits"; raises ClassroomError where namespaces are asked for in vain.
    """

    def __init__(self, isolation: str = "auto") -> None:
        self._scratch = ScratchFolder()
        package, boxes = self._scratch.path / "package", self._scratch.path / "boxes"
        try:
            boxes.mkdir(0o700)
            write_package(package)
            for path in (self._scratch.path, package, *package.rglob("*")):  # boxes may run as another user
                path.chmod(0o755 if path.is_dir() else 0o644)
            self._talk, theirs = socket.socketpair()
            with tempfile.TemporaryFile() as errors:
                command = [sys.executable, "-m", "nst_helpers.classroom.box.server"]
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), isolation, str(boxes)],
                    cwd=package, env=_environment(package), stderr=errors, pass_fds=[theirs.fileno()],
                )  # fmt: skip
                theirs.close()
                try:
                    ready = self._read()
                except OSError:
                    errors.seek(0)
                    output = errors.read().decode(errors="replace").strip().splitlines()
                    why = output[-1] if output else "it gave no reason"
                    raise ClassroomError(f"The process for the students' code did not start: {why}.") from None
        except BaseException:
            self._scratch.close()
            raise
        self.isolation, self.why = ready["isolation"], ready["why"]
        if isolation == "namespaces" and self.isolation == LIMITS:
            self.close()
            raise ClassroomError(f"Namespaces can't be made on this system ({self.why}): use --isolation limits.")

    def __enter__(self) -> BoxServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and everything that was started from it."""
        for process in _descendants(self._process.pid):
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.kill()
        self._process.wait()
        self._talk.close()
        self._scratch.close()

    @contextlib.contextmanager
    def box(self, limits: Limits, *, optimizers: bool = False) -> Iterator[Box]:
        """A new box, which is gone at the end of the `with` block; torch's optimisers are loaded in it if asked for."""
        mine, theirs = socket.socketpair()
        read, write = os.pipe()
        wanted = {"limits": asdict(limits), "optimizers": optimizers}
        socket.send_fds(self._talk, [json.dumps(wanted).encode()], [theirs.fileno(), write])
        theirs.close()
        os.close(write)
        box = Box(mine, read, self._read()["keeper"], self._process.pid, limits)
        try:
            yield box
        finally:
            box.end()
            self._read()  # when all that was in it is over

    def _read(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            part = self._talk.recv(65536)
            if not part:
                raise ConnectionError("the process for the students' code is gone")
            line += part
        return json.loads(line)


class Box:
    """One box: a connection to talk over, and how it has ended."""

    def __init__(self, talk: socket.socket, report: int, keeper: int, server: int, limits: Limits) -> None:
        self._talk, self._report, self._keeper, self._server = talk, report, keeper, server
        self._limits, self._ending = limits, Ending()
        self._looked, self._ended = 0.0, False
        # On a machine with more to do than it has processors, everything takes longer by the clock.
        busy = min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), 4.0)
        deadline = time.monotonic() + 3 * limits.seconds * busy
        self.connection = Connection(Channel(talk), deadline=deadline, watch=self._watch)

    def end(self) -> Ending:
        """End the box if it runs, and say how it has ended."""
        if self._ended:
            return self._ending
        self._ended = True
        self._talk.close()
        if self.connection.lost is None:
            _kill(self._keeper)
        elif self.connection.lost in ("time", "garbled"):
            _kill(self._keeper)
            self._ending = Ending(self.connection.lost, f"{self._limits.seconds:g} seconds")
        elif self._ending.accident is None:
            self._ending = self._how_it_ended()
        _kill(self._keeper)
        os.close(self._report)
        return self._ending

    def _how_it_ended(self) -> Ending:
        """What the keeper tells of a box that has closed the connection by itself."""
        ready = select.select([self._report], [], [], 2)[0]
        text = os.read(self._report, 4096) if ready else b""
        if not text:  # it has closed the connection and goes on, or its keeper is gone
            return Ending("exit")
        report = json.loads(text)
        if "failed" in report:
            raise ClassroomError(f"A box could not be made: {report['failed']}.")
        number = report.get("signal")
        # Linux ends it by seconds counted in whole ticks, and tells exact ones: beside other programs a fifth apart.
        spent = report["seconds"] >= 0.5 * self._limits.seconds
        if number == signal.SIGXCPU or (number == signal.SIGKILL and spent):
            return Ending("time", f"{self._limits.seconds:g} seconds")
        if report.get("code") == 77:
            return Ending("memory")
        if number and number != signal.SIGKILL:
            return Ending("crash", signal.Signals(number).name)
        return Ending("exit")

    def _watch(self) -> None:
        """Look now and then how many processes there are and how much memory they have; end what is too much."""
        if time.monotonic() - self._looked < 0.25:
            return
        found = _descendants(self._server)
        count, memory = len(found), sum(_memory(process, "rss") for process in found)
        if memory > (most := (self._limits.memory + 4) * 2**30):  # what forks share with each other counts once
            memory = sum(_memory(process, "uss") for process in found)
        self._looked = time.monotonic()
        if count > MOST_PROCESSES:
            self._ending = Ending("processes", f"{MOST_PROCESSES}")
        elif memory > most:
            self._ending = Ending("memory")
        if self._ending.accident:
            _kill(self._keeper)


def _descendants(process: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process).children(recursive=True)
    return []


def _memory(process: psutil.Process, kind: str) -> int:
    with contextlib.suppress(psutil.Error):
        info = process.memory_info() if kind == "rss" else process.memory_full_info()
        return getattr(info, kind)
    return 0


def _kill(process: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGKILL)


def _environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "MPLBACKEND": "agg",
    }  # fmt: skip
