"""The examination of an answer that is a pure function.

First ordinary arguments, then those that are special in some way, then whether anything is kept between calls, and at
last the gradient. Every result stays in hand and is looked at again at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .diagnosis import changed_result, diagnose, mixed_up, of_known_mistakes, wrong_dtype
from .known import ExerciseSpec, SpecialCase
from .values import as_tensor, close, copy_of, generator, kind_of, same, shapes_in_words, two_numbers, value_of
from .verdicts import Examination, MistakeFound

__all__ = ["ExerciseSpec", "examine_function"]

# What counts as rounding where the right value is 0.
_ZERO = 1e-5
_CUT = "compute with tensors all the way, without .detach(), .item(), .data or no_grad."
_AGAIN = (
    "gives another result when it is called again with the same input: keep nothing from earlier calls, and leave "
    "randomness out."
)
_SHARED = "gives results that share memory, so that an earlier one changes at the next call: make a new one each time."


class _Calls:
    """The calls of one examination: every result is kept, with a copy of what it was at first."""

    def __init__(self, examination: Examination, spec: ExerciseSpec) -> None:
        self.examination, self.spec = examination, spec
        self._results: list[tuple[Any, Any]] = []

    def answer(self, case: tuple, about: str = "") -> Tensor:
        """The answer to copies of these arguments, of the right kind, as a tensor."""
        result = self.examination.call_on_copies(case, self.spec.arguments, about=about)
        return self.checked(result)

    def answer_in_place(self, arguments: tuple) -> Tensor:
        """The answer to these very objects."""
        return self.checked(self.examination.call(*arguments, names=self.spec.arguments))

    def checked(self, result: Any) -> Tensor:
        _check_kind(self.examination, result, self.spec)
        if isinstance(result, (Tensor, np.ndarray)):
            self._results.append((result, copy_of(result)))
        value = as_tensor(result)
        # One number may come in brackets: [0.25] has a gradient like 0.25.
        return value.clone()[(0,) * value.ndim] if value.numel() == 1 and self.spec.scalar else value.clone()

    def require_unchanged(self) -> None:
        """All results are what they were when they came."""
        for result, was in self._results:
            now = result.detach() if isinstance(result, Tensor) else result
            self.examination.require(same(now, was), "shared-memory", _SHARED)


def examine_function(examination: Examination, spec: ExerciseSpec) -> None:
    """Put a pure function through its checks: values, special cases, calls that follow each other, and gradient."""
    calls = _Calls(examination, spec)
    cases = [*([spec.example] if spec.example else []), *spec.cases(generator())]
    answers = [calls.answer(case) for case in cases]
    right = next((r for r in spec.references if _all_close(r, cases, answers)), None)
    if right is None:
        _check_repeatable(calls, cases, answers)
        raise diagnose(spec, cases, answers, lambda *case: calls.answer(case))
    examination.checks += len(cases)
    if wrong := wrong_dtype(spec, answers):
        raise wrong
    ordinary = cases[1:] if spec.example else cases
    _check_state(calls, ordinary, answers[-len(ordinary) :], right)
    special = spec.special(generator(1))
    right = _check_special(calls, special, [r for r in spec.references if _all_close(r, cases, answers)])
    if spec.optimised:
        arguments = tuple(copy_of(a).requires_grad_() for a in cases[0])
        sentence = "gives something else for an image with a gradient."
        examination.require(close(calls.answer_in_place(arguments), answers[0]), "wrong-values", sentence)
    if spec.differentiable:
        for case in ordinary:
            _check_gradient(calls, SpecialCase("", case, "right"), right)
        for unusual in special:
            if unusual.gradient:
                _check_gradient(calls, unusual, right)
    calls.require_unchanged()


def _check_kind(examination: Examination, answer: Any, spec: ExerciseSpec) -> None:
    examination.require(answer is not None, "returns-nothing", "returns nothing: end the function with `return`.")
    if spec.kind == "number":
        right = isinstance(answer, (int, float, np.number)) or (isinstance(answer, Tensor) and answer.numel() == 1)
        hint = ", such as .mean() gives" if isinstance(answer, (Tensor, np.ndarray)) else ""
        examination.require(right, "wrong-type", f"gives {kind_of(answer)}, expected one number{hint}.")
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
        right = isinstance(answer, Tensor)
        examination.require(right, "wrong-type", f"gives {kind_of(answer)}, expected a tensor.")


def _check_repeatable(calls: _Calls, cases: list[tuple], answers: list[Tensor]) -> None:
    for case, answer in zip(cases[:2], answers[:2], strict=True):
        try:
            again = calls.answer(case)
        except MistakeFound:
            return
        calls.examination.require(_equal(again, answer), "not-repeatable", _AGAIN)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())


def _check_special(calls: _Calls, special: list[SpecialCase], references: list[Callable]) -> Callable:
    """Every special case, and the reference that fits them all."""
    for case in special:
        answer = calls.answer(case.arguments, about=case.about)
        rights = [value_of(reference, case.arguments) for reference in references]
        fits = [close(answer, right, floor=_ZERO) for right in rights]
        if not any(fits):
            raise _explain_special(calls, case, answer, rights[0])
        calls.examination.checks += 1
        references = [r for r, fit in zip(references, fits, strict=True) if fit]
    return references[0]


def _explain_special(calls: _Calls, case: SpecialCase, answer: Tensor, right: Tensor) -> MistakeFound:
    again = calls.answer(case.arguments, about=case.about)
    if not _equal(again, answer):
        return MistakeFound("not-repeatable", _AGAIN)
    if answer.shape != right.shape:
        shapes = f"shape {tuple(answer.shape)}, expected {tuple(right.shape)}"
        return MistakeFound("special-case", f"is wrong for {case.about}: it gives {shapes}.")
    known = changed_result(calls.spec, [answer], [right]) if right.any() else None
    if not known and 9 < answer.numel() < 1000:
        known = of_known_mistakes(calls.spec, [case.arguments], [answer])
    if known:
        return MistakeFound(known.code, f"is wrong for {case.about}: there it {known.sentence}")
    differences = (answer.double() - right).abs().nan_to_num(nan=torch.inf)
    place = int(differences.argmax())
    got, wanted = two_numbers(answer.flatten()[place], right.flatten()[place])
    return MistakeFound("special-case", f"is wrong for {case.about}: it gives {got} where {wanted} is right.")


def _check_state(calls: _Calls, cases: list[tuple], answers: list[Tensor], right: Callable) -> None:
    """The same shapes with other values, the first values again, and one object whose values have changed."""
    spec, require = calls.spec, calls.examination.require
    others = spec.cases(generator(2))
    for case, answer, other in zip(cases, answers, others, strict=True):
        later = calls.answer(other)
        if not close(later, value_of(right, other)):
            raise _explain_state(spec, case, answer, other, later, value_of(right, other))
        require(close(calls.answer(case), answer), "not-repeatable", _AGAIN)
    for case, other in zip(cases, others, strict=True):
        arguments = tuple(copy_of(a) for a in case)
        calls.answer_in_place(arguments)
        # An optimiser changes its image in the same way: the object stays, and its numbers don't.
        arguments = tuple(_overwritten(a, b) for a, b in zip(arguments, other, strict=True))
        stale = "remembers its result by the object that came, whose values have changed: compute it anew at each call."
        require(close(calls.answer_in_place(arguments), value_of(right, other)), "remembered", stale)


def _overwritten(old: Any, new: Any) -> Any:
    if isinstance(old, Tensor):
        return old.copy_(new)
    if isinstance(old, (np.ndarray, list)):
        old[:] = new if isinstance(old, np.ndarray) else copy_of(new)
        return old
    return new


def _explain_state(
    spec: ExerciseSpec, case: tuple, answer: Tensor, other: tuple, later: Tensor, value: Tensor
) -> MistakeFound:
    if _equal(later, answer):
        given = shapes_in_words(spec.arguments, other)
        return MistakeFound(
            "remembered",
            f"gives an earlier result again for other values{f' of {given}' if given else ''}: compute it anew at each "
            "call, and remember nothing.",
        )
    if mixed := mixed_up(spec, [case, other], [later]):
        return mixed
    if later.shape == value.shape and (changed := changed_result(spec, [later], [value])):
        return MistakeFound(changed.code, f"is right for some values, but for others it {changed.sentence}")
    place = int((later.double() - value).abs().argmax()) if later.shape == value.shape else 0
    got, wanted = two_numbers(later.flatten()[place], value.flatten()[place])
    given = shapes_in_words(spec.arguments, other)
    before = f"is right at first, but for other values of {given or 'the arguments'}"
    sentence = f"{before} it gives {got} where {wanted} is right."
    return MistakeFound("other-values", sentence)


def _check_gradient(calls: _Calls, case: SpecialCase, right: Callable[..., Any]) -> None:
    spec, require = calls.spec, calls.examination.require
    inputs = tuple(copy_of(a) for a in case.arguments)
    exact = tuple(copy_of(a, torch.float64) for a in case.arguments)
    leaves, twins = ([t.requires_grad_() for i in spec.differentiable for t in _tensors(c[i])] for c in (inputs, exact))
    result = calls.examination.call(*inputs, names=spec.arguments, about=case.about)
    where = f" for {case.about}" if case.about else ""
    cut = f"cuts the gradient{where}: {_CUT}"
    require(isinstance(result, Tensor) and result.requires_grad, "detached", cut)
    value = right(*exact)
    same_value = close(result.detach().reshape(value.shape), value.detach(), floor=_ZERO)
    require(same_value, "keeps-state", f"gives other values when the input carries a gradient{where}.")
    weights = torch.randn(value.shape, generator=generator(3), dtype=torch.float64)
    weighted = (result.double().reshape(value.shape) * weights).sum()
    got: Sequence[Tensor | None] = torch.autograd.grad(weighted, leaves, allow_unused=True)
    wanted = torch.autograd.grad((value * weights).sum(), twins)
    for gradient, exact_gradient in zip(got, wanted, strict=True):
        if gradient is None:
            require(not exact_gradient.any(), "detached", cut)
            continue
        finite = bool(gradient.isfinite().all())
        require(
            finite,
            "gradient-not-finite",
            f"has a gradient that is not a number{where}: a square root of squares has no slope at 0, so do without.",
        )
        if case.gradient == "right":
            sentence = f"has the right value but a wrong gradient{where}: a part of it is detached."
            require(close(gradient, exact_gradient, tolerance=1e-3, floor=1e-6), "detached", sentence)


def _all_close(formula: Callable[..., Any], cases: list[tuple], answers: list[Tensor]) -> bool:
    return all(close(answer, value_of(formula, case)) for case, answer in zip(cases, answers, strict=True))


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for t in value if isinstance(t, Tensor)]
