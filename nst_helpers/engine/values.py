"""The rules for the values of a run's options: each takes what came and returns it in its proper type.

Python, the command line, sessions, sweeps and recipes all go through these rules. Numbers of NumPy and zero-dimensional
tensors count as numbers; truth values don't. Nothing here needs PyTorch, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "MOST", "check_value", "count", "file_path", "function_of_a_step", "number", "whole"]

MOST = 10**7  # evaluations, pixels on a side or pairs kept; more is a slip of the keyboard
SMALLEST_TILE = 32
LARGEST_FACTOR = 100  # beyond it no memory holds the picture
STROKES = ("fine", "coarse")  # words for weights of style layers


def check_value(kind: str, name: str, value: Any, choices: Sequence[str] = ()) -> Any:
    """The value of an option of that kind, in its proper type; `name` is what a message calls it.

    Raises ValueError in one sentence that begins with the name.

    >>> check_value("count", "history_size", 1e1), check_value("weight", "--style-weight", 5)
    (10, 5.0)
    >>> check_value("choice", "optimizer", "sgd", ["lbfgs", "adam"])
    Traceback (most recent call last):
    ValueError: optimizer is 'sgd', which is unknown: use one of lbfgs, adam.
    """
    if kind in ("choice", "choice or object"):
        return _choice(name, value, choices, objects=kind == "choice or object")
    return KINDS[kind](name, value)


def number(name: str, value: Any, *, above: float | None = None, expected: str = "a number of 0 or more") -> float:
    """A finite number of 0 or more, or above a bound, as a float.

    >>> number("style_weight", -5)
    Traceback (most recent call last):
    ValueError: style_weight is -5, expected a number of 0 or more.
    """
    found = _float(value)
    if found is None or not math.isfinite(found) or (found < 0 if above is None else found <= above):
        raise ValueError(f"{name} is {_shown(value)}, expected {expected}.")
    return found


def whole(name: str, value: Any, *, least: int, most: int, expected: str) -> int:
    """A whole number between two bounds, both included, as an int; 1e3 is one, 1.5 is not.

    >>> whole("seed", 1e3, least=0, most=2**32, expected="a whole number")
    1000
    """
    try:
        plain = _plain(value)
        found = None if _is_truth(plain) else operator.index(plain)
    except TypeError:
        as_float = _float(value)
        found = int(as_float) if as_float is not None and as_float.is_integer() else None
    if found is None or not least <= found <= most:
        raise ValueError(f"{name} is {_shown(value)}, expected {expected}.")
    return found


def count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least 1, or of another bound."""
    return whole(name, value, least=least, most=MOST, expected=f"a whole number of {least} or more, up to {MOST:,}")


def file_path(name: str, value: Any) -> Path:
    """The path of a file or folder, with ~ for the home folder.

    >>> file_path("checkpoint", 5)
    Traceback (most recent call last):
    ValueError: checkpoint is 5, expected a path.
    """
    try:
        path = Path(value)
        with contextlib.suppress(RuntimeError):  # no such user: the name is taken as it is
            path = path.expanduser()
    except TypeError:
        raise ValueError(f"{name} is {_shown(value)}, expected a path.") from None
    if "\0" in str(path):
        raise ValueError(f"{name} is {_shown(str(path))}, expected a path without null characters.")
    return path


def function_of_a_step(name: str, value: Any) -> Any:
    """A function that takes a step, or None.

    >>> function_of_a_step("callback", 5)
    Traceback (most recent call last):
    ValueError: callback is 5, expected a function that takes a Step, or None.
    """
    if inspect.iscoroutinefunction(value):
        raise ValueError(f"{name} is an async function, which would never run: give an ordinary one.")
    if value is not None and not callable(value):
        raise ValueError(f"{name} is {_shown(value)}, expected a function that takes a Step, or None.")
    return value


def _counts(name: str, value: Any) -> int | tuple[int, ...]:
    """One count, or several in a tuple: a scale may have 0 steps, one number of steps may not."""
    several = _several(value)
    if several is None:
        return count(name, value)
    if not several:
        raise ValueError(f"{name} is {_shown(value)}, expected at least one number.")
    return tuple(count(name, n, least=0) for n in several)


