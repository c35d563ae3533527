"""The options: made from those of `Settings`, with their rules, without PyTorch; every wrong one gets one sentence."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..engine.settings import Option, Settings, options
from ..engine.values import check_value, count

__all__ = ["build_parser", "parse", "run_options"]

EXAMPLE = "python -m nst_helpers photo.jpg painting.jpg -o out.png"
EPILOG = (
    "CONTENT and STYLE are picture files, or names of the pictures that come with the package: see --list-samples. "
    "Options may stand anywhere; several values are written with commas between them. Ctrl-C keeps the best picture so "
    "far, and --resume goes on from it. Exit codes: 0 done, 1 saved in another place than asked for, 2 something can't "
    "be used, 130 interrupted."
)
SIZE = 256
NUMBER_LISTS = ("counts", "scales", "weights")
FILES = ("masks", "map")  # kinds whose values are read from picture files
WORDS = ("encoder", "device", "choice", "choice or object", "layer weights")  # kinds that stay text
LISTED = dict.fromkeys(NUMBER_LISTS, r"[\d.,]+") | {  # kinds with several values, and what each looks like
    "layers": r"((conv|relu|pool)\d+(_\d+)?,?)+",
    "layer weights": r"((conv|relu|pool)\d+(_\d+)?=[\d.]+,?)+",
}
NEGATIVE = r"-(inf|nan|\.?\d[\d.e+-]*)"
METAVARS = {
    "counts": "N[,N...]",
    "scales": "N[,N...]",
    "weights": "W[,W...]",
    "weight": "W",
    "rate": "RATE",
    "layers": "LAYER[,LAYER...]",
    "layer weights": "LAYER=W[,...]|fine|coarse",
    "factor": "FACTOR",
    "encoder": "NAME",
    "device": "DEVICE",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with 2."""
        if found := re.match(r"argument (?:-\w/)?(--[\w-]+): (.*)", message, re.S):
            name, rest = found.groups()
            message = rest if rest.startswith(name) else f"{name}: {rest}"
        self.exit(2, f"nst_helpers: {message.rstrip('.?')}{'?' if message.endswith('?') else '.'}\n")


