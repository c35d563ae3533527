"""How an answer is examined: guarded calls of a learner's function, a table of known mistakes, and the verdict.

A mistake is known by what it computes: the answer is compared with the formula of each known mistake on several inputs
of different shapes, so any spelling of the mistake is recognised and no single number decides.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Examination",
    "Mistake",
    "MistakeFound",
    "NotWritten",
    "Verdict",
    "as_tensor",
    "assess",
    "close",
    "copy_of",
    "generator",
    "kind_of",
    "shapes_of",
    "value_of",
]

# Drawn once a process: nobody can write the answers down, and one process gives one and the same verdict.
_SEED = secrets.randbits(32)
# What PyTorch says in a NotImplementedError of its own; a stub's says something else.
_RAISED_BY_TORCH = "not implemented for|Could not run"


@dataclass(frozen=True)
class Verdict:
    """What a check found: true if the answer is right; printed, it is one line.

    `mistake` is a short code such as "batch-folded" ("to-do" for an unwritten answer, None for a right one).

    >>> verdict = Verdict("gram_matrix", False, "gram_matrix is H * W times too large.", "missing-divisor", 4)
    >>> verdict, bool(verdict)
    (not yet: gram_matrix is H * W times too large., False)
    """

    name: str
    passed: bool
    sentence: str
    mistake: str | None = None
    checks: int = 0

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        kind = "right" if self.passed else "to do" if self.mistake == "to-do" else "not yet"
        return f"{kind}: {self.sentence}"

    def require(self) -> Verdict:
        """Return the verdict itself if the answer is right, and raise AssertionError with the sentence if not."""
        if not self.passed:
            raise AssertionError(repr(self))
        return self


class MistakeFound(Exception):
    """Raised when a mistake is found: its code, and what to say after the function's name."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


class NotWritten(Exception):
    """Raised when the answer is still a stub."""


