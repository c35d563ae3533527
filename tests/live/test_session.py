"""The session: weights that change between steps, and recipes that walk the same way again."""

from __future__ import annotations

import copy
import gc
import io
import json
import math
import pickle
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import TOY, busy, noise, picture
from PIL import Image

import nst_helpers as nst
from nst_helpers.encoders import Encoder
from nst_helpers.engine.settings import LEARNING_RATES
from nst_helpers.live.recipes import RecipeError, read_recipe, replay, save_recipe
from nst_helpers.live.session import StyleSession
from nst_helpers.live.sources import named_image

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
CONTENT, STYLE = picture(24, 32, seed=1), picture(28, 28, seed=2)


def session(**options) -> StyleSession:
    return StyleSession(CONTENT, STYLE, **{"encoder": Encoder(TOY, seed=1), "device": "cpu", **LAYERS, **options})


def again(made: StyleSession, *pictures, **options) -> StyleSession:
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", **options}
    return replay(json.loads(json.dumps(made.recipe())), pictures=pictures or (CONTENT, STYLE), **options)


# Steps and changes


def test_without_changes_it_is_the_run_of_stylize():
    made = session(precision="float32")
    made.step(6)
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", **LAYERS}
    result = nst.stylize(CONTENT, nst.resize(STYLE, 24), steps=6, **options)
    assert [e.loss for e in made.history] == [e.loss for e in result.history]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_weight_counts_in_the_very_next_evaluation_and_the_picture_goes_on(optimizer):
    made = session(optimizer=optimizer, tv_weight=0)
    made.step(4)
    before = made.image
    made.set(style_weight=7.0, content_weight=0.5, layer_weights={"relu1_1": 3.0, "relu3_1": 0.0})
    assert torch.equal(made.image, before)
    (e,) = made.step()
    style = (3 * e.style["relu1_1"] + 1 * e.style["relu2_1"]) / 4
    assert e.loss == pytest.approx(0.5 * e.content["relu2_1"] + 7 * style, rel=1e-4)
    assert e.step == 5


def test_no_target_is_computed_again_for_a_weight(monkeypatch):
    passes = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, *a: passes.append(1) or forward(self, *a))
    made = session()
    built, model = len(passes), made.model
    targets = [layer.target.data_ptr() for layer in model.style_losses.values()]
    for weight in (1, 10, 100):
        made.set(style_weight=weight, layer_weights={"relu2_1": weight / 50}, lr=0.5)
        made.step()
    made.set(optimizer="adam")
    assert len(passes) == built > 0
    assert made.model is model
    assert [layer.target.data_ptr() for layer in made.model.style_losses.values()] == targets
    made.set(style=CONTENT)
    assert len(passes) > built


def test_lbfgs_drops_its_curvature_with_the_weights_and_says_so_adam_keeps_its_moments():
    made = session(optimizer="lbfgs")
    made.step(5)
    kept = made._painting.run.stepper.curvature
    assert made.set(lr=0.9) == "step size 1 to 0.9"
    assert made._painting.run.stepper.curvature is kept
    words = made.set(style_weight=10)
    assert "style weight 100 to 10" in words
    assert "forgets its curvature" in words
    assert "forgets its curvature" in made.step()[0].event
    assert made._painting.run.stepper.curvature is not kept
    assert made.step()[0].event == ""
    made.set(optimizer="adam")
    assert made.settings.lr == LEARNING_RATES["adam"]
    made.step(3)
    kept = made._painting.run.stepper
    assert "forgets" not in made.set(style_weight=20)
    assert made._painting.run.stepper is kept


def test_nothing_changed_is_nothing_noted():
    made = session()
    made.step(2)
    assert made.set(style_weight=100, optimizer="lbfgs", content=CONTENT) == ""
    assert made.recipe()["changes"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"style_weight": -1}, "style_weight is -1"),
        ({"tv_weight": math.nan}, "tv_weight is nan"),
        ({"lr": 0}, "above 0"),
        ({"optimizer": "sgd"}, "sgd"),
        ({"layer_weights": {"conv9_9": 1}}, "conv9_9"),
        ({"layer_weights": dict.fromkeys(LAYERS["style_layers"], 0)}, "All style layers"),
        ({"colour": 1}, "colour"),
        ({"content": torch.zeros(1, 3, 8, 8) - 1}, "ranges from"),
        ({"content": "no_such_picture.jpg"}, "no_such_picture"),
        ({"encoder": "vgg20"}, "vgg20"),
        ({"size": 1}, "pixels"),
        ({"size": 0}, "size is 0"),
        ({"encoder": ["mini"]}, "encoder is"),
        ({"style": None}, "style is a NoneType"),
        ({"style": 5}, "style is a int"),
    ],
)
def test_what_cannot_be_set_is_one_sentence_and_changes_nothing(change, words):
    made = session()
    made.step(1)
    before = made.recipe(), made.image, made.model, made.settings
    with pytest.raises((nst.NSTError, ValueError), match="(?s)" + words) as caught:
        made.set(**change)
    assert "\n" not in str(caught.value)
    assert made.recipe() == before[0]
    assert torch.equal(made.image, before[1])
    assert (made.model, made.settings) == before[2:]
    assert len(made.step(2)) == 2


