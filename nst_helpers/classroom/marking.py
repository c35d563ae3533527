"""Marking a class: collect, match, prove the environment, run each hand-in in its box, and keep what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from . import matching, personal
from .collecting import HandIn, collect
from .pages import slug_of
from .questions import ClassroomError, Question
from .running import make_bundle, run_bundle, stop_fork_servers
from .sandbox import Limits
from .sources import Course, for_student, need_nbgrader

__all__ = ["mark", "results_of"]

Runner = Callable[[dict[str, dict]], Iterator[tuple[str, dict]]]


def mark(
    root: Path,
    submissions: Path,
    *,
    jobs: int | None = None,
    limits: Limits | None = None,
    again: bool | set[str] = False,
    lenient: bool = False,
    dask: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Mark what has no marks yet (or what `again` names, or everything), and return all results by student.

    A result is kept in `root/marked` as soon as it is there, so a run that was killed goes on where it stopped.
    Raises ClassroomError where there is nothing to mark, or where the environment would mark wrongly.
    """
    need_nbgrader()
    course, limits = Course(root), limits or Limits()
    handed_in, loose = collect(submissions)
    folder = course.root / "marked"
    folder.mkdir(exist_ok=True)
    for sentence in loose:
        say(sentence)
    (folder / "_files.json").write_text(json.dumps(loose))
    waiting, prepared = {}, {}
    for hand_in in handed_in:
        place = folder / f"{slug_of(hand_in.student)}.json"
        wanted = again is True or (isinstance(again, set) and hand_in.student in again)
        if place.is_file() and not wanted:
            stored = json.loads(place.read_text())
            if stored["fingerprint"] != _fingerprint(hand_in):
                say(f"{hand_in.student}: changed since it was marked; its marks stay unless you use --again.")
            continue
        prepared[hand_in.student] = _prepare(hand_in, course)
        waiting[hand_in.student] = hand_in
    if waiting:
        run = _on_dask(dask) if dask else _here(jobs or os.cpu_count() or 1)
        book, questions = course.blank_book.read_bytes(), [q.to_json() for q in course.questions]
        try:
            _prove(course, run, book, limits, say)
            bundles = {
                student: make_bundle(
                    {name: m.notebook for name, m in found["mended"].items()}, book, questions,
                    seed=found["seed"], limits=limits,
                )
                for student, found in prepared.items()
            }  # fmt: skip
            for count, (student, raw) in enumerate(run(bundles), 1):
                result = _result(course, waiting[student], prepared[student], raw, lenient=lenient)
                _keep(folder / f"{slug_of(student)}.json", result)
                points = sum(row["points"] or 0 for row in result["rows"])
                say(f"{count} of {len(waiting)}: {student}, {points:g} points")
        finally:
            stop_fork_servers()
    return results_of(course)


def results_of(course: Course) -> list[dict[str, Any]]:
    """What was kept for each student, by name."""
    found = [json.loads(p.read_text()) for p in (course.root / "marked").glob("*.json") if p.name != "_files.json"]
    return sorted(found, key=lambda result: result["student"].lower())


def _prepare(hand_in: HandIn, course: Course) -> dict[str, Any]:
    """The student's notebooks, mended, by the name of the lesson; and what has to be said."""
    lessons, notes = _lessons(course, hand_in.student), list(hand_in.notes)
    seed = personal.values(hand_in.student)[0] if course.personal else personal.COMMON[0]
    chosen: dict[str, tuple[float, str, matching.Mended]] = {}
    for name, (content, when) in sorted(hand_in.files.items()):
        if not name.lower().endswith((".ipynb", ".json")):
            notes.append(f"{name}: not a notebook (.ipynb), so it was not marked.")
            continue
        try:
            notebook = matching.read_notebook(content)
        except ValueError as error:
            notes.append(f"{name}: {error}, so nothing of it could be marked.")
            continue
        lesson = matching.lesson_of(name, notebook, lessons)
        if lesson is None:
            notes.append(f"{name}: nothing in it belongs to this assignment.")
            continue
        mended = matching.mend(notebook, lesson)
        older = chosen.get(lesson.name)
        if older and older[0] > when:
            notes.append(f"{name}: there is a newer file of the same lesson, {older[1]}, which was marked instead.")
            continue
        if older:
            notes.append(f"{older[1]}: there is a newer file of the same lesson, {name}, which was marked instead.")
        chosen[lesson.name] = (when, name, mended)
    for _, name, mended in chosen.values():
        notes += [f"{name}: {note}" for note in mended.notes]
    return {"mended": {name: mended for name, (_, _, mended) in chosen.items()}, "notes": notes, "seed": seed}


def _lessons(course: Course, student: str) -> list[matching.Lesson]:
    made = []
    for name in course.notebooks:
        released = json.loads((course.release / f"{name}.ipynb").read_text(encoding="utf-8"))
        for cell in released["cells"]:
            cell["source"] = "".join(cell["source"])
        asked = tuple(q for q in course.questions if q.notebook == name)
        by_id = {c["metadata"].get("nbgrader", {}).get("grade_id"): c["source"] for c in released["cells"]}
        tests: dict[str, tuple[str, ...]] = {}
        for q in (q for q in asked if not q.written):
            call = f"checks.check_{q.name}({q.symbol})"
            tests[q.test_id] = (by_id[q.test_id], call, f"nst.{call}", f"{call}.require()", f"nst.{call}.require()")
        made.append(matching.Lesson(name, for_student(released, student, own=course.personal), asked, tests))
    return made


