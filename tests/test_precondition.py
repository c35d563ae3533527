"""The preconditioner: a symmetric root with its inverse, and L-BFGS over it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_helpers import build_model, load_sample, stylize
from nst_helpers.encoders import Encoder, Spec
from nst_helpers.engine import LONGEST_SMOOTH_STEP, Optimisation, Weights
from nst_helpers.precondition import CUTOFF, GREY, Preconditioner

SIZES = st.tuples(st.integers(2, 17), st.integers(2, 17))
ENCODER = Encoder(Spec("toy", ((8,), (12,))), seed=3)
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=30)
@given(SIZES)
def test_the_root_is_symmetric_and_positive(size):
    root, a, b = Preconditioner(size), noise(1, 3, *size), noise(1, 3, *size, seed=1)
    torch.testing.assert_close((root.apply(a) * b).sum(), (a * root.apply(b)).sum())
    centred = a - 0.5
    assert (root.apply(centred) * centred).sum() > 0


@settings(deadline=None, max_examples=30)
@given(SIZES)
def test_undo_is_the_inverse_on_both_sides(size):
    root, image = Preconditioner(size), noise(2, 3, *size)
    torch.testing.assert_close(root.undo(root.apply(image)), image)
    torch.testing.assert_close(root.apply(root.undo(image)), image)


def test_a_wave_is_multiplied_by_the_gain_of_its_frequency():
    """The oracle is the formula: a pure wave is an eigenvector, its gain over the flat image's is (1 + f²/c²)^-½."""
    x = torch.arange(32, dtype=torch.float64)
    for cycles in (1, 4, 9):
        wave = torch.cos(2 * torch.pi * cycles * x / 32).expand(1, 3, 32, 32)
        flat = torch.ones_like(wave)
        root = Preconditioner((32, 32))
        gain = root.apply(wave)[0, 0, 0, 0] / root.apply(flat)[0, 0, 0, 0]
        assert gain == pytest.approx((1 + (cycles / 32 / CUTOFF) ** 2) ** -0.5, rel=1e-5)


def test_grey_goes_further_than_colour():
    root = Preconditioner((4, 4))
    grey = torch.ones(1, 3, 4, 4, dtype=torch.float64)
    colour = grey * torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64).view(3, 1, 1)
    gains = [(root.apply(x) / x)[0, 0, 0, 0] for x in (grey, colour)]
    assert gains[0] / gains[1] == pytest.approx(GREY**0.5)


def test_a_photo_needs_fewer_evaluations():
    content, style = (load_sample(name, size=96) for name in ("temple", "night_swirls"))
    plain, smooth = (
        stylize(content, style, steps=25, device="cpu", precision="float32", precondition=on) for on in (False, True)
    )
    assert smooth.loss < 0.9 * plain.loss


def test_no_step_leaves_the_box_or_goes_too_far_and_the_pair_is_the_step_as_made():
    model = build_model(ENCODER, noise(1, 3, 20, 24, dtype=torch.float32), noise(1, 3, 16, 16).float(), **LAYERS)
    run = Optimisation(model, noise(1, 3, 20, 24, seed=5).float(), weights=Weights(), precondition=True, lr=30.0)
    for _ in range(12):
        before = run.image.detach().clone()
        point = run.root.undo(before)
        run.step()
        after = run.image.detach()
        assert after.min() >= 0
        assert after.max() <= 1
        assert (after - before).abs().mean() <= LONGEST_SMOOTH_STEP * 1.001
        torch.testing.assert_close(run.moved, (run.root.undo(after) - point).flatten(), rtol=1e-3, atol=1e-4)


def test_a_checkpointed_run_goes_on(tmp_path):
    content, style = noise(1, 3, 20, 24).float(), noise(1, 3, 16, 16, seed=1).float()
    common = {"encoder": ENCODER, "device": "cpu", "precondition": True, "checkpoint": tmp_path / "c", **LAYERS}
    first = stylize(content, style, steps=6, **common)
    second = stylize(content, style, steps=12, resume=True, **common)
    assert [e.step for e in second.history] == list(range(1, 13))
    assert [e.loss for e in second.history[:6]] == [e.loss for e in first.history]
    assert second.loss < first.loss


def test_it_is_refused_for_adam():
    picture = noise(1, 3, 16, 16).float()
    with pytest.raises(ValueError, match="made for lbfgs, not for adam"):
        stylize(picture, picture, encoder=ENCODER, optimizer="adam", precondition=True, steps=1, **LAYERS)


def test_at_least_one_step_of_history_is_kept():
    picture = noise(1, 3, 16, 16).float()
    with pytest.raises(ValueError, match="at least 1 step"):
        stylize(picture, picture, encoder=ENCODER, history_size=0, steps=1, **LAYERS)
