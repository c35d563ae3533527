"""Boxes for students' code: a forked process with limits on time and memory, and nothing left over afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

__all__ = ["Boxed", "Limits", "adopt_orphans", "die_with_parent", "in_a_box", "kill_offspring", "limit", "wait_for"]

_SUBREAPER, _DEATH_SIGNAL = 36, 1


@dataclass(frozen=True)
class Limits:
    """Processor seconds for one question, gigabytes beyond what Python and torch take, and seconds for one student.

    By the clock a question may take three times as long, so that a busy machine costs nobody a point.
    """

    seconds: float = 20.0
    memory: float = 2.0
    total: float = 300.0


@dataclass(frozen=True)
class Boxed:
    """How a box ended: with an `answer`, or by an accident ("time", "memory", "exit", "crash")."""

    answer: Any = None
    accident: str | None = None
    detail: str = ""


def limit(memory: float, seconds: float) -> None:
    """Limit this process: `memory` GB more than it has, `seconds` of processor time, files of 100 MB."""
    size = psutil.Process().memory_info().vms + int(memory * 2**30)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 * 2**20, 100 * 2**20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def in_a_box(work: Callable[[], Any], limits: Limits, *, seconds: float | None = None) -> Boxed:
    """Run `work` in a fork of this process and return its JSON-like answer, or the accident that it had."""
    seconds = seconds or limits.seconds
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _be_boxed(work, limits, seconds, write)
    os.close(write)
    deadline, told = time.monotonic() + 3 * seconds, b""
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([read], [], [], left)[0]:
                break
            part = os.read(read, 65536)
            if not part:
                break
            told += part
            if told.endswith(b"\n"):
                break
        late = time.monotonic() >= deadline
    finally:
        os.close(read)
        kill_tree(child)
        _, status, used = os.wait4(child, 0)
    if told.endswith(b"\n"):
        return Boxed(json.loads(told))
    spent = used.ru_utime + used.ru_stime >= 0.9 * seconds
    if late or spent or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Boxed(accident="time", detail=f"{seconds:g} seconds")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return Boxed(accident="crash", detail=signal.Signals(os.WTERMSIG(status)).name)
    return Boxed(accident="exit", detail="")


def _be_boxed(work: Callable[[], Any], limits: Limits, seconds: float, write: int) -> None:
    code = 1
    try:
        os.setsid()
        die_with_parent()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        limit(limits.memory, seconds)
        told = json.dumps(work()).encode() + b"\n"
        while told:
            told = told[os.write(write, told) :]
        code = 0
    except MemoryError:
        with contextlib.suppress(OSError):
            os.write(write, b'{"accident": "memory"}\n')
    finally:
        os._exit(code)


def wait_for(child: int, seconds: float, memory: float) -> str | None:
    """Wait for a forked child; kill it and all its offspring at its limit, and say which: "time" or "memory"."""
    deadline, accident, parent = time.monotonic() + seconds, None, os.getppid()
    while not accident:
        if os.getppid() != parent:  # whoever asked is gone
            kill_tree(child)
            os._exit(1)
        done, _ = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            accident = "time"
        elif _resident() > (memory + 4) * 2**30:
            accident = "memory"
        else:
            time.sleep(0.05)
    if accident:
        kill_tree(child)
        os.waitpid(child, 0)
    kill_offspring()
    return accident


def _resident() -> int:
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def kill_tree(pid: int) -> None:
    """Kill a process and all that descend from it, by their ids."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (*root.children(recursive=True), root):
            with contextlib.suppress(psutil.Error):
                process.kill()


def kill_offspring() -> None:
    """Kill whatever still descends from this process, orphans that it adopted among them."""
    for _ in range(5):
        left = psutil.Process().children(recursive=True)
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def adopt_orphans() -> None:
    """On Linux, processes whose parents have ended become ours, so that none can slip away."""
    _prctl(_SUBREAPER, 1)


def die_with_parent() -> None:
    """On Linux, end when the parent does."""
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
