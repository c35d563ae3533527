"""The hidden tests, and the package without answers: what gets through one must not get through all."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import socket
import subprocess
import sys
import time

import mutants
import pytest
import torch
from marking_fixtures import NBGRADER
from marking_limits import LIMITS

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

import nst_helpers
from nst_helpers import checks, losses
from nst_helpers.checks import lessons, verdicts
from nst_helpers.checks.exercises import CHECKS
from nst_helpers.classroom import hidden
from nst_helpers.classroom.box.wire import Channel
from nst_helpers.classroom.judging import judge_question
from nst_helpers.classroom.questions import Question
from nst_helpers.classroom.remote import Connection, Lost
from nst_helpers.classroom.student_package import FURTHER, allowed, taken_away, write_package

pytestmark = pytest.mark.slow  # each builds a course and starts boxes for answers


def judged(name: str, function: object) -> tuple[float, verdicts.Verdict]:
    """As in marking, the box aside."""
    verdict = CHECKS[name][0](function)
    return hidden.inspect(name, function, seed=11) if verdict else (0.0, verdict)


def test_every_mutant_of_the_checks_is_below_full_marks_with_its_own_sentence():
    assert len(mutants.WRONG) >= 40
    for name, mistake, function in mutants.WRONG:
        share, verdict = judged(name, function)
        assert share < 1, (name, mistake)
        assert verdict.mistake == mistake, (name, mistake, verdict)
        assert len(repr(verdict)) > 20


def test_right_answers_in_unusual_clothes_get_all_points():
    full = 0
    for name, function in mutants.RIGHT:
        share, verdict = judged(name, function)
        if getattr(function, "__name__", "") == "chatty":  # it calls view
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


# --- the package that the students' code gets


@pytest.fixture(scope="module")
def students_package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    write_package(folder)
    return folder


TRY_EVERYTHING = """
import inspect, json, pkgutil, importlib, socket, sys, types
import torch
import nst_helpers
from nst_helpers.classroom.box import harness, wire

found = {}
compute_nothing = ("box", "__main__", "cli", "live", "io", "budget", "sweeps", "pretrained", "figures")
for info in pkgutil.walk_packages(nst_helpers.__path__, "nst_helpers."):
    if set(info.name.split(".")) & set(compute_nothing):
        continue
    try:
        module = importlib.import_module(info.name)
    except ImportError:
        continue
    for name, value in vars(module).items():
        if callable(value) and str(getattr(value, "__module__", "")).startswith("nst_helpers"):
            place = f"{value.__module__}:{getattr(value, '__qualname__', name)}"  # each once, wherever it is imported
            found[place] = value
            if isinstance(value, type):
                methods = {n: v for n, v in vars(value).items() if inspect.isfunction(v) and not n.startswith("__")}
                found |= {f"{place}.{n}": v for n, v in methods.items()}
import nst_helpers.losses as losses
found |= {f"convention {n}": c.style for n, c in losses.CONVENTIONS.items()}
def takes(value):
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return list(range(9))  # nobody knows
    counts = []
    for count in range(9):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        counts.append(count)
    return counts

server = socket.create_server(("127.0.0.1", 0))
print(json.dumps([server.getsockname()[1], {name: takes(found[name]) for name in sorted(found)}]), flush=True)
for name in sorted(found):
    connection, _ = server.accept()
    shell = types.SimpleNamespace(user_ns={"answer": found[name]})
    harness.serve(wire.Channel(connection), shell)
    connection.close()
"""


def arguments(function: object) -> int:
    """How many arguments a check gives to an answer: those of the course's own that have to be given."""
    return sum(
        p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
        for p in inspect.signature(function).parameters.values()
    )


