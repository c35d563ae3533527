"""A slider with a box beside it: the slider for the hand, the box for an exact number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

__all__ = ["Clock", "NumberControl", "log_stops", "name_control", "playing_trait", "put_choice"]


class Clock(widgets.Play):
    """The page's clock. It pauses when a page asks for all of its state: in that page, a new one, nothing moves it yet.

    >>> clock = Clock()
    >>> clock.playing = True
    >>> clock.get_state("playing"), clock.get_state()["playing"], clock.playing
    ({'playing': True}, False, False)
    """

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state, or a piece of it; all of it is asked for at the start, and by a page that is opened again."""
        if key is None and getattr(self, playing_trait(self)):
            setattr(self, playing_trait(self), False)
        return super().get_state(key, drop_defaults)


class NumberControl:
    """A slider with fixed stops and a box for any number of 0 or more; both always show the same value, `value`.

    The slider stands at the stop that is nearest. Where 0 is among the stops it is called "off".
    """

    def __init__(
        self, label: str, value: float, stops: Sequence[float], *, css: str = "", vertical: bool = False
    ) -> None:
        self.value, self.stops = float(value), sorted({float(stop) for stop in stops})
        self._lock, self._is_setting = threading.RLock(), False
        options = [("off" if stop == 0 else f"{stop:g}", stop) for stop in self.stops]
        self.slider = widgets.SelectionSlider(
            options=options,
            value=self._nearest(value),
            description=label,
            readout=False,
            orientation="vertical" if vertical else "horizontal",
        )
        # The box's label is for people who hear the page; the style sheet hides it.
        self.number = widgets.FloatText(value=_rounded(value), description=f"{label}, exact value")
        self.number.add_class("nst-number")
        self.widgets = [self.slider, self.number]
        self.box = (widgets.VBox if vertical else widgets.HBox)(self.widgets)
        for name in ("nst-control", "nst-vertical" if vertical else "", css):
            if name:
                self.box.add_class(name)
        self.widgets.append(self.box)

    def on_change(self, handler: Callable[[float], None]) -> None:
        """Call the handler with each value that a person sets, and with none that `put` sets."""

        def moved(change: Mapping[str, Any]) -> None:
            with self._lock:  # in another thread this waits until `put` is done
                if self._is_setting:
                    return
                self.put(change["new"], keep=change["owner"])
            handler(self.value)

        self.slider.observe(moved, "value")
        self.number.observe(moved, "value")

    def put(self, value: float, *, keep: Any = None) -> None:
        """Show a value without calling any handler; the widget `keep` stays as it is."""
        with self._lock:
            self.value, self._is_setting = float(value), True
            try:
                if keep is not self.slider:
                    self.slider.value = self._nearest(value)
                if keep is not self.number:
                    self.number.value = _rounded(value)
            finally:
                self._is_setting = False

    def _nearest(self, value: float) -> float:
        stops = [stop for stop in self.stops if stop > 0] if value > 0 else self.stops  # "off" is for 0 alone
        return min(stops, key=lambda stop: abs(stop - value))


def log_stops(low: float, high: float, *, per_decade: int = 20) -> list[float]:
    """Numbers from low to high, evenly spaced on a logarithmic scale and rounded to three digits.

    >>> log_stops(1, 100, per_decade=2)
    [1.0, 3.16, 10.0, 31.6, 100.0]
    """
    stops, number = [float(low)], 1
    while stops[-1] < high:
        stops.append(float(f"{low * 10 ** (number / per_decade):.3g}"))
        number += 1
    return stops


def name_control(widget: widgets.Widget) -> None:
    """Give a widget without a tooltip its description as one: ipywidgets 8 would show "null"."""
    if widget.has_trait("tooltip") and widget.tooltip is None:
        widget.tooltip = getattr(widget, "description", "")


def playing_trait(clock: widgets.Play) -> str:
    """The name under which a Play widget keeps whether it runs: public in ipywidgets 8, private in 7."""
    return "playing" if clock.has_trait("playing") else "_playing"


def put_choice(choice: Any, value: Any, label: str = "") -> None:
    """Set a dropdown to a value, which is added to its options if need be, under a label of its own."""
    options = [option if isinstance(option, tuple) else (option, option) for option in choice.options]
    if value not in (known for _, known in options):
        choice.options = (*options, (label or str(value), value))
    if choice.value != value:
        choice.value = value


def _rounded(value: float) -> float:
    """A number as the box shows it, to four digits that count."""
    return float(f"{value:.4g}")
