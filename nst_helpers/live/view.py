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
from .session import StyleSession
from .sources import NamedImage
from .state import Snapshot
from .thumbnails import jpeg, sheet, thumbnail
from .widgets import GALLERY_SIZE, PanelWidgets, playing_trait
from .words import STEPS_AHEAD, ahead, card, heading, numbers, sentence, summary

__all__ = ["PanelView"]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class PanelView:
    """The widgets of a session, showing it. `status` is the last sentence said."""

    def __init__(self, session: StyleSession, *, target: Mapping[str, float] | None) -> None:
        self.session, self.status = session, ""
        self.target = {name: float(limit) for name, limit in (target or {}).items()}
        if not set(self.target) <= {"content", "style"} or any(limit <= 0 for limit in self.target.values()):
            raise ValueError(f"The target {target!r} came: give limits above 0 for 'content' and 'style'.")
        self._pulling, self._is_pulling = threading.RLock(), False
        self._charted, self.pace = 0.0, Pace()
        self.estimate: Estimate | None = None
        self._costs: tuple[Any, ...] = ()
        self._calibration: Iterator[None] | None = None
        self._own_pictures: dict[str, NamedImage] = {}
        self.parts = PanelWidgets(session.settings, self.names)
        self.pull()
        self.show()
        self._fill_strip()

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
        self.parts.status.value = sentence(words, kind)

    def show(self, *, chart: bool = True) -> None:
        """Bring the picture, the numbers and, if asked for, the chart up to date."""
        parts, session = self.parts, self.session
        parts.picture.value = jpeg(session.image)
        parts.readout.value = numbers(session.losses, self.target, self.pace.rate())
        if chart:
            parts.chart.value = draw_chart(session.history, self.target)
            self.entitle()
            self._charted = time.monotonic()

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
        content, style = self.session.pictures
        found = estimate(content.image, style.image, settings)
        self.estimate = found if costs == self._costs else None  # another thread may have turned a knob meanwhile
        return True

    def pull(self) -> None:
        """Set every control to what the session holds, without setting the session."""
        parts, settings = self.parts, self.session.settings
        with self._silent():
            for name, slider in (*parts.weights.items(), ("lr", parts.lr)):
                _put(slider, getattr(settings, name))
            for name, slider in parts.layers.items():
                _put(slider, settings.layer_weights[name])
            for name in ("optimizer", "encoder", "size"):
                _put(getattr(parts, name), getattr(settings, name))
            for role, picture in zip(("content", "style"), self.session.pictures, strict=True):
                if picture.name not in list_samples():
                    self._own_pictures[picture.name] = picture
                _put(parts.choices[role], picture.name)
                parts.thumbs[role].value = thumbnail(picture.image, f"{role} picture: {picture.name}")
        parts.photo.value = jpeg(self.session.content)
        costs = (
            settings.size,
            settings.encoder,
            settings.optimizer,
            *(picture.sha256 for picture in self.session.pictures),
        )
        if costs != self._costs:
            self._costs, self.estimate, self._calibration = costs, None, None
            self.pace.forget()
            parts.echo.step += 1

    def _shown_snapshots(self) -> list[Snapshot]:
        return self.session.snapshots[-GALLERY_SIZE:]

    def _fill_strip(self) -> None:
        parts, shown = self.parts, self._shown_snapshots()
        parts.gallery.layout.display = "" if shown else "none"
        for i, slot in enumerate(parts.slots):
            slot.layout.display = "" if i < len(shown) else "none"
            if i < len(shown):
                s = shown[i]
                parts.cards[i].value = card(s, reached=self.reached(s.losses))
                parts.backs[i].tooltip = f"Go back to snapshot {s.number}"

    @contextmanager
    def _silent(self) -> Iterator[None]:
        with self._pulling:
            self._is_pulling = True
            try:
                yield
            finally:
                self._is_pulling = False

    def _comes_from_pull(self) -> bool:
        # In another thread this waits until the controls are set, so that a person's own move is never taken for one.
        with self._pulling:
            return self._is_pulling

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widgets for a page with a kernel; for every other, a still picture and a line of text."""
        content, style = self.names
        bundle: dict[str, Any] = {
            "text/plain": f"Live panel: {content} in the manner of {style}, {summary(self.session.losses)}."
        }
        if "google.colab" not in sys.modules:  # which would show the picture beside the panel
            painted = [self.session.image] if self.session.history else []
            bundle["image/jpeg"] = sheet(self.session.content, self.session.style, *painted)
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
