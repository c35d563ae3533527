"""The examination of an answer that is a pure function: inputs kept, kind, shape and values, dtype and gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .verdicts import (
    Examination,
    Mistake,
    MistakeFound,
    as_tensor,
    close,
    copy_of,
    generator,
    kind_of,
    shapes_of,
    value_of,
)

__all__ = ["ExerciseSpec", "examine_function"]


@dataclass(frozen=True)
class ExerciseSpec:
    """All there is to know about an exercise that is a pure function."""

    arguments: tuple[str, ...]
    cases: Callable[[torch.Generator], list[tuple]]
    # The right answers, each written the slow way; more than one where the task leaves it open.
    references: tuple[Callable[..., Any], ...]
    mistakes: tuple[Mistake, ...]
    example: tuple  # arguments small enough to print
    kind: str = "tensor"  # or "array", or "number"
    scalar: bool = False
    optimised: bool = False  # whether the first argument may be an image that is being optimised
    dtype: torch.dtype = torch.float32
    differentiable: tuple[int, ...] = ()  # which arguments gradients must reach
    symptoms: tuple[tuple[str, str, str], ...] = ()  # (pattern in an error message, mistake, sentence)


def examine_function(examination: Examination, spec: ExerciseSpec) -> None:
    """Put a pure function through its checks: inputs kept, kind, shape and values, dtype, gradient."""
    cases = [spec.example, *spec.cases(generator())]
    answers = []
    for case in cases:
        answer = examination.call_on_copies(case, spec.arguments)
        _check_kind(examination, answer, spec)
        answers.append(answer)
    # One number may come in brackets: [0.25] has a gradient like 0.25.
    values = [v[(0,) * v.ndim] if v.numel() == 1 and spec.scalar else v for v in map(as_tensor, answers)]
    right = next((o for o in spec.references if _all_close(o, cases, values)), None)
    if right is None:
        raise _diagnose(spec, cases, values)
    examination.checks += len(cases)
    if spec.kind != "number":
        got = {v.dtype for v in values}
        names = ", ".join(sorted(str(d).removeprefix("torch.") for d in got))
        want = str(spec.dtype).removeprefix("torch.")
        examination.require(got == {spec.dtype}, "wrong-dtype", f"gives {names}, expected {want}: convert the result.")
    if spec.optimised:
        case = tuple(copy_of(a).requires_grad_() for a in cases[1])
        again = as_tensor(examination.call(*case, names=spec.arguments))
        examination.require(
            close(again, values[1]), "wrong-values", "gives something else for an image with a gradient."
        )
    if spec.differentiable:
        for case in cases[1:]:
            _check_gradient(examination, case, spec, right)


def _check_kind(examination: Examination, answer: Any, spec: ExerciseSpec) -> None:
    examination.require(answer is not None, "returns-nothing", "returns nothing: end the function with `return`.")
    if spec.kind == "number":
        right = isinstance(answer, (int, float, np.number)) or (isinstance(answer, Tensor) and answer.numel() == 1)
        examination.require(right, "wrong-type", f"gives {kind_of(answer)}, expected a number.")
    elif spec.kind == "array":
        hint = " call .numpy() on it." if isinstance(answer, Tensor) else " return the array."
        right = isinstance(answer, np.ndarray)
        examination.require(right, "wrong-type", f"gives {kind_of(answer)}, expected a NumPy array:{hint}")
    else:
        number = isinstance(answer, (int, float, np.number))
        examination.require(
            not number,
            "python-number",
            "gives a Python number, through which no gradient flows: return the tensor, without .item() or float().",
        )
        examination.require(isinstance(answer, Tensor), "wrong-type", f"gives {kind_of(answer)}, expected a tensor.")


def _diagnose(spec: ExerciseSpec, cases: list[tuple], answers: list[Tensor]) -> MistakeFound:
    """The mistake that explains every answer, or else say how the first wrong one differs."""
    # The example is small enough for a coincidence; the other cases are not.
    for mistake in spec.mistakes:
        if mistake.fits(cases[1:], answers[1:]):
            words = {"got": tuple(answers[1].shape), "given": shapes_of(spec.arguments, cases[1])}
            return MistakeFound(mistake.code, mistake.sentence.format(**words))
    right = [value_of(spec.references[0], case) for case in cases]
    for case, answer, value in zip(cases, answers, right, strict=True):
        if answer.shape != value.shape:
            if value.ndim == 0:
                return MistakeFound(
                    "not-a-scalar",
                    f"gives shape {tuple(answer.shape)}, expected one number: sum or average over all of it.",
                )
            given = shapes_of(spec.arguments, case)
            return MistakeFound(
                "wrong-shape", f"gives shape {tuple(answer.shape)} for {given}, expected {tuple(value.shape)}."
            )
    if not all(answer.isfinite().all() for answer in answers):
        return MistakeFound(
            "not-finite", "gives values that are infinite or not a number: look for a division by zero."
        )
    ratios = torch.cat([(a.double() / v).flatten() for a, v in zip(answers[1:], right[1:], strict=True) if v.all()])
    if len(ratios) and close(ratios, ratios[:1].expand_as(ratios)) and ratios[0] != 0:
        return MistakeFound(
            "wrong-factor", f"is {_number(ratios[0])} times the right value, always: look for a constant factor."
        )
    if not close(answers[0], right[0]):
        given = ", ".join(f"{n} = {_show(a)}" for n, a in zip(spec.arguments, spec.example, strict=True))
        return MistakeFound("wrong-values", f"gives {_show(answers[0])} where {_show(right[0])} is right, for {given}.")
    return MistakeFound(
        "wrong-values",
        f"is right for a tiny example but not for {shapes_of(spec.arguments, cases[1])}: "
        "check that no size or value is written into the code.",
    )


def _check_gradient(examination: Examination, case: tuple, spec: ExerciseSpec, right: Callable[..., Any]) -> None:
    inputs, exact = tuple(copy_of(a) for a in case), tuple(copy_of(a, torch.float64) for a in case)
    leaves, twins = ([t.requires_grad_() for i in spec.differentiable for t in _tensors(c[i])] for c in (inputs, exact))
    answer = examination.call(*inputs, names=spec.arguments)
    cut = "cuts the gradient: compute with tensors all the way, without .detach(), .item(), .data or no_grad."
    examination.require(isinstance(answer, Tensor) and answer.requires_grad, "detached", cut)
    value = right(*exact)
    mix = torch.randn(value.shape, generator=generator(), dtype=torch.float64)
    got = torch.autograd.grad((answer.double().reshape(value.shape) * mix).sum(), leaves, allow_unused=True)
    want = torch.autograd.grad((value * mix).sum(), twins)
    examination.require(all(g is not None for g in got), "detached", cut)
    same = all(close(g, w, tolerance=1e-3) for g, w in zip(got, want, strict=True))
    examination.require(same, "detached", "has the right value but a wrong gradient: a part of it is detached.")


def _all_close(formula: Callable[..., Any], cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
    return all(close(answer, value_of(formula, case)) for case, answer in zip(cases, answers, strict=True))


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for t in value if isinstance(t, Tensor)]


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _show(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if isinstance(value, list):
        return "[" + ", ".join(map(_show, value)) + "]"
    return repr(value) if isinstance(value, str) else _number(value)
