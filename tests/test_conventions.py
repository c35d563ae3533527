"""Published settings against the systems' own losses, written out, and the converter against gradient directions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from conftest import noise
from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss

from nst_helpers import gram_matrix, style_loss
from nst_helpers.conventions import PUBLISHED, SCALE_255, convert_style_weight
from nst_helpers.encoders import HED, VGG19


def gram(x: Tensor, divisor: float) -> Tensor:
    rows = x.flatten(2)[0]
    return rows @ rows.T / divisor


# One layer's style loss in each system, for features as that system has them; the content loss is the mean in all.
LOSSES = {
    "pytorch_tutorial": lambda x, s: mse_loss(gram(x, x.numel()), gram(s, s.numel())),
    "gatys_notebook": lambda x, s: mse_loss(gram(x, x[0, 0].numel()), gram(s, s[0, 0].numel())) / x.shape[1] ** 2,
    "gordicaleksa": lambda x, s: mse_loss(gram(x, x[0].numel()), gram(s, s[0].numel()), reduction="sum"),
    "neural_style_pt": lambda x, s: mse_loss(gram(x, x.numel()), gram(s, s.numel())),
    "d2l": lambda x, s: (gram(x, x.numel()) - gram(s, s.numel())).square().mean(),
}
# Whether the network is fed ImageNet-normalised values or 0-255 minus the mean.
LARGE = {"gatys_notebook", "gordicaleksa", "neural_style_pt"}


def features(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((1, channels, 5, 7), (1, channels, 5, 7), (1, channels, 4, 6))
    return tuple(noise(*shape, seed=i, dtype=torch.float64) - 0.3 for i, shape in enumerate(shapes))


def direction(name: str, style_weight: float, channels: int) -> Tensor:
    """The gradient of content + style_weight * style in a system, with respect to the same features."""
    scale = SCALE_255 if name in LARGE else 1.0
    x, p, s = features(channels)
    x.requires_grad_()
    total = mse_loss(x * scale, p * scale) + style_weight * LOSSES[name](x * scale, s * scale)
    return torch.autograd.grad(total, x)[0].flatten()


def balanced(name: str, channels: int) -> float:
    """A style weight with which both losses pull alike, so that a wrong one would turn the gradient."""
    content = direction(name, 0.0, channels)
    return float(content.norm() / (direction(name, 1.0, channels) - content).norm())


@pytest.mark.parametrize("channels", [3, 8, 20])
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(PUBLISHED, 2)))
def test_converted_weights_give_gradients_of_the_same_direction(source, target, channels):
    weight = balanced(source, channels)
    there = convert_style_weight(weight, source, target, channels)
    a, b = direction(source, weight, channels), direction(target, there, channels)
    assert cosine_similarity(a, b, dim=0).item() == pytest.approx(1, abs=1e-12)
    # The test could fail: a tenth more turns the gradient visibly.
    off = direction(target, there * 1.1, channels)
    assert cosine_similarity(a, off, dim=0) < 1 - 1e-6


@pytest.mark.parametrize("name", PUBLISHED)
def test_style_factor_is_the_systems_loss_over_the_distance_of_grams(name):
    x, _, s = features(6)
    scale = SCALE_255 if name in LARGE else 1.0
    distance = (gram_matrix(x) - gram_matrix(s)).square().sum()
    ratio = LOSSES[name](x * scale, s * scale) / distance
    assert PUBLISHED[name].style_factor(6) == pytest.approx(ratio.item(), rel=1e-12)


def test_the_tutorials_loss_is_the_packages_convention_of_that_name():
    x, _, s = features(6)
    own = style_loss(gram_matrix(x), gram_matrix(s), convention="pytorch")
    torch.testing.assert_close(LOSSES["pytorch_tutorial"](x, s), own)


def test_there_and_back_and_by_way_of_a_third():
    for a, b, c in itertools.permutations(PUBLISHED, 3):
        there = convert_style_weight(7.0, a, b, 64)
        assert convert_style_weight(there, b, a, 64) == pytest.approx(7.0)
        assert convert_style_weight(there, b, c, 64) == pytest.approx(convert_style_weight(7.0, a, c, 64))
    assert convert_style_weight(7.0, "d2l", "d2l", 64) == 7.0
    assert convert_style_weight(7.0, PUBLISHED["d2l"], "gordicaleksa", 64) == convert_style_weight(
        7.0, "d2l", "gordicaleksa", 64
    )


def test_1e6_and_1e3_are_nearly_the_same_recipe():
    """With one network in both, Gatys' 1e3 is 3.3e6 in the tutorial's units, for any width of the layer."""
    converted = {convert_style_weight(1e3, "gatys_notebook", "pytorch_tutorial", c) for c in (64, 128, 256, 512)}
    assert max(converted) == pytest.approx(min(converted))
    assert 1 < min(converted) / 1e6 < 10


def test_published_ratios_span_orders_of_magnitude_and_agree_better_once_converted():
    plain = [setting.ratio for setting in PUBLISHED.values()]
    converted = [convert_style_weight(s.ratio, s, "pytorch_tutorial", 64) for s in PUBLISHED.values()]

    def spread(values: list[float]) -> float:
        return math.log10(max(values) / min(values))

    assert spread(plain) > 6
    assert spread(converted) < 3


def test_settings_are_complete():
    assert len(PUBLISHED) >= 4
    for setting in PUBLISHED.values():
        assert setting.gram_divisor in ("HW", "CHW")
        assert setting.reduction in ("mean", "sum")
        assert setting.layer_weight in ("1", "1/C^2")
        assert setting.layers in ("mean", "sum")
        assert "/" in setting.source


def test_the_scale_of_0_255_inputs_is_that_of_the_encoders_normalisations():
    assert sum(VGG19.std) / sum(HED.std) == pytest.approx(SCALE_255)


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match="no published setting 'tutorial': use one of pytorch_tutorial, "):
        convert_style_weight(1.0, "tutorial", "d2l", 64)
    with pytest.raises(ValueError, match="'relative'.*own norms"):
        convert_style_weight(1.0, "d2l", "relative", 64)
