"""The whole way: a class with all its accidents through the command line, the judge and the reports.

`tools/measure/marking.py` takes all fifty this way, with all lessons, and says how long it took.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import class_of_fifty as fifty
import psutil
import pytest
from conftest import slow
from dask_cluster import dask_cluster
from marking_fixtures import NBGRADER

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

from nst_helpers.classroom import cluster, marking, running
from nst_helpers.classroom.__main__ import main
from nst_helpers.classroom.box.server import Limits
from nst_helpers.classroom.gradebook import by_hand
from nst_helpers.classroom.pages import slug_of
from nst_helpers.classroom.questions import ClassroomError
from nst_helpers.classroom.running import stop_judges
from nst_helpers.classroom.sources import ASSIGNMENT, Course

pytestmark = pytest.mark.slow  # each builds a course and starts boxes for answers

OPTIONS = ["--seconds", str(1.5 * slow()), "--memory", "2"]
ROOT = Path(__file__).parents[2]


class Class:
    """A built course, its students, and their hand-ins."""

    def __init__(self, root: Path, built: Path) -> None:
        self.root, self.place = root / "course", root / "hand-ins"
        shutil.copytree(built, self.root)
        self.course = Course(self.root)
        writer = fifty.Writer(self.course.release, self.course.source, self.course.questions)
        self.students = [s for s in fifty.make_class(writer) if s.name in fifty.GATE]
        self.by_name = {s.name: s for s in self.students}

    def mark(self, *more: str) -> int:
        return main(["mark", str(self.root), str(self.place), "--jobs", "1", *OPTIONS, *more])

    def proven_by(self, other: Class) -> None:
        """Take over the proof of the environment, which goes by the course's content."""
        (self.root / "marked").mkdir()
        shutil.copy(other.root / "marked" / "_proof.json", self.root / "marked")

    def files(self) -> dict[str, bytes]:
        """Everything that marking has written for people."""
        found = [self.root / "marks.csv", self.root / "report.html", *sorted((self.root / "feedback").glob("*"))]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}

    def kept(self) -> dict[Path, int]:
        """The results, and when they were written."""
        return {p: p.stat().st_mtime_ns for p in (self.root / "marked").glob("[!_]*.json")}


@pytest.fixture(scope="module", autouse=True)
def one_judge():
    """All tests here share a judge's process, whose start takes seconds; it ends with them."""
    before = set(psutil.Process().children(recursive=True))  # of another file's tests, say
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marking, "stop_judges", lambda: None)
        yield
    stop_judges()
    assert set(psutil.Process().children(recursive=True)) <= before


class Killed(NamedTuple):
    """What a marking that was killed had and left."""

    judges: list[psutil.Process]
    alive: list[psutil.Process]
    temporary: list[Path]
    results: dict[Path, int]
    marks: bool


