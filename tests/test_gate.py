"""How the tests share a machine: what comes first, what counts as slow, and who is alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import gate
import pytest
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
    assert {one.path.stem for one in items if one.marks} == {"05_optimizers"}


@pytest.mark.skipif(gate.fcntl is None, reason="no such locks here")
def test_who_is_alone_waits_for_the_others_and_they_for_it(tmp_path):
    turns, events = gate.Turns(tmp_path), []

    def alone() -> None:
        with gate.Turns(tmp_path).turn(alone=True):
            events.append("alone")

    with turns.turn(alone=False), gate.Turns(tmp_path).turn(alone=False):  # two side by side
        thread = threading.Thread(target=alone)
        thread.start()
        thread.join(0.1)
        events.append("together")
    thread.join(10)
    assert events == ["together", "alone"]


def test_a_busy_machine_gets_more_time_and_an_idle_one_none(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, factor in ((0.0, 1.0), (1.9, 1.0), (9.0, 4.5)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert busy() == factor
