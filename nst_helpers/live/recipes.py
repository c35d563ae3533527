"""Recipes: how a picture came to be, written down by `StyleSession.recipe()` and repeated by `replay`."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder, load_encoder
from ..engine.values import file_path
from ..errors import NSTError
from ..io.atomic import write_whole
from ..io.records import read_record, what_is_wrong
from ..io.sources import shown
from ..samples import list_samples
from .control import Control, unpacked_masks
from .recipe_rules import check_recipe
from .session import StyleSession
from .sources import EncoderCache, NamedImage, SessionSource, is_one_source, named_image, sha256_of
from .state import RECIPE_FORMAT, package_version

__all__ = ["RecipeError", "read_recipe", "replay", "save_recipe"]

Recipe = Mapping[str, Any] | str | os.PathLike[str]


class RecipeError(NSTError, ValueError):
    """A recipe that can't be replayed here, or not with these pictures."""


def save_recipe(recipe: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a recipe as JSON, whole or not at all; returns the path. Raises RecipeError where it can't be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_recipe({"recipe": 2}, Path(folder) / "night.json").read_text().split()
    ['{', '"recipe":', '2', '}']
    """
    if not isinstance(recipe, Mapping):
        raise _no_recipe(recipe)
    try:
        path = file_path("path", path)
        write_whole(path, (json.dumps(dict(recipe), indent=1) + "\n").encode())
    except (TypeError, ValueError) as error:
        raise RecipeError(f"This can't be written as a recipe: {error}") from None
    except OSError as error:
        raise RecipeError(f"{shown(path)} can't be written ({error.strerror}): choose another place.") from None
    return path


def read_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe from its file, or as it is. Raises RecipeError where it is none, or of another version."""
    if not isinstance(recipe, Mapping):
        if not isinstance(recipe, (str, os.PathLike)):
            raise _no_recipe(recipe)
        try:
            path = file_path("recipe", recipe)
        except ValueError as error:
            raise RecipeError(f"That can't be read as a recipe: {error}") from None
        if not (found := read_record(path)):
            raise RecipeError(f"{shown(recipe)} can't be read as a recipe{what_is_wrong(path)}")
        recipe = found
    if not {"recipe", "start", "changes", "steps"} <= set(recipe):
        raise RecipeError("This is no recipe: it lacks the keys that session.recipe() writes.")
    made_by = recipe.get("nst_helpers")
    if (recipe["recipe"], made_by) != (RECIPE_FORMAT, package_version()):
        made_by, form = (" ".join(str(word).split())[:40] for word in (made_by, recipe["recipe"]))
        raise RecipeError(
            f"The recipe was made by nst_helpers {made_by} (format {form}), and this is {package_version()} "
            f"(format {RECIPE_FORMAT}): install nst_helpers {made_by} to replay it."
        )
    try:
        check_recipe(recipe)
    except ValueError as error:
        raise _unusable(error) from None
    return dict(recipe)


def _no_recipe(given: object) -> RecipeError:
    return RecipeError(f"A {type(given).__name__} is no recipe: give what session.recipe() gave, or its file.")


def replay(
    recipe: Recipe,
    *,
    pictures: Iterable[SessionSource | NamedImage] = (),
    encoder: Encoder | Iterable[Encoder] | None = None,
    masks: Iterable[torch.Tensor] = (),
    device: torch.device | str | None = None,
) -> StyleSession:
    """Repeat what a recipe wrote down; the session returned holds the same picture, on the same machine to the pixel.

    That takes the same number of threads, which a session keeps whatever else runs. Elsewhere the pictures differ by
    rounding.

    `recipe` is what `session.recipe()` gave, or a file of it. Samples are found by their names; other pictures have to
    be among `pictures`, in any order. `encoder` is needed only for those that `load_encoder` does not know, one or
    several; `masks` are those of the recipe's masks and maps that 8 bits can't hold, in any order.

    Raises RecipeError, in one sentence, for a recipe that was edited into something that can't be replayed, for one of
    another version, for a picture or an encoder that is missing or different.

    >>> from nst_helpers.encoders import Architecture
    >>> a, toy = torch.rand(1, 3, 16, 16), Encoder(Architecture("toy", ((8,),)))
    >>> session = StyleSession(a, a.flip(-1), encoder=toy, content_layers=["conv1_1"], style_layers=["relu1_1"])
    >>> _ = session.step(2), session.set(style_weight=3), session.step(2)
    >>> again = replay(session.recipe(), pictures=[a, a.flip(-1)], encoder=toy)
    >>> torch.equal(again.image, session.image)
    True
    """
    recipe = read_recipe(recipe)
    try:
        sources: list[Any] = [pictures] if is_one_source(pictures) else list(pictures)
        known = [encoder] if isinstance(encoder, Encoder) else list(encoder or ())
        masks = [masks] if isinstance(masks, Tensor) else list(masks)
    except TypeError:
        raise RecipeError("pictures, encoder and masks are lists: give one, or leave it out.") from None
    if not all(isinstance(one, Encoder) for one in known) or not all(isinstance(mask, Tensor) for mask in masks):
        raise RecipeError("encoder is for what load_encoder gives, masks for what load_mask gives: give those.")
    given = {picture.sha256: picture for picture in (named_image(source, "picture") for source in sources)}
    _refuse_foreign_pictures(recipe, given)
    encoders = EncoderCache(device=device)
    try:
        for name, described in recipe["encoders"].items():
            precision = "auto" if described["precision"] == "float64" else described["precision"]
            encoders.add(_find_encoder(name, described, known), name=name, precision=precision)
        return _replayed(recipe, given, encoders, masks)
    except RecipeError:
        raise
    except (NSTError, ValueError) as error:
        raise _unusable(error) from error


def _replayed(
    recipe: Mapping[str, Any],
    given: Mapping[str, NamedImage],
    encoders: EncoderCache,
    masks: Iterable[torch.Tensor],
) -> StyleSession:
    content, style = (_find_picture(recipe[role], given, role) for role in ("content", "style"))
    others = [_find_picture(other, given, "style") for other in recipe["control"].get("others", ())]
    masks = [*masks, *unpacked_masks(recipe.get("masks", ()))]
    control = Control.found(recipe["control"], others, masks)
    session = StyleSession(content, [style, *others], **recipe["start"], encoders=encoders, **control.given)
    for change in recipe["changes"]:
        session.step(change["after"] - len(session.history))
        rest = {name: value for name, value in change.items() if name not in ("after", "fresh")}
        if "fresh" in change:
            session.refresh()
        if "style" in rest:
            rest["style"] = _find_picture(rest["style"], given, "style")
        if "others" in rest:
            found = [_find_picture(other, given, "style") for other in rest.pop("others")]
            rest["style"] = [rest.get("style", session.pictures[1]), *found]
        if rest.get("masks") is not None:
            rest["masks"] = Control.found({"masks": rest["masks"]}, (), masks).masks
        if rest:
            session.set(**rest)
    session.step(recipe["steps"] - len(session.history))
    return session


def _unusable(error: Exception) -> RecipeError:
    words = " ".join(str(error).split())
    return RecipeError(f"The recipe can't be replayed: {words if len(words) <= 800 else words[:797] + '...'}")


def _refuse_foreign_pictures(recipe: Mapping[str, Any], given: Mapping[str, NamedImage]) -> None:
    parts = (recipe, *recipe["changes"])
    needed = {part[role]["sha256"] for part in parts for role in ("content", "style") if role in part}
    needed |= {other["sha256"] for part in (recipe["control"], *parts) for other in part.get("others", ())}
    if foreign := [picture for picture in given.values() if picture.sha256 not in needed]:
        height, width = foreign[0].image.shape[-2:]
        raise RecipeError(
            f"A picture of {width} x {height} pixels came that is none of the recipe's: "
            "leave it out, or pass the very pictures that the recipe was made with."
        )


def _find_encoder(name: str, described: Mapping[str, str], known: Iterable[Encoder]) -> Encoder:
    """The encoder that a recipe names: among those given by its weights, else by its name."""
    for encoder in known:
        if (sha256_of(encoder.state_dict().values()), encoder.pool) == (described["sha256"], described["pool"]):
            break
    else:
        if any(encoder.architecture.name == name for encoder in known):
            raise RecipeError(f"The recipe was made with another encoder {name!r}: pass that one as encoder=.")
        try:
            encoder = load_encoder(name, pool=described["pool"])
        except NSTError as error:
            raise RecipeError(f"The recipe's encoder {name!r} can't be had, pass it as encoder=: {error}") from error
        if sha256_of(encoder.state_dict().values()) != described["sha256"]:
            raise RecipeError(f"The recipe was made with another encoder {name!r}: pass that one as encoder=.")
    double = described["precision"] == "float64" and encoder.dtype != torch.float64
    return copy.deepcopy(encoder).double() if double else encoder


def _find_picture(described: Mapping[str, Any], given: Mapping[str, NamedImage], role: str) -> NamedImage:
    name, sha256 = described["name"], described["sha256"]
    if sha256 in given:
        return replace(given[sha256], name=name)
    if name in list_samples():
        sample = named_image(name, role)
        if sample.sha256 == sha256:
            return sample
    raise RecipeError(
        f"The recipe's {role} picture {name[:40]!r} ({described['width']} x {described['height']} pixels, "
        f"hash {sha256[:8]}) is not among those given: pass the very same one in pictures=[...]."
    )
