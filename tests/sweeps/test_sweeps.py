"""Sweeps: every cell in its place, through any executor; failures are told; a killed sweep goes on from its folder."""

from __future__ import annotations

import errno
import importlib.util
import json
import multiprocessing
import os
import pickle
import runpy
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY, picture
from dask_cluster import dask_cluster
from forked import FORKED, forked_pool

from nst_helpers import get_convention, stylize
from nst_helpers.encoders import Encoder
from nst_helpers.errors import NSTError
from nst_helpers.images import load_image
from nst_helpers.sweeps import cells as sweeps_cells
from nst_helpers.sweeps.grid import follow_the_parent, sweep

# Compared with runs on another number of threads, which round differently: float32 is fine enough not to show it.
GIVEN = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"], "steps": 3, "device": "cpu"}
GIVEN["precision"] = "float32"
GRID = {"style_weight": [1.0, 50.0], "optimizer": ["lbfgs", "adam"]}


def given(**more):
    return GIVEN | {"encoder": Encoder(TOY, seed=1), "content": picture(24, 28), "style": picture(20, 30, 1)} | more


def single(cell, **more):
    """What `stylize` gives for a cell, by itself."""
    options = given(**more) | cell.settings
    return stylize(options.pop("content"), options.pop("style"), **options)


def test_cells_are_stylize_in_the_grids_order():
    cells = sweep(GRID, **given())
    assert [tuple(c.settings.values()) for c in cells] == [
        (1.0, "lbfgs"),
        (1.0, "adam"),
        (50.0, "lbfgs"),
        (50.0, "adam"),
    ]
    assert [c.label for c in cells][:2] == ["style_weight 1.0, optimizer lbfgs", "style_weight 1.0, optimizer adam"]
    for cell in cells:
        alone = single(cell)
        assert cell.ok
        assert cell.evaluations == 3
        assert cell.loss == pytest.approx(alone.loss, rel=1e-5)
        torch.testing.assert_close(cell.image, alone.image)


def test_a_failed_cell_is_reported_in_its_place_and_the_rest_goes_on():
    cells = sweep({"optimizer": ["adam", "none", "lbfgs"], "content_layers": [["relu2_1"], ["relu9_9"]]}, **given())
    assert [c.stopped for c in cells] == ["finished", "failed", "failed", "failed", "finished", "failed"]
    assert "'none', which is unknown" in cells[2].error
    assert "relu9_9" in cells[1].error
    assert cells[1].image is None
    sheet = cells.contact_sheet(title="Six")
    titles = [axis.get_title() for axis in sheet.axes]
    assert len(titles) == 6
    assert all("failed" in t for t, c in zip(titles, cells, strict=True) if not c.ok)
    assert "relu2_1" in titles[0]


def test_pictures_pairs_names_and_sizes(tmp_path):
    a, b = picture(24, 28), picture(20, 30, 1)
    common = {k: v for k, v in given().items() if k not in ("content", "style")}
    cells = sweep({"pair": {"there": (a, b), "back": (b, a)}}, **common)
    assert [c.label for c in cells] == ["pair there", "pair back"]
    assert [tuple(c.image.shape[-2:]) for c in cells] == [(24, 28), (20, 30)]
    cells = sweep({"content": ["cat", "temple"], "size": [16, 24]}, style=["wave", "mosaic"], **common)
    assert [min(c.image.shape[-2:]) for c in cells] == [16, 24, 16, 24]
    assert cells[3].label == "content temple, size 24"
    (cell,) = sweep({"size": ["fit"]}, **given())
    torch.testing.assert_close(cell.image, stylize(picture(24, 28), picture(20, 30, 1), size="fit", **common).image)
    with pytest.raises(ValueError, match="grid is empty"):
        sweep({"style_weight": []}, **given())
    with pytest.raises(ValueError, match="needs a content and a style"):
        sweep({"style_weight": [1]}, **common)
    with pytest.raises(TypeError, match="no option stile"):
        sweep({"stile": [1]}, **given())
    with ThreadPoolExecutor(1) as pool:
        cells = sweep({"style_weight": [1]}, pool, callback=lambda step: None, **given())
    assert "can't be sent" in cells[0].error


def test_threads_give_the_same_cells_and_leave_the_number_of_threads_alone():
    before = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        cells = sweep(GRID, pool, **given())
    for cell in cells:
        torch.testing.assert_close(cell.image, single(cell).image)
    assert torch.get_num_threads() == before


