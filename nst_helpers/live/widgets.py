"""The panel's widgets and where they stand; what they do is in panel.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from ..engine.settings import INITS, OPTIMIZERS
from ..samples import list_samples
from .painting import OPTIMIZER_NAMES
from .state import LiveSettings

__all__ = ["GALLERY_SIZE", "PanelWidgets", "playing_trait", "uploaded"]

CSS = Path(__file__).with_name("panel.css")
GALLERY_SIZE = 6
SIZES = (96, 128, 192, 256, 384, 512)
ENCODERS = ("mini", "vgg19", "hed")
TV_STEPS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
INIT_NAMES = {"content": "from photo", "style": "from style", "noise": "from noise"}


class PanelWidgets:
    """Every widget of a panel by name, and `box`, which holds them all."""

    def __init__(self, settings: LiveSettings, names: tuple[str, str]) -> None:
        self.all: list[widgets.Widget] = []
        self._stage()
        self._transport()
        self._weights(settings)
        self._engine(settings)
        self._sources(names)
        self._gallery()
        self._echo()
        self.head, self.status = self._html("nst-head"), self._html("nst-status")
        self.readout, self.chart = self._html("nst-readout"), self._html("")
        losses = self._section("Losses", "without their weights, by step; ▲ a knob was turned")
        left = self._box([self.stage, self.readout, losses, self.chart])
        right = self._box(
            [
                self._section("Weights", "log scale", first=True),
                *self.weights.values(),
                self._section("Style layers", "fine strokes → large shapes"),
                self.faders,
                self._section("Optimiser and network"),
                self.engine,
                self._section("Pictures", "content above, style below"),
                *self.sources.values(),
            ],
        )
        main = self._box([left, right], "nst-main")
        css = self._html("", f"<style>{CSS.read_text(encoding='utf-8')}</style>")
        css.layout.display = "none"
        inside = [css, self.head, self.transport, main, self.status, self.gallery]
        self.box = self._box(inside, "nst-panel")

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
        self.clock = self._keep(widgets.Play(min=0, max=10**9, interval=20, show_repeat=False))
        self.step = self._button("Step", "step-forward", "One evaluation")
        self.reset = self._button("Reset", "refresh", "Start the picture again")
        self.init = self._keep(widgets.Dropdown(options=[(INIT_NAMES[i], i) for i in INITS], value="content"))
        self.init.layout.width = "104px"
        self.compare = self._keep(widgets.ToggleButton(description="Compare", icon="eye"))
        self.snapshot = self._button("Snapshot", "camera", "Keep the picture with its weights")
        self.undo = self._button("Undo", "undo", "Back to the last snapshot")
        self.save_picture = self._button("Picture", "download", "Save the picture as PNG")
        self.save_recipe = self._button("Recipe", "download", "Save the recipe as JSON")
        first = [self.clock, self.step, self.reset, self.init, self.compare]
        second = [self.snapshot, self.undo, self.save_picture, self.save_recipe]
        self.transport = self._box([*first, *second], "nst-bar")

    def _weights(self, settings: LiveSettings) -> None:
        steps = sorted({*TV_STEPS, settings.tv_weight})
        options = [("off" if s == 0 else f"{s:g}", float(s)) for s in steps]
        self.weights = {
            "content_weight": self._log("content", settings.content_weight, -1, 2, "nst-c"),
            "style_weight": self._log("style", settings.style_weight, 0, 4, "nst-s"),
            "tv_weight": self._keep(
                widgets.SelectionSlider(options=options, value=settings.tv_weight, description="variation"), "nst-t"
            ),
        }
        top = max([4.0, *settings.layer_weights.values()])
        self.layers = {
            name: self._keep(
                widgets.FloatSlider(
                    value=weight,
                    min=0,
                    max=top,
                    step=0.25,
                    description=name,
                    orientation="vertical",
                    readout_format=".2f",
                ),
                "nst-s",
            )
            for name, weight in settings.layer_weights.items()
        }
        self.faders = self._box(list(self.layers.values()), "nst-faders")

    def _engine(self, settings: LiveSettings) -> None:
        self.optimizer = self._choice("optimiser", [(OPTIMIZER_NAMES[o], o) for o in OPTIMIZERS], settings.optimizer)
        self.lr = self._log("step size", settings.lr, -3, 0.5, "")
        self.encoder = self._choice("encoder", [*dict.fromkeys([*ENCODERS, settings.encoder])], settings.encoder)
        self.size = self._choice("size", [(f"{s} px", s) for s in sorted({*SIZES, settings.size})], settings.size)
        self.engine = self._box([self._box([self.optimizer, self.encoder, self.size], "nst-engine"), self.lr])

    def _sources(self, names: tuple[str, str]) -> None:
        self.thumbs, self.choices, self.uploads, self.sources = {}, {}, {}, {}
        for role, name in zip(("content", "style"), names, strict=True):
            self.thumbs[role] = self._html("")
            self.choices[role] = self._keep(
                widgets.Dropdown(options=[*dict.fromkeys([*list_samples(role), name])], value=name)
            )
            self.uploads[role] = self._keep(widgets.FileUpload(accept="image/*", multiple=False, description="Upload"))
            row = [self.thumbs[role], self.choices[role], self.uploads[role]]
            self.sources[role] = self._box(row, "nst-source")

    def _gallery(self) -> None:
        self.cards, self.backs, slots = [], [], []
        for _ in range(GALLERY_SIZE):
            self.cards.append(self._html(""))
            self.backs.append(self._button("Go back", "undo", "Go back to this snapshot"))
            slots.append(self._box([self.cards[-1], self.backs[-1]], "nst-card"))
            slots[-1].layout.display = "none"
        self.slots = slots
        self.strip = self._box(slots, "nst-strip")
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
        self.all.append(widget)
        return widget

    def _box(self, children: Sequence[Any], css: str = "") -> Any:
        return self._keep(widgets.VBox(list(children)), css)

    def _html(self, css: str, value: str = "") -> Any:
        return self._keep(widgets.HTML(value), css)

    def _section(self, title: str, note: str = "", *, first: bool = False) -> Any:
        return self._html("nst-first" if first else "", f'<div class="nst-section">{title}<em>{note}</em></div>')

    def _button(self, text: str, icon: str, tooltip: str) -> Any:
        return self._keep(widgets.Button(description=text, icon=icon, tooltip=tooltip))

    def _choice(self, text: str, options: Sequence[Any], value: Any) -> Any:
        return self._keep(widgets.Dropdown(description=text, options=options, value=value))

    def _log(self, text: str, value: float, low: float, high: float, css: str) -> Any:
        slider = widgets.FloatLogSlider(
            value=value, base=10, min=low, max=high, step=0.05, description=text, readout_format=".3g"
        )
        return self._keep(slider, css)


def playing_trait(clock: widgets.Play) -> str:
    """The name under which a Play widget keeps whether it runs: public in ipywidgets 8, private in 7."""
    return "playing" if clock.has_trait("playing") else "_playing"


def uploaded(upload: widgets.FileUpload) -> list[tuple[str, bytes]]:
    """Take the files out of an upload widget, (name, bytes) each; its value is a tuple in ipywidgets 8, a dict in 7."""
    value = upload.value
    if isinstance(value, dict):
        files = [(name, bytes(file["content"])) for name, file in value.items()]
        upload.value.clear()
        upload._counter = 0
    else:
        files = [(file["name"], bytes(file["content"])) for file in value]
        upload.value = ()
    return files
