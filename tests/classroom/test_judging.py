"""Wrong answers of every kind, each in its box: the marks, the sentences, and that nothing else suffers."""

from __future__ import annotations

import os
import re
import signal
import time

import class_of_fifty as fifty
import psutil
import pytest

pytest.importorskip("nbgrader")
if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

from nst_helpers.classroom.running import make_bundle, run_bundle, stop_fork_servers
from nst_helpers.classroom.sandbox import Boxed, Limits, in_a_box
from nst_helpers.classroom.sources import build

LIMITS = Limits(seconds=2, memory=1.5, total=100)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    course = build(tmp_path_factory.mktemp("course"))
    made = fifty.Writer(course.release, course.source, course.questions)
    made.course = course
    yield made
    stop_fork_servers()


def second_opinion(writer, answers: dict[str, str], **more) -> dict:
    """The verdicts on these answers and, where they share a notebook, on right ones beside them."""
    books = writer.write(answers, **more)
    wanted = {writer.questions[name].notebook for name in answers}
    questions = [q.to_json() for q in writer.course.questions]
    chosen = {name: book for name, book in books.items() if name in wanted}
    book = writer.course.blank_book.read_bytes()
    return run_bundle(make_bundle(chosen, book, questions, seed=5, limits=LIMITS, nbgrader=False))


def test_there_are_enough_wrong_answers():
    assert len(fifty.SLY) >= 40
    assert len({text for _, _, text in fifty.SLY.values()}) == len(fifty.SLY)
    assert len(fifty.UNUSUAL) >= 10


@pytest.mark.parametrize("what", fifty.SLY)
def test_a_wrong_answer_loses_its_own_points_with_the_right_sentence(writer, what):
    name, pattern, text = fifty.SLY[what]
    result = second_opinion(writer, {name: text})
    assert result["accident"] is None
    verdict = result["verdicts"][name]
    assert verdict["share"] == fifty.PARTIAL.get(what, 0), verdict
    assert re.search(pattern, verdict["sentence"]), verdict
    assert verdict["sentence"].count("\n") == 0
    others = {n: v["share"] for n, v in result["verdicts"].items() if n != name}
    assert others
    assert set(others.values()) == {1.0}, others


@pytest.mark.parametrize("what", fifty.UNUSUAL)
def test_a_right_but_unusual_answer_gets_everything(writer, what):
    verdicts = second_opinion(writer, fifty.UNUSUAL[what])["verdicts"]
    assert {n: v["share"] for n, v in verdicts.items()} == dict.fromkeys(verdicts, 1.0), verdicts


def test_magics_and_helpers_of_other_cells_are_run(writer):
    books = writer.write(
        {"gram_matrix": "%%time\ndef gram_matrix(f):\n    return flat(f) @ flat(f).mT / flat(f).shape[2]"}
    )
    writer.insert_before(books, "gram_matrix", "%matplotlib inline\n!echo hello\nflat = lambda f: f.flatten(2)")
    questions = [q.to_json() for q in writer.course.questions]
    bundle = make_bundle(
        {"03_gram": books["03_gram"]}, writer.course.blank_book.read_bytes(), questions, seed=5, limits=LIMITS
    )
    result = run_bundle(bundle)
    assert result["verdicts"]["gram_matrix"]["share"] == 1, result["verdicts"]
    assert result["nbgrader"]["scores"]["check-3-1"] == 3
    assert result["nbgrader"]["scores"]["written-03"] == 0  # left as it was


def test_whatever_a_hand_in_starts_is_ended(writer):
    text = fifty.SLY["leaves a process behind"][2]
    second_opinion(writer, {"to_array": text})
    left = [p for p in psutil.Process().children(recursive=True) if "time.sleep(600)" in " ".join(p.cmdline())]
    assert left == []


def test_a_hand_in_that_takes_too_long_as_a_whole_is_stopped(writer):
    books = writer.write({"gram_matrix": fifty.SLY["endless loop"][2]})
    questions = [q.to_json() for q in writer.course.questions]
    limits = Limits(seconds=100, memory=1.5, total=2)
    book = writer.course.blank_book.read_bytes()
    result = run_bundle(make_bundle({"03_gram": books["03_gram"]}, book, questions, seed=5, limits=limits))
    assert result["accident"] == "time"
    assert result["verdicts"] == {}
    # And the next one is marked as if nothing had been.
    assert second_opinion(writer, {"normalize": fifty.UNUSUAL["own copy in place"]["normalize"]})["accident"] is None


BOXES = {
    "an answer": (lambda: {"a": [1, None]}, Boxed({"a": [1, None]})),
    "a long answer": (lambda: "x" * 300_000, Boxed("x" * 300_000)),
    "no end": (lambda: [1 for _ in iter(int, 1) if 0], Boxed(accident="time", detail="1 seconds")),
    "a long sleep": (lambda: time.sleep(60), Boxed(accident="time", detail="1 seconds")),
    "an exit": (lambda: os._exit(0), Boxed(accident="exit")),
    "an exception": (lambda: 1 / 0, Boxed(accident="exit")),
    "a crash": (lambda: os.kill(os.getpid(), signal.SIGUSR1), Boxed(accident="crash", detail="SIGUSR1")),
    "bytes": (lambda: len(bytearray(2**33)), Boxed({"accident": "memory"})),
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests' threads; the fork_server has none
@pytest.mark.parametrize("what", BOXES)
def test_a_box_holds(what):
    work, expected = BOXES[what]
    assert in_a_box(work, Limits(memory=1.0), seconds=1) == expected
