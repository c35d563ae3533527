"""Optimisation: counting, guarding, stopping, resuming, and the same pixels for a seed."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import math
import subprocess
import sys
import weakref

import psutil
import pytest
import torch
from conftest import TOY, noise, picture

from nst_helpers import (
    CheckpointError,
    ImageError,
    Settings,
    StyleModel,
    Weights,
    build_model,
    iterate,
    load_encoder,
    load_image,
    load_sample,
    stylize,
)
from nst_helpers.accel.devices import has_bfloat16, peak_memory, prepare
from nst_helpers.budget import estimate as estimates
from nst_helpers.budget.estimate import TooLargeError
from nst_helpers.encoders import Encoder
from nst_helpers.engine.guard import lr_factor
from nst_helpers.engine.optimisation import Optimisation

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
CONTENT, STYLE = picture(24, 28), picture(20, 36, 1)


def run(content=CONTENT, style=STYLE, **options):
    defaults = {"encoder": Encoder(TOY, seed=1), "steps": 12, "device": "cpu", "precision": "float32"}
    return stylize(content, style, **(defaults | LAYERS | options))


def passes(encoder: Encoder) -> list[int]:
    """A list that grows with each forward pass; hooks travel with copies of the layer."""
    ran: list[int] = []
    encoder.layers["conv1_1"].register_forward_hook(lambda *_: ran.append(1))
    return ran


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_step_is_one_closure_evaluation(optimizer, monkeypatch):
    calls, total_loss = [], StyleModel.total_loss
    monkeypatch.setattr(StyleModel, "total_loss", lambda self, **w: (calls.append(1), total_loss(self, **w))[1])
    result = run(optimizer=optimizer, steps=9)
    assert len(calls) == len(result.history) == 9
    assert [e.step for e in result.history] == list(range(1, 10))


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["content", "style", "noise"])
def test_the_loss_falls(optimizer, init):
    result = run(optimizer=optimizer, init=init, steps=40)
    assert result.loss < 0.5 * result.history[0].loss
    assert result.stopped == "finished"
    assert result.image.shape == CONTENT.shape
    assert 0 <= result.image.min() <= result.image.max() <= 1


def test_the_image_given_back_is_the_best_evaluated():
    result = run(optimizer="adam", lr=0.2, steps=25)
    model = build_model(prepare(Encoder(TOY, seed=1), device="cpu", precision="float32"), CONTENT, STYLE, **LAYERS)
    model(result.image)
    assert model.total_loss().item() == pytest.approx(min(e.loss for e in result.history), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_seed_gives_the_same_pixels_twice(optimizer):
    a, b, c = (run(optimizer=optimizer, init="noise", seed=s).image for s in (7, 7, 8))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_global_generator_is_left_alone():
    state = torch.random.get_rng_state()
    run(init="noise", steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_pictures_given_are_not_changed():
    content, style = CONTENT.clone(), STYLE.clone()
    run(content, style, optimizer="adam", init=content)
    assert torch.equal(content, CONTENT)
    assert torch.equal(style, STYLE)


def test_results_can_be_looked_for_in_a_list():
    """Two pictures have no truth value together: a result equals itself alone."""
    results = [run(steps=1), run(steps=1)]
    assert results.index(results[1]) == 1
    assert len({*results}) == 2


@pytest.mark.parametrize("when", ["before the first step", "after the first step"])
def test_a_run_keeps_copies_of_the_pictures_and_masks(when):
    def painted(change):
        content, style, mask = CONTENT.clone(), STYLE.clone(), torch.ones(1, 1, *CONTENT.shape[-2:])
        given = {"masks": [mask], "content_map": mask.clone(), "init": content.flip(-1), "color": "luminance"}
        steps = iterate(
            content, style, encoder=Encoder(TOY, seed=1), steps=4, scales=[16, 32], device="cpu", **LAYERS, **given
        )
        first = None if when == "before the first step" else next(steps)
        if change:
            for tensor in (content, style, mask, given["content_map"], given["init"]):
                tensor.zero_()
        images = [step.image for step in steps]
        return images if first is None else [first.image, *images]

    for changed, kept in zip(painted(True), painted(False), strict=True):
        assert torch.equal(changed, kept)


def test_history_has_each_term_and_adds_up():
    weights = {"content_weight": 3.0, "style_weight": 40.0, "tv_weight": 0.5}
    for e in run(**weights, steps=4).history:
        assert set(e.content) == {"relu2_1"}
        assert set(e.style) == {"relu1_1", "relu3_1"}
        total = 3 * e.content["relu2_1"] + 40 * sum(e.style.values()) / 2 + 0.5 * e.tv
        assert e.loss == pytest.approx(total, rel=1e-4)
        assert e.seconds > 0
        assert e.peak_memory is None or e.peak_memory > 1e6
        assert e.size == (24, 28)


def test_history_as_json(tmp_path):
    result = run(steps=3)
    records = json.loads(result.save_history(tmp_path / "history.json").read_text("utf-8"))
    assert [r["step"] for r in records] == [1, 2, 3]
    assert records[0]["style"]["relu1_1"] == result.history[0].style["relu1_1"]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_every_image_on_the_way_is_a_picture(optimizer):
    for step in iterate(CONTENT, STYLE, **_options(optimizer)):
        assert 0 <= step.optimisation.image.min() <= step.optimisation.image.max() <= 1


def test_no_learning_rate_makes_lbfgs_leap():
    """Its steps are cut to a length, so the loss stays within what a step of that length can do."""
    history = run(optimizer="lbfgs", lr=1e4, steps=20).history
    assert max(e.loss for e in history) < 2 * history[0].loss
    assert min(e.loss for e in history) < 0.5 * history[0].loss


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e5])
def test_lbfgs_does_not_see_the_scale_of_the_loss(factor):
    """In PyTorch's alone, a small loss keeps no curvature and creeps on by gradient descent."""
    weights = {"content_weight": factor, "style_weight": 100 * factor, "tv_weight": 10 * factor}
    small, plain = run(steps=30, **weights), run(steps=30, content_weight=1.0, style_weight=100.0, tv_weight=10.0)
    assert small.loss / factor == pytest.approx(plain.loss, rel=0.03)
    assert small.loss < 0.5 * small.history[0].loss


