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

__all__ = ["Signature", "Spec", "ToDo", "Trial", "Verdict", "Wrong", "close", "examine", "generator", "judge"]

# Drawn once a process: nobody can write the answers down, and one process gives one and the same verdict.
_SEED = secrets.randbits(32)


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
    """A mistake, and what an answer that makes it gives: by formulas for its values, or by its shape alone."""

    def __init__(
        self,
        mistake: str,
        sentence: str,
        *formulas: Callable[..., Any],
        shapes: Callable[..., Sequence[tuple[int, ...]]] | None = None,
    ) -> None:
        self.mistake, self.sentence, self.formulas, self.shapes = mistake, sentence, formulas, shapes

    def fits(self, cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
        """Whether one of the formulas explains every answer."""
        pairs = list(zip(cases, answers, strict=True))
        if self.shapes and all(tuple(answer.shape) in self.shapes(*case) for case, answer in pairs):
            return True
        return any(all(close(answer, _value(f, case)) for case, answer in pairs) for f in self.formulas)


@dataclass(frozen=True)
class Spec:
    """All there is to know about an exercise that is a pure function."""

    arguments: tuple[str, ...]
    cases: Callable[[torch.Generator], list[tuple]]
    # The right answers, each written the slow way; more than one where the task leaves it open.
    oracles: tuple[Callable[..., Any], ...]
    signatures: tuple[Signature, ...]
    example: tuple  # arguments small enough to print
    kind: str = "tensor"  # or "array", or "number"
    dtype: torch.dtype = torch.float32
    differentiable: tuple[int, ...] = ()  # which arguments gradients must reach
    symptoms: tuple[tuple[str, str, str], ...] = ()  # (pattern in an error message, mistake, sentence)


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
            if isinstance(error, NotImplementedError) and not re.search("not implemented for|Could not run", str(error)):
                raise ToDo from None
            for pattern, mistake, sentence in self.symptoms:
                if re.search(pattern, str(error)):
                    raise Wrong(mistake, sentence) from None
            text = " ".join(str(error).split()).rstrip(".")
            text = text if len(text) <= 160 else text[:157] + "..."
            shapes = ", ".join(f"{n} {s}" for n, a in zip(names, args, strict=False) if (s := _shape(a)))
            shapes = f" for {shapes}" if shapes else ""
            raise Wrong("raised", f"raises {type(error).__name__}{shapes}{': ' if text else ''}{text}.") from None

    def call_on_copies(self, args: tuple, names: Sequence[str]) -> Any:
        """The function's answer to copies of the arguments, having made sure that it left them as they were."""
        copies = tuple(_copy(a) for a in args)
        answer = self.call(*copies, names=names)
        kept = all(_equal(a, b) for a, b in zip(args, copies, strict=True))
        self.hold(kept, "in-place", "changes its input in place: work on a new value and leave what came as it was.")
        return answer


def judge(name: str, function: Any, examination: Callable[[Trial], None], symptoms: Sequence = ()) -> Verdict:
    """Examine a function, and put what comes of it into a verdict; the caller's world stays as it was."""
    if not callable(function):
        sentence = f"{name} is {_kind(function)}, not a function: hand over the function itself, without calling it."
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


def examine(trial: Trial, spec: Spec) -> None:
    """Put a pure function through its checks: inputs kept, kind, shape and values, dtype, gradient."""
    cases = [spec.example, *spec.cases(generator())]
    answers = []
    for case in cases:
        answer = trial.call_on_copies(case, spec.arguments)
        _check_kind(trial, answer, spec)
        answers.append(answer)
    values = [_tensor(answer) for answer in answers]
    right = next((o for o in spec.oracles if _all_close(o, cases, values)), None)
    if right is None:
        _diagnose(spec, cases, values)
    trial.checks += len(cases)
    if spec.kind != "number":
        got = {v.dtype for v in values}
        names = ", ".join(sorted(str(d).removeprefix("torch.") for d in got))
        want = str(spec.dtype).removeprefix("torch.")
        trial.hold(got == {spec.dtype}, "wrong-dtype", f"gives {names}, expected {want}: convert the result.")
    if spec.differentiable:
        for case in cases[1:]:
            _check_gradient(trial, case, spec, right)


def generator() -> torch.Generator:
    """A generator of this process's own seed."""
    return torch.Generator().manual_seed(_SEED)


def close(a: Tensor, b: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Whether two tensors have the same shape and, up to rounding, the same values."""
    if a.shape != b.shape:
        return False
    a, b = a.detach().double(), b.detach().double()
    return bool(((a - b).abs() <= tolerance * b.abs().max().clamp_min(1e-12)).all()) if a.numel() else True


def _check_kind(trial: Trial, answer: Any, spec: Spec) -> None:
    trial.hold(answer is not None, "returns-nothing", "returns nothing: end the function with `return`.")
    if spec.kind == "number":
        right = isinstance(answer, (int, float, np.number)) or (isinstance(answer, Tensor) and answer.numel() == 1)
        trial.hold(right, "wrong-type", f"gives {_kind(answer)}, expected a number.")
    elif spec.kind == "array":
        hint = " call .numpy() on it." if isinstance(answer, Tensor) else " return the array."
        right = isinstance(answer, np.ndarray)
        trial.hold(right, "wrong-type", f"gives {_kind(answer)}, expected a NumPy array:{hint}")
    else:
        number = isinstance(answer, (int, float, np.number))
        trial.hold(
            not number,
            "python-number",
            "gives a Python number, through which no gradient flows: return the tensor, without .item() or float().",
        )
        trial.hold(isinstance(answer, Tensor), "wrong-type", f"gives {_kind(answer)}, expected a tensor.")


def _diagnose(spec: Spec, cases: list[tuple], answers: list[Tensor]) -> None:
    """Raise the mistake that explains every answer, or else say how the first wrong one differs."""
    # The example is small enough for a coincidence; the other cases are not.
    for signature in spec.signatures:
        if signature.fits(cases[1:], answers[1:]):
            raise Wrong(signature.mistake, signature.sentence.format(**_words(spec, cases[1], answers[1])))
    right = [_value(spec.oracles[0], case) for case in cases]
    for case, answer, value in zip(cases, answers, right, strict=True):
        if answer.shape != value.shape:
            if value.ndim == 0:
                raise Wrong(
                    "not-a-scalar", f"gives shape {tuple(answer.shape)}, expected one number: sum or average over all of it."
                )
            names = ", ".join(f"{n} {s}" for n, a in zip(spec.arguments, case, strict=True) if (s := _shape(a)))
            raise Wrong(
                "wrong-shape", f"gives shape {tuple(answer.shape)} for {names}, expected {tuple(value.shape)}."
            )
    if not all(answer.isfinite().all() for answer in answers):
        raise Wrong("not-finite", "gives values that are infinite or not a number: look for a division by zero.")
    ratios = torch.cat([(a.double() / v).flatten() for a, v in zip(answers[1:], right[1:], strict=True) if v.all()])
    if len(ratios) and close(ratios, ratios[:1].expand_as(ratios)) and ratios[0] != 0:
        raise Wrong("wrong-factor", f"is {_number(ratios[0])} times the right value, always: look for a constant factor.")
    if not close(answers[0], right[0]):
        given = ", ".join(f"{n} = {_show(a)}" for n, a in zip(spec.arguments, spec.example, strict=True))
        raise Wrong("wrong-values", f"gives {_show(answers[0])} where {_show(right[0])} is right, for {given}.")
    raise Wrong(
        "wrong-values",
        f"is right for a tiny example but not for {_words(spec, cases[1], answers[1])['given']}: "
        "check that no size or value is written into the code.",
    )


def _check_gradient(trial: Trial, case: tuple, spec: Spec, right: Callable[..., Any]) -> None:
    inputs, exact = tuple(_copy(a) for a in case), tuple(_copy(a, torch.float64) for a in case)
    leaves, twins = ([t.requires_grad_() for i in spec.differentiable for t in _tensors(c[i])] for c in (inputs, exact))
    answer = trial.call(*inputs, names=spec.arguments)
    cut = "cuts the gradient: compute with tensors all the way, without .detach(), .item(), .data or no_grad."
    trial.hold(isinstance(answer, Tensor) and answer.requires_grad, "detached", cut)
    mix = torch.randn(answer.shape, generator=generator(), dtype=torch.float64)
    got = torch.autograd.grad((answer.double() * mix).sum(), leaves, allow_unused=True)
    want = torch.autograd.grad((right(*exact) * mix).sum(), twins)
    trial.hold(all(g is not None for g in got), "detached", cut)
    same = all(close(g, w, tolerance=1e-3) for g, w in zip(got, want, strict=True))
    trial.hold(same, "detached", "has the right value but a wrong gradient: a part of it is detached.")


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


def _all_close(formula: Callable[..., Any], cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
    return all(close(answer, _value(formula, case)) for case, answer in zip(cases, answers, strict=True))


def _value(formula: Callable[..., Any], case: tuple) -> Tensor:
    """A formula's value in double precision; an impossible one counts as an empty tensor, which equals no answer."""
    try:
        return _tensor(formula(*(_copy(a, torch.float64) for a in case))).double()
    except (RuntimeError, IndexError, ValueError, ZeroDivisionError):
        return torch.empty(0)


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.ascontiguousarray(value).copy().reshape(np.shape(value)))


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for t in value if isinstance(t, Tensor)]


def _copy(value: Any, dtype: torch.dtype | None = None) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().to(dtype or value.dtype)
    if isinstance(value, np.ndarray):
        return value.copy()
    return [_copy(v, dtype) for v in value] if isinstance(value, list) else value


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def _words(spec: Spec, case: tuple, answer: Tensor) -> dict[str, Any]:
    given = ", ".join(f"{n} {s}" for n, a in zip(spec.arguments, case, strict=True) if (s := _shape(a)))
    return {"got": tuple(answer.shape), "given": given}


def _shape(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return str(tuple(value.shape))
    return f"of {len(value)}" if isinstance(value, list) else repr(value) if isinstance(value, str) else ""


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _show(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if isinstance(value, list):
        return "[" + ", ".join(map(_show, value)) + "]"
    return repr(value) if isinstance(value, str) else _number(value)
