"""A formula with places that can be got wrong: an exercise's mistakes, one at a time or two together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .known import Variant, explains
from .verdicts import MistakeFound

__all__ = ["Variants"]


class Variants:
    """A formula and, for each of its places, what may stand there: what is right has no code, and mistakes have one.

    `formula(*case, **choices)` computes the answer with one choice for each place.
    """

    def __init__(self, formula: Callable[..., Any], **places: Sequence[Variant]) -> None:
        self.formula, self.places = formula, places

    def after(self, change: Callable[[Any], Any]) -> Variants:
        """The same formula of changed arguments."""
        return Variants(lambda *case, **choices: self.formula(*map(change, case), **choices), **self.places)

    def find(self, cases: Sequence[tuple], answers: Sequence[Tensor], *, mistakes: int) -> MistakeFound | None:
        """The combination of exactly `mistakes` of them that explains all answers, or None."""
        for names in itertools.combinations(self.places, mistakes):
            allowed = ([v for v in options if bool(v.code) == (n in names)] for n, options in self.places.items())
            for chosen in itertools.product(*allowed):
                choices = {name: variant.choice for name, variant in zip(self.places, chosen, strict=True)}
                if explains(self._with(choices), cases, answers):
                    return _mistake_of([variant for variant in chosen if variant.code])
        return None

    def _with(self, choices: dict[str, Any]) -> Callable[..., Any]:
        return lambda *case: self.formula(*case, **choices)


def _mistake_of(wrong: Sequence[Variant]) -> MistakeFound:
    if len(wrong) == 1:
        return MistakeFound(wrong[0].code, wrong[0].sentence)
    both = "; and it ".join(variant.sentence.rstrip(".") for variant in wrong)
    return MistakeFound(wrong[0].code, f"makes two mistakes. It {both}.")
