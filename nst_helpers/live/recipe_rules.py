"""What a recipe has to look like before it is replayed: people edit them by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..engine.inputs import MASKS
from ..engine.settings import PRECISIONS, options
from ..engine.values import whole
from .state import LiveSettings

__all__ = ["check_recipe"]

MOST_STEPS = 10**6  # two days with the smallest network; more is a slip of the keyboard
LONGEST_NAME = 4096
ROLES = ("content", "style")
START = {*(f.name for f in fields(LiveSettings)), "init", "seed", "convention", "content_layers", "style_layers"}


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raise ValueError, in a clause that names the place, where a recipe can't be replayed as it stands.

    >>> check_recipe({"steps": 10**9})
    Traceback (most recent call last):
    ValueError: steps is 1000000000, expected a whole number from 0 to 1000000.
    """
    steps = _whole("steps", recipe.get("steps"), 0, MOST_STEPS)
    start = _mapping("start", recipe.get("start"))
    if set(start) != START:
        raise ValueError(f"start holds {_names(start)}, expected {_names(START)}.")
    _check_values("start", start)
    for role in ROLES:
        _check_picture(role, recipe.get(role))
    _check_control(_mapping("control", recipe.get("control")))
    stored = recipe.get("masks", [])
    if not isinstance(stored, list) or not all(isinstance(mask, str) for mask in stored):
        raise ValueError("masks is no list of texts.")
    changes = recipe.get("changes")
    if not isinstance(changes, list):
        raise ValueError("changes is no list.")
    after = 0
    for number, change in enumerate(changes):
        where = f"changes[{number}]"
        change = _mapping(where, change)
        after = _whole(f"{where}.after", change.get("after"), after, steps)
        _check_change(where, change)
    _check_encoders(recipe)


def _check_change(where: str, change: Mapping[str, Any]) -> None:
    rest = {name: value for name, value in change.items() if name != "after"}
    if (
        stray := rest.keys()
        - (START - {"init", "seed", "convention", "content_layers", "style_layers"})
        - {"fresh", "style", "others", "masks"}
    ):
        raise ValueError(f"{where} holds {_names(stray)}, which no change has.")
    if rest.get("fresh", True) is not True:
        raise ValueError(f"{where}.fresh is no true.")
    if "style" in rest:
        _check_picture(f"{where}.style", rest["style"])
    listed = {name: rest[name] for name in ("others", "masks") if rest.get(name) is not None}
    if "others" in rest and rest["others"] is None:
        raise ValueError(f"{where}.others is no list.")
    _check_listed(where, listed)
    _check_values(where, {k: v for k, v in rest.items() if k not in ("fresh", "style", "others", "masks")})


def _check_values(where: str, values: Mapping[str, Any]) -> None:
    """Hold the values to the rules that a run's options follow."""
    rules = options()
    for name, value in values.items():
        rules[name].check(value, f"{where}.{name}")
        if (value is None and name != "style_mix") or (
            name in ("encoder", "init", "convention") and not isinstance(value, str)
        ):
            raise ValueError(f"{where}.{name} is no {'value' if value is None else 'name'}.")
        if name == "size":
            _whole(f"{where}.size", value, 1, MOST_STEPS)


def _check_picture(where: str, picture: Any) -> None:
    picture = _mapping(where, picture)
    name, sha256 = picture.get("name"), picture.get("sha256")
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise ValueError(f"{where}.name is no name.")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{where}.sha256 is no hash of 64 hexadecimal digits.")
    for side in ("height", "width"):
        _whole(f"{where}.{side}", picture.get(side), 1, 10**6)


def _check_control(control: Mapping[str, Any]) -> None:
    if stray := control.keys() - {"others", "style_size", "balance", *MASKS}:
        raise ValueError(f"control holds {_names(stray)}, which no recipe has.")
    _check_values("control", {name: control[name] for name in ("style_size", "balance") if name in control})
    _check_listed("control", {name: control[name] for name in ("others", *MASKS) if name in control})


def _check_listed(where: str, lists: Mapping[str, Any]) -> None:
    """Pictures and masks, each by its hash; a mask may be missing."""
    for name, listed in lists.items():
        if not isinstance(listed, list) or (not listed and name != "others") or (name == "masks" and not any(listed)):
            raise ValueError(f"{where}.{name} is no list.")
        for number, described in enumerate(listed):
            if described is not None or name not in ("masks", "style_masks"):
                described = _mapping(f"{where}.{name}[{number}]", described)
                unnamed = {} if name == "others" else {"name": name}  # masks have no names
                _check_picture(f"{where}.{name}[{number}]", unnamed | {**described})


def _check_encoders(recipe: Mapping[str, Any]) -> None:
    encoders = _mapping("encoders", recipe.get("encoders"))
    for name, described in encoders.items():
        described = _mapping(f"encoders[{name!r}]", described)
        sha256, pool, precision = (described.get(key) for key in ("sha256", "pool", "precision"))
        sound = isinstance(sha256, str) and pool in ("max", "avg") and precision in (*PRECISIONS[1:], "float64")
        if not sound:
            raise ValueError(f"encoders[{name!r}] lacks a hash, a pooling or a number format.")
    used = [recipe["start"]["encoder"], *(change["encoder"] for change in recipe["changes"] if "encoder" in change)]
    if missing := [name for name in used if name not in encoders]:
        raise ValueError(f"encoders lacks {_names(missing)}.")


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where} is no mapping of names to values.")
    return value


def _whole(where: str, value: Any, least: int, most: int) -> int:
    return whole(where, value, least=least, most=most, expected=f"a whole number from {least} to {most}")


def _names(names: Any) -> str:
    listed = ", ".join(sorted(names)) or "nothing"
    return listed if len(listed) <= 300 else f"{listed[:297]}..."
