"""The course on a GPU: every lesson is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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


def test_lessons_are_left_out_where_what_runs_them_is_missing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "measure"))
    import gpu_course
    from gpu_rows import Left, Part

    monkeypatch.setattr(gpu_course, "NEEDED", ("nbclient", "none_of_that_name"))
    with pytest.raises(Left, match="pip install none_of_that_name"):
        gpu_course.apart(ROOT / "notebooks" / "01_images.ipynb", Part("course", 30))
    sys.modules.pop("gpu_course")
