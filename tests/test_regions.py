"""Regions in the losses: a Gram matrix over a mask, masks at each layer, and models that hold them."""

from __future__ import annotations

import pytest
import torch
from conftest import TOY, noise, picture
from hypothesis import given, settings
from hypothesis import strategies as st

import nst_helpers as nst
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.accel.gram import fused_gram
from nst_helpers.encoders import Encoder
from nst_helpers.errors import MaskError
from nst_helpers.losses import gram_matrix, style_loss
from nst_helpers.model import build_model
from nst_helpers.regions import MappedContentLoss, RegionStyleLoss, layer_masks, region_shares, stacked

LAYERS = {"content_layers": ["relu3_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
GRAMS = pytest.mark.parametrize("gram", [gram_matrix, fused_gram])


def left_and_right(height: int = 32, width: int = 40) -> list[torch.Tensor]:
    left = torch.zeros(1, 1, height, width)
    left[..., : width // 2] = 1
    return [left, 1 - left]


def toy() -> Encoder:
    return Encoder(TOY, seed=1)


@GRAMS
@given(st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_masked_gram_is_the_weighted_mean_over_positions(gram, shape, seed):
    features = noise(*shape, seed=seed, dtype=torch.float64)
    mask = noise(1, 1, *shape[2:], seed=seed + 1, dtype=torch.float64) + 0.01
    expected = torch.zeros(shape[0], shape[1], shape[1], dtype=torch.float64)
    for y in range(shape[2]):
        for x in range(shape[3]):
            column = features[:, :, y, x]
            expected += mask[0, 0, y, x] * column[:, :, None] * column[:, None]
    torch.testing.assert_close(gram(features, mask), expected / mask.sum())


@GRAMS
def test_a_mask_of_ones_is_no_mask_and_one_of_zeros_and_ones_a_cut(gram):
    features = noise(1, 5, 6, 8)
    torch.testing.assert_close(gram(features, torch.ones(1, 1, 6, 8)), gram_matrix(features), atol=1e-6, rtol=1e-6)
    cut = torch.zeros(1, 1, 6, 8)
    cut[..., 1:4, 2:7] = 1
    torch.testing.assert_close(gram(features, cut), gram_matrix(features[..., 1:4, 2:7]), atol=1e-6, rtol=1e-6)


@GRAMS
def test_the_gradient_of_a_masked_gram_is_right(gram):
    features = noise(1, 3, 2, 4, dtype=torch.float64).requires_grad_()
    mask = noise(1, 1, 2, 4, seed=3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: gram(f, mask), features)


def test_each_image_of_a_batch_may_have_its_own_mask():
    features, masks = noise(2, 3, 4, 5), noise(2, 1, 4, 5, seed=1)
    singles = [gram_matrix(f[None], m[None]) for f, m in zip(features, masks, strict=True)]
    torch.testing.assert_close(gram_matrix(features, masks), torch.cat(singles))


def test_in_half_precision_a_masked_gram_is_close_to_the_exact_one():
    """Both rounding of the features and of the mask's root: about a thousandth each."""
    features, mask = noise(1, 8, 40, 50, seed=1), noise(1, 1, 40, 50, seed=2)
    exact = gram_matrix(features, mask)
    for gram in (gram_matrix, fused_gram):
        torch.testing.assert_close(gram(features.bfloat16(), mask), exact, rtol=4e-3, atol=0)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"^The mask is \(1, 1, 4, 4\) .* bring the mask to \(1, 1, 2, 3\) first"):
        gram_matrix(noise(1, 2, 2, 3), torch.ones(1, 1, 4, 4))


def test_layer_masks_have_the_size_of_the_features_and_the_share_of_the_pixels():
    encoder, masks = toy(), noise(3, 1, 33, 46)
    features = encoder(picture(33, 46), LAYERS["style_layers"])
    for name, found in layer_masks(encoder, masks, LAYERS["style_layers"]).items():
        assert found.shape == (3, 1, *features[name].shape[2:])
        stride = 33 // found.shape[-2]
        h, w = (n * stride for n in found.shape[-2:])
        blocks = masks[..., :h, :w].unfold(2, stride, stride).unfold(3, stride, stride).mean((-1, -2))
        torch.testing.assert_close(found, blocks)


def test_overlap_is_shared_and_a_gap_stays_a_gap():
    a, b = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    b[..., :2] = 1
    both = stacked([a, b], (4, 4))
    assert both[:, 0, 0, 0].tolist() == [0.5, 0.5]
    assert both[:, 0, 0, 3].tolist() == [1.0, 0.0]
    assert stacked([b], (4, 4)).sum() == 8
    assert region_shares(both) == [0.75, 0.25]


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([torch.ones(1, 1, 32, 40)], "number of masks is 1, that of style pictures 2"),
        (
            [torch.ones(1, 1, 32, 40), torch.ones(1, 1, 32, 41)],
            r"Mask 2 is \(1, 1, 32, 41\), expected \(1, 1, 32",
        ),
        ([torch.ones(1, 1, 32, 40), torch.zeros(1, 1, 32, 40)], "Mask 2 is black all over"),
    ],
)
def test_masks_that_do_not_fit_get_one_sentence(masks, words):
    with pytest.raises(MaskError, match=words):
        build_model(toy(), picture(), [picture(), picture(seed=1)], masks=masks, **LAYERS)


def test_a_mask_that_a_pooling_leaves_out_is_refused():
    edge = torch.zeros(1, 1, 33, 40)
    edge[..., 32, :] = 1
    with pytest.raises(MaskError, match=r"^Mask 1 is empty at relu2_1, which has 20 x 16 positions"):
        build_model(toy(), picture(33, 40), picture(), masks=[edge], **LAYERS)


def both_gradients(one, other, image):
    found = []
    for model in (one, other):
        x = image.clone().requires_grad_()
        model(x)
        loss = model.total_loss()
        found.append((loss.detach(), *torch.autograd.grad(loss, x)))
    return found


@pytest.mark.parametrize("convention", ["relative", "gatys", "pytorch"])
def test_one_region_that_is_everything_is_no_region(convention):
    content, style, image = picture(), picture(seed=1), picture(seed=2)
    plain = build_model(toy(), content, style, convention=convention, **LAYERS)
    masked = build_model(toy(), content, style, masks=[torch.ones(1, 1, 32, 40)], convention=convention, **LAYERS)
    (a, da), (b, db) = both_gradients(plain, masked, image)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
    torch.testing.assert_close(da, db, rtol=1e-4, atol=1e-6 * da.abs().max().item())


def test_the_loss_of_regions_is_the_sum_over_what_each_cuts_out_by_its_area():
    """An oracle that cuts features out by hand, where masks are 0 or 1 at every layer."""
    content, styles, image = picture(32, 48), [picture(seed=1), picture(24, 24, seed=2)], picture(32, 48, seed=3)
    left = torch.zeros(1, 1, 32, 48)
    left[..., :16] = 1
    model = build_model(toy(), content, styles, masks=[left, 1 - left], **LAYERS)
    model(image)
    for name, features in toy()(image, LAYERS["style_layers"]).items():
        cut = features.shape[-1] // 3
        expected = 0.0
        for part, style, share in ((features[..., :cut], styles[0], 1 / 3), (features[..., cut:], styles[1], 2 / 3)):
            target = gram_matrix(toy()(style, [name])[name])
            expected += share * style_loss(gram_matrix(part), target).item()
        assert model.style_losses[name].loss.item() == pytest.approx(expected, rel=1e-5)


def test_every_position_is_pulled_as_hard_as_without_regions():
    """The same style in two regions of unlike size, on a picture that looks alike everywhere."""
    tile = picture(16, 16, seed=4)
    image, style = tile.repeat(1, 1, 2, 4), picture(seed=1)
    left = torch.zeros(1, 1, 32, 64)
    left[..., :16] = 1
    options = {"content_layers": [], "style_layers": ["relu1_1"]}
    plain = build_model(toy(), image, style, **options)
    regions = build_model(toy(), image, [style, style], masks=[left, 1 - left], **options)
    (_, da), (_, db) = both_gradients(plain, regions, image)
    inner = slice(20, 44)  # away from the borders of image and region
    torch.testing.assert_close(da[..., 4:-4, inner], db[..., 4:-4, inner], rtol=0.1, atol=0.05 * da.abs().max().item())


def test_style_mix_says_how_hard_each_region_is_pulled():
    content, styles = picture(), [picture(seed=1), picture(seed=2)]
    pulls = {}
    for mix in ((1, 1), (2, 2), (1, 0), (1, 0.5)):
        model = build_model(toy(), content, styles, masks=left_and_right(), style_mix=mix, **LAYERS)
        model(content)
        pulls[mix] = model.style_loss().item()
    assert pulls[1, 1] == pulls[2, 2]
    assert pulls[1, 0] < pulls[1, 0.5] < pulls[1, 1]
    assert pulls[1, 0.5] == pytest.approx((pulls[1, 0] + pulls[1, 1]) / 2)


def test_a_style_mask_takes_the_style_from_its_part():
    style = torch.cat([picture(32, 32, seed=1), picture(32, 32, seed=2)], -1)
    half = torch.zeros(1, 1, 32, 64)
    half[..., :32] = 1
    whole = torch.ones(1, 1, 32, 40)
    options = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"]}
    masked = build_model(toy(), picture(), style, masks=[whole], style_masks=[half], **options)
    features = toy()(style, ["relu1_1"])["relu1_1"]
    torch.testing.assert_close(masked.style_losses["relu1_1"].target, gram_matrix(features[..., :32]))


def test_the_quicker_twin_has_the_same_loss_and_gradient():
    content, styles, image = picture(), [picture(seed=1), picture(seed=2)], picture(seed=3)
    model = build_model(toy(), content, styles, masks=left_and_right(), **LAYERS)
    quick = accelerate(model)
    assert [layer.statistic for layer in quick.style_losses.values()] == [fused_gram] * 3
    (a, da), (b, db) = both_gradients(model, quick, image)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(da, db, rtol=1e-4, atol=1e-6 * da.abs().max().item())


@pytest.mark.parametrize("convention", ["relative", "gatys", "pytorch"])
def test_tiles_have_the_same_loss_and_gradient(convention):
    content, styles, image = picture(80, 101), [picture(70, 90, seed=1), picture(seed=2)], picture(80, 101, seed=3)
    soft = noise(1, 1, 80, 101, seed=5)
    given = {
        "masks": [soft, 1 - soft], "style_masks": [noise(1, 1, 70, 90, seed=6), None], "style_mix": (1, 0.5),
        "content_map": noise(1, 1, 80, 101, seed=7) * 3, "convention": convention,
    }  # fmt: skip
    model = build_model(toy(), content, styles, **given, **LAYERS)
    tiled = nst.build_tiled_model(toy(), content, styles, tile=32, **given, **LAYERS)
    (a, da), (b, db) = both_gradients(model, tiled, image)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
    torch.testing.assert_close(da, db, rtol=1e-3, atol=1e-5 * da.abs().max().item())


def test_a_content_map_weighs_each_position():
    target, features, map = noise(1, 3, 4, 5), noise(1, 3, 4, 5, seed=1), noise(1, 1, 4, 5, seed=2)
    layer = MappedContentLoss(target, map=map)
    layer(features)
    expected = (map * (features - target) ** 2).sum() / (map * target**2).sum()
    assert layer.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_flat_content_map_is_none_and_only_its_proportions_count():
    content, style, image = picture(), picture(seed=1), picture(seed=2)
    plain = build_model(toy(), content, style, **LAYERS)
    flat = build_model(toy(), content, style, content_map=torch.full((1, 1, 32, 40), 7.0), **LAYERS)
    (a, da), (b, db) = both_gradients(plain, flat, image)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(da, db, rtol=1e-4, atol=1e-6 * da.abs().max().item())
    map = noise(1, 1, 32, 40)
    one, ten = (build_model(toy(), content, style, content_map=n * map, **LAYERS) for n in (1, 10))
    (a, _), (b, _) = both_gradients(one, ten, image)
    torch.testing.assert_close(a, b)


def test_a_content_map_of_another_size_is_refused():
    with pytest.raises(MaskError, match=r"^content_map is \(1, 1, 3, 3\), expected \(1, 1, 32, 40\)"):
        build_model(toy(), picture(), picture(), content_map=torch.ones(1, 1, 3, 3), **LAYERS)


def test_regions_are_not_lost_when_a_model_is_moved_or_saved():
    layer = RegionStyleLoss(torch.ones(2, 3, 3), masks=torch.ones(2, 1, 4, 4), shares=[0.5, 0.5])
    assert {name for name, _ in layer.named_buffers()} == {"target", "masks"}
