"""Matching what came in with what was handed out, and mending it: lost metadata, other ids, cells added or moved.

The mended notebook is the released one with the student's answers in it, and with those of the student's other cells
that the answers need.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager

from .questions import Question

__all__ = ["Lesson", "Mended", "lesson_of", "mend", "read_notebook"]


@dataclass(frozen=True)
class Lesson:
    """One notebook of the course as it was released, its questions, and the tests that count as unchanged."""

    name: str
    released: dict
    questions: tuple[Question, ...]
    tests: dict[str, tuple[str, ...]]  # test id: the sources that are as good as the released one


@dataclass
class Mended:
    """A notebook ready to be marked; `tests` says what became of each test: "kept", "changed" or "deleted"."""

    notebook: dict
    tests: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_notebook(content: bytes) -> dict:
    """A notebook's JSON with each source as one string; raises ValueError with what is wrong with the file."""
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("it is broken, or not a notebook (.ipynb)") from None
    if isinstance(notebook, dict) and "worksheets" in notebook:
        notebook = {"cells": [c for sheet in notebook["worksheets"] for c in sheet.get("cells", [])], "metadata": {}}
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list) or not notebook["cells"]:
        raise ValueError("it holds no cells")
    cells = []
    for cell in notebook["cells"]:
        if not isinstance(cell, dict):
            continue
        source = cell.get("source", cell.get("input", ""))
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        kind = cell.get("cell_type") if cell.get("cell_type") in ("code", "markdown", "raw") else "markdown"
        cells.append({"cell_type": kind, "source": source, "metadata": metadata, "id": str(cell.get("id", ""))})
    if not cells:
        raise ValueError("it holds no cells")
    metadata = notebook.get("metadata") if isinstance(notebook.get("metadata"), dict) else {}
    return {"cells": cells, "metadata": metadata}


def lesson_of(name: str, notebook: dict, lessons: Sequence[Lesson]) -> Lesson | None:
    """Which lesson a file is of: by its content, and by its name where the content leaves it open."""

    def score(lesson: Lesson) -> float:
        defined = {n for cell in notebook["cells"] if cell["cell_type"] == "code" for n in _defines(cell["source"])}
        ids = {_grade_id(cell) for cell in notebook["cells"]}
        asked = [q for q in lesson.questions if not q.written]
        hits = sum(q.answer_id in ids or q.test_id in ids for q in lesson.questions)
        return hits + sum(q.symbol in defined for q in asked) + 0.5 * (lesson.name in name)

    best = max(lessons, key=score)
    return best if score(best) > 0 else None


def mend(handed_in: dict, lesson: Lesson) -> Mended:
    """Put a student's answers into the released notebook."""
    cells = handed_in["cells"]
    mended = Mended(json.loads(json.dumps(lesson.released)))
    kernel = str((handed_in["metadata"].get("kernelspec") or {}).get("name", "python3"))
    if kernel != "python3":
        mended.notes.append(f"its kernel is called {kernel!r}; it was run with python3.")
    answers = _find_answers(cells, lesson, mended)
    for question in (q for q in lesson.questions if not q.written):
        mended.tests[question.test_id] = _test_state(cells, question, lesson)
    kept = _needed(cells, answers, lesson)
    made = []
    for cell in mended.notebook["cells"]:
        if cell.get("id") in ("setup", "numbers"):
            continue  # they are graded nowhere, and take seconds
        grade_id = _grade_id(cell)
        if grade_id in answers:
            at = answers[grade_id]
            made += [_added(cells[i], i) for i in kept.get(grade_id, ())]
            cell["source"] = cells[at]["source"]
        made.append(cell)
    mended.notebook["cells"] = made
    count = sum(map(len, kept.values()))
    if count:
        mended.notes.append(f"{count} added {'cell was' if count == 1 else 'cells were'} kept, which the answers need.")
    return mended


def _find_answers(cells: Sequence[dict], lesson: Lesson, mended: Mended) -> dict[str, int]:
    """The number of the cell that holds each answer; unwritten ones stay as they were released."""
    found: dict[str, int] = {}
    by_content = 0
    for question in lesson.questions:
        if question.written:
            at, lost = _find_written(cells, question, lesson)
        else:
            at, lost = _find_code(cells, question, lesson)
        if at is None:
            mended.missing.append(question.name)
            mended.notes.append(f"there is no answer to {question.symbol or question.title!r} in it.")
            continue
        by_content += lost
        found[question.answer_id] = at
    if by_content:
        noun = "answer was" if by_content == 1 else "answers were"
        mended.notes.append(
            f"{by_content} {noun} found by content, since the cells' marks (metadata) were lost or moved."
        )
    return found