def build_parser() -> Parser:
    """The parser of the command line; `parse` uses it so that options may stand anywhere."""
    parser = Parser(
        prog="python -m nst_helpers",
        description="Paint a photo in the manner of another picture (Gatys et al. 2016).",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("content", type=_file, metavar="CONTENT", nargs="?", help="the photo to paint")
    add("style", type=_file, metavar="STYLE", nargs="*", help="the picture whose style to take; several are mixed")
    add("-o", "--output", type=_file, metavar="OUT", help="where the result goes: .png, .jpg or .webp")
    for option in options().values():
        _add(parser, option)
    add("--pool", type=_pool, metavar="{max,avg}", help="how the encoder pools; its own way where it is left out")
    add("--keep-alpha", action="store_true", help="the photo's transparency stays: for OUT as .png or .webp")
    add("--save-every", type=_count, metavar="N", help="also save the picture and a checkpoint every N steps")
    add("--history", type=_file, metavar="FILE.json", help="write one record per closure evaluation")
    add("--resume", action="store_true", help="go on from OUT's checkpoint, if there is one")
    add("--list-samples", action="store_true", help="list the pictures that come with the package")
    add("--info", action="store_true", help="print versions, processor, devices and threads, for a bug report")
    add("--version", action="version", version=f"nst_helpers {__version__}", help="print the version")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _add(parser: Parser, option: Option) -> None:
    """Add one option of a run under its own name, with its rule, its default and its line of help."""
    name = _flag(option.name)
    if option.kind == "flag":
        action = argparse.BooleanOptionalAction if option.default else "store_true"  # --name and --no-name
        parser.add_argument(name, action=action, default=option.default, help=option.help)
        return
    if option.kind in FILES:
        name, action = name.removesuffix("s"), "append" if option.kind == "masks" else "store"
        parser.add_argument(name, type=_file, action=action, dest=option.name, metavar="FILE", help=option.help)
        return
    default = SIZE if option.name == "size" else option.default
    shown = ",".join(default) if isinstance(default, tuple) else f"{default:g}" if _is_number(default) else default
    ending = "" if default is None else f" (default: {shown})"
    metavar = f"{{{','.join(option.choices)}}}" if option.choices else METAVARS.get(option.kind, "N")
    metavar += "|FILE" if option.name == "init" else ""
    parser.add_argument(name, type=_reader(option), default=default, metavar=metavar, help=option.help + ending)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _reader(option: Option) -> Callable[[str], Any]:
    """What turns the words of an option into its value, by the rule that Python's callers are held to."""

    def read(text: str) -> Any:
        if option.name == "init" and text not in option.choices and (Path(text).suffix or os.path.lexists(text)):
            return Path(text)
        try:
            return option.check(_value(option.kind, text), _flag(option.name))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _value(kind: str, text: str) -> Any:
    """The words of an option as the value that a Python program would give; what can't be one stays text.

    >>> _value("counts", "150,60"), _value("weight", "1e2"), _value("layer weights", "relu1_1=2")
    ([150, 60], 100.0, {'relu1_1': 2})
    """
    if kind in NUMBER_LISTS and ("," in text or kind == "weights"):
        return [_number(word) for word in text.split(",")]
    if kind == "layers":
        return [word.strip() for word in text.split(",")]
    if kind == "layer weights" and "=" in text:
        pairs = (part.partition("=") for part in text.split(","))
        return {layer.strip(): _number(weight) for layer, _, weight in pairs}
    return text if kind in WORDS else _number(text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _file(text: str) -> str:
    if not text:  # as "$PHOTO" is where no such variable is set
        raise argparse.ArgumentTypeError("a file has no name: give one.")
    if text.startswith(("–", "—", "--")) and not os.path.lexists(text):  # pasted from a text, or quoted as one word
        raise argparse.ArgumentTypeError(
            f"there is no file {text!r}: an option is a word of its own, after two hyphens."
        )
    return text


def _pool(text: str) -> str:
    try:
        return str(check_value("choice", "--pool", text, ("max", "avg")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    try:
        return count("--save-every", _number(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, pictures and options in any order.

    Raises SystemExit, after one sentence, for what can't be used and for --help.
    """
    parser = build_parser()
    parsed, unknown = parser.parse_known_intermixed_args(_joined(list(arguments)))
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        name = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(name, known, n=1)
        parser.error(f"there is no option {name}: {f'did you mean {close[0]}?' if close else '--help lists all'}")
    if parsed.list_samples or parsed.info:
        return parsed
    if parsed.content is None or not parsed.style or parsed.output is None:
        parser.error(f"CONTENT, STYLE and -o OUT are needed: {EXAMPLE}")
    try:
        Settings(**run_options(parsed))
    except ValueError as error:  # options that don't go together
        parser.error(str(error))
    return parsed


def run_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """What is passed on to `stylize`: all but what is read from files, and the size, unless that is "fit".

    >>> run_options(parse(["temple", "wave", "-o", "a.png", "--steps", "5"]))["steps"]
    5
    """
    given = {option.name: getattr(parsed, option.name) for option in options().values() if option.kind not in FILES}
    return given | {"size": "fit" if parsed.size == "fit" else None}


def _joined(arguments: list[str]) -> list[str]:
    """The words with what follows a list's option as one, so that `--scales 64 128` doesn't swallow the pictures.

    A negative number joins its option: alone, it would be taken for an option. What follows `--` are names, though
    they begin with a hyphen.

    >>> _joined(["--scales", "64", "128", "temple", "--", "-wave.jpg"])
    ['--scales', '64,128', 'temple', './-wave.jpg']
    >>> _joined(["--style-layers", "relu1_1", "relu2_1", "temple", "--lr", "-1e-5"])
    ['--style-layers', 'relu1_1,relu2_1', 'temple', '--lr=-1e-5']
    """
    if "--" in arguments:
        at = arguments.index("--")
        names = [f"./{name}" if name.startswith("-") else name for name in arguments[at + 1 :]]
        return [*_joined(arguments[:at]), *names]
    lists = {_flag(option.name): LISTED[option.kind] for option in options().values() if option.kind in LISTED}
    words: list[str] = []
    pattern, begun = "", False  # what a value of the list looks like, and whether there has been one
    for word in arguments:
        if pattern and re.fullmatch(pattern, word):
            words = [*words[:-1], f"{words[-1].rstrip(',')},{word}"] if begun else [*words, word]
            begun = True
            continue
        name, given, value = word.partition("=")
        pattern, begun = lists.get(name, ""), bool(given)
        if begun and not re.fullmatch(pattern, value):
            pattern = ""
        if words and re.fullmatch(r"--[\w-]+", words[-1]) and re.fullmatch(NEGATIVE, word, re.I):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words