def test_lbfgs_from_noise_starts_without_a_leap():
    """A first step too short to measure the curvature was followed by one hundreds of times too long."""
    pictures = (load_sample(name, size=64) for name in ("temple", "night_swirls"))
    layers = {"content_layers": ["relu4_2"], "style_layers": ["relu1_1", "relu3_1"]}
    history = run(*pictures, encoder=load_encoder("mini"), init="noise", steps=12, **layers).history
    assert max(e.loss for e in history) < 1.5 * history[0].loss
    assert not any(e.event for e in history)
    assert history[1].loss < 0.99 * history[0].loss


def test_lbfgs_learns_from_the_step_that_the_clamp_left():
    """Its stored curvature pairs are s = x' - x of the clamped images and y = g' - g of the gradients there."""
    images, gradients = [CONTENT], []
    for step in iterate(CONTENT, STYLE, **_options("lbfgs", steps=6)):
        images.append(step.optimisation.image.detach().clone())
        gradients.append(step.optimisation.image.grad.clone())
    # The pair of the last step waits for the gradient at its end.
    known = step.optimisation.stepper.curvature
    kept_steps, kept_changes = (
        [row.float() * size for row, size in zip(v.kept[: known.count], v.sizes, strict=False)]
        for v in (known.steps, known.changes)
    )
    assert any(((x == 0) | (x == 1)).any() for x in images[1:])
    steps = [(b - a).flatten() for a, b in itertools.pairwise(images)][: len(kept_steps)]
    changes = [(b - a).flatten() for a, b in itertools.pairwise(gradients)]
    assert len(kept_steps) == len(changes) == 5
    for mine, kept in [*zip(steps, kept_steps, strict=True), *zip(changes, kept_changes, strict=True)]:
        # Kept in float16, in shares of the largest entry.
        torch.testing.assert_close(kept, mine, rtol=2**-10, atol=2**-20 * mine.abs().max().item())


def _options(optimizer, **more):
    return {
        "encoder": Encoder(TOY, seed=1), "optimizer": optimizer, "steps": 15, "style_weight": 1e4, "device": "cpu",
        "precision": "float32", "tv_weight": 0.0, **LAYERS, **more,
    }  # fmt: skip


