"""The model with loss layers: the same numbers as encoder and functions, trimmed, and without side effects."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import TOY, noise, picture
from torch import nn

from nst_helpers import (
    CONVENTIONS,
    ImageError,
    LayerError,
    WeightsError,
    build_model,
    content_loss,
    get_convention,
    gram_matrix,
    style_loss,
    style_targets,
    total_variation,
)
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.encoders import Encoder
from nst_helpers.regions import layer_masks

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "conv1_2", "relu3_1"]}


def stateless(encoder, content, style, image, *, convention, weights, layer_weights):
    """The same loss from features and functions alone."""
    convention = get_convention(convention)
    names = [*LAYERS["content_layers"], *LAYERS["style_layers"]]
    with torch.no_grad():
        p, s = encoder(content, LAYERS["content_layers"]), encoder(style, LAYERS["style_layers"])
    f = encoder(image, names)
    each = [style_loss(gram_matrix(f[n]), gram_matrix(s[n]), convention=convention) for n in LAYERS["style_layers"]]
    styles = convention.combine(each, [layer_weights.get(n, 1.0) for n in LAYERS["style_layers"]])
    contents = content_loss(f["relu2_1"], p["relu2_1"], convention=convention)
    return weights[0] * contents + weights[1] * styles + weights[2] * total_variation(image, kind="l2")


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_layers_and_functions_give_the_same_loss_and_gradient(toy, convention):
    toy, weights, layer_weights = toy.double(), (2.0, 30.0, 0.5), {"conv1_2": 0.25, "relu3_1": 3.0}
    content, style, image = (x.double() for x in (picture(24, 28), picture(20, 36, 1), noise(1, 3, 24, 28)))
    model = build_model(toy, content, style, **LAYERS, convention=convention, layer_weights=layer_weights)
    a, b = image.clone().requires_grad_(), image.clone().requires_grad_()
    model(a)
    one = model.total_loss(content_weight=weights[0], style_weight=weights[1], tv_weight=weights[2])
    two = stateless(toy, content, style, b, convention=convention, weights=weights, layer_weights=layer_weights)
    one.backward()
    two.backward()
    torch.testing.assert_close(one, two, rtol=1e-6, atol=0)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-12)


def test_content_and_style_at_their_own_pictures_are_zero(toy):
    content, style = picture(24, 28), picture(24, 28, 1)
    model = build_model(toy, content, style, **LAYERS)
    model(content)
    assert model.content_loss().item() == 0
    model(style)
    assert model.style_loss().item() == pytest.approx(0, abs=1e-10)


def test_trimmed_after_the_last_loss_and_built_in_order(toy):
    model = build_model(toy, picture(), picture(), content_layers=["relu1_2"], style_layers=["conv1_1", "relu2_1"])
    assert [n for n, _ in model.named_children()] == [
        *("tv", "normalize", "conv1_1", "conv1_1_style", "relu1_1", "conv1_2", "relu1_2", "relu1_2_content"),
        *("pool1", "conv2_1", "relu2_1", "relu2_1_style"),
    ]
    assert isinstance(model, nn.Sequential)


def test_the_encoder_is_left_as_it_was(toy):
    before, layers = copy.deepcopy(toy.state_dict()), dict(toy.layers)
    model = build_model(toy, picture(), picture(), **LAYERS)
    build_model(toy, picture(), picture(), **LAYERS)
    model.double()
    image = noise(1, 3, 32, 40).double().requires_grad_()
    model(image)
    model.total_loss().backward()
    assert {k: v.dtype for k, v in toy.state_dict().items()} == {k: v.dtype for k, v in before.items()}
    assert all(torch.equal(v, before[k]) for k, v in toy.state_dict().items())
    assert dict(toy.layers) == layers
    assert all(p.grad is None for p in toy.parameters())


def test_targets_are_computed_once_without_a_graph_in_one_pass_each(toy):
    passes = []
    toy.layers["conv1_1"].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    model = build_model(toy, picture().requires_grad_(), picture().requires_grad_(), **LAYERS)
    assert passes == [False, False]
    for layer in (*model.content_losses.values(), *model.style_losses.values()):
        assert not layer.target.requires_grad
    passes.clear()
    model(picture(seed=2))
    assert passes in ([], [True])  # the copy may carry the hook along, but no target is computed again


def test_no_gradient_reaches_the_weights(toy):
    model = build_model(toy, picture(), picture(seed=1), **LAYERS)
    image = picture(seed=2).requires_grad_()
    model(image)
    model.total_loss().backward()
    assert image.grad.abs().sum() > 0
    assert all(not p.requires_grad for p in model.parameters())


def test_style_pictures_of_any_size_and_shape(toy):
    model = build_model(toy, picture(24, 28), picture(61, 17, 1), **LAYERS)
    model(picture(24, 28))
    assert model.style_loss().item() > 0


def test_mixed_styles_have_the_gradient_of_the_mean_of_their_losses(toy):
    toy, (a, b) = toy.double(), (picture(seed=1).double(), picture(20, 36, 2).double())
    mixed = style_targets(toy, [a, b], ["relu1_1"], mix=[3, 1])["relu1_1"]
    singles = [style_targets(toy, s, ["relu1_1"])["relu1_1"] for s in (a, b)]
    x, y = (noise(1, 3, 16, 16).double().requires_grad_() for _ in range(2))
    style_loss(gram_matrix(toy(x, ["relu1_1"])["relu1_1"]), mixed, convention="gatys").backward()
    g = gram_matrix(toy(y, ["relu1_1"])["relu1_1"])
    parts = [style_loss(g, t, convention="gatys") for t in singles]
    (0.75 * parts[0] + 0.25 * parts[1]).backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("mix", [[1.0], [1, -1], [0, 0]])
def test_a_mix_that_makes_no_sense_is_refused(toy, mix):
    with pytest.raises(ValueError, match="2 style pictures.*one weight"):
        style_targets(toy, [picture(), picture()], ["relu1_1"], mix=mix)


def test_halves_content_reconstruction_and_texture_synthesis(toy):
    content_only = build_model(toy, picture(), None, content_layers=["relu2_1"], style_layers=[])
    style_only = build_model(toy, None, picture(), content_layers=[], style_layers=["relu1_1"])
    for model in (content_only, style_only):
        model(picture(seed=5))
        assert model.total_loss().item() > 0
    assert style_only.content_loss().item() == 0
    with pytest.raises(LayerError, match="no content and no style layers"):
        build_model(toy, picture(), picture(), content_layers=[], style_layers=[])


def test_a_layer_with_weight_zero_does_not_count(toy):
    model = build_model(toy, picture(), picture(seed=1), **LAYERS, layer_weights={"conv1_2": 0, "relu3_1": 0})
    model(picture(seed=2))
    torch.testing.assert_close(model.style_loss(), model.style_losses["relu1_1"].loss)


def test_clear_sentences_for_wrong_layers_sizes_and_order(toy):
    with pytest.raises(LayerError, match="weights name conv3_1.*use only"):
        build_model(toy, picture(), picture(), **LAYERS, layer_weights={"conv3_1": 2.0})
    with pytest.raises(LayerError, match="'relu9_1'"):
        build_model(toy, picture(), picture(), content_layers=["relu9_1"])
    with pytest.raises(ImageError, match="3 x 3 pixels.*relu3_1 needs at least 4 x 4"):
        build_model(toy, picture(), noise(1, 3, 3, 3), **LAYERS)
    with pytest.raises(LayerError, match="call model"):
        build_model(toy, picture(), picture(), **LAYERS).total_loss()
    with pytest.raises(ValueError, match="like with like"):
        build_model(toy, picture(), picture(), **LAYERS)(picture(16, 16))


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_pooling_before_relu_changes_neither_the_features_nor_the_gradient(pool):
    """The oracle is the sequence in its written order. Its zeros are ties, which ReLU gives no gradient to."""
    encoder = Encoder(TOY, seed=1, pool=pool)
    model = build_model(encoder, picture(), picture(seed=1), content_layers=["relu3_1"], style_layers=["relu1_1"])
    one, two = (picture(seed=2).requires_grad_() for _ in range(2))
    quick, written = model(one), nn.Sequential.forward(model, two)
    assert torch.equal(quick, written)
    weights = noise(*quick.shape)
    quick.backward(weights)
    written.backward(weights)
    assert torch.equal(one.grad, two.grad)
    names = [name for name, _ in model.named_children()]
    assert names.index("relu1_2") < names.index("pool1")


def test_a_loss_between_relu_and_pooling_sees_what_relu_gives():
    encoder = Encoder(TOY, seed=1)
    model = build_model(encoder, picture(), picture(seed=1), content_layers=["relu1_2"], style_layers=["relu3_1"])
    model(picture())
    assert model.content_losses["relu1_2"].loss.item() == 0


def moments(features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Each channel's mean and mean square, (B, 2, C): a statistic beside the Gram matrix."""
    weights = torch.ones_like(features[:1, :1]) if mask is None else mask
    both = torch.stack([features, features.square()], 1)
    return (both * weights).sum((3, 4)) / weights.sum()


