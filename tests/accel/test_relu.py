"""The ReLU by signs has the values and gradients of PyTorch's own, to the last digit, and stands only where it may."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import noise

from nst_helpers import build_model, prepare
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.accel.relu import SignReLU
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.engine.optimisation import Optimisation

HALF = [torch.bfloat16, torch.float16]
TINY, LARGEST = 2.0**-24, 65504.0  # both of float16, the first below its normal numbers


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradient_are_those_of_relu(dtype, layout):
    x = (noise(2, 5, 7, 6) - 0.5).to(dtype).contiguous(memory_format=layout)
    x[0, 0, 0] = torch.tensor([0.0, -0.0, TINY, -TINY, LARGEST, -LARGEST]).to(dtype)
    x[1, 0, 0, :3] = torch.tensor([math.inf, -math.inf, 1.0]).to(dtype)
    weights = (noise(2, 5, 7, 6, seed=1) - 0.5).to(dtype)
    found, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    for leaf, layer in ((found, SignReLU()), (right, torch.nn.ReLU())):
        (layer(leaf * 1) * weights).sum().backward()
    assert torch.equal(SignReLU()(x.clone()), x.relu())
    assert torch.equal(found.grad, right.grad)
    assert found.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", HALF)
def test_a_plain_nan_stays_one(dtype):
    assert SignReLU()(torch.tensor([math.nan, -1.0], dtype=dtype)).isnan().tolist() == [True, False]


def test_it_stands_behind_a_convolution_whose_output_nothing_else_reads():
    encoder = prepare(Encoder(Architecture("toy", ((4, 4), (4,)))), device="cpu", precision="bfloat16")
    image = noise(1, 3, 16, 16)
    model = accelerate(
        build_model(encoder, image, image, content_layers=["conv1_2"], style_layers=["relu1_1", "relu2_1"])
    )
    kinds = {name: type(layer).__name__ for name, layer in model.named_children() if name.startswith("relu")}
    assert {name: kind for name, kind in kinds.items() if "style" not in name} == {
        "relu1_1": "SignReLU",
        "relu2_1": "SignReLU",
    }
    assert "relu1_2" not in kinds  # it comes behind the maximum pooling


def test_the_values_that_a_loss_reads_before_a_relu_are_the_convolutions_own():
    encoder = Encoder(Architecture("toy", ((4,), (4,)), pool="avg"))
    image = noise(1, 3, 16, 16)
    for dtype in (torch.float32, torch.bfloat16):
        plain = build_model(
            encoder.to(dtype), image.to(dtype), None, content_layers=["conv2_1", "relu2_1"], style_layers=[]
        )
        quick = accelerate(plain)
        for model in (plain, quick):
            model(image.to(dtype).flip(-1))
        assert quick.content_losses["conv2_1"].loss == pytest.approx(
            plain.content_losses["conv2_1"].loss.item(), rel=1e-5
        )


@pytest.mark.parametrize("nan", [math.nan, -math.nan])
def test_a_nan_that_is_lost_on_the_way_through_the_network_still_ends_a_run(nan):
    encoder = prepare(Encoder(Architecture("toy", ((4,), (4,)), pool="avg")), device="cpu", precision="bfloat16")
    photo = noise(1, 3, 16, 16)
    model = accelerate(build_model(encoder, photo, photo, content_layers=["relu2_1"], style_layers=["relu1_1"]))
    image = photo.clone()
    image[0, 0, 3, 3] = nan
    with pytest.raises(ValueError, match="The loss is nan at the first evaluation"):
        Optimisation(model, image, tv_weight=0.0).step()
