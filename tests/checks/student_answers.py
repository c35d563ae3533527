"""Answers as students write them: read from `answers/*.txt`, defined as in a notebook, judged and counted.

A block begins with `# wrong | what is wrong | words that name it` (a regular expression that the sentence has to match)
or with `# right | what is unusual`, and ends where the next one begins.
"""

from __future__ import annotations

import linecache
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import nst_helpers as nst
from nst_helpers import checks, conventions

SYMBOLS = {"content_loss_layer": "ContentLossLayer", "style_loss_layer": "StyleLossLayer"}
_HEAD = re.compile(r"^# (wrong|right) \| (.*)$", re.MULTILINE)
_cells = count(1)


@dataclass(frozen=True)
class Answer:
    """One answer to one exercise; `names` is the pattern that a wrong one's sentence has to match."""

    exercise: str
    right: bool
    about: str
    names: str
    source: str

    def __str__(self) -> str:
        return f"{self.exercise}: {self.about}"

    def define(self) -> object:
        """Run the source as a notebook's cell and return what it defines; its own source can be inspected."""
        name = f"<student cell {next(_cells)}>"
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(keepends=True), name)
        space = {"__name__": "__main__", "display": print, "torch": torch, "nn": nn, "F": F, "np": np, "math": math}
        space |= {"nst": nst, "checks": checks, "conventions": conventions}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as a notebook shows them and goes on
            exec(compile(self.source, name, "exec"), space)
        return space[SYMBOLS.get(self.exercise, self.exercise)]


@cache
def load() -> tuple[Answer, ...]:
    """All answers, exercise by exercise."""
    return tuple(answer for path in sorted(Path(__file__).parent.glob("answers/*.txt")) for answer in _read(path))


def _read(path: Path) -> Iterator[Answer]:
    _, *parts = _HEAD.split(path.read_text("utf-8"))
    for kind, head, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        about, _, names = head.partition(" | ")
        yield Answer(path.stem, kind == "right", about, names, source)


@dataclass(frozen=True)
class Found:
    """What a check says about an answer."""

    answer: Answer
    verdict: checks.Verdict

    @property
    def named(self) -> bool:
        """Whether the sentence for a wrong answer names its mistake."""
        return not self.verdict and re.search(self.answer.names, self.verdict.sentence, re.IGNORECASE) is not None


@cache
def judged() -> tuple[Found, ...]:
    """Every answer's verdict, computed once."""
    return tuple(Found(answer, checks.CHECKS[answer.exercise][0](answer.define())) for answer in load())


def codes() -> set[str]:
    """The mistakes that are found in wrong answers and named."""
    return {str(found.verdict.mistake) for found in judged() if not found.answer.right and found.named}


def table(found: Iterable[Found]) -> str:
    """Counts by exercise: wrong answers, how many are accepted and named; right ones, how many are refused."""
    rows: dict[str, list[int]] = {}
    for one in found:
        wrong, accepted = not one.answer.right, bool(one.verdict)
        counts = (wrong, wrong and accepted, one.named and wrong, not wrong, not wrong and not accepted)
        for name in (one.answer.exercise, "all"):
            rows[name] = [a + b for a, b in zip(rows.get(name, [0] * 5), counts, strict=True)]
    rows["all"] = rows.pop("all")
    head = f"{'exercise':22}{'wrong':>7}{'accepted':>10}{'named':>7}{'right':>7}{'refused':>9}{'named %':>9}"
    lines = [f"{name:22}{w:7}{a:10}{n:7}{r:7}{x:9}{100 * n / w:9.1f}" for name, (w, a, n, r, x) in rows.items()]
    return "\n".join([head, *lines])