def test_an_evaluation_changes_no_pixel():
    model = build_model(prepare(Encoder(TOY), device="cpu"), CONTENT, STYLE, **LAYERS)
    optimisation = Optimisation(model, 3 * noise(1, 3, 24, 28) - 1)
    before = optimisation.image.detach().clone()
    optimisation._closure(model)
    assert torch.equal(optimisation.image, before)


def test_an_exploding_run_goes_back_to_its_best_and_says_so():
    result = run(optimizer="adam", lr=5.0, steps=60)
    events = [e for e in result.history if e.event]
    assert events
    assert "back to the best image" in events[0].event
    assert torch.isfinite(result.image).all()
    assert events[0].lr > result.history[-1].lr
    assert result.loss <= result.history[0].loss


def poison(monkeypatch, when):
    """Make the loss, and with it the gradient, NaN at some evaluations."""
    calls, total_loss = [], StyleModel.total_loss

    def poisoned(self, **weights):
        calls.append(1)
        return total_loss(self, **weights) * (math.nan if when(len(calls)) else 1.0)

    monkeypatch.setattr(StyleModel, "total_loss", poisoned)


def test_a_nan_in_mid_run_loses_nothing(monkeypatch):
    poison(monkeypatch, lambda evaluation: evaluation == 6)
    result = run(steps=20, optimizer="lbfgs")
    assert "nan" in result.history[5].event
    assert all(math.isfinite(e.loss) for e in result.history[6:])
    assert result.loss < result.history[4].loss


def test_a_run_that_cannot_be_saved_ends_as_diverged(monkeypatch):
    poison(monkeypatch, lambda evaluation: evaluation > 2)
    result = run(steps=50)
    assert result.stopped == "diverged"
    assert len(result.history) < 50
    assert torch.isfinite(result.image).all()


def test_nan_at_the_first_evaluation_is_an_error():
    broken = Encoder(TOY, seed=1)
    broken.layers["conv1_1"].weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="first evaluation.*check the weights"):
        run(encoder=broken)


@pytest.mark.parametrize("when", [1, 5])
def test_ctrl_c_keeps_the_best_image(when):
    def stop(step):
        if step.evaluation.step == when:
            raise KeyboardInterrupt

    result = run(callback=stop, steps=50)
    assert result.stopped == "interrupted"
    assert len(result.history) == when
    assert result.image.shape == CONTENT.shape


def test_new_weights_act_from_the_next_step_on():
    steps = iterate(CONTENT, STYLE, **_options("lbfgs"))
    optimisation = next(steps).optimisation
    optimisation.set_weights(Weights(content=5.0, style=0.0, tv=0.0))
    e = next(steps).evaluation
    assert e.loss == pytest.approx(5 * e.content["relu2_1"], rel=1e-5)


def test_schedules():
    rates = {
        k: [e.lr for e in run(optimizer="adam", lr=0.1, lr_schedule=k, steps=8).history]
        for k in ("constant", "step", "cosine")
    }
    assert rates["constant"] == [0.1] * 8
    assert rates["step"] == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.025] * 2)
    assert rates["cosine"] == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])
    assert lr_factor("cosine", 9, 8) == pytest.approx(0)


def test_pictures_and_checkpoints_every_n_steps(tmp_path):
    run(save_every=4, save_to=tmp_path / "out.png", checkpoint=tmp_path / "state", steps=9)
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["out_0004.png", "out_0008.png"]
    assert load_image(tmp_path / "out_0004.png").shape == CONTENT.shape
    assert (tmp_path / "state").is_file()
    with pytest.raises(ValueError, match="save_every"):
        run(save_every=4)


@pytest.mark.parametrize(("optimizer", "scales"), [("adam", None), ("lbfgs", None), ("adam", [12, 24])])
def test_resuming_gives_the_same_as_never_stopping(tmp_path, optimizer, scales):
    options = {"optimizer": optimizer, "scales": scales, "steps": 14, "lr_schedule": "cosine"}

    def stop(step):
        if step.evaluation.step == 9:
            raise KeyboardInterrupt

    whole = run(**options)
    first = run(**options, checkpoint=tmp_path / "state", callback=stop)
    second = run(**options, checkpoint=tmp_path / "state", resume=True)
    assert (len(first.history), len(second.history)) == (9, 14)
    assert [e.step for e in second.history] == list(range(1, 15))
    torch.testing.assert_close(second.image, whole.image, rtol=0, atol=0)
    assert [e.loss for e in second.history] == [e.loss for e in whole.history]
    assert all(a.seconds < b.seconds for a, b in zip(second.history, second.history[1:], strict=False))


