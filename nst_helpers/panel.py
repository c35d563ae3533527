"""The live panel: turn the weights of a session while its picture is being painted.

The loop's clock is in the page: a Play widget sends a number, its handler paints for a fraction of a second, and
answers with the new picture. So every answer belongs to a message from the page (Google Colab drops all others), a
slider's message comes between two of the clock's, and nothing runs on when the page is closed. There is no thread, no
Output widget and no pyplot. A page out of sight slows its clocks down, and the painting with them.
"""

from __future__ import annotations

import functools
import html
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import NSTError
from .images import load_image, resize
from .knobs import Picture, Snapshot, as_picture
from .panel_chart import COLOURS, draw_chart
from .panel_layout import CARDS, Parts, playing_trait, uploaded
from .panel_pictures import card, data_uri, jpeg, png, sheet, thumbnail
from .recipes import save_recipe
from .session import StyleSession

__all__ = ["Panel", "panel"]

CHUNK = 0.2  # seconds of painting for each message of the clock
CHART_EVERY = 0.6  # seconds between two drawings of the chart
LARGEST = 768  # short side of an uploaded picture; the largest size on offer is 512
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_open: list[Panel] = []


def panel(
    session: StyleSession, *, target: Mapping[str, float] | None = None, folder: str | Path = ".", chunk: float = CHUNK
) -> Panel:
    """Show the live panel of a session; the panel shown before it, if any, stops.

    `target` sets limits for the "content" and "style" distance: the panel says when the picture is under them.
    Pictures and recipes are saved to `folder`. `chunk` is for how many seconds to paint between two looks at the
    sliders. Without a page to show it in, or in a stored notebook, the panel is a still picture with a line of text.

    Raises ValueError for a target that is none.

    >>> shown = panel(StyleSession("temple", "wave", size=32), target={"content": 0.5, "style": 0.1})
    >>> shown.close()
    """
    while _open:
        _open[-1].close()
    made = Panel(session, target=target, folder=folder, chunk=chunk)
    _open.append(made)
    return made


def told(handler: Callable[..., None]) -> Callable[..., None]:
    """A handler whose errors become the panel's status sentence: in the log nobody would find them."""

    @functools.wraps(handler)
    def safe(self: Panel, *args: Any) -> None:
        if self.closed:
            return
        try:
            handler(self, *args)
        except KeyboardInterrupt:
            self.pause()
            self.say("Interrupted, and nothing is lost: press play to go on.")
        except (NSTError, ValueError) as error:
            self.pull()
            self.say(str(error), "bad")
        except Exception as error:
            self.pause()
            self.say(f"Stopped by a fault in the program: {type(error).__name__}: {error}", "bad")

    return safe


