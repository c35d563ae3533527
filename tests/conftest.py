"""What all tests share: their plugins, a cache of their own, and by name what toys.py has."""

from __future__ import annotations

import importlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import browser_lab
import gate
import pytest

if TYPE_CHECKING:
    from nst_helpers.encoders import Encoder

quick = False  # whether the slow tests are left out


def __getattr__(name: str) -> Any:
    """What toys.py has, loaded where a test asks: the process that hands out the tests needs no PyTorch."""
    if name in ("TOY", "Reads", "noise", "picture"):
        return getattr(importlib.import_module("toys"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return gate.processes(config)


def pytest_configure(config: pytest.Config) -> None:
    global quick
    quick = gate.is_quick(config)
    # What a shell runs in the background is deaf to Ctrl-C, and so would be all that the tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(gate.Gate())
    config.pluginmanager.register(browser_lab)
    config.pluginmanager.import_plugin("marking_fixtures")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the person's own cache, or IPython's profile."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.getbasetemp() / "ipython"))
    monkeypatch.setenv("NST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("NST_PROGRESS", "off")
    for name in ("NST_WEIGHTS", "NST_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)
    # The tests' own servers are on this machine, whatever proxy there is for others.
    monkeypatch.setenv("no_proxy", ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1,localhost"])))


@pytest.fixture
def toy() -> Encoder:
    from toys import TOY

    from nst_helpers.encoders import Encoder

    return Encoder(TOY, seed=1)


USUAL = 0.0025  # processor seconds of `piece_of_work` on the machine that the tests' limits were found on


def piece_of_work() -> int:
    return sum(number * number % 7 for number in range(60_000))


def slow() -> float:
    """How many times as many processor seconds something may take here: 1, or more on a slower processor."""
    return _pace()[0]


def busy() -> float:
    """How many times as long something may take by the clock: as `slow`, and more where others use the processors."""
    processor, clock = _pace()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processor * max(1.0, load / cores, clock / processor)


def _pace() -> tuple[float, float]:
    """How many times as long as usual a piece of work takes, in processor seconds and by the clock; 1 at least."""
    start, used = time.perf_counter(), time.thread_time()
    for _ in range(5):
        piece_of_work()
    most = 5 * USUAL
    return max(1.0, (time.thread_time() - used) / most), max(1.0, (time.perf_counter() - start) / most)


def examples(number: int) -> int:
    """So many examples of a property in the whole gate, a fifth in the quick suite."""
    return max(5, number // 5) if quick else number