def test_resuming_a_finished_run_adds_the_further_steps(tmp_path):
    run(steps=5, checkpoint=tmp_path / "state")
    again = run(steps=5, checkpoint=tmp_path / "state", resume=True)
    assert len(again.history) == 5
    torch.testing.assert_close(again.image, run(steps=5).image)
    assert len(run(steps=8, checkpoint=tmp_path / "state", resume=True).history) == 8


def test_resume_refuses_another_run_and_a_broken_file(tmp_path):
    run(steps=3, checkpoint=tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"another run \(different: content, style_weight\)"):
        run(picture(24, 28, seed=9), steps=3, style_weight=5.0, checkpoint=tmp_path / "state", resume=True)
    (tmp_path / "broken").write_bytes(b"\x80\x04 no checkpoint")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        run(steps=3, checkpoint=tmp_path / "broken", resume=True)
    with pytest.raises(CheckpointError, match="can't be written"):
        run(steps=3, checkpoint=tmp_path / "missing" / "state")


def test_coarse_to_fine():
    result = run(scales=[12, 24], steps=[6, 4])
    assert [e.size for e in result.history] == [(12, 14)] * 6 + [(24, 28)] * 4
    assert [e.step for e in result.history] == list(range(1, 11))
    assert result.image.shape == CONTENT.shape
    with pytest.raises(ValueError, match="rising order"):
        run(scales=[24, 12])
    with pytest.raises(ValueError, match="one for each scale"):
        run(scales=[12, 24], steps=[3])


def test_several_styles():
    plain, doubled = run(), run(style=[STYLE, STYLE], style_mix=[1, 3])
    torch.testing.assert_close(plain.image, doubled.image, atol=1e-3, rtol=0)
    other = run(style=[STYLE, picture(16, 16, 5)])
    assert not torch.allclose(plain.image, other.image, atol=1e-2)


def test_init_from_an_image_and_bad_input():
    start = noise(1, 3, 24, 28, seed=4)
    first = next(iter(iterate(CONTENT, STYLE, **_options("adam", init=start, lr=1e-9))))
    torch.testing.assert_close(first.image, start)
    with pytest.raises(ValueError, match="'random', which is unknown.*content, style, noise"):
        run(init="random")
    with pytest.raises(ImageError, match="content has shape"):
        run(CONTENT[0])
    with pytest.raises(ValueError, match="lbfgs, adam"):
        run(optimizer="sgd")
    with pytest.raises(ValueError, match="constant, step, cosine"):
        run(lr_schedule="linear")
    with pytest.raises(ValueError, match="auto, float32, bfloat16, float16"):
        run(precision="float8")
    with pytest.raises(ValueError, match="steps"):
        run(steps=0)


def test_float64_encoder_runs_in_float64():
    first = next(iter(iterate(CONTENT, STYLE, **_options("lbfgs", encoder=Encoder(TOY).double()))))
    assert first.optimisation.image.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16 matrix instructions")
def test_bfloat16_convolutions_end_at_the_same_loss():
    """Judged by one float32 model, the picture optimised in bfloat16 is as good to 1 %."""
    encoder = load_encoder("mini")
    content, style = load_sample("temple", size=96), load_sample("night_swirls", size=96)
    judge = build_model(prepare(encoder, device="cpu", precision="float32"), content, style)
    loss = {}
    for precision in ("float32", "bfloat16"):
        options = {"steps": 150, "style_weight": 10.0, "precision": precision, "device": "cpu"}
        judge(stylize(content, style, encoder=encoder, **options).image)
        loss[precision] = judge.total_loss(style_weight=10.0).item()
    assert loss["bfloat16"] == pytest.approx(loss["float32"], rel=0.01)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_tiles_give_the_same_picture(optimizer):
    pictures = picture(72, 88), picture(64, 60, 1)
    whole, tiled = (run(*pictures, tile=tile, steps=4, optimizer=optimizer) for tile in (None, 32))
    torch.testing.assert_close(tiled.image, whole.image, rtol=0, atol=2e-3)
    assert [e.loss for e in tiled.history] == pytest.approx([e.loss for e in whole.history], rel=1e-3)


