"""From the files of one hand-in to notebooks that can be marked: which lesson each is of, and which is the newest."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import matching, personal
from .collecting import is_notebook
from .questions import Question
from .reading import read_notebook
from .sources import PLACEHOLDER, for_student

__all__ = ["prepare_hand_in", "released_notebooks"]

_Read = tuple[float, str, str, dict[str, Any]]  # time, file name, lesson, notebook


def prepare_hand_in(student: str, files: Mapping[str, tuple[bytes, float]], plan: dict[str, Any]) -> dict[str, Any]:
    """The student's notebooks, mended, by the name of the lesson; the seed; and what has to be said.

    `plan` has the course's `questions`, the `released` notebooks, and whether seeds are `personal`.
    """
    questions = [Question(**q) for q in plan["questions"]]
    notes: list[str] = []
    read: list[_Read] = []
    lessons = _lessons(plan["released"], questions)
    for name, (content, when) in sorted(files.items()):
        if not is_notebook(name) and content.lstrip()[:1] != b"{":
            notes.append(f"{name}: not a notebook (.ipynb), so it was not marked.")
            continue
        try:
            notebook, encoding = read_notebook(content)
        except ValueError as error:
            notes.append(f"{name}: {error}, so nothing of it could be marked.")
            continue
        if encoding:
            notes.append(f"{name}: {encoding}.")
        lesson = matching.lesson_of(name, notebook, lessons)
        if lesson is None:
            notes.append(f"{name}: nothing in it belongs to this assignment.")
        else:
            read.append((when, name, lesson.name, notebook))
    chosen = _newest(read, notes)
    own = plan["personal"]
    known_as = _known_as(student, [notebook for *_, notebook in chosen], notes) if own else student
    released = {name: for_student(notebook, known_as, own=own) for name, notebook in plan["released"].items()}
    by_name = {lesson.name: lesson for lesson in _lessons(released, questions)}
    mended: dict[str, dict[str, Any]] = {}
    for _, name, lesson_name, notebook in chosen:
        one = matching.mend(notebook, by_name[lesson_name])
        notes += [f"{name}: {note}" for note in one.notes]
        mended[lesson_name] = asdict(one)
    seed = personal.values(known_as)[0] if own else personal.COMMON[0]
    return {"mended": mended, "notes": notes, "seed": seed, "known_as": known_as}


def _lessons(released: Mapping[str, dict[str, Any]], questions: list[Question]) -> list[matching.Lesson]:
    lessons = []
    for name, notebook in released.items():
        asked = tuple(q for q in questions if q.notebook == name)
        sources = {c["metadata"].get("nbgrader", {}).get("grade_id"): c["source"] for c in notebook["cells"]}
        tests: dict[str, tuple[str, ...]] = {}
        for q in (q for q in asked if not q.written):
            call = f"checks.check_{q.name}({q.symbol})"
            tests[q.test_id] = (sources[q.test_id], call, f"nst.{call}", f"{call}.require()", f"nst.{call}.require()")
        lessons.append(matching.Lesson(name, notebook, asked, tests))
    return lessons


def _newest(read: list[_Read], notes: list[str]) -> list[_Read]:
    """The newest of several files of one lesson; where times are equal, the last by name."""
    chosen: dict[str, _Read] = {}
    for one in read:
        older = chosen.get(one[2])
        if older and older[0] > one[0]:
            older, one = one, older
        if older:
            why = f"there is a newer file of the same lesson, {one[1]}, which was marked instead."
            notes.append(f"{older[1]}: {why}")
        chosen[one[2]] = one
    return list(chosen.values())


def _known_as(student: str, notebooks: list[dict[str, Any]], notes: list[str]) -> str:
    """The id that the student has typed, which the numbers come from; else the name under which the work came."""
    typed = []
    for notebook in notebooks:
        for cell in notebook["cells"]:
            found = re.search(r"^STUDENT\s*=\s*(.+?)\s*(#.*)?$", cell["source"], re.M)
            if found and cell["cell_type"] == "code":
                try:
                    value = ast.literal_eval(found[1])
                except (ValueError, SyntaxError, RecursionError, MemoryError):
                    continue
                if isinstance(value, (str, int)) and str(value).strip() not in ("", PLACEHOLDER):
                    typed.append(str(value).strip())
    if not typed:
        return student
    if len({one.lower() for one in typed}) > 1:
        notes.append(f"its notebooks name different ids ({', '.join(sorted(set(typed)))}); {typed[0]} was taken.")
    if typed[0].lower() != student.strip().lower():
        notes.append(f"its notebooks say that it is the work of {typed[0]!r}; the numbers are those of that id.")
    return typed[0]


def released_notebooks(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The notebooks as they were handed out, each source as one string."""
    found = {}
    for name in names:
        notebook = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        found[name] = notebook
    return found
