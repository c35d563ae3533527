"""The first convolution in bfloat16: an image keeps its digits."""

from __future__ import annotations

import pytest
import torch
from conftest import noise
from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from nst_helpers.accel import convolution as module
from nst_helpers.accel.convolution import SplitConv


def convolution(before=16, after=24, dtype=torch.float32, seed=0):
    layer = nn.Conv2d(before, after, 3, padding=1).to(dtype).requires_grad_(False)
    layer.weight.copy_(noise(after, before, 3, 3, seed=seed) - 0.5)
    layer.bias.copy_(noise(after, seed=seed + 1) - 0.5)
    return layer


def test_a_change_that_bfloat16_does_not_know_reaches_the_first_layer():
    """An edge detector on a faint ramp: what is left after the subtraction is what rounding the image would lose."""
    layer = convolution(3, 8).bfloat16()
    layer.weight.copy_(torch.ones_like(layer.weight) * torch.tensor([1.0, 0.0, -1.0]).bfloat16())
    layer.bias.zero_()
    ramp = 0.9 + 1e-4 * torch.arange(8.0).expand(1, 3, 8, 8)
    exact = F.conv2d(ramp, layer.weight.float(), padding=1)[..., 1:-1, 1:-1]
    assert layer(ramp.bfloat16())[..., 1:-1, 1:-1].unique().numel() < 3  # steps of 1/256, or none
    torch.testing.assert_close(SplitConv(layer)(ramp).float()[..., 1:-1, 1:-1], exact, rtol=0.05, atol=0)


def test_the_split_adds_up():
    image = noise(2, 3, 5, 4)
    rounded, rest = module._split(image).float().chunk(2, 1)
    assert (rounded + rest - image).abs().max() < 2**-16


@pytest.mark.parametrize("size", [(6, 8), (5, 8), (6, 7), (2, 2), (1, 1)])
def test_the_gradient_is_the_plain_convolutions(size):
    """By squares of 2 x 2 pixels where both sides are even. The oracle is float64, rounded once."""
    layer = convolution(3, 20).bfloat16()
    image = noise(2, 3, *size).requires_grad_()
    out = SplitConv(layer)(image)
    behind = (noise(*out.shape, seed=3) - 0.5).bfloat16()
    (gradient,) = torch.autograd.grad(out, image, behind)
    exact = conv2d_input(image.shape, layer.weight.double(), behind.double(), padding=1)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient.double(), exact, rtol=2**-8, atol=1e-6)
