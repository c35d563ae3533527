"""Style transfer from end to end: `stylize` returns a result, `iterate` is the same run one step at a time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .accel.allocator import give_back, kept_memory
from .accel.devices import prepare
from .budget.estimate import TooLargeError, check_fits, ran_out, sizes_of
from .budget.memory import has_room, is_out_of_memory
from .encoders import Encoder, load_encoder
from .engine.checkpoints import fingerprint, read_checkpoint, write_checkpoint
from .engine.objective import build_objective
from .engine.optimisation import HISTORY_SIZE, Evaluation, Optimisation
from .engine.plan import first_image, plan
from .engine.settings import Settings
from .images import check_image, resize, save_image
from .losses import Convention
from .model import CONTENT_LAYERS, STYLE_LAYERS, Weights

__all__ = ["Result", "Settings", "Step", "iterate", "stylize"]


@dataclass(frozen=True)
class Step:
    """One step of a run: its evaluation, and the pictures as they are now."""

    evaluation: Evaluation
    optimisation: Optimisation
    scale: int = 0

    @property
    def image(self) -> Tensor:
        """The image as it is after this step, (1, 3, H, W), clamped to [0, 1]."""
        return self.optimisation.image.detach().clamp(0, 1).cpu()

    @property
    def best(self) -> Tensor:
        """The image with the lowest loss evaluated so far at this scale, clamped to [0, 1]."""
        return self.optimisation.best.clamp(0, 1).cpu()


@dataclass
class Result:
    """A run's picture and its history, one record per closure evaluation."""

    image: Tensor
    history: list[Evaluation] = field(default_factory=list)
    stopped: str = "finished"  # or "interrupted", or "diverged"

    @property
    def seconds(self) -> float:
        return self.history[-1].seconds if self.history else 0.0

    @property
    def loss(self) -> float:
        """The lowest loss evaluated at the last scale."""
        size = self.history[-1].size
        return min(e.loss for e in self.history if e.size == size)

    def save_history(self, path: str | Path) -> Path:
        """Write the history as JSON."""
        path = Path(path)
        path.write_text(json.dumps([e.as_dict() for e in self.history], indent=1))
        return path


