"""A running optimisation whose weights, pictures and optimiser may change between steps. No widgets here.

A change needs no restart: the loss layers keep their targets, and the picture goes on from where it is. The session
logs each change beside the step it came after, so that `replay` can repeat what `recipe()` wrote down.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..accel.modes import plain_torch
from ..accel.threads import kept_threads
from ..budget.available import is_out_of_memory
from ..budget.estimate import out_of_memory_error
from ..encoders import Encoder
from ..engine.evaluation import Evaluation
from ..engine.inputs import MASKS, output_image
from ..engine.objective import AnyModel
from ..engine.settings import Settings, options
from ..engine.values import count, number
from ..errors import NSTError
from ..images import resize
from ..losses import Convention
from ..model import CONTENT_LAYERS, STYLE_LAYERS, Weights
from .control import Control
from .locking import locked
from .painting import PaintingBuilder
from .sources import EncoderCache, NamedImage, SessionSource, named_image, sources_of
from .state import LiveSettings, Snapshot, summarize_losses

__all__ = ["Snapshot", "StyleSession"]

LIVE_SIZE = 192  # short side: with the mini encoder, two cores paint more than ten steps a second
PATIENCE = 1.0  # seconds for which a step loop makes way for other threads


class StyleSession:
    """Paint the content in the manner of the style, and change your mind on the way.

    `content` and `style` are images (1, 3, H, W) in [0, 1], which are copied, names of samples, or files. Both are
    scaled to `size`, the length of the short side in pixels; left out, it is the content's own, 192 at most. The
    weights are those of `stylize`. `layer_weights` gives style layers a weight other than 1; as in `stylize`, it counts
    for each loss of the layer, so also for the content loss of one that has both. `style` may be several pictures, with
    `masks` as in `stylize`, or None for a picture that paints nowhere. `style_masks`, `style_size`, `content_map` and
    `balance` as in `stylize` hold for the whole session. Every method may be called from any thread: one lock lets them
    through one after the other, between two steps.

    Raises ImageError, LayerError, WeightsError or ValueError in one sentence for what can't be used.

    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> session = StyleSession(picture, picture.flip(-1), encoder=Encoder(Architecture("toy", ((8,), (8,)))),
    ...                        content_layers=["relu2_1"], style_layers=["relu1_1"])
    >>> first = session.step(2)
    >>> session.set(style_weight=30)
    'style weight 100 to 30; L-BFGS forgets its curvature, which belonged to the old loss'
    >>> session.step()[0].step
    3
    """

    def __init__(
        self,
        content: SessionSource | NamedImage,
        style: SessionSource | NamedImage | Sequence[SessionSource | NamedImage],
        *,
        encoder: Encoder | str = Settings.encoder,
        size: int | None = None,
        content_weight: float = Weights.content,
        style_weight: float = Weights.style,
        tv_weight: float = Weights.tv,
        layer_weights: Mapping[str, float] | None = None,
        optimizer: str = Settings.optimizer,
        lr: float | None = Settings.lr,
        init: str = "content",
        seed: int = Settings.seed,
        content_layers: Sequence[str] = CONTENT_LAYERS,
        style_layers: Sequence[str] = STYLE_LAYERS,
        convention: str | Convention = Settings.convention,
        device: torch.device | str | None = Settings.device,
        precision: str = Settings.precision,
        color: str = Settings.color,
        style_mix: Sequence[float] | None = Settings.style_mix,
        encoders: EncoderCache | None = None,
        **control: Any,
    ) -> None:
        if stray := sorted(control.keys() - {*MASKS, "style_size", "balance"}):
            raise TypeError(f"StyleSession has no option {', '.join(stray)}.")
        self._lock, self._waiting = threading.RLock(), set[int]()
        self.snapshots: list[Snapshot] = []
        precision = options()["precision"].check(precision)
        self._encoders = encoders or EncoderCache(device=device, precision=precision)
        first_style, *others = sources_of(style)
        self._builder = PaintingBuilder(self._encoders, content_layers, style_layers, convention)
        given = {
            "content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight,
            "layer_weights": layer_weights, "optimizer": optimizer, "lr": lr, "color": color, "style_mix": style_mix,
        }  # fmt: skip
        with plain_torch():
            held = Control(others=tuple(named_image(other, "style") for other in others), **control)
            first, second = named_image(content, "content"), named_image(first_style, "style")
            default = LiveSettings(
                layer_weights=dict.fromkeys(self._builder.style_layers, 1.0),
                size=min(LIVE_SIZE, *first.image.shape[-2:]),
                encoder=self._encoders.add(encoder) if isinstance(encoder, Encoder) else str(encoder),
            )
            settings = default.changed(given if size is None else given | {"size": size})
            self._painting = self._builder.start(settings, first, second, held, init=init, seed=seed)

    @property
    def settings(self) -> LiveSettings:
        """The settings as they are now."""
        return self._painting.settings

    @property
    def history(self) -> list[Evaluation]:
        """One record per evaluation since the picture was started, as it was before that evaluation's change."""
        return self._painting.log.history

    @property
    def model(self) -> AnyModel:
        """The network with the losses in it that is being minimised."""
        return self._painting.model

    @property
    def image(self) -> Tensor:
        """The picture as it is now, (1, 3, H, W) in [0, 1]; a copy."""
        return self._current_image()

    @property
    def content(self) -> Tensor:
        """The content picture at the size that is being painted, (1, 3, H, W); a copy."""
        return resize(self._painting.content.image, self.settings.size).clone()

    @property
    def style(self) -> Tensor:
        """The style picture as it came, (1, 3, H, W); a copy."""
        return self._painting.style.image.clone()

    @property
    def pictures(self) -> tuple[NamedImage, NamedImage]:
        """The content and the style picture as they came, each with its name."""
        return self._painting.content, self._painting.style

    @property
    def styles(self) -> list[NamedImage]:
        """All style pictures as they came, each with its name; the first is also the second of `pictures`."""
        return [self._painting.style, *self._painting.control.others]

    @property
    def control(self) -> Control:
        """The further styles, where each style paints, and what else was given to stay in charge."""
        return self._painting.control

    @property
    def losses(self) -> dict[str, Any]:
        """The last evaluation's losses, by "step", "total", "content", "style", "tv" and "layers"; {} before the first.

        "total" is weighted. The others are not, and "style" is the plain mean of its layers, whatever their weights:
        rulers that stay the same when a weight is turned.
        """
        return summarize_losses(self.history[-1]) if self.history else {}

    @property
    def stuck(self) -> bool:
        """Whether the loss has exploded so often that the session waits for a change of settings."""
        return self._painting.run.diverged

    def run_settings(self, *, steps: int) -> Settings:
        """What `estimate` needs, with `run_pictures`, to tell what painting on for so many steps will take."""
        return self._builder.run_settings(self.settings, self.control, steps=steps)

    def run_pictures(self) -> tuple[Tensor, list[Tensor]]:
        """The content, and the style pictures that paint somewhere, (1, 3, H, W) each as it came."""
        painting = self._painting
        return painting.content.image, [style.image for style in painting.control.painting(self.styles)]

    @kept_threads()
    def step(self, n: int | None = None, *, seconds: float | None = None) -> list[Evaluation]:
        """Make n evaluations, or as many as fit into that many seconds and one at least; one if neither is given.

        Returns them, as they are appended to `history`. Other threads' changes are let in between two evaluations.
        """
        n = 1 if n is None and seconds is None else None if n is None else count("n", n, least=0)
        seconds = None if seconds is None else number("seconds", seconds)
        evaluations: list[Evaluation] = []
        start = time.perf_counter()
        while not self.stuck and (n is None or len(evaluations) < n):
            with self._lock:
                evaluations.append(self._evaluate())
            used = time.perf_counter() - start
            if seconds is not None and used * (1 + 1 / len(evaluations)) > seconds:
                break
            self._make_way()
        return evaluations

    @contextlib.contextmanager
    def between_steps(self, *, patience: float) -> Iterator[bool]:
        """Keep steps from beginning; yields whether, within so many seconds, the one under way has ended."""
        thread = threading.get_ident()
        self._waiting.add(thread)
        free = self._lock.acquire(timeout=patience)
        self._waiting.discard(thread)
        try:
            yield free
        finally:
            if free:
                self._lock.release()

    @locked
    def set(self, **changes: Any) -> str:
        """Change anything between two steps; returns in words what changed, and what follows from it.

        Takes `content_weight`, `style_weight`, `tv_weight`, `layer_weights` (some or all), `optimizer`, `lr`, `size`,
        `encoder`, `color`, `style_mix`, the pictures `content` and `style`, and `masks`. A list in `style` takes the
        place of all the style pictures, and one picture that of the first. `masks` has one for each style picture, with
        None for a picture that paints nowhere; `masks=None` takes them away. After a new style, mix, mask, size or
        encoder the picture goes on from where it is; a new content starts it again. What raises changes nothing.
        """
        control, pictures = self.control.changed(changes)
        settings = self.settings.changed(changes, encoders=self._encoders)
        self._painting, words = self._builder.change(self._painting, settings, pictures, control)
        return words

    def has_encoder(self, name: str) -> bool:
        """Whether an encoder is loaded, so that `set(encoder=name)` doesn't have to wait for it."""
        return name in self._encoders

    def load_encoder(self, name: str) -> None:
        """Load an encoder, in whatever thread this is; raises WeightsError where it can't be had."""
        self._encoders.encoder(name)

    @locked
    def reset(self, init: str | None = None, *, seed: int | None = None) -> str:
        """Start the picture again with the settings as they are, from "content", "style" or "noise"."""
        log = self._painting.log
        init, seed = log.init if init is None else init, log.seed if seed is None else seed
        words = f"started again from {'' if init == 'noise' else 'the '}{init}"
        new = self._builder.start(self.settings, *self.pictures, self.control, init=init, seed=seed, model=self.model)
        self._painting = replace(new, events=[words])
        return words

    @locked
    def snapshot(self) -> Snapshot:
        """Keep the picture as it is now, with its settings and its recipe; also in `snapshots`."""
        snapshot = Snapshot(
            number=self.snapshots[-1].number + 1 if self.snapshots else 1,
            image=self.image,
            losses=self.losses,
            settings=self.settings,
            pictures=self.pictures,
            control=self.control,
            log=self._painting.log.copy(),
            recipe=self.recipe(),
            canvas=output_image(self._painting.run.image, None),
        )
        self.snapshots.append(snapshot)
        return snapshot

    @locked
    def restore(self, snapshot: Snapshot) -> str:
        """Go back to a snapshot: its picture, settings, pictures and history, with a fresh optimiser.

        Raises ValueError for the snapshot of a session with other layers, another convention or other encoders.
        """
        self._painting, words = self._builder.resume(snapshot)
        return words

    @locked
    def refresh(self) -> str:
        """A fresh optimiser on the picture as it is: no curvature, no moments, and the full learning rate."""
        self._painting, words = self._builder.refresh(self._painting, self._painting.run.image)
        return words

    @locked
    def recipe(self) -> dict[str, Any]:
        """The way to the picture as it is now, fit for JSON: pictures by hash, settings, changes, seed and steps."""
        return self._builder.recipe(self._painting)

    # How it is done

    def __getstate__(self) -> NoReturn:
        raise TypeError("A session can't be copied or pickled, but its recipe() can: replay makes the same of it.")

    @locked
    def _current_image(self) -> Tensor:
        photo = self._painting.content.image if self.settings.color == "luminance" else None
        return output_image(self._painting.run.image, photo)

    def _make_way(self) -> None:
        """Sleep while other threads wait for the lock, which isn't fair by itself."""
        self._waiting.discard(threading.get_ident())
        end = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < end:
            time.sleep(0.001)

    def _undo_half_a_step(self) -> None:
        """After an evaluation that was cut short (the stop button): as if it had not been begun."""
        if self._painting.unfinished:
            self._painting = self._builder.undone(self._painting)

    def _evaluate(self) -> Evaluation:
        with plain_torch():
            self._undo_half_a_step()
            try:
                return self._painting.step()
            except BaseException as error:
                self._undo_half_a_step()
                if isinstance(error, NSTError) or not is_out_of_memory(error):
                    raise
            raise out_of_memory_error(*self.run_pictures(), self.run_settings(steps=1))
