"""Encoders: names, shapes and values, against torchvision and by hand."""

from __future__ import annotations

import pytest
import torch
from conftest import TOY, noise
from torch import nn

from nst_helpers import ImageError, LayerError, WeightsError, load_encoder, load_sample
from nst_helpers.encoders import HED, VGG19, Architecture, Encoder, Normalization, Pool, read_encoder_file

PAPER = "1_1 1_2 2_1 2_2 3_1 3_2 3_3 3_4 4_1 4_2 4_3 4_4 5_1 5_2 5_3 5_4"


def test_vgg19_has_the_papers_layer_names():
    assert VGG19.conv_names == tuple(f"conv{number}" for number in PAPER.split())
    assert VGG19.layer_names[:6] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert VGG19.layer_names[-1] == "pool5"
    assert len(VGG19.layer_names) == 37  # the length of torchvision's vgg19().features


def test_every_layer_equals_torchvisions_vgg19_on_the_same_weights():
    from nst_helpers.pretrained.torchvision import torchvision_or_error

    models = torchvision_or_error().models
    reference = models.vgg19(weights=None, init_weights=False).features.eval()
    encoder = Encoder(VGG19, seed=3)
    with torch.no_grad():
        convs = [m for m in reference if isinstance(m, nn.Conv2d)]
        for name, conv in zip(VGG19.conv_names, convs, strict=True):
            conv.weight.copy_(encoder.layers[name].weight)
            conv.bias.copy_(encoder.layers[name].bias)
        image = noise(1, 3, 64, 48)
        features = encoder(image, VGG19.layer_names)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (image - mean[:, None, None]) / std[:, None, None]
        for name, layer in zip(VGG19.layer_names, reference, strict=True):
            # torchvision's ReLU works in place, so its convolution's output has to be copied before.
            x = layer(x.clone())
            torch.testing.assert_close(features[name], x, rtol=1e-5, atol=1e-5)


def test_convolution_outputs_survive_the_relu(toy):
    """In place, the ReLU would rewrite conv1_1: its minimum would be 0 and it would equal relu1_1."""
    features = toy(noise(1, 3, 16, 16), ["conv1_1", "relu1_1"])
    assert features["conv1_1"].min() < 0
    torch.testing.assert_close(features["relu1_1"], features["conv1_1"].clamp_min(0))


def test_frozen_and_in_eval_mode(toy):
    assert not toy.training
    assert not any(p.requires_grad for p in toy.parameters())
    image = noise(1, 3, 16, 16).requires_grad_()
    toy(image, ["relu3_1"])["relu3_1"].sum().backward()
    assert image.grad.abs().sum() > 0


def test_stops_after_the_deepest_layer_asked_for(toy):
    ran = []
    for name, layer in toy.layers.items():
        layer.register_forward_hook(lambda *_, name=name: ran.append(name))
    toy(noise(1, 3, 16, 16), ["relu1_1", "conv2_1"])
    assert ran[-1] == "conv2_1"
    ran.clear()
    assert toy(noise(1, 3, 16, 16), []) == {}
    assert ran == []


def test_features_come_in_the_order_asked_for(toy):
    assert list(toy(noise(1, 3, 16, 16), ["relu2_1", "conv1_1"])) == ["relu2_1", "conv1_1"]


def test_unknown_layer_lists_those_there_are(toy):
    with pytest.raises(LayerError, match=r"'conv_4'.*choose among conv1_1, relu1_1.*relu3_1"):
        toy(noise(1, 3, 16, 16), ["conv_4"])


@pytest.mark.parametrize(("layer", "need"), [("relu1_2", 1), ("pool1", 2), ("conv2_1", 2), ("relu3_1", 4)])
def test_smallest_image_for_a_layer(toy, layer, need):
    assert toy(noise(1, 3, need, need + 3), [layer])[layer].numel() > 0
    if need > 1:
        with pytest.raises(ImageError, match=rf"{layer} needs at least {need} x {need}"):
            toy(noise(1, 3, need - 1, 64), [layer])


