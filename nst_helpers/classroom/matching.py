"""Matching what came in with what was handed out, and mending it: lost metadata, other ids, cells added or moved.

The mended notebook is the released one with the student's answers in it, and with those of the student's other cells
that the answers need. For each question there is a list of cells to run, as the notebook would have run them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from .questions import Question

__all__ = ["Lesson", "Mended", "lesson_of", "mend"]

_SHELL = re.compile(r"^([ \t]*(?:\w+[ \t]*=[ \t]*)?)[!%](?:.*\\\n)*.*$", re.M)


@dataclass(frozen=True)
class Lesson:
    """One notebook of the course as it was released, its questions, and the tests that count as unchanged."""

    name: str
    released: dict[str, Any]
    questions: tuple[Question, ...]
    tests: dict[str, tuple[str, ...]]  # test id: the sources that are as good as the released one


@dataclass
class Mended:
    """A notebook ready to be marked; `tests` says what became of each test: "kept", "changed" or "deleted".

    `runs` has for each question the cells to run (number and source), the number of the answer's, and `all` cells that
    might be needed. Cells are counted from 1, as they lie in the student's file; cells of the release have numbers of 0
    and below.
    """

    notebook: dict[str, Any]
    tests: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)  # question: the source of its answer


def lesson_of(name: str, notebook: dict[str, Any], lessons: Sequence[Lesson]) -> Lesson | None:
    """Which lesson a file is of: by its content, and by its name where the content leaves it open."""
    defined = {n for cell in notebook["cells"] if cell["cell_type"] == "code" for n in _defines(cell["source"])}
    ids = {cell["grade_id"] for cell in notebook["cells"]}

    def score(lesson: Lesson) -> float:
        asked = [q for q in lesson.questions if not q.written]
        hits = sum(q.answer_id in ids or q.test_id in ids for q in lesson.questions)
        return hits + sum(q.symbol in defined for q in asked) + 0.5 * (lesson.name in name)

    best = max(lessons, key=score)
    return best if score(best) > 0 else None


def mend(handed_in: dict[str, Any], lesson: Lesson) -> Mended:
    """Put a student's answers into the released notebook."""
    cells = handed_in["cells"]
    mended = Mended(json.loads(json.dumps(lesson.released)))
    if handed_in["kernel"] != "python3":
        mended.notes.append(f"its kernel is called {handed_in['kernel']!r}; it was run with python3.")
    answers = _find_answers(cells, lesson, mended)
    for question in (q for q in lesson.questions if not q.written):
        mended.tests[question.test_id] = _test_state(cells, question, lesson)
    kept = _runs(cells, answers, lesson, mended)
    marked_cells = []
    for cell in mended.notebook["cells"]:
        if cell.get("id") in ("setup", "numbers") or cell.get("id", "").startswith("checkpoint"):
            continue  # they are graded nowhere, and take seconds
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        before, after = kept.get(grade_id, ([], []))
        if grade_id in answers:
            cell["source"] = cells[answers[grade_id]]["source"]
        marked_cells += [*(_added(cells[i], i) for i in before), cell, *(_added(cells[i], i) for i in after)]
    mended.notebook["cells"] = marked_cells
    for i in sorted({i for both in kept.values() for i in (*both[0], *both[1])}):
        if _meddles(cells[i]["source"]):
            effect = "changes something of torch, NumPy, Python or the course; that has no effect on how it is judged"
            mended.notes.append(f"cell {i + 1} {effect}.")
    count = sum(len(before) + len(after) for before, after in kept.values())
    if count:
        mended.notes.append(f"{count} added {'cell was' if count == 1 else 'cells were'} kept, which the answers need.")
    return mended


def _find_answers(cells: Sequence[dict[str, Any]], lesson: Lesson, mended: Mended) -> dict[str, int]:
    """The number of the cell that holds each answer; unwritten ones stay as they were released."""
    found: dict[str, int] = {}
    by_content = 0
    for question in lesson.questions:
        at, lost = (_find_written if question.written else _find_code)(cells, question, lesson)
        if at is None:
            mended.missing.append(question.name)
            mended.notes.append(f"there is no answer to {question.symbol or question.title!r} in it.")
            continue
        by_content += lost
        found[question.answer_id] = at
        mended.answers[question.name] = cells[at]["source"]
    if by_content:
        noun = "answer was" if by_content == 1 else "answers were"
        mended.notes.append(
            f"{by_content} {noun} found by content, since the cells' marks (metadata) were lost or moved."
        )
    return found


