"""Wrong answers of every kind, each in its box: the marks, the sentences, and that nothing else suffers."""

# ruff: noqa: E501 - cells of others

from __future__ import annotations

import json
import os
import re
import signal
import socket

import class_of_fifty as fifty
import mutants
import psutil
import pytest
import student_answers
import torch
from conftest import slow
from marking_fixtures import NBGRADER
from marking_limits import LIMITS

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

from nst_helpers.checks.exercises import CHECKS
from nst_helpers.classroom import judging
from nst_helpers.classroom.box.server import Limits
from nst_helpers.classroom.boxes import Box
from nst_helpers.classroom.judge import judge_hand_in
from nst_helpers.classroom.preparing import released_notebooks
from nst_helpers.classroom.running import make_bundle

pytestmark = pytest.mark.slow  # each builds a course and starts boxes for answers

# An endless loop takes all the processor time that it gets, and sleeping three times as much by the clock.
PACE = slow()
LIMITS_OF = {what: Limits(seconds=PACE, memory=1.5) for what in fifty.SLY if "endless" in what or "loop" in what}
LIMITS_OF |= {"prints without end": Limits(seconds=PACE, memory=1.5), "sleeps": Limits(seconds=0.4 * PACE, memory=1.5)}


def hand_in(server, writer, books: dict, *, limits: Limits = LIMITS) -> dict:
    """What the judge finds in these notebooks."""
    course = writer.course
    plan = {
        "questions": [q.to_json() for q in course.questions],
        "released": released_notebooks(course.release, course.notebooks),
        "personal": False,
    }
    files = {f"{name}.ipynb": (fifty.as_bytes(book), 0.0) for name, book in books.items()}
    return judge_hand_in(server, make_bundle("ann", files, plan, limits=limits))


def second_opinion(
    server, writer, answers: dict[str, str], *, alone: bool = False, limits: Limits = LIMITS, **more
) -> dict:
    """The verdicts on these answers and, unless `alone`, on right ones beside them in the same notebook."""
    books = writer.write(answers, **more)
    wanted = {writer.questions[name].notebook for name in answers}
    if alone:
        for name, question in writer.questions.items():
            if question.notebook in wanted and name not in answers:
                cells = books[question.notebook]["cells"]
                cells.remove(writer.answer(books, name))
    return hand_in(server, writer, {name: book for name, book in books.items() if name in wanted}, limits=limits)


def test_there_are_enough_wrong_answers():
    assert len(fifty.SLY) >= 40
    assert len({text for _, _, text in fifty.SLY.values()}) == len(fifty.SLY)
    assert len(fifty.UNUSUAL) >= 10
    assert 8 <= len(fifty.IN_THE_GATE) <= 15


@pytest.mark.parametrize("what", [what for what in fifty.SLY if what not in fifty.IN_THE_GATE])  # see test_class.py
def test_a_wrong_answer_loses_its_own_points_with_the_right_sentence(server, writer, what):
    name, pattern, text = fifty.SLY[what]
    result = second_opinion(server, writer, {name: text}, alone=True, limits=LIMITS_OF.get(what, LIMITS))
    assert result["accident"] is None
    verdict = result["verdicts"][name]
    assert verdict["share"] == fifty.PARTIAL.get(what, 0), verdict
    assert re.search(pattern, verdict["sentence"]), verdict
    assert verdict["sentence"].count("\n") == 0


@pytest.mark.parametrize("what", fifty.UNUSUAL)
def test_a_right_but_unusual_answer_gets_everything(server, writer, what):
    verdicts = second_opinion(server, writer, fifty.UNUSUAL[what], alone=True)["verdicts"]
    assert {n: v["share"] for n, v in verdicts.items()} == dict.fromkeys(fifty.UNUSUAL[what], 1.0), verdicts