def test_finished_cells_come_from_the_folder(tmp_path):
    first = sweep(GRID, folder=tmp_path, **given())
    made = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert len(made) == 8
    # One more value in front: every cell has another place, and only the new ones run.
    wider = sweep(
        {"style_weight": [0.5, *GRID["style_weight"]], "optimizer": GRID["optimizer"]}, folder=tmp_path, **given()
    )
    assert len(list(tmp_path.iterdir())) == 12
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in made.items())
    for old, new in zip(first, wider[2:], strict=True):
        assert torch.equal(old.image, new.image)
        assert (old.loss, old.seconds, old.path) == (new.loss, new.seconds, new.path)
        assert torch.equal(load_image(new.path), new.image)
    # Anything that changes the run makes another cell, the weights of a network of the same name too.
    sweep({"style_weight": [1.0]}, folder=tmp_path, optimizer="adam", **given(encoder=Encoder(TOY, seed=2)))
    assert len(list(tmp_path.iterdir())) == 14


def test_a_cell_that_failed_is_tried_again(tmp_path):
    assert [c.stopped for c in sweep({"optimizer": ["none"]}, folder=tmp_path, **given())] == ["failed"]
    assert list(tmp_path.iterdir()) == []


def killed_sweep(folder: Path) -> None:
    def kill():
        while len(list(folder.glob("*.json"))) < 2:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill).start()
    sweep({"style_weight": [1.0, 2.0, 3.0, 4.0, 5.0]}, folder=folder, **given(steps=60))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_sweep_goes_on_from_its_folder(tmp_path):
    process = FORKED.Process(target=killed_sweep, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")}
    assert 2 <= len(kept) < 5
    cells = sweep({"style_weight": [1.0, 2.0, 3.0, 4.0, 5.0]}, folder=tmp_path, **given(steps=60))
    assert all(c.ok for c in cells)
    assert [c.settings["style_weight"] for c in cells] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in kept.items())
    assert len(list(tmp_path.glob("*.json"))) == 5
    for cell in cells:
        torch.testing.assert_close(cell.image, single(cell, steps=60).image, rtol=0, atol=1 / 255)


class Deadly(Encoder):
    """Kills the process that unpickles it: a stand-in for one that runs out of memory."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_processes_of_its_own_and_one_that_dies(monkeypatch):
    """In processes that start at once; those that a person's script gets are in the last test."""
    monkeypatch.setattr("nst_helpers.sweeps.grid._pool", forked_pool)
    encoders = {"good": Encoder(TOY, seed=1), "deadly": Deadly(TOY), "better": Encoder(TOY, seed=2)}
    options = {k: v for k, v in given().items() if k != "encoder"}
    cells = sweep({"encoder": encoders}, 2, **options)
    assert [c.stopped for c in cells] == ["finished", "failed", "finished"]
    assert "worker died" in cells[1].error
    torch.testing.assert_close(
        cells[0].image, stylize(picture(24, 28), picture(20, 30, 1), encoder=encoders["good"], **GIVEN).image
    )


def test_an_interrupt_waits_for_no_cell_and_leaves_no_process(monkeypatch):
    monkeypatch.setattr("nst_helpers.sweeps.grid._pool", forked_pool)

    def interrupted(cell, outcome, file):
        real(cell, outcome, file)
        raise KeyboardInterrupt

    real = sweeps_cells.finish
    monkeypatch.setattr("nst_helpers.sweeps.grid.finish", interrupted)
    started = time.monotonic()
    cells = sweep({"steps": [1, 10**6, 10**6, 10**6]}, 2, **{k: v for k, v in given().items() if k != "steps"})
    assert [c.stopped for c in cells] == ["finished", *["interrupted"] * 3]
    assert time.monotonic() - started < 60
    assert multiprocessing.active_children() == []


def dies_beside_its_worker(file: Path):
    pool = ProcessPoolExecutor(1, mp_context=FORKED, initializer=follow_the_parent)
    file.write_text(str(pool.submit(os.getpid).result()), "utf-8")
    pool.submit(time.sleep, 600)
    os._exit(0)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="asks for a process by sending it nothing")
def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    process = FORKED.Process(target=dies_beside_its_worker, args=(tmp_path / "worker",))
    process.start()
    process.join(60)
    worker = int((tmp_path / "worker").read_text("utf-8"))
    end = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < end
        time.sleep(0.05)


class Here(Executor):
    """Runs each job at once, and notes how many threads it was to take."""

    def __init__(self, workers):
        self.threads, self.precisions = [], []
        if workers:
            self._max_workers = workers

    def submit(self, function, blob):
        job = pickle.loads(blob)
        self.threads.append(job["threads"])
        self.precisions.append(job["precision"])
        future = Future()
        future.set_result(function(blob))
        return future


@pytest.mark.parametrize(("workers", "asked", "threads"), [(2, None, 4), (16, None, 1), (None, None, 1), (2, 3, 3)])
def test_the_cores_are_shared_out_among_the_workers(monkeypatch, workers, asked, threads):
    monkeypatch.setattr("nst_helpers.sweeps.grid._cores", lambda: 8)
    pool, before = Here(workers), torch.get_num_threads()
    assert sweep({"style_weight": [1.0]}, pool, threads=asked, **given(steps=1))[0].ok
    assert pool.threads == [threads]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("quicker", [True, False])
