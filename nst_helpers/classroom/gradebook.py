"""Carrying the marks into nbgrader's gradebook and back, so that formgrader shows them and its hand-marking counts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from .sources import ASSIGNMENT, Course

__all__ = ["carry_in", "hand_marked"]


def carry_in(course: Course, results: Sequence[dict[str, Any]]) -> None:
    """Write the points of every autograded question, and the notebooks that formgrader shows; leave marks by hand."""
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
            for name, text in result["autograded"].items():
                (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")


def hand_marked(course: Course) -> dict[tuple[str, str], float]:
    """The points that a person has given in formgrader, by student and question."""
    from nbgrader.api import Gradebook

    names = {q.test_id: q.name for q in course.questions}
    found = {}
    with Gradebook(f"sqlite:///{course.gradebook}", "nst") as book:
        for submission in book.assignment_submissions(ASSIGNMENT):
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    if grade.manual_score is not None and grade.name in names:
                        found[submission.student.id, names[grade.name]] = grade.manual_score
    return found
