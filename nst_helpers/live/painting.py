"""A picture that is being painted, and what makes another one of it when settings or pictures change.

A change makes a new `Painting` and leaves the old one as it is. The session puts the new one in place by one
assignment, so a change that fails or is interrupted changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ..budget.estimate import check_fits, sizes_of
from ..engine.evaluation import Evaluation
from ..engine.inputs import check_masks, match_style_colors
from ..engine.objective import AnyModel, build_objective
from ..engine.optimisation import Optimisation
from ..engine.plan import first_image
from ..engine.settings import INITS, Settings, options
from ..errors import WeightsError
from ..images import scaled
from ..losses import CONVENTIONS, Convention
from ..model import Weights
from .control import Control
from .sources import EncoderCache, NamedImage
from .state import LiveSettings, SessionLog, Snapshot

__all__ = ["OPTIMIZER_NAMES", "Painting", "PaintingBuilder"]

OPTIMIZER_NAMES = {"lbfgs": "L-BFGS", "adam": "Adam"}


@dataclass
class Painting:
    """The pictures, the network with the losses, the optimisation, and the log of how it got here."""

    settings: LiveSettings
    content: NamedImage
    style: NamedImage
    model: AnyModel
    log: SessionLog
    run: Optimisation
    control: Control
    events: list[str] = field(default_factory=list)  # what the next evaluation's record will say
    reweighted: bool = False  # the next evaluation is the first with other weights
    before: tuple[int, Tensor] | None = None  # while a step is made: the evaluations so far, and the image

    @property
    def unfinished(self) -> bool:
        """Whether a step was begun and not finished."""
        return self.before is not None

    def step(self) -> Evaluation:
        """Make one evaluation and log it. After an error it is `unfinished`."""
        run, history = self.run, self.log.history
        self.before = len(history), run.image.detach().clone()
        run.lr = self.settings.lr
        if self.reweighted:
            _weigh_layers(self.model, self.settings.layer_weights)
            run.set_weights(self.settings.weights)
        evaluation = run.step()
        if self.events:
            events = [*self.events, *filter(None, [evaluation.event])]
            evaluation = replace(evaluation, event="; ".join(events))
        history.append(evaluation)
        self.before, self.reweighted, self.events = None, False, []
        return evaluation


@dataclass(frozen=True)
class PaintingBuilder:
    """What stays the same for a whole session, and the ways to a new painting."""

    encoders: EncoderCache
    content_layers: Sequence[str]
    style_layers: Sequence[str]
    convention: str | Convention

    def __post_init__(self) -> None:
        for name in ("content_layers", "style_layers", "convention"):
            object.__setattr__(self, name, options()[name].check(getattr(self, name)))

    def start(
        self,
        settings: LiveSettings,
        content: NamedImage,
        style: NamedImage,
        control: Control,
        *,
        init: str,
        seed: int,
        model: AnyModel | None = None,
    ) -> Painting:
        """A painting before its first step, from "content", "style" or "noise"; `model` if there is one that fits."""
        if not isinstance(init, str):
            raise ValueError(f"init is a {type(init).__name__}, expected one of {', '.join(INITS)}.")
        rules = Settings(init=init, seed=seed)
        model = model or self._model(settings, content, style, control)
        (painting,) = match_style_colors(content.image, [style.image], self.run_settings(settings, control))
        whole = self._moved(content.image, settings), self._moved(painting, settings)
        first = first_image(*whole, rules, _size(content, settings))
        log = SessionLog(settings, content, style, init, rules.seed, control)
        run = self._run(settings, content, model, first, log)
        return Painting(settings, content, style, model, log, run, control, reweighted=True)

    def change(
        self,
        old: Painting,
        settings: LiveSettings,
        pictures: Mapping[str, NamedImage],
        control: Control | None = None,
    ) -> tuple[Painting, str]:
        """The painting with other settings, pictures and control, and in words what is different; "" if nothing is."""
        control = control or old.control
        content, style = pictures.get("content", old.content), pictures.get("style", old.style)
        words = [
            f"{role} {was.name} to {now.name}"
            for role, was, now in (("content", old.content, content), ("style", old.style, style))
            if was.sha256 != now.sha256
        ]
        before = old.settings
        different, control_words = control.since(old.control)
        words += control_words
        self.run_settings(settings, control)  # where nothing would be optimised, this says so
        rebuilt = bool(words) or _network(settings) != _network(before)
        words += settings.words_since(before)
        if not words:
            return old, ""
        model = self._model(settings, content, style, control) if rebuilt else old.model
        if content.sha256 != old.content.sha256:
            new = self.start(settings, content, style, control, init=old.log.init, seed=old.log.seed, model=model)
            words.append("the picture starts again")
        else:
            log = old.log.copy()
            log.note({**settings.since(before), **different}, pictures, control)
            new = replace(
                old, settings=settings, style=style, control=control, model=model, log=log, events=list(old.events)
            )
            if rebuilt or settings.optimizer != before.optimizer or old.run.diverged:
                new.run = self._run(settings, content, model, old.run.image, log)
                words.append(f"{OPTIMIZER_NAMES[settings.optimizer]} starts afresh")
            if _objective(settings) != _objective(before):
                new.reweighted = True
                if new.run is old.run and settings.optimizer == "lbfgs":
                    words.append("L-BFGS forgets its curvature, which belonged to the old loss")
        new.events.append("; ".join(words))
        return new, new.events[-1]

    def resume(self, snapshot: Snapshot) -> tuple[Painting, str]:
        """The painting of a snapshot, with a fresh optimiser, and that in words."""
        self._check_snapshot(snapshot)
        settings, (content, style), log = snapshot.settings, snapshot.pictures, snapshot.log.copy()
        log.note({"fresh": True})
        words = f"back to snapshot {snapshot.number}, at step {snapshot.step}; "
        words += f"{OPTIMIZER_NAMES[settings.optimizer]} starts afresh"
        model = self._model(settings, content, style, snapshot.control)
        run = self._run(settings, content, model, snapshot.canvas, log)
        return Painting(settings, content, style, model, log, run, snapshot.control, [words]), words

    def refresh(self, old: Painting, image: Tensor) -> tuple[Painting, str]:
        """The painting at an image (1, 3, H, W), with a fresh optimiser, and that in words."""
        log = old.log.copy()
        log.note({"fresh": True})
        words = f"{OPTIMIZER_NAMES[old.settings.optimizer]} starts afresh"
        run = self._run(old.settings, old.content, old.model, image, log)
        return replace(old, log=log, run=run, events=[*old.events, words], before=None), words

    def undone(self, old: Painting) -> Painting:
        """The painting as it was before a step that was cut short; as it is, if the step got as far as the log."""
        if old.before is None or len(old.log.history) > old.before[0]:
            return replace(old, before=None)
        return self.refresh(old, old.before[1])[0]

    def recipe(self, painting: Painting) -> dict[str, Any]:
        """The recipe of a painting, fit for JSON."""
        return painting.log.recipe(self.encoders, self._described())

    def _described(self) -> dict[str, Any]:
        """What stays the same for a whole session, fit for JSON."""
        convention = self.convention
        if not isinstance(convention, str):
            known = CONVENTIONS.get(convention.name) is convention
            convention = convention.name if known else f"{convention.name} (of your own)"
        return {
            "convention": convention,
            "content_layers": list(self.content_layers),
            "style_layers": list(self.style_layers),
        }

    def _check_snapshot(self, snapshot: Snapshot) -> None:
        """Raise ValueError for the snapshot of a session whose pictures this one would paint otherwise."""
        if not isinstance(snapshot, Snapshot):
            raise ValueError(f"A {type(snapshot).__name__} can't be restored: give what session.snapshot() gave.")
        start, encoders = snapshot.recipe["start"], snapshot.recipe["encoders"]
        other = [name.replace("_", " ") for name, value in self._described().items() if start[name] != value]
        try:
            for name in encoders:
                self.encoders.encoder(name)
            same = self.encoders.describe(encoders) == encoders
        except WeightsError:
            same = False
        if other := [*other, *([] if same else ["encoders"])]:
            raise ValueError(
                f"The snapshot is of another session (different: {', '.join(other)}): replay its recipe instead."
            )

    def run_settings(self, settings: LiveSettings, control: Control, *, steps: int = 1) -> Settings:
        """The settings of a run of so many steps that goes on as the session does."""
        return Settings(
            steps=steps,
            encoder=self.encoders.encoder(settings.encoder),
            size=settings.size,
            optimizer=settings.optimizer,
            lr=settings.lr,
            content_weight=settings.content_weight,
            style_weight=settings.style_weight,
            tv_weight=settings.tv_weight,
            content_layers=self.content_layers,
            style_layers=self.style_layers,
            layer_weights=settings.layer_weights,
            convention=self.convention,
            device=self.encoders.device,
            precision=self.encoders.precision,
            color=settings.color,
            **control.settings(settings.style_mix),
        )

    def _model(self, settings: LiveSettings, content: NamedImage, style: NamedImage, control: Control) -> AnyModel:
        whole = self.run_settings(settings, control)
        given = control.painting([style.image, *(picture.image for picture in control.others)])
        check_masks(content.image, given, whole)
        check_fits(content.image, given, whole)
        sizes = sizes_of(content.image, given, whole)
        photo, *styles = (scaled(image, size) for image, size in zip([content.image, *given], sizes, strict=True))
        pictures = [self._moved(image, settings) for image in (photo, *match_style_colors(photo, styles, whole))]
        return build_objective(self.encoders.encoder(settings.encoder), pictures[0], pictures[1:], whole)

    def _moved(self, image: Tensor, settings: LiveSettings) -> Tensor:
        """An image where the encoder takes it, in the type that it takes."""
        encoder = self.encoders.encoder(settings.encoder)
        return image.to(encoder.device, encoder.dtype)

    def _run(
        self, settings: LiveSettings, content: NamedImage, model: AnyModel, image: Tensor, log: SessionLog
    ) -> Optimisation:
        """A fresh optimiser on an image (1, 3, H, W), scaled to the size that is being painted."""
        image = self._moved(image.detach().clamp(0, 1), settings)
        return Optimisation(
            model,
            scaled(image, _size(content, settings)),
            optimizer=settings.optimizer,
            lr=settings.lr,
            content_weight=settings.content_weight,
            style_weight=settings.style_weight,
            tv_weight=settings.tv_weight,
            done=len(log.history),
        )


def _size(content: NamedImage, settings: LiveSettings) -> tuple[int, int]:
    """Height and width of the picture that is being painted."""
    height, width = scaled(content.image, settings.size).shape[-2:]
    return height, width


def _weigh_layers(model: AnyModel, weights: Mapping[str, float]) -> None:
    """Set the weights of layers, each for all the losses that its layer has, as `build_model` does."""
    losses = [*model.content_losses.items(), *model.style_losses.items()]
    for name, loss in losses:
        loss.weight = weights.get(name, 1.0)


def _network(settings: LiveSettings) -> tuple[Any, ...]:
    """What the network with the losses depends on besides the pictures."""
    return settings.size, settings.encoder, settings.style_mix, settings.color == "content"


def _objective(settings: LiveSettings) -> tuple[Weights, dict[str, float]]:
    """What the loss depends on besides the pictures and the network."""
    return settings.weights, settings.layer_weights
