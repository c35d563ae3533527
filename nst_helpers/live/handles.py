"""The panel's further handles: whose colours, a second style and the mix of the two, regions of the photo.

What they show is what the session holds; what they add is the parts that regions are made of, which a session doesn't
know, and the mix that the slider goes back to when the regions go.
"""

from __future__ import annotations

import functools
import html
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..samples import list_samples
from .background import Task
from .controls import put_choice
from .region_map import PHOTO, Regions, clip_paths, found_regions, key_of, map_picture
from .session import StyleSession
from .sources import NamedImage, named_image
from .thumbnails import jpeg, thumbnail
from .uploads import uploaded_pictures
from .widgets import COLOR_WORDS
from .words import control_words

if TYPE_CHECKING:
    from .loop import PanelLoop

__all__ = ["Handles"]


class Handles:
    """Colours, second style and regions of a panel."""

    def __init__(self, panel: PanelLoop, session: StyleSession) -> None:
        self.panel, self.session = panel, session
        self.share = 50.0  # of the second style in the mix, in per cent
        self.regions: Regions | None = None
        self._name = f"nst-map-{uuid.uuid4().hex[:8]}"
        self._known: dict[tuple[str | None, ...], Regions] = {}
        self._own: dict[str, NamedImage] = {}
        self._drawn: tuple[Any, ...] = ()
        self._finding = False

    @property
    def second(self) -> NamedImage | None:
        """The session's second style picture."""
        return self.session.styles[1] if len(self.session.styles) == 2 else None

    def connect(self) -> None:
        """Have the widgets do what they say."""
        parts, attempt = self.panel.parts, self.panel.attempt

        def on_value(widget: Any, handler: Any) -> None:
            def changed(change: Mapping[str, Any]) -> None:
                if not self.panel.comes_from_pull():
                    attempt(functools.partial(handler, change["new"]))

            widget.observe(changed, "value")

        on_value(parts.color, lambda color: self.panel.set(color=color))
        on_value(parts.second, self._choose_second)
        parts.mix.on_change(lambda share: attempt(functools.partial(self._mix, share)))
        parts.second_upload.observe(lambda _: attempt(self._upload), "value")
        parts.find.on_click(lambda _: attempt(self._find))
        parts.no_regions.on_click(lambda _: attempt(self._clear))
        for number, button in enumerate(parts.region_buttons):
            button.on_click(lambda _, number=number: attempt(functools.partial(self._turn, number)))
        parts.map_box.add_class(self._name)
        self._drawn = ()
        self.pull()

    def without_regions(self) -> dict[str, Any]:
        """What to set for regions to go: the mix is the slider's again."""
        return {"masks": None, "style_mix": self._style_mix(self.second)} if self.session.control.masks else {}

    # What a person does

    def _choose_second(self, name: str) -> None:
        self._set_second(self._own.get(name) or (named_image(name, "style") if name else None))

    def _upload(self) -> None:
        for picture in uploaded_pictures(self.panel.parts.second_upload):
            self._set_second(picture)

    def _set_second(self, second: NamedImage | None) -> None:
        styles = [self.session.styles[0], *([second] if second else [])]
        if self.regions is None:
            self.panel.set(style=styles, masks=None, style_mix=self._style_mix(second))
            return
        regions = self.regions if second else self.regions.without_style(1)
        self._set_regions(regions, styles)

    def _mix(self, share: float) -> None:
        if share > 100:
            raise ValueError(f"The mix is {share:g}, expected 0 to 100: the per cent of the second style.")
        self.share = share
        if self.second is not None and self.regions is None:
            self.panel.set(style_mix=self._style_mix(self.second))

    def _find(self) -> None:
        content, k = self.session.pictures[0], self.panel.parts.parts_of_photo.value
        self.panel.parts.find.disabled = self._finding = True
        finder = functools.partial(found_regions, content.image, k)
        self.panel.in_background(finder, functools.partial(self._found, content))
        self.panel.say(f"Looking for {k} parts in {content.name}; the painting goes on.")

    def _found(self, content: NamedImage, finder: Task[tuple[Tensor, ...]]) -> None:
        self.panel.parts.find.disabled = self._finding = False
        if content.sha256 != self.session.pictures[0].sha256:
            self.panel.say(f"The parts of {content.name} were found too late: another photo is there.")
            return
        parts = finder.result()
        styles = self.session.styles
        self._set_regions(Regions(parts, (0,) * len(parts)).dealt(len(styles)), styles, changed=False)
        self.panel.say(f"{len(parts)} regions found: click one, and another style paints there, or none.")

    def _turn(self, number: int) -> None:
        if self.regions is None or number >= len(self.regions.parts):
            return
        turned = self.regions.turned(number, styles=len(self.session.styles))
        if turned.choices == self.regions.choices:
            self.panel.say("One region at least has to take a style: choose a second style for another one.")
            return
        self._set_regions(turned, self.session.styles, changed=False)

    def _clear(self) -> None:
        self.regions = None
        self.panel.set(**self.without_regions())

    def _set_regions(self, regions: Regions, styles: list[NamedImage], *, changed: bool = True) -> None:
        """Regions, and the styles if they have changed, for the next step."""
        masks = regions.masks_for(len(styles))
        self.regions = self._known[key_of(masks)] = regions
        self._draw(styles)
        self.panel.set(**({"style": styles} if changed else {}), masks=masks, style_mix=None)

    def _style_mix(self, second: NamedImage | None) -> tuple[float, float] | None:
        return (round(1 - self.share / 100, 4), round(self.share / 100, 4)) if second else None

    # What is shown

    def pull(self) -> None:
        """Set every handle to what the session holds."""
        parts, session, settings = self.panel.parts, self.session, self.session.settings
        styles, masks, second = session.styles, session.control.masks, self.second
        if second and settings.style_mix:
            self.share = round(100 * settings.style_mix[1] / sum(settings.style_mix), 2)
        key = key_of(masks or ())
        if masks is None:
            self.regions = None
        elif self.regions is None or key_of(self.regions.masks_for(len(styles))) != key:
            self.regions = self._known.get(key) or Regions.of_masks(masks)
        with self.panel.silent():
            parts.color.value = settings.color
            if second and second.name not in list_samples():
                self._own[second.name] = second
            put_choice(parts.second, second.name if second else "")
        parts.mix.put(self.share)
        parts.color_note.value = f"<p>{html.escape(COLOR_WORDS[settings.color])}</p>"
        words = control_words(settings, styles, session.control)
        parts.now.value = f"<span>{html.escape(words)}</span>" if words else ""
        # More styles, or parts of them, come from code: two dropdowns and a map can't show them.
        by_hand = len(styles) <= 2 and session.control.style_masks is None
        for widget in (parts.second, parts.second_upload, parts.find, parts.parts_of_photo, *parts.region_buttons):
            widget.disabled = not by_hand or (widget is parts.find and self._finding)
        self._draw(styles)

    def _draw(self, styles: list[NamedImage]) -> None:
        """The thumbnail, the ends of the mix, and the map."""
        parts, regions = self.panel.parts, self.regions
        content = self.session.pictures[0]
        drawn = (content.sha256, *(style.sha256 for style in styles), regions, self.share)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        two = len(styles) == 2
        parts.second_thumb.value = thumbnail(styles[1].image, f"second style: {styles[1].name}") if two else EMPTY
        parts.mix_box.layout.display = "" if two else "none"
        parts.mix.slider.disabled = parts.mix.number.disabled = regions is not None
        if two:
            parts.mix_ends.value = _ends(styles, self.share, in_regions=regions is not None)
        for part in (parts.map_box, parts.no_regions):
            part.layout.display = "" if regions else "none"
        if regions is None:
            parts.legend.value = f"<p>{html.escape(ADVICE)}</p>"
            return
        parts.map.value = jpeg(map_picture(content.image, regions, [style.image for style in styles]))
        parts.map_shape.value = clip_paths(regions, (content.image.shape[-2], content.image.shape[-1]), self._name)
        names = ["the photo as it is" if choice == PHOTO else styles[choice].name for choice in regions.choices]
        for number, button in enumerate(parts.region_buttons):
            button.layout.display = "" if number < len(names) else "none"
            if number < len(names):
                button.description = f"Region {number + 1}: {names[number]}"
                button.tooltip = f"Region {number + 1} takes {names[number]}: click for the next choice"
        items = "".join(f"<li><b>{n}</b> {html.escape(name)}</li>" for n, name in enumerate(names, 1))
        parts.legend.value = f"<ul>{items}</ul><p>Click on a part for its next choice.</p>"


ADVICE = "Then click on a part of the photo: it takes the other style, or none."
EMPTY = '<div class="nst-empty"></div>'


def _ends(styles: list[NamedImage], share: float, *, in_regions: bool) -> str:
    """What the two ends of the mix are, as HTML."""
    first, second = (html.escape(style.name) for style in styles)
    if in_regions:
        return "<p>The regions say where which style paints.</p>"
    middle = f"{100 - share:.0f} : {share:.0f}"
    return f'<div class="nst-pair"><span>← {first}</span><em>{middle}</em><span>{second} →</span></div>'
