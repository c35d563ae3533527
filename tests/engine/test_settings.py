"""One source for a run's options: its defaults, its rules, and who has to agree with it."""

from __future__ import annotations

import enum
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import TOY, picture
from hypothesis import given
from hypothesis import strategies as st

from nst_helpers import CONTENT_LAYERS, CONVENTIONS, STYLE_LAYERS, Settings, Weights, estimate, iterate, stylize
from nst_helpers.accel.devices import PRECISIONS
from nst_helpers.accel.tile_grid import SMALLEST_TILE
from nst_helpers.budget.memory import OPTIMIZER_IMAGES
from nst_helpers.encoders import ENCODERS, Encoder
from nst_helpers.engine import values
from nst_helpers.engine.settings import OPTIMIZERS, STROKES, options
from nst_helpers.engine.steppers import make_stepper
from nst_helpers.engine.values import KINDS
from nst_helpers.live.control import Control
from nst_helpers.live.painting import OPTIMIZER_NAMES
from nst_helpers.live.session import StyleSession
from nst_helpers.losses import get_convention, total_variation

MASK = torch.ones(1, 1, 1, 1)
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1"]}


class Word(str, enum.Enum):  # noqa: UP042 (whose str() is its name, as people wrote it before StrEnum)
    ADAM, LAYER, FINE, MINI = "adam", "relu2_1", "fine", "mini"


