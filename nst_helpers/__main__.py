"""The command line: `python -m nst_helpers CONTENT STYLE -o OUT`, a thin caller of `stylize`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .budget.estimate import Estimate, estimate
from .budget.progress import Pace, left_words
from .engine.settings import INITS, OPTIMIZERS, SCHEDULES, Settings
from .errors import NSTError
from .images import check_output, load_image, save_image
from .optimize import Step, stylize
from .samples import list_samples, load_sample

__all__ = ["main"]

CHOICES = (
    "encoder",
    "steps",
    "optimizer",
    "lr",
    "lr_schedule",
    "content_weight",
    "style_weight",
    "tv_weight",
    "init",
    "seed",
    "scales",
    "device",
    "precision",
    "compiled",
    "precondition",
    "history_size",
    "tile",
)  # the options that are passed on to `stylize` as they are
# tqdm's own guess of what is left takes all steps to last alike, and those of a resumed run to have been made just now.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
INTERRUPTED = 130  # What a shell reports for a program that Ctrl-C ended.


def build_parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m nst_helpers",
        description="Paint a photo in the manner of another picture (Gatys et al. 2016).",
        epilog="CONTENT and STYLE are picture files, or names of the pictures that come with the package: "
        "see --list-samples.",
    )
    add = parser.add_argument
    add("content", metavar="CONTENT", nargs="?", help="the photo to paint")
    add("style", metavar="STYLE", nargs="*", help="the picture whose style to take; several are mixed")
    add("-o", "--output", metavar="OUT", help="where the result goes: .png, .jpg or .webp")
    add("--encoder", default=default.encoder, help="mini (the default), vgg19, hed, or a file")
    add(
        "--size",
        type=_size,
        default=256,
        metavar="N",
        help="short side of all pictures in pixels, or 'fit' for the largest that the memory holds (default: 256)",
    )
    add(
        "--steps",
        type=_steps,
        default=default.steps,
        metavar="N[,N...]",
        help="closure evaluations: shared out among the scales, or a number for each, as 150,60 (default: %(default)s)",
    )
    add("--optimizer", choices=OPTIMIZERS, default=default.optimizer, help="(default: %(default)s)")
    add("--lr", type=float, default=default.lr, help="learning rate (default: 1 for lbfgs, 0.03 for adam)")
    add("--lr-schedule", choices=SCHEDULES, default=default.lr_schedule, help="(default: %(default)s)")
    add("--content-weight", type=_weight, default=default.content_weight, help="(default: %(default)g)")
    add("--style-weight", type=_weight, default=default.style_weight, help="(default: %(default)g)")
    add("--tv-weight", type=_weight, default=default.tv_weight, help="total variation (default: %(default)g)")
    add("--init", choices=INITS, default=default.init, help="the image to start from (default: %(default)s)")
    add("--seed", type=int, default=default.seed, help="for the noise (default: %(default)s)")
    add("--scales", type=_positive, nargs="+", help="short sides from coarse to fine; the last one replaces --size")
    add("--device", help="cpu, cuda or mps (default: the fastest there is)")
    kinds = ("auto", "float32", "bfloat16", "float16")
    add("--precision", choices=kinds, default=default.precision, help="(default: auto)")
    add("--compiled", action="store_true", help="compile the evaluation first: for long runs on a GPU")
    add("--precondition", action="store_true", help="let L-BFGS learn how far to go in each frequency: fewer steps")
    add(
        "--history-size",
        type=_positive,
        default=default.history_size,
        metavar="N",
        help="steps that L-BFGS keeps; fewer take less memory (default: %(default)s)",
    )
    add("--tile", type=_positive, help="evaluate in tiles of so many pixels: less memory, half as long again")
    add("--save-every", type=_positive, metavar="N", help="also save the picture and a checkpoint every N steps")
    add("--history", metavar="FILE.json", help="write one record per closure evaluation")
    add("--resume", action="store_true", help="go on from OUT's checkpoint, if there is one")
    add("--list-samples", action="store_true", help="list the pictures that come with the package")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 2 with one sentence for what can't be used, or 130 after Ctrl-C."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.list_samples:
        print(*(f"{kind:8} {name}" for kind in ("content", "style") for name in list_samples(kind)), sep="\n")
        return 0
    if not (options.content and options.style and options.output):
        parser.error("CONTENT, STYLE and -o OUT are needed: python -m nst_helpers photo.jpg painting.jpg -o out.png")
    try:
        return run(options)
    except (NSTError, ValueError) as error:
        print(f"nst_helpers: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nst_helpers: interrupted before the first step; nothing was saved.", file=sys.stderr)
        return INTERRUPTED


def run(options: argparse.Namespace) -> int:
    # A background job of a shell script starts with Ctrl-C's signal ignored; this command promises to heed it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = check_output(options.output)
    history = Path(options.history) if options.history else None
    if history and not history.parent.is_dir():
        raise ValueError(f"The folder {history.parent} for --history doesn't exist: make it first.")
    total = options.steps if isinstance(options.steps, int) else sum(options.steps)
    size = options.scales[-1] if options.scales else options.size
    content = read(options.content, None if size == "fit" else size)
    styles = [read(style, None if size == "fit" else size) for style in options.style]
    chosen = {name: getattr(options, name) for name in CHOICES} | {"size": "fit" if size == "fit" else None}
    left = None
    if not options.quiet:
        ahead = estimate(content, styles, **chosen)
        print(f"This will take {ahead}.", flush=True)
        left = countdown(ahead)
    checkpoint = output.with_name(output.name + ".checkpoint")
    keep = options.save_every or options.resume

    from tqdm import tqdm

    with tqdm(total=total, bar_format=BAR, disable=options.quiet or None, file=sys.stdout) as bar:

        def show(step: Step) -> None:
            bar.n = step.evaluation.step
            words = [left(step.evaluation.step) if left else "", f"loss {step.evaluation.loss:.4g}"]
            bar.set_postfix_str(", ".join(filter(None, words)), refresh=False)
            bar.update(0)
            if step.evaluation.event:
                bar.write(f"step {step.evaluation.step}: {step.evaluation.event}", file=sys.stdout)

        result = stylize(
            content,
            styles,
            **chosen,
            callback=show,
            save_every=options.save_every or 0,
            save_to=output if options.save_every else None,
            checkpoint=checkpoint if keep else None,
            resume=options.resume,
        )
    save_image(result.image, output)
    if history:
        result.save_history(history)
    if result.stopped == "finished":
        checkpoint.unlink(missing_ok=True)
    print(closing(result, output))
    return INTERRUPTED if result.stopped == "interrupted" else 0


def countdown(ahead: Estimate) -> Callable[[int], str]:
    """Says after each step how long the rest takes: as estimated, corrected by the pace of the steps made so far.

    >>> countdown(Estimate(90.0, ((10, 2.0), (10, 7.0)), 0, 0, 0))(10)
    'about 70 s left'
    """
    pace, last = Pace(), 0

    def left(step: int) -> str:
        nonlocal last
        pace.done(ahead.after(last) - ahead.after(step))
        last, rest = step, ahead.after(step)
        return left_words(rest * (pace.each or 1.0)) if rest else ""

    return left


def read(source: str, size: int | None):
    """A picture from a file, or from the package where no such file exists."""
    if not Path(source).exists() and source in list_samples():
        return load_sample(source, size=size)
    return load_image(source, size=size)


def closing(result, output: Path) -> str:
    if not result.history:
        return f"{output}: {result.stopped} before the first step"
    best = min(result.history, key=lambda e: (e.size != result.history[-1].size, e.loss))
    style = sum(best.style.values()) / max(len(best.style), 1)
    content = sum(best.content.values()) / max(len(best.content), 1)
    how = "" if result.stopped == "finished" else f", {result.stopped}"
    return (
        f"{output}: {best.size[1]} x {best.size[0]}, {result.history[-1].step} steps in {result.seconds:.1f} s{how}; "
        f"loss {best.loss:.4g} (content {content:.3g}, style {style:.3g}, total variation {best.tv:.3g})"
    )


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} came, but it needs to be 1 or more")
    return value


def _steps(text: str) -> int | list[int]:
    steps = [_positive(word) for word in text.split(",")]
    return steps if len(steps) > 1 else steps[0]


def _size(text: str) -> int | str:
    return text if text == "fit" else _positive(text)


def _weight(text: str) -> float:
    if not 0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} came, but a weight is a number of 0 or more")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
