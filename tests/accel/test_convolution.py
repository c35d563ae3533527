"""Convolution and ReLU in one layer: the numbers of both, forward and backward; and an image that keeps its digits."""

from __future__ import annotations

import pytest
import torch
from conftest import noise
from torch import nn
from torch.nn import functional as F

from nst_helpers.accel import convolution as module
from nst_helpers.accel.convolution import ConvReLU, SplitConv


def convolution(before=16, after=24, dtype=torch.float32, seed=0):
    layer = nn.Conv2d(before, after, 3, padding=1).to(dtype).requires_grad_(False)
    layer.weight.copy_(noise(after, before, 3, 3, seed=seed) - 0.5)
    layer.bias.copy_(noise(after, seed=seed + 1) - 0.5)
    return layer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 16, 9, 7), (2, 16, 32, 30), (1, 16, 1, 1)])
def test_both_passes_equal_the_layers_one_by_one(shape, layout, dtype):
    layer = convolution(dtype=dtype)
    x = noise(*shape, seed=2).to(dtype).contiguous(memory_format=layout)
    quick, plain = x.clone().requires_grad_(), x.double().requires_grad_()
    one, two = ConvReLU(layer)(quick), F.conv2d(plain, layer.weight.double(), layer.bias.double(), padding=1).relu()
    weights = noise(*two.shape, seed=3).to(dtype)
    given = weights.clone()
    one.backward(given)
    # Where rounding moves a number across 0, ReLU's derivative changes: those are told by the rounded one.
    two.backward(weights.double() * (one > 0))
    assert one.dtype == quick.grad.dtype == dtype
    close = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-7}[dtype]
    torch.testing.assert_close(one.double(), two, rtol=close, atol=close * 4)
    torch.testing.assert_close(quick.grad.double(), plain.grad, rtol=close, atol=close * 4)


def test_gradient_against_finite_differences():
    layer = convolution(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(ConvReLU(layer), noise(2, 3, 4, 5, dtype=torch.float64).requires_grad_())


def test_a_gradient_without_memory_of_its_own_is_taken():
    """Of a plain sum: one number, seen at every place."""
    x, y = (noise(1, 16, 5, 6).requires_grad_() for _ in range(2))
    layer = convolution()
    ConvReLU(layer)(x).sum().backward()
    layer(y).relu().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_the_input_is_left_as_it_was():
    x = noise(1, 16, 5, 6) - 0.5
    before = x.clone()
    ConvReLU(convolution())(x.requires_grad_()).square().sum().backward()
    assert torch.equal(x, before)


def test_a_second_derivative_is_refused_and_not_wrong():
    x = noise(1, 16, 4, 4).requires_grad_()
    (grad,) = torch.autograd.grad(ConvReLU(convolution())(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


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
