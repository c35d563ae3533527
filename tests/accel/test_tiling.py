"""Tiles: the loss and gradient of the whole image, at every size, pooling, convention and cut."""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from pathlib import Path

import pytest
import torch
from conftest import examples, noise, picture
from forked import run_forked
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_helpers import CONVENTIONS, ImageError, LayerError, Optimisation, build_model, gram_matrix, total_variation
from nst_helpers.accel.tile_grid import segments_of
from nst_helpers.accel.tiling import build_tiled_model
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.losses import Convention

DEEP = Architecture("deep", ((6, 6), (8, 8), (8, 8, 8), (10, 10), (6,)), final_pool=False)
LAYERS = {"content_layers": ["relu4_2"], "style_layers": ["relu1_1", "conv2_1", "pool2", "relu3_1", "relu5_1"]}


def loss_and_gradient(build, encoder, content, styles, image, *, weights=(2.0, 30.0, 5.0), **options):
    model = build(encoder, content, styles, **(LAYERS | options))
    image = image.clone().requires_grad_()
    model(image)
    loss = model.total_loss(content_weight=weights[0], style_weight=weights[1], tv_weight=weights[2])
    loss.backward()
    return loss.detach(), image.grad


def apart(a, b):
    """The difference's norm over the norm, and the largest difference over the largest entry."""
    return max(((a - b).norm() / b.norm()).item(), ((a - b).abs().max() / b.abs().max()).item())


def test_tiles_take_the_options_of_the_whole_model():
    """With the same defaults; another statistic than the Gram matrix is no sum over tiles."""

    def options(build):
        return {name: p.default for name, p in inspect.signature(build).parameters.items() if p.kind is p.KEYWORD_ONLY}

    whole, tiled = options(build_model), options(build_tiled_model)
    assert tiled.pop("tile") > 0
    assert whole.pop("statistic") is gram_matrix
    assert tiled == whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convention", list(CONVENTIONS))
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_loss_and_gradient_are_the_whole_images(pool, convention, dtype):
    encoder = Encoder(DEEP, seed=1, pool=pool).to(dtype)
    content, image = noise(1, 3, 97, 131, dtype=dtype), noise(1, 3, 97, 131, seed=1, dtype=dtype)
    styles = [noise(1, 3, 75, 90, seed=2, dtype=dtype), noise(1, 3, 50, 119, seed=3, dtype=dtype)]
    given = {"convention": convention, "style_mix": [3, 1], "layer_weights": {"relu3_1": 0.3}}
    a = loss_and_gradient(build_tiled_model, encoder, content, styles, image, tile=32, **given)
    b = loss_and_gradient(build_model, encoder, content, styles, image, **given)
    limit = 1e-4 if dtype == torch.float32 else 1e-12
    assert abs(a[0] / b[0] - 1) < limit
    assert apart(a[1], b[1]) < limit


@settings(deadline=None, max_examples=examples(25), derandomize=True)
@given(st.integers(16, 110), st.integers(16, 110), st.integers(32, 90), st.sampled_from(["max", "avg"]))
def test_at_any_size_and_with_any_tile(height, width, tile, pool):
    encoder = Encoder(DEEP, seed=1, pool=pool).double()
    content, image = noise(1, 3, height, width).double(), noise(1, 3, height, width, seed=1).double()
    style = noise(1, 3, width, height, seed=2).double()
    a = loss_and_gradient(build_tiled_model, encoder, content, style, image, tile=tile)
    b = loss_and_gradient(build_model, encoder, content, style, image)
    assert abs(a[0] / b[0] - 1) < 1e-11
    assert apart(a[1], b[1]) < 1e-11


@pytest.mark.parametrize("layer", DEEP.layer_names)
def test_every_layer_can_carry_either_loss(layer):
    encoder = Encoder(DEEP, seed=1).double()
    content, image, style = (noise(1, 3, 70, 89, seed=i).double() for i in range(3))
    for layers in ({"content_layers": [layer], "style_layers": []}, {"content_layers": [], "style_layers": [layer]}):
        content_given = content if layers["content_layers"] else None
        style_given = style if layers["style_layers"] else None
        a = loss_and_gradient(build_tiled_model, encoder, content_given, style_given, image, tile=32, **layers)
        b = loss_and_gradient(build_model, encoder, content_given, style_given, image, **layers)
        assert apart(a[1], b[1]) < 1e-11


