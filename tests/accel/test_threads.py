"""Fewer threads where cores are busy: what is decided, by looks that are made up, and what a run does with it."""

from __future__ import annotations

import contextlib
import itertools

import psutil
import pytest
import torch
from conftest import TOY, picture
from hypothesis import given
from hypothesis import strategies as st

from nst_helpers import StyleSession, iterate, replay, stylize
from nst_helpers.accel import threads
from nst_helpers.accel.threads import CHOSEN_BY, ENOUGH_TO_STAY, Cores, Look, adapt_threads, look, restored_threads
from nst_helpers.encoders import Encoder

OPTIONS = {
    "encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32",
    "content_layers": ["relu2_1"], "style_layers": ["relu1_1"],
}  # fmt: skip
CONTENT, STYLE = picture(24, 28), picture(20, 36, 1)


class Machine:
    """So many cores, of which other programs want some; what is left, this process uses as far as its threads go."""

    def __init__(self, cores: int) -> None:
        self.cores, self.at = cores, 0.0
        self.total = self.idle = self.own = 0.0

    def run(self, seconds: float, busy: float, mine: int) -> None:
        """Programs on one core each share fairly: where too much is wanted, each gets the same part."""
        part = min(1.0, self.cores / max(busy + mine, 1))
        self.at += seconds
        self.total += seconds * self.cores
        self.own += seconds * mine * part
        self.idle += seconds * max(0.0, self.cores - (busy + mine) * part)

    def look(self) -> Look:
        return Look(self.at, self.total, self.idle, self.own)

    def settled(self, busy: float, most: int, cores: Cores, seconds: int = 60) -> list[int]:
        """The number of threads each second, for a run that computes with as many as it is told."""
        found = [cores.threads(most)]
        for _ in range(seconds):
            self.run(1.0, busy, found[-1])
            found.append(cores.threads(most))
        return found


def on(machine: Machine) -> Cores:
    return Cores(machine.look, clock=lambda: machine.at)


@given(cores=st.integers(1, 64), use=st.floats(0, 1))
def test_an_idle_machine_loses_no_thread(cores, use):
    machine = Machine(cores)
    other = on(machine)
    for _ in range(20):
        assert other.threads(cores) == cores
        machine.run(1.0, 0.0, round(use * cores))


@given(cores=st.integers(1, 64), busy=st.integers(0, 80))
def test_a_run_uses_all_cores_that_are_free_and_keeps_no_thread_that_lacks_most_of_a_core(cores, busy):
    machine = Machine(cores)
    *_, before, count = machine.settled(busy, cores, on(machine))
    assert count == before
    assert count >= max(1, cores - busy)
    lacking = count - count * min(1.0, cores / (busy + count))
    assert lacking <= 1 - ENOUGH_TO_STAY + 1e-6 or count == 1


@given(cores=st.integers(2, 64), busy=st.integers(1, 80))
def test_when_the_others_end_all_threads_are_back_after_two_looks(cores, busy):
    machine = Machine(cores)
    other = on(machine)
    machine.settled(busy, cores, other)
    assert machine.settled(0, cores, other, seconds=2)[-1] == cores


@given(most=st.integers(1, 16), looks=st.lists(st.tuples(*[st.floats(0, 99)] * 4), min_size=1))
def test_whatever_the_system_counts_there_is_a_thread_and_never_more_than_asked_for(most, looks):
    counted = itertools.chain((Look(*numbers) for numbers in looks), itertools.repeat(None))
    other = Cores(lambda: next(counted), clock=lambda: 1e3)
    for _ in looks:
        assert 1 <= other.threads(most) <= most


@pytest.mark.parametrize(
    "after",
    [Look(0.5, 1.0, 0, 0), Look(60, 120, 0, 0), Look(2, 0, 0, 0), Look(2, 4, 0, -1)],
    ids=["too new", "too old", "counts nothing", "forked in between"],
)
def test_some_looks_decide_nothing(after):
    looks = iter([Look(0, 0, 0, 0), after])
    assert Cores(lambda: next(looks), clock=lambda: after.clock).threads(2) == 2


def test_the_real_look_adds_up():
    seen = look()
    assert seen is not None
    assert 0 <= seen.idle <= seen.total
    assert seen.own > 0


def test_a_system_that_tells_nothing_leaves_the_threads_alone(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: (_ for _ in ()).throw(OSError()))
    assert look() is None
    assert Cores().threads(7) == 7


