"""Encoders: names, shapes and values, against torchvision and by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import TOY, examples, noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from nst_helpers import ImageError, LayerError, WeightsError, load_encoder, load_sample, prepare
from nst_helpers.encoders import HED, VGG19, Architecture, Encoder, Normalization, Pool, read_encoder_file
from nst_helpers.pretrained.encoder_files import describe

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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.float64])
def test_refuses_an_image_of_another_type(toy, dtype):
    with pytest.raises(
        ImageError, match=rf"of {dtype} on cpu, and the encoder takes torch.float32 on cpu: use image\."
    ):
        toy(torch.ones(1, 3, 8, 8).to(dtype), ["relu1_1"])


def test_refuses_an_image_on_another_device(toy):
    with pytest.raises(ImageError, match="on meta, and the encoder takes torch.float32 on cpu"):
        toy(torch.ones(1, 3, 8, 8, device="meta"), ["relu1_1"])


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


# Encoder files that no network can be built from


def described(**changes) -> dict:
    fields = {"name": "toy", "blocks": [[4], [6]], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "pool": "max"}
    return fields | {"pool_scale": 1.5, "closes": False} | changes


def encoder_file(folder: Path, spec: object, **tensors: torch.Tensor) -> Path:
    network = Encoder(Architecture("toy", ((4,), (6,)), final_pool=False), seed=1)
    weights = {key: value.clone() for key, value in network.layers.state_dict().items()} | tensors
    text = spec if isinstance(spec, str) else json.dumps(spec)
    save_file(weights, folder / "toy.safetensors", metadata={"spec": text})
    return folder / "toy.safetensors"


def test_a_sound_encoder_file_is_read(tmp_path):
    encoder = load_encoder(encoder_file(tmp_path, described()))
    assert encoder.architecture == Architecture(
        "toy", ((4,), (6,)), (0.5,) * 3, (0.2,) * 3, pool_scale=1.5, final_pool=False
    )
    shouted = encoder_file(tmp_path, described()).rename(tmp_path / "TOY.SAFETENSORS")
    assert load_encoder(shouted).architecture == encoder.architecture
    assert hash(encoder.architecture)
    assert json.loads(describe(dataclasses.asdict(encoder.architecture))) == described()


def sentence(error: WeightsError) -> None:
    text = str(error)
    assert text.isprintable()
    assert text.endswith(".")
    assert len(text) < 500


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))


@settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([*described(), "extra"]), value=JSON)
def test_an_odd_description_gives_a_network_or_one_sentence(tmp_path, key, value):
    file = encoder_file(tmp_path, described(**{key: value}))
    try:
        features = load_encoder(file)(noise(1, 3, 8, 8), ["conv2_1"])["conv2_1"]
    except WeightsError as error:
        sentence(error)
    else:
        assert features.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"std": [0.2, 0, 0.2]}, "std can't be"),
        ({"std": [0.2, 1e-30, 0.2]}, "std can't be"),
        ({"std": [0.2, float("nan"), 0.2]}, "std can't be"),
        ({"mean": [0.5, float("inf"), 0.5]}, "mean can't be"),
        ({"mean": [0.5, 0.5]}, "mean can't be"),
        ({"blocks": []}, "blocks can't be"),
        ({"blocks": [[4], []]}, "blocks can't be"),
        ({"blocks": [[4], [10**9]]}, "blocks can't be"),
        ({"blocks": [[4], [6.0]]}, "blocks can't be"),
        ({"blocks": [[4]] * 100_000}, "holds 4 tensors"),
        ({"blocks": [[4], [7]]}, "another network"),
        ({"pool": "median"}, "pool can't be"),
        ({"pool_scale": 0}, "pool_scale can't be"),
        ({"closes": "yes"}, "final_pool can't be"),
        ({"name": ""}, "name can't be"),
        ({"widths": 3}, "unknown field 'widths'"),
    ],
)
def test_what_no_network_can_be_built_from_is_named(tmp_path, changes, told):
    with pytest.raises(WeightsError, match=told):
        load_encoder(encoder_file(tmp_path, described(**changes)))


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{", "[" * 100_000, '{"name": "toy"}', '{"blocks": [[4]]}'])
def test_a_description_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(WeightsError, match="is not an encoder file"):
        load_encoder(encoder_file(tmp_path, text))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    bias = torch.zeros(6)
    bias[3] = value
    with pytest.raises(WeightsError, match=r"conv2_1.bias has values that are infinite or not a number"):
        load_encoder(encoder_file(tmp_path, described(), **{"conv2_1.bias": bias}))


def test_weights_that_overflow_are_refused(tmp_path):
    huge = {"conv1_1.weight": torch.full((4, 3, 3, 3), 1e30), "conv2_1.weight": torch.full((6, 4, 3, 3), 1e30)}
    with pytest.raises(WeightsError, match="overflows at conv2_1"):
        load_encoder(encoder_file(tmp_path, described(), **huge))
    with pytest.raises(WeightsError, match="isn't made of floating point numbers"):
        load_encoder(encoder_file(tmp_path, described(), **{"conv1_1.bias": torch.zeros(4, dtype=torch.int64)}))


@pytest.mark.parametrize("name", ["x" * 300, "y" * 5000, "z/" * 3000, "a\0b"])
def test_odd_names_of_encoders_get_one_sentence(tmp_path, name):
    for asked in (name, f"{name}.safetensors", tmp_path / f"{name}.safetensors"):
        with pytest.raises(WeightsError) as caught:
            load_encoder(asked)
        sentence(caught.value)


def test_an_encoder_file_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    encoder_file(tmp_path, described())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_encoder("~/toy.safetensors").architecture.name == "toy"
    (tmp_path / "folder.safetensors").mkdir()
    for asked in ("~/none.safetensors", "~/folder.safetensors", "~nobody-of-this-name/a.safetensors", None, 3, [], ""):
        with pytest.raises(WeightsError):
            load_encoder(asked)


# Where images go


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_told_in_a_sentence(device):
    with pytest.raises(WeightsError, match=rf"The device '{device}' can't be used here: use 'cpu'"):
        load_encoder("mini", device=device)


@pytest.mark.parametrize("wrong", ["mini", None, nn.Linear(2, 2)])
def test_what_is_no_encoder_is_not_prepared(wrong):
    with pytest.raises(WeightsError, match="can't be prepared, expected an encoder: load_encoder gives one"):
        prepare(wrong)


def test_an_encoder_says_where_images_go(toy):
    assert toy.device == torch.device("cpu")
    assert toy.dtype == torch.float32
    double = Encoder(TOY, seed=1).double()
    assert double.dtype == torch.float64
    image = noise(1, 3, 8, 8).to(double.device, double.dtype)
    assert double(image, ["conv2_1"])["conv2_1"].dtype == torch.float64
    assert Encoder(TOY).to("meta").device.type == "meta"


@pytest.mark.parametrize("surrounding", ["float64", "meta"])
def test_a_seed_and_a_file_give_the_same_network_in_any_surroundings(surrounding):
    photo, seeded, mini = load_sample("temple", size=64), Encoder(TOY, seed=4), load_encoder("mini")
    try:
        torch.set_default_dtype(torch.float64 if surrounding == "float64" else torch.float32)
        torch.set_default_device("meta" if surrounding == "meta" else None)
        others = load_sample("temple", size=64), Encoder(TOY, seed=4), load_encoder("mini")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(others[0], photo)
    for one, other in zip((seeded, mini), others[1:], strict=True):
        assert other.dtype == torch.float32
        for key, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)
