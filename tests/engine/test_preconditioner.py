"""The preconditioner: symmetric, positive, with the lengths it was shown; and L-BFGS over it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_helpers import build_model, load_sample, stylize
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.engine.lbfgs import LBFGS
from nst_helpers.engine.optimisation import Optimisation
from nst_helpers.engine.preconditioner import CELL, MOST_CONTRAST, Preconditioner
from nst_helpers.engine.steppers import LONGEST_PRECONDITIONED_STEP

SIZES = st.tuples(st.integers(1, 2), st.integers(1, 19), st.integers(1, 19))
ENCODER = Encoder(Architecture("toy", ((8,), (12,))), seed=3)
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}
GOOD = torch.tensor(True)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def taught(shape, pairs=3):
    """One that has seen steps and changes whose quotient differs from place to place."""
    guess = Preconditioner(shape, dtype=torch.float64)
    for seed in range(pairs):
        step = noise(*shape, seed=seed) - 0.5
        guess.learn(step.flatten(), (step * (1 + 9 * noise(*shape, seed=50))).flatten(), GOOD)
    return guess


@settings(deadline=None, max_examples=30)
@given(SIZES)
def test_it_is_symmetric_and_positive(size):
    shape = (size[0], 3, *size[1:])
    guess = taught(shape)
    a, b = (noise(*shape, seed=seed).flatten() - 0.5 for seed in (7, 8))
    torch.testing.assert_close(guess.apply(a).dot(b), a.dot(guess.apply(b)))
    assert guess.apply(a).dot(a) > 0


@settings(deadline=None, max_examples=30)
@given(SIZES)
def test_the_squares_it_returns_are_those_of_p_and_its_inverse(size):
    """Against the whole matrix, made of P's columns and inverted."""
    shape = (1, 3, *(min(n, 6) for n in size[1:]))
    guess, n = taught(shape), shape[2] * shape[3] * 3
    step, change = noise(n, seed=7) - 0.5, noise(n, seed=8) - 0.5
    steps, changes = guess.learn(step, change, GOOD)
    matrix = torch.stack([guess.apply(column) for column in torch.eye(n, dtype=torch.float64)], 1)
    torch.testing.assert_close(changes, change @ matrix @ change)
    torch.testing.assert_close(steps, step @ torch.linalg.solve(matrix, step))


def test_nothing_learnt_is_the_identity_and_a_bad_pair_teaches_nothing():
    vector = noise(3 * 20 * 24)
    guess = Preconditioner((1, 3, 20, 24), dtype=torch.float64)
    torch.testing.assert_close(guess.apply(vector), vector)
    guess.learn(vector, -vector, torch.tensor(False))
    torch.testing.assert_close(guess.apply(vector), vector)
    guess = taught((1, 3, 20, 24))
    before = guess.apply(vector)
    guess.learn(vector, torch.zeros_like(vector), torch.tensor(False))
    torch.testing.assert_close(guess.apply(vector), before)


def test_each_band_of_frequencies_gets_the_quotient_it_was_shown():
    """A picture of two waves, one of which answers ten times as strongly as the other."""
    x = torch.arange(64, dtype=torch.float64)
    slow, fast = (torch.cos(2 * torch.pi * cycles * x / 64).expand(1, 3, 64, 64) for cycles in (2, 20))
    guess = Preconditioner((1, 3, 64, 64), dtype=torch.float64)
    # Waves fill all squares alike, but the squares' edges cut them; so ask for quotients, and not to the last digit.
    for _ in range(3):
        guess.learn((slow + fast).flatten(), (slow + 10 * fast).flatten(), GOOD)
    gain = [guess.apply(wave.flatten()).dot(wave.flatten()) / wave.square().sum() for wave in (slow, fast)]
    assert gain[0] / gain[1] == pytest.approx(10, rel=0.1)


def test_each_square_goes_half_as_far_as_the_quotient_it_was_shown_and_no_further_than_there_is():
    """A picture whose left half answers `ratio` times as strongly as its right half, in every frequency."""
    half = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    half[..., 32:] = 1.0
    middle = slice(CELL, 32 - CELL)  # away from where the halves meet
    for ratio, expected in ((4.0, 2.0), (1e4, MOST_CONTRAST**2)):
        guess = Preconditioner(half.shape, dtype=torch.float64)
        for seed in range(4):
            step = noise(*half.shape, seed=seed) - 0.5
            guess.learn(step.flatten(), (step * (ratio + (1 - ratio) * half)).flatten(), GOOD)
        there = guess.map.square()[0]
        assert there[32, 32 + CELL :].mean() / there[32, middle].mean() == pytest.approx(expected, rel=0.1)


