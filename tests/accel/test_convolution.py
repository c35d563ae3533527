"""Packed convolutions: PyTorch's own numbers, forward and backward, in every place a convolution stands."""

from __future__ import annotations

import copy
import pickle
import time

import pytest
import torch
from conftest import noise, picture
from torch import nn
from torch.nn import functional as F

from nst_helpers import build_model, prepare
from nst_helpers.accel import convolution as module
from nst_helpers.accel.convolution import PackedConv, SplitConv, can_pack, pack
from nst_helpers.accel.devices import has_bfloat16
from nst_helpers.accel.tiling import build_tiled_model
from nst_helpers.encoders import Architecture, Encoder

WIDE = Architecture("wide", ((12, 16), (24,), (16,)), final_pool=False)
quick = pytest.mark.skipif(not has_bfloat16(), reason="this processor computes in float32")


def convolution(before=16, after=24, dtype=torch.float32, seed=0):
    layer = nn.Conv2d(before, after, 3, padding=1).to(dtype).requires_grad_(False)
    layer.weight.copy_(noise(after, before, 3, 3, seed=seed) - 0.5)
    layer.bias.copy_(noise(after, seed=seed + 1))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 16, 9, 7), (2, 16, 32, 30), (1, 16, 1, 1)])
def test_both_passes_equal_the_plain_convolution(shape, layout, dtype):
    layer = convolution(dtype=dtype)
    x = noise(*shape, seed=2).to(dtype).contiguous(memory_format=layout)
    quick, plain = x.clone().requires_grad_(), x.double().requires_grad_()
    one, two = pack(layer)(quick), F.conv2d(plain, layer.weight.double(), layer.bias.double(), padding=1)
    weights = noise(*two.shape, seed=3).to(dtype)
    one.backward(weights)
    two.backward(weights.double())
    assert one.dtype == quick.grad.dtype == dtype
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2**-8, "atol": 2**-8}
    torch.testing.assert_close(one.double(), two, **close)
    torch.testing.assert_close(quick.grad.double(), plain.grad, **close)


def test_what_is_no_such_convolution_stays():
    others = [nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3), nn.Conv2d(16, 8, 1), nn.ReLU()]
    others += [nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.Conv2d(16, 8, 3, padding=1, stride=2)]
    for layer in others:
        assert pack(layer) is layer


@pytest.mark.parametrize("error", [TypeError, RuntimeError, AttributeError])
def test_another_pytorch_without_the_routines_computes_as_before(monkeypatch, error):
    layer = convolution()
    assert can_pack(layer)

    def changed(*_):
        raise error("another form")

    with monkeypatch.context() as patched:
        module._routines_work.cache_clear()
        patched.setattr(module, "_ordered", changed)
        assert pack(layer) is layer
    module._routines_work.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert pack(layer) is layer


def test_only_what_is_used_is_packed_and_anew_for_another_size():
    layer = pack(convolution())
    assert not layer.packed.orders
    layer(noise(1, 16, 4, 4))
    assert list(layer.packed.orders) == [False]
    kept = layer.packed.orders[False][1]
    layer(noise(1, 16, 4, 4))
    assert layer.packed.orders[False][1] is kept
    layer(noise(1, 16, 5, 7))
    assert layer.packed.orders[False][0] == (1, 16, 5, 7)
    assert len(layer.packed.orders) == 1


@pytest.mark.parametrize("side", [4, 8, 12, 32])
def test_packed_weights_are_never_much_slower_than_plain_ones(side):
    """In an order made for another size, maps of 12 pixels took fifty times as long."""
    plain = nn.Conv2d(192, 192, 3, padding=1).bfloat16().requires_grad_(False)
    plain = plain.to(memory_format=torch.channels_last)
    packed, x = pack(plain), noise(1, 192, side, side).bfloat16().contiguous(memory_format=torch.channels_last)

    def best(layer):
        times = []
        for _ in range(8):
            start = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(packed) < 5 * best(plain) + 1e-3


