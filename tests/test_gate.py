"""How the tests share a machine: what comes first, what counts as slow, and what a busy machine is given."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

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


def test_a_busy_machine_gets_more_time_and_an_idle_one_none(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, factor in ((0.0, 1.0), (1.9, 1.0), (9.0, 4.5)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert busy() == factor