def test_with_one_pair_l_bfgs_returns_the_step_for_its_change_whatever_the_preconditioner():
    """The secant equation (Nocedal & Wright 2006, equation 6.6)."""
    known = LBFGS(4, preconditioner=Preconditioner((1, 3, 9, 8), dtype=torch.float64))
    for seed in range(3):
        step = noise(216, seed=seed) - 0.5
        change = step * (0.5 + noise(216, seed=50))
        known.add(step, change)
    torch.testing.assert_close(known.direction(change), -step)


def test_what_it_knows_can_be_handed_on():
    shape, vector = (1, 3, 20, 24), noise(3 * 20 * 24)
    guess, other = taught(shape), Preconditioner(shape, dtype=torch.float64)
    other.load(guess.state())
    assert torch.equal(other.apply(vector), guess.apply(vector))


@pytest.mark.slow
def test_a_photo_needs_fewer_evaluations():
    content, style = (load_sample(name, size=96) for name in ("temple", "night_swirls"))
    plain, shaped = (
        stylize(content, style, steps=40, device="cpu", precision="float32", precondition=on) for on in (False, True)
    )
    assert shaped.loss < 0.95 * plain.loss


def test_no_step_leaves_the_box_or_goes_too_far_and_the_pair_is_as_much_of_the_wish_as_is_trusted(monkeypatch):
    wishes, weighted = [], LBFGS.weighted

    def heard(known, made, asked):
        wishes.append(asked.clone())
        return weighted(known, made, asked)

    monkeypatch.setattr(LBFGS, "weighted", heard)
    model = build_model(ENCODER, noise(1, 3, 20, 24, dtype=torch.float32), noise(1, 3, 16, 16).float(), **LAYERS)
    run = Optimisation(model, noise(1, 3, 20, 24, seed=5).float(), precondition=True, lr=30.0)
    reached, trusted = 0, set()
    for _ in range(12):
        before = run.image.detach().clone()
        run.step()
        after = run.image.detach()
        assert after.min() >= 0
        assert after.max() <= 1
        assert (after - before).abs().mean() <= LONGEST_PRECONDITIONED_STEP * 1.001
        wished, made, trust = wishes[-1], after - before, run.stepper.curvature.asked_weight.item()
        torch.testing.assert_close((before + wished).clamp(0, 1), after, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            run.stepper.last_step.view_as(after), made + trust * (wished - made), rtol=1e-4, atol=1e-6
        )
        trusted.add(trust)
        reached += int(((after == 0) | (after == 1)).sum())
    assert reached
    assert len(trusted) > 2


def test_a_checkpointed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    content, style = noise(1, 3, 20, 24).float(), noise(1, 3, 16, 16, seed=1).float()
    common = {"encoder": ENCODER, "device": "cpu", "precondition": True, "precision": "float32", **LAYERS}
    first = stylize(content, style, steps=6, checkpoint=tmp_path / "c", **common)
    second = stylize(content, style, steps=12, checkpoint=tmp_path / "c", resume=True, **common)
    whole = stylize(content, style, steps=12, **common)
    assert [e.step for e in second.history] == list(range(1, 13))
    assert [e.loss for e in second.history[:6]] == [e.loss for e in first.history]
    torch.testing.assert_close(second.loss, whole.loss, rtol=1e-4, atol=0)


def test_it_is_refused_for_adam():
    picture = noise(1, 3, 16, 16).float()
    with pytest.raises(ValueError, match="precondition is made for lbfgs, not for adam"):
        stylize(picture, picture, encoder=ENCODER, optimizer="adam", precondition=True, steps=1, **LAYERS)


def test_at_least_one_step_of_history_is_kept():
    picture = noise(1, 3, 16, 16).float()
    with pytest.raises(ValueError, match="history_size is 0, expected a whole number of 1 or more"):
        stylize(picture, picture, encoder=ENCODER, history_size=0, steps=1, **LAYERS)
