"""The view of a session: its picture, numbers and settings on the widgets. What the widgets do is in panel.py."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..budget.estimate import Estimate, calibrating, estimate
from ..budget.progress import Pace
from ..samples import list_samples
from .chart import draw_chart
from .controls import playing_trait, put_choice
from .session import StyleSession
from .sources import NamedImage
from .state import LiveSettings
from .still import StillPicture
from .thumbnails import jpeg, thumbnail
from .widgets import PanelWidgets
from .words import STEPS_AHEAD, ahead, card, heading, numbers, sentence, summary

__all__ = ["PanelView"]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
STILL_EVERY = 10.0  # seconds between two updates of the stored picture while it paints


class PanelView:
    """The widgets of a session, showing it. `status` is the last sentence said."""

    loading = ""  # the name of an encoder that has been chosen and is under way

    def __init__(self, session: StyleSession, *, target: Mapping[str, float] | None) -> None:
        self.session, self.status = session, ""
        self.target = {name: float(limit) for name, limit in (target or {}).items()}
        if not set(self.target) <= {"content", "style"} or any(limit <= 0 for limit in self.target.values()):
            raise ValueError(f"The target {target!r} came: give limits above 0 for 'content' and 'style'.")
        self._pulling, self._is_pulling = threading.RLock(), False
        self._shown_settings: LiveSettings | None = None
        self._charted, self._stored, self.pace = 0.0, 0.0, Pace()
        self.estimate: Estimate | None = None
        self._costs: tuple[Any, ...] = ()
        self._calibration: Iterator[None] | None = None
        self._own_pictures: dict[tuple[str, str], NamedImage] = {}  # by role and name
        self._still = StillPicture()
        self.parts = PanelWidgets(session.settings, self.names)
        self.pull()
        self.show()
        self.fill_gallery()

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
        """Say a sentence: in the status line, plain or "good"; or "bad", where it stays until it is dismissed."""
        self.status = words
        if kind == "bad":
            self.parts.alert_text.value = sentence(words, kind)
            self.parts.alert.layout.display = ""
        else:
            self.parts.status.value = sentence(words, kind)

    def show(self, *, chart: bool = True) -> None:
        """Bring the picture, the numbers and, if asked for, the chart up to date."""
        parts, session = self.parts, self.session
        if session.settings is not self._shown_settings:  # changed from code, or by another panel
            self.pull()
        if len(session.snapshots) > len(parts.cards):  # kept from code, or by another panel
            self.fill_gallery()
        parts.picture.value = jpeg(session.image)
        parts.readout.value = numbers(session.losses, self.target, self.pace.rate())
        if chart:
            parts.chart.value = draw_chart(session.history, self.target)
            self.entitle()
            self._charted = time.monotonic()
        if not self.running or time.monotonic() - self._stored > STILL_EVERY:
            self.store_still()

    def entitle(self) -> None:
        """Bring the heading up to date: the pictures, and what painting takes, as measured or else as estimated."""
        known, step = self.estimate, len(self.session.history)
        each = self.pace.each or (known.seconds_per_evaluation if known else None)
        words = ahead(step, each, known.run_bytes if known else None, running=self.running)
        self.parts.head.value = heading(self.session, running=self.running, outlook=words)

    def look_ahead(self, seconds: float) -> bool:
        """Measure for so many seconds, and one piece at least, what the estimate needs; returns whether it is known."""
        costs, settings = self._costs, self.session.run_settings(steps=STEPS_AHEAD)
        if self._calibration is None:
            self._calibration = calibrating(settings)
        start = time.perf_counter()
        for _ in self._calibration:
            if time.perf_counter() - start > seconds:
                return False
        found = estimate(*self.session.run_pictures(), settings)
        self.estimate = found if costs == self._costs else None  # another thread may have turned a knob meanwhile
        return True

    def pull(self) -> None:
        """Set every control to what the session holds, without setting the session."""
        parts, settings = self.parts, self.session.settings
        self._shown_settings = settings
        for name, control in (*parts.weights.items(), ("lr", parts.lr)):
            control.put(getattr(settings, name))
        for name, control in parts.layers.items():
            control.put(settings.layer_weights[name])
        with self.silent():
            for name in ("optimizer", "encoder", "size"):
                if not (name == "encoder" and self.loading):
                    value = getattr(settings, name)
                    put_choice(getattr(parts, name), value, f"{value} px" if name == "size" else "")
            for role, picture in zip(("content", "style"), self.session.pictures, strict=True):
                if picture.name not in list_samples():
                    self._own_pictures[role, picture.name] = picture
                put_choice(parts.choices[role], picture.name)
                parts.thumbs[role].value = thumbnail(picture.image, f"{role} picture: {picture.name}")
        parts.photo.value = jpeg(self.session.content)
        self.pull_control()
        pictures = (picture.sha256 for picture in (self.session.pictures[0], *self.session.styles))
        masked = [mask is not None for mask in self.session.control.masks or ()]
        costs = (settings.size, settings.encoder, settings.optimizer, *masked, *pictures)
        if costs != self._costs:
            self._costs, self.estimate, self._calibration = costs, None, None
            self.pace.forget()
            self.ask_for_an_echo()

    def pull_control(self) -> None:
        """Set the controls of colours, the second style and regions; the panel fills this in."""

    def ask_for_an_echo(self) -> None:
        """Have the page send a message, so that what comes next belongs to one."""
        self.parts.echo.step += 1

    def fill_gallery(self) -> None:
        """Bring the cards of the snapshots up to date, with new ones where they are needed."""
        parts, snapshots = self.parts, self.session.snapshots
        parts.gallery.layout.display = "" if snapshots else "none"
        for i, snapshot in enumerate(snapshots):
            if i == len(parts.cards):
                _, button = parts.add_card()
                button.tooltip = f"Go back to snapshot {snapshot.number}"
                self.connect_card(i, button)
            parts.cards[i].value = card(snapshot, reached=self.reached(snapshot.losses))

    def connect_card(self, place: int, button: Any) -> None:
        """What a card's button does; the panel fills this in."""

    def describe(self) -> str:
        """The panel in a line of text."""
        content, style = self.names
        return f"Live panel: {content} in the manner of {style}, {summary(self.session.losses)}."

    def store_still(self) -> None:
        """Bring the picture that is stored with the notebook up to date."""
        self._stored = time.monotonic()
        self._still.update(self.describe(), *self._still_images())

    def _still_images(self) -> list[Any]:
        painted = [self.session.image] if self.session.history else []
        return [self.session.content, self.session.style, *painted]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within it, what sets a control is the panel and no person; see `comes_from_pull`."""
        with self._pulling:
            self._is_pulling = True
            try:
                yield
            finally:
                self._is_pulling = False

    def comes_from_pull(self) -> bool:
        """Whether a control was set by the panel, within `silent`, and not by a person."""
        # In another thread this waits until the controls are set: a person's move is never taken for the panel's.
        with self._pulling:
            return self._is_pulling

    def _ipython_display_(self) -> None:
        """The widgets for a page with a kernel, and below them a still picture for every other."""
        from IPython import display

        bundle: dict[str, Any] = {"text/plain": self.describe()}
        if model := self.parts.box.model_id:
            bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": model}
        display.display(bundle, raw=True)
        if "google.colab" not in sys.modules:  # where updates of an output can't be relied on
            self._still.show(self.describe(), *self._still_images())