@pytest.mark.parametrize("bad", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), "photo.jpg"])
def test_refuses_what_is_no_image(toy, bad):
    with pytest.raises(ImageError, match=r"\(B, 3, H, W\)"):
        toy(bad, ["relu1_1"])


def test_pooling_by_hand():
    x = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [3.0, 6.0, 0.0, 4.0]]]])
    assert Pool("max")(x).flatten().tolist() == [6.0, 4.0]
    assert Pool("avg", scale=2.0)(x).flatten().tolist() == [6.0, 2.0]
    with pytest.raises(LayerError, match="pool='max' or pool='avg'"):
        Encoder(TOY, pool="median")


def test_average_pooling_keeps_the_mean_magnitude_of_max_pooling():
    """On a photo, the scaled average of a trained network's activations is as large as their maximum, to a quarter."""
    photo, mini = load_sample("temple", size=192), load_encoder("mini")
    for block, features in enumerate(mini(photo, ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]).values(), 1):
        ratio = Pool("max")(features).mean() / Pool("avg", scale=mini.architecture.pool_scale)(features).mean()
        assert 0.75 < ratio < 1.25, block


def test_normalization_by_hand():
    image = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1)
    out = Normalization((0.5, 0.5, 0.5), (0.25, 0.5, 0.125))(image)
    assert out.flatten().tolist() == [0.0, -0.5, 4.0]


def test_hed_convention_is_bgr_bytes_minus_the_caffe_mean():
    """Flipping the first filters and normalising RGB equals feeding BGR * 255 minus the mean."""
    spec = Architecture("small", ((5,),), mean=HED.mean, std=HED.std, final_pool=False)
    weight, bias = noise(5, 3, 3, 3, seed=1), noise(5, seed=2)
    encoder = Encoder(spec, weights={"conv1_1.weight": weight.flip(1), "conv1_1.bias": bias})
    image = noise(1, 3, 6, 7)
    caffe = image.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    expected = nn.functional.conv2d(caffe, weight, bias, padding=1)
    torch.testing.assert_close(encoder(image, ["conv1_1"])["conv1_1"], expected, rtol=1e-4, atol=1e-3)


def test_a_seed_gives_the_same_random_network_and_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    a, b, c = Encoder(TOY, seed=5), Encoder(TOY, seed=5), Encoder(TOY, seed=6)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(a.layers["conv2_1"].weight, b.layers["conv2_1"].weight)
    assert not torch.equal(a.layers["conv2_1"].weight, c.layers["conv2_1"].weight)


def test_rescaling_the_layers_leaves_the_network_as_it_was():
    """Divide a layer by s, multiply the next layer's filters by s: ReLU and pooling pass positive factors on."""
    encoder = Encoder(TOY, seed=2).double()
    image = noise(1, 3, 16, 16, dtype=torch.float64)
    before = encoder(image, ["relu2_1", "relu3_1"])
    encoder.layers["conv2_1"].weight.data /= 7
    encoder.layers["conv2_1"].bias.data /= 7
    encoder.layers["conv3_1"].weight.data *= 7
    after = encoder(image, ["relu2_1", "relu3_1"])
    torch.testing.assert_close(after["relu2_1"] * 7, before["relu2_1"])
    torch.testing.assert_close(after["relu3_1"], before["relu3_1"], rtol=1e-12, atol=1e-14)


def test_wrong_or_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"lack 'conv1_1.weight'"):
        Encoder(TOY, weights={})
    weights = {k: v for k, v in Encoder(TOY).layers.state_dict().items()} | {"conv2_1.weight": torch.zeros(3, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"conv2_1.weight has the shape \(3, 3, 3, 3\).*another network"):
        Encoder(TOY, weights=weights)
    with pytest.raises(WeightsError, match="'vgg16'.*'mini', 'vgg19', 'hed'"):
        load_encoder("vgg16")
    with pytest.raises(WeightsError, match="there is no file .*none.safetensors"):
        load_encoder(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(WeightsError, match="not an encoder file"):
        read_encoder_file(tmp_path / "bad.safetensors")
