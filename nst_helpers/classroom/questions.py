"""What is asked: the graded cells of the lessons, read from the notebooks, and what the kit adds to each lesson."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import NSTError

__all__ = ["DEFAULT_LESSONS", "LESSONS", "ClassroomError", "Question", "find_notebooks", "read_lesson", "select"]

DEFAULT_LESSONS = ("01", "03", "04", "05")
LESSONS = {
    "00": "00_quickstart", "01": "01_images", "02": "02_content", "03": "03_gram", "04": "04_model",
    "05": "05_optimizers", "06": "06_live_tuning", "07": "07_control",
}  # fmt: skip
WRITTEN_POINTS = 4.0


class ClassroomError(NSTError):
    """Something the teacher has to put right: a folder, an option, a missing package."""


@dataclass(frozen=True)
class Question:
    """One thing to answer: `name` is what the check is called ("gram_matrix"), or "written-03"."""

    name: str
    lesson: str  # "03"
    notebook: str  # "03_gram"
    title: str
    points: float
    answer_id: str
    test_id: str  # the cell that carries the points; for a written question the answer itself
    symbol: str = ""  # what the answer has to define ("ContentLossLayer")
    written: bool = False

    def to_json(self) -> dict[str, Any]:
        """The question as JSON values, by its fields' names."""
        return asdict(self)


def find_notebooks(folder: Path | None = None) -> Path:
    """The folder of the lessons: the one given, or `notebooks` of this checkout; raises ClassroomError."""
    folder = Path(folder) if folder else Path(__file__).parents[2] / "notebooks"
    if not any(folder.glob("0*_*.ipynb")):
        raise ClassroomError(
            f"There are no lessons in {folder}: name the course's notebooks folder with --notebooks, "
            "or run this in a clone of the course."
        )
    return folder


def read_lesson(folder: Path, lesson: str) -> tuple[list[dict], list[Question]]:
    """The cells of a lesson, and its graded questions in order, with the written one last."""
    path = folder / f"{LESSONS[lesson]}.ipynb"
    if not path.is_file():
        raise ClassroomError(f"Lesson {lesson} is not in {folder}: {path.name} was expected.")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
    questions, stub, title = [], None, ""
    for cell in cells:
        grading = cell.get("metadata", {}).get("nbgrader")
        if heading := re.search(r"^### Exercise \S+ · (\S+)", cell["source"], re.M):
            title = heading[0].removeprefix("### ").strip()
        if not grading:
            continue
        if grading["solution"]:
            stub = grading["grade_id"]
        elif grading["grade"]:
            called = re.search(r"checks\.check_(\w+)\((\w+)\)", cell["source"])
            if not (stub and called):
                raise ClassroomError(
                    f"{path.name}: the graded cell {grading['grade_id']} calls no check of the course."
                )
            ids = (stub, grading["grade_id"], called[2])
            questions.append(Question(called[1], lesson, path.stem, title, float(grading["points"]), *ids))
            stub = None
    name = f"written-{lesson}"
    questions.append(
        Question(name, lesson, path.stem, f"In your own words ({lesson})", WRITTEN_POINTS, name, name, written=True)
    )
    return cells, questions


def select(lessons: str | Sequence[str] | None) -> list[str]:
    """The lessons by their two digits: "01,03" or ["1", "03"]; raises ClassroomError with those there are."""
    parts = lessons.split(",") if isinstance(lessons, str) else list(lessons or DEFAULT_LESSONS)
    chosen = [part.strip()[:2].rstrip("_").zfill(2) for part in parts if part.strip()]
    unknown = [part for part in chosen if part not in LESSONS]
    if unknown or not chosen:
        raise ClassroomError(
            f"There is no graded lesson {', '.join(unknown) or 'named'}: use some of {', '.join(LESSONS)}."
        )
    return sorted(set(chosen))


def with_points(questions: Sequence[Question], points: Mapping[str, float]) -> list[Question]:
    """The questions with other points: by name ("gram_matrix", "written-03") or by grade id ("check-3-1")."""
    known = {q.name for q in questions} | {q.test_id for q in questions}
    if wrong := sorted(set(points) - known):
        names = ", ".join(q.name for q in questions)
        raise ClassroomError(f"--points names {wrong[0]!r}, which is not among the questions: {names}.")
    return [
        Question(**{**q.to_json(), "points": float(points.get(q.name, points.get(q.test_id, q.points)))})
        for q in questions
    ]


def parse_points(text: str | None) -> dict[str, float]:
    """Read "gram_matrix=5,written-03=4"; raises ClassroomError."""
    points = {}
    for part in (text or "").split(","):
        name, equals, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not equals or not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) == 0:
            raise ClassroomError(f"--points takes name=number pairs such as gram_matrix=5, but {part.strip()!r} came.")
        points[name.strip()] = float(value)
    return points
