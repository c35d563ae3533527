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
        numbers = f"{_short(one)} ≈ {_short(two)}, {_percent(apart)} apart"
        holds = apart <= (WITHIN if by is None else by)
    elif relation in RELATIONS:
        if by is not None and (relation == "==" or by < 1):
            raise ValueError(f"by={by} came with {relation!r}: give a factor of 1 or more with <, <=, > or >=.")
        low, high = (one, two) if relation.startswith("<") else (two, one)
        holds = RELATIONS[relation](one, two) and (by is None or high >= by * low)
        numbers = f"{_short(one)} {relation} {_short(two)}"
        if by is not None and low > 0:
            numbers += f", {_short(high / low, 3)} times"
    else:
        raise ValueError(f"The relation {relation!r} is unknown: use one of {', '.join([*RELATIONS, ABOUT])}.")
    if not holds:
        needed = "" if by is None else f", {by:g} {'at most' if relation == ABOUT else 'times at least'} was claimed"
        raise ClaimError(f"✗ {text} [{numbers}{needed}]" if needed else f"✗ {text} [{numbers} is false]")
    print(f"✓ {text} [{numbers}]")


def _percent(share: float) -> str:
    """
    >>> _percent(0.25), _percent(3.7e-8), _percent(0)
    ('25 %', 'under 0.001 %', '0 %')
    """
    return "under 0.001 %" if 0 < share < 1e-5 else f"{100 * share:.2g} %"


def _short(number: float, digits: int = 4) -> str:
    """
    >>> _short(0.12345), _short(13_912.0, 3), _short(math.inf)
    ('0.1235', '13,900', 'inf')
    """
    rounded = float(f"{number:.{digits}g}")
    return f"{rounded:,.0f}" if 10**digits <= abs(rounded) < math.inf else f"{rounded:.{digits}g}"


def _number(value: Any) -> float:
    """A number, also of a tensor that is being optimised, for which float() would warn."""
    return float(value.detach() if hasattr(value, "detach") else value)
