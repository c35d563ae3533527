"""What the panel says, as HTML: heading, numbers, status sentence, the cards of the snapshots."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..budget.progress import amount_words, left_words, time_words
from .chart import colour
from .control import Control
from .session import StyleSession
from .sources import NamedImage
from .state import LiveSettings, Snapshot, plain_number
from .thumbnails import thumbnail

__all__ = [
    "STEPS_AHEAD",
    "ahead",
    "capital",
    "card",
    "control_words",
    "digits",
    "file_name",
    "heading",
    "in_the_panels_words",
    "numbers",
    "sentence",
    "summary",
]

STEPS_AHEAD = 200  # the panel has no last step: it tells the time for as many as `stylize` makes by default


KNOBS = {
    "content_weight": "content weight",
    "style_weight": "style weight",
    "tv_weight": "weight of the variation",
    "lr": "step size",
}


def digits(value: float) -> str:
    """Three digits that count, without an exponent.

    >>> digits(0.43219), digits(0.00432), digits(12.345), digits(0.0)
    ('0.432', '0.0043', '12.3', '0')
    """
    if value == 0:
        return "0"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"


def capital(words: str) -> str:
    """Words as the start of a sentence, a layer's name as it is.

    >>> capital("style weight 1 to 2"), capital("relu1_1 1 to 2")
    ('Style weight 1 to 2', 'relu1_1 1 to 2')
    """
    return words if words.startswith(("relu", "conv", "pool")) else words[:1].upper() + words[1:]


def in_the_panels_words(message: str) -> str:
    """An error about a setting, with the setting's name as it stands beside its slider.

    >>> in_the_panels_words("lr is -1.0, expected a number above 0, or None.")
    'The step size is -1, expected a number above 0.'
    """
    begins, rest = re.match(r"(\w*)(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
    if begins not in KNOBS:
        return message
    rest = re.sub(r"(?<= is )(-?\d+)\.0(?=,)", r"\1", rest).replace(", or None.", ".")
    return f"The {KNOBS[begins]}{rest}"


def file_name(*names: str) -> str:
    """Names as a part of a file's name: letters, digits, - and _, forty of each name at most.

    >>> file_name("my photo (2)", "x" * 300)[:16]
    'my_photo__2__xxx'
    """
    safe = ["".join(c if c.isalnum() or c in "-_" else "_" for c in name) for name in names]
    return "_".join(name.encode()[:40].decode(errors="ignore") for name in safe)


def summary(losses: Mapping[str, Any], *, step: bool = True) -> str:
    """Step and distances in words.

    >>> summary({"step": 3, "content": 0.5, "style": 0.02})
    'step 3, content distance 0.500, style distance 0.020'
    """
    if not losses:
        return "no step yet"
    words = f"content distance {digits(losses['content'])}, style distance {digits(losses['style'])}"
    return f"step {losses['step']}, {words}" if step else words


def ahead(step: int, each: float | None, memory: int | None, *, running: bool) -> str:
    """What the next 200 steps take, or while it runs how long it is to the next multiple of 200; "" if unknown.

    >>> ahead(0, 0.06, 340 * 2**20, running=False)
    '200 steps: about 12 s and 340 MB on this machine'
    >>> ahead(260, 0.06, None, running=True)
    'about 8 s left to step 400'
    """
    if each is None:
        return ""
    if running:
        left = STEPS_AHEAD - step % STEPS_AHEAD
        return f"{left_words(left * each)} to step {step + left}"
    if memory is None:
        return ""
    return f"{STEPS_AHEAD} steps: about {time_words(STEPS_AHEAD * each)} and {amount_words(memory)} on this machine"


def control_words(settings: LiveSettings, styles: Sequence[NamedImage], control: Control) -> str:
    """Whose colours, which mix, and whether regions decide; "" where nothing differs from a plain run."""
    words = [{"style": "", "content": "photo's colours", "luminance": "light only"}[settings.color]]
    names = [style.name for style in styles]
    if control.masks is not None:
        there = control.painting(names)
        words.append(f"in regions: {' and '.join(dict.fromkeys(there))}")
    elif len(names) == 2:
        mix = settings.style_mix or (1.0, 1.0)
        words.append(f"{100 * mix[1] / sum(mix):.0f} % {names[1]}")
    elif len(names) > 2:
        words.append(f"{len(names)} styles")
    return " · ".join(filter(None, words))


def heading(session: StyleSession, *, running: bool, outlook: str = "") -> str:
    """The names of the pictures, what paints them, whether it does, and what that takes."""
    content = html.escape(session.pictures[0].name)
    style = " + ".join(html.escape(picture.name) for picture in session.styles)
    height, width = session.content.shape[-2:]
    about = f"{width} × {height} px · {html.escape(session.settings.encoder)}"
    badge = f'<span class="nst-badge{" nst-on" if running else ""}">{"painting" if running else "paused"}</span>'
    names = f"<h3><span>{content}</span> × <span>{style}</span></h3><span class='nst-sub'>{about}</span>"
    now = f'<span class="nst-now"><span class="nst-ahead">{outlook}</span>{badge}</span>'
    return f'<div class="nst-title">{names}{now}</div>'


def numbers(losses: Mapping[str, Any], target: Mapping[str, float], rate: float) -> str:
    """The step and the losses as a row of numbers, each with its name, and its aim if there is one."""
    cells = [_number("step", str(losses.get("step", 0)))]
    for name, text in (("content", "content distance"), ("style", "style distance"), ("tv", "total variation")):
        value, aim = losses.get(name), ""
        if name in target:
            met = value is not None and value < target[name]
            words = f"{'✓' if met else 'aim: under'} {'under ' if met else ''}{target[name]:.3g}"
            aim = f'<span class="nst-aim{" nst-met" if met else ""}">{words}</span>'
        key = f'<i class="nst-key" style="background:{colour(name)}"></i>'
        cells.append(_number(key + text, "–" if value is None else digits(value), aim))
    cells.append(_number("steps a second", f"{rate:.1f}" if rate else "–"))
    return f'<div class="nst-numbers">{"".join(cells)}</div>'


def _number(what: str, value: str, aim: str = "") -> str:
    return f'<div><span class="nst-what">{what}</span><span class="nst-value">{value}</span>{aim}</div>'


def sentence(words: str, kind: str = "", *, link: tuple[str, str] | None = None) -> str:
    """The status line: plain, "good" or "bad", which a mark tells too; `link` is a file's name and address."""
    mark = {"good": "✓ ", "bad": "! "}.get(kind, "")
    after = f' <a download="{html.escape(link[0], quote=True)}" href="{link[1]}">download</a>' if link else ""
    return f'<p role="status" aria-live="polite" class="nst-{kind or "plain"}">{mark}{html.escape(words)}{after}</p>'


def card(snapshot: Snapshot, *, reached: bool) -> str:
    """A snapshot as a figure: the picture, its step, its weights, and its distances."""
    settings, losses = snapshot.settings, snapshot.losses
    text = f"snapshot {snapshot.number}: {summary(losses)}"
    weights = ":".join(map(plain_number, (settings.content_weight, settings.style_weight, settings.tv_weight)))
    star = '<b class="nst-star">★ target</b>' if reached else ""
    keys = [f'<i class="nst-key" style="background:{colour(n)}"></i>' for n in ("content", "style")]
    distances = f"{keys[0]}c {losses['content']:.2f} {keys[1]}s {losses['style']:.3f}" if losses else "no step yet"
    styles = [snapshot.pictures[1], *snapshot.control.others]
    lines = [f"<b>{snapshot.number}</b> · step {snapshot.step}", weights, distances]
    if words := html.escape(control_words(settings, styles, snapshot.control), quote=True):
        lines.append(f'<span title="{words}">{words}</span>')
    return f"<figure>{thumbnail(snapshot.image, text)}{star}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"
