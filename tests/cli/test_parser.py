"""The options: anywhere, each with its help, every wrong one told in one sentence that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import slow
from hypothesis import given
from hypothesis import strategies as st

from nst_helpers import __version__
from nst_helpers.__main__ import main
from nst_helpers.cli.parser import build_parser, parse, run_options
from nst_helpers.engine.settings import Settings, options

ROOT = Path(__file__).parents[2]
PAIR = ["a.png", "b.png", "-o", "c.png"]


def refused(words: list[str], capsys) -> str:
    """The sentence that a command line is refused with."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nst_helpers: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "CONTENT, STYLE and -o OUT"),
        (["a.png"], "CONTENT, STYLE and -o OUT"),
        (["a.png", "b.png"], "CONTENT, STYLE and -o OUT"),
        ([*PAIR, "--steps", "0"], "--steps"),
        ([*PAIR, "--steps", "1.5"], "--steps"),
        ([*PAIR, "--steps", "3,"], "--steps"),
        ([*PAIR, "--steps"], "--steps"),
        ([*PAIR, "--size", "1e9"], "--size"),
        ([*PAIR, "--size", "-3"], "--size"),
        ([*PAIR, "--size", "9" * 5000], "--size"),
        ([*PAIR, "--scales", "abc"], "--scales"),
        ([*PAIR, "--scales", "0", "32"], "--scales"),
        ([*PAIR, "--scales", "64", "32"], "--scales"),
        ([*PAIR, "--layer-weights", "relu1_1"], "--layer-weights"),
        ([*PAIR, "--optimizer", "adam", "--precondition"], "precondition"),
        ([*PAIR, "--content-weight", "0", "--style-weight", "0", "--tv-weight", "0"], "style_weight"),
        ([*PAIR, "--style-weight", "-1"], "--style-weight"),
        ([*PAIR, "--style-weight", "-1e-5"], "--style-weight is -1e-05"),
        ([*PAIR, "--lr", "-inf"], "--lr is -inf"),
        ([*PAIR, "--layer-weights", "relu1_1:2"], "relu1_1=2"),
        ([*PAIR, "--tv-weight", "nan"], "--tv-weight"),
        ([*PAIR, "--lr", "quick"], "--lr"),
        ([*PAIR, "--seed", "x"], "--seed"),
        ([*PAIR, "--optimizer", "sgd"], "--optimizer"),
        ([*PAIR, "--history"], "--history"),
        *(
            ([*PAIR, option, ""], option)
            for option in ("--history", "--mask", "--style-mask", "--content-map", "--init")
        ),
        ([*PAIR, "--init", "x" * 5000], "--init"),
        (["a.png", "b.png", "-o", ""], "--output"),
        (["", "b.png", "-o", "c.png"], "CONTENT"),
        (["a.png", "", "-o", "c.png"], "STYLE"),
    ],
)
def test_a_wrong_option_is_named_in_one_sentence(words, named, capsys):
    assert named in refused(words, capsys)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("--stile-weight", "--style-weight"),
        ("--step=3", "--steps"),
        ("--resum", "--resume"),
        ("--xyz", "--help"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_one(wrong, meant, capsys):
    said = refused([*PAIR, wrong], capsys)
    assert wrong.partition("=")[0] in said
    assert meant in said


PICTURES = ["temple", "wave", "cat"]
OPTIONS = [["-o", "a.png"], ["--size", "48"], ["--scales", "16", "32"], ["--steps", "3,4"], ["--quiet"]]


@pytest.mark.parametrize("wrong", ["–size", "—steps", "--size 24"])
def test_a_long_dash_or_two_words_in_one_are_told_from_a_picture(wrong, capsys):
    assert f"no file {wrong!r}: an option is a word of its own, after two hyphens" in refused([*PAIR, wrong], capsys)


@given(st.permutations([[name] for name in PICTURES] + OPTIONS))
def test_options_stand_anywhere(parts):
    parsed = parse([word for part in parts for word in part])
    assert [parsed.content, *parsed.style] == [part[0] for part in parts if part[0] in PICTURES]
    assert (parsed.output, parsed.size, parsed.scales) == ("a.png", 48, (16, 32))
    assert (parsed.steps, parsed.quiet) == ((3, 4), True)


@pytest.mark.parametrize("scales", [["--scales=16", "32", "64"], ["--scales=16,32", "64"], ["--scales", "16", "32,64"]])
def test_several_numbers_may_follow_an_equals_sign(scales):
    parsed = parse(["a.png", *scales, "b.png", "-o", "c.png"])
    assert (parsed.scales, parsed.style) == ((16, 32, 64), ["b.png"])


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["--scales", "16,", "32"], "scales", (16, 32)),
        (["--style-layers", "relu1_1", "relu2_1"], "style_layers", ("relu1_1", "relu2_1")),
        (["--style-layers", "relu1_1, relu2_1"], "style_layers", ("relu1_1", "relu2_1")),
        (["--content-layers=relu1_1,", "relu2_1"], "content_layers", ("relu1_1", "relu2_1")),
        (["--layer-weights", "relu1_1=2", "relu2_1=.5"], "layer_weights", {"relu1_1": 2.0, "relu2_1": 0.5}),
        (["--layer-weights", "relu1_1=2, relu2_1=.5"], "layer_weights", {"relu1_1": 2.0, "relu2_1": 0.5}),
        (["--seed", "-1e3"], "seed", -1000),
    ],
)
def test_values_are_read_as_people_write_them(words, name, expected):
    parsed = parse([*words, *PAIR])
    assert (getattr(parsed, name), parsed.content, parsed.style) == (expected, "a.png", ["b.png"])


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"nst_helpers {__version__}\n"


