"""The hidden tests and the guards around the checks: what gets through one must not get through all."""

from __future__ import annotations

import mutants
import numpy as np
import pytest
import torch

pytest.importorskip("nbgrader")

import nst_helpers as nst
from nst_helpers import checks, losses
from nst_helpers.checks import exercises, lessons, values, verdicts
from nst_helpers.checks.exercises import CHECKS
from nst_helpers.classroom import hidden
from nst_helpers.classroom.integrity import Snapshot, own_work
from nst_helpers.classroom.judging import _judged
from nst_helpers.classroom.questions import Question


def judged(name: str, function: object) -> tuple[float, verdicts.Verdict]:
    """As in marking, the fork aside."""
    question = Question(name, "03", "03_gram", name, 3, "a", "t", name)
    return _judged(question, function, CHECKS[name][0], hidden.inspect, 11)


def test_every_mutant_of_the_checks_is_below_full_marks_with_its_own_sentence():
    assert len(mutants.WRONG) >= 40
    named = 0
    for name, mistake, function in mutants.WRONG:
        share, verdict = judged(name, function)
        assert share < 1, (name, mistake)
        # Mutants made of the package's functions are caught as such, all others by what they do wrong.
        assert verdict.mistake in (mistake, "package-function"), (name, mistake, verdict)
        assert len(repr(verdict)) > 20
        named += verdict.mistake == mistake
    assert named >= 400


def own(function: object) -> bool:
    """Whether a right answer of the mutants' list is the package's own in disguise."""
    return function is losses.ContentLoss


def test_right_answers_in_unusual_clothes_get_all_points():
    full = 0
    for name, function in mutants.RIGHT:
        share, verdict = judged(name, function)
        if own(function) or verdict.mistake == "package-function":
            assert share == 0
        elif function.__name__ == "chatty":  # it calls view
            assert (share, verdict.mistake) == (0.75, "fragile")
        else:
            assert share == 1, (name, verdict)
            full += 1
    assert full >= 30


ONLY_HIDDEN = {
    "gram_matrix, batches of two and three with the check's shapes": (
        "gram_matrix",
        lambda x: losses.gram_matrix(x) if x.shape[1:] != (6, 2, 9) else x.flatten(2),
        0.0,
    ),
    "gram_matrix, view": ("gram_matrix", lambda x: (v := x.view(*x.shape[:2], -1)) @ v.mT / v.shape[2], 0.75),
    "normalize, float32 alone": (
        "normalize",
        lambda x: (x - mutants.MEAN) / mutants.STD if x.dtype == torch.float32 else 1 / 0,
        0.75,
    ),
    "total_loss, at most five layers": ("total_loss", lambda c, s, a, b: a * c + b * sum(s) / min(len(s), 5), 0.0),
    "receptive_field, by table": (
        "receptive_field",
        lambda names: lessons.receptive_field(names) if sum("pool" in n for n in names) < 4 else 92,
        0.0,
    ),
    "make_closure, one for all": ("make_closure", None, 0.0),
}


def one_for_all():
    """Right for whoever is alone, and wrong side by side: the image is kept in a global."""
    kept = {}

    def make_closure(optimizer, image, loss_function):
        kept.update(optimizer=optimizer, image=image, loss=loss_function)

        def closure():
            kept["optimizer"].zero_grad()
            loss = kept["loss"](kept["image"])
            loss.backward()
            return loss

        return closure

    return make_closure


@pytest.mark.parametrize("what", ONLY_HIDDEN)
def test_the_hidden_tests_find_what_is_fragile_and_what_is_wrong(what):
    name, function, share = ONLY_HIDDEN[what]
    function = function or one_for_all()
    assert bool(CHECKS[name][0](function)) == bool(share)  # what is wrong is found by the check alone
    found, verdict = hidden.inspect(name, function, seed=3)
    assert found == share, verdict
    assert verdict.sentence.startswith(name)


@pytest.mark.parametrize("seed", [0, 1, 999_999])
def test_the_packages_own_answers_pass_the_hidden_tests(seed):
    for name, (_, answer) in CHECKS.items():
        assert hidden.inspect(name, answer, seed=seed)[0] == 1, name


