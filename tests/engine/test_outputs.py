"""What a run leaves on disk: probed before work begins, saved in a second place where the first one fails."""

from __future__ import annotations

import errno
import os
import random
import re
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TOY, picture

from nst_helpers import CheckpointError, ImageError, Settings, get_convention, save_image, stylize
from nst_helpers.budget import estimate as estimates
from nst_helpers.encoders import Encoder
from nst_helpers.engine import outputs
from nst_helpers.engine.checkpoints import fingerprint, read_checkpoint, write_checkpoint

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
CONTENT, STYLE = picture(24, 28), picture(20, 36, 1)


def run(content=CONTENT, style=STYLE, **options):
    given = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 4} | LAYERS | options
    return stylize(content, style, **given)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"checkpoint": "missing/state"}, CheckpointError),
        ({"checkpoint": "."}, CheckpointError),
        ({"checkpoint": "x" * 300}, CheckpointError),
        ({"save_every": 2, "save_to": "missing/out.png"}, ImageError),
        ({"save_every": 2, "save_to": "out.xyz"}, ImageError),
        ({"save_every": 2, "save_to": "x" * 300 + ".png"}, ImageError),
        ({"save_every": 2}, ValueError),
        ({"save_every": -1}, ValueError),
        ({"save_every": 1.5, "save_to": "out.png"}, ValueError),
        ({"save_every": 1, "save_to": 5}, ValueError),
        ({"save_to": "out.png"}, ValueError),
        ({"checkpoint": 5}, ValueError),
        ({"checkpoint": b"state"}, ValueError),
        ({"checkpoint": "a\0b"}, ValueError),
        ({"resume": True}, ValueError),
        ({"resume": "no", "checkpoint": "state"}, ValueError),
        ({"callback": 5}, ValueError),
    ],
)
def test_what_cannot_be_written_is_told_before_any_work_is_done(options, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = []
    with pytest.raises(error) as caught:
        run(**{"callback": steps.append} | options)
    assert steps == []
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["photo", "pipe", "circle"])
def test_a_checkpoint_takes_the_place_of_nothing_else(kind, tmp_path):
    path = tmp_path / "state.png"
    if kind == "photo":
        save_image(CONTENT, path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "b")
        (tmp_path / "b").symlink_to(path)
    before = path.lstat()
    for resume in (False, True):
        with pytest.raises(CheckpointError, match="is not a checkpoint|can't be written"):
            run(checkpoint=path, resume=resume)
    assert path.lstat() == before


def test_a_checkpoints_odd_name_stays_on_one_line(tmp_path):
    """A name may hold a line break: a sentence repeats it on one line."""
    place = tmp_path / "a\nb.checkpoint"
    run(checkpoint=place)
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as damaged:
        run(checkpoint=place, resume=True)
    place.write_text("other")
    with pytest.raises(CheckpointError) as taken:
        run(checkpoint=place)
    for caught in (damaged, taken):
        assert r"a\nb.checkpoint" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_error_of_the_callback_leaves_the_steps_in_the_checkpoint(tmp_path):
    def stumble(step):
        if step.evaluation.step == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(checkpoint=tmp_path / "state", steps=6, callback=stumble)
    steps = []
    resumed = run(checkpoint=tmp_path / "state", steps=6, callback=steps.append, resume=True)
    assert len(steps) == 3
    assert torch.equal(resumed.image, run(steps=6).image)


def test_a_checkpoint_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run(checkpoint="~/state", steps=1).save_history("~/history.json")
    assert {path.name for path in tmp_path.iterdir()} == {"state", "history.json"}


def test_no_picture_on_the_way_replaces_one_that_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = save_image(CONTENT, "out_0004.png").read_bytes()
    for content, style in (("out_0004.png", STYLE), (CONTENT, ["./out_0004.png"]), (Path("'out_0004.png'"), STYLE)):
        with pytest.raises(ImageError, match=r"replace 'out_0004.png', which is also read"):
            run(content, style, steps=4, save_every=2, save_to="out.png")
    assert Path("out_0004.png").read_bytes() == before
    assert run("out_0004.png", STYLE, steps=3, save_every=1, save_to="out.png").history
    assert run("out_0004.png", STYLE, steps=4, save_every=3, save_to="out.png").history


def fail(monkeypatch, place: Path, times=10**6):
    """A full disk, as far as one folder goes, from the probe of the outputs on."""
    from nst_helpers.io.atomic import write_whole

    left = [times]

    def full(path, data, **options):
        if Path(path).parent == place and left[0] > 0:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, data, **options)

    for module in ("engine.checkpoints", "images"):
        monkeypatch.setattr(f"nst_helpers.{module}.write_whole", full)


def test_a_failed_save_on_the_way_warns_and_the_run_goes_on(tmp_path, monkeypatch):
    fail(monkeypatch, tmp_path, times=2)
    with pytest.warns(RuntimeWarning, match="After step 2: .*No space left.*The run goes on"):
        result = run(steps=8, save_every=2, save_to=tmp_path / "out.png", checkpoint=tmp_path / "state")
    assert len(result.history) == 8
    assert torch.equal(result.image, run(steps=8).image)
    assert (tmp_path / "out_0008.png").is_file()
    assert (tmp_path / "state").is_file()


