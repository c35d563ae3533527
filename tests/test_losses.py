"""Losses against hand numbers, slow loops, gradcheck and invariances."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_helpers import (
    CONVENTIONS,
    ContentLoss,
    StyleLoss,
    TVLoss,
    content_loss,
    get_convention,
    gram_matrix,
    style_loss,
    total_variation,
)

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))


def slow_gram(features: torch.Tensor) -> torch.Tensor:
    b, c, h, w = features.shape
    gram = torch.zeros(b, c, c, dtype=features.dtype)
    for n in range(b):
        for i in range(c):
            for j in range(c):
                for y in range(h):
                    for x in range(w):
                        gram[n, i, j] += features[n, i, y, x] * features[n, j, y, x] / (h * w)
    return gram


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_gram_equals_the_slow_loop(shape, seed):
    features = noise(*shape, seed=seed, dtype=torch.float64)
    torch.testing.assert_close(gram_matrix(features), slow_gram(features))


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_gram_of_a_batch_is_the_stack_of_its_singles(shape, seed):
    features = noise(*shape, seed=seed)
    singles = torch.cat([gram_matrix(f[None]) for f in features])
    torch.testing.assert_close(gram_matrix(features), singles)


def test_gram_forgets_where_things_are():
    features = noise(2, 5, 4, 7, dtype=torch.float64)
    order = torch.randperm(28, generator=torch.Generator().manual_seed(3))
    shuffled = features.flatten(2)[..., order].reshape(features.shape)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features), rtol=1e-12, atol=0)


@pytest.mark.parametrize("layout", ["transposed", "strided", "channels_last"])
def test_gram_of_non_contiguous_features(layout):
    features = noise(2, 3, 6, 8)
    other = {
        "transposed": features.transpose(2, 3),
        "strided": noise(2, 3, 12, 16)[:, :, ::2, ::2],
        "channels_last": features.contiguous(memory_format=torch.channels_last),
    }[layout]
    torch.testing.assert_close(gram_matrix(other), slow_gram(other.contiguous()))


def test_gram_of_half_precision_is_computed_in_float32():
    features = noise(1, 4, 64, 64).bfloat16()
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, gram_matrix(features.float()))


def test_gram_refuses_features_without_a_batch():
    with pytest.raises(ValueError, match=r"\(B, C, H, W\).*\(3, 4, 5\).*features\[None\]"):
        gram_matrix(torch.zeros(3, 4, 5))


def gradcheck(function, *inputs):
    assert torch.autograd.gradcheck(function, [i.requires_grad_() for i in inputs])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("loss", [gram_matrix, total_variation])
def test_whole_numbers_are_refused(loss, dtype):
    """A product of bytes would overflow, without a word."""
    with pytest.raises(ValueError, match=f"floating point numbers, but {dtype} came"):
        loss(torch.ones(1, 2, 3, 3).to(dtype))


def test_gradients_against_finite_differences():
    f, target = noise(2, 3, 4, 5, dtype=torch.float64), noise(2, 3, 4, 5, seed=1, dtype=torch.float64)
    gram = gram_matrix(target)
    gradcheck(gram_matrix, f.clone())
    gradcheck(lambda x: total_variation(x, kind="l2"), f.clone())
    gradcheck(lambda x: total_variation(x, kind="l1"), f.clone())
    for name in CONVENTIONS:
        gradcheck(lambda x, n=name: content_loss(x, target, convention=n), f.clone())
        gradcheck(lambda x, n=name: style_loss(gram_matrix(x), gram, convention=n), f.clone())


def formulas(f: torch.Tensor, p: torch.Tensor, s: torch.Tensor) -> dict[str, tuple[float, float]]:
    """The published formulas, written with raw products F F^T and loops over the entries."""
    n, m, k = f.shape[1], f[0, 0].numel(), s[0, 0].numel()
    ff, pp, ss = f.flatten(2)[0], p.flatten(2)[0], s.flatten(2)[0]
    raw_f, raw_s = ff @ ff.T, ss @ ss.T
    difference = sum((raw_f[i, j].item() / m - raw_s[i, j].item() / k) ** 2 for i in range(n) for j in range(n))
    squares = ((ff - pp) ** 2).sum().item()
    tutorial = torch.nn.functional.mse_loss(raw_f / (n * m), raw_s / (n * k)).item()
    assert math.isclose(tutorial, difference / n**4, rel_tol=1e-9)
    own = ((raw_s / k) ** 2).sum().item()
    return {
        "relative": (squares / (pp**2).sum().item(), difference / own),
        "gatys": (squares / 2, difference / (4 * n**2)),
        "pytorch": (torch.nn.functional.mse_loss(f, p).item(), tutorial),
    }


@pytest.mark.parametrize("name", list(CONVENTIONS))
def test_conventions_equal_their_published_formulas(name):
    f, p, s = (noise(1, 4, 5, 6, seed=i, dtype=torch.float64) for i in range(3))
    content, style = formulas(f, p, s)[name]
    assert content_loss(f, p, convention=name).item() == pytest.approx(content, rel=1e-6)
    assert style_loss(gram_matrix(f), gram_matrix(s), convention=name).item() == pytest.approx(style, rel=1e-6)


def test_gatys_formula_with_unnormalised_grams():
    """E_l = sum (G - A)^2 / (4 N^2 M^2) with G = F F^T: eq. 3 and 4 of the paper as printed."""
    f, s = noise(1, 3, 4, 5, dtype=torch.float64), noise(1, 3, 4, 5, seed=1, dtype=torch.float64)
    g, a = (x.flatten(2)[0] @ x.flatten(2)[0].T for x in (f, s))
    printed = ((g - a) ** 2).sum() / (4 * 3**2 * 20**2)
    torch.testing.assert_close(style_loss(gram_matrix(f), gram_matrix(s), convention="gatys"), printed)


@pytest.mark.parametrize("scale", [1e-3, 58.0])
def test_relative_losses_do_not_see_the_scale_of_the_activations(scale):
    f, p = noise(1, 4, 5, 6, dtype=torch.float64), noise(1, 4, 5, 6, seed=1, dtype=torch.float64)
    torch.testing.assert_close(content_loss(f * scale, p * scale), content_loss(f, p))
    torch.testing.assert_close(
        style_loss(gram_matrix(f * scale), gram_matrix(p * scale)), style_loss(gram_matrix(f), gram_matrix(p))
    )


def test_relative_losses_do_not_see_a_tiled_image_or_doubled_channels():
    f, p = noise(1, 4, 5, 6, dtype=torch.float64), noise(1, 4, 7, 3, seed=1, dtype=torch.float64)
    loss = style_loss(gram_matrix(f), gram_matrix(p))
    torch.testing.assert_close(style_loss(gram_matrix(f.repeat(1, 1, 2, 3)), gram_matrix(p)), loss)
    torch.testing.assert_close(style_loss(gram_matrix(f.repeat(1, 2, 1, 1)), gram_matrix(p.repeat(1, 2, 1, 1))), loss)


def test_relative_loss_to_a_black_target_is_finite():
    black = torch.zeros(1, 2, 3, 3)
    assert content_loss(black, black).item() == 0
    assert math.isfinite(content_loss(noise(1, 2, 3, 3), black).item())


@pytest.mark.parametrize("name", list(CONVENTIONS))
def test_a_batch_counts_as_the_mean_of_its_images(name):
    f, p = noise(3, 2, 4, 5), noise(3, 2, 4, 5, seed=1)
    each = torch.stack([content_loss(a[None], b[None], convention=name) for a, b in zip(f, p, strict=True)])
    torch.testing.assert_close(content_loss(f, p, convention=name), each.mean())
    grams = gram_matrix(f), gram_matrix(p)
    each = torch.stack([style_loss(a[None], b[None], convention=name) for a, b in zip(*grams, strict=True)])
    torch.testing.assert_close(style_loss(*grams, convention=name), each.mean())


def test_layers_are_put_together_by_their_weights():
    losses = [torch.tensor(2.0), torch.tensor(8.0)]
    assert get_convention("relative").combine(losses, [3.0, 1.0]).item() == pytest.approx(3.5)
    assert get_convention("gatys").combine(losses, [1.0, 1.0]).item() == pytest.approx(5.0)
    assert get_convention("pytorch").combine(losses, [3.0, 1.0]).item() == pytest.approx(14.0)


def test_unknown_convention_names_those_there_are():
    with pytest.raises(ValueError, match="relative, gatys, pytorch"):
        get_convention("gaty")


@pytest.mark.parametrize(
    ("a", "b"), [((1, 2, 3, 3), (1, 3, 3, 3)), ((1, 2, 3, 3), (1, 2, 3, 4)), ((1, 2, 3, 3), (2, 2, 3, 3))]
)
def test_losses_refuse_what_would_only_broadcast(a, b):
    with pytest.raises(ValueError, match="like with like"):
        content_loss(torch.zeros(a), torch.zeros(b))


def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]]]])
    # Vertical differences 0, -1, -3; horizontal 1, 2, 0, 0.
    assert total_variation(image).item() == pytest.approx(4 / 3 + 3 / 4)
    assert total_variation(image, kind="l2").item() == pytest.approx(10 / 3 + 5 / 4)


def test_total_variation_of_one_pixel_is_zero():
    assert total_variation(torch.ones(1, 3, 1, 1)).item() == 0
    with pytest.raises(ValueError, match="l1.*l2"):
        total_variation(torch.ones(1, 3, 2, 2), kind="l3")


def test_layers_are_transparent_and_remember_their_loss():
    f, target = noise(1, 4, 5, 6), noise(1, 4, 5, 6, seed=1)
    content, style, tv = ContentLoss(target), StyleLoss(gram_matrix(target)), TVLoss(kind="l2")
    for layer in (content, style, tv):
        assert layer(f) is f
    torch.testing.assert_close(content.loss, content_loss(f, target))
    torch.testing.assert_close(style.loss, style_loss(gram_matrix(f), gram_matrix(target)))
    torch.testing.assert_close(tv.loss, total_variation(f, kind="l2"))


def test_targets_are_constants():
    target = noise(1, 4, 5, 6).requires_grad_()
    for layer in (ContentLoss(target * 2), StyleLoss(gram_matrix(target))):
        assert not layer.target.requires_grad
        layer(noise(1, 4, 5, 6, seed=1).requires_grad_())
        layer.loss.backward()
    assert target.grad is None


def test_style_loss_layer_refuses_features():
    with pytest.raises(ValueError, match="pass gram_matrix"):
        StyleLoss(torch.zeros(1, 4, 5, 6))