def test_hidden_cases_differ_with_the_seed():
    seen = {seed: [] for seed in (1, 2)}
    for seed in seen:
        hidden.inspect("total_variation", lambda x, seed=seed: seen[seed].append(x) or x.abs().sum(), seed=seed)
    # The first case is the printed example; the others are drawn.
    pairs = list(zip(seen[1], seen[2], strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs if a.shape == b.shape)


def test_prove_gives_points_or_raises_the_sentence(capsys):
    assert hidden.prove("normalize", lambda x: (x - mutants.MEAN) / mutants.STD, points=2) == 2
    assert capsys.readouterr().out == ""
    viewing = ONLY_HIDDEN["gram_matrix, view"][1]
    assert hidden.prove("gram_matrix", viewing, points=2) == 1.5
    assert "not view" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="divide by the std"):
        hidden.prove("normalize", lambda x: x, points=2)
    with pytest.raises(AssertionError, match="course's own gram_matrix"):
        hidden.prove("gram_matrix", nst.gram_matrix, points=2)


def test_calling_the_packages_own_answer_is_seen_however_it_was_come_by():
    kept = losses.gram_matrix
    aliases = [nst.gram_matrix, kept, lambda x: kept(x), nst.losses.__dict__["gram_matrix"]]
    for function in aliases:
        with own_work("gram_matrix") as called:
            verdict = checks.check_gram_matrix(function)
        assert not verdict
        assert called[0].mistake == "package-function"
    for swallowed in (lambda x: _or_none(kept, x), lambda x: _or_none(nst.StyleLoss(torch.eye(3)[None]), x)):
        with own_work("gram_matrix") as called:
            checks.check_gram_matrix(swallowed)
        assert called
    assert kept(torch.ones(1, 2, 3, 4)).shape == (1, 2, 2)  # and everything is as it was
    with own_work("content_loss_layer") as called:
        assert checks.check_content_loss_layer(mutants.layer())  # which may call content_loss
    assert not called


def _or_none(function, *args):
    try:
        return function(*args)
    except Exception:
        return None


TAMPERING = {
    "a check": (
        "nst_helpers.checks.exercises.check_gram_matrix",
        lambda m: m.setattr(exercises, "check_gram_matrix", print),
    ),
    "a verdict": (
        "nst_helpers.checks.verdicts.Verdict.require",
        lambda m: m.setattr(verdicts.Verdict, "require", lambda self: self),
    ),
    "a verdict's truth": (
        "nst_helpers.checks.verdicts.Verdict.__bool__",
        lambda m: m.setattr(verdicts.Verdict, "__bool__", lambda self: True),
    ),
    "code in place": (
        "nst_helpers.checks.values.close",
        lambda m: m.setattr(values.close, "__code__", (lambda a, b, *, tolerance=1: True).__code__),
    ),
    "a table": (
        "nst_helpers.checks.exercises.CHECKS",
        lambda m: m.setitem(checks.CHECKS, "gram_matrix", (print, print)),
    ),
    "torch": ("torch.equal", lambda m: m.setattr(torch, "equal", lambda *a: True)),
    "a tensor's method": ("torch.Tensor.abs", lambda m: m.setattr(torch.Tensor, "abs", lambda s: s, raising=False)),
    "numpy": ("numpy.array_equal", lambda m: m.setattr(np, "array_equal", lambda *a: True)),
    "Python": ("builtins.all", lambda m: m.setattr("builtins.all", lambda x: True)),
    "the hidden tests": ("nst_helpers.classroom.hidden.inspect", lambda m: m.setattr(hidden, "inspect", print)),
    "a constant": ("nst_helpers.checks.lessons.IMAGENET_STD", lambda m: m.setattr(lessons, "IMAGENET_STD", (1, 1, 1))),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_seen_and_named(what):
    name, tamper = TAMPERING[what]
    snapshot = Snapshot()
    assert snapshot.changed() == []
    with pytest.MonkeyPatch.context() as patch:
        tamper(patch)
        assert name in snapshot.changed()
        snapshot.restore()
        assert snapshot.changed() == []
        if what == "a tensor's method":
            torch.Tensor.abs = None  # for the patch to take away again


def test_honest_work_is_not_taken_for_tampering():
    snapshot = Snapshot()
    torch.manual_seed(3)
    torch.set_printoptions(precision=5)
    np.set_printoptions(precision=5)
    for name, (check, own_answer) in CHECKS.items():
        check(own_answer)
        hidden.inspect(name, own_answer)
    _ = nst.lessons, nst.conventions
    torch.set_printoptions(profile="default")
    assert snapshot.changed() == []