@pytest.mark.parametrize("given", [{"n": -1}, {"n": 1.5}, {"n": "2"}, {"seconds": math.nan}, {"seconds": "1"}])
def test_a_number_of_steps_or_seconds_that_is_none_is_refused(given):
    made = session()
    with pytest.raises(ValueError, match=r"expected a (whole )?number of 0 or more"):
        made.step(**given)
    assert made.history == []


def test_pictures_encoder_and_size_are_swapped_while_it_runs():
    made = session()
    made.step(3)
    before = made.image
    made.set(style=picture(40, 20, seed=5))
    assert torch.equal(made.image, before)
    assert made.step()[0].step == 4
    made.set(size=16)
    assert made.image.shape[-2:] == (16, 21)
    made.step(2)
    made.set(encoder=Encoder(TOY, seed=3))
    made.step(1)
    assert len(made.history) == 7
    words = made.set(content=picture(20, 20, seed=6))
    assert "the picture starts again" in words
    assert made.history == []
    assert torch.equal(made.image, nst.resize(picture(20, 20, seed=6), 16))
    assert len(made.step(2)) == 2


def test_reset_starts_from_what_was_asked_for():
    made = session()
    made.step(3)
    made.reset("noise", seed=4)
    assert torch.equal(made.image, noise(1, 3, 24, 32, seed=4))
    assert made.step()[0].event == "started again from noise"
    made.reset("content")
    assert torch.equal(made.image, CONTENT)
    made.reset("style")
    assert torch.equal(made.image, nst.resize(STYLE, (24, 32), crop=True))
    with pytest.raises(ValueError, match="unknown"):
        made.reset("nothing")


def test_a_snapshot_is_gone_back_to_with_all_its_settings():
    made = session()
    made.step(3)
    made.set(style_weight=5)
    made.step(2)
    kept = made.snapshot()
    image, losses = made.image, made.losses
    made.set(style=picture(30, 30, seed=9), size=20, optimizer="adam")
    made.step(2)
    made.set(content=STYLE)
    made.step(1)
    assert "back to snapshot 1, at step 5" in made.restore(kept)
    assert torch.equal(made.image, image)
    assert made.losses == losses
    assert made.settings.weights.style == 5
    made.step(1)
    assert (len(made.history), len(kept.log.history)) == (6, 5)
    assert torch.equal(kept.image, image)
    assert torch.equal(again(made).image, made.image)


# The guard and the clock


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": Encoder(TOY, seed=2)}, "encoders"),
        ({"convention": "gatys"}, "convention"),
        ({"content_layers": ["relu3_1"], "style_layers": ["relu3_1"]}, "content layers, style layers"),
        (None, "can't be restored"),
    ],
)
def test_a_snapshot_that_would_be_painted_otherwise_here_is_refused(options, words):
    made = session()
    made.step(2)
    before = made.recipe(), made.image
    snapshot = options and session(**options).snapshot()
    with pytest.raises(ValueError, match=words):
        made.restore(snapshot)
    assert made.recipe() == before[0]
    assert torch.equal(made.image, before[1])


def test_a_snapshot_of_a_like_session_is_restored_and_replays():
    other, made = StyleSession(STYLE, CONTENT, encoder=Encoder(TOY, seed=1), device="cpu", **LAYERS), session()
    other.step(2)
    made.restore(other.snapshot())
    made.step(1)
    assert torch.equal(again(made).image, made.image)


def test_a_tensor_is_nothing_to_start_again_from():
    with pytest.raises(ValueError, match="init is a Tensor"):
        session().reset(init=CONTENT)


