"""From the options to a picture on disk: a thin caller of `optimize.Run`, which is what `stylize` calls."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor
from tqdm import tqdm

from ..budget.estimate import estimate
from ..control.masks import load_alpha, load_mask, resize_mask
from ..encoders import load_encoder
from ..engine.outputs import Outputs, save_or_rescue, save_state
from ..engine.settings import Settings
from ..errors import ImageError
from ..images import TRANSPARENT, save_image
from ..optimize import Result, Run, Step
from .interrupts import EXIT_CODE, Interrupts
from .messages import SafeOutput, closing, countdown
from .parser import run_options
from .places import OutputPaths, load_source, pixels_of

__all__ = ["paint"]

# tqdm's own guess of the time left assumes that all steps take equally long, and that a resumed run has just made its
# earlier ones.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
NOTHING = Outputs(every=0, picture=None, checkpoint=None)
SAVED_ELSEWHERE = 1


def paint(options: argparse.Namespace, interrupts: Interrupts, out: SafeOutput, err: SafeOutput) -> int:
    """Make the picture that the options ask for; returns the exit code.

    Raises NSTError or ValueError in one sentence for what can't be used, before any step is made.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *about: err.say(f"nst_helpers: {message}")
        return _paint(options, interrupts, out)


def _paint(options: argparse.Namespace, interrupts: Interrupts, out: SafeOutput) -> int:
    sources = [options.content, *options.style]
    total = options.steps if isinstance(options.steps, int) else sum(options.steps)
    every = options.save_every
    outputs = OutputPaths.check(
        options.output,
        options.history,
        sources=[*sources, *_other_files(options)],
        on_the_way=range(every, total + 1, every) if every else (),
    )
    alpha = _alpha(options, outputs)
    size = options.scales[-1] if options.scales else options.size
    pictures = []
    for source in sources:
        picture, said = load_source(source, None if size == "fit" else size)
        pictures.append(picture)
        if said:
            out.say(said)
    content, *styles = pictures
    chosen = run_options(options) | _masks(options) | {"encoder": load_encoder(options.encoder, pool=options.pool)}
    if isinstance(options.init, Path):
        chosen["init"], _ = load_source(str(options.init), None)
    left = None
    if not options.quiet:
        ahead = estimate(content, styles, **chosen)
        out.say(f"This will take {ahead}.")
        left = countdown(ahead)
    # The checkpoint of a large picture takes gigabytes: unless it is asked for, it is written after Ctrl-C alone.
    run = Run(content, styles, Settings(**chosen))
    if options.resume:
        run.resume(outputs.checkpoint)
    on_the_way = Outputs(every, outputs.picture, outputs.checkpoint, alpha=alpha) if every else NOTHING
    with tqdm(total=total, bar_format=BAR, disable=options.quiet or None, file=out) as bar:
        result = run.finish(on_the_way, _following(bar, out, left, interrupts))
        interrupts.saving()
    if result.stopped == "interrupted":
        if run.optimisation is None:
            raise KeyboardInterrupt  # there is nothing to save
        if not every:  # else `finish` has saved it
            save_state(outputs.checkpoint, run.state)
    return _finish(result, outputs, pixels_of(options.content), out, alpha)


def _other_files(options: argparse.Namespace) -> list[str]:
    """The files that are read besides the pictures."""
    named = [*(options.masks or ()), *(options.style_masks or ()), options.content_map, options.encoder, options.init]
    return [str(file) for file in named if file]


def _alpha(options: argparse.Namespace, outputs: OutputPaths) -> Tensor | None:
    """The photo's transparency, if it has any and it is to be kept. Raises ImageError where OUT can't hold it."""
    if not options.keep_alpha:
        return None
    if outputs.picture.suffix.lower() not in TRANSPARENT:
        raise ImageError(
            f"--keep-alpha needs an OUT that ends in {' or '.join(TRANSPARENT)}: a JPEG has no transparency."
        )
    with contextlib.suppress(ImageError):  # a sample; what else isn't there is told when it is loaded
        return load_alpha(options.content)
    return None


def _masks(options: argparse.Namespace) -> dict[str, Any]:
    """The masks and the content map from their files; `all` stands for the whole of a style picture."""
    masks, parts, weights = options.masks, options.style_masks, options.content_map
    return {
        "masks": masks and [load_mask(file) for file in masks],
        "style_masks": parts and [None if file == "all" else load_mask(file) for file in parts],
        "content_map": weights and load_mask(weights),
    }


def _following(
    bar: tqdm[NoReturn], out: SafeOutput, left: Callable[[int], str] | None, interrupts: Interrupts
) -> Callable[[Step], None]:
    """What is called after each step: moves the bar, and ends the run where that was asked for."""

    def show(step: Step) -> None:
        interrupts.painting()
        bar.n = step.evaluation.step
        words = [left(step.evaluation.step) if left else "", f"loss {step.evaluation.loss:.4g}"]
        bar.set_postfix_str(", ".join(filter(None, words)), refresh=False)
        bar.update(0)
        if step.evaluation.event:
            bar.write(f"step {step.evaluation.step}: {step.evaluation.event}", file=out)
        if step.evaluation.step == bar.total:
            interrupts.saving()
        interrupts.check()

    return show


def _finish(
    result: Result, outputs: OutputPaths, photo: tuple[int, int] | None, out: SafeOutput, alpha: Tensor | None
) -> int:
    """Save picture and history, or else save them where it is possible; returns the exit code."""
    code = EXIT_CODE if result.stopped == "interrupted" else 0
    kept = None if alpha is None else resize_mask(alpha, like=result.image)
    place = save_or_rescue(lambda path: save_image(result.image, path, alpha=kept), outputs.picture)
    if outputs.history:
        history = save_or_rescue(result.save_history, outputs.history)
        code = code or (SAVED_ELSEWHERE if history != outputs.history else 0)
    if result.stopped == "finished":
        outputs.checkpoint.unlink(missing_ok=True)
    out.say(closing(result, place, photo))
    return code or (SAVED_ELSEWHERE if place != outputs.picture else 0)
