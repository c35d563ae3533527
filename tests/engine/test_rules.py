"""One set of rules: an option may be the same in Python, on the command line, in sessions, sweeps and recipes."""

from __future__ import annotations

import contextlib
import copy
import io
import string
from functools import cache

import pytest
from conftest import TOY, picture
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import nst_helpers as nst
from nst_helpers.cli.parser import parse
from nst_helpers.encoders import Encoder
from nst_helpers.engine.settings import Settings, options
from nst_helpers.live.recipe_rules import START
from nst_helpers.live.recipes import RecipeError

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1"]}
WORDS = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(-100, 100).map(lambda x: round(x, 3)),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e9, 0, -1, 1.5]),
)
LISTS = st.lists(NUMBERS, min_size=2, max_size=3)
# What people may write for each kind of option; much of it is wrong.
VALUES = {
    "counts": NUMBERS | LISTS | WORDS,
    "scales": LISTS | WORDS,
    "weights": LISTS,
    "layer weights": st.dictionaries(st.sampled_from(["relu1_1", "relu2_1"]), NUMBERS, min_size=1),
    "choice": WORDS,
    "choice or object": WORDS,
}
OTHERS = ("encoder", "device", "layers", "flag", "masks", "map")  # kinds whose values are no numbers and words
NAMES = [name for name, option in options().items() if option.kind not in OTHERS]
LIVE = ("content_weight", "style_weight", "tv_weight", "layer_weights", "optimizer", "lr")
STARTED = (*LIVE, "init", "seed", "convention", "precision")
RECIPES = [name for name in STARTED if name in START]


def sentence(error: BaseException, name: str, label: str = "") -> str:
    """The sentence of an error, from the option's name on; a label in front of it is taken off."""
    words = str(error).removeprefix("The recipe can't be replayed: ")
    assert words.startswith(label + name), words
    return words.removeprefix(label)


def refusal(name: str, value: object) -> str:
    """What Python's callers are told of a value that can't be used."""
    try:
        Settings(**{name: value})
    except ValueError as error:
        return sentence(error, name)
    assume(False)
    raise AssertionError


def wrong(draw: st.DataObject, names: list[str]) -> tuple[str, object, str]:
    """An option, a value that it can't have, and the sentence for it."""
    name = draw.draw(st.sampled_from(names))
    value = draw.draw(VALUES.get(options()[name].kind, NUMBERS | WORDS))
    return name, value, refusal(name, value)


def as_words(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{layer}={weight}" for layer, weight in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@cache
def encoder() -> Encoder:
    return Encoder(TOY, seed=1)


@cache
def session() -> nst.StyleSession:
    return nst.StyleSession(picture(), picture(seed=1), encoder=encoder(), **LAYERS)


@settings(deadline=None)
@given(st.data())
def test_the_command_line_refuses_the_same_in_the_same_words(data):
    name, value, words = wrong(data, NAMES)
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(SystemExit) as left, contextlib.redirect_stderr(io.StringIO()) as said:
        parse(["temple", "wave", "-o", "out.png", f"{flag}={as_words(value)}"])
    assert left.value.code == 2
    assert said.getvalue() == f"nst_helpers: {words.replace(name, flag, 1)}\n"


@settings(deadline=None)
@given(st.data())
def test_a_session_refuses_the_same_in_the_same_words_and_stays_as_it_was(data):
    name, value, words = wrong(data, list(STARTED))
    with pytest.raises(ValueError) as refused:
        nst.StyleSession(picture(), picture(seed=1), encoder=encoder(), **LAYERS, **{name: value})
    assert sentence(refused.value, name) == words
    if name in LIVE:
        before = session().settings
        with pytest.raises(ValueError) as refused:
            session().set(**{name: value})
        assert sentence(refused.value, name) == words
        assert session().settings == before


@settings(deadline=None)
@given(st.data())
def test_a_sweep_tells_the_same_in_its_cell(data):
    name, value, words = wrong(data, NAMES)
    given = {
        "content": picture(),
        "style": picture(seed=1),
        "encoder": encoder(),
        "steps": 1,
        "device": "cpu",
        **LAYERS,
    }
    given.pop(name, None)
    (cell,) = nst.sweep({name: [value]}, **given)
    assert (cell.stopped, cell.error) == ("failed", words)


@settings(deadline=None)
@given(st.data())
def test_a_recipe_refuses_the_same_in_the_same_words(data):
    name, value, words = wrong(data, RECIPES)
    recipe = copy.deepcopy(session().recipe())
    recipe["start"][name] = value
    with pytest.raises(RecipeError) as refused:
        nst.replay(recipe, pictures=[picture(), picture(seed=1)], encoder=encoder())
    assert sentence(refused.value, name, "start.") == words


NOTHING = {"content_weight": 0, "style_weight": 0, "tv_weight": 0}


def test_weights_that_are_all_0_are_refused_in_the_same_words_everywhere(capsys):
    pictures = (picture(), picture(seed=1))
    with pytest.raises(ValueError, match="0, 0 and 0, expected one above 0 .* nothing would be optimised") as refused:
        nst.stylize(*pictures, encoder=encoder(), **LAYERS, **NOTHING)
    words = str(refused.value)
    recipe = copy.deepcopy(session().recipe())
    recipe["start"] |= NOTHING
    for call in (
        lambda: nst.StyleSession(*pictures, encoder=encoder(), **LAYERS, **NOTHING),
        lambda: session().set(**NOTHING),
        lambda: nst.replay(recipe, pictures=pictures, encoder=encoder()),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value).removeprefix("The recipe can't be replayed: ") == words
    grid = {name: [value] for name, value in NOTHING.items()}
    assert nst.sweep(grid, content=pictures[0], style=pictures[1], encoder=encoder(), **LAYERS)[0].error == words
    with pytest.raises(SystemExit):
        parse(["temple", "wave", "-o", "a.png", *(f"--{name.replace('_', '-')}=0" for name in NOTHING)])
    assert capsys.readouterr().err == f"nst_helpers: {words}\n"