class Mistake:
    """A known mistake: its code, the sentence for it, and what it computes.

    `formulas` give the values of an answer that makes the mistake, `shapes` its shapes, and `when` decides by any
    condition on the inputs and the answers.
    """

    def __init__(
        self,
        code: str,
        sentence: str,
        *formulas: Callable[..., Any],
        shapes: Callable[..., Sequence[tuple[int, ...]]] | None = None,
        when: Callable[[Sequence[tuple], Sequence[Tensor]], bool] | None = None,
    ) -> None:
        self.code, self.sentence = code, sentence
        self.formulas, self.shapes, self.when = formulas, shapes, when

    def fits(self, cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
        """Whether one of the formulas explains every answer."""
        pairs = list(zip(cases, answers, strict=True))
        if self.when and self.when(cases, answers):
            return True
        if self.shapes and all(tuple(answer.shape) in self.shapes(*case) for case, answer in pairs):
            return True
        return any(_explains(formula, pairs) for formula in self.formulas)


class Examination:
    """A learner's function on examination: calls are guarded, and every check is counted."""

    symptoms: tuple[tuple[str, str, str], ...] = (
        (
            "leaf Variable that requires grad",
            "in-place",
            "changes its input in place: make a new tensor, without +=, /= or methods that end in _.",
        ),
        (
            "Cannot cast ufunc",
            "in-place",
            "changes its input in place: make a new array, without += or /=.",
        ),
    )

    def __init__(self, name: str, function: Callable[..., Any], symptoms: Sequence[tuple[str, str, str]] = ()) -> None:
        self.name, self.function, self.checks = name, function, 0
        self.symptoms = (*symptoms, *self.symptoms)

    def require(self, condition: bool, mistake: str, sentence: str) -> None:
        """Count one requirement, and raise MistakeFound if it isn't met."""
        self.checks += 1
        if not condition:
            raise MistakeFound(mistake, sentence)

    def call(self, *args: Any, names: Sequence[str] = (), function: Callable[..., Any] | None = None) -> Any:
        """Call the function (or another one) with these arguments; an exception becomes a MistakeFound."""
        try:
            return (function or self.function)(*args)
        except (Exception, SystemExit) as error:
            for pattern, mistake, sentence in self.symptoms:
                if re.search(pattern, str(error)):
                    raise MistakeFound(mistake, sentence) from None
            if isinstance(error, NotImplementedError) and not re.search(_RAISED_BY_TORCH, str(error)):
                raise NotWritten from None
            given = shapes_of(names, args)
            text = " ".join(str(error).split()).rstrip(".")
            text = text if len(text) <= 160 else text[:157] + "..."
            where, why = f" for {given}" if given else "", f": {text}" if text else ""
            raise MistakeFound("raised", f"raises {type(error).__name__}{where}{why}.") from None

    def call_on_copies(self, args: tuple, names: Sequence[str]) -> Any:
        """Call the function with copies of the arguments, and require that it leaves them as they were."""
        copies = tuple(copy_of(a) for a in args)
        answer = self.call(*copies, names=names)
        kept = all(_equal(a, b) for a, b in zip(args, copies, strict=True))
        self.require(kept, "in-place", "changes its input in place: work on a new value and leave what came as it was.")
        return answer


def assess(
    name: str,
    function: Any,
    examine: Callable[[Examination], None],
    symptoms: Sequence[tuple[str, str, str]] = (),
) -> Verdict:
    """Run an examination of a function and return its verdict; modes, random states and output stay as they were."""
    if not callable(function):
        sentence = f"{name} is {kind_of(function)}, not a function: hand over the function itself, without calling it."
        return Verdict(name, False, sentence, "not-a-function")
    examination = Examination(name, function, symptoms)
    try:
        with _isolated():
            examine(examination)
    except NotWritten:
        return Verdict(name, False, f"{name} is not written yet.", "to-do", examination.checks)
    except MistakeFound as found:
        return Verdict(name, False, f"{name} {found.sentence}", found.code, examination.checks)
    except Exception as error:
        sentence = f"{name} gives something that can't be checked ({type(error).__name__}): return what the task says."
        return Verdict(name, False, sentence, "unreadable", examination.checks)
    return Verdict(name, True, f"{name} passed {examination.checks} checks.", None, examination.checks)


def generator() -> torch.Generator:
    """A generator of this process's own seed."""
    return torch.Generator().manual_seed(_SEED)


def close(a: Tensor | None, b: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Whether two tensors have the same shape and, up to rounding, the same values; None is close to nothing."""
    if a is None or a.shape != b.shape:
        return False
    a, b = a.detach().double(), b.detach().double()
    return bool(((a - b).abs() <= tolerance * b.abs().max().clamp_min(1e-12)).all()) if a.numel() else True


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Turn gradients on, hide output and warnings, and restore every random state afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def value_of(formula: Callable[..., Any], case: tuple) -> Tensor:
    """A formula's value in double precision."""
    return as_tensor(formula(*(copy_of(a, torch.float64) for a in case))).double()


def as_tensor(value: Any) -> Tensor:
    """A tensor, an array or a number as a tensor without gradient."""
    return value.detach() if isinstance(value, Tensor) else torch.tensor(np.array(value))


def copy_of(value: Any, dtype: torch.dtype | None = None) -> Any:
    """A copy of an argument, its tensors detached and, if asked for, of another dtype."""
    if isinstance(value, Tensor):
        return value.detach().clone().to(dtype or value.dtype)
    if isinstance(value, np.ndarray):
        return value.copy()
    return [copy_of(v, dtype) for v in value] if isinstance(value, list) else value


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def _explains(formula: Callable[..., Any], pairs: Sequence[tuple[tuple, Tensor]]) -> bool:
    try:
        return all(close(answer, value_of(formula, case)) for case, answer in pairs)
    except (RuntimeError, IndexError, ValueError):  # a mistake that can't be made with these shapes
        return False


def shapes_of(names: Sequence[str], values: Sequence[Any]) -> str:
    """The arguments by name and shape: 'gram (2, 3, 3), target (2, 3, 3)'."""
    return ", ".join(f"{n} {s}" for n, v in zip(names, values, strict=False) if (s := _shape(v)))


def _shape(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return str(tuple(value.shape))
    return f"of {len(value)}" if isinstance(value, list) else repr(value) if isinstance(value, str) else ""


def kind_of(value: Any) -> str:
    """What a value is, in words: 'a tensor of shape (2, 3)', 'an int', 'None'."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
