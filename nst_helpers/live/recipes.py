"""Recipes: the way to a picture, written down by `StyleSession.recipe()` and walked again by `replay`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..encoders import Encoder, load_encoder
from ..errors import NSTError
from ..io.atomic import write_whole
from ..samples import list_samples
from .session import StyleSession
from .sources import NamedImage, Source, named_image
from .state import RECIPE_FORMAT, package_version

__all__ = ["RecipeError", "read_recipe", "replay", "save_recipe"]

Recipe = Mapping[str, Any] | str | os.PathLike[str]


class RecipeError(NSTError, ValueError):
    """A recipe that can't be replayed here, or not with these pictures."""


def save_recipe(recipe: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a recipe as JSON, whole or not at all; returns the path. Raises RecipeError where it can't be written."""
    try:
        write_whole(Path(path), (json.dumps(recipe, indent=1) + "\n").encode())
    except OSError as error:
        raise RecipeError(f"'{path}' can't be written ({error.strerror}): choose another place.") from None
    return Path(path)


def read_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe from its file, or as it is; raises RecipeError where it is none, or of another version."""
    if not isinstance(recipe, Mapping):
        try:
            recipe = json.loads(Path(recipe).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(f"'{recipe}' can't be read as a recipe ({error}): save one with the panel.") from None
    if not isinstance(recipe, Mapping) or not {"recipe", "start", "changes", "steps"} <= set(recipe):
        raise RecipeError("This is no recipe: it lacks the keys that session.recipe() writes.")
    made = recipe.get("nst_helpers")
    if (recipe["recipe"], made) != (RECIPE_FORMAT, package_version()):
        raise RecipeError(
            f"The recipe was made by nst_helpers {made} (format {recipe['recipe']}), and this is {package_version()} "
            f"(format {RECIPE_FORMAT}): install nst_helpers {made} to replay it."
        )
    return dict(recipe)


def replay(
    recipe: Recipe,
    *,
    pictures: Iterable[Source] = (),
    encoder: Encoder | None = None,
    device: torch.device | str | None = None,
) -> StyleSession:
    """Walk the way of a recipe again; the session returned holds the same picture, on the same machine to the pixel.

    `recipe` is what `session.recipe()` gave, or a file of it. Samples are found by their names; other pictures have to
    be among `pictures`, in any order. `encoder` is needed only for one that `load_encoder` does not know.

    Raises RecipeError for a recipe of another version, a picture that is missing or different, or another encoder.

    >>> from nst_helpers.encoders import Architecture
    >>> a, toy = torch.rand(1, 3, 16, 16), Encoder(Architecture("toy", ((8,),)))
    >>> session = StyleSession(a, a.flip(-1), encoder=toy, content_layers=["conv1_1"], style_layers=["relu1_1"])
    >>> _ = session.step(2), session.set(style_weight=3), session.step(2)
    >>> again = replay(session.recipe(), pictures=[a, a.flip(-1)], encoder=toy)
    >>> torch.equal(again.image, session.image)
    True
    """
    recipe = read_recipe(recipe)
    given = {p.sha256: p for p in (named_image(source, "picture") for source in pictures)}
    needed = [
        told[role]["sha256"] for told in (recipe, *recipe["changes"]) for role in ("content", "style") if role in told
    ]
    if foreign := [p for p in given.values() if p.sha256 not in needed]:
        height, width = foreign[0].image.shape[-2:]
        raise RecipeError(
            f"A picture of {width} x {height} pixels came that is none of the recipe's: "
            "leave it out, or pass the very pictures that the recipe was made with."
        )
    start = dict(recipe["start"])
    told = recipe["encoders"]
    known = encoder if encoder is not None and encoder.architecture.name == start["encoder"] else start["encoder"]
    start["encoder"] = known if isinstance(known, Encoder) else _load(known, told[known])
    session = StyleSession(
        _find(recipe["content"], given, "content"),
        _find(recipe["style"], given, "style"),
        **start,
        device=device,
        precision=told[recipe["start"]["encoder"]]["precision"],
    )
    for change in recipe["changes"]:
        change = dict(change)
        session.step(change.pop("after") - len(session.history))
        if change.pop("fresh", False):
            session.refresh()
        for role in {"content", "style"} & set(change):
            change[role] = _find(change[role], given, role)
        if change:
            session.set(**change)
    session.step(recipe["steps"] - len(session.history))
    here = session.recipe()["encoders"]
    if other := [n for n, e in here.items() if e["sha256"] != told.get(n, e)["sha256"]]:
        raise RecipeError(f"The recipe was made with another encoder {other[0]!r}: pass that one as encoder=.")
    return session


def _load(name: str, told: Mapping[str, str]) -> Encoder:
    try:
        return load_encoder(name, pool=told["pool"])
    except NSTError as error:
        raise RecipeError(f"The recipe's encoder {name!r} can't be had, pass it as encoder=: {error}") from error


def _find(told: Mapping[str, Any], given: Mapping[str, NamedImage], role: str) -> NamedImage:
    if told["sha256"] in given:
        return replace(given[told["sha256"]], name=told["name"])
    if told["name"] in list_samples():
        sample = named_image(told["name"], role)
        if sample.sha256 == told["sha256"]:
            return sample
    raise RecipeError(
        f"The recipe's {role} picture {told['name']!r} ({told['width']} x {told['height']} pixels, "
        f"hash {told['sha256'][:8]}) is not among those given: pass the very same one in pictures=[...]."
    )