@pytest.fixture
def two_cores(monkeypatch):
    """Two threads by default, and a machine whose free cores are the list's last entry."""
    free, before = [1], torch.get_num_threads()
    for name in CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_by_default", lambda: {2})
    monkeypatch.setattr(threads.CORES, "threads", lambda most: min(most, free[-1]))
    torch.set_num_threads(2)
    yield free
    torch.set_num_threads(before)


def counting(monkeypatch):
    """The numbers of threads that evaluations are made with."""
    from nst_helpers.engine.optimisation import Optimisation

    seen, closure = [], Optimisation._closure
    monkeypatch.setattr(
        Optimisation, "_closure", lambda self, model: seen.append(torch.get_num_threads()) or closure(self, model)
    )
    return seen


def test_each_kind_of_run_follows_the_cores_and_gives_the_callers_number_back(two_cores, monkeypatch):
    seen = counting(monkeypatch)
    stylize(CONTENT, STYLE, steps=4, callback=lambda step: two_cores.append(1 + step.evaluation.step % 2), **OPTIONS)
    assert seen == [1, 2, 1, 2]
    assert torch.get_num_threads() == 2
    two_cores.append(1)
    steps = iterate(CONTENT, STYLE, steps=3, **OPTIONS)
    assert [torch.get_num_threads() for _ in steps] == [2, 2, 2]
    assert seen[4:] == [1, 1, 1]


def test_an_interrupt_amid_giving_the_number_back_gives_it_back_all_the_same(two_cores, monkeypatch):
    count = torch.get_num_threads

    def interrupted():
        monkeypatch.setattr(torch, "get_num_threads", count)
        raise KeyboardInterrupt

    run = contextlib.ExitStack()
    run.enter_context(restored_threads())
    assert adapt_threads() == count() == 1
    monkeypatch.setattr(torch, "get_num_threads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.close()
    assert count() == 2
    with restored_threads():
        adapt_threads()
    assert count() == 2


def test_a_session_keeps_the_callers_number_so_that_its_recipe_replays_to_the_pixel(two_cores, monkeypatch):
    seen = counting(monkeypatch)
    session = StyleSession(CONTENT, STYLE, **OPTIONS)
    session.step(2)
    two_cores.append(2)
    session.step(1)
    two_cores.append(1)
    assert torch.equal(
        replay(session.recipe(), pictures=[CONTENT, STYLE], encoder=Encoder(TOY, seed=1), device="cpu").image,
        session.image,
    )
    assert set(seen) == {2}


@pytest.mark.parametrize("name", CHOSEN_BY)
def test_the_users_number_in_the_environment_stays(name, two_cores, monkeypatch):
    monkeypatch.setenv(name, "2")
    seen = counting(monkeypatch)
    stylize(CONTENT, STYLE, steps=2, **OPTIONS)
    assert seen == [2, 2]


def test_a_number_that_is_not_the_default_stays_also_one_set_on_the_way(two_cores, monkeypatch):
    seen = counting(monkeypatch)
    torch.set_num_threads(3)
    stylize(CONTENT, STYLE, steps=2, **OPTIONS)
    assert seen == [3, 3]
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    stylize(CONTENT, STYLE, steps=3, callback=lambda _: torch.set_num_threads(3), **OPTIONS)
    assert seen[2:] == [1, 3, 3]
    assert torch.get_num_threads() == 3


def test_an_error_gives_the_callers_number_back(two_cores):
    def fail(_):
        raise KeyError

    with pytest.raises(KeyError):
        stylize(CONTENT, STYLE, steps=3, callback=fail, **OPTIONS)
    assert torch.get_num_threads() == 2
    with contextlib.suppress(KeyError), restored_threads(), restored_threads():
        assert adapt_threads() == 1
        fail(None)
    assert torch.get_num_threads() == 2


def test_a_run_goes_on_with_the_threads_that_it_had(two_cores, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(threads.CORES, "resume_from", told.append)
    common = {"checkpoint": tmp_path / "state.pt", **OPTIONS}
    stylize(CONTENT, STYLE, steps=2, **common)
    two_cores.append(2)
    stylize(CONTENT, STYLE, steps=4, resume=True, **common)
    stylize(CONTENT, STYLE, steps=5, resume=True, **common)
    assert told == [1, 2]


def test_threads_that_a_run_goes_on_with_hold_until_the_next_look():
    machine = Machine(2)
    other = on(machine)
    other.resume_from(1)
    assert other.threads(2) == 1
    machine.run(1.0, 0, 1)
    assert other.threads(2) == 2
