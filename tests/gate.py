"""How the tests share a machine: files side by side, one thread in each process, and alone what measures time.

`pytest` spreads the files over two processes (pytest-xdist; on two cores three are no quicker, 722 s for 705).
`--dist loadfile` keeps the tests of a file together, and the cells of a lesson. What is marked `alone` has the machine
to itself. tests/conftest.py registers this plugin.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import fcntl
except ImportError:  # Windows has no such locks: what times something is merely disturbed there
    fcntl = None  # type: ignore[assignment]

QUICK_LESSONS = ("01_images",)
BROWSER = "tests/browser/"
LONGEST = ("notebooks/", BROWSER)


if "PYTEST_XDIST_WORKER" in os.environ:  # This process is one of several: it, and all that it starts, has one thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class Turns:
    """Many may have a turn side by side, or one has it alone.

    Two files are locked: who is alone holds `door` while waiting for `room`, so that nobody else comes in meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.door, self.room = folder / "door.lock", folder / "room.lock"

    @contextlib.contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        if fcntl is None:
            yield
            return
        with self.room.open("a") as room:
            with self.door.open("a") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


class Gate:
    """The plugin: lessons count as slow but for a quick one, and tests take turns."""

    def __init__(self) -> None:
        self.turns: Turns | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))  # a long one at the end would run alone
        for item in items:
            if item.path.suffix == ".ipynb" and item.path.stem not in QUICK_LESSONS:
                item.add_marker(pytest.mark.slow)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """As loadfile, but all browser tests together, which share one JupyterLab."""
        from xdist.scheduler import LoadFileScheduling

        class Scheduling(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)

        return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return (yield)
        if self.turns is None:
            factory = item.config._tmp_path_factory  # one folder for each worker, in one for the whole run
            self.turns = Turns(factory.getbasetemp().parent)
        with self.turns.turn(alone=item.get_closest_marker("alone") is not None):
            return (yield)