def _find_code(cells: Sequence[dict[str, Any]], question: Question, lesson: Lesson) -> tuple[int | None, bool]:
    """The cell with the answer: of those that define the symbol, the last one before its test."""
    cell_id = _released(lesson, question.answer_id).get("id")
    code = [i for i, c in enumerate(cells) if c["cell_type"] == "code"]
    marked = [i for i in code if cells[i]["grade_id"] == question.answer_id]
    marked = marked or [i for i in code if cells[i]["id"] == cell_id and not _is_test(cells[i]["source"], question)]
    holding = [
        i for i in code if question.symbol in _defines(cells[i]["source"]) and not _is_course(cells[i]["source"])
    ]
    written = [i for i in holding if "raise NotImplementedError" not in cells[i]["source"]]
    if not written and marked and "raise NotImplementedError" not in cells[marked[-1]]["source"]:
        return marked[-1], False  # something was written there, though it doesn't define what it should
    tested = _place_of_test(cells, question)
    best = [i for i in written if i < tested] or written or holding or marked
    return (best[-1], best[-1] not in marked) if best else (None, False)


def _find_written(cells: Sequence[dict[str, Any]], question: Question, lesson: Lesson) -> tuple[int | None, bool]:
    texts = [i for i, c in enumerate(cells) if c["cell_type"] != "code"]
    marked = [i for i in texts if cells[i]["grade_id"] == question.answer_id]
    marked = marked or [i for i in texts if cells[i]["id"] == "written" and cells[i]["source"].strip()]
    if marked:
        return marked[-1], False
    asked = [i for i in texts if question.title in cells[i]["source"]]
    after = [i for i in texts if asked and i > asked[-1]]
    return (after[0], True) if after else (None, False)


