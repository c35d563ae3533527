"""Losses with a backward pass by hand equal the plain ones, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from conftest import noise

from nst_helpers import CONVENTIONS, Convention, content_loss, style_loss, total_variation
from nst_helpers.accel.accelerate import FusedContentLoss
from nst_helpers.accel.distances import distance, factor_of, squared_variation


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", list(CONVENTIONS))
@pytest.mark.parametrize(
    ("kind", "plain", "shape"), [("content", content_loss, (4, 3, 5)), ("style", style_loss, (4, 4))]
)
def test_a_factor_and_the_squares_are_every_conventions_loss(kind, plain, shape, name, dark):
    target = noise(1, *shape, dtype=torch.float64) * (not dark)
    for batch in (1, 3):
        x = noise(batch, *shape, seed=batch, dtype=torch.float64)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        factor = factor_of(CONVENTIONS[name], kind, target)
        found, right = distance(a, target, factor), plain(b, target, convention=name)
        torch.testing.assert_close(found, right, rtol=1e-12, atol=0)
        (found * 3).backward()
        (right * 3).backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=0)


def test_a_convention_of_ones_own_has_no_factor():
    absolute = Convention("absolute", lambda f, p: (f - p).abs().mean(), lambda g, a: (g - a).abs().mean(), "mean")
    features, target = noise(1, 4, 3, 5), noise(1, 4, 3, 5, seed=1)
    assert factor_of(absolute, "content", target) is None
    layer = FusedContentLoss(target, convention=absolute)
    layer(features)
    assert layer.loss == (features - target).abs().mean()


def test_features_of_another_size_are_refused_as_ever():
    with pytest.raises(ValueError, match="content_loss compares like with like"):
        FusedContentLoss(noise(1, 4, 3, 5))(noise(1, 4, 3, 1))


def test_a_difference_is_taken_in_the_targets_format():
    x, target = noise(1, 4, 9, 9).bfloat16().requires_grad_(), noise(1, 4, 9, 9, seed=1)
    loss = distance(x, target, 1.0)
    loss.backward()
    assert (loss.dtype, x.grad.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(loss, (x.float() - target).square().sum(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 3, 1, 6), (1, 1, 7, 1), (1, 3, 1, 1)])
def test_squared_variation_is_the_plain_one(shape, layout):
    image = noise(*shape, dtype=torch.float64).contiguous(memory_format=layout)
    a, b = image.clone().requires_grad_(), image.clone().requires_grad_()
    found, right = squared_variation(a), total_variation(b, kind="l2")
    torch.testing.assert_close(found, right, rtol=1e-12, atol=0)
    if right.requires_grad:
        (found * 3).backward()
        (right * 3).backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-18)


def test_gradients_against_finite_differences():
    x, target = (noise(2, 3, 4, seed=n, dtype=torch.float64) for n in (0, 1))
    assert torch.autograd.gradcheck(lambda x: distance(x, target[:1], 0.7), x.requires_grad_())
    assert torch.autograd.gradcheck(squared_variation, noise(1, 3, 4, 5, dtype=torch.float64).requires_grad_())