def _find_code(cells: Sequence[dict], question: Question, lesson: Lesson) -> tuple[int | None, bool]:
    cell_id = next((c.get("id") for c in lesson.released["cells"] if _grade_id(c) == question.answer_id), None)
    code = [i for i, c in enumerate(cells) if c["cell_type"] == "code"]
    marked = [i for i in code if _grade_id(cells[i]) == question.answer_id]
    marked = marked or [i for i in code if cells[i]["id"] == cell_id and not _is_test(cells[i]["source"], question)]
    holding = [
        i for i in code if question.symbol in _defines(cells[i]["source"]) and not _is_course(cells[i]["source"])
    ]
    written = [i for i in holding if "raise NotImplementedError" not in cells[i]["source"]]
    if marked and ("raise NotImplementedError" not in cells[marked[-1]]["source"] or not written):
        return marked[-1], False
    best = written or holding or marked
    return (best[-1], True) if best else (None, False)


def _find_written(cells: Sequence[dict], question: Question, lesson: Lesson) -> tuple[int | None, bool]:
    texts = [i for i, c in enumerate(cells) if c["cell_type"] != "code"]
    marked = [i for i in texts if _grade_id(cells[i]) == question.answer_id]
    marked = marked or [i for i in texts if cells[i]["id"] == "written" and cells[i]["source"].strip()]
    if marked:
        return marked[-1], False
    asked = [i for i in texts if question.title in cells[i]["source"]]
    after = [i for i in texts if asked and i > asked[-1]]
    return (after[0], True) if after else (None, False)


def _test_state(cells: Sequence[dict], question: Question, lesson: Lesson) -> str:
    alike = {_normal(source) for source in lesson.tests[question.test_id]}
    code = [c["source"] for c in cells if c["cell_type"] == "code"]
    if any(_normal(source) in alike for source in code):
        return "kept"
    marked = [c for c in cells if _grade_id(c) == question.test_id]
    return "changed" if marked or any(_is_test(source, question) for source in code) else "deleted"


def _needed(cells: Sequence[dict], answers: dict[str, int], lesson: Lesson) -> dict[str, list[int]]:
    """For each answer, the other cells that have to run before it: what they define is used, or they meddle."""
    released = {_normal(c["source"]) for c in lesson.released["cells"] if c["cell_type"] == "code"}
    given = {n for c in lesson.released["cells"] if c["cell_type"] == "code" for n in _defines(c["source"])}
    taken, kept = set(answers.values()), {}
    spare = [
        i
        for i, c in enumerate(cells)
        if c["cell_type"] == "code" and i not in taken and _normal(c["source"]) not in released
        and not any(_is_test(c["source"], q) for q in lesson.questions) and not _is_course(c["source"])
    ]  # fmt: skip
    code = sorted((at, grade_id) for grade_id, at in answers.items() if cells[at]["cell_type"] == "code")
    used: set[int] = set()
    for at, grade_id in code:
        wanted, chosen = _uses(cells[at]["source"]), set()
        nearer = [i for i in spare if i < at and i not in used]
        for i in reversed(nearer):
            source = cells[i]["source"]
            if (_defines(source) - given) & wanted or _meddles(source):
                chosen.add(i)
                wanted |= _uses(source)
        used |= chosen
        if chosen:
            kept[grade_id] = sorted(chosen)
    return kept


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defines(source: str) -> set[str]:
    """The names that a cell sets at its top level, in an `if` or a `try` as well."""
    tree = _parsed(source)
    if tree is None:
        return set(re.findall(r"^(?:def|class) (\w+)", source, re.M))
    names: set[str] = set()
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            waiting += [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
    return names


def _uses(source: str) -> set[str]:
    tree = _parsed(source)
    if tree is None:
        return set(re.findall(r"\b[A-Za-z_]\w*\b", source))
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _meddles(source: str) -> bool:
    """Whether a cell sets attributes of modules: not needed, but the teacher has to hear of it."""
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
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "exec"):
            return True
    return False


def _is_test(source: str, question: Question) -> bool:
    return not question.written and re.search(rf"\bcheck_{question.name}\(", source) is not None


def _is_course(source: str) -> bool:
    """A lesson's own cell that replaces an answer by the package's."""
    return "checks.checkpoint(" in source


def _normal(source: str) -> str:
    tree = _parsed(source)
    return ast.dump(tree) if tree is not None and tree.body else " ".join(source.split())


def _added(cell: dict, number: int) -> dict:
    source = "\n".join(line for line in cell["source"].splitlines() if not re.match(r"\s*[!%]\s*pip\b", line))
    return {
        "cell_type": "code", "execution_count": None, "id": f"added-{number}", "metadata": {}, "outputs": [],
        "source": source,
    }  # fmt: skip


def _grade_id(cell: dict) -> str:
    grading = (cell.get("metadata") or {}).get("nbgrader")
    return str(grading.get("grade_id", "")) if isinstance(grading, dict) else ""
