"""Marking a class: collect, prove the environment, run each hand-in in its boxes, and keep what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..io.atomic import write_whole
from .box.server import Limits
from .collecting import HandIn, collect
from .pages import slug_of
from .preparing import released_notebooks
from .questions import ClassroomError, Question
from .results import blank_row, failed_result, make_result
from .running import make_bundle, run_bundle, stop_judges
from .sources import Course, need_nbgrader

__all__ = ["files_of_nobody", "mark", "results_of"]

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
    isolation: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Mark what has no marks yet (or what `again` names, or everything), and return all results by student.

    A result is kept in `root/marked` as soon as it is there, so a run that was killed goes on where it stopped.
    Raises ClassroomError where there is nothing to mark, or where the environment would mark wrongly.
    """
    need_nbgrader()
    course, limits = Course(root), limits or Limits()
    handed_in, loose = collect(submissions)
    if isinstance(again, set) and (unknown := again - {hand_in.student for hand_in in handed_in}):
        names = ", ".join(sorted(unknown))
        raise ClassroomError(f"--again names {names}, but there is no hand-in of that name in {submissions}.")
    folder = course.root / "marked"
    folder.mkdir(exist_ok=True)
    for sentence in loose:
        say(sentence)
    write_whole(folder / "_files.json", json.dumps(loose).encode())
    waiting: dict[str, HandIn] = {}
    for hand_in in handed_in:
        place = folder / f"{slug_of(hand_in.student)}.json"
        wanted = again is True or (isinstance(again, set) and hand_in.student in again)
        stored = None if wanted else _stored(place)
        if stored is None:
            waiting[hand_in.student] = hand_in
        elif stored["fingerprint"] != _fingerprint(hand_in):
            say(f"{hand_in.student}: changed since it was marked; its marks stay unless you use --again.")
    if waiting:
        _mark_all(course, waiting, folder, jobs or os.cpu_count() or 1, limits, dask, isolation, lenient, say)
    return results_of(course)


def results_of(course: Course) -> list[dict[str, Any]]:
    """What was kept for each student, by name."""
    found = [_stored(path) for path in (course.root / "marked").glob("*.json") if not path.name.startswith("_")]
    return sorted((result for result in found if result), key=lambda result: result["student"].lower())


def files_of_nobody(course: Course) -> list[str]:
    """A sentence for each file of the last run that belongs to no student."""
    return json.loads((course.root / "marked" / "_files.json").read_text())


def _mark_all(
    course: Course,
    waiting: dict[str, HandIn],
    folder: Path,
    jobs: int,
    limits: Limits,
    dask: str | None,
    isolation: str,
    lenient: bool,
    say: Callable[[str], None],
) -> None:
    run = _on_dask(dask) if dask else _here(jobs)
    plan = {
        "questions": [q.to_json() for q in course.questions],
        "released": released_notebooks(course.release, course.notebooks),
        "personal": course.personal,
    }

    def bundle(hand_in: HandIn) -> dict[str, Any]:
        return make_bundle(hand_in.student, hand_in.files, plan, limits=limits, isolation=isolation)

    try:
        _prove(course, run, bundle, folder / "_proof.json", f"{isolation} {dask or ''}", say)
        bundles = {student: bundle(hand_in) for student, hand_in in waiting.items()}
        for count, (student, raw) in enumerate(run(bundles), 1):
            hand_in = waiting[student]
            try:
                result = make_result(course, student, hand_in.notes, raw, lenient=lenient)
            except Exception as error:  # whatever is in a hand-in, it costs that student and nobody else anything
                result = failed_result(course, student, hand_in.notes, f"{type(error).__name__}: {error}"[:300])
            result["fingerprint"] = _fingerprint(hand_in)
            write_whole(folder / f"{slug_of(student)}.json", json.dumps(result, indent=1).encode())
            points = sum(row["points"] or 0 for row in result["rows"])
            say(f"{count} of {len(waiting)}: {student}, {points:g} points")
    finally:
        stop_judges()


def _prove(
    course: Course,
    run: Runner,
    bundle: Callable[[HandIn], dict[str, Any]],
    place: Path,
    how: str,
    say: Callable[[str], None],
) -> None:
    """The reference has to get all points and the blank none, or else every mark would be wrong.

    This is remembered for as long as the course, the package and the packages below it stay the same.
    """
    present = _environment(course, how)
    known = _stored(place, "environment")
    if known and known["environment"] == present:
        say("The environment is as it was when it was proven.")
        return
    bundles = {}
    for who, source in (("reference", course.source), ("blank", course.release)):
        files = {path.name: (path.read_bytes(), 0.0) for path in sorted(source.glob("*.ipynb"))}
        bundles[who] = bundle(HandIn("", files))
    for who, raw in run(bundles):
        for question in (q for q in course.questions if not q.written):
            row = blank_row(question) | _share(question, raw)
            right = question.points if who == "reference" else 0
            if row["points"] != right:
                raise ClassroomError(
                    f"Marking stopped before the first hand-in: the {who} got {row['points']:g} instead of {right:g} "
                    f"points for {question.name} here ({row['reason'] or 'no reason given'}). "
                    "Mend the environment first."
                )
    write_whole(place, json.dumps({"environment": present}).encode())
    say("The environment is proven: the reference gets all points and the blank none.")


def _share(question: Question, raw: dict[str, Any]) -> dict[str, Any]:
    verdict = raw.get("verdicts", {}).get(question.name)
    if verdict is None:
        return {"points": 0.0, "reason": "it could not be judged"}
    return {"points": question.points * verdict["share"], "reason": verdict["sentence"]}


def _environment(course: Course, how: str) -> str:
    """A fingerprint of all that the marks depend on, the hand-ins aside."""
    digest = hashlib.sha256(f"{how} {sys.version} {[version(p) for p in ('torch', 'numpy', 'ipython')]}".encode())
    package = Path(__file__).parents[1]
    files = [*package.rglob("*.py"), *course.source.glob("*.ipynb"), *course.release.glob("*.ipynb")]
    for path in sorted({*files, course.root / "course.json"}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _here(jobs: int) -> Runner:
    """Runs bundles in this many judges at a time."""

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


def _stored(place: Path, key: str = "student") -> dict[str, Any] | None:
    """What is kept in a file; None where there is no file, or one that a crash has spoilt."""
    try:
        stored = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) and key in stored else None


def _fingerprint(hand_in: HandIn) -> str:
    digest = hashlib.sha256()
    for name, (content, _) in sorted(hand_in.files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()
