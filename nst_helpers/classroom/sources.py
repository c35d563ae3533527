"""From the lessons to an nbgrader course: `source/` with solutions and hidden tests, then `release/` by nbgrader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from . import personal
from .questions import LESSONS, ClassroomError, Question, find_notebooks, read_lesson, select, with_points
from .solutions import solved
from .texts import checkpoint_cell, given_cell, lesson_link, standalone
from .written import WRITTEN

__all__ = ["ASSIGNMENT", "Course", "build", "for_student", "make_notebook", "nbgrader_api", "need_nbgrader"]

ASSIGNMENT = "nst"
PLACEHOLDER = "your id, as your teacher knows it"

PRELUDE = """\
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import nst_helpers as nst
from nst_helpers import checks
from nst_helpers import conventions
from nst_helpers.classroom import personal"""

CONFIG = '''\
"""nbgrader's settings for this course; written by `python -m nst_helpers.classroom build`."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "nst"
c.Execute.timeout = 60
# A warning on stderr would cost a right answer all its points.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"
c.OverwriteCells.add_missing_cells = True
'''


class Course:
    """A built course folder: its questions, and where things lie in it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        plan = self.root / "course.json"
        if not plan.is_file():
            raise ClassroomError(
                f"{root} is not a course folder (course.json is missing): make one with "
                f"`python -m nst_helpers.classroom build {root}`."
            )
        stored = json.loads(plan.read_text())
        self.questions = [Question(**q) for q in stored["questions"]]
        self.personal: bool = stored["personal"]
        self.notebooks = sorted({q.notebook for q in self.questions})
        self.release = self.root / "release" / ASSIGNMENT
        self.source = self.root / "source" / ASSIGNMENT
        self.gradebook = self.root / "gradebook.db"
        self.blank_book = self.root / "assignment.db"  # the questions alone, with nobody's marks
        if not self.gradebook.is_file() or not self.blank_book.is_file() or not self.release.is_dir():
            raise ClassroomError(f"{root} is not complete (gradebook.db or release/ is missing): build it again.")


def build(
    root: Path,
    *,
    lessons: str | Sequence[str] | None = None,
    points: Mapping[str, float] | None = None,
    students: Iterable[str] | None = None,
    notebooks: Path | None = None,
    force: bool = False,
) -> Course:
    """Make a course folder; `students` (maybe empty) asks for personal seeds, and each one named gets a folder.

    Raises ClassroomError where nbgrader is missing, an option is wrong, or the folder has a course already.
    """
    need_nbgrader()
    root, folder = Path(root).resolve(), find_notebooks(notebooks)
    if (root / "course.json").exists() and not force:
        raise ClassroomError(f"{root} holds a course already: use --force to build it again (marks are kept).")
    chosen = [read_lesson(folder, lesson) for lesson in select(lessons)]
    questions = with_points([q for _, asked in chosen for q in asked], points or {})
    source = root / "source" / ASSIGNMENT
    for old in (source, root / "release" / ASSIGNMENT):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir(parents=True)
    for cells, asked in chosen:
        mine = [q for q in questions if q.lesson == asked[0].lesson]
        text = json.dumps(make_notebook(cells, mine, own=students is not None), indent=1, ensure_ascii=False)
        (source / f"{mine[0].notebook}.ipynb").write_text(text + "\n", encoding="utf-8")
    (root / "nbgrader_config.py").write_text(CONFIG)
    _release(root)
    plan = {
        "package": __version__,
        "personal": students is not None,
        "questions": [q.to_json() for q in questions],
    }
    (root / "course.json").write_text(json.dumps(plan, indent=1) + "\n")
    course = Course(root)
    for student in students or ():
        _hand_out(course, student)
    return course


def make_notebook(cells: Sequence[dict], questions: Sequence[Question], *, own: bool = False) -> dict[str, Any]:
    """A lesson's source notebook: exercises with solutions, tests with hidden ones, and the written question."""
    lesson = questions[0].lesson
    setup = next(c["source"] for c in cells if c.get("id") == "setup")
    new_cells = [
        _markdown(_title(cells, questions), "title"),
        _code(setup, "setup"),
        _code(PRELUDE, "prelude"),
        _code(personal_cell(None, own=own), "personal"),
    ]
    by_id = {c["metadata"]["nbgrader"]["grade_id"]: i for i, c in enumerate(cells) if "nbgrader" in c["metadata"]}
    for question in (q for q in questions if not q.written):
        at = by_id[question.answer_id]
        start = max(i for i in range(at) if f"{question.title.partition(' · ')[0]} ·" in cells[i]["source"])
        text = "\n\n".join(c["source"] for c in cells[start:at] if c["cell_type"] == "markdown")
        prose = standalone(question, _only_exercise(text, question))
        new_cells.append(_markdown(f"{prose}\n\n{lesson_link(question, setup)}", f"text-{question.answer_id}"))
        if given := given_cell(question, (c["source"] for c in cells[:at] if c["cell_type"] == "code")):
            new_cells.append(_code(given, f"given-{question.answer_id}"))
        answer = solved(question.name, cells[at]["source"])
        new_cells.append(_code(answer, cells[at]["id"], _grading(question.answer_id, solution=True)))
        test = cells[by_id[question.test_id]]
        grading = _grading(question.test_id, grade=True, locked=True, points=question.points)
        grading["tags"] = ["raises-exception"]  # so that "Run All Cells" goes on after a test that fails
        new_cells.append(_code(_test(question, test["source"]), test["id"], grading))
    written, last = WRITTEN[lesson], questions[-1]
    numbers = "### Your own numbers\n\nRun the next cell: the question below is about them."
    if checkpoint := checkpoint_cell(questions, written.cell):
        numbers = numbers.replace("the next cell", "the next two cells")
        numbers += " An answer of yours that is not right yet is replaced by the package's own, for these numbers only."
    new_cells.append(_markdown(numbers, "numbers-text"))
    if checkpoint:
        new_cells.append(_code(checkpoint, "checkpoint-numbers"))
    new_cells.append(_code(written.cell, "numbers"))
    asked = f"### {last.title} · {_points(last.points)}\n\n{written.question} About eight lines."
    new_cells.append(_markdown(asked, "written-text", _grading(f"{last.name}-text", locked=True)))
    model = f"{BEGIN_WRITTEN}\n{written.answer}\n\n{written.marking(last.points)}\n{END_WRITTEN}"
    new_cells.append(_markdown(model, "written", _grading(last.name, grade=True, solution=True, points=last.points)))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": new_cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


BEGIN_WRITTEN, END_WRITTEN = "### BEGIN SOLUTION", "### END SOLUTION"


def personal_cell(student: str | None, *, own: bool) -> str:
    """The cell with the seed and the pair: common to all, or the student's own."""
    if not own:
        seed, content, style = personal.COMMON
        return f'SEED, CONTENT, STYLE = {seed}, "{content}", "{style}"'
    shown = json.dumps(student or PLACEHOLDER, ensure_ascii=False)
    return f"STUDENT = {shown}\nSEED, CONTENT, STYLE = personal.values(STUDENT)"


def for_student(notebook: dict, student: str, *, own: bool) -> dict:
    """A released notebook with the student's own seed and pair in it."""
    copy = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        if cell.get("id") == "personal":
            cell["source"] = personal_cell(student, own=own)
    return copy


def _hand_out(course: Course, student: str) -> None:
    folder = course.root / "personal" / student / ASSIGNMENT
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(course.release.glob("*.ipynb")):
        notebook = for_student(json.loads(path.read_text(encoding="utf-8")), student, own=True)
        (folder / path.name).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _title(cells: Sequence[dict], questions: Sequence[Question]) -> str:
    heading = next(line for c in cells for line in c["source"].splitlines() if line.startswith("# "))
    total = sum(q.points for q in questions)
    return (
        f"{heading}\n\nThe graded exercises of lesson {questions[0].lesson}, {_points(total)} in all. Write "
        "your answers where it says `YOUR CODE HERE` or `YOUR ANSWER HERE`, run all cells from top to bottom, save, "
        "and hand in this file. Add cells where you like; leave the cells with the tests as they are. The tests tell "
        "you what is wrong; when your work is marked, a few more are run."
    )


def _only_exercise(text: str, question: Question) -> str:
    """The text from the exercise's heading on, with the points that count here."""
    at = text.rindex("### Exercise " + question.title.split()[1] + " ·")
    head, _, rest = text[at:].partition("\n")
    head = " · ".join(part for part in head.split(" · ") if "point" not in part)
    return f"{head} · {_points(question.points)}\n{rest}".rstrip()


def _points(number: float) -> str:
    return f"{number:g} point{'' if number == 1 else 's'}"


def _test(question: Question, check: str) -> str:
    call = check.strip().splitlines()[-1].removeprefix("nst.")
    argument = call[call.index("(") + 1 : -1]
    return (
        f"{call}.require()\n### BEGIN HIDDEN TESTS\nfrom nst_helpers.classroom import hidden\n\n"
        f'hidden.prove("{question.name}", {argument}, points={question.points:g}, seed=SEED)\n### END HIDDEN TESTS'
    )


def _grading(grade_id: str, **keys: Any) -> dict[str, Any]:
    base = {"grade": False, "grade_id": grade_id, "locked": False, "schema_version": 3, "solution": False}
    return {"nbgrader": {**base, **keys}}


def _code(source: str, cell_id: str, metadata: dict | None = None) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "id": cell_id, "metadata": metadata or {}, "outputs": [],
        "source": source,
    }  # fmt: skip


def _markdown(source: str, cell_id: str, metadata: dict | None = None) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": cell_id, "metadata": metadata or {}, "source": source}


def need_nbgrader() -> None:
    """Raise ClassroomError with the way to install it where nbgrader is missing."""
    try:
        import nbgrader  # noqa: F401
    except ImportError:
        raise ClassroomError(
            "The classroom kit needs nbgrader, which is not installed: in a clone of the course run "
            "`uv run --group classroom python -m nst_helpers.classroom`, or else `pip install nbgrader`."
        ) from None


def nbgrader_api(root: Path, *, seconds: int = 60) -> Any:
    """nbgrader's own interface to a course folder, quiet, with the settings of nbgrader_config.py."""
    import logging
    import os
    import sys

    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    # nbgrader calls `alembic`, which lies beside this Python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.course_id = "nst"
    config.Execute.timeout = seconds
    config.IgnorePattern.enabled = True
    config.IgnorePattern.pattern = r"(?s).*"
    config.OverwriteCells.add_missing_cells = True
    config.NbGraderAPI.log_level = logging.ERROR
    return NbGraderAPI(config=config)


def _release(root: Path) -> None:
    """Let nbgrader make the release and a blank gradebook; a gradebook with marks in it learns what has changed."""
    book, blank = root / "gradebook.db", root / "assignment.db"
    kept = root / "gradebook.kept"
    if book.exists():
        book.replace(kept)
    try:
        _generate(root)
        book.replace(blank)
    finally:
        if kept.exists():
            kept.replace(book)
    if book.exists():
        _generate(root)
    else:
        shutil.copy(blank, book)


def _generate(root: Path) -> None:
    result = nbgrader_api(root).generate_assignment(ASSIGNMENT)
    if not result["success"]:
        output = (result.get("error") or result.get("log") or "").strip().splitlines()
        raise ClassroomError(f"nbgrader could not make the release: {output[-1] if output else 'no reason given'}.")


assert set(WRITTEN) == set(LESSONS)
