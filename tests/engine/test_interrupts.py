"""Ctrl-C at any moment: a whole picture or none, no switch left behind, and a checkpoint that goes on."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import threading

import pytest
import torch
from conftest import TOY, noise, picture
from forked import forked_pool

from nst_helpers import Optimisation, build_model, stylize
from nst_helpers.accel import threads
from nst_helpers.encoders import Encoder
from nst_helpers.engine.interrupts import hold_interrupts

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
CONTENT, STYLE = picture(16, 20), picture(16, 16, 1)


def given(**options):
    return {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 4} | LAYERS | options


@pytest.fixture(autouse=True)
def _threads_of_its_own(monkeypatch):
    """A Ctrl-C amid the switches of a run's threads may leave them as they are: other tests start with their own."""
    monkeypatch.setattr(threads, "_caller", threads._Caller())


class At:
    """Sends a real Ctrl-C when the interpreter reaches the n-th line of the package, or of PyTorch's switches."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def trace(self, frame, event, argument):
        name = frame.f_code.co_filename
        watched = "nst_helpers" in name or name.endswith(("grad_mode.py", "contextlib.py"))
        return self.line if watched else None

    def line(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
        return self.line


def lines_of(work) -> int:
    counter = At(10**9)
    with counter:
        work()
    return 10**9 - counter.left


@pytest.mark.slow
def test_500_interrupts_leave_a_whole_picture_or_none(tmp_path):
    """In a process of its own: one amid an `except` leaves its error as the context of all that come later."""
    with forked_pool() as pool:
        ends = pool.submit(interrupted, tmp_path).result()
    assert min(ends.get(end, 0) for end in ("none", "interrupted", "finished")) > 5, ends


def interrupted(tmp_path) -> dict[str, int]:
    """How often each end came."""
    options = given(steps=3)
    options["encoder"] = Encoder(TOY, seed=1)
    whole = stylize(CONTENT, STYLE, **options)
    after = [CONTENT, *(stylize(CONTENT, STYLE, **options | {"steps": n}).image for n in (1, 2, 3))]
    chance, ends, state = random.Random(0), {}, tmp_path / "state"
    lines = lines_of(lambda: stylize(CONTENT, STYLE, checkpoint=state, **options))
    for n in range(500):
        state.unlink(missing_ok=True)
        result = None
        with contextlib.suppress(KeyboardInterrupt), At(chance.randrange(1, 11 * lines // 10)):
            result = stylize(CONTENT, STYLE, checkpoint=state, **options)
        sys.settrace(None)
        assert torch.is_grad_enabled(), n
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ends[result.stopped if result else "none"] = ends.get(result.stopped if result else "none", 0) + 1
        if result is None:
            continue
        # The best picture after so many steps, and a history that says so.
        assert torch.equal(result.image, after[len(result.history)]), n
        assert [e.loss for e in result.history] == [e.loss for e in whole.history[: len(result.history)]]
        if result.stopped == "interrupted" and result.history and n % 10 == 0:
            resumed = stylize(CONTENT, STYLE, checkpoint=state, resume=True, **options)
            assert torch.equal(resumed.image, whole.image)
    return ends


@pytest.mark.parametrize("every", [37, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"precondition": True}, {"ahead": True}])
def test_a_step_that_is_cut_short_changes_nothing(options, every):
    """Whoever raises in the middle of a step: the image is as before it, and the next steps are sound."""
    model = build_model(Encoder(TOY, seed=1), CONTENT, STYLE, **LAYERS)
    lines = lines_of(Optimisation(model, noise(1, 3, 16, 20), total=5, **options).step)
    for line in range(1, lines, every):
        run = Optimisation(model, noise(1, 3, 16, 20), total=5, **options)
        records = [run.step()]
        # Either nothing has happened yet, or the step is undone: ahead, that is the change after the last record too.
        before = [run.image.detach().clone(), *([run._pending.image.clone()] if run._pending else [])]
        try:
            with At(line):
                records.append(run.step())
        except KeyboardInterrupt:
            assert any(torch.equal(run.image.detach(), image) for image in before) or run.done == 2, line
        finally:
            sys.settrace(None)
        while not run.finished:
            records.append(run.step())
        assert run.done == 5
        assert [e.step for e in records][-1] == 5
        assert run.best_loss < records[0].loss
        assert 0 <= run.image.min() <= run.image.max() <= 1


def test_a_signal_waits_and_then_goes_to_whoever_handled_it_before():
    heard = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with hold_interrupts():
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
        with hold_interrupts():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM] * 3  # the second doesn't wait, and brings the first along
        assert heard == [signal.SIGTERM] * 3
    finally:
        signal.signal(signal.SIGTERM, old)


def test_ctrl_c_in_a_step_ends_the_run_after_it():
    done = []

    class Pressing(torch.nn.Module):
        def forward(self, x):
            done.append(1)
            if len(done) == 6:  # in mid-step: the targets took two passes
                signal.raise_signal(signal.SIGINT)
            return x

    encoder = Encoder(TOY, seed=1)
    encoder.layers["pool1"].register_forward_hook(lambda module, inputs, output: Pressing()(output))
    result = stylize(CONTENT, STYLE, **given(encoder=encoder, steps=50))
    assert result.stopped == "interrupted"
    assert 1 <= len(result.history) < 6
    assert torch.equal(result.image, stylize(CONTENT, STYLE, **given(steps=len(result.history))).image)


def test_a_second_ctrl_c_does_not_wait_and_still_saves(tmp_path):
    done = []
    encoder = Encoder(TOY, seed=1)

    def press(module, inputs, output):
        done.append(1)
        if len(done) == 6:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("unreachable")

    encoder.layers["pool1"].register_forward_hook(press)
    options = given(encoder=encoder, steps=50)
    result = stylize(CONTENT, STYLE, checkpoint=tmp_path / "state", **options)
    assert "unreachable" not in done
    assert result.stopped == "interrupted"
    assert result.history
    assert (tmp_path / "state").is_file()


def test_other_threads_ask_for_no_signals():
    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        with hold_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