def _released(lesson: Lesson, grade_id: str) -> dict[str, Any]:
    found = (c for c in lesson.released["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)
    return next(found, {})


def _place_of_test(cells: Sequence[dict[str, Any]], question: Question) -> int:
    """Where the test of a question stands, or the end."""
    found = [i for i, c in enumerate(cells) if c["grade_id"] == question.test_id]
    found = found or [i for i, c in enumerate(cells) if c["cell_type"] == "code" and _is_test(c["source"], question)]
    return found[-1] if found else len(cells)


def _test_state(cells: Sequence[dict[str, Any]], question: Question, lesson: Lesson) -> str:
    alike = {_normal(source) for source in lesson.tests[question.test_id]}
    code = [c["source"] for c in cells if c["cell_type"] == "code"]
    if any(_normal(source) in alike for source in code if _is_test(source, question)):
        return "kept"
    marked = [c for c in cells if c["grade_id"] == question.test_id]
    return "changed" if marked or any(_is_test(source, question) for source in code) else "deleted"


def _runs(
    cells: Sequence[dict[str, Any]], answers: dict[str, int], lesson: Lesson, mended: Mended
) -> dict[str, tuple[list[int], list[int]]]:
    """Fill in the runs; and for each answer the student's own cells that it needs, before and after it."""
    code = [c for c in lesson.released["cells"] if c["cell_type"] == "code"]
    released, given = {_normal(c["source"]) for c in code}, {n for c in code for n in _defines(c["source"])}
    first = [c["source"] for c in code if c.get("id", "").startswith(("prelude", "personal", "given"))]
    start = [{"number": i - len(first), "source": source} for i, source in enumerate(first)]
    taken = {at: grade_id for grade_id, at in answers.items() if cells[at]["cell_type"] == "code"}
    spare = [
        i
        for i, c in enumerate(cells)
        if c["cell_type"] == "code" and i not in taken and c["source"].strip() and _normal(c["source"]) not in released
        and not any(_is_test(c["source"], q) for q in lesson.questions) and not _is_course(c["source"])
    ]  # fmt: skip
    kept: dict[str, tuple[list[int], list[int]]] = {}
    used: set[int] = set()
    for question in (q for q in lesson.questions if q.answer_id in answers and not q.written):
        at = answers[question.answer_id]
        until = max(at, min(_place_of_test(cells, question), len(cells)))
        near = [i for i in spare if i < until]
        chosen = _needed(cells, at, near, given)
        earlier = [i for i in taken if i < at]
        order = sorted({*chosen, *earlier, at})
        everything = sorted({*near, *earlier, at})
        mended.runs[question.name] = {
            "cells": start + [_numbered(cells, i) for i in order],
            "answer": at + 1,
            "all": start + [_numbered(cells, i) for i in everything],
        }
        new = chosen - used
        used |= new
        kept[question.answer_id] = (sorted(i for i in new if i < at), sorted(i for i in new if i > at))
    return kept


def _needed(cells: Sequence[dict[str, Any]], at: int, near: Sequence[int], given: set[str]) -> set[int]:
    """The cells around an answer that define what it uses, and the cells that define what those use in turn."""
    wanted, chosen = _uses(cells[at]["source"]), set()
    growing = True
    while growing:
        growing = False
        for i in reversed(near):
            source = cells[i]["source"]
            defined = _defines(source)
            if i not in chosen and (defined & {"*", "!"} or (defined - given) & wanted or _meddles(source)):
                chosen.add(i)
                wanted |= _uses(source)
                growing = True
    return chosen


def _numbered(cells: Sequence[dict[str, Any]], place: int) -> dict[str, Any]:
    return {"number": place + 1, "source": _without_pip(cells[place]["source"])}


@lru_cache(maxsize=4096)
def _parsed(source: str) -> ast.Module | None:
    """The syntax of a cell as IPython would run it; None where it has none. Nobody may change it."""
    try:
        if source.lstrip().startswith("%%"):
            return ast.parse(TransformerManager().transform_cell(source))
        try:
            return ast.parse(source)
        except SyntaxError:  # IPython takes seconds for a cell of many lines with ! or %, so these go first
            plain = _SHELL.sub(lambda line: f"{line[1]}{'None' if '=' in line[1] else 'pass'}", source)
            return ast.parse(TransformerManager().transform_cell(plain))
    except Exception:  # whatever a text can do to a parser, such as too many brackets
        return None


def _defines(source: str) -> set[str]:
    """The names that a cell sets at its top level; "*" stands for any, "!" for a file that it writes."""
    if re.match(r"\s*%%(writefile|file)\b", source):
        return {"!"}
    tree = _parsed(source)
    if tree is None:
        return set(re.findall(r"^(?:def|class) (\w+)", source, re.M)) | set(re.findall(r"^(\w+) *=[^=]", source, re.M))
    names: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            waiting += ast.iter_child_nodes(node)
    return names


def _uses(source: str) -> set[str]:
    tree = _parsed(re.sub(r"^\s*%%\w+[^\n]*\n", "", source))
    if tree is None:
        return set(re.findall(r"\b[A-Za-z_]\w*\b", source))
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _meddles(source: str) -> bool:
    """Whether a cell sets attributes of modules, or does what can't be read from its text."""
    tree = _parsed(source)
    if tree is None:
        return False
    roots = {"nst", "checks", "nst_helpers", "torch", "np", "numpy", "builtins", "hidden", "nn", "F"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
            root: ast.expr = node
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and (root.id in roots or root.id.startswith("nst")):
                return True
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in ("setattr", "exec", "globals"):
            return True
    return False


def _is_test(source: str, question: Question) -> bool:
    return not question.written and re.search(rf"\bcheck_{question.name}\(", source) is not None


def _is_course(source: str) -> bool:
    """A cell of the course that replaces an answer by the package's."""
    return "checks.checkpoint(" in source


def _normal(source: str) -> str:
    """A cell's text, its layout and comments aside."""
    tree = _parsed(source)
    try:
        return ast.dump(tree) if tree is not None and tree.body else " ".join(source.split())
    except RecursionError:
        return " ".join(source.split())


def _without_pip(source: str) -> str:
    return "\n".join(line for line in source.split("\n") if not re.match(r"\s*[!%]\s*pip\b", line))


def _added(cell: dict[str, Any], place: int) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "id": f"added-{place + 1}", "metadata": {}, "outputs": [],
        "source": _without_pip(cell["source"]),
    }  # fmt: skip
