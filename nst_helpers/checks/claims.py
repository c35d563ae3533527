"""A claim of a lesson, with its numbers: one line where it holds, and the same line as an error where it doesn't."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

__all__ = ["ClaimError", "claim"]

RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
ABOUT, WITHIN = "about", 0.01


class ClaimError(AssertionError):
    """A claim that the numbers don't bear out."""


def claim(text: str, left: Any, relation: str, right: Any, *, by: float | None = None) -> None:
    """Print the claim with a tick and both numbers; raise ClaimError with the same line where it is false.

    `left` and `right` are numbers or tensors of one element. `relation` is "<", "<=", ">", ">=", "==" or "about".
    With `by`, the larger side has to be at least that many times the smaller; for "about", `by` is the largest
    difference as a share of `right`, 0.01 if left out.

    Raises ValueError for a relation or a `by` that makes no sense.

    >>> claim("fewer edges at double size", 0.010, "<", 0.014, by=1.15)
    ✓ fewer edges at double size [0.01 < 0.014, 1.4 times]
    >>> claim("the same energy", 3.001, "about", 3.0)
    ✓ the same energy [3.001 ≈ 3, 0.033 % apart]
    >>> claim("more steps", 10, ">", 200)
    Traceback (most recent call last):
    nst_helpers.checks.claims.ClaimError: ✗ more steps [10 > 200 is false]
    """
    one, two = _number(left), _number(right)
    if relation == ABOUT:
        apart = abs(one - two) / abs(two) if two else math.inf if one else 0.0
        holds, numbers = apart <= (WITHIN if by is None else by), f"{one:.4g} ≈ {two:.4g}, {100 * apart:.2g} % apart"
    elif relation in RELATIONS:
        if by is not None and (relation == "==" or by < 1):
            raise ValueError(f"by={by} came with {relation!r}: give a factor of 1 or more with <, <=, > or >=.")
        low, high = (one, two) if relation.startswith("<") else (two, one)
        holds = RELATIONS[relation](one, two) and (by is None or high >= by * low)
        numbers = f"{one:.4g} {relation} {two:.4g}"
        if by is not None and low > 0:
            numbers += f", {high / low:.3g} times"
    else:
        raise ValueError(f"The relation {relation!r} is unknown: use one of {', '.join([*RELATIONS, ABOUT])}.")
    if not holds:
        needed = "" if by is None else f", {by:g} {'at most' if relation == ABOUT else 'times at least'} was claimed"
        raise ClaimError(f"✗ {text} [{numbers}{needed}]" if needed else f"✗ {text} [{numbers} is false]")
    print(f"✓ {text} [{numbers}]")


def _number(value: Any) -> float:
    """A number, also of a tensor that is being optimised, for which float() would warn."""
    return float(value.detach() if hasattr(value, "detach") else value)