def test_seams_would_be_seen(monkeypatch):
    """The oracle sees a halo that is too small: without one, the gradient is wrong along the tiles' edges."""
    from dataclasses import replace

    from nst_helpers.accel import tile_grid

    whole = tile_grid._segment
    monkeypatch.setattr(tile_grid, "_segment", lambda layers: replace(whole(layers), halo=0))
    encoder, image = Encoder(DEEP, seed=1).double(), noise(1, 3, 96, 96, seed=1).double()
    a = loss_and_gradient(build_tiled_model, encoder, image.flip(-1), image.flip(-2), image, tile=32)
    b = loss_and_gradient(build_model, encoder, image.flip(-1), image.flip(-2), image)
    assert apart(a[1], b[1]) > 1e-2


def test_the_halo_is_as_wide_as_the_layers_reach():
    """Counted by changing one pixel and looking which outputs of the segment notice."""
    for part in segments_of(Encoder(DEEP, seed=1, pool="avg").double(), ["relu5_1"]):
        channels = next(layer.in_channels for _, layer in part.layers if hasattr(layer, "in_channels"))
        x = noise(1, channels, 96, 96).double()
        y = x.clone()
        y[..., 48, 48] += 100.0
        (*_, (_, a, stride)), (*_, (_, b, _)) = part.walk(x), part.walk(y)
        seen = (a != b).any(1)[0].any(1).nonzero().flatten()
        reach = max(48 - seen.min().item() * stride, (seen.max().item() + 1) * stride - 49)
        assert stride == part.stride
        assert reach <= part.halo + stride - 1
        assert part.halo % stride == 0


