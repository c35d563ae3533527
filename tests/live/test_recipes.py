"""Recipes that people edited, of any encoder: they replay to the pixel, or say in one sentence why not."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest
import torch
from conftest import TOY, examples, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nst_helpers as nst
from nst_helpers.encoders import Encoder
from nst_helpers.live.recipes import RecipeError, read_recipe, replay, save_recipe
from nst_helpers.live.session import StyleSession

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
CONTENT, STYLE, OTHER = picture(16, 20, seed=1), picture(18, 18, seed=2), picture(20, 17, seed=3)


def session(**options) -> StyleSession:
    return StyleSession(CONTENT, STYLE, **{"encoder": Encoder(TOY, seed=1), "device": "cpu", **LAYERS, **options})


def through_json(made: StyleSession) -> dict[str, Any]:
    return json.loads(json.dumps(made.recipe()))


@cache
def eventful() -> dict[str, Any]:
    made = session(init="noise", seed=3, layer_weights={"relu1_1": 2})
    made.step(2)
    made.set(style_weight=3.3, tv_weight=0)
    made.step(1)
    made.set(style=OTHER)
    made.step(1)
    made.refresh()
    made.set(optimizer="adam", lr=0.05, size=14)
    made.step(1)
    return through_json(made)


# Edited by hand


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested dictionaries and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


# Whole numbers are small or absurd: those between would only take long.
NUMBERS = st.integers(-3, 12) | st.sampled_from([10**7, 10**9, 2**63, 10**30]) | st.floats(allow_subnormal=False)
WORDS = st.text(max_size=8) | st.sampled_from(["relu1_1", "adam", "vgg19", "cat", "noise", "toy", "a" * 5000, "\0"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def edited(draw) -> Any:
    recipe = copy.deepcopy(eventful())
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from([p for p in places(recipe) if p]))
        *way, last = place
        parent = recipe
        for key in way:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                parent[last] = draw(VALUES)
            case "remove":
                del parent[last]
            case "add" if isinstance(parent, dict):
                parent[draw(WORDS)] = draw(VALUES)
            case "add":
                parent.insert(last, draw(VALUES))
    return recipe


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edited())
def test_an_edited_recipe_replays_or_is_refused_in_one_sentence(recipe):
    refused, made = "", None
    try:
        made = replay(recipe, pictures=[CONTENT, STYLE, OTHER], encoder=Encoder(TOY, seed=1), device="cpu")
    except RecipeError as error:
        refused = str(error)
    assert "\n" not in refused
    assert len(refused) < 1000
    if made is not None:
        assert len(made.history) == recipe["steps"]
        assert torch.isfinite(made.image).all()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("steps",), 10**9, "steps is 1000000000"),
        (("steps",), 1.5, "steps is 1.5"),
        (("changes", 0, "after"), -1, "after is -1"),
        (("changes", 0, "after"), 10**6, "after is 1000000"),
        (("changes", 1), None, "no mapping"),
        (("changes",), {}, "no list"),
        (("changes", 0, "speed"), 3, "speed"),
        (("start", "style_weight"), "much", "style_weight"),
        (("start", "layer_weights"), [1, 2], "layer_weights"),
        (("start", "size"), 10**6, "size is 1000000"),
        (("start", "content_layers"), ["relu9_9"], "relu9_9"),
        (("start", "convention"), "mine", "convention"),
        (("content",), "cat.jpg", "content is no mapping"),
        (("content", "sha256"), "0" * 64, "none of the recipe's"),
        (("encoders",), {}, "encoders lacks toy"),
        (("encoders", "toy", "precision"), "int8", "number format"),
        (("start", "encoder"), "vgg19", "encoders lacks vgg19"),
        (("nst_helpers",), ["x"] * 100, "made by nst_helpers"),
    ],
)
def test_what_is_wrong_in_an_edited_recipe_is_named(place, value, words):
    recipe, parent = copy.deepcopy(eventful()), None
    *way, last = place
    parent = recipe
    for key in way:
        parent = parent[key]
    parent[last] = value
    with pytest.raises(RecipeError) as caught:
        replay(recipe, pictures=[CONTENT, STYLE, OTHER], encoder=Encoder(TOY, seed=1), device="cpu")
    assert words in str(caught.value)


@pytest.mark.parametrize("found", [3, None, "a list of one", b"{}"])
def test_what_is_no_recipe_at_all_is_refused(found, tmp_path):
    with pytest.raises(RecipeError, match="is no recipe"):
        read_recipe([eventful()] if found == "a list of one" else found)
    (tmp_path / "a.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(RecipeError, match="can't be read"):
        read_recipe(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file: check the path"),
        ('{"recipe": 2,}', "line 1 column 14"),
        ("{'recipe': 2}", "mend what was edited there"),
        ("\x00\x01", "mend what was edited there"),
        ("[]", "check the path, or save it anew"),
    ],
)
def test_what_keeps_a_file_from_being_a_recipe_is_told(tmp_path, text, words):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(RecipeError, match="can't be read as a recipe") as caught:
        read_recipe(tmp_path / "a.json")
    assert words in str(caught.value)


def test_the_text_of_a_recipe_is_refused_on_one_line():
    with pytest.raises(RecipeError) as caught:
        read_recipe(json.dumps(eventful(), indent=1))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_session_is_not_written_in_place_of_its_recipe(tmp_path):
    for wrong in (session(), session().snapshot(), None):
        with pytest.raises(RecipeError, match=r"is no recipe: give what session.recipe\(\) gave"):
            save_recipe(wrong, tmp_path / "a.json")


@pytest.mark.parametrize("given", [{"pictures": 5}, {"encoder": 5}, {"encoder": ["toy"]}, {"masks": 5}, {"masks": [5]}])
def test_what_is_given_beside_a_recipe_is_checked(given):
    with pytest.raises(RecipeError):
        replay(eventful(), **{"pictures": [CONTENT, STYLE, OTHER], "encoder": Encoder(TOY, seed=1)} | given)


@pytest.mark.parametrize(("recipe", "name"), [(None, "a.json"), ({"a": object()}, "a.json"), ({}, 5), ({}, "a\0b")])
def test_what_cannot_be_written_as_a_recipe_is_refused(recipe, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError):
        save_recipe(recipe, name)
    assert list(tmp_path.iterdir()) == []


# Any encoder


def test_a_recipe_of_a_float64_encoder_replays():
    made = session(encoder=Encoder(TOY, seed=1).double())
    made.step(3)
    assert made.image.dtype == torch.float64
    recipe = through_json(made)
    assert recipe["encoders"]["toy"]["precision"] == "float64"
    for given_ in (Encoder(TOY, seed=1).double(), Encoder(TOY, seed=1)):
        walked = replay(recipe, pictures=[CONTENT, STYLE], encoder=given_, device="cpu")
        assert torch.equal(walked.image, made.image)
        assert walked.recipe() == made.recipe()


def test_a_recipe_of_two_encoders_of_one_name_replays():
    first, second = Encoder(TOY, seed=1), Encoder(TOY, seed=2)
    third = Encoder(TOY, seed=1, pool="avg" if first.pool == "max" else "max")
    made = session(encoder=first)
    made.step(2)
    assert made.set(encoder=second).startswith("encoder toy to toy 2")
    made.step(2)
    made.set(encoder=third)
    made.step(1)
    assert made.set(encoder=first).startswith("encoder toy 3 to toy;")
    made.step(1)
    walked = replay(through_json(made), pictures=[CONTENT, STYLE], encoder=[third, second, first], device="cpu")
    assert torch.equal(walked.image, made.image)
    assert walked.recipe() == made.recipe()
    with pytest.raises(RecipeError, match="another encoder 'toy'|encoder 'toy 2' can't be had"):
        replay(through_json(made), pictures=[CONTENT, STYLE], encoder=second, device="cpu")


def test_each_encoder_keeps_its_own_number_format():
    made = session(precision="float32")
    made.step(1)
    recipe = through_json(made)
    recipe["encoders"]["toy"]["precision"] = "bfloat16"
    walked = replay(recipe, pictures=[CONTENT, STYLE], encoder=Encoder(TOY, seed=1), device="cpu")
    assert walked.recipe()["encoders"]["toy"]["precision"] == "bfloat16"


def test_a_convention_given_as_an_object_is_known_by_its_name():
    made = session(convention=nst.get_convention("gatys"))
    made.step(1)
    recipe = through_json(made)
    assert recipe["start"]["convention"] == "gatys"
    assert torch.equal(
        replay(recipe, pictures=[CONTENT, STYLE], encoder=Encoder(TOY, seed=1), device="cpu").image, made.image
    )


def test_a_snapshot_names_the_pictures_that_its_recipe_needs():
    made = session()
    made.step(1)
    made.set(style=OTHER)
    made.step(1)
    made.set(style="wave")
    made.step(1)
    kept = made.snapshot()
    assert [p.name for p in kept.own_pictures] == ["content", "style", "style"]
    walked = replay(kept.recipe, pictures=kept.own_pictures, encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(walked.image, kept.image)
