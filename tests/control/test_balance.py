"""Balanced weights, stroke weights and detail maps."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from conftest import TOY, noise, picture

import nst_helpers as nst
from nst_helpers.control.balance import STEP, USUAL, balancing_factors, stepped
from nst_helpers.encoders import Encoder
from nst_helpers.engine.objective import build_objective

LAYERS = {"content_layers": ["relu2_1", "relu3_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}


def gradient(model, image, loss):
    x = image.clone().requires_grad_()
    model(x)
    return torch.autograd.grad(loss(model), x)[0]


def balanced(content, style, **options):
    settings = nst.Settings(balance="gradients", **LAYERS | options)
    return build_objective(Encoder(TOY, seed=1), content, style, settings)


@pytest.mark.parametrize(
    "options", [{}, {"convention": "gatys"}, {"convention": "pytorch"}, {"tile": 32}, {"masks": True}]
)
def test_at_the_start_each_term_and_each_style_layer_pulls_alike(options):
    content, styles = picture(48, 60), [picture(40, 40, seed=1)]
    masks = None
    if options.get("masks"):
        left = torch.zeros(1, 1, 48, 60)
        left[..., :20] = 1
        masks, styles = [left, 1 - left], [*styles, picture(seed=2)]
        options = {"masks": masks}
    model = balanced(content, styles, **options)
    moved = stepped(model, content)
    assert (moved - content).square().mean().sqrt().item() == pytest.approx(STEP, rel=1e-3)
    terms = {
        "content": gradient(model, moved, lambda m: m.content_loss()),
        "style": gradient(model, content, lambda m: m.style_loss()),
        "tv": gradient(model, content, lambda m: m.factors.tv * m.tv_loss.loss),
    }
    for term, pull in terms.items():
        assert pull.norm().item() == pytest.approx(getattr(USUAL, term), rel=1e-3)
    norms = [
        gradient(model, content, lambda m, name=name: m.factors.style[name] * m.style_losses[name].loss).norm().item()
        for name in LAYERS["style_layers"]
    ]
    assert max(norms) == pytest.approx(min(norms), rel=1e-3)


def test_weights_and_layer_weights_multiply_the_balanced_terms():
    content, style = picture(), picture(seed=1)
    weighted = balanced(content, [style], layer_weights={"relu1_1": 3.0})

    def norm(name):
        return gradient(weighted, content, lambda m: m.factors.style[name] * m.style_losses[name].loss).norm().item()

    assert norm("relu1_1") == pytest.approx(norm("relu3_1"), rel=1e-3)
    assert weighted.style_losses["relu1_1"].weight == 3.0


def test_the_balanced_objective_is_the_same_in_every_convention():
    """The convention's constants drop out, and with them what a weight means."""
    content, style, image = picture(), picture(seed=1), picture(seed=2)
    models = [balanced(content, [style], convention=name) for name in nst.CONVENTIONS]
    gradients = [gradient(model, image, lambda m: m.total_loss()) for model in models]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-4 * gradients[0].abs().max().item())


def test_what_pulls_nowhere_is_left_alone():
    flat = torch.full((1, 3, 32, 40), 0.5)
    factors = balancing_factors(nst.build_model(Encoder(TOY, seed=1), flat, flat, **LAYERS), flat)
    assert all(value > 0 for value in (*factors.content.values(), *factors.style.values(), factors.tv))
    alone = balanced(picture(), [picture(seed=1)], content_layers=[])
    assert alone.factors.content == {}
    assert len(alone.factors.style) == 3


PAIRS = [("temple", "wave"), ("otter", "mosaic"), ("bridge", "night_swirls"), ("dune", "ink_wash"),
         ("portrait", "crayon"), ("street", "discs")]  # fmt: skip


def shares(encoder, photo, style, **options):
    """How far a run has come, read by `relative`: the content's distance as a share of the style picture's, and the
    style's as a share of the start's."""
    image = nst.stylize(photo, style, encoder=encoder, steps=25, device="cpu", **options).image
    judge, found = nst.build_model(encoder, photo, style), []
    for picture_ in (image, photo, nst.resize(style, photo.shape[-2:], crop=True)):
        judge(picture_)
        found.append((judge.content_loss().item(), judge.style_loss().item()))
    return found[0][0] / found[2][0], found[0][1] / found[1][1]