def test_the_precision_is_chosen_once_and_for_all_cells(monkeypatch, quicker):
    """A worker that measured for itself might choose another: its picture would differ by more than its settings."""
    asked, pool, kind = [], Here(None), "bfloat16" if quicker else "float32"
    monkeypatch.setattr("nst_helpers.accel.devices.has_bfloat16", lambda: True)
    monkeypatch.setattr(
        "nst_helpers.accel.devices._bfloat16_is_faster", lambda key, encoder: asked.append(key) or quicker
    )
    grid = {"style_weight": [1.0, 2.0, 3.0], "encoder": [Encoder(TOY, seed=1), Encoder(TOY, seed=2), "none"]}
    options = {k: v for k, v in given(precision="auto", steps=1).items() if k != "encoder"}
    cells = sweep(grid, pool, **options)
    assert [c.ok for c in cells] == [True, True, False] * 3
    assert pool.precisions == [kind, kind, "auto"] * 3
    assert len(asked) == 1


DASK = {"style_weight": [1.0, 50.0], "optimizer": ["adam", "none"]}


def dask_sweep() -> list[tuple[str, float, str]]:
    from distributed import Client

    # The first stands for a neighbour's: a second one has to find ports of its own.
    with dask_cluster(), dask_cluster() as cluster, Client(cluster) as client:
        return [(c.stopped, c.loss, c.error) for c in sweep(DASK, client.get_executor(), **given())]


@pytest.mark.slow
def test_dask_works_unchanged():
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs distributed")
    with forked_pool() as pool:
        cells = pool.submit(dask_sweep).result(400)
    here = sweep(DASK, **given())
    assert [c[0] for c in cells] == ["finished", "failed", "finished", "failed"]
    assert [c[1] for c in cells[::2]] == pytest.approx([c.loss for c in here[::2]], rel=1e-5)
    assert "'none', which is unknown" in cells[1][2]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", '"finished"', "{}", "[" * 100_000, '{"stopped": "finished"', '{"stopped": "finished"}',
     '{"stopped": "failed", "seconds": 1}', '{"stopped": "finished", "seconds": "1"}',
     '{"stopped": "finished", "seconds": 1, "content": [1]}', '{"stopped": "finished", "seconds": 1, "loss": null}'],
)  # fmt: skip
def test_a_record_that_is_none_counts_as_missing(tmp_path, text):
    grid = {"style_weight": [1.0]}
    (first,) = sweep(grid, folder=tmp_path, **given(steps=1))
    (record,) = tmp_path.glob("*.json")
    sound = record.read_text("utf-8")
    record.write_text(text, "utf-8")
    (cell,) = sweep(grid, folder=tmp_path, **given(steps=1))
    assert cell.ok
    assert cell.loss == first.loss
    assert json.loads(record.read_text("utf-8")).keys() == json.loads(sound).keys()  # it was run again


def test_a_record_cannot_change_what_a_cell_is(tmp_path):
    grid = {"style_weight": [1.0, 2.0]}
    sweep(grid, folder=tmp_path, **given(steps=1))
    for record in tmp_path.glob("*.json"):
        made_up = {"index": 7, "settings": {}, "label": "other", "image": "none", "error": "?", "ok": 1, "new": 2}
        record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | made_up), "utf-8")
    cells = sweep(grid, folder=tmp_path, **given(steps=1))
    assert [(c.index, c.label, c.error) for c in cells] == [(0, "style_weight 1.0", ""), (1, "style_weight 2.0", "")]
    assert all(c.path for c in cells)


def test_a_name_too_long_for_the_system_is_the_cells_sentence(tmp_path):
    options = {k: v for k, v in given(steps=1).items() if k != "content"}
    cells = sweep({"content": ["x" * 5000, "cat"]}, folder=tmp_path, size=24, **options)
    assert [c.stopped for c in cells] == ["failed", "finished"]
    assert len(cells[0].label) < 80
    assert "\n" not in cells[0].error


def test_values_of_numpy_are_the_numbers_they_are(tmp_path):
    grid = {"style_weight": np.array([1, 50]), "size": np.array([16], dtype=np.int64)}
    cells = sweep(grid, folder=tmp_path, **given(steps=np.int64(2)))
    assert [c.label for c in cells] == ["style_weight 1", "style_weight 50"]
    assert all(c.ok for c in cells), [c.error for c in cells]
    assert {min(c.image.shape[-2:]) for c in cells} == {16}
    made = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    sweep({"style_weight": [1.0, 50.0], "size": [16]}, folder=tmp_path, **given(steps=2.0))
    again = sweep(
        {"style_weight": torch.tensor([1, 50]), "size": torch.tensor([16])}, folder=tmp_path, **given(steps=2)
    )
    assert [c.label for c in again] == ["style_weight 1", "style_weight 50"]
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == made  # the same cells