class Panel:
    """The widgets of a session and what they do; made by `panel`."""

    def __init__(
        self, session: StyleSession, *, target: Mapping[str, float] | None, folder: str | Path, chunk: float
    ) -> None:
        self.session, self.folder, self.chunk = session, Path(folder), chunk
        self.target = {name: float(limit) for name, limit in (target or {}).items()}
        if not set(self.target) <= {"content", "style"} or any(limit <= 0 for limit in self.target.values()):
            raise ValueError(f"The target {target!r} came: give limits above 0 for 'content' and 'style'.")
        self.closed, self.reached_at, self.status = False, None, ""
        self._busy, self._pulling = threading.Lock(), threading.RLock()
        self._quiet, self._charted = False, 0.0
        self._made: deque[tuple[float, int]] = deque(maxlen=64)
        self.parts = Parts(session.knobs, self.names)
        self._mine: dict[str, Picture] = {}
        self._connect()
        self.pull()
        self.show()
        self.say("Press play: the picture paints itself, and every knob works while it runs.")

    # What the page shows

    @property
    def names(self) -> tuple[str, str]:
        """What the content and the style picture are called."""
        content, style = self.session.pictures
        return content.name, style.name

    @property
    def running(self) -> bool:
        """Whether the clock runs."""
        return bool(getattr(self.parts.clock, playing_trait(self.parts.clock)))

    def reached(self, losses: Mapping[str, Any] | None = None) -> bool:
        """Whether losses, or the picture's, are under every limit of the target."""
        losses = self.session.losses if losses is None else losses
        return bool(self.target and losses) and all(losses[name] < limit for name, limit in self.target.items())

    def say(self, words: str, kind: str = "") -> None:
        """Put a sentence into the status line: plain, "good" or "bad"."""
        self.status = words
        mark = {"good": "✓ ", "bad": "! "}.get(kind, "")
        self._tell(f'<p role="status" aria-live="polite" class="nst-{kind}">{mark}{html.escape(words)}</p>')

    def _tell(self, text: str) -> None:
        self.parts.status.value = text

    def show(self, *, chart: bool = True) -> None:
        """Bring the picture, the numbers and, if asked for, the chart up to date."""
        parts, session = self.parts, self.session
        parts.picture.value = jpeg(session.image)
        parts.readout.value = self._numbers()
        if chart:
            parts.chart.value = draw_chart(session.history, self.target)
            parts.head.value = self._heading()
            self._charted = time.monotonic()

    def _heading(self) -> str:
        content, style = (html.escape(name) for name in self.names)
        on = self.running
        badge = f'<span class="nst-badge {"nst-on" if on else ""}">{"painting" if on else "paused"}</span>'
        height, width = self.session.content.shape[-2:]
        about = f"{width} × {height} px · {html.escape(self.session.knobs.encoder)}"
        return f'<div class="nst-title"><h3>{content} × {style}</h3><span class="nst-sub">{about}</span>{badge}</div>'

    def _numbers(self) -> str:
        losses, rate = self.session.losses, self.rate()
        cells = [("step", "", str(losses.get("step", 0)), "")]
        for name, text in (("content", "content distance"), ("style", "style distance"), ("tv", "variation")):
            value = losses.get(name)
            aim = ""
            if name in self.target:
                met = value is not None and value < self.target[name]
                word = "✓ under" if met else "aim: under"
                aim = f'<small class="{"nst-met" if met else ""}">{word} {self.target[name]:.3g}</small>'
            colour = f'<i style="background:{COLOURS[name]}"></i>'
            cells.append((text, colour, "–" if value is None else _digits(value), aim))
        cells.append(("steps a second", "", f"{rate:.0f}" if rate else "–", ""))
        return "<dl>" + "".join(f"<div><dt>{c}{t}</dt><dd>{v}{a}</dd></div>" for t, c, v, a in cells) + "</dl>"

    def rate(self) -> float:
        """Evaluations a second over the last two seconds of running; 0 when paused."""
        recent = [(t, n) for t, n in self._made if t > time.monotonic() - 2.5]
        if len(recent) < 2:
            return 0.0
        return sum(n for _, n in recent[1:]) / max(recent[-1][0] - recent[0][0], 1e-6)

    def pull(self) -> None:
        """Set every control to what the session holds, without setting the session."""
        parts, knobs = self.parts, self.session.knobs
        with self._silent():
            for name, slider in (*parts.weights.items(), ("lr", parts.lr)):
                _put(slider, getattr(knobs, name))
            for name, slider in parts.layers.items():
                _put(slider, knobs.layer_weights[name])
            for name in ("optimizer", "encoder", "size"):
                _put(getattr(parts, name), getattr(knobs, name))
            for role, picture in zip(("content", "style"), self.session.pictures, strict=True):
                self._mine[picture.name] = picture
                _put(parts.choices[role], picture.name)
                parts.thumbs[role].value = thumbnail(picture.image, f"{role} picture: {picture.name}")
        parts.photo.value = jpeg(self.session.content)

    # What the controls do

    def _connect(self) -> None:
        parts = self.parts
        parts.clock.observe(self._tick, "value")
        parts.clock.observe(self._started_or_paused, playing_trait(parts.clock))
        for name, control in (
            *parts.weights.items(),
            *((n, getattr(parts, n)) for n in ("optimizer", "lr", "encoder", "size")),
        ):
            control.observe(functools.partial(self._turned, name), "value")
        for name, fader in parts.layers.items():
            fader.observe(functools.partial(self._layer_turned, name), "value")
        for role in ("content", "style"):
            parts.choices[role].observe(functools.partial(self._chosen, role), "value")
            parts.uploads[role].observe(functools.partial(self._uploaded, role), "value")
        parts.compare.observe(self._compared, "value")
        for name in ("step", "reset", "snapshot", "undo", "save_picture", "save_recipe"):
            getattr(parts, name).on_click(getattr(self, f"_{name}"))
        for i, button in enumerate(parts.backs):
            button.on_click(functools.partial(self._back, i))

    def _tick(self, change: Mapping[str, Any]) -> None:
        # The stop button of ipywidgets 7 sends the smallest value. A message that overlaps another's work is dropped.
        if change["new"] == self.parts.clock.min or not self._busy.acquire(blocking=False):
            return
        try:
            self._paint()
        finally:
            self._busy.release()

    @told
    def _paint(self) -> None:
        made = self.session.step(seconds=self.chunk)
        self._made.append((time.monotonic(), len(made)))
        self.show(chart=time.monotonic() - self._charted > CHART_EVERY)
        self._comment(made)

    @told
    def _step(self, _: Any) -> None:
        with self._busy:
            made = self.session.step(1)
        self.show()
        self.say(f"One step: {self._summary()}.")
        self._comment(made)

    def _comment(self, made: list[Any]) -> None:
        """Say what a person should know of some evaluations: a blown-up loss, a target reached."""
        if self.session.stuck:
            self.pause()
            self.say("The loss has exploded too often: change a weight or the rate, then press play.", "bad")
        elif events := [e.event for e in made if "back to the best image" in e.event]:
            self.say(f"Guarded: {events[-1]}.", "bad")
        if self.reached() and self.reached_at is None:
            self.reached_at = self.session.losses["step"]
            self.say(f"Target reached at step {self.reached_at}: {self._summary()}. Take a snapshot.", "good")

    @told
    def _started_or_paused(self, _: Any) -> None:
        self._made.clear()
        self.show()
        if self.status.startswith(("Press play", "Paused", "Painting", "Interrupted")):
            self.say("Painting: turn any knob." if self.running else f"Paused: {self._summary()}.")

    @told
    def _turned(self, name: str, change: Mapping[str, Any]) -> None:
        if not self._is_quiet():
            self._set(**{name: change["new"]})

    @told
    def _layer_turned(self, name: str, change: Mapping[str, Any]) -> None:
        if not self._is_quiet():
            self._set(layer_weights={name: change["new"]})

    @told
    def _chosen(self, role: str, change: Mapping[str, Any]) -> None:
        if not self._is_quiet():
            self._set(**{role: self._mine.get(change["new"], change["new"])})

    @told
    def _uploaded(self, role: str, _: Any) -> None:
        for name, data in uploaded(self.parts.uploads[role]):
            try:
                image = load_image(data)
            except NSTError as error:
                raise type(error)(str(error).replace("the data given as bytes", f"'{name}'")) from error
            if min(image.shape[-2:]) > LARGEST:
                image = resize(image, LARGEST)
            self._set(**{role: as_picture(image, Path(name).stem)})

    def _set(self, **changes: Any) -> None:
        words = self.session.set(**changes)
        if not words:
            return
        if set(changes) - {"content_weight", "style_weight", "tv_weight", "layer_weights", "lr"}:
            self.pull()
            self.show()
        self.reached_at = None
        self.say(f"{words[0].upper()}{words[1:]}.")

    def _compared(self, change: Mapping[str, Any]) -> None:
        (self.parts.stage.add_class if change["new"] else self.parts.stage.remove_class)("nst-compare")

    @told
    def _reset(self, _: Any) -> None:
        words = self.session.reset(self.parts.init.value)
        self.reached_at = None
        self._made.clear()
        self.show()
        self.say(f"{words.capitalize()}, with the settings as they are.")

    @told
    def _snapshot(self, _: Any) -> None:
        kept = self.session.snapshot()
        self._fill_strip()
        self.say(f"Snapshot {kept.number} kept at step {kept.step}: {self._summary()}.")

    @told
    def _undo(self, _: Any) -> None:
        if not self.session.snapshots:
            self.say("There is no snapshot yet to go back to: Snapshot keeps one.")
            return
        self._go_back(self.session.snapshots[-1])

    @told
    def _back(self, slot: int, _: Any) -> None:
        self._go_back(self._shown()[slot])

    def _go_back(self, snapshot: Snapshot) -> None:
        words = self.session.restore(snapshot)
        self.reached_at = None
        self._made.clear()
        self.pull()
        self.show()
        self.say(f"{words[0].upper()}{words[1:]}.")

    @told
    def _save_picture(self, _: Any) -> None:
        data, name = png(self.session.image), self._free_name(".png")
        (self.folder / name).write_bytes(data)
        self._saved(name, data_uri(data, "image/png"))

    @told
    def _save_recipe(self, _: Any) -> None:
        recipe, name = self.session.recipe(), self._free_name(".json")
        save_recipe(recipe, self.folder / name)
        self._saved(name, data_uri(json.dumps(recipe, indent=1).encode(), "application/json"))

    def _saved(self, name: str, address: str) -> None:
        self.say(f"Saved as {name}.", "good")
        link = f'<a download="{html.escape(name, quote=True)}" href="{address}">download</a></p>'
        self._tell(self.parts.status.value.replace("</p>", link))

    def _free_name(self, suffix: str) -> str:
        stem = "_".join("".join(c if c.isalnum() or c in "-_" else "_" for c in n) for n in self.names)
        stem = f"{stem}_{len(self.session.history):04d}"
        names = (f"{stem}{'' if i == 1 else f'-{i}'}{suffix}" for i in range(1, 10_000))
        return next(name for name in names if not (self.folder / name).exists())

    # Small things

    def pause(self) -> None:
        """Stop the clock."""
        if self.running:
            setattr(self.parts.clock, playing_trait(self.parts.clock), False)

    def close(self) -> None:
        """Stop, and close every widget, here and in the page; the session stays as it is."""
        if self.closed:
            return
        self.pause()
        self.closed = True
        if self in _open:
            _open.remove(self)
        with self._busy:
            self.parts.close()

    def _summary(self) -> str:
        losses = self.session.losses
        if not losses:
            return "no step yet"
        return f"step {losses['step']}, content distance {_digits(losses['content'])}, style distance {_digits(losses['style'])}"

    def _shown(self) -> list[Snapshot]:
        return self.session.snapshots[-CARDS:]

    def _fill_strip(self) -> None:
        parts, shown = self.parts, self._shown()
        parts.empty.layout.display = "none" if shown else ""
        for i, slot in enumerate(parts.slots):
            slot.layout.display = "" if i < len(shown) else "none"
            if i < len(shown):
                s = shown[i]
                parts.cards[i].value = card(s.image, s.number, s.step, s.knobs, s.losses, self.reached(s.losses))
                parts.backs[i].tooltip = f"Go back to snapshot {s.number}"

    @contextmanager
    def _silent(self):
        with self._pulling:
            self._quiet = True
            try:
                yield
            finally:
                self._quiet = False

    def _is_quiet(self) -> bool:
        # In another thread this waits until the controls are set, so that a person's own move is never taken for one.
        with self._pulling:
            return self._quiet

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widgets for a page with a kernel; for every other, a still picture and a line of text."""
        content, style = self.names
        bundle: dict[str, Any] = {"text/plain": f"Live panel: {content} in the manner of {style}, {self._summary()}."}
        if "google.colab" not in sys.modules:  # which would show the picture beside the panel
            bundle["image/jpeg"] = sheet(self.session.content, self.session.style, self.session.image)
        if model := self.parts.box.model_id:
            bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": model}
        return bundle


def _put(control: Any, value: Any) -> None:
    """Set a control to a value, the nearest that it has where it has not this one."""
    if hasattr(control, "options"):
        values = [o[1] if isinstance(o, tuple) else o for o in control.options]
        if value not in values:
            if not isinstance(value, float):
                control.options = (*control.options, value)
            else:
                value = min(values, key=lambda v: abs(v - value))
    if control.value != value:
        control.value = value


def _digits(value: float) -> str:
    """Three digits that count, without an exponent down to a thousandth.

    >>> _digits(0.43219), _digits(0.00432), _digits(12.345)
    ('0.432', '0.0043', '12.3')
    """
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"


class _Callable(ModuleType):
    def __call__(self, session: StyleSession, **options: Any) -> Panel:
        return panel(session, **options)


# `nst.panel(session)` works whether the function was looked up or this module imported first.
sys.modules[__name__].__class__ = _Callable
