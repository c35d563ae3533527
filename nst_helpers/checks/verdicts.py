"""How an exercise is judged: a verdict, a trial that calls a learner's function safely, and the search for the mistake.

A mistake is found by its signature: the answer is compared with what each known mistake would give, on several inputs
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
    "Signature",
    "ToDo",
    "Trial",
    "Verdict",
    "Wrong",
    "as_tensor",
    "close",
    "copy_of",
    "generator",
    "judge",
    "kind_of",
    "shapes_of",
    "value_of",
]

# Drawn once a process: nobody can write the answers down, and one process gives one and the same verdict.
_SEED = secrets.randbits(32)
# How torch's own NotImplementedErrors can be told from a stub's.
_BY_TORCH = "not implemented for|Could not run"


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


class Wrong(Exception):
    """A mistake, found: its code and what to say after the function's name."""

    def __init__(self, mistake: str, sentence: str) -> None:
        super().__init__(sentence)
        self.mistake, self.sentence = mistake, sentence


class ToDo(Exception):
    """The answer is still a stub."""


class Signature:
    """A mistake, and what an answer that makes it gives: by formulas for it, by its shape alone, or by a condition."""

    def __init__(
        self,
        mistake: str,
        sentence: str,
        *formulas: Callable[..., Any],
        shapes: Callable[..., Sequence[tuple[int, ...]]] | None = None,
        when: Callable[[Sequence[tuple], Sequence[Tensor]], bool] | None = None,
    ) -> None:
        self.mistake, self.sentence = mistake, sentence
        self.formulas, self.shapes, self.when = formulas, shapes, when

    def fits(self, cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
        """Whether one of the formulas explains every answer."""
        pairs = list(zip(cases, answers, strict=True))
        if self.when and self.when(cases, answers):
            return True
        if self.shapes and all(tuple(answer.shape) in self.shapes(*case) for case, answer in pairs):
            return True
        return any(_explains(formula, pairs) for formula in self.formulas)


class Trial:
    """A learner's function on trial: calls are guarded, and every check is counted."""

    symptoms = (
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

    def hold(self, condition: bool, mistake: str, sentence: str) -> None:
        """Count a check, and stop at a mistake."""
        self.checks += 1
        if not condition:
            raise Wrong(mistake, sentence)

    def call(self, *args: Any, names: Sequence[str] = (), function: Callable[..., Any] | None = None) -> Any:
        """The function's answer to the arguments themselves; its exceptions become a mistake of its own."""
        try:
            return (function or self.function)(*args)
        except (Exception, SystemExit) as error:
            for pattern, mistake, sentence in self.symptoms:
                if re.search(pattern, str(error)):
                    raise Wrong(mistake, sentence) from None
            # A stub's own; torch says the same word with a reason, and "missing the required forward" is a mistake.
            if isinstance(error, NotImplementedError) and not re.search(
                "not implemented for|Could not run", str(error)
            ):
                raise ToDo from None
            given = shapes_of(names, args)
            text = " ".join(str(error).split()).rstrip(".")
            text = text if len(text) <= 160 else text[:157] + "..."
            told = f"raises {type(error).__name__}{' for ' if given else ''}{given}{': ' if text else ''}{text}."
            raise Wrong("raised", told) from None

    def call_on_copies(self, args: tuple, names: Sequence[str]) -> Any:
        """The function's answer to copies of the arguments, having made sure that it left them as they were."""
        copies = tuple(copy_of(a) for a in args)
        answer = self.call(*copies, names=names)
        kept = all(_equal(a, b) for a, b in zip(args, copies, strict=True))
        self.hold(kept, "in-place", "changes its input in place: work on a new value and leave what came as it was.")
        return answer


def judge(name: str, function: Any, examination: Callable[[Trial], None], symptoms: Sequence = ()) -> Verdict:
    """Examine a function, and put what comes of it into a verdict; the caller's world stays as it was."""
    if not callable(function):
        sentence = f"{name} is {kind_of(function)}, not a function: hand over the function itself, without calling it."
        return Verdict(name, False, sentence, "not-a-function")
    trial = Trial(name, function, symptoms)
    try:
        with _aside():
            examination(trial)
    except ToDo:
        return Verdict(name, False, f"{name} is not written yet.", "to-do", trial.checks)
    except Wrong as wrong:
        return Verdict(name, False, f"{name} {wrong.sentence}", wrong.mistake, trial.checks)
    except Exception as error:
        sentence = f"{name} gives something that can't be checked ({type(error).__name__}): return what the task says."
        return Verdict(name, False, sentence, "unreadable", trial.checks)
    return Verdict(name, True, f"{name} passed {trial.checks} checks.", None, trial.checks)


def generator() -> torch.Generator:
    """A generator of this process's own seed."""
    return torch.Generator().manual_seed(_SEED)


def close(a: Tensor, b: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Whether two tensors have the same shape and, up to rounding, the same values."""
    if a.shape != b.shape:
        return False
    a, b = a.detach().double(), b.detach().double()
    return bool(((a - b).abs() <= tolerance * b.abs().max().clamp_min(1e-12)).all()) if a.numel() else True


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Gradients on, nothing printed, no warnings, and every random state as it was afterwards."""
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
    return value.detach() if isinstance(value, Tensor) else torch.tensor(np.array(value))


def copy_of(value: Any, dtype: torch.dtype | None = None) -> Any:
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
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