def test_nothing_in_the_students_package_answers_a_question(students_package, request):
    """Every function and class of the folders that compute is handed in as the answer to every question.

    Those are left out that can't be called with as many arguments as the question has.
    """
    wanted = {question: arguments(own) for question, (_, own) in CHECKS.items()}
    environment = {**os.environ, "PYTHONPATH": str(students_package), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", TRY_EVERYTHING]
    process = subprocess.Popen(command, env=environment, cwd=students_package, stdout=subprocess.PIPE, text=True)
    request.addfinalizer(process.kill)
    port, names = json.loads(process.stdout.readline())
    assert len(names) > 150
    assert {"nst_helpers.losses:gram_matrix", "nst_helpers.checks.lessons:ContentLossLayer"} <= set(names)
    passed, tried = [], set()
    for name, counts in names.items():
        with socket.create_connection(("127.0.0.1", port)) as talk:
            connection = Connection(Channel(talk), deadline=time.monotonic() + 60)
            _, stand_in, _ = connection.run([], "answer")
            try:
                for question in (question for question in CHECKS if wanted[question] in counts):
                    tried.add((name, question))
                    passed += [(name, question)] if CHECKS[question][0](stand_in) else []
            except Lost:
                continue
    process.wait()
    process.stdout.close()
    assert passed == []
    assert len(tried) > 1500
    assert {question for _, question in tried} == set(CHECKS)


def test_a_question_gets_back_what_it_does_not_ask_for(server):
    """A style layer may be built on the course's own Gram matrix, and a Gram matrix may not."""
    for question, own in (("style_loss_layer", False), ("gram_matrix", True)):
        with server.box(LIMITS) as box:
            box.connection.allow(allowed(question))
            cells = [{"number": 1, "source": "import nst_helpers as nst\ngram_matrix = nst.gram_matrix"}]
            _, function, _ = box.connection.run(cells, "gram_matrix")
            assert bool(checks.check_gram_matrix(function)) is not own
            assert box.connection.absent is own


# Right answers around what the package computes for itself, where the question asks for just that.
BY_A_DETOUR = {
    "total_variation, by its bands": (
        "total_variation",
        "from nst_helpers.accel import bands\ndef total_variation(image):\n    return bands._band(image, 'l1', 0)",
    ),
    "total_variation, by the layer in bands": (
        "total_variation",
        "from nst_helpers.accel.bands import BandedTVLoss\n"
        "def total_variation(image):\n"
        "    layer = BandedTVLoss(kind='l1')\n    layer(image)\n    return layer.loss",
    ),
    "style_loss_layer, around the accelerated one": (
        "StyleLossLayer",
        "from torch import nn\nfrom nst_helpers.accel.accelerate import FusedStyleLoss\n"
        "class StyleLossLayer(nn.Module):\n"
        "    def __init__(self, target):\n        super().__init__()\n"
        "        self.inner = FusedStyleLoss(nst.gram_matrix(target))\n"
        "    def forward(self, features):\n        self.inner(features)\n"
        "        self.loss = self.inner.loss\n        return features",
    ),
    "masked_gram, by the fused one": (
        "masked_gram",
        "from torch.nn import functional as F\nfrom nst_helpers.accel.gram import fused_gram\n"
        "def masked_gram(features, mask):\n"
        "    return fused_gram(features, F.adaptive_avg_pool2d(mask, features.shape[-2:]))",
    ),
}


@pytest.mark.parametrize("what", BY_A_DETOUR)
def test_an_answer_built_around_the_packages_own_earns_nothing(server, what):
    symbol, source = BY_A_DETOUR[what]
    name = "style_loss_layer" if symbol == "StyleLossLayer" else symbol
    question = Question(name, "00", "00", name, 2.0, "answer", "test", symbol)
    cells = [{"number": 0, "source": "import nst_helpers as nst"}, {"number": 1, "source": source}]
    verdict = judge_question(server, question, {"cells": cells, "answer": 1, "all": cells}, LIMITS, 5, {})
    assert (verdict["share"], verdict["mistake"]) == (0, "package-function"), verdict


LAYERS = {
    "content_loss_layer": losses.ContentLoss,
    "style_loss_layer": losses.StyleLoss,
    "total_variation": losses.TVLoss,
}


@pytest.mark.parametrize("question", LAYERS)
def test_every_layer_of_the_package_that_does_what_a_question_asks_for_is_taken_away(question):
    """A new kind of loss layer, too: all that inherit from the one that the question is about."""
    for info in pkgutil.walk_packages(nst_helpers.__path__, "nst_helpers."):
        if ".classroom" not in info.name and not info.name.endswith("__main__"):
            importlib.import_module(info.name)
    found = [LAYERS[question]]
    for kind in found:
        found += kind.__subclasses__()
    forwards = {f"{kind.__module__}:{kind.__qualname__}.forward" for kind in found if "forward" in vars(kind)}
    assert len(found) > 1
    assert forwards <= {name for name, _ in taken_away(question)}


def test_every_question_has_functions_that_are_taken_away(students_package):
    assert set(FURTHER) <= set(CHECKS)
    assert all(list(taken_away(question)) for question in CHECKS)
    text = "".join(path.read_text("utf-8") for path in students_package.rglob("*.py"))
    for secret in ("Mistake(", "ExerciseSpec(", "def examine_function", "hidden_cases", "def assess("):
        assert secret not in text
