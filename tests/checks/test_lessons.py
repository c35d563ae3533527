"""The lessons' own functions, against files, the encoder, brute force and the package's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_helpers import ContentLoss, Normalization, StyleLoss, gram_matrix, load_image, save_image
from nst_helpers.checks import lessons
from nst_helpers.encoders import VGG19, Architecture, Encoder

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@given(SIZES, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_arrays_survive_the_way_there_and_back(size, seed):
    array = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = lessons.to_tensor(array)
    assert (image.shape, image.dtype) == ((1, 3, *size), torch.float32)
    np.testing.assert_array_equal(lessons.to_array(image), array)


def test_every_byte_survives():
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(lessons.to_array(lessons.to_tensor(array)), array)


def test_arrays_are_those_of_the_files(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "picture.png")
    torch.testing.assert_close(lessons.to_tensor(array), load_image(tmp_path / "picture.png"))
    image = noise(1, 3, 6, 9)
    save_image(image, tmp_path / "saved.png")
    np.testing.assert_array_equal(lessons.to_array(image), np.asarray(Image.open(tmp_path / "saved.png")))


def test_to_array_clamps_rounds_and_takes_images_that_carry_gradients():
    image = torch.tensor([-0.3, 1.7, 100.6 / 255]).view(1, 3, 1, 1).requires_grad_()
    assert lessons.to_array(image).tolist() == [[[0, 255, 101]]]


def test_to_tensor_does_not_share_the_arrays_memory():
    array = np.zeros((2, 2, 3), dtype=np.uint8)
    image = lessons.to_tensor(array)
    array += 9
    assert not image.any()


def test_normalisation_is_the_encoders_and_has_an_exact_inverse():
    image = noise(2, 3, 4, 5, dtype=torch.float64) * 3 - 1
    encoders = Normalization(VGG19.mean, VGG19.std).double()
    torch.testing.assert_close(lessons.normalize(image), encoders(image), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(lessons.denormalize(lessons.normalize(image)), image)


def footprint(encoder: Encoder, layer: str) -> int:
    """How many columns of pixels have a gradient from one position in the middle of a layer."""
    image = torch.ones(1, 3, 96, 96, requires_grad=True)
    features = encoder(image, [layer])[layer]
    middle = features.shape[-1] // 2
    features[0, 0, middle, middle].backward()
    columns = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(columns.max() - columns.min() + 1)


@pytest.mark.parametrize("layer", ["conv1_1", "relu1_2", "pool1", "conv2_1", "pool2", "conv3_2", "relu3_2", "pool3"])
def test_receptive_field_is_what_the_gradient_reaches(layer):
    spec = Architecture("ones", ((1, 1), (1,), (1, 1)))
    ones = {f"{n}.weight": torch.ones(1, 3 if n == "conv1_1" else 1, 3, 3) for n in spec.conv_names}
    encoder = Encoder(spec, weights=ones | {f"{n}.bias": torch.ones(1) for n in spec.conv_names}, pool="avg")
    encoder.normalize = torch.nn.Identity()
    names = spec.layer_names[: spec.layer_names.index(layer) + 1]
    assert lessons.receptive_field(names) == footprint(encoder, layer)


def test_receptive_fields_of_vgg19_as_published():
    names = VGG19.layer_names
    known = {"conv1_2": 5, "conv2_2": 14, "conv3_4": 48, "conv4_2": 84, "conv4_4": 116, "conv5_4": 252, "pool5": 268}
    assert {n: lessons.receptive_field(names[: names.index(n) + 1]) for n in known} == known
    assert lessons.receptive_field([]) == 1


def test_layers_agree_with_the_packages_own_in_loss_and_gradient():
    target = noise(1, 4, 7, 3, seed=1)
    pairs = [
        (lessons.ContentLossLayer(target), ContentLoss(target)),
        (lessons.StyleLossLayer(target), StyleLoss(gram_matrix(target))),
    ]
    for plain, own in pairs:
        found = []
        for layer in (plain, own):
            x = noise(1, 4, 7, 3).requires_grad_()
            assert layer(x) is x
            layer.loss.backward()
            found.append((layer.loss.detach(), x.grad))
        torch.testing.assert_close(*found)


def test_the_style_layer_takes_a_style_of_another_size():
    layer = lessons.StyleLossLayer(noise(1, 4, 9, 2, seed=1))
    layer(noise(1, 4, 5, 6))
    assert layer.loss > 0


def test_total_loss_does_not_grow_with_the_number_of_layers():
    content, style = torch.tensor(2.0), torch.tensor(3.0)
    assert {lessons.total_loss(content, [style] * n, 0.5, 10.0).item() for n in (1, 2, 5)} == {31.0}


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.LBFGS])
def test_a_closure_drives_either_optimiser_to_the_goal(kind):
    goal, image = noise(1, 3, 4, 5, seed=1) * 3 - 1, torch.zeros(1, 3, 4, 5, requires_grad=True)
    optimizer = kind([image], lr=0.1)
    closure = lessons.make_closure(optimizer, image, lambda x: (x - goal).square().mean())
    for _ in range(100):
        loss = optimizer.step(closure)
    assert loss < 1e-3
    # The goal lies outside [0, 1] in places: nothing was clamped on the way.
    assert image.min() < -0.3
    assert image.max() > 1.3