def stylize(
    content: Tensor,
    style: Tensor | Sequence[Tensor],
    *,
    encoder: Encoder | str = "mini",
    steps: int | Sequence[int] = 200,
    optimizer: str = "lbfgs",
    lr: float | None = None,
    lr_schedule: str = "constant",
    content_weight: float = Weights.content,
    style_weight: float = Weights.style,
    tv_weight: float = Weights.tv,
    tv_kind: str = "l2",
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    layer_weights: Mapping[str, float] | None = None,
    style_mix: Sequence[float] | None = None,
    convention: str | Convention = "relative",
    init: str | Tensor = "content",
    seed: int = 0,
    scales: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    precision: str = "auto",
    compiled: bool = True,
    precondition: bool = False,
    history_size: int = HISTORY_SIZE,
    tile: int | None = None,
    size: int | str | None = None,
    callback: Callable[[Step], Any] | None = None,
    save_every: int = 0,
    save_to: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Result:
    """Paint the content (1, 3, H, W) in the manner of the style, both in [0, 1], each of its own size.

    With `size` all pictures are scaled to that short side first; "fit" is the content's own, or the largest that the
    memory holds.

    A step is one closure evaluation, one forward and one backward pass, for either optimiser ("lbfgs" or "adam").
    `style` may be several pictures, mixed by `style_mix`. `init` is "content", "style", "noise" or an image.
    `scales` lists short sides from coarse to fine and `steps` is then shared out evenly, or given one number a scale.
    `lr_schedule` is "constant", "step" or "cosine". L-BFGS keeps `history_size` steps; with `precondition` it learns
    how far to go in each band of frequencies and each part of the picture. An image larger than `tile` pixels is
    evaluated in tiles, with the same result for less memory and more time. With `compiled`, a GPU
    records an untiled evaluation as one graph and replays it without the interpreter. `callback` gets each `Step`. With
    `save_every=N`, every N steps the picture goes to `save_to` with the step in its name, and the state to
    `checkpoint`; `resume=True` goes on from that file if it is there. The result's image is the one with the lowest
    loss, clamped to [0, 1].

    Ctrl-C or the stop button end the run with the best image so far. A loss that explodes or turns NaN sends the run
    back to its best image with a fresh optimiser, and the history says so.

    Raises ImageError, LayerError, WeightsError or ValueError in one sentence for what can't be used, and TooLargeError,
    before anything is allocated, where the run needs more memory than there is.

    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> result = stylize(picture, picture.flip(-1), encoder=Encoder(Architecture("toy", ((8,), (8,)))), steps=3,
    ...                  content_layers=["relu2_1"], style_layers=["relu1_1"], device="cpu")
    >>> result.image.shape, len(result.history), result.stopped
    (torch.Size([1, 3, 16, 16]), 3, 'finished')

    Source: Gatys et al. 2016 (CVPR), section 2.3.
    """
    settings = Settings(
        encoder=encoder,
        steps=steps,
        optimizer=optimizer,
        lr=lr,
        lr_schedule=lr_schedule,
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        tv_kind=tv_kind,
        content_layers=content_layers,
        style_layers=style_layers,
        layer_weights=layer_weights,
        style_mix=style_mix,
        convention=convention,
        init=init,
        seed=seed,
        scales=scales,
        device=device,
        precision=precision,
        compiled=compiled,
        precondition=precondition,
        history_size=history_size,
        tile=tile,
        size=size,
    )
    if save_every < 0 or (save_every and save_to is None and checkpoint is None):
        raise ValueError("save_every needs to be 0 or more, with a path in save_to or checkpoint to save to.")
    styles = _list(style)
    told = fingerprint(settings, content, styles) if checkpoint else {}
    state = read_checkpoint(checkpoint, told) if resume and checkpoint else None
    history = [Evaluation(**e) for e in state["history"]] if state else []
    result = Result(image=state["best"].clamp(0, 1) if state else content.detach().clamp(0, 1), history=history)

    def keep(step: Step) -> None:
        state = step.optimisation.state() | {"scale": step.scale, "fingerprint": told}
        write_checkpoint(checkpoint, state | {"history": [e.as_dict() for e in history]})

    step = None
    try:
        for step in iterate(content, styles, settings, state=state):
            history.append(step.evaluation)
            if save_every and len(history) % save_every == 0:
                if save_to is not None:
                    save_image(step.image, numbered(save_to, len(history)))
                if checkpoint is not None:
                    keep(step)
            if callback is not None:
                callback(step)
    except KeyboardInterrupt:
        result.stopped = "interrupted"
    if step is not None:
        result.image = step.best
        if result.stopped == "finished" and step.optimisation.diverged:
            result.stopped = "diverged"
        if checkpoint is not None:
            keep(step)
    return result


def iterate(
    content: Tensor,
    style: Tensor | Sequence[Tensor],
    settings: Settings | None = None,
    *,
    state: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[Step]:
    """The same run as `stylize`, handed out one `Step` at a time: look, count, stop when you like.

    Takes a `Settings` or its fields as keywords.

    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16)
    >>> for step in iterate(picture, picture, encoder=Encoder(Architecture("toy", ((8,),))), steps=2, device="cpu",
    ...                     content_layers=["conv1_1"], style_layers=["relu1_1"], init="noise"):
    ...     print(step.evaluation.step, tuple(step.image.shape))
    1 (1, 3, 16, 16)
    2 (1, 3, 16, 16)
    """
    settings, styles = replace(settings or Settings(), **options), _list(style)
    try:
        yield from _steps(content, styles, settings, state)
        return
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TooLargeError) or not is_out_of_memory(error):
            raise
    # Here and not above: until the error is let go of, it holds on to the run's tensors.
    raise ran_out(content, styles, settings)


def _steps(
    content: Tensor, styles: list[Tensor], settings: Settings, state: Mapping[str, Any] | None
) -> Iterator[Step]:
    for name, picture in [("content", content), *(("style", s) for s in styles)]:
        check_image(picture, name=name)
    encoder = load_encoder(settings.encoder) if isinstance(settings.encoder, str) else settings.encoder
    settings = replace(settings, encoder=encoder)
    sizes = sizes_of(content, styles, settings)
    need = check_fits(sizes[0], sizes[1:], settings, size=None)
    if settings.size is not None:
        content, *styles = (resize(image, size) for image, size in zip([content, *styles], sizes, strict=True))
    encoder = prepare(encoder, device=settings.device, precision=settings.precision)
    content, *styles = (image.to(encoder.device, encoder.dtype) for image in [content, *styles])
    stages, started, image = plan(tuple(content.shape[-2:]), settings), time.perf_counter(), None
    # Who asks for tiles asks for less memory, and a heap that keeps large images has large holes.
    keeps = has_room(need, content.device) and not settings.in_tiles(stages[-1][0])
    with kept_memory() if keeps else contextlib.nullcontext():
        for scale, (size, steps) in enumerate(stages):
            if state and scale < state["scale"]:
                continue
            image = first_image(content, styles[0], settings, size) if image is None else resize(image, size)
            optimisation = Optimisation(
                build_objective(encoder, content, styles, settings, size),
                image,
                optimizer=settings.optimizer,
                lr=settings.lr,
                schedule=settings.lr_schedule,
                total=steps,
                weights=settings.weights,
                done=sum(n for _, n in stages[:scale]),
                started=started,
                precondition=settings.precondition,
                history_size=settings.history_size,
                ahead=settings.compiled and content.is_cuda,
            )
            if state and scale == state["scale"]:
                optimisation.load(state)
                started = optimisation.started
            while not (optimisation.finished or optimisation.diverged):
                yield Step(optimisation.step(), optimisation, scale)
            image = optimisation.best.clamp(0, 1)
            if scale + 1 < len(stages):
                # The next scale is larger: this one's network and history make room for it first.
                optimisation.finish()
                give_back()


def numbered(path: str | Path, step: int) -> Path:
    """The path with the step in its name.

    >>> numbered("out.png", 20).name
    'out_0020.png'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}_{step:04d}{path.suffix}")


def _list(style: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [style] if isinstance(style, Tensor) else list(style)