def test_a_second_derivative_is_refused_and_not_wrong():
    x = noise(1, 16, 4, 4).requires_grad_()
    (grad,) = torch.autograd.grad(pack(convolution())(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@quick
def test_encoders_are_packed_in_bfloat16_alone_and_the_original_never():
    encoder = Encoder(WIDE, seed=1)
    prepared = prepare(encoder, device="cpu", precision="bfloat16")
    assert [isinstance(prepared.layers[n], PackedConv) for n in WIDE.conv_names] == [False, True, True, True]
    for other in (encoder, prepare(encoder, device="cpu", precision="float32"), prepare(encoder.double())):
        assert not any(isinstance(m, PackedConv) for m in other.modules())
    twice = prepare(prepared, device="cpu", precision="bfloat16")
    image = picture()
    for name, features in twice(image, ["relu3_1", "conv1_2"]).items():
        assert torch.equal(features, prepared(image, [name])[name])


@quick
@pytest.mark.parametrize("build", [build_model, lambda *a, **k: build_tiled_model(*a, tile=32, **k)])
def test_a_model_has_the_loss_and_gradient_of_plain_convolutions(build, monkeypatch):
    """The arithmetic is the same, and the weights lie in another order."""
    found = []
    for packing in (True, False):
        if not packing:
            monkeypatch.setattr("nst_helpers.accel.devices.pack", lambda layer: layer)
        encoder = prepare(Encoder(WIDE, seed=1), device="cpu", precision="bfloat16")
        assert any(isinstance(m, PackedConv) for m in encoder.modules()) == packing
        layers = {"content_layers": ["relu3_1"], "style_layers": ["relu1_1", "conv2_1"]}
        model = build(encoder, picture(70, 60), picture(50, 64, 1), **layers)
        image = picture(70, 60, 2).requires_grad_()
        model(image)
        model.total_loss().backward()
        found.append((model.total_loss().item(), image.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (found[0][1] - found[1][1]).norm() < 1e-2 * found[1][1].norm()


def test_a_change_that_bfloat16_does_not_know_reaches_the_first_layer():
    """An edge detector on a faint ramp: what is left after the subtraction is what rounding the image would lose."""
    layer = convolution(3, 8).bfloat16()
    layer.weight.copy_(torch.ones_like(layer.weight) * torch.tensor([1.0, 0.0, -1.0]).bfloat16())
    layer.bias.zero_()
    ramp = 0.9 + 1e-4 * torch.arange(8.0).expand(1, 3, 8, 8)
    exact = F.conv2d(ramp, layer.weight.float(), padding=1)[..., 1:-1, 1:-1]
    assert layer(ramp.bfloat16())[..., 1:-1, 1:-1].unique().numel() < 3  # steps of 1/256, or none
    torch.testing.assert_close(SplitConv(layer)(ramp).float()[..., 1:-1, 1:-1], exact, rtol=0.05, atol=0)


def test_the_split_adds_up_and_has_the_plain_gradient():
    image = noise(2, 3, 5, 4).requires_grad_()
    rounded, rest = module._split(image).float().chunk(2, 1)
    assert (rounded + rest - image).abs().max() < 2**-16
    (gradient,) = torch.autograd.grad((rounded + rest).sum(), image)
    assert torch.equal(gradient, torch.ones_like(image))


def test_a_packed_layer_goes_to_another_process():
    layer, x = pack(convolution()), noise(1, 16, 5, 6)
    made = layer(x)
    there = pickle.loads(pickle.dumps(layer))
    assert torch.equal(there(x), made)
    assert isinstance(there, PackedConv)


def test_copies_share_the_packed_weights():
    layer = pack(convolution())
    assert copy.deepcopy(layer).packed is layer.packed


@quick
@pytest.mark.parametrize("move", [lambda e: prepare(e, device="cpu", precision="float32"), lambda e: e.float()])
def test_in_another_number_format_a_packed_encoder_computes_plainly(move):
    encoder, image = Encoder(WIDE, seed=1), picture()
    layers = ["conv1_2", "relu3_1"]
    plain = copy.deepcopy(encoder)
    for layer in plain.layers.values():
        layer.bfloat16().float()  # the parameters have been rounded on the way
    moved = move(prepare(encoder, device="cpu", precision="bfloat16"))
    moved.normalize.output_dtype = torch.float32
    assert all(m.packed is None for m in moved.modules() if isinstance(m, PackedConv))
    for name, features in moved(image, layers).items():
        torch.testing.assert_close(features, plain(image, [name])[name])
