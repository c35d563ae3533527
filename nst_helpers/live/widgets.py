"""The panel's widgets and where they stand; what they do is in panel.py, how they look in panel.css."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from ..encoders import ENCODERS
from ..engine.settings import INITS, OPTIMIZERS
from ..samples import list_samples
from .controls import Clock, NumberControl, log_stops, name_control
from .painting import OPTIMIZER_NAMES
from .state import LiveSettings
from .uploads import Announcement

__all__ = ["COLOR_WORDS", "PanelWidgets"]

CSS = Path(__file__).with_name("panel.css")
SIZES = (96, 128, 192, 256, 384, 512)
INIT_NAMES = {"content": "from photo", "style": "from style", "noise": "from noise"}
COLOR_NAMES = [("style's", "style"), ("photo's", "content"), ("light only", "luminance")]
COLOR_WORDS = {
    "style": "Style's: the picture takes the colours of the style.",
    "content": "Photo's: the style is brought to the photo's colours first, and painted from then.",
    "luminance": "Light only: the painting's light and dark, with the photo's colours over them.",
}
CONTENT_STOPS = [0.0, *log_stops(0.1, 100)]
STYLE_STOPS = [0.0, *log_stops(1, 10_000)]
TV_STOPS = [0.0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000]
STEP_SIZE_STOPS = log_stops(0.001, 3)
LAYER_STOPS = [quarter / 4 for quarter in range(17)]


class PanelWidgets:
    """Every widget of a panel by name, and `box`, which holds them all."""

    def __init__(self, settings: LiveSettings, names: tuple[str, str]) -> None:
        self.all: list[widgets.Widget] = []
        self._stage()
        self._transport()
        self._weights(settings)
        self._engine(settings)
        self._sources(names)
        self._handles()
        self._gallery()
        self._echo()
        self.announcements = [
            self._keep(part)
            for upload in (*self.uploads.values(), self.second_upload)
            for part in Announcement.of(upload)
        ]
        self.head, self.status = self._html("nst-head"), self._html("nst-status")
        self.readout, self.chart = self._html("nst-readout"), self._html()
        self._alert()
        picture = self._box([self.stage, self.readout], "nst-picture")
        controls = self._box(
            [
                self._section("Weights", "log scale"),
                *(control.box for control in self.weights.values()),
                self._section("Style layers", "fine strokes → large shapes"),
                self.faders,
            ],
            "nst-knobs",
        )
        losses = self._section("Losses", "unweighted, by step; ▲ a knob was turned")
        chart = self._box([losses, self.chart], "nst-losses")
        setup = self._box(
            [
                self._section("Optimiser and network"),
                self.engine,
                self._section("Pictures", "content above, style below"),
                *self.sources.values(),
            ],
            "nst-setup",
        )
        main = self._box([picture, self.status, controls, chart, setup], "nst-main")
        css = self._html("", f"<style>{CSS.read_text(encoding='utf-8')}</style>")
        css.layout.display = "none"
        inside = [css, self.head, self.transport, self.alert, main, self.handles, self.gallery]
        self.box = self._box(inside, "nst-panel")

    def add_card(self) -> tuple[widgets.HTML, widgets.Button]:
        """A place for one more snapshot in the gallery: its picture with text, and its button."""
        card, button = self._html(), self._button("Go back", "undo", "Go back to this snapshot")
        self.cards.append(card)
        self.strip.children = (*self.strip.children, self._box([card, button], "nst-card"))
        return card, button

    def close(self) -> None:
        """Close every widget with its layout and style, here and in the page."""
        for widget in reversed(self.all):
            for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
                if isinstance(part, widgets.Widget):
                    part.close()

    # The groups

    def _stage(self) -> None:
        self.picture = self._keep(widgets.Image(format="jpeg"))
        self.photo = self._keep(widgets.Image(format="jpeg"), "nst-photo")
        hint = self._html("nst-hint", "<span>press and hold: the photo</span>")
        self.stage = self._box([self.picture, self.photo, hint], "nst-stage")

    def _transport(self) -> None:
        self.clock = self._keep(Clock(min=0, max=10**9, interval=20, show_repeat=False))
        self.step = self._button("Step", "step-forward", "One evaluation")
        self.reset = self._button("Reset", "refresh", "Start the picture again")
        options = [(INIT_NAMES[init], init) for init in INITS]
        self.init = self._choice("start", options, "content")
        self.compare = self._keep(widgets.ToggleButton(description="Compare", icon="eye", tooltip="Show the photo"))
        self.snapshot = self._button("Snapshot", "camera", "Keep the picture with its weights")
        self.undo = self._button("Undo", "undo", "Back to the last snapshot")
        self.save_picture = self._button("Picture", "download", "Save the picture as PNG")
        self.save_recipe = self._button("Recipe", "download", "Save the recipe as JSON")
        paint = self._box([self.clock, self.step, self.reset, self.init, self.compare], "nst-group")
        keep = self._box([self.snapshot, self.undo, self.save_picture, self.save_recipe], "nst-group")
        self.transport = self._box([paint, keep], "nst-bar")

    def _alert(self) -> None:
        self.alert_text = self._html("nst-alert-text")
        self.dismiss = self._button("Dismiss", "times", "Put this message away")
        self.alert = self._box([self.alert_text, self.dismiss], "nst-alert")
        self.alert.layout.display = "none"

    def _weights(self, settings: LiveSettings) -> None:
        self.weights = {
            "content_weight": self._number("content", settings.content_weight, CONTENT_STOPS, "nst-c"),
            "style_weight": self._number("style", settings.style_weight, STYLE_STOPS, "nst-s"),
            "tv_weight": self._number("variation", settings.tv_weight, TV_STOPS, "nst-t"),
        }
        self.layers = {
            name: self._number(name, weight, LAYER_STOPS, "nst-s", vertical=True)
            for name, weight in settings.layer_weights.items()
        }
        self.faders = self._box([control.box for control in self.layers.values()], "nst-faders")

    def _engine(self, settings: LiveSettings) -> None:
        optimizers = [(OPTIMIZER_NAMES[name], name) for name in OPTIMIZERS]
        self.optimizer = self._choice("optimiser", optimizers, settings.optimizer)
        self.encoder = self._choice("encoder", [*dict.fromkeys([*ENCODERS, settings.encoder])], settings.encoder)
        sizes = [(f"{size} px", size) for size in sorted({*SIZES, settings.size})]
        self.size = self._choice("size", sizes, settings.size)
        self.lr = self._number("step size", settings.lr, STEP_SIZE_STOPS)
        self.engine = self._box(
            [self._box([self.optimizer, self.encoder, self.size], "nst-engine"), self.lr.box], "nst-engine-box"
        )

    def _sources(self, names: tuple[str, str]) -> None:
        self.thumbs: dict[str, widgets.HTML] = {}
        self.choices: dict[str, widgets.Dropdown] = {}
        self.uploads: dict[str, widgets.FileUpload] = {}
        self.sources: dict[str, widgets.Box] = {}
        for role, name in zip(("content", "style"), names, strict=True):
            self.thumbs[role] = self._html()
            self.choices[role] = self._choice(f"{role} picture", [*dict.fromkeys([*list_samples(role), name])], name)
            self.uploads[role] = self._keep(widgets.FileUpload(accept="image/*", multiple=False, description="Upload"))
            self.uploads[role].tooltip = f"A {role} picture of your own, of up to 10 MB"
            row = [self.thumbs[role], self.choices[role], self.uploads[role]]
            self.sources[role] = self._box(row, "nst-source")

    def _handles(self) -> None:
        """Colours, a second style, regions: folded away by an element of HTML, which needs no kernel to open."""
        self.color = self._keep(widgets.RadioButtons(options=COLOR_NAMES, description="colours"), "nst-segments")
        self.color.tooltip = " ".join(COLOR_WORDS.values())
        self.color_note = self._html("nst-note")
        colors = self._box([self._section("Colours"), self.color, self.color_note], "nst-colors")
        self.second_thumb = self._html()
        self.second = self._choice("second style", [("none", ""), *((n, n) for n in list_samples("style"))], "")
        self.second_upload = self._keep(widgets.FileUpload(accept="image/*", multiple=False, description="Upload"))
        self.second_upload.tooltip = "A second style picture of your own, of up to 10 MB"
        self.mix = self._number("mix", 50, range(0, 101, 5), "nst-s")
        self.mix_ends = self._html("nst-ends")
        self.mix_box = self._box([self.mix.box, self.mix_ends], "nst-mix")
        row = self._box([self.second_thumb, self.second, self.second_upload], "nst-source")
        second = self._box([self._section("Second style"), row, self.mix_box], "nst-second")
        self.find = self._button("Find regions", "puzzle-piece", "Find the parts of the photo that look different")
        self.parts_of_photo = self._choice("parts", [(f"{k} parts", k) for k in (2, 3, 4)], 3)
        self.no_regions = self._button("No regions", "times", "Paint the whole photo alike again")
        self.map = self._keep(widgets.Image(format="jpeg"), "nst-map-picture")
        self.map_shape = self._html("nst-shape")
        self.region_buttons = [self._button(f"Region {n}", "", "") for n in range(1, 5)]
        for number, button in enumerate(self.region_buttons, 1):
            button.add_class("nst-region").add_class(f"nst-region-{number}")
        self.map_box = self._box([self.map_shape, self.map, *self.region_buttons], "nst-map")
        self.legend = self._html("nst-legend")
        group = self._box([self.find, self.parts_of_photo, self.no_regions], "nst-group")
        regions = self._section("Regions", "a style for each part of the photo")
        self.regions = self._box([regions, group, self.map_box, self.legend], "nst-regions")
        fold = "<details class='nst-fold'><summary>Colours, second style, regions</summary></details>"
        self.now = self._html("nst-now-on")
        head = self._box([self._html("nst-fold-row", fold), self.now], "nst-handles-head")
        inside = self._box([self._box([colors, second], "nst-handles-left"), self.regions], "nst-handles-body")
        self.handles = self._box([head, inside], "nst-handles")

    def _gallery(self) -> None:
        self.cards: list[widgets.HTML] = []
        self.strip = self._box([], "nst-strip")
        note = "weights content:style:variation · distances to content (c) and style (s)"
        self.gallery = self._box([self._section("Snapshots", note), self.strip], "nst-gallery")
        self.gallery.layout.display = "none"

    def _echo(self) -> None:
        # The page copies `step` into `value`, and says so: a message from the page whenever the kernel asks for one.
        self.echo = self._keep(widgets.IntText(value=0, step=1))
        self._keep(widgets.jsdlink((self.echo, "step"), (self.echo, "value")))

    # The pieces

    def _keep(self, widget: Any, css: str = "") -> Any:
        if css:
            widget.add_class(css)
        name_control(widget)
        self.all.append(widget)
        return widget

    def _box(self, children: Sequence[Any], css: str) -> Any:
        return self._keep(widgets.VBox(list(children)), css)

    def _html(self, css: str = "", value: str = "") -> Any:
        return self._keep(widgets.HTML(value), css)

    def _section(self, title: str, note: str = "") -> Any:
        return self._html("nst-title-row", f'<div class="nst-section">{title}<em>{note}</em></div>')

    def _button(self, text: str, icon: str, tooltip: str) -> Any:
        return self._keep(widgets.Button(description=text, icon=icon, tooltip=tooltip))

    def _choice(self, text: str, options: Sequence[Any], value: Any) -> Any:
        return self._keep(widgets.Dropdown(description=text, options=options, value=value))

    def _number(
        self, text: str, value: float, stops: Sequence[float], css: str = "", *, vertical: bool = False
    ) -> NumberControl:
        control = NumberControl(text, value, stops, css=css, vertical=vertical)
        for widget in control.widgets:
            self._keep(widget)
        return control
