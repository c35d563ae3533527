"""Style transfer from end to end: `stylize` returns a result, `iterate` is the same run one step at a time.

A run is planned (checked, sized, priced), built (encoder, losses, optimiser) and stepped, and keeps its best image.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .accel.allocator import release_memory
from .accel.devices import choose_device, prepare
from .accel.modes import plain_torch
from .accel.threads import restored_threads
from .budget.available import is_out_of_memory
from .budget.estimate import TooLargeError, check_fits, out_of_memory_error, sizes_of
from .budget.memory import has_room_to_record
from .encoders import Encoder, load_encoder
from .engine.checkpoints import check_fingerprint, fingerprint, read_checkpoint
from .engine.evaluation import Evaluation
from .engine.inputs import PictureSource, match_style_colors, output_image, plan_run, read_run
from .engine.interrupts import hold_interrupts
from .engine.objective import AnyModel, build_objective
from .engine.optimisation import Optimisation
from .engine.outputs import Outputs
from .engine.plan import Stage, first_image, next_image
from .engine.results import Result, Step
from .engine.settings import Settings
from .engine.values import function_of_a_step
from .images import scaled
from .losses import Convention
from .model import CONTENT_LAYERS, STYLE_LAYERS, Weights

__all__ = ["Result", "Settings", "Step", "iterate", "stylize"]


def stylize(
    content: PictureSource,
    style: PictureSource | Sequence[PictureSource],
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
    layer_weights: Mapping[str, float] | str | None = None,
    style_mix: Sequence[float] | None = None,
    masks: Sequence[Tensor] | None = None,
    style_masks: Sequence[Tensor | None] | None = None,
    style_size: float | None = None,
    color: str = "style",
    content_map: Tensor | None = None,
    balance: str = "weights",
    convention: str | Convention = "relative",
    init: str | Tensor = "content",
    seed: int = 0,
    scales: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    precision: str = "auto",
    compiled: bool = True,
    precondition: bool = False,
    history_size: int = 10,
    tile: int | None = None,
    size: int | str | None = None,
    callback: Callable[[Step], Any] | None = None,
    save_every: int = 0,
    save_to: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Result:
    """Paint the content in the manner of the style; each picture keeps its own size.

    `content` and `style` are images (1, 3, H, W) in [0, 1], names of samples or picture files. With `size` all pictures
    are scaled to that short side first; "fit" is the content's own, or the largest that the memory holds.

    A step is one closure evaluation, one forward and one backward pass, for either optimiser ("lbfgs" or "adam").
    `style` may be several pictures, mixed by `style_mix`. `init` is "content", "style", "noise" or an image.
    `scales` lists short sides from coarse to fine and `steps` is then shared out evenly, or given one number a scale.
    `lr_schedule` is "constant", "step" or "cosine". L-BFGS keeps `history_size` steps; with `precondition` it learns
    how far to go in each band of frequencies and each part of the picture. An image larger than `tile` pixels is
    evaluated in tiles, with the same result for less memory and more time. With `compiled`, a GPU
    records an untiled evaluation once, as one graph, and replays it without the interpreter.

    Control over the result:

    - `masks`, one (1, 1, H, W) for each style picture: the region that it paints. Where masks overlap they share, where
      there is none no style pulls, and `style_mix` says how hard each one does. What must stay to the pixel is put
      back afterwards: `mask * image + (1 - mask) * photo`. See `load_mask` and `find_regions`.
    - `style_masks`: the part of each style picture that counts (the sky's style from the sky), or None for all of it.
    - `style_size`: the style pictures' short side as a multiple of the content's; less for finer strokes.
    - `color`: "style"; "content", where the style is matched to the photo's colours before; or "luminance", where each
      picture handed out has the painting's light and the photo's colours.
    - `content_map` (1, 1, H, W): how much the content counts at each position, as `detail_map` gives it.
    - `layer_weights`: a weight for single layers, or "fine" or "coarse": strokes from the first or the last layers.
    - `balance`: with "gradients" the weights are in units of what each term's gradient is for this pair and convention.

    `callback` gets each `Step`. With `save_every=N`, every N steps the picture goes to `save_to` with the step in its
    name, and the state to `checkpoint`, as at the end and after an error; `resume=True` goes on from that file if it is
    there. The result's image is the one with the lowest loss, clamped to [0, 1].

    Ctrl-C or the stop button end the run with the best image so far. A loss that explodes or turns NaN sends the run
    back to its best image with a fresh optimiser, and the history says so.

    The caller's gradient mode, autocast, default device and default type neither change the run nor are changed. Where
    other programs keep cores busy a run has fewer threads, unless you chose their number (accel/threads.py).

    Raises ImageError, LayerError, WeightsError, CheckpointError or ValueError in one sentence, before any work is done,
    for what can't be used or written, and TooLargeError where the run needs more memory than there is.

    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> result = stylize(picture, picture.flip(-1), encoder=Encoder(Architecture("toy", ((8,), (8,)))), steps=3,
    ...                  content_layers=["relu2_1"], style_layers=["relu1_1"], device="cpu")
    >>> result.image.shape, len(result.history), result.stopped
    (torch.Size([1, 3, 16, 16]), 3, 'finished')

    Source: Gatys et al. 2016 (CVPR), section 2.3.
    """
    settings = Settings(
        encoder=encoder, steps=steps, optimizer=optimizer, lr=lr, lr_schedule=lr_schedule,
        content_weight=content_weight, style_weight=style_weight, tv_weight=tv_weight, tv_kind=tv_kind,
        content_layers=content_layers, style_layers=style_layers, layer_weights=layer_weights, style_mix=style_mix,
        masks=masks, style_masks=style_masks, style_size=style_size, color=color, content_map=content_map,
        balance=balance, convention=convention, init=init, seed=seed, scales=scales, device=device, precision=precision,
        compiled=compiled, precondition=precondition, history_size=history_size, tile=tile, size=size,
    )  # fmt: skip
    style = list(style) if isinstance(style, Iterator) else style  # read twice below
    outputs = Outputs.checked(save_every, save_to, checkpoint, resume)
    callback = function_of_a_step("callback", callback)
    outputs.check_sources(content, style, settings.steps)
    run = Run(content, style, settings)
    if outputs.checkpoint is not None and resume:
        run.resume(outputs.checkpoint)
    return run.finish(outputs, callback)


def iterate(
    content: PictureSource,
    style: PictureSource | Sequence[PictureSource],
    settings: Settings | None = None,
    **options: Any,
) -> Iterator[Step]:
    """The same run as `stylize`, handed out one `Step` at a time: look, count, stop when you like.

    Takes a `Settings` or its fields as keywords, and raises what `stylize` raises.

    >>> from nst_helpers.encoders import Architecture
    >>> picture = torch.rand(1, 3, 16, 16)
    >>> for step in iterate(picture, picture, encoder=Encoder(Architecture("toy", ((8,),))), steps=2, device="cpu",
    ...                     content_layers=["conv1_1"], style_layers=["relu1_1"], init="noise"):
    ...     print(step.evaluation.step, tuple(step.image.shape))
    1 (1, 3, 16, 16)
    2 (1, 3, 16, 16)
    """
    if settings is not None and not isinstance(settings, Settings):
        raise ValueError(f"settings is a {type(settings).__name__}, expected Settings, or its fields as keywords.")
    return Run(content, style, replace(settings or Settings(), **options)).steps()


class Run:
    """One run from its pictures to its best image: `steps()` makes it, `state()` and `resume()` save and go on.

    `history` and `optimisation` change together, after each step, so that whoever is interrupted finds them in order.
    """

    def __init__(
        self, content: PictureSource, style: PictureSource | Sequence[PictureSource], settings: Settings
    ) -> None:
        self.content, self.styles, settings = read_run(content, style, settings)
        with plain_torch():
            encoder = settings.encoder if isinstance(settings.encoder, Encoder) else load_encoder(settings.encoder)
        self.encoder, self.settings = encoder, replace(settings, encoder=encoder)
        self.history: list[Evaluation] = []
        self.optimisation: Optimisation | None = None
        self._scale, self._size = 0, (0, 0)
        self._state: Mapping[str, Any] | None = None
        self._fingerprint: dict[str, str] = {}

    @property
    def best(self) -> Tensor:
        """The best image so far, (1, 3, H, W) in [0, 1] on the CPU; before the first step, the content."""
        if self.optimisation is not None:
            return output_image(self.optimisation.best, self._color_source)
        return output_image(self._state["best"] if self._state else self.content, self._color_source)

    @property
    def _color_source(self) -> Tensor | None:
        """The content, where each picture handed out takes its colours (color="luminance"); else None."""
        return self.content if self.settings.color == "luminance" else None

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs, for a checkpoint."""
        assert self.optimisation is not None, "a run has a state from its first step on"
        self._fingerprint = self._fingerprint or fingerprint(self.settings, self.content, self.styles)
        return self.optimisation.state() | {
            "scale": self._scale,
            "fingerprint": self._fingerprint,
            "size": self._size,
            "history": [e.as_dict() for e in self.history],
        }

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, if it is there; raises CheckpointError for one of another run."""
        if (state := read_checkpoint(checkpoint)) is not None:
            self._fingerprint = fingerprint(self.settings, self.content, self.styles)
            check_fingerprint(checkpoint, state["fingerprint"], self._fingerprint)
            self._state, self.history = state, [Evaluation.from_dict(e) for e in state["history"]]

    def finish(self, outputs: Outputs, callback: Callable[[Step], Any] | None) -> Result:
        """Make all steps that are left, unless Ctrl-C or divergence ends them, and save what there is to save."""
        gradients, stopped = torch.is_grad_enabled(), "finished"
        try:
            with restored_threads(), contextlib.closing(self.steps()) as steps:
                for step in steps:
                    if outputs.due(len(self.history)):
                        outputs.save_on_the_way(len(self.history), step.image, self.state)
                    if callback is not None:
                        callback(step)
        except KeyboardInterrupt:
            stopped = "interrupted"
        except BaseException:  # of the callback, say: the steps made so far stay in the checkpoint
            if self.optimisation is not None:
                with contextlib.suppress(Exception):
                    outputs.save_state(self.state)
            raise
        with hold_interrupts(patience=3, deliver=False):
            # An interrupt in the middle of PyTorch's own no_grad leaves gradients off.
            torch.set_grad_enabled(gradients)
            if self.optimisation is not None:
                outputs.save_state(self.state)
                if stopped == "finished" and self.optimisation.diverged:
                    stopped = "diverged"
            return Result(self.best, self.history, stopped)

    def steps(self) -> Generator[Step]:
        """Make the run, step by step."""
        try:
            yield from self._steps()
            return
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, TooLargeError) or not is_out_of_memory(error):
                raise
            self.optimisation = None
        finally:
            release_memory()
        # Raised here and not in the handler: the caught error would keep the run's tensors.
        raise out_of_memory_error(self.content, self.styles, self.settings)

    def _steps(self) -> Iterator[Step]:
        with plain_torch():
            content, styles, stages = self._plan()
            encoder = prepare(self.encoder, device=self.settings.device, precision=self.settings.precision)
        content, *styles = (picture.to(encoder.device, encoder.dtype) for picture in (content, *styles))
        started, image = time.perf_counter(), None
        first = self._state["scale"] if self._state else 0
        for scale in range(first, len(stages)):
            with plain_torch():
                size = stages[scale].size
                if image is None:
                    image = first_image(content, styles[0], self.settings, size)
                else:
                    image = next_image(image, content, self.settings, size)
                model = build_objective(encoder, content, styles, self.settings, size)
                optimisation = self._start(model, image, stages, scale, started)
            while not (optimisation.finished or optimisation.diverged):
                with hold_interrupts():
                    evaluation = optimisation.step()
                    self.history.append(evaluation)
                    self.optimisation, self._scale = optimisation, scale
                yield Step(evaluation, optimisation, scale, self._color_source)
            image, started = optimisation.best.clamp(0, 1), optimisation.started
            if scale + 1 < len(stages):
                # The next scale is larger: this one's network and curvature make room for it first.
                optimisation.finish()
                del model
                release_memory()

    def _plan(self) -> tuple[Tensor, list[Tensor], list[Stage]]:
        """The pictures at their sizes, and the scales."""
        settings = self.settings
        if self._state and settings.size == "fit":
            # The size that the run began with: by now other memory may be free.
            settings = replace(settings, size=min(self._state["size"]))
        pictures = [self.content, *self.styles]
        sizes = sizes_of(pictures[0], pictures[1:], settings)
        stages = plan_run(self.encoder, sizes[0], sizes[1:], settings)
        need = check_fits(sizes[0], sizes[1:], replace(settings, size=None, style_size=None))
        self._size = sizes[0]
        pictures = [scaled(picture, size).clamp(0, 1) for picture, size in zip(pictures, sizes, strict=True)]
        pictures[1:] = match_style_colors(pictures[0], pictures[1:], settings)
        if not has_room_to_record(need, choose_device(settings.device)):
            self.settings = replace(self.settings, compiled=False)
        return pictures[0], pictures[1:], stages

    def _start(
        self, model: AnyModel, image: Tensor, stages: Sequence[Stage], scale: int, started: float
    ) -> Optimisation:
        """The optimisation of one scale, from its first image or from the state of an earlier process."""
        total, done = stages[scale].steps, sum(stage.steps for stage in stages[:scale])
        ahead = self.settings.compiled and image.is_cuda
        optimisation = Optimisation(model, image, self.settings, total=total, done=done, started=started, ahead=ahead)
        if self._state and scale == self._state["scale"]:
            optimisation.load(self._state)
            self.optimisation, self._scale, self._state = optimisation, scale, None
        return optimisation