def _prove(course: Course, run: Runner, book: bytes, limits: Limits, say: Callable[[str], None]) -> None:
    """The reference has to get all points and the blank none, or else every mark would be wrong."""
    questions = [q.to_json() for q in course.questions]
    bundles = {}
    for who, place in (("reference", course.source), ("blank", course.release)):
        found = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(place.glob("*.ipynb"))}
        bundles[who] = make_bundle(found, book, questions, seed=0, limits=limits)
    for who, raw in run(bundles):
        for question in (q for q in course.questions if not q.written):
            points, reason = _points(question, raw)
            right = question.points if who == "reference" else 0
            if points != right:
                raise ClassroomError(
                    f"Marking stopped before the first hand-in: the {who} got {points:g} instead of {right:g} points "
                    f"for {question.name} here ({reason or raw.get('log') or 'no reason given'}). "
                    "Mend the environment first."
                )
    say("The environment is proven: the reference gets all points and the blank none.")


def _points(question: Question, raw: dict[str, Any]) -> tuple[float, str]:
    """The points for a question on which both opinions agree, and the reason why they are not all."""
    verdict, graded = raw["verdicts"].get(question.name), raw.get("nbgrader")
    if verdict is None:
        return 0.0, _whole(raw)
    share, reason = verdict["share"], verdict["sentence"] if verdict["share"] < 1 else ""
    score = graded["scores"].get(question.test_id) if graded and not graded["log"] else None
    if graded and score is not None and score / question.points < share:
        share = score / question.points
        error = graded["errors"].get(question.test_id, "nbgrader's run of the notebook did not agree")
        reason = error.removeprefix("AssertionError: ")
    return question.points * share, re.sub(r"^(not yet|to do): ", "", reason)


def _whole(raw: dict[str, Any]) -> str:
    told = {
        "time": "The notebook as a whole took too long and was stopped.",
        "memory": "The notebook as a whole took too much memory and was stopped.",
    }
    return told.get(str(raw.get("accident")), "The notebook could not be run: look at it by hand.")


def _result(
    course: Course, hand_in: HandIn, found: dict[str, Any], raw: dict[str, Any], *, lenient: bool
) -> dict[str, Any]:
    """Everything that is kept of one student; a row for each question."""
    rows: list[dict[str, Any]] = []
    accidents: list[str] = []
    tests: dict[str, str] = {}
    for mended in found["mended"].values():
        tests |= mended.tests
    for question in course.questions:
        mended = found["mended"].get(question.notebook)
        row: dict[str, Any] = {"question": question.name, "maximum": question.points, "mistake": None}
        if mended is None:
            told = f"No notebook of lesson {question.lesson} could be marked."
            row |= {"points": 0.0, "reason": told, "mistake": "not-handed-in"}
        elif question.written:
            row |= _written(question, mended)
        elif question.name in mended.missing:
            row |= {"points": 0.0, "reason": f"There is no answer to {question.symbol}.", "mistake": "missing"}
        else:
            points, reason = _points(question, raw)
            verdict = raw["verdicts"].get(question.name) or {}
            state, mistake = tests[question.test_id], verdict.get("mistake")
            if verdict.get("accident") or not verdict:
                accidents.append(f"{question.name}: {reason}")
            if state != "kept":
                told = f"The test cell of {question.symbol} was {state}, and put back"
                accidents.append(f"{question.name}: {told.removeprefix('The ')}.")
                if not lenient:
                    points, mistake = 0.0, f"test-{state}"
                    reason = f"{told}; a {state} test earns nothing." + (f" Beside that: {reason}" if reason else "")
            row |= {"points": points, "reason": reason, "mistake": mistake if points < question.points else None}
        rows.append(row)
    if raw.get("nbgrader") is None or raw["nbgrader"]["log"]:
        accidents.append("nbgrader could not run the hand-in to its end; the marks are the second opinion's alone.")
    return {
        "student": hand_in.student,
        "fingerprint": _fingerprint(hand_in),
        "rows": rows,
        "notes": found["notes"],
        "accidents": accidents,
        "answers": _answers(found["mended"], course),
        "autograded": raw["autograded"],
        "python": sys.version.split()[0],
    }


def _written(question: Question, mended: matching.Mended) -> dict[str, Any]:
    text = _answers({question.notebook: mended}, None).get(question.name, "")
    if question.name in mended.missing or text.strip() in ("", "YOUR ANSWER HERE"):
        return {"points": 0.0, "reason": "No answer was written.", "mistake": "to-do"}
    return {"points": None, "reason": "To be read by a person."}


def _answers(mended: dict[str, matching.Mended], course: Course | None) -> dict[str, str]:
    """The written answers, by question."""
    found = {}
    for one in mended.values():
        for cell in one.notebook["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
            if re.fullmatch(r"written-\d\d", grade_id):
                found[grade_id] = cell["source"]
    return found


def _here(jobs: int) -> Runner:
    """Runs bundles in this many fork servers at a time."""

    def run(bundles: dict[str, dict]) -> Iterator[tuple[str, dict]]:
        pool = ThreadPoolExecutor(max(1, min(jobs, len(bundles))))
        try:
            waiting = {pool.submit(run_bundle, bundle): student for student, bundle in bundles.items()}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return run


def _on_dask(address: str) -> Runner:
    from .cluster import dask_runner

    return dask_runner(address)


def _keep(place: Path, result: dict[str, Any]) -> None:
    part = place.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    part.rename(place)


def _fingerprint(hand_in: HandIn) -> str:
    digest = hashlib.sha256()
    for name, (content, _) in sorted(hand_in.files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()
