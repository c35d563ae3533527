"""What each lever of speed is worth: everything on against everything on but one, in pairs that follow each other.

`python tools/measure/benchmark.py --leave-one-out` calls it. Levers that are switched on one after the other hide what
each is worth, and a noisy minute hits whatever is measured in it. So both sides of a pair run side by side in one
process and take turns; a pair's ratio is the time of one side over that of the other right before or after it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import torch
from contenders import HISTORY, NETWORKS, Network, lever, one_by_one, pictures, plain_gram, textbook_run
from textbook import CONTENT_LAYERS, MEAN, STD, STYLE_LAYERS, WIDTHS, textbook_loss, textbook_model

# Evaluations that are timed at a turn, after one that brings caches and memory back to this side.
TURN = 3


def levers() -> dict[str, Callable[[], AbstractContextManager]]:
    """What takes each lever off, by the lever's name: a context within which a side builds and runs."""
    return {
        "channels last": lambda: lever("accel.devices", "_moved", _in_plain_order, off=True),
        "fused Gram": lambda: lever("accel.accelerate", "features_and_gram", plain_gram, off=True),
        "pooling and ReLU": lambda: lever("accel.accelerate", "_with_twins", one_by_one, off=True),
        "bfloat16": contextlib.nullcontext,  # an option of the run
        "further reach": lambda: lever("engine.lbfgs", "LONGER_BY", 0.0, off=True),
        "preconditioner": contextlib.nullcontext,  # an option of the run
    }


def _in_plain_order(parameter, device, dtype):
    return parameter.detach().to(device, dtype, copy=True)


class Side:
    """A run with every lever on but those named, made in turns."""

    def __init__(self, network: Network, content, style, off: tuple[str, ...], *, mini: bool = False) -> None:
        from nst_helpers import iterate, load_encoder
        from nst_helpers.encoders import Architecture, Encoder

        self.off = off
        if mini:
            encoder, layers = load_encoder("mini"), {}
        else:
            blocks = tuple((w,) * d for w, d in zip(WIDTHS.values(), network.depths, strict=True))
            encoder = Encoder(Architecture("benchmark", blocks, mean=MEAN, std=STD), weights=network.weights)
            layers = {"content_layers": CONTENT_LAYERS, "style_layers": STYLE_LAYERS, "convention": "pytorch"}
            layers |= {"style_weight": network.style_weight, "tv_weight": 0.0}
        self.steps = iterate(
            content,
            style,
            encoder=encoder,
            steps=100_000,
            precision="float32" if "bfloat16" in off else "bfloat16",
            precondition="preconditioner" not in off,
            history_size=HISTORY,
            device="cpu",
            **layers,
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within this, the package is as this side wants it."""
        with ExitStack() as stack:
            for name in self.off:
                stack.enter_context(levers()[name]())
            yield

    def turn(self) -> float:
        """Seconds for one evaluation, the median of a few."""
        times = []
        with self.running():
            next(self.steps)
            for _ in range(TURN):
                start = time.perf_counter()
                next(self.steps)
                times.append(time.perf_counter() - start)
        return statistics.median(times)


def ratios(one: Callable[[], float], two: Callable[[], float], rounds: int) -> list[float]:
    """The second's seconds over the first's, pair by pair; who begins changes from pair to pair.

    >>> ratios(iter([1.0, 2.0]).__next__, iter([2.0, 4.0]).__next__, 2)
    [2.0, 2.0]
    """
    found = []
    for number in range(rounds):
        if number % 2:
            b, a = two(), one()
        else:
            a, b = one(), two()
        found.append(b / a)
    return found


def summary(found: list[float]) -> tuple[float, float, float]:
    """The median of some ratios, and between which two half of them lie.

    >>> summary([1.0, 1.1, 1.2, 1.3, 1.4])
    (1.2, 1.1, 1.3)
    """
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return middle, low, high


def verdict(found: list[float]) -> str:
    """The median ratio and its spread in words; no claim is made where the spread takes in 1.

    >>> verdict([1.0, 1.1, 1.2, 1.3, 1.4]), verdict([0.9, 1.0, 1.1])
    ('1.20 x (half of the pairs within 1.10 to 1.30)', 'no difference seen (0.95 to 1.05)')
    """
    middle, low, high = summary(found)
    if low <= 1 <= high:
        return f"no difference seen ({low:.2f} to {high:.2f})"
    return f"{middle:.2f} x (half of the pairs within {low:.2f} to {high:.2f})"


def worth_per_evaluation(size: int, rounds: int, names: list[str], *, mini: bool = False) -> dict[str, list[float]]:
    """For each lever, how much longer an evaluation takes without it, pair by pair."""
    network, (content, style) = NETWORKS["random"](), pictures(size)
    table = {}
    for name in names:
        one, two = (Side(network, content, style, off, mini=mini) for off in ((), (name,)))
        table[name] = ratios(one.turn, two.turn, rounds)
    return table


def worth_to_the_textbooks_loss(size: int, evaluations: int, rounds: int, names: list[str]) -> dict[str, list[float]]:
    """For each lever, how much longer the way to the textbook's last loss takes without it, pair by pair."""
    network, (content, style) = NETWORKS["trained"](), pictures(size)
    last: list = [None]
    textbook_run(network, content, style, evaluations, lambda image, seconds: last.__setitem__(0, image.detach()))
    judge = textbook_model(network, content, style)

    def loss_of(image) -> float:
        with torch.no_grad():
            return textbook_loss(judge, image.clamp(0, 1)).item()

    goal = loss_of(last[0])

    def seconds(off: tuple[str, ...]) -> float:
        side, total = Side(network, content, style, off), 0.0
        for number in itertools.count(1):
            with side.running():
                start = time.perf_counter()
                step = next(side.steps)
                # The first step also builds the model, which is on nobody's clock.
                total += 0.0 if number == 1 else time.perf_counter() - start
            if number % 5 == 0 and loss_of(step.optimisation.best) <= goal:
                return total
            if number == 2 * evaluations:
                return float("inf")
        raise AssertionError

    found = {}
    for name in names:
        one, two = (functools.partial(seconds, off) for off in ((), (name,)))
        found[name] = ratios(one, two, rounds)
    return found