def test_a_full_disk_marks_the_cell_and_the_sweep_goes_on(tmp_path, monkeypatch):
    real, calls = sweeps_cells.write_whole, []

    def full(path, data):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    monkeypatch.setattr(sweeps_cells, "write_whole", full)
    cells = sweep({"style_weight": [1.0, 2.0]}, folder=tmp_path, **given(steps=1))
    assert all(c.ok and c.image is not None for c in cells)
    assert "No space left" in cells[0].error
    assert (cells[0].path, cells[1].error) == ("", "")
    assert cells[1].path


def test_a_folder_that_cannot_be_made_is_a_sentence_before_the_run(tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(NSTError, match="can't be made"):
        sweep({"style_weight": [1.0]}, folder=tmp_path / "file" / "folder", **given())


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({"optimizer": "adam"}, {}, "optimizer is a str"),
        ({"style_weight": 5}, {}, "style_weight is a int"),
        ({"content": picture(24, 28)}, {}, "content is a Tensor"),
        (["steps"], {}, "The grid is a list"),
        ({"pair": [picture(24, 28)]}, {}, "as a pair"),
        (GRID, {"executor": "2"}, "executor is '2'"),
        (GRID, {"executor": 0}, "executor is 0"),
        (GRID, {"executor": ThreadPoolExecutor}, "executor is <class"),
        (GRID, {"threads": -1}, "threads is -1"),
        (GRID, {"threads": 10**9}, "threads is 1000000000"),
        (GRID, {"folder": 5}, "folder is 5"),
        (GRID, {"save_to": "a.png", "save_every": 1}, "save_to would be one file"),
        (GRID, {"checkpoint": "state"}, "checkpoint would be one file"),
    ],
)
def test_what_cannot_be_swept_is_a_sentence_before_the_run(grid, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        sweep(grid, **given(**options))
    assert "\n" not in str(caught.value)


def test_a_sweep_without_an_executor_takes_what_cannot_be_sent():
    seen = []
    options = given(steps=2, callback=lambda step: seen.append(step.evaluation.step))
    cells = sweep({"convention": [get_convention("gatys"), "gatys"]}, **options)
    assert [cell.error for cell in cells] == ["", ""]
    assert seen == [1, 2, 1, 2]
    torch.testing.assert_close(cells[0].image, cells[1].image, rtol=0, atol=0)


@pytest.mark.parametrize("columns", [-1, 1.5, "two"])
def test_a_contact_sheet_has_a_whole_number_of_columns(columns):
    cells = sweep({"style_weight": [1.0]}, **given(steps=1))
    with pytest.raises(ValueError, match="columns is .*, expected a whole number of 1 or more, or None"):
        cells.contact_sheet(columns=columns)


def test_a_folder_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    sweep({"style_weight": [1.0]}, folder="~/cells", **given(steps=1))
    assert len(list((tmp_path / "cells").iterdir())) == 2


def test_pictures_of_the_same_bytes_and_another_shape_are_other_cells():
    image = picture(24, 28)
    keys = {sweeps_cells.cell_key({"content": image.view(1, 3, *size)}) for size in [(24, 28), (28, 24)]}
    assert len(keys) == 2


def test_a_convention_of_ones_own_is_known_by_what_it_does():
    """Its functions have other addresses in another process."""
    gatys = get_convention("gatys")
    conventions = [replace(gatys, name="mine", style=lambda a, b, f=f: f * gatys.style(a, b)) for f in (2, 2, 3)]
    first, same, other = (sweeps_cells.cell_key({"convention": convention}) for convention in conventions)
    assert first == same != other


def script(folder: Path, *, guarded: bool) -> str:
    code = "import test_sweeps\nfrom nst_helpers.sweeps.grid import sweep\n"
    code += "cells = sweep({'style_weight': [1.0]}, 1, **test_sweeps.given(steps=1))\nprint(cells[0].stopped)\n"
    if guarded:
        code = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines())
    (folder / "script.py").write_text(code, "utf-8")
    return str(folder / "script.py")


@pytest.mark.slow
def test_a_script_with_a_guard_gets_processes_of_its_own(tmp_path, capsys):
    runpy.run_path(script(tmp_path, guarded=True), run_name="__main__")
    assert capsys.readouterr().out == "finished\n"


def test_a_script_without_a_guard_gets_a_sentence_that_names_it(tmp_path):
    with pytest.raises(NSTError, match='under if __name__ == "__main__":, or leave the executor out.'):
        runpy.run_path(script(tmp_path, guarded=False), run_name="__main__")
