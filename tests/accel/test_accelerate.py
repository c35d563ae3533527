"""The accelerated model has the plain model's losses and gradients, at every number format and whatever its layers."""

from __future__ import annotations

import pytest
import torch
from conftest import TOY, noise, picture

from nst_helpers import CONVENTIONS, Encoder, build_model, prepare
from nst_helpers.accel.accelerate import FusedStyleLoss, accelerate

LAYERS = [
    {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "conv1_2", "relu3_1"]},
    {"content_layers": ["relu1_2"], "style_layers": ["pool1", "relu3_1"]},  # a loss between ReLU and pooling
    {"content_layers": ["conv3_1"], "style_layers": []},
    {"content_layers": [], "style_layers": ["pool2"]},
]


def losses_and_gradient(model, image):
    image = image.clone().requires_grad_()
    model(image)
    (gradient,) = torch.autograd.grad(model.total_loss(content_weight=2.0, style_weight=30.0, tv_weight=0.5), image)
    losses = {**model.content_losses, **{f"{n} style": layer for n, layer in model.style_losses.items()}}
    return {name: layer.loss.detach() for name, layer in losses.items()}, gradient


def pair(encoder, layers, convention="relative"):
    content, style = (x.to(encoder.dtype) for x in (picture(36, 28), picture(24, 40, 1)))
    return build_model(encoder, content, style, **layers, convention=convention, layer_weights={})


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_losses_and_gradient_are_the_plain_models(dtype, bound, layers, pool):
    model = pair(Encoder(TOY, seed=1, pool=pool).to(dtype), layers)
    image = noise(1, 3, 36, 28, seed=2).to(dtype)
    plain, gradient = losses_and_gradient(model, image)
    quick, other = losses_and_gradient(accelerate(model), image)
    assert plain.keys() == quick.keys()
    for name, loss in plain.items():
        torch.testing.assert_close(quick[name], loss, rtol=bound, atol=0)
    assert (other - gradient).norm() <= bound * gradient.norm()


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_the_convention_and_the_layers_weights_come_along(toy, convention):
    weights = {"conv1_2": 0.25, "relu3_1": 3.0}
    model = build_model(toy, picture(), picture(seed=1), **LAYERS[0], convention=convention, layer_weights=weights)
    quick = accelerate(model)
    image = noise(1, 3, 32, 40)
    model(image)
    quick(image)
    torch.testing.assert_close(quick.total_loss(), model.total_loss(), rtol=1e-5, atol=0)
    assert {n: layer.weight for n, layer in quick.style_losses.items()} == {"relu1_1": 1.0, **weights}


def test_in_bfloat16_the_loss_is_within_a_hundredth_and_the_gradient_points_the_same_way():
    encoder = Encoder(TOY, seed=1)
    image = noise(1, 3, 36, 28, seed=2)
    exact, gradient = losses_and_gradient(pair(encoder, LAYERS[0]), image)
    quick, other = losses_and_gradient(
        accelerate(pair(prepare(encoder, device="cpu", precision="bfloat16"), LAYERS[0])), image
    )
    for name, loss in exact.items():
        torch.testing.assert_close(quick[name], loss, rtol=1e-2, atol=0)
    assert torch.cosine_similarity(other.flatten(), gradient.flatten(), dim=0) > 0.998


def test_the_given_model_stays_as_it_was(toy):
    model = pair(toy, LAYERS[0])
    before = list(model.named_children())
    quick = accelerate(model)
    assert list(model.named_children()) == before
    assert not any(isinstance(layer, FusedStyleLoss) for layer in model.children())
    assert [type(layer) for layer in quick.style_losses.values()] == [FusedStyleLoss] * 3
    shared = {p.data_ptr() for p in model.parameters()}
    assert {p.data_ptr() for p in quick.parameters()} == shared  # no second copy of the weights