def test_names_after_two_hyphens_may_begin_with_one():
    for before in (["-o", "c.png"], ["-o", "c.png", "a.png"]):
        parsed = parse([*before, "--", "-b.png", "--d.png"])
        assert [parsed.content, *parsed.style] == [*before[2:], "./-b.png", "./--d.png"]


@given(st.sets(st.integers(1, 10**6), min_size=2, max_size=5).map(sorted), st.booleans())
def test_scales_are_read_with_spaces_or_commas(scales, commas):
    given_ = [",".join(map(str, scales))] if commas else list(map(str, scales))
    assert parse(["--scales", *given_, "temple", "wave", "-o", "a.png"]).scales == tuple(scales)


def test_every_option_of_a_run_is_on_the_command_line_with_its_default():
    parsed = parse(PAIR)
    for option in options().values():
        assert getattr(parsed, option.name) == (256 if option.name == "size" else option.default)
    assert Settings(**run_options(parsed)) == Settings()
    assert run_options(parse([*PAIR, "--size", "fit"]))["size"] == "fit"


def test_values_that_are_several_are_read():
    words = ["--layer-weights", "relu1_1=2,relu2_1=0.5", "--style-mix", "1,3", "--style-layers", "relu1_1,relu2_1"]
    parsed = parse([*PAIR, *words, "--steps", "1e2"])
    assert parsed.layer_weights == {"relu1_1": 2.0, "relu2_1": 0.5}
    assert (parsed.style_mix, parsed.style_layers, parsed.steps) == ((1.0, 3.0), ("relu1_1", "relu2_1"), 100)


def test_every_option_has_help():
    for action in build_parser()._actions:
        assert action.help, action.dest


def test_help_takes_half_a_second_at_most():
    """Neither help nor a sentence about an option needs torch: the best of five, in processor seconds."""
    resource = pytest.importorskip("resource")

    def run(*words: str) -> tuple[float, int, str]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "nst_helpers", *words], cwd=ROOT, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return used, done.returncode, done.stdout

    most = 0.5 * slow()
    for words, code in ((["--help"], 0), (["--steps", "no"], 2)):
        runs = [run(*words)]
        while min(used for used, *_ in runs) >= most and len(runs) < 5:
            runs.append(run(*words))
        assert {returned for _, returned, _ in runs} == {code}
        assert min(used for used, *_ in runs) < most
        assert code or "--style-weight" in runs[0][2]