def test_one_wrong_answer_costs_the_others_nothing(server, writer):
    """And an endless loop costs the seconds that it may take, and no second more."""

    def seconds_of_boxes() -> float:
        used = psutil.Process(server._process.pid).cpu_times()
        return used.children_user + used.children_system

    before = seconds_of_boxes()
    answers = {"gram_matrix": fifty.SLY["endless cell"][2]}
    verdicts = second_opinion(server, writer, answers, limits=LIMITS_OF["endless cell"])["verdicts"]
    assert {n: v["share"] for n, v in verdicts.items()} == {"gram_matrix": 0, "style_loss": 1}
    assert verdicts["gram_matrix"]["accident"] == "time"
    # It is ended by ticks, and these are exact seconds.
    assert 0.5 <= (seconds_of_boxes() - before) / PACE < 1.8


@pytest.mark.parametrize(
    ("report", "accident"),
    [
        ({"signal": signal.SIGKILL, "seconds": 0.8}, "time"),  # beside other programs
        ({"signal": signal.SIGKILL, "seconds": 1.2}, "time"),
        ({"signal": signal.SIGXCPU, "seconds": 0.4}, "time"),
        ({"signal": signal.SIGKILL, "seconds": 0.1}, "exit"),
        ({"code": 1, "seconds": 1.2}, "exit"),
        ({"code": 77, "seconds": 0.1}, "memory"),
        ({"signal": signal.SIGSEGV, "seconds": 0.1}, "crash"),
    ],
)
def test_how_a_box_has_ended_follows_from_its_keepers_report(report, accident):
    (mine, theirs), (read, write) = socket.socketpair(), os.pipe()
    with mine, theirs, os.fdopen(read), os.fdopen(write, "wb") as told:
        box = Box(mine, read, keeper=0, server=os.getpid(), limits=Limits(seconds=1))
        told.write(json.dumps(report).encode())
        told.flush()
        assert box._how_it_ended().accident == accident


