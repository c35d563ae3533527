"""Encoder files: safetensors with the weights, and in the metadata, under "spec", what the network is built from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import WeightsError
from ..io.sources import one_line
from .download import reason
from .files import require_file

__all__ = ["describe", "read_weights_and_fields"]

MAX_WIDTH = 1 << 14
LARGEST = 1e6  # means, deviations and pooling factors beyond it, or below 1 / LARGEST, make features overflow
ADVICE = "make one with tools/make/make_mini.py, or use load_encoder('mini')"


def describe(fields: Mapping[str, Any]) -> str:
    """The fields of an `Architecture` as the JSON text that an encoder file holds.

    >>> describe({"name": "toy", "blocks": [[8]], "final_pool": False})
    '{"name": "toy", "blocks": [[8]], "closes": false}'
    """
    # The format has called it "closes" since its first file.
    return json.dumps({"closes" if key == "final_pool" else key: value for key, value in fields.items()})


def read_weights_and_fields(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An encoder file's fields of an `Architecture`, checked, and its tensors, finite and as many as it needs.

    Raises:
        WeightsError: no file, not an encoder file, or values that no network can work with.

    >>> read_weights_and_fields(Path("nowhere.safetensors"))
    Traceback (most recent call last):
    nst_helpers.errors.WeightsError: there is no file nowhere.safetensors: check the path, ...
    """
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(RuntimeError):  # no such user
        path = path.expanduser()
    try:
        require_file(path)
    except WeightsError as error:
        raise WeightsError(f"{reason(error)}: check the path, or use load_encoder('mini').") from None
    try:
        with safe_open(path, framework="pt") as file:
            fields = _checked(json.loads((file.metadata() or {}).get("spec", "null")))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        _check_weights(fields, weights)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{one_line(path)} is not an encoder file ({reason(error)}): {ADVICE}.") from None
    return fields, weights


def _checked(found: object) -> dict[str, Any]:
    """The fields under the names of today, with tuples for lists; ValueError for what no network can be built from."""
    if not isinstance(found, dict):
        raise ValueError("its metadata don't describe a network")
    fields = {"final_pool" if key == "closes" else key: value for key, value in found.items()}
    tests = {
        "name": lambda v: isinstance(v, str) and 0 < len(v) <= 64 and v.isprintable(),
        "blocks": lambda v: isinstance(v, list) and len(v) > 0 and all(map(_are_widths, v)),
        "mean": lambda v: _are_numbers(v, -LARGEST),
        "std": lambda v: _are_numbers(v, 1 / LARGEST),
        "pool": lambda v: v in ("max", "avg"),
        "pool_scale": lambda v: _are_numbers([v] * 3, 1 / LARGEST),
        "final_pool": lambda v: isinstance(v, bool),
    }
    for key in ("name", "blocks", *fields):
        if key not in fields:
            raise ValueError(f"its network has no {key}")
        if key not in tests:
            raise ValueError(f"its network has an unknown field {key[:40]!r}")
        if not tests[key](fields[key]):
            raise ValueError(f"its network's {key} can't be {_short(fields[key])}")
    return {key: _as_tuple(value) for key, value in fields.items()}


def _are_widths(block: object) -> bool:
    return isinstance(block, list) and len(block) > 0 and all(type(w) is int and 1 <= w <= MAX_WIDTH for w in block)


def _are_numbers(values: object, least: float) -> bool:
    if not isinstance(values, list) or len(values) != 3:
        return False
    return all(type(v) in (int, float) and least <= v <= LARGEST for v in values)


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_weights(fields: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    layers = sum(map(len, fields["blocks"]))
    if len(weights) < 2 * layers:
        raise ValueError(f"it holds {len(weights)} tensors, and its network of {layers} layers needs {2 * layers}")
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} isn't made of floating point numbers")
        if not tensor.float().isfinite().all():
            raise ValueError(f"{name} has values that are infinite or not a number")
