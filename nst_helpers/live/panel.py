"""The live panel: turn the weights of a session while its picture is being painted.

The loop's clock is in the page: a Play widget sends a number, its handler paints for a fraction of a second, and
answers with the new picture. So every answer belongs to a message from the page (Google Colab drops all others), a
slider's message comes between two of the clock's, and nothing runs on when the page is closed. There is no thread, no
Output widget and no pyplot. A page out of sight slows its clocks down, and the painting with them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..engine.evaluation import Evaluation
from ..errors import NSTError
from ..images import load_image, resize
from ..samples import list_samples
from .recipes import save_recipe
from .session import StyleSession
from .sources import named_image
from .state import Snapshot
from .thumbnails import data_uri, png
from .view import PanelView
from .widgets import playing_trait, uploaded
from .words import capital, sentence, summary

__all__ = ["Panel", "panel"]

CHUNK = 0.2  # seconds of painting for each message of the clock
CHART_EVERY = 0.6  # seconds between two drawings of the chart
LARGEST = 768  # short side of an uploaded picture; the largest size on offer is 512

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
    shown = Panel(session, target=target, folder=folder, chunk=chunk)
    _open.append(shown)
    return shown


def _reports_errors(handler: Callable[..., None]) -> Callable[..., None]:
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


class Panel(PanelView):
    """The widgets of a session and what they do; made by `panel`."""

    def __init__(self, session: StyleSession, *, target: Mapping[str, float] | None, folder: str | Path, chunk: float):
        super().__init__(session, target=target)
        self.folder, self.chunk = Path(folder), chunk
        self.closed, self._under = False, False
        self._busy = threading.Lock()
        self._connect()
        self.say("Press play: the picture paints itself, and every knob works while it runs.")

    def _connect(self) -> None:
        parts = self.parts
        parts.clock.observe(self._tick, "value")
        parts.echo.observe(self._echoed, "value")
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

    @_reports_errors
    def _paint(self) -> None:
        evaluations = self.session.step(seconds=self.chunk)
        self.pace.done(len(evaluations))
        self.show(chart=time.monotonic() - self._charted > CHART_EVERY)
        self._comment(evaluations)

    def _echoed(self, change: Mapping[str, Any]) -> None:
        """Measure a little for the estimate, once the panel is shown, and have the page ask for more.

        So a knob is heard between two pieces of the measurement, and the answers belong to messages of the page. While
        it paints, the painting comes first: its own pace tells the time.
        """
        echo = self.parts.echo
        if self.closed or self.running or self.estimate or change["new"] != echo.step:
            return
        # An estimate that can't be had is no matter for the person: the line is left out.
        with contextlib.suppress(Exception, KeyboardInterrupt), self._busy:
            if self.look_ahead(self.chunk / 2):
                self.entitle()
            else:
                echo.step += 1

    @_reports_errors
    def _step(self, _: Any) -> None:
        with self._busy:
            evaluations = self.session.step(1)
        self.show()
        self.say(f"One step: {summary(self.session.losses)}.")
        self._comment(evaluations)

    def _comment(self, evaluations: list[Evaluation]) -> None:
        """Say what a person should know of some evaluations: a blown-up loss, a target reached."""
        if self.session.stuck:
            self.pause()
            self.say("The loss has exploded too often: change a weight or the step size, then press play.", "bad")
        elif events := [e.event for e in evaluations if "back to the best image" in e.event]:
            self.say(f"Guarded: {events[-1]}.", "bad")
        before, self._under = self._under, self.reached()
        if self._under and not before:
            losses = self.session.losses
            words = summary(losses, step=False)
            self.say(f"Target reached at step {losses['step']}: {words}. Take a snapshot.", "good")

    @_reports_errors
    def _started_or_paused(self, _: Any) -> None:
        self.pace.rest()
        self.show()
        if not (self.running or self.estimate):
            self.parts.echo.step += 1
        if self.status.startswith(("Press play", "Paused", "Painting", "Interrupted")):
            self.say("Painting: turn any knob." if self.running else f"Paused: {summary(self.session.losses)}.")

    @_reports_errors
    def _turned(self, name: str, change: Mapping[str, Any]) -> None:
        if self._comes_from_pull():
            return
        if name == "encoder":
            self.say(f"Loading the encoder {change['new']} …")
        self._set(**{name: change["new"]})

    @_reports_errors
    def _layer_turned(self, name: str, change: Mapping[str, Any]) -> None:
        if not self._comes_from_pull():
            self._set(layer_weights={name: change["new"]})

    @_reports_errors
    def _chosen(self, role: str, change: Mapping[str, Any]) -> None:
        if not self._comes_from_pull():
            self._set(**{role: self._own_pictures.get(change["new"], change["new"])})

    @_reports_errors
    def _uploaded(self, role: str, _: Any) -> None:
        for name, data in uploaded(self.parts.uploads[role]):
            try:
                image = load_image(data)
            except NSTError as error:
                raise type(error)(str(error).replace("the data given as bytes", f"'{name}'")) from error
            if min(image.shape[-2:]) > LARGEST:
                image = resize(image, LARGEST)
            stem = Path(name).stem
            self._set(**{role: named_image(image, f"{stem} (yours)" if stem in list_samples() else stem)})

    def _set(self, **changes: Any) -> None:
        words = self.session.set(**changes)
        if not words:
            return
        if set(changes) - {"content_weight", "style_weight", "tv_weight", "layer_weights", "lr"}:
            self.pull()
            self.show()
        self.say(f"{capital(words)}.")

    def _compared(self, change: Mapping[str, Any]) -> None:
        (self.parts.stage.add_class if change["new"] else self.parts.stage.remove_class)("nst-compare")

    @_reports_errors
    def _reset(self, _: Any) -> None:
        words = self.session.reset(self.parts.init.value)
        self.pace.rest()
        self.show()
        self.say(f"{capital(words)}, with the settings as they are.")

    @_reports_errors
    def _snapshot(self, _: Any) -> None:
        snapshot = self.session.snapshot()
        self._fill_strip()
        self.say(f"Snapshot {snapshot.number} kept at step {snapshot.step}: {summary(snapshot.losses, step=False)}.")

    @_reports_errors
    def _undo(self, _: Any) -> None:
        if not self.session.snapshots:
            self.say("There is no snapshot yet to go back to: Snapshot keeps one.")
            return
        self._go_back(self.session.snapshots[-1])

    @_reports_errors
    def _back(self, slot: int, _: Any) -> None:
        self._go_back(self._shown_snapshots()[slot])

    def _go_back(self, snapshot: Snapshot) -> None:
        words = self.session.restore(snapshot)
        self.pace.rest()
        self.pull()
        self.show()
        self.say(f"{capital(words)}.")

    @_reports_errors
    def _save_picture(self, _: Any) -> None:
        data, name = png(self.session.image), self._free_name(".png")
        (self.folder / name).write_bytes(data)
        self._saved(name, data_uri(data, "image/png"))

    @_reports_errors
    def _save_recipe(self, _: Any) -> None:
        recipe, name = self.session.recipe(), self._free_name(".json")
        save_recipe(recipe, self.folder / name)
        self._saved(name, data_uri(json.dumps(recipe, indent=1).encode(), "application/json"))

    def _saved(self, name: str, address: str) -> None:
        self.say(f"Saved as {name}.", "good")
        self.parts.status.value = sentence(self.status, "good", link=(name, address))

    def _free_name(self, suffix: str) -> str:
        stem = "_".join("".join(c if c.isalnum() or c in "-_" else "_" for c in n) for n in self.names)
        stem = f"{stem}_{len(self.session.history):04d}"
        names = (f"{stem}{'' if i == 1 else f'-{i}'}{suffix}" for i in range(1, 10_000))
        return next(name for name in names if not (self.folder / name).exists())

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