def test_a_loss_that_explodes_goes_back_to_the_best_picture_as_in_stylize(monkeypatch):
    made = session()
    made.step(3)
    with torch.no_grad():
        made._painting.run.image.fill_(math.nan)
    (e,) = made.step()
    assert "back to the best image" in e.event
    assert torch.isfinite(made.image).all()
    assert math.isfinite(made.step(2)[-1].loss)
    made._painting.run.guard.restarts = made._painting.run.guard.most
    assert made.stuck
    assert made.step(5) == []
    made.set(style_weight=50)
    assert not made.stuck
    assert len(made.step(2)) == 2


def test_a_time_box_is_kept_and_holds_one_evaluation_at_least(monkeypatch):
    made = session()
    assert len(made.step()) == 1
    assert len(made.step(seconds=0.0)) == 1
    counts, used = [], []
    for _ in range(5):  # other work may keep the machine busy for a moment
        start = time.perf_counter()
        counts.append(len(made.step(seconds=0.3)))
        used.append(time.perf_counter() - start)
    assert max(counts) > 3
    assert min(used) < 0.4 * busy()
    assert len(made.step(2, seconds=60)) == 2


@contextmanager
def painting(made: StyleSession, seconds: float) -> Iterator[None]:
    """Another thread paints, so many seconds at a time, until the block is left."""
    done = threading.Event()

    def paint():
        while not done.is_set():
            made.step(seconds=seconds)

    thread = threading.Thread(target=paint)
    thread.start()
    try:
        while not made.history:
            time.sleep(0.001)
        yield
    finally:
        done.set()
        thread.join()


def test_changes_from_other_threads_wait_for_one_evaluation_and_none_is_lost():
    made = session()
    waits = []
    with painting(made, seconds=0.5):
        for i in range(60):
            start = time.perf_counter()
            made.set(style_weight=1.0 + i)
            waits.append(time.perf_counter() - start)
            time.sleep(0.005)
    assert sorted(waits)[54] < 0.2 * busy()
    noted = [c["style_weight"] for c in made.recipe()["changes"]]
    assert noted == [1.0 + i for i in range(60)]
    assert torch.equal(again(made).image, made.image)


def test_a_change_waits_for_one_evaluation_and_not_for_the_whole_chunk(monkeypatch):
    """Counted from where it is known to wait, since before that the machine may be busy with others for long."""
    made = session(optimizer="adam")
    evaluate = made._evaluate
    monkeypatch.setattr(made, "_evaluate", lambda: time.sleep(0.01) or evaluate())
    mine, asked, answered = threading.get_ident(), [], []

    class Waiting(set):
        def add(self, thread):
            super().add(thread)
            if thread == mine:
                asked.append(len(made.history))

        def discard(self, thread):
            if thread == mine and thread in self:
                answered.append(len(made.history))
            super().discard(thread)

    monkeypatch.setattr(made, "_waiting", Waiting())
    with painting(made, seconds=1.0):
        for i in range(30):
            made.set(style_weight=2.0 + i)
    waited = [after - before for before, after in zip(asked, answered, strict=True)]
    assert len(waited) == 30
    assert max(waited) <= 1


def test_an_evaluation_cut_short_leaves_the_picture_as_it_was(monkeypatch):
    made = session()
    made.step(3)
    before = made.image

    def stop(self, *a):
        with torch.no_grad():
            made._painting.run.image.add_(0.2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nst.Optimisation, "_closure", stop)
        with pytest.raises(KeyboardInterrupt):
            made.step()
    assert torch.equal(made.image, before)
    made.step(2)
    assert torch.equal(again(made).image, made.image)


# What surrounds a call


def test_the_callers_tensors_may_change_afterwards():
    content, style = CONTENT.clone(), STYLE.clone()
    made, other = session(), StyleSession(content, style, encoder=Encoder(TOY, seed=1), device="cpu", **LAYERS)
    content.mul_(0)
    style.mul_(0)
    made.content.zero_()  # what it gives away is a copy, too
    made.style.zero_()
    for one in (made, other):
        one.step(2)
        one.reset()
        one.step(2)
    assert torch.equal(made.image, other.image)
    assert other.recipe() == made.recipe()
    later = picture(20, 20, seed=4)
    other.set(style=later)
    made.set(style=later.clone())
    later.zero_()
    assert torch.equal(made.step(1) and made.image, other.step(1) and other.image)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_callers_gradient_mode_is_neither_felt_nor_changed(mode):
    made = session()
    made.step(2)
    with mode():
        other = session()
        other.step(1)
        other.set(style_weight=100.0, tv_weight=50.0)
        other.step(1)
        kept = other.snapshot()
        assert not torch.is_grad_enabled()
    assert torch.equal(kept.image, made.image)
    other.set(style=picture(20, 20, seed=4))
    other.step(1)
    assert torch.is_grad_enabled()