def test_the_signature_of_stylize_is_the_settings():
    """Names, order and defaults; what follows is about this call alone, and no option of the run."""
    parameters = [p for p in inspect.signature(stylize).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = [(o.name, o.default) for o in options().values()]
    assert [(p.name, p.default) for p in parameters][: len(known)] == known
    calls = ["callback", "save_every", "save_to", "checkpoint", "resume"]
    assert [p.name for p in parameters][len(known) :] == calls


def test_a_sessions_defaults_are_those_of_the_settings():
    """All but the size: a session's is small enough to be watched."""
    known = {option.name: option.default for option in options().values() if option.name != "size"}
    for kind in (StyleSession, Control):
        shared = {n: p.default for n, p in inspect.signature(kind).parameters.items() if n in known}
        assert len(shared) >= 5
        assert shared == {name: known[name] for name in shared}


def test_each_option_of_stylize_arrives_in_the_settings(monkeypatch):
    """Every value is handed on under its own name: a value of its own for each, and the settings that come out."""
    seen = []

    class Stop(Exception):
        pass

    def stop(content, style, settings):
        seen.append(settings)
        raise Stop

    monkeypatch.setattr("nst_helpers.optimize.Run", stop)
    given = {
        "encoder": Encoder(TOY, seed=1), "steps": 7, "optimizer": "adam", "lr": 0.5, "lr_schedule": "step",
        "content_weight": 2.0, "style_weight": 3.0, "tv_weight": 4.0, "tv_kind": "l1", "content_layers": ("a",),
        "style_layers": ("b", "c"), "layer_weights": {"b": 2.0}, "style_mix": (1.0, 2.0), "convention": "gatys",
        "init": "noise", "seed": 5, "scales": (8, 16), "device": "cpu", "precision": "float32", "compiled": True,
        "precondition": False, "history_size": 6, "tile": 48, "size": 64, "masks": (MASK,), "style_masks": (None,),
        "style_size": 0.5, "color": "content", "content_map": MASK, "balance": "gradients",
    }  # fmt: skip
    assert given.keys() == options().keys()
    with pytest.raises(Stop):
        stylize(picture(), picture(), **given)
    assert [getattr(seen[0], name) for name in given] == list(given.values())


def test_iterate_and_estimate_take_the_same_options():
    image, common = picture(16, 16), {"encoder": Encoder(TOY, seed=1), "device": "cpu", "steps": 1, **LAYERS}
    for function in (iterate, estimate):
        with pytest.raises(ValueError, match="^lr is -1, expected a number above 0"):
            list(function(image, image, lr=-1, **common))
        with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
            list(function(image, image, stepz=1, **common))


def test_words_that_other_modules_define_are_theirs():
    """The settings load without PyTorch, so they repeat some constants of modules that need it."""
    assert options()["precision"].choices == PRECISIONS
    assert options()["convention"].choices == tuple(CONVENTIONS)
    assert (Settings().content_layers, Settings().style_layers) == (CONTENT_LAYERS, STYLE_LAYERS)
    assert Settings().weights == Weights()
    assert values.SMALLEST_TILE == SMALLEST_TILE
    assert tuple(STROKES) == values.STROKES
    assert all(name in options()["encoder"].help for name in ENCODERS)
    for name in options()["convention"].choices:
        assert get_convention(name).name == name
    for kind in options()["tv_kind"].choices:
        assert total_variation(picture(4, 4), kind=kind) > 0


def test_every_optimizer_has_its_stepper_its_spelling_and_its_bytes():
    assert set(OPTIMIZER_NAMES) == set(OPTIMIZER_IMAGES) == set(OPTIMIZERS)
    image = picture(8, 8)
    kinds = {type(make_stepper(image, Settings(optimizer=name))) for name in OPTIMIZERS}
    assert len(kinds) == len(OPTIMIZERS)


def test_the_options_can_be_read_without_pytorch():
    code = "from nst_helpers.engine.settings import options; options(); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "matplotlib"} & set(loaded)


def test_every_option_has_a_rule_and_a_line_of_help():
    for option in options().values():
        assert option.kind in KINDS or option.choices
        assert 10 < len(option.help) <= 100
        assert option.check(option.default) == option.default


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"steps": np.int64(3)}, "steps", 3),
        ({"steps": 1e3}, "steps", 1000),
        ({"steps": np.array([3, 4])}, "steps", (3, 4)),
        ({"steps": torch.tensor(5)}, "steps", 5),
        ({"scales": np.array([8, 16])}, "scales", (8, 16)),
        ({"seed": np.uint8(7)}, "seed", 7),
        ({"size": np.float32(64)}, "size", 64),
        ({"tile": np.int32(48)}, "tile", 48),
        ({"tile": 0}, "tile", None),
        ({"style_weight": np.float32(2.5)}, "style_weight", 2.5),
        ({"style_weight": 100}, "style_weight", 100.0),
        ({"lr": np.float64(0.1)}, "lr", 0.1),
        ({"style_mix": np.array([1, 3])}, "style_mix", (1.0, 3.0)),
        ({"layer_weights": {"relu1_1": np.float16(2)}}, "layer_weights", {"relu1_1": 2.0}),
        ({"compiled": np.True_}, "compiled", True),
        ({"content_layers": "relu2_1"}, "content_layers", ("relu2_1",)),
        ({"history_size": torch.tensor(4.0)}, "history_size", 4),
        ({"lr": torch.tensor(0.5, requires_grad=True)}, "lr", 0.5),
        ({"seed": np.array([7])}, "seed", 7),
        ({"compiled": torch.tensor(False)}, "compiled", False),
        ({"optimizer": Word.ADAM}, "optimizer", "adam"),
        ({"content_layers": [Word.LAYER]}, "content_layers", ("relu2_1",)),
        ({"layer_weights": Word.FINE}, "layer_weights", "fine"),
        ({"encoder": Word.MINI}, "encoder", "mini"),
    ],
)  # fmt: skip
def test_numbers_are_taken_from_wherever_they_come(given, name, expected):
    found = getattr(Settings(**given), name)
    assert found == expected
    assert repr(found) == repr(expected)  # which a checkpoint knows it by


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("steps", [1.5, 0, -3, True, "3", None, [], [1.5], np.array([2.5]), float("nan"), float("inf"), 10**9]),
        ("steps", [torch.tensor(True), np.array(True), np.complex128(3), torch.tensor(3 + 0j)]),
        ("lr", [-1, 0, float("nan"), float("inf"), "1", True, [0.1]]),
        ("style_weight", [-5, float("nan"), float("inf"), "5", None, True, np.array([1, 2])]),
        ("seed", [np.array([True]), torch.tensor([True]), np.complex64(1j), torch.empty(0)]),
        ("tv_weight", [-1e-9, np.float64("nan")]),
        ("layer_weights", [{"relu1_1": -1}, {"relu1_1": "x"}, {1: 1.0}, ["relu1_1"]]),
        ("style_mix", [[0, 0], [-1, 2], 3, [None]]),
        ("scales", [[16, 8], [8, 8], [], [0], [1.5], "8"]),
        ("seed", [0.5, "0", None, 2**64]),
        ("history_size", [0, 1.5, None]),
        ("tile", [8, -1, 1.5, True]),
        ("size", [0, -3, 1.5, "huge", [64], 1e9]),
        ("optimizer", ["sgd", None, 3]),
        ("init", ["random", None]),
        ("convention", ["nobodys", None]),
        ("compiled", ["yes", None, 2]),
        ("content_layers", [3, None, [3]]),
        ("encoder", [5, None, ["mini"], b"mini"]),
        ("style_size", [0, -1, 1e9, 1e308, float("inf"), "big"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_gets_one_sentence_that_begins_with_its_name(option, values):
    for value in values:
        with pytest.raises(ValueError) as caught:
            Settings(**{option: value})
        words = str(caught.value)
        assert words.startswith(option)
        assert words.count("\n") == 0
        assert "expected" in words or "unknown: use one of" in words


@pytest.mark.parametrize(
    "given",
    [
        {"content_weight": 0, "style_weight": 0, "tv_weight": 0},
        {"content_layers": [], "style_weight": 0, "tv_weight": 0},
        {"layer_weights": dict.fromkeys(STYLE_LAYERS, 0), "content_weight": 0, "tv_weight": 0},
    ],
)
def test_a_loss_that_is_always_0_is_refused(given):
    with pytest.raises(ValueError, match="nothing would be optimised"):
        Settings(**given)


def test_a_loss_without_layers_is_refused():
    with pytest.raises(ValueError, match="content_layers and style_layers are both empty"):
        Settings(content_layers=[], style_layers=[])


@given(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.lists(st.integers(), max_size=3)))
def test_any_value_is_taken_or_refused_in_a_sentence(value):
    """Whatever comes, a rule gives a value that it gives again, or a ValueError that begins with the name."""
    for option in options().values():
        if (words := refusal(option, value)) is None:
            once, twice = option.check(value), option.check(option.check(value))
            assert twice is once or twice == once
        else:
            assert words.startswith(option.name)


def refusal(option, value) -> str | None:
    try:
        option.check(value)
    except ValueError as error:
        return str(error)
    return None


def test_a_dictionary_in_place_of_settings_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="settings is a dict, expected Settings"):
        iterate(picture(), picture(), {"steps": 3})
