"""The live panel: turn the weights of a session while its picture is being painted.

The loop's clock is in the page: a Play widget sends a number, and its handler answers with the new picture. So every
answer belongs to a message from the page (Google Colab drops all others), a slider's message comes between two of the
clock's, and nothing runs on when the page is closed. Steps are made in a thread of the panel's own, for which a handler
waits a fraction of a second. So a slow network holds up no knob: what is turned in a long step counts after it. There
is no Output widget and no pyplot. A page out of sight slows its clocks down, and the painting with them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .handles import Handles
from .loop import PanelLoop, reports_errors
from .recipes import save_recipe
from .session import StyleSession
from .sources import NamedImage, SessionSource
from .state import Snapshot
from .still import running_cell
from .thumbnails import data_uri, png
from .uploads import Announcement, too_large, uploaded_pictures
from .words import capital, file_name, sentence, summary

__all__ = ["Panel", "panel"]

CHUNK = 0.2  # seconds of painting for each message of the clock

_open: list[Panel] = []


def panel(
    session: StyleSession, *, target: Mapping[str, float] | None = None, folder: str | Path = ".", chunk: float = CHUNK
) -> Panel:
    """Show the live panel of a session.

    The panel that the same cell showed before closes; those of other cells pause, say so, and go on when asked to.

    A fold below the numbers holds whose colours the picture takes, a second style with the mix of the two, and the
    photo's regions: a button finds them, and a click or a key on one gives it to the next style, or to none. All of it
    counts from the next step on, and is part of snapshots and recipes.

    `target` sets limits for the "content" and "style" distance: the panel says when the picture is under them.
    Pictures and recipes are saved to `folder`. `chunk` is for how many seconds to paint between two looks at the
    sliders. Without a page to show it in, or in a stored notebook, the panel is a still picture with a line of text.

    Raises ValueError for a target that is none.

    >>> shown = panel(StyleSession("temple", "wave", size=32), target={"content": 0.5, "style": 0.1})
    >>> shown.close()
    """
    shown = Panel(session, target=target, folder=folder, chunk=chunk)
    for other in list(_open):
        if other.cell == shown.cell:
            other.close()
        else:
            other.give_way()
    _open.append(shown)
    return shown


class Panel(PanelLoop):
    """The widgets of a session and what they do; made by `panel`."""

    def __init__(self, session: StyleSession, *, target: Mapping[str, float] | None, folder: str | Path, chunk: float):
        self.handles = Handles(self, session)
        super().__init__(session, target=target, chunk=chunk)
        self.folder, self.cell = Path(folder), running_cell()
        parts = self.parts
        for name, control in (*parts.weights.items(), ("lr", parts.lr)):
            control.on_change(functools.partial(self._number_set, name))
        for name, control in parts.layers.items():
            control.on_change(functools.partial(self._layer_set, name))
        for name in ("optimizer", "encoder", "size"):
            getattr(parts, name).observe(functools.partial(self._option_chosen, name), "value")
        for role in ("content", "style"):
            parts.choices[role].observe(functools.partial(self._picture_chosen, role), "value")
            parts.uploads[role].observe(functools.partial(self._uploaded, role), "value")
        for part in parts.announcements:
            if isinstance(part, Announcement):
                part.observe(self._announced, "value")
        parts.compare.observe(self._compared, "value")
        for name in ("step", "reset", "snapshot", "undo", "save_picture", "save_recipe", "dismiss"):
            getattr(parts, name).on_click(getattr(self, f"_{name}"))
        self.handles.connect()
        self.say("Press play: the picture paints itself, and every knob works while it runs.")

    # What the controls do

    @reports_errors
    def _number_set(self, name: str, value: float) -> None:
        self.set(**{name: value})

    @reports_errors
    def _layer_set(self, name: str, value: float) -> None:
        self.set(layer_weights={name: value})

    @reports_errors
    def _option_chosen(self, name: str, change: Mapping[str, Any]) -> None:
        if self.comes_from_pull():
            return
        if name != "encoder" or self.session.has_encoder(change["new"]):
            self.set(**{name: change["new"]})
            return
        self.load(change["new"])

    @reports_errors
    def _picture_chosen(self, role: str, change: Mapping[str, Any]) -> None:
        if not self.comes_from_pull():
            self._set_picture(role, self._own_pictures.get((role, change["new"]), change["new"]))

    @reports_errors
    def _uploaded(self, role: str, _: Any) -> None:
        for picture in uploaded_pictures(self.parts.uploads[role]):
            self._set_picture(role, picture)

    @reports_errors
    def _announced(self, change: Mapping[str, Any]) -> None:
        if words := too_large(change["new"]):
            self.pause()
            self.say(words, "bad")

    def _set_picture(self, role: str, picture: SessionSource | NamedImage) -> None:
        # The regions are the old photo's: they go with it.
        self.set(**{role: picture}, **(self.handles.without_regions() if role == "content" else {}))

    def pull_control(self) -> None:
        """Set the controls of colours, the second style and regions to what the session holds."""
        self.handles.pull()

    @reports_errors
    def _step(self, _: Any) -> None:
        self.step(1)

    def _compared(self, change: Mapping[str, Any]) -> None:
        (self.parts.stage.add_class if change["new"] else self.parts.stage.remove_class)("nst-compare")

    def _dismiss(self, _: Any) -> None:
        self.parts.alert.layout.display = "none"

    # Snapshots and files

    @reports_errors
    def _reset(self, _: Any) -> None:
        self.when_free(self._start_again, "Reset")

    def _start_again(self) -> None:
        words = self.session.reset(self.parts.init.value)
        self.pace.rest()
        self.show()
        self.say(f"{capital(words)}, with the settings as they are.")

    @reports_errors
    def _snapshot(self, _: Any) -> None:
        self.when_free(self._keep, "Snapshot")

    def _keep(self) -> None:
        snapshot = self.session.snapshot()
        self.fill_gallery()
        self.store_still()
        self.say(f"Snapshot {snapshot.number} kept at step {snapshot.step}: {summary(snapshot.losses, step=False)}.")

    @reports_errors
    def _undo(self, _: Any) -> None:
        if not self.session.snapshots:
            self.say("There is no snapshot yet to go back to: Snapshot keeps one.")
            return
        self.when_free(functools.partial(self._go_back, self.session.snapshots[-1]), "Undo")

    def connect_card(self, place: int, button: Any) -> None:
        """Have a card's button go back to its snapshot."""
        button.on_click(functools.partial(self._back, place))

    @reports_errors
    def _back(self, place: int, _: Any) -> None:
        self.when_free(functools.partial(self._go_back, self.session.snapshots[place]), "Go back")

    def _go_back(self, snapshot: Snapshot) -> None:
        words = self.session.restore(snapshot)
        self.pace.rest()
        self.pull()
        self.show()
        self.say(f"{capital(words)}.")

    @reports_errors
    def _save_picture(self, _: Any) -> None:
        self.when_free(self._write_picture, "Picture")

    @reports_errors
    def _save_recipe(self, _: Any) -> None:
        self.when_free(self._write_recipe, "Recipe")

    def _write_picture(self) -> None:
        data, name = png(self.session.image), self._free_name(".png")
        (self.folder / name).write_bytes(data)
        self._saved(name, data_uri(data, "image/png"))

    def _write_recipe(self) -> None:
        recipe, name = self.session.recipe(), self._free_name(".json")
        save_recipe(recipe, self.folder / name)
        self._saved(name, data_uri(json.dumps(recipe, indent=1).encode(), "application/json"))

    def _saved(self, name: str, address: str) -> None:
        self.say(f"Saved as {name}.", "good")
        self.parts.status.value = sentence(self.status, "good", link=(name, address))

    def _free_name(self, suffix: str) -> str:
        stem = f"{file_name(*self.names)}_{len(self.session.history):04d}"
        names = (f"{stem}{'' if i == 1 else f'-{i}'}{suffix}" for i in range(1, 10_000))
        return next(name for name in names if not (self.folder / name).exists())

    # Beginning and end

    def give_way(self) -> None:
        """Pause because another panel was shown, and say so; play goes on."""
        self.pause()
        self.say("Paused, because another panel was opened: press play to go on with this one.")

    def close(self) -> None:
        """Stop, and close every widget, here and in the page; the session stays as it is."""
        if self.closed:
            return
        self.stop()
        self.closed = True
        if self in _open:
            _open.remove(self)
        self.parts.close()
