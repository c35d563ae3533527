"""tools/measure/gpu_check.py, rehearsed on a CPU: what it finds, and a row that fails or takes too long."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[3] / "tools" / "measure"
sys.path.insert(0, str(FOLDER))

gpu_check, gpu_fast, gpu_numbers, gpu_rows, gpu_sides, textbook = map(
    importlib.import_module, ("gpu_check", "gpu_fast", "gpu_numbers", "gpu_rows", "gpu_sides", "textbook")
)

QUICK = ["losses", "model mini", "scales", "session", "sweep", "ahead", "refusal", "memory", "compiled"]


@pytest.mark.slow
def test_on_a_cpu_the_numbers_are_right_and_what_needs_a_gpu_is_left_out(tmp_path):
    out = tmp_path / "found" / "check.json"
    assert gpu_check.main(["--only", "right", "--device", "cpu", "--json", str(out), "--rows", *QUICK]) == 0
    rows = {row["name"]: row for row in json.loads(out.read_text("utf-8"))["parts"]["right"]}
    left_out = {name for name, row in rows.items() if row["state"] == "left out"}
    assert left_out == {"refusal", "out of memory", "compiled"}
    assert {row["state"] for row in rows.values()} == {"ok", "left out"}
    assert rows["losses"]["found"]["worst gradient"] < 1e-5
    assert rows["model mini, max, gatys"]["found"]["gradient"] < 1e-4


def test_a_wrong_gradient_fails_its_row_and_the_exit_code_and_nothing_else(tmp_path, monkeypatch):
    plain = gpu_numbers.nst.total_variation
    monkeypatch.setattr(
        gpu_numbers.nst,
        "total_variation",
        lambda x, **kind: plain(x, **kind) * (1.001 if x.dtype == torch.float32 else 1),
    )
    out = tmp_path / "check.json"
    wanted = ["--rows", "losses", "model mini, avg, relative"]
    assert gpu_check.main(["--only", "right", "--device", "cpu", "--json", str(out), *wanted]) == 1
    rows = json.loads(out.read_text("utf-8"))["parts"]["right"]
    assert [(row["name"], row["state"]) for row in rows] == [
        ("losses", "FAILED"),
        ("model mini, avg, relative", "ok"),
    ]
    assert "l1 is 0.001 off" in rows[0]["why"]


def test_a_row_that_takes_too_long_is_stopped_and_after_the_budget_the_others_are_left_out():
    part = gpu_rows.Part("right", 1.5)
    part.row("endless", lambda: time.sleep(60), most=0.2)
    part.end = time.perf_counter() + 0.5
    part.row("after the end", lambda: 1)
    assert [row["state"] for row in part.rows] == ["FAILED", "left out"]
    assert "more than 0 s" in part.rows[0]["why"]
    assert part.failed


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", [pytest.param("textbook", marks=SLOW), "float32", pytest.param("bfloat16", marks=SLOW)]
)
def test_every_loop_makes_the_evaluations_it_is_asked_for_on_the_same_loss(name):
    job, seen = gpu_sides.task("mini", 48, torch.device("cpu")), []
    gpu_sides.drive(job, gpu_sides.SIDES[name], 20, lambda image: seen.append(image.detach().clone()))
    assert len(seen) == 20
    judge = gpu_sides.textbook_model(job)
    with torch.no_grad():
        first, last = (textbook.textbook_loss(judge, seen[i].clamp(0, 1)).item() for i in (0, -1))
    assert last < first / 3


def test_this_packages_loss_is_the_textbooks():
    job = gpu_sides.task("mini", 48, torch.device("cpu"))
    run = gpu_sides.optimisation(job, gpu_sides.Side(), 1)
    image = job.content.flip(-1)
    run.model(image)
    loss = run.model.total_loss(content_weight=1.0, style_weight=job.style_weight, tv_weight=0.0).item()
    with torch.no_grad():
        assert textbook.textbook_loss(gpu_sides.textbook_model(job), image).item() == pytest.approx(loss, rel=1e-4)


def test_the_work_of_an_evaluation_is_counted_by_layer():
    job = gpu_sides.task("vgg19", 256, torch.device("cpu"))
    assert job.gflop == pytest.approx(importlib.import_module("benchmark").gflop(256))


def test_seconds_and_the_table_of_a_side(capsys):
    job = gpu_sides.task("mini", 48, torch.device("cpu"))
    found = gpu_fast.one_evaluation(job, gpu_sides.Side("textbook"))
    assert 0 < found["ms"] < 5000
    rows = {"textbook": [{"ms": 8.0, "start": 0.1}], "bfloat16": [{"ms": 4.0, "start": 0.1}]}
    gpu_fast.show("mini 48", rows, 8.0, {"bfloat16 product": 4.0})
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert line[:5] == ["bfloat16", "4.00", "0.0%", "2.00", "50.0%"]