PARTLY = {
    "another dtype": ("normalize", "wrong-dtype", 0.75, "((x - MEAN) / STD).double()", "a quarter"),
    "in place": ("to_array", "in-place", 0.75, "x.detach()[0].clamp_(0, 1).mul_(255).round_().byte().permute(1, 2, 0).numpy()", "a quarter"),
    "no gradient": ("normalize", "detached", 0.5, "(x.detach() - MEAN) / STD", "half"),
    "in place and without gradient": ("normalize", None, 0, "x.sub_(MEAN).div_(STD)", ""),
    "in place and wrong": ("to_array", None, 0, "x.detach()[0].mul_(255).byte().permute(1, 2, 0).numpy()", ""),
    "no gradient and wrong": ("normalize", None, 0, "(x.detach() - MEAN)", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", PARTLY)
def test_right_values_keep_the_stated_share(server, writer, what):
    name, mistake, share, formula, words = PARTLY[what]
    text = (
        "MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))\n"
        f"def {name}(x):\n    return {formula}"
    )
    verdict = second_opinion(server, writer, {name: text}, alone=True)["verdicts"][name]
    assert verdict["share"] == share, verdict
    assert mistake in (None, verdict["mistake"])
    assert words in verdict["sentence"]
    assert share in (0, judging.SHARES.get(verdict["mistake"]))


SET_FOR_ALL = {
    "the default dtype": "torch.set_default_dtype(torch.float64)",
    "the default device": "torch.set_default_device('meta')",
    "no gradients": "torch.set_grad_enabled(False)",
    "old names of NumPy": "np.bool = bool\nnp.int = int",
}


@pytest.mark.parametrize("what", SET_FOR_ALL)
def test_what_one_answers_cell_sets_for_all_costs_the_others_nothing(server, writer, what):
    mean = "    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))"
    answers = {
        "to_tensor": f"{SET_FOR_ALL[what]}\n{fifty.UNUSUAL['numpy']['to_tensor']}",
        "normalize": f"def normalize(x):\n{mean}\n    return (x - mean) / std",
    }
    verdicts = second_opinion(server, writer, answers, blank=("to_array", "denormalize"))["verdicts"]
    assert {name: verdicts[name]["share"] for name in answers} == {"to_tensor": 1, "normalize": 1}, verdicts


def test_a_layer_in_a_box_knows_its_mode():
    class Layer(torch.nn.Module):
        def forward(self, features):
            return features if self.training else features * 0

    layer, end = served(Layer)
    made = layer()
    assert made(torch.ones(2)).tolist() == [1, 1]
    assert made.eval()(torch.ones(2)).tolist() == [0, 0]
    assert made.train()(torch.ones(2)).tolist() == [1, 1]
    end()


def test_a_hook_of_the_judges_runs_once_for_each_gradient():
    stand_in, end = served(lambda image: image * 2)
    image, seen = torch.ones(2, requires_grad=True), []
    image.register_hook(seen.append)
    stand_in(image).sum().backward()
    stand_in(image)
    end()
    assert len(seen) == 1


def test_what_the_judge_changes_of_a_tensor_arrives_with_the_next_call():
    def answer(image):
        return image.detach() + (0 if image.grad is None else image.grad)

    stand_in, end = served(answer)
    image = torch.ones(2, requires_grad=True)
    given = [stand_in(image).tolist()]
    image.grad = torch.tensor([10.0, 20.0])
    given.append(stand_in(image).tolist())
    image.data += 2
    given.append(stand_in(image).tolist())
    image.grad = None
    given.append(stand_in(image).tolist())
    end()
    assert given == [[1, 1], [11, 21], [13, 23], [3, 3]]


def test_magics_and_helpers_of_other_cells_are_run(server, writer):
    books = writer.write(
        {"gram_matrix": "%%time\ndef gram_matrix(f):\n    return flat(f) @ flat(f).mT / flat(f).shape[2]"}
    )
    writer.insert_before(books, "gram_matrix", "%matplotlib inline\n!echo hello\nflat = lambda f: f.flatten(2)")
    assert hand_in(server, writer, {"03_gram": books["03_gram"]})["verdicts"]["gram_matrix"]["share"] == 1


AS_A_NOTEBOOK = {
    "a helper between the answer and its test": (
        ["def gram_matrix(f):\n    return product(f) / f.shape[2] / f.shape[3]", "def product(f):\n    f = f.flatten(2)\n    return f @ f.mT"],
    ),
    "a star import": (["from torch import *\nfrom math import *", "def gram_matrix(f):\n    return einsum('bchw,bdhw->bcd', f, f) / prod(f.shape[2:])"],),
    "a written file": (
        ["%%writefile mine.py\ndef flat(f):\n    return f.flatten(2)", "import mine\ndef gram_matrix(f):\n    return mine.flat(f) @ mine.flat(f).mT / mine.flat(f).shape[2]"],
    ),
    "await": (["import asyncio\nawait asyncio.sleep(0)\ndef gram_matrix(f):\n    f = f.flatten(2)\n    return f @ f.mT / f.shape[2]"],),
    "display before the def": (["display('I begin')\ndef gram_matrix(f):\n    display(f.shape)\n    f = f.flatten(2)\n    return f @ f.mT / f.shape[2]"],),
    "an answer in two, the second half demonstrates": (
        ["def gram_matrix(f):\n    f = f.flatten(2)\n    return f @ f.mT / f.shape[2]", "example = gram_matrix(torch.ones(1, 2, 3, 4))\nexample"],
    ),
    "its own source": (["import inspect\ndef gram_matrix(f):\n    assert 'def' in inspect.getsource(gram_matrix)\n    f = f.flatten(2)\n    return f @ f.mT / f.shape[2]"],),
    "compiled from its source": (["@torch.jit.script\ndef product(f):\n    return f @ f.transpose(1, 2)", "def gram_matrix(f):\n    return product(f.flatten(2)) / f[0, 0].numel()"],),
    "through globals": (["globals()['flat'] = lambda f: f.flatten(2)", "def gram_matrix(f):\n    return flat(f) @ flat(f).mT / flat(f).shape[2]"],),
    "a name that no text shows": (["get_ipython().user_ns['half'] = lambda f: f.flatten(2)", "def gram_matrix(f):\n    return half(f) @ half(f).mT / half(f).shape[2]"],),
    "its name by setattr": (["import builtins\nbuiltins.flat = lambda f: f.flatten(2)", "def gram_matrix(f):\n    return flat(f) @ flat(f).mT / flat(f).shape[2]"],),
    "the prelude changed": (["def gram_matrix(f):\n    return reduce_all(f)", "import functools\nreduce_all = functools.partial(lambda f: f.flatten(2) @ f.flatten(2).mT / f[0, 0].numel())"],),
}  # fmt: skip


@pytest.mark.parametrize("what", AS_A_NOTEBOOK)
def test_marked_as_the_notebook_behaves(server, writer, what):
    (sources,) = AS_A_NOTEBOOK[what]
    books = writer.write(blank=("gram_matrix",))
    cells = books["03_gram"]["cells"]
    stub = writer.answer(books, "gram_matrix")
    at = cells.index(stub)
    main = next(i for i, text in enumerate(sources) if "def gram_matrix" in text)
    stub["source"] = sources[main]
    cells[at + 1 : at + 1] = [fifty.code(text) for text in sources[main + 1 :]]
    cells[at:at] = [fifty.code(text) for text in sources[:main]]
    verdict = hand_in(server, writer, {"03_gram": books["03_gram"]})["verdicts"]["gram_matrix"]
    assert verdict["share"] == 1, verdict


def test_whatever_a_hand_in_starts_is_ended(server, writer):
    text = fifty.SLY["leaves a process behind"][2]
    second_opinion(server, writer, {"to_array": text}, alone=True)
    left = [p for p in psutil.Process().children(recursive=True) if "time.sleep(600)" in " ".join(p.cmdline())]
    assert left == []


def test_a_hand_in_that_takes_too_long_as_a_whole_is_stopped(server, writer):
    books = writer.write({"gram_matrix": "def gram_matrix(f):\n    import time\n    time.sleep(100)"})
    limits = Limits(seconds=0.3, memory=1.5, total=0.5)
    result = hand_in(server, writer, {"03_gram": books["03_gram"]}, limits=limits)
    assert result["accident"] == "time"
    assert list(result["verdicts"]) == ["gram_matrix"]


def test_an_error_in_a_cell_is_named_with_the_cells_number(server, writer):
    books = writer.write({"gram_matrix": "def gram_matrix(f):\n    return scale * f"})
    writer.insert_before(books, "gram_matrix", "scale = 1\nopen('/nowhere/at/all')")
    cells = books["03_gram"]["cells"]
    number = next(i for i, c in enumerate(cells, 1) if "nowhere" in c["source"])
    result = hand_in(server, writer, {"03_gram": books["03_gram"]})
    assert result["errors"]["03_gram"] == {
        number: "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'"
    }


# --- the same verdict through the box as without one


def served(function: object):
    """A stand-in for a function that is served in this process, by the code that serves answers in a box."""
    import socket
    import threading

    from nst_helpers.classroom.box.harness import serve
    from nst_helpers.classroom.box.wire import Channel
    from nst_helpers.classroom.remote import Connection

    mine, theirs = socket.socketpair()
    shell = type("Shell", (), {"user_ns": {"answer": function}})
    worker = threading.Thread(target=lambda: (serve(Channel(theirs), shell), theirs.close()))
    worker.start()
    _, stand_in, _ = Connection(Channel(mine)).run([], "answer")
    return stand_in, lambda: (mine.close(), worker.join())


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_says_the_same_of_an_answer_in_a_box(name):
    """So there is one source of checks, and it need not know where an answer runs: one of each mistake, and some more."""
    by_mistake = {mistake: f for n, mistake, f in mutants.WRONG if n == name}
    chosen = [(lambda f=f: f) for f in by_mistake.values()]
    chosen += [(lambda f=f: f) for n, f in mutants.RIGHT if n == name][::4]
    chosen += [answer.define for answer in student_answers.load() if answer.exercise == name][::7]
    assert len(chosen) >= 12
    for define in chosen:
        here = CHECKS[name][0](define())
        stand_in, end = served(define())
        there = CHECKS[name][0](stand_in)
        end()
        assert (there.mistake, there.passed) == (here.mistake, here.passed), (here, there)