def test_only_scales_larger_than_the_tile_are_tiled(monkeypatch):
    sizes, home = [], importlib.import_module("nst_helpers.engine.objective")
    build = home.build_tiled_model

    def seen(encoder, content, *args, **options):
        sizes.append(tuple(content.shape))
        return build(encoder, content, *args, **options)

    monkeypatch.setattr(home, "build_tiled_model", seen)
    run(picture(40, 64), scales=[16, 40], steps=4, tile=32)
    assert sizes == [(1, 3, 40, 64)]


def only(monkeypatch, size):
    """A machine whose free memory is what a run of that size needs."""
    settings = Settings(encoder=Encoder(TOY, seed=1), device="cpu", precision="float32", **LAYERS)
    room = estimates.run_bytes(size, STYLE, settings)
    monkeypatch.setattr(estimates, "memory_available", lambda device: room)


def test_a_run_too_large_for_the_memory_is_refused_before_the_first_pass(monkeypatch):
    encoder = Encoder(TOY, seed=1)
    ran = passes(encoder)
    only(monkeypatch, (200, 240))
    with pytest.raises(TooLargeError, match=r"largest short side that fits is [12]\d\d px"):
        run(picture(300, 300), encoder=encoder)
    assert ran == []


def test_fit_takes_the_largest_size_that_fits(monkeypatch):
    only(monkeypatch, (200, 240))
    height, width = run(picture(300, 360), size="fit", steps=1).image.shape[-2:]
    assert 150 < height < 250
    assert width == pytest.approx(height * 1.2, abs=1)
    with pytest.raises(TooLargeError):
        run(picture(300, 360), size=height + 16, steps=1)


def test_a_size_scales_all_pictures():
    assert run(picture(40, 64), size=20, steps=1).image.shape[-2:] == (20, 32)
    with pytest.raises(ValueError, match="expected a number of pixels"):
        run(size="huge", steps=1)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_perfect_image_stays_as_it_is(optimizer):
    """From the content, with nothing else asked for, the loss and its gradient are exactly 0."""
    result = run(optimizer=optimizer, style_weight=0, tv_weight=0, steps=3)
    assert [e.loss for e in result.history] == [0, 0, 0]
    torch.testing.assert_close(result.image, CONTENT)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone hands its peak on to a child")
def test_the_peak_of_memory_is_the_processs_own():
    big = torch.ones(150_000_000)
    code = "import torch; from nst_helpers.accel.devices import peak_memory; print(peak_memory(torch.device('cpu')))"
    child = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert child < peak_memory(torch.device("cpu")) - big.nbytes / 2


def test_a_checkpoint_of_an_older_form_is_refused_in_a_sentence(tmp_path, monkeypatch):
    """L-BFGS's pairs were kept in another form once: such a state can't be loaded, and says so before the run."""
    path = tmp_path / "state"
    with monkeypatch.context() as older:
        older.setattr("nst_helpers.engine.checkpoints.CHECKPOINT_FORMAT", "1")
        stylize(CONTENT, STYLE, checkpoint=path, **_options("lbfgs", steps=3))
    with pytest.raises(CheckpointError, match="different: format"):
        stylize(CONTENT, STYLE, checkpoint=path, resume=True, **_options("lbfgs", steps=5))


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "scales"), [(32, None), (32, [48, 64]), (None, None)])
def test_twenty_runs_leave_nothing_behind(tile, scales):
    """A cycle through autograd's context, which the collector can't see, kept each tiled model: 5.6 MB a run."""
    models, pictures = [], (picture(64, 96), picture(48, 48, 1))

    def once():
        run(*pictures, tile=tile, scales=scales, steps=2, callback=lambda step: models.append(step.optimisation.model))
        models[:] = [weakref.ref(model) if isinstance(model, torch.nn.Module) else model for model in models]

    for _ in range(5):
        once()
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        once()
    gc.collect()
    assert len(models) >= 25
    assert not [kept for kept in models if kept() is not None]
    assert psutil.Process().memory_info().rss - before < 40 * 2**20
