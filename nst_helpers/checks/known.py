"""What a check knows about an exercise: its right answers, its known mistakes, and the inputs that decide.

A mistake is known by what it computes: an answer is compared with the formula of each known mistake on several inputs
of different shapes, so any spelling of the mistake is recognised and no single number decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .values import close, value_of
from .verdicts import MistakeFound, Symptom

__all__ = ["ExerciseSpec", "Mistake", "SpecialCase", "Variant", "explains"]


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
        """Whether the condition holds, or the shapes or one of the formulas explain every answer."""
        if self.when and self.when(cases, answers):
            return True
        pairs = list(zip(cases, answers, strict=True))
        if self.shapes and all(tuple(answer.shape) in self.shapes(*case) for case, answer in pairs):
            return True
        return any(explains(formula, cases, answers) for formula in self.formulas)


class Variant(NamedTuple):
    """One choice for a place in a formula; a mistake's has a code and a sentence."""

    choice: Any
    code: str = ""
    sentence: str = ""


class _Variants(Protocol):
    """A formula with variants, as `variants.Variants` is."""

    def find(self, cases: Sequence[tuple], answers: Sequence[Tensor], *, mistakes: int) -> MistakeFound | None:
        """The combination of exactly `mistakes` of them that explains all answers, or None."""


@dataclass(frozen=True)
class SpecialCase:
    """Arguments with something special about them, said in words: "a picture that is 3 pixels wide".

    `gradient` says what is asked of the gradient there: "right", "finite" (where it has no single right value), or "".
    """

    about: str
    arguments: tuple
    gradient: str = ""


@dataclass(frozen=True)
class ExerciseSpec:
    """All there is to know about an exercise that is a pure function."""

    arguments: tuple[str, ...]
    # Ordinary arguments; another generator gives other values of the same shapes.
    cases: Callable[[torch.Generator], list[tuple]]
    # The right answers, each written the slow way; more than one where the task leaves it open.
    references: tuple[Callable[..., Any], ...]
    mistakes: tuple[Mistake, ...]
    variants: _Variants | None = None
    # A closer look by further calls, where nothing else explains the values.
    probe: Callable[[Sequence[tuple], Callable[..., Tensor]], tuple[str, str] | None] | None = None
    example: tuple = ()  # arguments small enough to print; none where an ordinary one is too large for that
    special: Callable[[torch.Generator], list[SpecialCase]] = lambda generator: []
    # A closer look at wrong values: a mistake's code and sentence, or None.
    explain: Callable[[Sequence[tuple], Sequence[Tensor]], tuple[str, str] | None] = lambda cases, answers: None
    advice: str = "look for a factor too many or too few."  # what to do where only a factor is wrong
    axes: str = ""  # the axes of the first argument, one letter each, such as "BCHW"
    result_axes: str = ""
    kind: str = "tensor"  # or "array", or "number"
    scalar: bool = False
    optimised: bool = False  # whether the first argument may be an image that is being optimised
    dtype: torch.dtype = torch.float32
    differentiable: tuple[int, ...] = ()  # which arguments gradients must reach
    symptoms: tuple[Symptom, ...] = ()


def explains(formula: Callable[..., Any], cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
    """Whether a formula gives every answer; not, where its mistake can't be made with these shapes."""
    try:
        return all(close(answer, value_of(formula, case)) for case, answer in zip(cases, answers, strict=True))
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, KeyError):
        return False
