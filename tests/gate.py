"""How the tests share a machine: files side by side, and one thread in each process.

`pytest` spreads the files over processes (pytest-xdist). For all tests there are three, on two cores 407 s:
with two they took a tenth longer, since some wait for a browser or a kernel. The quick ones wait for nothing, and have
one process a core, 54 s: each imports and collects anew.
`--dist loadfile` keeps the tests of a file together, and the cells of a lesson. What is held to a time counts its
process's own seconds, or gets more by the clock where the machine is busy. pyproject.toml has this module loaded before
any other plugin, and tests/conftest.py registers the class below.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

BROWSER = "tests/browser/"
GROUPS = (BROWSER, "tests/classroom/")
LONGEST = ("notebooks/", BROWSER)


if "PYTEST_XDIST_WORKER" in os.environ:  # This process is one of several: it, and all that it starts, has one thread.
    os.environ["OMP_NUM_THREADS"] = "1"
# Several threads (-n 0) would spin while they wait: ten times the processor seconds beside other programs.
# Most tests load PyTorch before the package, which sees to this where it comes first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# The tests start more than a hundred processes: without files of bytecode each would compile what it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# nbval loads jsonschema, which builds this one's grammar, of addresses, for a second in each process. None are checked.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def processes(config: pytest.Config) -> int:
    """How many test processes `-n auto` means."""
    return max(2, min(os.cpu_count() or 1, 4)) if is_quick(config) else 3


def is_quick(config: pytest.Config) -> bool:
    return "not slow" in (config.option.markexpr or "")


class Gate:
    """The plugin: lessons count as slow, and tests that share something go to one process."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))  # a long one at the end would run alone
        for item in items:
            if item.path.suffix == ".ipynb":
                item.add_marker(pytest.mark.slow)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """As loadfile, but what shares one JupyterLab stays together, and so does what shares the classroom's boxes."""
        from xdist.scheduler import LoadFileScheduling

        class Scheduling(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                group = next((group for group in GROUPS if nodeid.startswith(group)), None)
                return group or super()._split_scope(nodeid)

        return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
