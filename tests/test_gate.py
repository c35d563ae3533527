"""How the tests share a machine: what comes first, what counts as slow, and what a busy machine is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import gate
import pytest
from conftest import busy, slow


def item(nodeid: str) -> SimpleNamespace:
    marks: list[object] = []
    path = Path(nodeid.partition("::")[0])
    return SimpleNamespace(nodeid=nodeid, path=path, marks=marks, add_marker=marks.append)


def test_lessons_and_the_browser_come_first_and_keep_their_order():
    names = ["tests/a.py::x", "tests/browser/b.py::y", "nst_helpers/c.py::z"]
    cells = [f"notebooks/{name}.ipynb::Cell {n}" for name in ("01_images", "05_optimizers") for n in range(12)]
    items = [item(name) for name in (*names, *cells)]
    gate.Gate().pytest_collection_modifyitems(items)
    assert [one.nodeid for one in items] == [names[1], *cells, names[0], names[2]]
    assert [one.nodeid for one in items if one.marks] == cells


def test_the_quick_suite_has_a_process_for_each_core_and_the_whole_gate_three(monkeypatch):
    found = {}
    for cores in (1, 2, 4, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for expression in ("", "slow", "not slow"):
            config = SimpleNamespace(option=SimpleNamespace(markexpr=expression))
            found.setdefault(expression, []).append(gate.processes(config))
    assert found == {"": [3] * 4, "slow": [3] * 4, "not slow": [2, 2, 4, 4]}


def test_the_quick_suite_looks_at_a_fifth_of_the_examples(monkeypatch):
    for quick, numbers in ((False, [300, 20, 7]), (True, [60, 5, 5])):
        monkeypatch.setattr(conftest, "quick", quick)
        assert [conftest.examples(number) for number in (300, 20, 7)] == numbers


def test_a_busy_machine_and_a_slow_one_get_more_time_and_an_idle_one_none(monkeypatch):
    """Others are seen by the load of the last minute, and by how long a piece of work takes at this moment."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    for load, pace, factor in (
        (0.0, (1, 1), 1),
        (1.9, (1, 1.1), 1.1),
        (9.0, (1, 2), 4.5),
        (0.0, (1, 4), 4),
        (0.0, (5, 5), 5),
        (4.0, (5, 5), 10),
    ):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        monkeypatch.setattr(conftest, "_pace", lambda pace=pace: pace)
        assert (slow(), busy()) == (pace[0], pytest.approx(factor))


def test_a_piece_of_work_that_takes_longer_is_noticed(monkeypatch):
    plain = conftest.piece_of_work
    usual = slow()
    monkeypatch.setattr(conftest, "piece_of_work", lambda: [plain() for _ in range(40)])  # a quick processor's, too
    assert slow() > 3 * usual


def test_threads_that_wait_leave_the_processor_to_others():
    """PyTorch reads this when it is loaded, which the tests do in any order."""
    assert os.environ["OMP_WAIT_POLICY"]
    code = "import os, gate; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
    for chosen, told in (({}, "PASSIVE 10000\n"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None\n")):
        env = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        env |= {"PYTHONPATH": str(Path(__file__).parent)} | chosen
        assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == told