def test_a_callers_number_formats_are_not_felt():
    made, encoder = session(init="noise", seed=5, precision="float32"), Encoder(TOY, seed=1)
    made.step(3)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            other = session(init="noise", seed=5, precision="float32", encoder=encoder)
            other.step(3)
    finally:
        torch.set_default_dtype(before)
    assert other.image.dtype == torch.float32
    assert torch.equal(other.image, made.image)


def test_an_encoder_in_half_precision_paints_in_float32():
    made = session(encoder=Encoder(TOY, seed=1).half(), precision="float32")
    made.step(2)
    assert made.image.dtype == torch.float32


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_a_layers_weight_counts_for_each_of_its_losses_as_in_stylize(weight):
    """For a layer that is content and style: set at the start, set later, and after everything is built again."""
    layers = {"content_layers": ["relu1_1", "relu2_1"], "style_layers": ["relu2_1", "relu3_1"]}
    weights = {"relu2_1": weight, "relu3_1": 1.0}
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", **layers}
    result = nst.stylize(CONTENT, nst.resize(STYLE, 24), steps=3, layer_weights=weights, **options)
    at_once = StyleSession(CONTENT, STYLE, layer_weights=weights, **options)
    later = StyleSession(CONTENT, STYLE, **options)
    later.set(layer_weights=weights)
    rebuilt = StyleSession(CONTENT, STYLE, **options)
    rebuilt.set(layer_weights=weights)
    rebuilt.set(size=20)
    rebuilt.set(size=24)
    rebuilt.reset()
    wanted = [e.loss for e in result.history]
    for made in (at_once, later, rebuilt):
        made.step(3)
        assert [e.loss for e in made.history] == wanted
        assert torch.equal(again(made).image, made.image)


def test_values_from_numpy_are_taken_and_nothing_to_optimise_is_refused():
    made = session()
    made.set(style_weight=np.float32(3), size=np.int64(16), lr=np.float64(0.5))
    assert (made.settings.style_weight, made.settings.size, made.settings.lr) == (3.0, 16, 0.5)
    json.dumps(made.recipe())
    before = made.settings
    with pytest.raises(ValueError, match="nothing would be optimised"):
        made.set(content_weight=0, style_weight=0, tv_weight=0)
    with pytest.raises(nst.NSTError, match="memory"):
        made.set(size=8000)
    assert made.settings == before


def change(made: StyleSession, action: str, i: int) -> None:
    match action:
        case "weight":
            made.set(style_weight=1.0 + i)
        case "layers":
            made.set(layer_weights={"relu1_1": 1.0 + i})
        case "size":
            made.set(size=16 + i % 5)
        case "optimizer":
            made.set(optimizer=("adam", "lbfgs")[i % 2])
        case "snapshot":
            made.snapshot()
        case "restore" if made.snapshots:
            made.restore(made.snapshots[-1])
        case "reset":
            made.reset()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer here")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # an interrupt can hit between `open` and `with`
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # or in a weakref's callback: printed
def test_an_interrupt_at_any_moment_leaves_a_session_that_replays():
    """Set, step, restore, reset, snapshot: each is done or not begun, wherever the stop button hits."""
    made, rng, interrupted = session(), random.Random(0), 0

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for i in range(150):
            action = rng.choice(["weight", "layers", "size", "optimizer", "step", "snapshot", "restore", "reset"])
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0002, 0.02))
                try:
                    change(made, action, i)
                    made.step(3)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            if i % 5 == 4:
                assert torch.equal(again(made).image, made.image), action
                assert len(made.history) == made.recipe()["steps"]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 30
    assert not made._waiting
    gc.collect()  # here and not in another test, where such a file would be an error


# Recipes


def eventful() -> tuple[StyleSession, list[torch.Tensor]]:
    """A session in which everything happens that can."""
    made, other = session(init="noise", seed=3, layer_weights={"relu1_1": 2}), picture(33, 21, seed=8)
    made.step(3)
    made.set(style_weight=3.3, tv_weight=0)
    made.step(2)
    made.set(layer_weights={"relu3_1": 0.25}, lr=0.7)
    made.step(2)
    made.set(style=other)
    made.step(1)
    made.set(optimizer="adam", lr=0.05)
    made.step(3)
    made.set(size=20)
    made.step(2)
    made.set(optimizer="lbfgs", content_weight=0.3)
    made.step(3)
    return made, [CONTENT, STYLE, other]


