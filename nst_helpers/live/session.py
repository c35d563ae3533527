"""A running optimisation whose weights, pictures and optimiser may change between steps. No widgets here.

A change costs no restart: the loss layers keep their targets, and the picture goes on from where it is. The session
notes each change beside the step it came after, so that `recipe()` can tell the way to the picture and `replay` walk
it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..accel.tiling import TiledModel
from ..encoders import Encoder
from ..engine.objective import build_objective
from ..engine.optimisation import LEARNING_RATES, Evaluation, Optimisation
from ..engine.settings import INITS, Settings, first_image
from ..errors import ImageError
from ..images import resize
from ..model import CONTENT_LAYERS, STYLE_LAYERS, StyleModel, Weights
from .state import Knobs, Lens, Picture, Snapshot, Source, Way, as_picture, losses_of

__all__ = ["Snapshot", "StyleSession"]

NAMES = {"lbfgs": "L-BFGS", "adam": "Adam"}
LIVE_SIZE = 192  # short side: with the mini encoder, two cores paint more than ten steps a second


class StyleSession:
    """Paint the content in the manner of the style, and change your mind on the way.

    `content` and `style` are images (1, 3, H, W) in [0, 1], names of samples, or files. Both are scaled to `size`, the
    length of the short side in pixels; left out, it is the content's own, 192 at most. The weights are those of
    `stylize`, and `layer_weights` those of the style layers among themselves, 1 each. Every method may be called from
    any thread: one lock lets them through one after the other, between two steps.

    Raises ImageError, LayerError, WeightsError or ValueError in one sentence for what can't be used.
    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> session = StyleSession(picture, picture.flip(-1), encoder=Encoder(Architecture("toy", ((8,), (8,)))),
    ...                        content_layers=["relu2_1"], style_layers=["relu1_1"])
    >>> first = session.step(2)
    >>> session.set(style_weight=30)
    'style weight 100 to 30; L-BFGS forgets its curvature, which belonged to the old loss'
    >>> session.step()[0].event[:26], session.losses["step"]
    ('style weight 100 to 30; L-', 3)
    """

    def __init__(
        self,
        content: Source,
        style: Source,
        *,
        encoder: Encoder | str = "mini",
        size: int | None = None,
        content_weight: float = Weights.content,
        style_weight: float = Weights.style,
        tv_weight: float = Weights.tv,
        layer_weights: Mapping[str, float] | None = None,
        optimizer: str = "lbfgs",
        lr: float | None = None,
        init: str = "content",
        seed: int = 0,
        content_layers: Sequence[str] = CONTENT_LAYERS,
        style_layers: Sequence[str] = STYLE_LAYERS,
        convention: str = "relative",
        device: torch.device | str | None = None,
        precision: str = "auto",
    ) -> None:
        self._lock, self._waiting = threading.RLock(), 0
        self._lens = Lens(encoder, device=device, precision=precision)
        self._layers = {"content_layers": tuple(content_layers), "style_layers": tuple(style_layers)}
        self._convention = convention
        self._content, self._style = as_picture(content, "content"), as_picture(style, "style")
        knobs = Knobs(
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            layer_weights=dict.fromkeys(style_layers, 1.0),
            optimizer=optimizer,
            lr=LEARNING_RATES.get(optimizer, 0.0) if lr is None else lr,
            size=size or min(LIVE_SIZE, *self._content.image.shape[-2:]),
            encoder=self._lens.name,
        )
        self.knobs = knobs.changed({"layer_weights": dict(layer_weights or {})})
        self.model = self._build(self.knobs, self._content, self._style)
        self.snapshots: list[Snapshot] = []
        self._begin(init, seed)

    @property
    def history(self) -> list[Evaluation]:
        """One record per evaluation since the picture was started, as it was before that evaluation's change."""
        return self._way.history

    @property
    def image(self) -> Tensor:
        """The picture as it is now, (1, 3, H, W) in [0, 1]."""
        with self._held():
            return self._run.image.detach().clamp(0, 1).cpu()

    @property
    def content(self) -> Tensor:
        """The content picture at the size that is being painted, (1, 3, H, W)."""
        return resize(self._content.image, self.knobs.size)

    @property
    def style(self) -> Tensor:
        """The style picture as it came, (1, 3, H, W)."""
        return self._style.image

    @property
    def pictures(self) -> tuple[Picture, Picture]:
        """The content and the style picture as they came, each with its name."""
        return self._content, self._style

    @property
    def settings(self) -> Settings:
        """What `estimate` needs to tell, with the two pictures, what painting on as things are will take."""
        return self._lens.settings(self.knobs, **self._layers)

    @property
    def losses(self) -> dict[str, Any]:
        """The last evaluation's losses, by "step", "total", "content", "style", "tv" and "layers"; {} before the first.

        "total" is weighted. The others are not, and "style" is the plain mean of its layers, whatever their weights:
        rulers that stay the same when a weight is turned.
        """
        return losses_of(self.history[-1]) if self.history else {}

    @property
    def stuck(self) -> bool:
        """Whether the loss has exploded so often that the session waits for a change of settings."""
        return self._run.diverged

    def step(self, n: int | None = None, *, seconds: float | None = None) -> list[Evaluation]:
        """Make n evaluations, or as many as fit into that many seconds and one at least; one if neither is given.

        Returns them, as they are appended to `history`. Other threads' changes are let in between two evaluations.
        """
        n = 1 if n is None and seconds is None else n
        made, start = [], time.perf_counter()
        while not self.stuck and (n is None or len(made) < n):
            with self._lock:
                made.append(self._evaluate())
            used = time.perf_counter() - start
            if seconds is not None and used * (1 + 1 / len(made)) > seconds:
                break
            while self._waiting:
                time.sleep(0.001)
        return made

    def set(self, **changes: Any) -> str:
        """Change anything between two steps; returns in words what changed, and what follows from it.

        Takes `content_weight`, `style_weight`, `tv_weight`, `layer_weights` (some or all), `optimizer`, `lr`, `size`,
        `encoder`, and the pictures `content` and `style`. After a new style, size or encoder the picture goes on from
        where it is; a new content starts it again. What raises changes nothing.
        """
        pictures = {key: as_picture(changes.pop(key), key) for key in ("content", "style") if key in changes}
        with self._held():
            before, knobs = self.knobs, self.knobs.changed(changes, lens=self._lens)
            content, style = pictures.get("content", self._content), pictures.get("style", self._style)
            told = [
                f"{role} {old.name} to {new.name}"
                for role, old, new in (("content", self._content, content), ("style", self._style, style))
                if new.sha256 != old.sha256
            ]
            rebuilt = bool(told) or (knobs.size, knobs.encoder) != (before.size, before.encoder)
            told += knobs.told_since(before)
            if not told:
                return ""
            if rebuilt:
                self.model = self._build(knobs, content, style)
            fresh = content.sha256 != self._content.sha256
            self.knobs, self._content, self._style = knobs, content, style
            for name, weight in knobs.layer_weights.items():
                self.model.style_losses[name].weight = weight
            if fresh:
                self._begin(self._way.init, self._way.seed)
                told.append("the picture starts again")
            else:
                self._note(knobs.since(before) | {k: p.told() for k, p in pictures.items()})
                told += self._carry_on(before, rebuilt)
            words = "; ".join(told)
            self._events.append(words)
            return words

    def reset(self, init: str | None = None, *, seed: int | None = None) -> str:
        """Start the picture again with the settings as they are, from "content", "style" or "noise"."""
        with self._held():
            init = init or self._way.init
            self._begin(init, self._way.seed if seed is None else seed)
            words = f"started again from {'' if init == 'noise' else 'the '}{init}"
            self._events.append(words)
            return words

    def snapshot(self) -> Snapshot:
        """Keep the picture as it is now, with its settings and its recipe; also in `snapshots`."""
        with self._held():
            kept = Snapshot(
                number=self.snapshots[-1].number + 1 if self.snapshots else 1,
                image=self.image,
                losses=self.losses,
                knobs=self.knobs,
                pictures=(self._content, self._style),
                way=self._way.copy(),
                recipe=self.recipe(),
            )
            self.snapshots.append(kept)
            return kept

    def restore(self, snapshot: Snapshot) -> str:
        """Go back to a snapshot: its picture, settings, pictures and history, with a fresh optimiser."""
        with self._held():
            self.model = self._build(snapshot.knobs, *snapshot.pictures)
            self.knobs, self._way = snapshot.knobs, snapshot.way.copy()
            self._content, self._style = snapshot.pictures
            self._run = self._optimisation(snapshot.image)
            self._note({"fresh": True})
            name = NAMES[self.knobs.optimizer]
            self._events = [f"back to snapshot {snapshot.number}, at step {snapshot.step}; {name} starts afresh"]
            return self._events[0]

    def refresh(self) -> str:
        """A fresh optimiser on the picture as it is: no curvature, no moments, and the full learning rate."""
        with self._held():
            self._run = self._optimisation(self._run.image.detach())
            self._note({"fresh": True})
            words = f"{NAMES[self.knobs.optimizer]} starts afresh"
            self._events.append(words)
            return words

    def recipe(self) -> dict[str, Any]:
        """The way to the picture as it is now, fit for JSON: pictures by hash, settings, changes, seed and steps."""
        with self._held():
            return self._way.recipe(self._lens, {"convention": self._convention, **self._layers})

    # How it is done

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The lock, with a word to a step loop in another thread that somebody waits for it."""
        self._waiting += 1
        try:
            self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()

    def _build(self, knobs: Knobs, content: Picture, style: Picture) -> StyleModel | TiledModel:
        encoder = self._lens.encoder(knobs.encoder)
        pictures = (resize(picture.image, knobs.size).to(encoder.device, encoder.dtype) for picture in (content, style))
        chosen = Settings(layer_weights=knobs.layer_weights, convention=self._convention, **self._layers)
        return build_objective(encoder, next(pictures), list(pictures), chosen)

    def _begin(self, init: str, seed: int) -> None:
        if init not in INITS:
            raise ImageError(f"The init {init!r} is unknown: use one of {', '.join(INITS)}.")
        normalize, size = self.model.normalize, self.content.shape[-2:]
        content, style = (p.image.to(normalize.device, normalize.dtype) for p in (self._content, self._style))
        first = first_image(content, style, Settings(init=init, seed=seed), size)
        self._way = Way(self.knobs, self._content, self._style, init, seed)
        self._events: list[str] = []
        self._run = self._optimisation(first)

    def _optimisation(self, image: Tensor) -> Optimisation:
        knobs, normalize = self.knobs, self.model.normalize
        return Optimisation(
            self.model,
            resize(image.detach().clamp(0, 1).to(normalize.device, normalize.dtype), self.content.shape[-2:]),
            optimizer=knobs.optimizer,
            lr=knobs.lr,
            weights=knobs.weights,
            done=len(self.history),
        )

    def _carry_on(self, before: Knobs, rebuilt: bool) -> list[str]:
        """Tell the optimisation what has changed; returns what the history should say of it."""
        knobs, old = self.knobs, self._run
        if rebuilt or knobs.optimizer != before.optimizer or old.diverged:
            self._run = self._optimisation(old.image)
            return [f"{NAMES[self.knobs.optimizer]} starts afresh"]
        old.lr = knobs.lr
        if (knobs.weights, knobs.layer_weights) == (before.weights, before.layer_weights):
            return []
        old.set_weights(knobs.weights)
        return ["L-BFGS forgets its curvature, which belonged to the old loss"] if knobs.optimizer == "lbfgs" else []

    def _note(self, change: dict[str, Any]) -> None:
        self._way.changes.append({"after": len(self.history), **change})

    def _evaluate(self) -> Evaluation:
        before = self._run.image.detach().clone()
        try:
            made = self._run.step()
        except BaseException:
            # An evaluation cut short (the stop button) may leave half a change behind: as if it had not been begun.
            with torch.no_grad():
                self._run.image.copy_(before)
            self.refresh()
            raise
        if self._events:
            made = replace(made, event="; ".join([*self._events, *filter(None, [made.event])]))
            self._events.clear()
        self.history.append(made)
        return made