def kill_marking(made: Class, temporary: Path, *, after: int) -> Killed:
    """Mark by the command line, and kill the process after so many hand-ins."""
    command = [sys.executable, "-m", "nst_helpers.classroom", "mark", str(made.root), str(made.place), "--jobs", "1"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    run = subprocess.Popen([*command, *OPTIONS], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    for line in run.stdout:
        if line.startswith(f"{after} of {len(made.students)}"):
            break
    judges = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    _, alive = psutil.wait_procs(judges, timeout=60)
    left = list(temporary.glob("nst-*"))
    return Killed(judges, alive, left, made.kept(), (made.root / "marks.csv").exists())


@pytest.fixture(scope="module")
def marked(small, tmp_path_factory, one_judge):
    """The class, whose marking was killed after two hand-ins and run again."""
    made = Class(tmp_path_factory.mktemp("class"), small)
    fifty.hand_in(made.students, made.place)
    (made.place / "03_gram.ipynb").write_text("whose?", "utf-8")
    made.killed = kill_marking(made, tmp_path_factory.mktemp("temporary"), after=2)
    made.code = made.mark()
    made.written = made.files()
    made.resumed = made.kept()
    made.results = marking.results_of(made.course)
    return made


def test_every_hand_in_gets_the_right_marks_whatever_is_in_it(marked):
    assert marked.code == 0
    assert len(marked.students) == len(marked.results) == len(fifty.GATE)
    assert fifty.mistakes(marked.students, marked.results, marked.course.questions, re.search) == []


def test_a_marking_that_was_killed_left_nothing_behind_and_went_on_where_it_had_stopped(marked):
    """That its marks are those of a marking in one go is held by the tests on all marks and on marking again."""
    killed = marked.killed
    assert len(killed.judges) >= 2
    assert killed.alive == []
    assert killed.temporary == []
    assert 2 <= len(killed.results) < len(fifty.GATE)
    assert not killed.marks
    assert killed.results.items() <= marked.resumed.items()  # who had marks was not marked again


def test_the_table_holds_a_line_for_each_question_of_each_student(marked):
    with (marked.root / "marks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["student", "question", "points", "maximum", "reason"]
    totals = {row["student"]: float(row["points"]) for row in rows if row["question"] == "total"}
    rows = [row for row in rows if row["question"] != "total"]
    assert len(rows) == len(fifty.GATE) * len(marked.course.questions)
    sums = defaultdict(float)
    for row in rows:
        sums[row["student"]] += float(row["points"] or 0)
        if not row["question"].startswith("written"):
            assert (float(row["points"]) < float(row["maximum"])) == bool(row["reason"]), row
    most = sum(q.points for q in marked.course.questions if not q.written)
    assert sums["right-all-unusual"] == sums["colab"] == most
    assert sums["blank"] == 0
    assert totals == sums


PAIRED = ("main", "section", "table", "p", "ul", "svg", "details", "b", "pre", "h1", "h2", "h3")


class Reader(HTMLParser):
    """Checks that what was opened is closed, and keeps the words."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.words, self.tags = [], "", set()  # without the student's own code

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in PAIRED:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in PAIRED:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += "" if self.open[-1:] == ["pre"] else data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    assert "script" not in reader.tags
    assert "http" not in path.read_text(encoding="utf-8").replace("http-equiv", "")
    return reader


def test_each_student_has_a_page_in_plain_words(marked):
    for result in marked.results:
        page = read(marked.root / "feedback" / f"{slug_of(result['student'])}.html")
        assert result["student"] in page.words  # escaped where it has to be
        assert not re.search(r"Traceback|AssertionError|not yet:|None|\bnan\b", page.words), result["student"]
    assert "divide by the std" in read(marked.root / "feedback" / "returner.html").words


def test_the_class_report_names_the_commonest_mistakes_and_every_accident(marked):
    page = read(marked.root / "report.html")
    assert "svg" in page.tags
    assert page.words.index("Commonest mistakes") < page.words.index("package-function") < page.words.index("Accidents")
    for result in marked.results:
        for accident in result["accidents"]:
            assert accident in page.words, accident
    assert "03_gram.ipynb: whose is it?" in page.words
    for name in ("looper", "crasher", "hoarder", "quitter", "test-changed", "test-deleted"):
        assert any(r["accidents"] for r in marked.results if r["student"] == name), name


def test_marking_again_changes_nothing_unless_asked(marked, capsys):
    before, kept = marked.files(), marked.kept()
    # A hand-in that came anew is named, and keeps its mark until one asks.
    path = marked.place / "returner" / "03_gram.ipynb"
    old = path.read_bytes()
    path.write_bytes((marked.place / "delegator" / "03_gram.ipynb").read_bytes())
    capsys.readouterr()
    assert marked.mark() == 0
    assert "returner: changed since it was marked" in capsys.readouterr().out
    assert marked.files() == before
    assert marked.kept() == kept
    assert marked.mark("--again", "returner") == 0
    # The proof is remembered for as long as nothing changes that it depends on.
    assert "The environment is as it was when it was proven." in capsys.readouterr().out
    told = next(r for r in marking.results_of(marked.course) if r["student"] == "returner")
    assert "course's own" in next(row["reason"] for row in told["rows"] if row["question"] == "gram_matrix")
    path.write_bytes(old)
    early = json.loads(sorted(marked.killed.results)[1].read_text("utf-8"))["student"]  # marked before the kill
    assert early != "returner"
    assert marked.mark("--again", "returner", early) == 0
    assert marked.files() == before


def test_marks_are_in_nbgraders_gradebook_and_what_is_given_by_hand_comes_back(marked):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{marked.course.gradebook}", "nst") as book:
        submission = book.find_submission(ASSIGNMENT, "delegator")
        rows = next(r for r in marked.results if r["student"] == "delegator")["rows"]
        assert submission.score == sum(row["points"] or 0 for row in rows)
        grade = book.find_grade("written-03", "03_gram", ASSIGNMENT, "delegator")
        grade.manual_score, grade.extra_credit = 2.5, 0.5
        comment = book.find_comment("written-03", "03_gram", ASSIGNMENT, "delegator")
        comment.manual_comment = "See page 3."
        book.db.commit()
    before = (marked.root / "marks.csv").read_text("utf-8")
    given = by_hand(marked.course)
    assert {key: (g.points, g.extra, g.comments) for key, g in given.items()} == {
        ("delegator", "written-03"): (2.5, 0.5, ["See page 3."])
    }
    for _ in range(2):  # and they stay
        assert marked.mark() == 0
        changed = set((marked.root / "marks.csv").read_text("utf-8").splitlines()) - set(before.splitlines())
        assert "delegator,written-03,3,4,Marked by hand. 0.5 extra." in changed
        assert {line.split(",")[1] for line in changed} == {"written-03", "total"}
        assert "See page 3." in (marked.root / "feedback" / "delegator.html").read_text("utf-8")
    shown = json.loads((marked.root / "autograded" / "delegator" / ASSIGNMENT / "03_gram.ipynb").read_text("utf-8"))
    said = [o["text"] for cell in shown["cells"] for o in cell.get("outputs", ())]
    assert any("course's own" in text for text in said)


def test_a_dask_that_is_not_there_is_one_sentence(few, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.3)
    assert few.mark("--dask", "tcp://127.0.0.1:1") == 2
    assert "No Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert few.mark("--dask", "tcp://127.0.0.1:1") == 2
    assert 'pip install "nst-helpers[dask]"' in capsys.readouterr().err


@pytest.fixture
def few(small, tmp_path):
    """Some of the class, with lesson 03 alone."""
    made = Class(tmp_path, small)
    for student in made.students:
        student.notebooks = {name: book for name, book in student.notebooks.items() if name == "03_gram"}
    fifty.hand_in([made.by_name[n] for n in ("blank", "right-all-unusual")], made.place)
    return made


def test_again_for_somebody_unknown_is_said(few, capsys):
    assert few.mark("--again", "blank", "nobody") == 2
    assert "--again names nobody, but there is no hand-in of that name" in capsys.readouterr().err
    assert marking.results_of(few.course) == []


def test_a_full_disk_is_one_sentence_and_nothing_is_half_written(few, capsys, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(marking, "write_whole", full)
    assert few.mark() == 2
    told = capsys.readouterr().err
    assert told.startswith("No space left on device (")
    assert told.count("\n") == 1
    assert list((few.root / "marked").iterdir()) == []
    assert not (few.root / "marks.csv").exists()


def test_a_temporary_folder_that_is_not_there_is_one_sentence(few, capsys, monkeypatch):
    import tempfile

    monkeypatch.setattr(running, "_idle", {})  # so that a judge has to be started
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    assert few.mark() == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert marking.results_of(few.course) == []


def test_lenient_marking_puts_tests_back_and_judges_the_answer(marked, few, tmp_path):
    few.place = tmp_path / "one"
    few.proven_by(marked)
    fifty.hand_in([few.by_name["test-deleted"]], few.place)
    assert few.mark("--lenient") == 0
    (result,) = marking.results_of(few.course)
    assert [row["points"] for row in result["rows"] if row["question"] in ("gram_matrix", "style_loss")] == [3, 2]
    assert result["accidents"] == ["gram_matrix: test cell of gram_matrix was deleted."]


def test_a_spoilt_environment_stops_before_the_first_hand_in(few):
    path = few.course.source / "03_gram.ipynb"
    good = path.read_text("utf-8")
    path.write_text(good.replace("/ flat.shape[-1]", "* 1"), "utf-8")
    with pytest.raises(ClassroomError, match=r"the reference got 0 instead of 3 points for gram_matrix.*H \* W times"):
        marking.mark(few.root, few.place, jobs=1, limits=Limits(seconds=3 * slow()))
    assert marking.results_of(few.course) == []
    end = time.monotonic() + 60
    while running._idle["auto"].empty() and time.monotonic() < end:  # the judge still has the blank to judge
        time.sleep(0.02)


def test_a_blank_that_gets_points_stops_the_marking_too(few, monkeypatch):
    """As it would where the checks let everything pass."""
    plenty = {q.name: {"share": 1.0, "sentence": ""} for q in few.course.questions}
    monkeypatch.setattr(marking, "_here", lambda jobs: lambda bundles: ((who, {"verdicts": plenty}) for who in bundles))
    with pytest.raises(ClassroomError, match=r"the blank got 2 instead of 0 points for to_tensor"):
        marking.mark(few.root, few.place, jobs=1)
    assert marking.results_of(few.course) == []


def test_a_dask_cluster_gives_the_same_results(marked, small, tmp_path):
    """The last test here, for it stops the judge that all of them share."""
    pytest.importorskip("distributed")
    few = Class(tmp_path, small)
    names = ("delegator", "test-changed")
    fifty.hand_in([few.by_name[name] for name in names], few.place)
    with dask_cluster() as cluster:  # whose worker has the judge of this process
        assert few.mark("--dask", cluster.scheduler_address) == 0
    theirs = {r["student"]: r for r in marking.results_of(few.course)}
    assert set(theirs) == set(names)
    for result in marked.results:
        if result["student"] in names:
            for part in ("rows", "notes", "accidents"):
                assert theirs[result["student"]][part] == result[part]
