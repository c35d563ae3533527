"""Small tools of the checks: copies, comparisons, and values and shapes in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "as_tensor",
    "close",
    "copy_of",
    "generator",
    "in_words",
    "kind_of",
    "same",
    "shapes_in_words",
    "two_numbers",
    "value_of",
]


_SEED = 20160627


def generator(seed: int = 0) -> torch.Generator:
    """A generator for a check's inputs: the same numbers in every process, so that a verdict never changes."""
    return torch.Generator().manual_seed(_SEED + seed)


def close(a: Tensor | None, b: Tensor, *, tolerance: float = 1e-4, floor: float = 0.0) -> bool:
    """Whether two tensors have the same shape and, up to rounding, the same values; None is close to nothing.

    The tolerance is relative to b's largest entry; `floor` is a difference that always counts as rounding.
    """
    if a is None or a.shape != b.shape:
        return False
    if not a.numel():
        return True
    a, b = a.detach().double(), b.detach().double()
    if not b.isfinite().all():
        return False
    return bool(((a - b).abs() <= tolerance * b.abs().max().clamp_min(1e-12) + floor).all())


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


def same(a: Any, b: Any) -> bool:
    """Whether two arguments are equal in every entry."""
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def shapes_in_words(names: Sequence[str], values: Sequence[Any]) -> str:
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


def in_words(value: Any, digits: int = 4) -> str:
    """A value as a learner would write it, rounded: '[[2.5, 1.5], [1.5, 4.5]]'."""
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if isinstance(value, list):
        return "[" + ", ".join(in_words(v, digits) for v in value) + "]"
    return repr(value) if isinstance(value, str) else f"{float(value):.{digits}g}"


def two_numbers(a: Any, b: Any) -> tuple[str, str]:
    """Two values in words, with as many digits as it takes to see that they differ."""
    for digits in (4, 6, 9):
        pair = in_words(a, digits), in_words(b, digits)
        if pair[0] != pair[1]:
            break
    return pair
