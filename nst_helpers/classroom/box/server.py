"""The process that boxes are forked from: it has loaded torch and the students' package, and runs no student's code.

It gets requests from the judge over a socket, each with the ends of two more: one for the box to talk over, and one on
which the keeper, a process between the server and the box, tells how the box ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from . import isolation
from .wire import Channel

__all__ = ["NAMESPACES", "Limits", "load_optimizers", "main"]

NAMESPACES, LIMITS = "namespaces", "limits"
_SUBREAPER, _DEATH_SIGNAL = 36, 1
_MOST_PROCESSES = 64


@dataclass(frozen=True)
class Limits:
    """What one question may use: processor seconds, gigabytes beyond what Python and torch take, megabytes of files.

    By the clock a question may take three times as long, and more on a busy machine, so that others' work costs nobody
    a point. `total` is for all questions of a hand-in together, in seconds by the clock.
    """

    seconds: float = 20.0
    memory: float = 2.0
    files: int = 256
    total: float = 300.0


def main(descriptor: int, wanted: str, folder: Path) -> None:
    """Answer requests until the judge is gone; `wanted` is "namespaces", "limits" or "auto", and `folder` is empty."""
    judge = socket.socket(fileno=descriptor)
    _process_control(_SUBREAPER, 1)
    _process_control(_DEATH_SIGNAL, signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    why = _begin() if wanted != LIMITS else "not wanted"
    cells = _load()
    root = folder / "root"
    root.mkdir()
    why = why or _why_not(root)
    judge.sendall(json.dumps({"isolation": LIMITS if why else NAMESPACES, "why": why}).encode() + b"\n")
    while True:
        text, descriptors, _, _ = socket.recv_fds(judge, 65536, 2)
        if not text:
            return
        request = json.loads(text)
        limits = Limits(**request["limits"])
        if request["optimizers"]:
            load_optimizers()
        keeper = os.fork()
        if not keeper:
            judge.close()
            _keep(root if not why else None, folder, limits, descriptors[0], descriptors[1], cells)
        for one in descriptors:
            os.close(one)
        judge.sendall(json.dumps({"keeper": keeper}).encode() + b"\n")
        _wait_for(keeper)
        judge.sendall(b'{"over": true}\n')


def _load() -> Any:
    import matplotlib_inline.backend_inline  # noqa: F401
    import torch

    from ... import checks, conventions, regions  # noqa: F401
    from ...accel import accelerate, bands, distances, gram  # noqa: F401
    from ...checks import lessons  # noqa: F401
    from ...control import color  # noqa: F401
    from .. import personal  # noqa: F401
    from . import cells, harness  # noqa: F401

    torch.set_num_threads(1)
    # The first cell loads a part of IPython, and the first gradient a part of torch.
    shell = cells.make_shell()
    cells.run_cell(shell, "pass")
    number = torch.zeros(1, requires_grad=True)
    torch.autograd.grad(number, number, torch.ones(1))
    gc.collect()
    gc.freeze()  # else a box that looks for garbage would copy all the memory that it shares with this process
    return shell


@cache
def load_optimizers() -> None:
    """Let torch load what it loads for the first optimiser, which takes a second or two."""
    import torch

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


def _begin() -> str:
    """Go into namespaces, and say why that is not possible, if so. To be called before there are threads."""
    why = ""
    for new_user in (False, True) if os.geteuid() == 0 else (True,):
        try:
            isolation.begin(new_user=new_user)
            return ""
        except (OSError, AttributeError) as error:  # AttributeError: this is no Linux
            why = str(error)
    return why


def _why_not(root: Path) -> str:
    """Why no namespaces can be made here, or nothing: tried in a fork."""
    read, write = os.pipe()
    trial = os.fork()
    if not trial:
        why = "no reason given"
        try:
            _isolate(root, 1)
            inner = os.fork()
            if not inner:
                isolation.settle(root, 0)
                for needed in (__file__, os.__file__, sys.modules["torch"].__file__):
                    Path(str(needed)).read_bytes()  # as a user that nothing belongs to
                os.write(write, b"ready")
                os._exit(0)
            os.waitpid(inner, 0)
            why = ""
        except (OSError, AttributeError) as error:
            why = str(error)
        finally:
            os.write(write, why.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(trial, 0)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    return "" if text == "ready" else text.removeprefix("ready") or "the new file system could not be put together"


def _isolate(root: Path, megabytes: int) -> None:
    package = Path(__file__).parents[2]
    visible = [(place, place) for place in isolation.readable_places(package.name)]
    visible.append((str(package.parent), str(package.parent)))
    for place in sys.path:  # an installed copy of the whole package gives way to the students' one
        installed = Path(place) / package.name
        if re.search(r"(site|dist)-packages", place) and installed.is_dir():
            visible.append((str(package), str(installed)))
    isolation.enter(root, visible, megabytes=megabytes)


def _keep(root: Path | None, folder: Path, limits: Limits, talk: int, tell: int, shell: Any) -> NoReturn:
    """Start the box, wait for its end and tell it: how much processor time, and the exit code or the signal."""
    report: dict[str, Any] = {"code": 1}
    try:
        os.setsid()
        _process_control(_DEATH_SIGNAL, signal.SIGKILL)
        if root:
            _isolate(root, limits.files)
        number, box = os.getpid(), os.fork()
        if not box:
            os.close(tell)
            _be_the_box(root, number, folder, limits, talk, shell)
        os.close(talk)
        _, status, used = os.wait4(box, 0)
        report = {"seconds": used.ru_utime + used.ru_stime}
        report |= {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else {"code": os.WEXITSTATUS(status)}
    except OSError as error:
        report = {"failed": str(error)}
    finally:
        with contextlib.suppress(OSError):
            os.write(tell, json.dumps(report).encode())
        os._exit(0)


def _be_the_box(root: Path | None, number: int, folder: Path, limits: Limits, talk: int, shell: Any) -> NoReturn:
    from .harness import serve

    try:
        if root:
            isolation.settle(root, number)
            home = Path("/tmp/work")
        else:
            home = Path(tempfile.mkdtemp(dir=folder))
        _process_control(_DEATH_SIGNAL, signal.SIGKILL)  # here, for who changes the user loses it
        home.mkdir(exist_ok=True)
        os.chdir(home)
        # The file name of an answer in a message must not say where the marking lies.
        for name in list(os.environ):
            if name not in ("PATH", "LANG", "LC_ALL") and not name.endswith("_NUM_THREADS"):
                del os.environ[name]
        os.environ |= {"HOME": str(home), "TMPDIR": str(home), "IPYTHONDIR": str(home), "MPLBACKEND": "agg"}
        sys.path.insert(0, "")  # as in a notebook, modules may lie beside it
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        talk = os.dup2(talk, 3)
        os.closerange(4, 4096)
        set_limits(limits, most_processes=_MOST_PROCESSES if root else None)
        with socket.socket(fileno=talk) as connection:
            serve(Channel(connection), shell)
        os._exit(0)
    except MemoryError:
        os._exit(77)
    finally:
        os._exit(1)


def set_limits(limits: Limits, *, most_processes: int | None) -> None:
    """Limit this process: memory beyond what it has, processor time, the size of a file, no core dumps.

    `most_processes` counts all of its user's, so it makes sense only where the user or the namespace is new.
    """
    with open("/proc/self/statm") if Path("/proc/self/statm").exists() else contextlib.nullcontext() as file:  # noqa: PTH123
        pages = int(file.read().split()[0]) if file else 0
    size = pages * resource.getpagesize() + int(limits.memory * 2**30)
    wanted = {
        "RLIMIT_AS": (size, size) if pages else None,
        # The first process of a namespace is deaf to the signal of a soft limit below the hard one.
        "RLIMIT_CPU": (math.ceil(limits.seconds),) * 2,
        "RLIMIT_FSIZE": (limits.files * 2**20,) * 2,
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NPROC": (most_processes,) * 2 if most_processes else None,
    }
    for name, values in wanted.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            if values:
                resource.setrlimit(getattr(resource, name), values)


def _wait_for(keeper: int) -> None:
    """Wait for a keeper, and end everything that has been left behind, so that the next box starts alone."""
    import psutil

    os.waitpid(keeper, 0)
    deadline = time.monotonic() + 30
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)


def _process_control(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
