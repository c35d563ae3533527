"""Processes with PyTorch loaded already: each is forked from a server, which computes nothing and has one thread."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import multiprocessing.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["FORKED", "Forked", "forked_pool", "run_code", "run_forked"]

FORKED = multiprocessing.get_context("spawn")
if "forkserver" in multiprocessing.get_all_start_methods():
    FORKED = multiprocessing.get_context("forkserver")
    FORKED.set_forkserver_preload(["torch", "nst_helpers.cli.paint", "nst_helpers.sweeps.grid"])
    # The server's socket lies in multiprocessing's temporary folder, and its path has a hundred characters at most.
    if len(os.fsencode(tempfile.gettempdir())) > 70:
        usual, tempfile.tempdir = tempfile.tempdir, "/tmp"
        multiprocessing.util.get_temp_dir()
        tempfile.tempdir = usual


def forked_pool(workers: int = 1) -> ProcessPoolExecutor:
    """New processes that take no seconds to start, unlike those of "spawn"."""
    return ProcessPoolExecutor(workers, mp_context=FORKED)


def run_forked(code: str, *arguments: str) -> str:
    """What the code prints as `python -W error -c CODE ARGUMENTS`; what it raises is raised here too."""
    with forked_pool() as pool:
        return pool.submit(_printed, code, arguments).result()


def _printed(code: str, arguments: tuple[str, ...]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run_code(code, *arguments)
    return printed.getvalue()


def run_code(code: str, *arguments: str) -> None:
    """In this process, as `python -W error -c CODE ARGUMENTS`."""
    sys.argv = ["-c", *arguments]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})


class Forked:
    """A function in a process of its own, which is asked as a `subprocess.Popen` is; a folder gets what it writes."""

    def __init__(self, folder: Path, function: Callable[..., object], *arguments: Any) -> None:
        self._files = [folder / "its.stdout", folder / "its.stderr"]
        self._process = FORKED.Process(target=_write, args=(self._files, dict(os.environ), function, arguments))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "still running"
        out, err = (file.read_text("utf-8") for file in self._files)
        return out, err


def _write(files: list[Path], environment: dict[str, str], function: Callable[..., object], arguments: Any) -> None:
    os.environ.update(environment)  # the server has that of its own start
    for number, path in enumerate(files, 1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    function(*arguments)
