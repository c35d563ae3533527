"""How the tests share a machine: what comes first, what counts as slow, and what a busy machine is given."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import conftest
import gate
from conftest import busy


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


def test_a_busy_machine_gets_more_time_and_an_idle_one_none(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, factor in ((0.0, 1.0), (1.9, 1.0), (9.0, 4.5)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert busy() == factor
