"""The course on a GPU: every lesson is in it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_lesson_is_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "measure"))
    import gpu_course

    ran: list[str] = []

    class Part:
        left = 0.0  # so that none begins

        def row(self, name, work, most):
            ran.append(name)

    gpu_course.measure(Part(), lambda name: True)
    sys.modules.pop("gpu_course")
    assert ran == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