def test_a_recipe_replays_to_the_same_pixels_from_its_file(tmp_path):
    made, pictures = eventful()
    path = save_recipe(made.recipe(), tmp_path / "recipe.json")
    walked = replay(path, pictures=pictures[::-1], encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(walked.image, made.image)
    assert [e.loss for e in walked.history] == [e.loss for e in made.history]
    assert walked.recipe() == made.recipe()
    made.step(1)
    walked.step(1)
    assert torch.equal(walked.image, made.image)


def test_every_change_of_a_recipe_matters():
    """A recipe that lacks one of its changes leads elsewhere: none is decoration."""
    made, pictures = eventful()
    whole = made.recipe()
    for i in range(len(whole["changes"])):
        part = whole | {"changes": [c for j, c in enumerate(whole["changes"]) if j != i]}
        used = pictures if any("style" in c for c in part["changes"]) else pictures[:2]
        other = replay(part, pictures=used, encoder=Encoder(TOY, seed=1), device="cpu")
        assert other.image.shape != made.image.shape or not torch.equal(other.image, made.image), whole["changes"][i]


def test_a_recipe_of_samples_needs_nothing_but_itself():
    made = StyleSession("temple", "wave", size=48, device="cpu")
    made.step(2)
    made.set(style="mosaic")
    made.step(2)
    assert torch.equal(replay(made.recipe(), device="cpu").image, made.image)


def test_a_recipe_of_another_version_is_refused(tmp_path):
    recipe = session().recipe()
    for other in ({"nst_helpers": "0.0.1"}, {"recipe": 99}):
        with pytest.raises(RecipeError, match="made by nst_helpers"):
            read_recipe(recipe | other)
    with pytest.raises(RecipeError, match="is no recipe"):
        read_recipe({"steps": 3})
    with pytest.raises(RecipeError, match="can't be read"):
        read_recipe(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    with pytest.raises(RecipeError, match="can't be read"):
        read_recipe(tmp_path / "broken.json")


def test_other_pictures_and_another_encoder_are_refused():
    made = session()
    made.step(2)
    with pytest.raises(RecipeError, match="content picture 'content'"):
        again(made, STYLE)
    with pytest.raises(RecipeError, match="style picture 'style'"):
        again(made, CONTENT)
    with pytest.raises(RecipeError, match="none of the recipe's"):
        again(made, CONTENT, STYLE, picture(9, 9))
    with pytest.raises(RecipeError, match="another encoder 'toy'"):
        again(made, encoder=Encoder(TOY, seed=2))
    with pytest.raises(RecipeError, match="can't be had"):
        again(made, encoder=None)


def test_a_recipe_is_a_copy_and_the_history_counts():
    made = session()
    made.step(2)
    recipe = made.recipe()
    made.set(style_weight=1)
    made.step(1)
    assert recipe["changes"] == []
    assert [e.step for e in made.history] == [1, 2, 3]
    assert made.losses["total"] == made.history[-1].loss
    assert made.losses["style"] == pytest.approx(sum(made.history[-1].style.values()) / 3)


def test_a_picture_may_come_in_every_form_that_load_image_takes(tmp_path):
    photo = Image.new("RGB", (16, 16), "gold")
    photo.save(file := tmp_path / "gold.png")
    forms = [photo, file, str(file), file.read_bytes(), io.BytesIO(file.read_bytes()), {"gold.png": file.read_bytes()}]
    live = [named_image(form, "content") for form in forms]
    assert {found.sha256 for found in live} == {live[0].sha256}
    assert [found.name for found in live] == ["content", "gold", "gold", "content", "content", "content"]


@pytest.mark.parametrize("name", ["steps", "tile", "others"])
def test_an_option_that_no_session_has_is_named(name):
    with pytest.raises(TypeError, match=f"^StyleSession has no option {name}\\.$"):
        session(**{name: 32})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_of_a_session_is_refused_in_a_sentence(copied):
    with pytest.raises(TypeError, match="recipe"):
        copied(session())


def test_what_may_be_set_is_told_in_full():
    with pytest.raises(ValueError, match="style, masks\\.$"):
        session().set(mask=None)