def test_the_losses_by_layer_and_the_parts_agree(toy):
    layers = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
    content, style, image = picture(70, 90), picture(50, 60, 1), picture(70, 90, 2)
    one, two = (build(toy, content, style, **layers) for build in (build_tiled_model, build_model))
    three = build_tiled_model(toy, content, style, tile=32, **layers)
    for model in (one, two, three):
        model(image)
    for model in (one, three):
        for kind in ("content_losses", "style_losses"):
            for name, layer in getattr(two, kind).items():
                assert getattr(model, kind)[name].loss.item() == pytest.approx(layer.loss.item(), rel=1e-5)
        assert model.content_loss().item() == pytest.approx(two.content_loss().item(), rel=1e-5)
        assert model.style_loss().item() == pytest.approx(two.style_loss().item(), rel=1e-5)
        assert model.tv_loss.loss.item() == pytest.approx(two.tv_loss.loss.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("size", [(1, 9), (9, 1), (256, 3), (257, 4), (600, 5)])
def test_total_variation_in_bands_is_the_whole_one(kind, size):
    from nst_helpers.accel.bands import _Bands

    a, b = (noise(2, 3, *size).double().requires_grad_() for _ in range(2))
    one, two = _Bands.apply(a, kind), total_variation(b, kind=kind)
    assert one.item() == pytest.approx(two.item(), rel=1e-12)
    one.backward()
    two.backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_run_goes_the_same_way(toy, optimizer):
    layers = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
    content, style = picture(70, 90), picture(50, 60, 1)
    runs = []
    for build, options in ((build_tiled_model, {"tile": 32}), (build_model, {})):
        model = build(toy.double(), content.double(), style.double(), **layers, **options)
        run = Optimisation(model, content.double(), optimizer=optimizer)
        runs.append([run.step().loss for _ in range(8)] + [run.image.detach()])
    assert runs[0][:-1] == pytest.approx(runs[1][:-1], rel=1e-8)
    torch.testing.assert_close(runs[0][-1], runs[1][-1], rtol=0, atol=1e-8)


def test_a_layer_of_no_weight_costs_no_gradient_and_a_batch_counts_as_its_mean(toy):
    layers = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
    content, style, images = picture(70, 90).double(), picture(50, 60, 1).double(), noise(2, 3, 70, 90).double()
    given = layers | {"layer_weights": {"relu3_1": 0}}
    a = loss_and_gradient(build_tiled_model, toy.double(), content, style, images, tile=32, **given)
    b = loss_and_gradient(build_model, toy, content, style, images, **given)
    assert a[0].item() == pytest.approx(b[0].item(), rel=1e-12)
    assert apart(a[1], b[1]) < 1e-11


def test_bfloat16_differs_from_its_untiled_self_by_rounding_alone():
    from nst_helpers import prepare

    encoder = prepare(Encoder(DEEP, seed=1), device="cpu", precision="bfloat16")
    content, image, style = (picture(97, 131, seed=i) for i in range(3))
    a = loss_and_gradient(build_tiled_model, encoder, content, style, image, tile=32)
    b = loss_and_gradient(build_model, encoder, content, style, image)
    c = loss_and_gradient(build_model, Encoder(DEEP, seed=1), content, style, image)
    assert a[0].item() == pytest.approx(b[0].item(), rel=1e-3)
    assert (a[1] - c[1]).norm() < 1.2 * (b[1] - c[1]).norm()


def test_the_encoder_is_left_as_it_was_and_nothing_else_is_given_a_gradient(toy):
    before = {k: v.clone() for k, v in toy.state_dict().items()}
    content, image = picture(70, 90), picture(70, 90, 2).requires_grad_()
    model = build_tiled_model(toy, content, content, tile=32, content_layers=["relu2_1"], style_layers=["relu3_1"])
    model(image)
    model.total_loss().backward()
    assert all(torch.equal(v, before[k]) for k, v in toy.state_dict().items())
    assert all(p.grad is None for p in (*toy.parameters(), *model.parameters()))
    with torch.no_grad():
        model(image)
    assert not model.total_loss().requires_grad


def test_clear_sentences(toy):
    layers = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1"]}
    with pytest.raises(ValueError, match="tile=8 came.*at least 32"):
        build_tiled_model(toy, picture(), picture(), tile=8, **layers)
    with pytest.raises(ValueError, match="like with like.*70, 90.*the content at the image's own size"):
        build_tiled_model(toy, picture(70, 90), picture(), **layers)(picture(71, 90))
    own = Convention("own", lambda f, p: f.sum(), lambda g, a: g.sum(), "sum")
    with pytest.raises(LayerError, match="relative, gatys and pytorch, not 'own'"):
        build_tiled_model(toy, picture(), picture(), convention=own, **layers)
    with pytest.raises(LayerError, match="weights name conv3_1"):
        build_tiled_model(toy, picture(), picture(), layer_weights={"conv3_1": 2.0}, **layers)
    with pytest.raises(ImageError, match="needs at least 4 x 4"):
        build_tiled_model(toy, picture(3, 3), picture(), content_layers=["relu3_1"], style_layers=["relu1_1"])
    with pytest.raises(LayerError, match="call model"):
        build_tiled_model(toy, picture(), picture(), **layers).total_loss()
    model, image = build_tiled_model(toy, picture(), picture(), **layers), picture(seed=1).requires_grad_()
    model(image)
    loss = model.total_loss()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss.backward()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_tiles_take_a_fraction_of_the_memory():
    code = """
import json, torch
from nst_helpers import build_model
from nst_helpers.accel.devices import peak_memory
from nst_helpers.encoders import Encoder, Architecture
from nst_helpers.accel.tiling import build_tiled_model
layers = {"content_layers": ["relu4_1"], "style_layers": ["relu1_1", "relu4_1"]}
encoder = Encoder(Architecture("wide", ((32, 32), (32, 32), (32, 32), (32,))))
def evaluate(size, build, **more):
    image = torch.rand(1, 3, size, size)
    model, image = build(encoder, image, image, **layers, **more), image.clone().requires_grad_()
    model(image)
    model.total_loss().backward()
    return peak_memory(torch.device("cpu"))
before = max(evaluate(64, build_tiled_model, tile=128), evaluate(64, build_model))
tiled = evaluate(448, build_tiled_model, tile=128) - before
print(json.dumps([tiled, evaluate(448, build_model) - before]))  # the peak only grows: what takes less comes first
"""
    tiled, untiled = json.loads(run_forked(code))
    assert 0 < tiled < 0.4 * untiled


def test_tiles_of_a_large_image_hand_their_memory_back_before_the_optimiser_moves(monkeypatch):
    from nst_helpers.accel import tiling

    told = []
    monkeypatch.setattr(tiling, "release_memory", lambda: told.append(1))
    encoder, image = Encoder(DEEP, seed=1), noise(1, 3, 64, 96)
    for smallest, expected in ((image.nbytes + 1, [0, 0, 0]), (image.nbytes, [1, 1, 2])):
        monkeypatch.setattr(tiling, "MMAP", smallest)
        told.clear()
        model, seen = build_tiled_model(encoder, image, image, tile=32, **LAYERS), [len(told)]
        model(image.clone().requires_grad_())
        seen.append(len(told))
        model.total_loss().backward()
        seen.append(len(told))
        assert seen == expected


def test_nothing_of_a_tiled_model_stays_when_it_is_let_go_of(toy):
    """The loss's graph holds what the tiles' function was given, and the collector can't look into a graph."""
    layers = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
    model = build_tiled_model(toy, picture(70, 90), picture(50, 60, 1), tile=32, **layers)
    image = picture(70, 90, 2).requires_grad_()
    model(image)
    model.total_loss().backward()
    kept = [weakref.ref(part) for part in (model, *model.content_losses.values(), *model.style_losses.values())]
    del model, image
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
