"""An optimisation that reads its numbers an evaluation late: the same numbers, and nothing read in between."""

from __future__ import annotations

import pytest
import torch
from conftest import Reads, noise

from nst_helpers import build_model
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.engine.optimisation import Optimisation
from nst_helpers.model import Weights

ENCODER = Encoder(Architecture("toy", ((8,), (12,))), seed=3)
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}
WAYS = [{"optimizer": "adam"}, {"optimizer": "lbfgs"}, {"optimizer": "lbfgs", "precondition": True}]


class Counted(torch.nn.Module):
    """A style model that counts its evaluations, and whose loss is NaN at those in `broken`."""

    def __init__(self, broken=()):
        super().__init__()
        self.inner = build_model(ENCODER, noise(1, 3, 20, 24), noise(1, 3, 16, 16, seed=1), **LAYERS)
        self.content_losses, self.style_losses = self.inner.content_losses, self.inner.style_losses
        self.tv_loss, self.made, self.broken = self.inner.tv_loss, 0, broken

    def forward(self, image):
        self.made += 1
        return self.inner(image)

    def total_loss(self, **weights):
        return self.inner.total_loss(**weights) * (float("nan") if self.made in self.broken else 1.0)


def run(steps=9, *, broken=(), **options):
    model = Counted(broken)
    optimisation = Optimisation(model, noise(1, 3, 20, 24, seed=2), total=steps, **options)
    told = []
    while not optimisation.finished:
        told.append(optimisation.step())
    return model, optimisation, told


def words(evaluation):
    return {k: v for k, v in evaluation.as_dict().items() if k not in ("seconds", "peak_memory")}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_the_numbers_are_those_of_a_run_that_reads_at_once(way):
    (one, now, at_once), (two, late, afterwards) = run(**way), run(ahead=True, **way)
    assert [words(e) for e in at_once] == [words(e) for e in afterwards]
    assert one.made == two.made == len(at_once) == 9
    assert torch.equal(now.best, late.best)
    assert torch.equal(now.image, late.image)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_a_loss_that_turns_nan_is_told_and_what_followed_from_it_is_dropped(way):
    model, optimisation, told = run(ahead=True, broken=(4,), **way)
    assert [e.step for e in told] == list(range(1, 10))
    assert [bool(e.event) for e in told] == [False] * 3 + [True] + [False] * 5
    assert model.made == 10  # one of them for nothing
    assert optimisation.image.isfinite().all()
    assert optimisation.best_loss < told[2].loss


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_an_evaluation_and_its_change_ask_the_device_for_nothing(way):
    optimisation = Optimisation(Counted(), noise(1, 3, 20, 24, seed=2), ahead=True, **way)
    with Reads() as reads:
        for number in range(4):
            optimisation._evaluate(number)
        assert reads.count == 0
        optimisation.image.mean().item()
    assert reads.count == 1


def test_a_state_saved_with_an_evaluation_under_way_counts_what_was_told():
    optimisation = Optimisation(Counted(), noise(1, 3, 20, 24, seed=2), total=9, ahead=True)
    told = [optimisation.step() for _ in range(4)]
    other = Optimisation(Counted(), noise(1, 3, 20, 24, seed=5), total=9, ahead=True)
    other.load(optimisation.state())
    while not other.finished:
        told.append(other.step())
    assert [e.step for e in told] == list(range(1, 10))
    assert told[-1].loss < told[3].loss


def test_new_weights_drop_what_was_evaluated_with_the_old_ones():
    optimisation = Optimisation(Counted(), noise(1, 3, 20, 24, seed=2), total=9, ahead=True)
    told = [optimisation.step() for _ in range(3)]
    optimisation.set_weights(Weights(content=0.0, style=5.0, tv=0.0))
    while not optimisation.finished:
        told.append(optimisation.step())
    assert [e.step for e in told] == list(range(1, 10))
    for e in told[3:]:
        assert e.loss == pytest.approx(5.0 * sum(e.style.values()) / len(e.style), rel=1e-4)
