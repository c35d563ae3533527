"""Whatever the caller has switched in PyTorch, a run computes the same, and leaves the switches as they were."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
from conftest import TOY, picture

from nst_helpers import StyleSession, estimate, iterate, stylize
from nst_helpers.encoders import Encoder

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
CONTENT, STYLE = picture(24, 28), picture(20, 36, 1)


def given(**options):
    return {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 4} | LAYERS | options


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "default type": lambda: default_dtype(torch.float64),
    "half by default": lambda: default_dtype(torch.float16),
}


def switches():
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_default_device(), torch.get_default_dtype(),
    )  # fmt: skip


@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize(
    "options",
    [{"init": "noise"}, {"optimizer": "adam"}, {"precondition": True, "scales": [16, 24]}, {"tile": 32}],
    ids=["noise", "adam", "scales", "tiles"],
)
def test_a_run_is_the_same_run(name, options):
    pictures = picture(40, 48), STYLE
    plain = stylize(*pictures, **given(**options))
    with SURROUNDINGS[name]():
        before = switches()
        found = stylize(*pictures, **given(**options))
        assert switches() == before
    assert found.image.dtype == torch.float32
    assert found.image.device.type == "cpu"
    assert torch.equal(found.image, plain.image)
    assert [e.loss for e in found.history] == [e.loss for e in plain.history]


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_steps_are_handed_out_with_the_switches_as_they_were(name):
    plain = [step.evaluation.loss for step in iterate(CONTENT, STYLE, **given())]
    losses = []
    with SURROUNDINGS[name]():
        before = switches()
        for step in iterate(CONTENT, STYLE, **given()):
            assert switches() == before
            losses.append(step.evaluation.loss)
    assert losses == plain


def test_pictures_made_in_inference_mode_can_be_painted():
    with torch.inference_mode():
        content, style = CONTENT.clone() * 1.0, STYLE.clone() * 1.0
    assert content.is_inference()
    assert torch.equal(stylize(content, style, **given()).image, stylize(CONTENT, STYLE, **given()).image)


@pytest.mark.parametrize("name", ["no_grad", "inference_mode", "autocast"])
def test_a_session_and_an_estimate_work_too(name):
    options = {k: v for k, v in given().items() if k != "steps"}
    plain = StyleSession(CONTENT, STYLE, size=24, **options)
    plain.step(3)
    with SURROUNDINGS[name]():
        found = StyleSession(CONTENT, STYLE, size=24, **options)
        found.step(3)
        assert estimate((64, 64), (64, 64), **given()).seconds > 0
    assert torch.equal(found.image, plain.image)


def test_a_run_in_another_thread_is_the_same_run_and_leaves_signals_alone():
    """Only the main thread may ask for signals; gradients are on or off for each thread by itself."""
    found = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: found.append(stylize(CONTENT, STYLE, **given())))
        thread.start()
        thread.join()
    assert torch.equal(found[0].image, stylize(CONTENT, STYLE, **given()).image)


def test_pictures_of_another_type_are_painted_as_float32():
    for dtype in (torch.float16, torch.float64):
        result = stylize(CONTENT.to(dtype), STYLE.to(dtype), **given())
        assert result.image.dtype == torch.float32
        assert result.loss == pytest.approx(stylize(CONTENT, STYLE, **given()).loss, rel=0.05)
