"""The tool that judges the mini encoder by its teacher."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

import pytest
from conftest import noise

from nst_helpers.encoders import Architecture, Encoder

sys.path.insert(0, str(Path(__file__).parents[3] / "tools" / "measure"))

import judge_mini


def test_closure_by_hand():
    start, best = {"a": 1.0, "b": 0.5}, {"a": 0.01, "b": 0.05}
    assert judge_mini.closure(start, best, best) == pytest.approx({"a": 1.0, "b": 1.0})
    assert judge_mini.closure(start, start, best) == pytest.approx({"a": 0.0, "b": 0.0})
    left = {"a": 0.1, "b": 0.5 / math.sqrt(10)}
    assert judge_mini.closure(start, left, best) == pytest.approx({"a": 0.5, "b": 0.5})
    assert judge_mini.closure(start, {"a": 2.0, "b": 0.005}, best) == pytest.approx({"a": -0.150515, "b": 2.0})


def test_the_teacher_judged_by_itself_has_closure_one_and_is_cached(tmp_path):
    blocks = ((4,), (4,), (4,), (4, 4), (4,))
    teacher = Encoder(Architecture("toy", blocks, pool="avg", pool_scale=1.7, final_pool=False))
    pair = [("photo", noise(1, 3, 32, 32, seed=1), "style", noise(1, 3, 32, 32, seed=7) ** 3)]
    row = judge_mini.judge(teacher, teacher, pair, steps=5, cache=tmp_path)[0]
    assert row["closure"] == pytest.approx(1.0)
    assert len(list(tmp_path.iterdir())) == 1
    changed = Encoder(dataclasses.replace(teacher.architecture), seed=1)
    assert judge_mini.fingerprint(changed) != judge_mini.fingerprint(teacher)
    saved = judge_mini.sheet([row], tmp_path / "sheet.png")
    assert saved.stat().st_size > 1000
