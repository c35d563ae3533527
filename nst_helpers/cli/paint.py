"""From the options to a picture on disk: a thin caller of `stylize`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ..budget.estimate import estimate
from ..encoders import load_encoder
from ..images import save_image
from ..optimize import Result, Step, stylize
from .interrupts import EXIT_CODE, Interrupts
from .messages import SafeOutput, closing, countdown
from .parser import run_options
from .places import Outputs, load_source, pixels_of

__all__ = ["paint"]

# tqdm's own guess of what is left takes all steps to last alike, and those of a resumed run to have been made just now.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
SAVED_ELSEWHERE = 1


def paint(options: argparse.Namespace, interrupts: Interrupts, out: SafeOutput, err: SafeOutput) -> int:
    """Make the picture that the options ask for; returns the exit code.

    Raises NSTError or ValueError in one sentence for what can't be used, before any step is made.
    """
    sources = [options.content, *options.style]
    outputs = Outputs.check(options.output, options.history, sources=sources)
    size = options.scales[-1] if options.scales else options.size
    pictures = []
    for source in sources:
        picture, said = load_source(source, None if size == "fit" else size)
        pictures.append(picture)
        if said:
            out.say(said)
    content, *styles = pictures
    chosen = run_options(options) | {"encoder": load_encoder(options.encoder)}
    left = None
    if not options.quiet:
        ahead = estimate(content, styles, **chosen)
        out.say(f"This will take {ahead}.")
        left = countdown(ahead)
    total = options.steps if isinstance(options.steps, int) else sum(options.steps)
    with tqdm(total=total, bar_format=BAR, disable=options.quiet or None, file=out) as bar:
        result = stylize(
            content,
            styles,
            **chosen,
            callback=_following(bar, left, interrupts),
            save_every=options.save_every or 0,
            save_to=outputs.picture if options.save_every else None,
            checkpoint=outputs.checkpoint,
            resume=options.resume,
        )
        interrupts.saving()
    return _finish(result, outputs, pixels_of(options.content), out, err)


def _following(
    bar: tqdm[NoReturn], left: Callable[[int], str] | None, interrupts: Interrupts
) -> Callable[[Step], None]:
    """What is called after each step: moves the bar, and ends the run where that was asked for."""

    def show(step: Step) -> None:
        interrupts.painting()
        bar.n = step.evaluation.step
        words = [left(step.evaluation.step) if left else "", f"loss {step.evaluation.loss:.4g}"]
        bar.set_postfix_str(", ".join(filter(None, words)), refresh=False)
        bar.update(0)
        if step.evaluation.event:
            bar.write(f"step {step.evaluation.step}: {step.evaluation.event}", file=bar.fp)
        if step.evaluation.step == bar.total:
            interrupts.saving()
        interrupts.check()

    return show


def _finish(result: Result, outputs: Outputs, photo: tuple[int, int] | None, out: SafeOutput, err: SafeOutput) -> int:
    """Save picture and history, or else save them where it is possible; returns the exit code."""
    code = EXIT_CODE if result.stopped == "interrupted" else 0
    place = _save(lambda path: save_image(result.image, path), outputs.picture, err)
    if outputs.history:
        history = _save(result.save_history, outputs.history, err)
        code = code or (SAVED_ELSEWHERE if history != outputs.history else 0)
    if result.stopped == "finished":
        outputs.checkpoint.unlink(missing_ok=True)
    out.say(closing(result, place, photo))
    return code or (SAVED_ELSEWHERE if place != outputs.picture else 0)


def _save(write: Callable[[Path], object], path: Path, err: SafeOutput) -> Path:
    """Write the file in its place, or where that fails in a new folder for temporary files; returns where it is."""
    try:
        write(path)
        return path
    except (OSError, ValueError) as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="nst-")) / path.name
        write(elsewhere)
        err.say(f"nst_helpers: {error} It is in {elsewhere} instead.")
        return elsewhere