@pytest.mark.parametrize("regions", [False, True])
def test_another_statistic_goes_through_the_model_its_regions_and_its_twin(toy, regions):
    style, image, names = picture(24, 40, 1), picture(seed=2), ["relu1_1", "relu3_1"]
    half = torch.zeros(1, 1, 32, 40)
    half[..., :20] = 1
    given = {"style_layers": names, "content_layers": [], "statistic": moments}
    model = build_model(toy, picture(), style, **given, masks=[half] if regions else None)
    quick = accelerate(model)
    model(image)
    quick(image)
    features, cuts = toy(image, names), layer_masks(toy, half, names) if regions else {}
    for name, of_style in toy(style, names).items():
        expected = style_loss(moments(features[name], cuts.get(name)), moments(of_style)) * (0.5 if regions else 1)
        torch.testing.assert_close(model.style_losses[name].loss, expected)
        torch.testing.assert_close(quick.style_losses[name].loss, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_an_image_of_another_type_is_told_in_a_sentence(toy, dtype):
    model = build_model(toy, picture(), picture(), content_layers=["relu2_1"], style_layers=["relu1_1"])
    with pytest.raises(ImageError, match=f"of {dtype} on cpu, and the encoder takes torch.float32 on cpu"):
        model(picture().to(dtype))


@pytest.mark.parametrize("wrong", ["mini", None, torch.zeros(1)])
def test_what_is_no_encoder_is_told_in_a_sentence(wrong):
    with pytest.raises(WeightsError, match="expected an encoder: load_encoder gives one"):
        build_model(wrong, picture(), picture())


@pytest.mark.parametrize("wrong", ["fine", [1.0], 5])
def test_weights_of_layers_are_a_mapping(toy, wrong):
    with pytest.raises(LayerError, match="expected weights, as"):
        build_model(toy, picture(), picture(), layer_weights=wrong)
