"""What is kept of one student: a row for each question, the notes, the accidents, and the notebooks for formgrader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .questions import Question
from .sources import Course

__all__ = ["blank_row", "failed_result", "make_result"]

_ANSWER = re.compile(r"written-\d\d")
_WHOLE = {
    "time": "The notebook as a whole took too long and was stopped.",
    "ended": "Something in the hand-in has ended the process that marks it: look at it by hand.",
}


def blank_row(question: Question) -> dict[str, Any]:
    """A row with nothing in it yet."""
    return {"question": question.name, "maximum": question.points, "mistake": None, "code": "", "reason": ""}


def make_result(
    course: Course, student: str, notes: Sequence[str], raw: dict[str, Any], *, lenient: bool
) -> dict[str, Any]:
    """All that is kept of one student."""
    if "mended" not in raw:
        return failed_result(course, student, notes, _WHOLE.get(str(raw.get("accident")), "it could not be read"))
    mended: dict[str, dict[str, Any]] = raw["mended"]
    accidents: list[str] = []
    rows = [_row(question, mended.get(question.notebook), raw, accidents, lenient) for question in course.questions]
    if raw["accident"]:
        accidents.append(_WHOLE[raw["accident"]])
    for lesson, errors in raw["errors"].items():
        for number, text in sorted(errors.items(), key=_by_number):
            if text in accidents:  # the same, told with its place
                accidents.remove(text)
            accidents.append(f"{lesson}, cell {number}: {text}")
    return {
        "student": student,
        "known_as": raw["known_as"],
        "rows": rows,
        "notes": [*notes, *raw["notes"]],
        "accidents": accidents,
        "answers": {
            name: text
            for one in mended.values()
            for name, text in one["answers"].items()
            if _ANSWER.fullmatch(name)
        },
        "notebooks": {name: _shown(one["notebook"], rows, course) for name, one in mended.items()},
        "isolation": raw["isolation"],
    }  # fmt: skip


def failed_result(course: Course, student: str, notes: Sequence[str], why: str) -> dict[str, Any]:
    """What is kept of a hand-in that could not be marked at all."""
    sentence = f"It could not be marked ({why.rstrip('.')}): look at it by hand."
    rows = [blank_row(q) | {"points": 0.0, "reason": sentence, "mistake": "not-handed-in"} for q in course.questions]
    return {
        "student": student, "known_as": student, "rows": rows, "notes": list(notes), "accidents": [sentence],
        "answers": {}, "notebooks": {}, "isolation": "",
    }  # fmt: skip


def _by_number(item: tuple[str, str]) -> int:
    return int(item[0])


def _row(
    question: Question, mended: dict[str, Any] | None, raw: dict[str, Any], accidents: list[str], lenient: bool
) -> dict[str, Any]:
    row = blank_row(question)
    if mended is None:
        sentence = f"No notebook of lesson {question.lesson} could be marked."
        return row | {"points": 0.0, "reason": sentence, "mistake": "not-handed-in"}
    row["code"] = "" if question.written else mended["answers"].get(question.name, "")
    if question.written:
        text = mended["answers"].get(question.name, "").strip()
        if text in ("", "YOUR ANSWER HERE"):
            return row | {"points": 0.0, "reason": "No answer was written.", "mistake": "to-do"}
        return row | {"points": None, "reason": "To be read by a person."}
    if question.name in mended["missing"]:
        return row | {"points": 0.0, "reason": f"There is no answer to {question.symbol}.", "mistake": "missing"}
    verdict = raw["verdicts"].get(question.name)
    if verdict is None:
        return row | {"points": 0.0, "reason": _WHOLE["time"], "mistake": "time"}
    points, reason, mistake = question.points * verdict["share"], verdict["sentence"], verdict["mistake"]
    if verdict["accident"]:
        accidents.append(reason if reason.startswith((question.symbol, "Cell ")) else f"{question.name}: {reason}")
    state = mended["tests"][question.test_id]
    if state != "kept":
        sentence = f"The test cell of {question.symbol} was {state}"
        accidents.append(f"{question.name}: {sentence.removeprefix('The ')}.")
        if not lenient:
            points, mistake = 0.0, f"test-{state}"
            reason = f"{sentence}; a {state} test earns nothing." + (f" Beside that: {reason}" if reason else "")
    return row | {"points": points, "reason": reason, "mistake": mistake if points < question.points else None}


def _shown(notebook: dict[str, Any], rows: Sequence[dict[str, Any]], course: Course) -> dict[str, Any]:
    """A notebook for formgrader: below each test what the judge has said of the answer."""
    by_question = {row["question"]: row for row in rows}
    by_test = {q.test_id: by_question[q.name] for q in course.questions if not q.written}
    for cell in notebook["cells"]:
        row = by_test.get(cell["metadata"].get("nbgrader", {}).get("grade_id"))
        if row:
            text = f"{row['points']:g} of {row['maximum']:g} points. {row['reason']}".strip() + "\n"
            cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": text}]
    return notebook
