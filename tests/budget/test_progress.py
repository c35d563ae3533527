"""What is said to be left: near the truth whatever the pace does, and calm enough to read."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nst_helpers.budget import progress as module
from nst_helpers.budget.estimate import Estimate
from nst_helpers.budget.progress import Pace, left_words
from nst_helpers.cli.messages import countdown


def walk(pace: Pace, seconds: list[float], start: float = 0.0) -> float:
    """Steps of those lengths, one call after each; returns when the last one ended."""
    for each in seconds:
        start += each
        pace.done(1, at=start)
    return start


@given(st.lists(st.floats(0.001, 40), min_size=2, max_size=300))
@example([1.930422318874653, 11.951130599743163, 2.5, 1.5, 1.5, 4.5])  # the last four are ten seconds, or a hair less
def test_the_pace_is_the_mean_over_the_last_ten_seconds_and_four_steps_at_least(seconds):
    pace = Pace()
    walk(pace, seconds)
    counted = seconds[1:]  # the first call only starts the clock
    means = []
    for window in (module.WINDOW - 1e-9, module.WINDOW + 1e-9):  # sums are rounded
        n = next((n for n in range(4, len(counted)) if sum(counted[-n:]) >= window), len(counted))
        means.append(sum(counted[-n:]) / n)
    if sum(counted[-n:]) < module.ENOUGH:
        assert pace.each is None or sum(counted[-n:]) == pytest.approx(module.ENOUGH)
    else:
        assert pace.each in [pytest.approx(mean, rel=1e-6) for mean in means]


def test_a_break_does_not_count_and_a_new_kind_of_work_starts_anew():
    pace = Pace()
    end = walk(pace, [0.5] * 20)
    pace.rest()
    assert pace.rate(now=end) == 0
    end = walk(pace, [500.0, 0.5, 0.5], end)
    assert pace.each == pytest.approx(0.5)
    assert pace.rate(now=end) == pytest.approx(2)
    assert pace.rate(now=end + 9) == 0  # a stalled run is not quick
    pace.forget()
    assert pace.each is None


def number(words: str) -> float:
    amount, unit = re.fullmatch(r"about ([\d.]+) (s|min|h) left", words).groups()
    return float(amount) * {"s": 1, "min": 60, "h": 3600}[unit]


def place(seconds: float) -> float:
    """The step of the scale there: a second, five of them, a minute, a tenth of an hour."""
    return 1 if seconds <= 13 else 5 if seconds < 90 else 60 if seconds < 5400 else 360


@given(st.floats(0.01, 1e5))
def test_what_is_said_is_never_nothing_and_the_nearest_on_its_scale(seconds):
    words = number(left_words(seconds))
    assert words >= 1
    assert abs(words - max(seconds, 0.5)) <= 0.5 * place(seconds) + 1e-6


@pytest.fixture
def clock(monkeypatch):
    """The pace's clock, to be set by hand: clock[0] is what it says."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def near(words: float, truth: float) -> bool:
    """Within a tenth, and the rounding of either; the last second is one second."""
    truth = max(truth, 1.0)
    return abs(words - truth) <= 0.1 * truth + 0.5 * max(place(words), place(truth))


def said(clock: list[float], ahead: Estimate, seconds: list[float], first: int = 0) -> list[tuple[float, float]]:
    """What a countdown says after each step but the last, with what is really left."""
    left, told = countdown(ahead), []
    for step, each in enumerate(seconds[first:], first + 1):
        clock[0] += each
        words = left(step)
        assert bool(words) == (step < len(seconds))
        if words:
            told.append((number(words), sum(seconds[step:])))
    return told


def test_a_wrong_estimate_is_set_right_by_the_steps(clock):
    """Three times too slow and three times too quick: from the first seconds on, the pace decides."""
    for wrong in (1 / 3, 3.0):
        told = said(clock, Estimate(0.0, ((400, 0.1 * wrong),), 0, 0, 0), [0.1] * 400)
        assert told[0][0] == pytest.approx(40 * wrong, rel=0.2)
        assert all(near(words, truth) for words, truth in told[15:])


def test_coarse_steps_do_not_promise_that_fine_ones_are_as_quick(clock):
    """100 steps of 0.02 s, then 100 of 0.5 s: taking them alike would say 2 s where 51 are left."""
    told = said(clock, Estimate(0.0, ((100, 0.03), (100, 0.75)), 0, 0, 0), [0.02] * 100 + [0.5] * 100)
    assert told[80][1] > 50
    assert all(near(words, truth) for words, truth in told[60:100])


def test_a_resumed_run_has_not_made_its_first_steps_just_now(clock):
    told = said(clock, Estimate(0.0, ((200, 0.5),), 0, 0, 0), [0.5] * 200, first=150)
    assert all(near(words, truth) for words, truth in told)


def test_it_does_not_jump_about_though_the_steps_do(clock):
    """Steps between a half and double their mean: what is said never rises by more than one place of its scale."""
    dice = random.Random(3)
    told = said(clock, Estimate(0.0, ((900, 0.1),), 0, 0, 0), [0.1 * 2 ** dice.uniform(-1, 1) for _ in range(900)])
    words = [words for words, _ in told]
    rises = [(a, b) for a, b in itertools.pairwise(words) if b > a]
    assert all(b - a <= place(b) for a, b in rises)
    assert len(rises) < 0.1 * len(words)
