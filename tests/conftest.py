"""What all tests share: their plugins, a cache of their own, and by name what toys.py has."""

from __future__ import annotations

import importlib
import os
import signal
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
    """No test reads or writes the person's own cache."""
    monkeypatch.setenv("NST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("NST_PROGRESS", "off")
    for name in ("NST_WEIGHTS", "NST_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["NST_CACHE"]


@pytest.fixture
def toy() -> Encoder:
    from toys import TOY

    from nst_helpers.encoders import Encoder

    return Encoder(TOY, seed=1)


def busy() -> float:
    """How many times as long as on an idle machine something may take by the clock: 1, or the load of a processor."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, load / (os.cpu_count() or 1))


def examples(number: int) -> int:
    """So many examples of a property in the whole gate, a fifth in the quick suite."""
    return max(5, number // 5) if quick else number
