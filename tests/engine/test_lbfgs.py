"""The directions of L-BFGS, held to torch.optim.LBFGS and to what quadratic functions promise."""

import itertools

import pytest
import torch
from conftest import Reads

from nst_helpers.engine.lbfgs import COMPACT_FROM, LBFGS


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def gradient_at(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(rosenbrock(x), x)[0]


def start(n: int = 8) -> torch.Tensor:
    return torch.linspace(-1.5, 1.2, n, dtype=torch.float64)


def ours(steps: int, *, lr: float, history_size: int) -> list[torch.Tensor]:
    x, known, path, gradient = start(), LBFGS(history_size), [start()], None
    for i in range(steps):
        before, gradient = gradient, gradient_at(x)
        if i:
            known.add(step, gradient - before)  # noqa: F821
        step = known.direction(gradient) * lr * (1 if i else min(1.0, 1 / gradient.abs().sum().item()))
        x = x + step
        path.append(x)
    return path


def theirs(steps: int, *, lr: float, history_size: int) -> list[torch.Tensor]:
    x = start().requires_grad_()
    options = {"max_iter": 1, "tolerance_grad": 0.0, "tolerance_change": 0.0}
    optimizer, path = torch.optim.LBFGS([x], lr=lr, history_size=history_size, **options), [start()]

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        path.append(x.detach().clone())
    return path


@pytest.mark.parametrize("history_size", [1, 3, 100])
def test_it_goes_where_pytorchs_goes(history_size):
    mine, known = (way(25, lr=0.3, history_size=history_size) for way in (ours, theirs))
    assert (known[-1] - known[0]).norm() > 0.3
    for a, b in zip(mine, known, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_with_a_whole_history_it_is_newtons_direction_on_a_quadratic():
    """n conjugate pairs hold the whole inverse curvature (Nocedal & Wright 2006, theorem 6.4)."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64, generator=g)
    curvature = root @ root.T + torch.eye(6, dtype=torch.float64)
    known, x = LBFGS(6), torch.randn(6, dtype=torch.float64, generator=g)
    for _ in range(6):
        gradient = curvature @ x
        step = known.direction(gradient)
        step = step * (-(step @ gradient) / (step @ curvature @ step))
        known.add(step, curvature @ step)
        x = x + step
    anywhere = torch.randn(6, dtype=torch.float64, generator=g)
    torch.testing.assert_close(known.direction(anywhere), -torch.linalg.solve(curvature, anywhere))


@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9])
def test_compact_pairs_give_nearly_the_same_direction_whatever_their_size(size):
    """float16 reaches from 6e-8 to 65504 alone, so the pairs are kept in shares of their largest entry."""
    g = torch.Generator().manual_seed(0)
    whole, compact = LBFGS(8), LBFGS(8, compact=True)
    curvature = torch.logspace(-1, 1, 200)
    for _ in range(6):
        step = torch.randn(200, generator=g) * size
        for known in (whole, compact):
            known.add(step, curvature * step / size * 10)
    gradient = torch.randn(200, generator=g)
    one, two = whole.direction(gradient), compact.direction(gradient)
    assert (one - two).norm() < 2e-3 * one.norm()
    assert (whole.steps.kept.dtype, compact.steps.kept.dtype) == (torch.float32, torch.float16)


def test_large_images_alone_keep_their_pairs_in_half_of_the_memory():
    kept = {}
    for count, dtype in itertools.product((COMPACT_FROM - 1, COMPACT_FROM), (torch.float32, torch.float64)):
        known = LBFGS(1)
        known.add(torch.ones(count, dtype=dtype), torch.ones(count, dtype=dtype))
        kept[count, dtype] = {known.steps.kept.dtype, known.changes.kept.dtype}
    assert kept.pop((COMPACT_FROM, torch.float32)) == {torch.float16}
    assert all(dtypes == {dtype} for (_, dtype), dtypes in kept.items())


def test_compact_pairs_satisfy_the_secant_equation():
    """The direction from the last change of gradient is exactly minus the last step, as both were kept."""
    g = torch.Generator().manual_seed(0)
    known = LBFGS(4, compact=True)
    for _ in range(3):
        step = torch.randn(50, generator=g)
        known.add(step, step * torch.rand(50, generator=g))
    step, change = (vectors.kept[2].float() * vectors.sizes[2] for vectors in (known.steps, known.changes))
    torch.testing.assert_close(known.direction(change), -step, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("change", [[-1.0, 0.5], [0.0, 0.0], [1e-12, 0.0]], ids=["concave", "none", "rounding"])
def test_a_pair_without_curvature_says_nothing(change, compact):
    known, gradient = LBFGS(4, compact=compact), torch.tensor([0.3, -2.0])
    known.add(torch.tensor([1.0, 0.1]), torch.tensor([2.0, 0.1]))
    before = known.direction(gradient)
    known.add(torch.tensor([1.0, 0.0]), torch.tensor(change))
    torch.testing.assert_close(known.direction(gradient), before)


def test_without_any_pair_it_goes_downhill_and_leaves_the_gradient_alone():
    gradient = torch.tensor([0.3, -2.0])
    assert LBFGS(4).direction(gradient).tolist() == (-gradient).tolist()
    known = LBFGS(4)
    known.add(torch.tensor([1.0, 0.1]), torch.tensor([2.0, 0.1]))
    known.direction(gradient)
    assert torch.equal(gradient, torch.tensor([0.3, -2.0]))


def guess(known: LBFGS) -> float:
    """The length given to a direction that the pairs say nothing of."""
    return -known.direction(torch.tensor([0.0, 0.0, 1.0]))[2].item()


def test_falling_losses_lengthen_the_guess_from_the_shorter_to_the_longer_and_rising_ones_shorten_it():
    known = LBFGS(4)
    known.add(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 3.0, 0.0]))
    # Step times change is 4, the squares are 2 and 10: the lengths are 4 / 10 and 2 / 4.
    assert guess(known) == pytest.approx(0.4)
    losses = iter(range(100, 0, -1))
    known.observe_loss(torch.tensor(float(next(losses))))
    assert guess(known) == pytest.approx(0.4)  # One loss alone neither falls nor rises.
    for _ in range(5):
        known.observe_loss(torch.tensor(float(next(losses))))
    assert guess(known) == pytest.approx(0.4 * 1.25**0.1)
    known.observe_loss(torch.tensor(1000.0))
    assert guess(known) == pytest.approx(0.4 * 1.25**0.07)
    known.observe_loss(torch.tensor(float("nan")))
    assert guess(known) == pytest.approx(0.4 * 1.25**0.049)
    known.observe_loss(torch.tensor(99.0))
    for _ in range(60):
        known.observe_loss(torch.tensor(float(next(losses))))
    assert guess(known) == pytest.approx(0.5)


def test_falling_losses_raise_the_trust_in_what_was_wished_and_others_lower_it():
    known, told = LBFGS(4), []
    for loss in (10.0, 9.0, 8.0, 8.0, float("nan"), 7.0, *range(6, -15, -1)):
        known.observe_loss(torch.tensor(float(loss)))
        told.append(known.asked_weight.item())
    # A loss that stayed has not fallen, and after one that is not a number none has.
    assert told[:6] == pytest.approx([0.5, 0.55, 0.6, 0.42, 0.294, 0.25])
    assert told[6:8] == pytest.approx([0.3, 0.35])
    assert max(told) == told[-1] == 1.0


def test_a_step_is_learnt_as_made_until_a_loss_was_heard_and_then_between_it_and_the_wish():
    known, made, wished = LBFGS(4), torch.tensor([0.2, 0.1]), torch.tensor([0.2, 0.5])
    assert known.weighted(made.clone(), wished).tolist() == made.tolist()
    known.observe_loss(torch.tensor(1.0))
    torch.testing.assert_close(known.weighted(made.clone(), wished), torch.tensor([0.2, 0.3]))


def test_what_a_pair_says_holds_however_far_the_guess_reaches():
    known, step, change = LBFGS(4), torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 3.0, 0.0])
    known.add(step, change)
    for loss in range(40, 0, -1):
        known.observe_loss(torch.tensor(float(loss)))
    torch.testing.assert_close(known.direction(change), -step)


@pytest.mark.parametrize("compact", [False, True])
def test_a_state_goes_on_where_it_was(compact):
    known, other = LBFGS(2, compact=compact), LBFGS(2, compact=compact)
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        step = torch.rand(5, generator=g)
        known.add(step, step * torch.rand(5, generator=g))
        known.observe_loss(torch.rand((), generator=g))
    known.observe_loss(torch.tensor(-1.0))
    other.load(known.state())
    gradient = torch.rand(5, generator=g)
    assert torch.equal(other.direction(gradient), known.direction(gradient))
    assert other.count == 2
    for again in (known, other):
        again.observe_loss(torch.tensor(-2.0))
    assert other.progress == known.progress > 0
    assert other.asked_weight == known.asked_weight > 0


def test_it_never_asks_the_device_for_a_number():
    """Each such question makes a GPU finish all it has been given before it may begin the next."""
    known = LBFGS(3, compact=True)
    with Reads() as reads:
        torch.ones(()).item()
        assert reads.count == 1
        for i in range(1, 6):
            known.add(torch.full((4,), float(i)), torch.arange(4.0))
            known.observe_loss(torch.tensor(1.0 / i))
            known.direction(torch.ones(4))
    assert reads.count == 1


@pytest.mark.parametrize("compact", [False, True])
def test_a_state_saved_before_the_history_was_full_goes_on_in_a_longer_one(compact):
    known, other = LBFGS(3, compact=compact), LBFGS(5, compact=compact)
    g = torch.Generator().manual_seed(0)
    pairs = [(step, step * torch.rand(5, generator=g)) for step in torch.rand(3, 5, generator=g)]
    for pair in pairs[:2]:
        known.add(*pair)
    other.load(known.state())
    for again in (known, other):
        again.add(*pairs[2])
    torch.testing.assert_close(other.direction(pairs[0][0]), known.direction(pairs[0][0]))


def test_a_saved_state_stays_as_it_was_when_the_run_goes_on():
    known, other = LBFGS(2), LBFGS(2)
    known.add(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]))
    kept, gradient = known.state(), torch.tensor([0.5, -1.0])
    before = known.direction(gradient)
    for i in range(3):
        known.add(torch.tensor([1.0, float(i)]), torch.tensor([3.0, 1.0]))
    other.load(kept)
    torch.testing.assert_close(other.direction(gradient), before)