def test_a_failed_save_at_the_end_goes_to_a_second_place_that_is_named(tmp_path, monkeypatch):
    fail(monkeypatch, tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = run(checkpoint=tmp_path / "state")
    words = next(str(w.message) for w in told if "could not be written" in str(w.message))
    second = Path(re.search(r"saved as '(.+?)'", words)[1])
    monkeypatch.undo()
    again = run(steps=6, checkpoint=second, resume=True)
    assert [e.loss for e in again.history[:4]] == [e.loss for e in result.history]


def test_where_no_place_is_left_the_first_reason_is_told(monkeypatch, tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, f"no room for {path.name}")

    with pytest.raises(OSError, match="no room for a.txt"):
        outputs.save_or_rescue(full, tmp_path / "a.txt")

    def nowhere(**options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(outputs.tempfile, "mkdtemp", nowhere)
    with pytest.raises(OSError, match="no room for a.txt"):
        outputs.save_or_rescue(full, tmp_path / "a.txt")


def test_a_state_that_can_be_saved_nowhere_costs_no_picture(monkeypatch, tmp_path):
    def nowhere(path, data, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("nst_helpers.engine.checkpoints.write_whole", nowhere)
    with pytest.warns(RuntimeWarning, match="can't be resumed later: .*No space left"):
        result = run(checkpoint=tmp_path / "state")
    assert torch.equal(result.image, run().image)
    assert list(temporary.iterdir()) == []


# Checkpoints


def test_every_flipped_bit_is_noticed(tmp_path):
    run(checkpoint=tmp_path / "state")
    sound, chance = (tmp_path / "state").read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(sound)
        damaged[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
        (tmp_path / "state").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged|not a checkpoint"):
            read_checkpoint(tmp_path / "state")
    for length in (0, 10, 40, len(sound) // 2, len(sound) - 1):
        (tmp_path / "state").write_bytes(sound[:length])
        with pytest.raises(CheckpointError, match="damaged|not a checkpoint"):
            read_checkpoint(tmp_path / "state")


class Trap:
    """What a pickle with code in it looks like: the code runs when it is loaded without care."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    """The checksum is right: whoever writes the code can write that, too."""
    write_checkpoint(tmp_path / "state", {"fingerprint": {}, "history": [], "trap": Trap(tmp_path / "ran")})
    with pytest.raises(CheckpointError, match="is not a checkpoint of this package"):
        run(checkpoint=tmp_path / "state", resume=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"encoder": Encoder(TOY, seed=2)}, "encoder"),
        ({"encoder": Encoder(TOY, seed=1, pool="avg")}, "encoder"),
        ({"encoder": Encoder(replace(TOY, blocks=((6, 6), (8,), (9,))), seed=1)}, "encoder"),
        ({"style_weight": 101}, "style_weight"),
        ({"convention": get_convention("gatys")}, "convention"),
        ({"encoder": Encoder(TOY, seed=1).double()}, "encoder"),
        ({"convention": replace(get_convention("relative"), style=get_convention("gatys").style)}, "convention"),
        ({"size": 20}, "size"),
        ({"content": picture(24, 28, 3)}, "content"),
    ],
)
def test_another_run_is_refused_with_what_is_different(other, name, tmp_path):
    """Same name, other weights, pooling or widths: those were mixed, or failed in the middle."""
    run(checkpoint=tmp_path / "state")
    with pytest.raises(CheckpointError, match=rf"another run \(different: {name}\)"):
        run(**other, checkpoint=tmp_path / "state", resume=True)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"style_weight": 100}, {"style_weight": 100.0}),
        ({"convention": "gatys"}, {"convention": get_convention("gatys")}),
        ({"content_layers": ["relu2_1"]}, {"content_layers": ("relu2_1",)}),
        ({"layer_weights": {"relu1_1": 1, "relu2_1": 2}}, {"layer_weights": {"relu2_1": 2.0, "relu1_1": 1.0}}),
        ({"device": "cpu"}, {"device": torch.device("cpu")}),
    ],
)
def test_the_same_run_in_other_words_goes_on(first, again, tmp_path):
    run(**first, checkpoint=tmp_path / "state")
    assert len(run(**again, steps=6, checkpoint=tmp_path / "state", resume=True).history) == 6


def test_a_fingerprint_holds_no_address_of_an_object():
    own = replace(get_convention("gatys"), name="my own")
    words = fingerprint(Settings(encoder=Encoder(TOY, seed=1), convention=own), CONTENT, [STYLE])
    assert not any(" at 0x" in word for word in words.values())


def test_a_run_at_the_size_that_fits_goes_on_at_the_size_it_had(tmp_path, monkeypatch):
    """Resumed where less memory is free: the size was chosen once."""
    options = {"content": picture(300, 360), "size": "fit"}
    settings = Settings(encoder=Encoder(TOY, seed=1), device="cpu", precision="float32", **LAYERS)
    room = {
        name: estimates.run_bytes(size, STYLE, settings) for name, size in (("much", (160, 190)), ("little", (96, 112)))
    }
    monkeypatch.setattr(estimates, "memory_available", lambda device: room["much"])
    first = run(**options, steps=2, checkpoint=tmp_path / "state")
    # As much is free as this size needs, and a tenth less than a size is chosen by.
    monkeypatch.setattr(estimates, "memory_available", lambda device: estimates.run_bytes(first.image, STYLE, settings))
    again = run(**options, steps=4, checkpoint=tmp_path / "state", resume=True)
    assert again.image.shape == first.image.shape
    assert again.image.shape != run(**options, steps=1).image.shape
    assert len(again.history) == 4
