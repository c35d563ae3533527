"""The second opinion: each answer judged in a fresh process, before which nothing of the student's has run.

nbgrader runs a notebook's cells in one kernel, where one cell can spoil the next, and the checks. Here every question
has a fork of a clean process of its own: the student's cells up to the answer are run, what they changed of the course,
torch or Python is noted and put back, and then the lesson's check and the hidden tests are asked.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from .. import checks
from ..checks.verdicts import Verdict
from . import hidden
from .integrity import Snapshot, own_work
from .questions import Question
from .sandbox import Boxed, Limits, in_a_box

__all__ = ["judge_notebook"]

# In words for the student; what happened, and where.
_ACCIDENTS = {
    "time": "{where} did not come to an end within {detail}: look for an endless loop.",
    "memory": "{where} needs more memory than there is: look for a tensor that is far too large.",
    "exit": "{where} ends Python itself: leave out exit(), quit() and os._exit().",
    "crash": "{where} makes Python crash ({detail}).",
}


class _Shell:
    """What `get_ipython()` gives: magics do nothing, except that a cell under %%time is run."""

    def __init__(self, space: dict) -> None:
        self._space = space

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        if name in ("time", "timeit", "capture", "prun"):
            exec(compile(TransformerManager().transform_cell(cell), "<cell>", "exec"), self._space)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **keywords: None


def judge_notebook(cells: Sequence[dict], questions: Sequence[Question], limits: Limits, seed: int) -> dict[str, Any]:
    """Judge every autograded question of a mended notebook.

    Returns `verdicts` (by question: share, mistake, sentence, accident) and `stopped`: the numbers of the cells that
    must not be run again, with the reason.
    """
    verdicts: dict[str, dict] = {}
    stopped: dict[int, str] = {}
    snapshot = Snapshot()
    for question in (q for q in questions if not q.written):
        at = _place(cells, question.answer_id)
        if at is None:
            verdicts[question.name] = _verdict(0, "missing", f"There is no answer to {question.symbol} in the file.")
            continue
        for _ in range(len(cells)):
            boxed, step = _in_its_own_box(cells, question, at, stopped, snapshot, limits, seed)
            if boxed.accident is None:
                verdicts[question.name] = boxed.answer
                break
            own = step is None or step == at
            where = f"{question.symbol}" if own else "A cell before the answer"
            told = _ACCIDENTS[boxed.accident].format(where=where, detail=boxed.detail)
            stopped[at if step is None else step] = told
            if own:
                verdicts[question.name] = _verdict(0, boxed.accident, told, accident=boxed.accident)
                break
    return {"verdicts": verdicts, "stopped": stopped}


def _in_its_own_box(
    cells: Sequence[dict],
    question: Question,
    at: int,
    stopped: dict[int, str],
    snapshot: Snapshot,
    limits: Limits,
    seed: int,
) -> tuple[Boxed, int | None]:
    """One question in one fork; after an accident, also the cell in which it happened (None: in the check)."""
    import multiprocessing

    progress = multiprocessing.Value("i", -1, lock=False)

    def work() -> dict:
        return _answer(cells, question, at, stopped, snapshot, seed, progress)

    boxed = in_a_box(work, limits)
    if boxed.accident is None and "share" not in boxed.answer:
        boxed = Boxed(accident=boxed.answer["accident"])
    step = progress.value if progress.value >= 0 else None
    return boxed, step


def _answer(
    cells: Sequence[dict],
    question: Question,
    at: int,
    stopped: dict[int, str],
    snapshot: Snapshot,
    seed: int,
    progress: Any,
) -> dict[str, Any]:
    """Run in the fork: the cells up to the answer, and then the checks."""
    space: dict[str, Any] = {"__name__": "__main__"}
    shell = _Shell(space)
    space["get_ipython"] = lambda: shell
    trouble, meddling = "", []
    judged, inspect = checks.CHECKS[question.name][0], hidden.inspect
    for number, cell in enumerate(cells[: at + 1]):
        if cell["cell_type"] != "code" or number in stopped or _is_test(cell):
            continue
        progress.value = number
        error = _run(cell["source"], space)
        if error == "memory" or error == "exit":
            return {"accident": error}
        if number == at:
            trouble = error
        if changed := snapshot.changed():
            snapshot.restore()
            meddling += [name for name in changed if _counts(name, question, own=number == at, cell=cell)]
    progress.value = -1
    if at in stopped:
        return _verdict(0, "stopped", stopped[at], accident="stopped")
    if meddling:
        return _tampered(meddling)
    if question.symbol not in space:
        what = trouble or f"The answer cell doesn't define {question.symbol}: keep its name."
        codes = {"valid Python": "syntax", "needs the package": "missing-package", "stops with": "cell-raised"}
        code = next((code for words, code in codes.items() if words in what), "not-defined")
        return _verdict(0, code, what, accident=code if code == "missing-package" else None)
    share, verdict = _judged(question, space[question.symbol], judged, inspect, seed)
    if changed := snapshot.changed():
        return _tampered(changed)
    if re.search("MemoryError|can't allocate memory|not enough memory", verdict.sentence):
        return {"accident": "memory"}
    if re.search(r"raises (SystemExit|KeyboardInterrupt)\b", verdict.sentence):
        return {"accident": "exit"}
    lacking = "missing-package" if "raises ModuleNotFoundError" in verdict.sentence else None
    told = repr(verdict) if share < 1 else verdict.sentence
    return _verdict(share, lacking or verdict.mistake, told, accident=lacking)


def _judged(question: Question, function: Any, judged: Any, inspect: Any, seed: int) -> tuple[float, Verdict]:
    with own_work(question.name) as called:
        verdict = judged(function)
        share = float(bool(verdict))
        if verdict:
            share, deeper = inspect(question.name, function, seed=seed)
            verdict = verdict if share == 1 else deeper
    return (0.0, called[0]) if called else (share, verdict)


def _run(source: str, space: dict[str, Any]) -> str:
    """Run a cell as a notebook would, and return in a sentence what went wrong."""
    try:
        code = TransformerManager().transform_cell(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, "<cell>", "exec"), space)
    except SystemExit:
        return "exit"
    except MemoryError:
        return "memory"
    except SyntaxError as error:
        return f"The answer cell isn't valid Python (line {error.lineno}: {error.msg})."
    except ModuleNotFoundError as error:
        return f"The answer cell needs the package {error.name!r}, which is not installed where the work is marked."
    except BaseException as error:
        if "can't allocate memory" in str(error):
            return "memory"
        text = " ".join(str(error).split())[:160]
        return f"The answer cell stops with {type(error).__name__}{': ' if text else ''}{text}."
    return ""


def _counts(name: str, question: Question, *, own: bool, cell: dict) -> bool:
    """Whether what a cell changed concerns this question: its own cell does, and so does a cell beside the answers."""
    if own:
        return True
    aimed = re.search(r"check_(\w+)$", name)
    if aimed and aimed[1] != question.name:
        return False
    return not (cell.get("metadata") or {}).get("nbgrader") or bool(aimed)


def _tampered(names: Sequence[str]) -> dict[str, Any]:
    told = f"changes what the checks rely on ({', '.join(sorted(set(names))[:3])}), so this question earns nothing."
    return _verdict(0, "tampered", f"The notebook {told}", accident="tampered")


def _verdict(share: float, mistake: str | None, sentence: str, *, accident: str | None = None) -> dict[str, Any]:
    return {"share": share, "mistake": mistake, "sentence": sentence, "accident": accident}


def _place(cells: Sequence[dict], grade_id: str) -> int | None:
    for number, cell in enumerate(cells):
        if _grading(cell).get("grade_id") == grade_id:
            return number
    return None


def _is_test(cell: dict) -> bool:
    return bool(_grading(cell).get("grade")) and cell["cell_type"] == "code"


def _grading(cell: dict) -> dict:
    with contextlib.suppress(AttributeError):
        return (cell.get("metadata") or {}).get("nbgrader") or {}
    return {}