def _scales(name: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    several = _several(value)
    sides = [count(name, n) for n in ([value] if several is None else several)]
    if not sides or any(b <= a for a, b in pairwise(sides)):
        raise ValueError(f"{name} is {_shown(value)}, expected short sides in rising order, as [64, 128].")
    return tuple(sides)


def _rate(name: str, value: Any) -> float | None:
    return None if value is None else number(name, value, above=0.0, expected="a number above 0, or None")


def _factor(name: str, value: Any) -> float | None:
    if value is None:
        return None
    expected = f"a number above 0, up to {LARGEST_FACTOR}, as 0.5, or None"
    if (found := number(name, value, above=0.0, expected=expected)) > LARGEST_FACTOR:
        raise ValueError(f"{name} is {_shown(value)}, expected {expected}.")
    return found


def _masks(name: str, value: Any) -> tuple[Any, ...] | None:
    """Masks in a tuple; what else they have to be is known once there are pictures."""
    if value is None:
        return None
    if getattr(value, "ndim", None) == 4:  # one, or a stack of them
        return tuple(value[n : n + 1] for n in range(len(value)))
    several = _several(value)
    if not several or not all(mask is None or getattr(mask, "ndim", None) == 4 for mask in several):
        raise ValueError(f"{name} is {_shown(value)}, expected a list of masks (1, 1, H, W): load_mask makes one.")
    return tuple(several)


def _map(name: str, value: Any) -> Any:
    if value is not None and getattr(value, "ndim", None) != 4:
        raise ValueError(f"{name} is {_shown(value)}, expected weights (1, 1, H, W): detail_map makes some.")
    return value


def _weights(name: str, value: Any) -> tuple[float, ...] | None:
    """Weights that are shares of a whole, so one of them at least is above 0."""
    if value is None:
        return None
    if (several := _several(value)) is None:
        raise ValueError(f"{name} is {_shown(value)}, expected a list of numbers of 0 or more.")
    found = tuple(number(name, w) for w in several)
    if sum(found) <= 0:
        raise ValueError(f"{name} is {_shown(value)}, expected at least one weight above 0.")
    return found


def _layer_weights(name: str, value: Any) -> dict[str, float] | str | None:
    if isinstance(value, str) and value in STROKES:
        return _text(value)
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(layer, str) for layer in value):
        example = "{'relu1_1': 2}, which is relu1_1=2 on the command line"
        raise ValueError(f"{name} is {_shown(value)}, expected fine, coarse or {example}.")
    return {_text(layer): number(f"{name}[{layer!r}]", weight) for layer, weight in value.items()}


def _layers(name: str, value: Any) -> tuple[str, ...]:
    layers = [value] if isinstance(value, str) else _several(value)
    if layers is None or not all(isinstance(layer, str) for layer in layers):
        raise ValueError(f"{name} is {_shown(value)}, expected a list of layers, as ['relu4_2'].")
    return tuple(dict.fromkeys(map(_text, layers)))


def _seed(name: str, value: Any) -> int:
    return whole(name, value, least=-(2**63), most=2**64 - 1, expected="a whole number")


def _tile(name: str, value: Any) -> int | None:
    """None and 0 mean no tiles."""
    none = value is None or (not _is_truth(value) and _float(value) == 0)
    return None if none else count(name, value, least=SMALLEST_TILE)


def _size(name: str, value: Any) -> int | str | None:
    if value is None or (isinstance(value, str) and value == "fit"):
        return None if value is None else "fit"
    expected = 'a number of pixels for the short side, or "fit", or None'
    return whole(name, value, least=1, most=MOST, expected=expected)


def _flag(name: str, value: Any) -> bool:
    plain = _plain(value) if _several(value) is None else value
    if _is_truth(plain) or (_several(value) is None and _float(plain) in (0.0, 1.0)):
        return bool(plain)
    raise ValueError(f"{name} is {_shown(value)}, expected True or False.")


def _encoder(name: str, value: Any) -> Any:
    """The name or the file of an encoder as text, or the encoder itself."""
    if isinstance(value, str):
        return _text(value)
    if hasattr(value, "architecture"):
        return value
    if isinstance(value, os.PathLike) and isinstance(found := os.fspath(value), str):
        return found
    raise ValueError(f"{name} is {_shown(value)}, expected an encoder, its name or its file: load_encoder gives one.")


def _anything(name: str, value: Any) -> Any:
    """Devices are checked where they are chosen."""
    return value


# A function for each kind of option; "choice" and "choice or object" need the choices besides.
KINDS: dict[str, Callable[[str, Any], Any]] = {
    "weight": number,
    "rate": _rate,
    "count": count,
    "counts": _counts,
    "scales": _scales,
    "weights": _weights,
    "layer weights": _layer_weights,
    "layers": _layers,
    "seed": _seed,
    "tile": _tile,
    "size": _size,
    "factor": _factor,
    "masks": _masks,
    "map": _map,
    "flag": _flag,
    "encoder": _encoder,
    "device": _anything,
}


def _choice(name: str, value: Any, choices: Sequence[str], *, objects: bool) -> Any:
    if isinstance(value, str) and value in choices:
        return _text(value)
    if objects and not isinstance(value, str) and value is not None:
        return value
    raise ValueError(f"{name} is {_shown(value)}, which is unknown: use one of {', '.join(choices)}.")


def _text(value: str) -> str:
    """A string as plain text; `str(value)` would give the name of an enumeration's member."""
    return str.__str__(value)


def _float(value: Any) -> float | None:
    """The number that a value is, or None: for text, truth values, several numbers and everything else."""
    value = _plain(value)
    if isinstance(value, (str, bytes, bytearray)) or _is_truth(value) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _plain(value: Any) -> Any:
    """What a tensor or an array of one element holds, as Python has it; anything else as it is.

    `float` and `operator.index` would also take truth values from them, and drop an imaginary part.
    """
    if hasattr(value, "dtype") and hasattr(value, "item"):
        try:
            return value.item()
        except (TypeError, ValueError, RuntimeError):  # several elements, or none
            return None
    return value


def _several(value: Any) -> list[Any] | None:
    """The values of a list, tuple, range, array or one-dimensional tensor; None for anything else."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        return None
    try:
        return list(value)
    except TypeError:  # an array or a tensor without dimensions
        return None


def _is_truth(value: Any) -> bool:
    """Whether it is a bool, or NumPy's, which isn't imported for the question."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def _shown(value: Any) -> str:
    """The value as a message shows it: short, and on one line."""
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
