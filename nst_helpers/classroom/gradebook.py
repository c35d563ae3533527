"""Carrying the marks into nbgrader's gradebook and back, so that formgrader shows them and its hand-marking counts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..io.atomic import write_whole
from .sources import ASSIGNMENT, Course

__all__ = ["ByHand", "by_hand", "carry_in"]


@dataclass
class ByHand:
    """What a person has given to one answer in formgrader: points instead of the automatic ones, more, and words."""

    points: float | None = None
    extra: float = 0.0
    comments: list[str] = field(default_factory=list)


def carry_in(course: Course, results: Sequence[dict[str, Any]]) -> None:
    """Write the points of every autograded question, and the notebooks that formgrader shows; leave what is by hand."""
    from nbgrader.api import Gradebook

    test_ids = {q.name: q.test_id for q in course.questions}
    with warnings.catch_warnings(), Gradebook(f"sqlite:///{course.gradebook}", "nst") as book:
        warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader's way of adding a submission
        for result in results:
            points = {test_ids[row["question"]]: row["points"] for row in result["rows"] if row["question"] in test_ids}
            book.update_or_create_student(result["student"])
            submission = book.update_or_create_submission(ASSIGNMENT, result["student"])
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    if grade.name in points:
                        grade.auto_score = points[grade.name]
                        grade.needs_manual_grade = points[grade.name] is None and grade.manual_score is None
            book.db.commit()
            folder = course.root / "autograded" / result["student"] / ASSIGNMENT
            folder.mkdir(parents=True, exist_ok=True)
            for name, notebook in result["notebooks"].items():
                write_whole(folder / f"{name}.ipynb", json.dumps(notebook, indent=1, ensure_ascii=False).encode())


def by_hand(course: Course) -> dict[tuple[str, str], ByHand]:
    """What people have given in formgrader, by student and question."""
    from nbgrader.api import Gradebook

    names = {q.test_id: q.name for q in course.questions} | {q.answer_id: q.name for q in course.questions}
    found: dict[tuple[str, str], ByHand] = {}
    with Gradebook(f"sqlite:///{course.gradebook}", "nst") as book:
        for submission in book.assignment_submissions(ASSIGNMENT):
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    if grade.name in names and (grade.manual_score is not None or grade.extra_credit):
                        given = found.setdefault((submission.student.id, names[grade.name]), ByHand())
                        given.points, given.extra = grade.manual_score, grade.extra_credit or 0.0
                for comment in notebook.comments:
                    if comment.name in names and (comment.manual_comment or "").strip():
                        given = found.setdefault((submission.student.id, names[comment.name]), ByHand())
                        given.comments.append(comment.manual_comment.strip())
    return found