@pytest.mark.slow
def test_one_weight_takes_every_pair_about_the_same_share_of_its_way(capsys):
    """Six pairs at two sizes: balanced, the shares scatter less than with fixed weights, in one convention or three.

    Within `relative` it is the style's share that fixed weights leave to the pair. The style's distance itself they
    hold more alike than balancing does, whatever it was at the start: docs/control.md has both.
    """
    encoder = nst.load_encoder("mini")
    runs = {
        "fixed": [{}],
        "fixed, three conventions": [{"convention": name} for name in nst.CONVENTIONS],
        "balanced, three conventions": [{"convention": name, "balance": "gradients"} for name in nst.CONVENTIONS],
    }
    scatter = {}
    for name, options in runs.items():
        rows = []
        for number, pair in enumerate(PAIRS):
            content, style = (nst.load_sample(one, size=(32, 48)[number % 2]) for one in pair)
            rows.append(shares(encoder, content, style, **options[number % len(options)]))
        scatter[name] = [statistics.stdev(map(math.log, column)) for column in zip(*rows, strict=True)]
    with capsys.disabled():
        print({name: [round(value, 2) for value in values] for name, values in scatter.items()}, end=" ")
    balanced = scatter["balanced, three conventions"]
    assert balanced[0] < scatter["fixed, three conventions"][0] / 2
    assert balanced[1] < scatter["fixed, three conventions"][1] / 2
    assert balanced[0] < scatter["fixed"][0]
    assert balanced[1] < scatter["fixed"][1] / 2


@pytest.mark.parametrize("word", ["fine", "coarse"])
def test_words_for_strokes_are_weights_of_style_layers_by_depth(word):
    weights = nst.Settings(layer_weights=word).weights_of_layers
    assert list(weights) == list(nst.STYLE_LAYERS)
    values = list(weights.values())
    assert values == sorted(values, reverse=word == "fine")
    assert values[len(values) // 2] == 1
    mixed = nst.Settings(layer_weights=word, style_layers=["relu3_1", "conv1_1"]).weights_of_layers
    assert (mixed["conv1_1"] > mixed["relu3_1"]) == (word == "fine")


def test_fine_strokes_come_from_the_first_layers():
    content, style = picture(), picture(seed=1)
    common = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "steps": 8, "content_layers": ["relu3_1"]}
    style_layers = ["relu1_1", "relu2_1", "relu3_1"]
    found = {}
    for word in ("fine", "coarse"):
        result = nst.stylize(content, style, layer_weights=word, style_layers=style_layers, style_weight=1e3, **common)
        found[word] = result.history[-1].style
    assert found["fine"]["relu1_1"] < found["coarse"]["relu1_1"]


def test_detail_is_found_where_there_is_some():
    photo = torch.cat([torch.full((1, 3, 48, 48), 0.5), noise(1, 3, 48, 48)], -1)
    weights = nst.detail_map(photo)
    assert weights.shape == (1, 1, 48, 96)
    assert weights.mean().item() == pytest.approx(1, abs=1e-5)
    assert weights[..., 60:].min() > 2 * weights[..., :36].max()
    assert weights[..., :36].min().item() == pytest.approx(0.2, abs=1e-5)
    assert nst.detail_map(photo, floor=1.0).std() < 1e-6


@pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)])
def test_detail_turns_with_the_photo(turn):
    photo = picture(40, 48)
    torch.testing.assert_close(nst.detail_map(turn(photo)), turn(nst.detail_map(photo)), atol=1e-5, rtol=1e-4)


def test_a_photo_without_detail_has_a_flat_map():
    weights = nst.detail_map(torch.full((1, 3, 16, 20), 0.3))
    torch.testing.assert_close(weights, torch.ones(1, 1, 16, 20))


def test_values_that_make_no_sense_get_one_sentence():
    for wrong in ({"floor": 2}, {"floor": -0.1}, {"spread": 0}):
        with pytest.raises(ValueError, match="expected floor in .0, 1. and spread above 0"):
            nst.detail_map(picture(), **wrong)
    for wrong in ({"floor": "x"}, {"spread": None}, {"spread": 1e9}, {"spread": float("inf")}, {"floor": float("nan")}):
        with pytest.raises(ValueError, match="expected"):
            nst.detail_map(picture(), **wrong)


def test_the_content_is_held_where_the_map_says():
    content, style = picture(32, 64), picture(seed=1)
    left = torch.zeros(1, 1, 32, 64)
    left[..., :32] = 1
    common = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "steps": 10, "content_weight": 1e3,
              "content_layers": ["relu1_1"], "style_layers": ["relu1_1", "relu2_1"], "init": "style"}  # fmt: skip
    held = nst.stylize(content, style, content_map=left + 1e-3, **common).image
    error = (held - content).abs()
    assert error[..., :24].mean() < 0.7 * error[..., 40:].mean()
