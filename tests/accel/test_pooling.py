"""Pooling's twins on a CPU have the values and gradients of PyTorch's own, to the last digit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nst_helpers.accel import pooling
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.accel.pooling import AvgPool, MaxPoolReLU
from nst_helpers.encoders import Architecture, Encoder, Pool
from nst_helpers.model import build_model


def values_and_gradient(layer, x):
    x = x.clone().requires_grad_()
    out = layer(x)
    weights = torch.rand(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    (gradient,) = torch.autograd.grad((out * weights).sum(), x)
    return out.detach(), gradient


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_pooling_twins_are_pytorchs_pooling(shape, dtype, layout, seed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(4).round().div(4)  # many are alike
    x = x.to(dtype).contiguous(memory_format=layout)
    pairs = (
        (MaxPoolReLU(), lambda x: Pool("max")(x.relu())),
        (AvgPool(), Pool("avg")),
        (AvgPool(1.5), Pool("avg", scale=1.5)),
    )
    for twin, plain in pairs:
        for found, right in zip(values_and_gradient(twin, x), values_and_gradient(plain, x), strict=True):
            assert found.dtype == right.dtype
            assert torch.equal(found, right)


def test_averages_by_a_convolution_are_pytorchs_to_the_last_digit(monkeypatch):
    monkeypatch.setattr(pooling, "LARGE", 1)
    called = []
    monkeypatch.setattr(F, "conv2d", lambda *a, plain=F.conv2d, **o: (called.append(1), plain(*a, **o))[1])
    for shape in ((1, 48, 10, 12), (2, 3, 5, 7), (1, 1, 2, 2)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = (
                torch.randn(shape, generator=torch.Generator().manual_seed(0))
                .bfloat16()
                .contiguous(memory_format=layout)
            )
            assert torch.equal(AvgPool(1.7)(x), Pool("avg", scale=1.7)(x))
    assert len(called) == 6


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_takes_them_unless_a_loss_reads_what_is_between(pool, dtype):
    encoder = Encoder(Architecture("toy", ((4,), (4,), (4,))), pool=pool).to(dtype)
    image = torch.rand(1, 3, 16, 16).to(dtype)
    layers = dict(
        accelerate(
            build_model(encoder, image, image, content_layers=["relu3_1"], style_layers=["relu1_1"])
        ).named_children()
    )
    kinds = {name: type(layer).__name__ for name, layer in layers.items() if name.startswith("pool")}
    if pool == "avg":
        assert kinds == {"pool1": "AvgPool", "pool2": "AvgPool"}
    else:
        assert kinds == {"pool1": "Pool", "pool2": "MaxPoolReLU" if dtype == torch.bfloat16 else "Pool"}
    assert ("relu2_1" in layers) == (pool == "avg" or dtype == torch.float32)
