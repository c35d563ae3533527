"""Judging answers from outside: each question has a box of its own, and what is right stays in this process."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from ..checks.exercises import CHECKS
from ..checks.verdicts import Verdict
from . import hidden
from .box.server import Limits, load_optimizers
from .boxes import BoxServer, Ending
from .questions import Question
from .remote import Connection, Lost
from .student_package import allowed

__all__ = ["SHARES", "judge_question"]

# What is left of the points where the values are right all the same.
SHARES = {"fragile": 0.75, "wrong-dtype": 0.75, "in-place": 0.75, "detached": 0.5}
_COSTS = {0.75: "a quarter", 0.5: "half"}

# In words for the student: what happened, and where.
_ACCIDENTS = {
    "time": "{where} did not come to an end within {detail}: look for an endless loop.",
    "memory": "{where} needs more memory than there is: look for a tensor that is far too large.",
    "exit": "{where} ends Python itself: leave out exit(), quit() and os._exit().",
    "crash": "{where} makes Python crash ({detail}).",
    "processes": "{where} starts more than {detail} processes: leave out what forks.",
    "garbled": "{where} disturbs the connection over which it is marked, so it can't be marked.",
}
_WITH_OPTIMIZERS = {"make_closure"}  # the questions whose answers get an optimiser
# Errors that may be owed to a cell which was left out since the answer did not seem to need it.
_LACKING = re.compile(r"raises (NameError|ModuleNotFoundError|FileNotFoundError|AttributeError|KeyError)\b")


def judge_question(
    server: BoxServer, question: Question, run: dict[str, Any], limits: Limits, seed: int, stopped: dict[int, str]
) -> dict[str, Any]:
    """Judge one answer: its share of the points, the mistake, the sentence, the accident, and the cells' errors.

    `run` has the `cells` (number and source) that the answer needs, the number of the `answer` cell, and in `all` every
    cell that might be needed. `stopped` gets the cells that must not be run again, with the reason.
    """
    if question.name in _WITH_OPTIMIZERS:
        load_optimizers()  # before the answer's time begins
    verdict = _judge(server, question, run["cells"], run["answer"], limits, seed, stopped)
    more = [cell for cell in run["all"] if cell not in run["cells"]]
    if more and not verdict["share"] and (verdict["mistake"] == "not-defined" or _LACKING.search(verdict["sentence"])):
        again = _judge(server, question, run["all"], run["answer"], limits, seed, dict(stopped))
        if again["share"]:
            return again
    return verdict


def _judge(
    server: BoxServer,
    question: Question,
    cells: Sequence[dict[str, Any]],
    answer: int,
    limits: Limits,
    seed: int,
    stopped: dict[int, str],
) -> dict[str, Any]:
    for _ in range(len(cells) + 1):
        if answer in stopped:
            return _outcome(0, "stopped", stopped[answer], accident="stopped")
        outcome: dict[str, Any] = {}
        with server.box(limits, optimizers=question.name in _WITH_OPTIMIZERS) as box:
            connection = box.connection
            try:
                connection.allow(allowed(question.name))
                running = [cell for cell in cells if cell["number"] not in stopped]
                defined, function, errors = connection.run(running, question.symbol)
                outcome = _verdict_on(question, connection, defined, function, errors.get(answer), seed)
                outcome["errors"] = {number: f"{e['error']}: {e['text']}".strip(": ") for number, e in errors.items()}
            except Lost:
                outcome = {}
            ending = box.end()
        if outcome:
            return outcome
        # The box has ended in a cell, or (None) while the answer was called.
        at, number = connection.cell, answer if connection.cell is None else connection.cell
        sentence = accident(ending, question.symbol if at in (None, answer) else f"Cell {at}, before the answer,")
        stopped[number] = sentence
        if number == answer:
            return _outcome(0, ending.accident, sentence, accident=ending.accident)
    raise AssertionError("every round stops another cell")


def accident(ending: Ending, where: str) -> str:
    """A sentence on how a box has ended."""
    return _ACCIDENTS[ending.accident or "exit"].format(where=where, detail=ending.detail)


def _verdict_on(
    question: Question,
    connection: Connection,
    defined: bool,
    function: Any,
    error: dict[str, Any] | None,
    seed: int,
) -> dict[str, Any]:
    symbol = question.symbol
    if not defined:
        if error and error["error"] in ("SystemExit", "MemoryError"):
            kind = "exit" if error["error"] == "SystemExit" else "memory"
            return _outcome(0, kind, accident(Ending(kind), symbol), accident=kind)
        if connection.absent:
            return _own_work(symbol)
        code, sentence = _why_undefined(symbol, error)
        return _outcome(0, code, sentence, accident=code if code == "missing-package" else None)
    connection.absent = False
    share, verdict = examine(question.name, function, connection, seed)
    if share < 1 and connection.absent:
        return _own_work(symbol)
    for kind in ("memory", "exit"):
        if share < 1 and getattr(connection, kind) and verdict.mistake == "raised":
            return _outcome(0, kind, accident(Ending(kind), symbol), accident=kind)
    lacking = "missing-package" if "raises ModuleNotFoundError" in verdict.sentence else None
    sentence = verdict.sentence if share < 1 else ""
    return _outcome(share, lacking or verdict.mistake, sentence, accident=lacking)


def _why_undefined(symbol: str, error: dict[str, Any] | None) -> tuple[str, str]:
    if error is None:
        return "not-defined", f"The answer cell doesn't define {symbol}: keep its name."
    if error["lacks"]:
        reason = f"needs the package {error['lacks']!r}, which is not installed where the work is marked."
        return "missing-package", f"The answer cell {reason}"
    if error["line"] is not None:
        text = str(error["text"]).partition(" (")[0]
        return "syntax", f"The answer cell isn't valid Python (line {error['line']}: {text})."
    text = str(error["text"])[:160]
    return "cell-raised", f"The answer cell stops with {error['error']}{': ' if text else ''}{text}."


def _own_work(symbol: str) -> dict[str, Any]:
    sentence = f"{symbol} calls the course's own code for what you are asked to write: write it yourself."
    return _outcome(0, "package-function", sentence)


def examine(name: str, function: Any, connection: Connection, seed: int) -> tuple[float, Verdict]:
    """The share of the points for an answer in a box, by the lesson's check and the hidden tests, and why."""
    check = CHECKS[name][0]
    verdict = check(function)
    if verdict.mistake == "in-place":
        connection.hide_changes = True
        otherwise_right = bool(check(function)) and hidden.inspect(name, function, seed=seed)[0] == 1
        connection.hide_changes = False
        return _partial(verdict) if otherwise_right else (0.0, verdict)
    if verdict and verdict.passed:
        share, deeper = hidden.inspect(name, function, seed=seed)
        return (share, deeper if share < 1 else verdict)
    if verdict.mistake in SHARES and name != "make_closure":
        # The check compares the values first; the hidden tests have to find the same and nothing worse.
        deeper = hidden.inspect(name, function, seed=seed)[1]
        return _partial(verdict) if deeper.mistake == verdict.mistake else (0.0, deeper)
    return 0.0, verdict


def _partial(verdict: Verdict) -> tuple[float, Verdict]:
    share = SHARES[str(verdict.mistake)]
    sentence = f"{verdict.sentence} (The values are right, so this costs {_COSTS[share]} of the points.)"
    return share, dataclasses.replace(verdict, sentence=sentence)


def _outcome(share: float, mistake: str | None, sentence: str, *, accident: str | None = None) -> dict[str, Any]:
    return {"share": share, "mistake": mistake, "sentence": sentence, "accident": accident, "errors": {}}
