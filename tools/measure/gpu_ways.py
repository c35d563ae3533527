"""Each way through a run on a device: checkpoints, sessions, recipes, sweeps, memory, for gpu_right.py."""

from __future__ import annotations

import gc
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_pictures import RUN, VALUE, encoder_of, off, photos, require_below, run_options, run_pictures
from gpu_rows import Left, synchronize
from torch import Tensor

import nst_helpers as nst

ROOT = Path(__file__).resolve().parents[2]

STILL_HELD = 8  # MB of a device's memory that may go otherwise between two looks


def checkpoint(device: torch.device, small: bool) -> dict[str, float]:
    """Stop and go on: here, begun here and gone on with on the CPU, and the other way round."""
    content, style = run_pictures(small)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for optimizer in ("lbfgs", "adam"):
            whole = nst.stylize(content, style, **run_options("cpu", optimizer=optimizer))
            for first, second in ((device, device), (device, "cpu"), ("cpu", device)):
                path = Path(folder) / f"{optimizer} {first} {second}.pt".replace(":", "")
                kept = {"checkpoint": path, "resume": True}
                nst.stylize(content, style, **run_options(first, optimizer=optimizer, steps=6), **kept)
                ended = nst.stylize(content, style, **run_options(second, optimizer=optimizer), **kept)
                if [e.step for e in ended.history] != list(range(1, 13)):
                    raise AssertionError(f"{optimizer}, {first} then {second}: wrong steps")
                worst = max(off(a.loss, b.loss) for a, b in zip(ended.history, whole.history, strict=True))
                found[f"{optimizer} {first}-{second}"] = worst
                require_below(worst, RUN, f"a loss of {optimizer}, {first} then {second},")
    return found


def session(device: torch.device, small: bool) -> dict[str, Any]:
    """200 random operations: the picture stays a picture, and the history goes on."""
    draw = random.Random(7)
    made = nst.StyleSession("temple", "night_swirls", size=64, device=device, precision="float32")
    counts: dict[str, int] = {}

    def change() -> None:
        options = {
            "style_weight": lambda: 10 ** draw.uniform(0, 4),
            "content_weight": lambda: draw.choice([0.0, 1.0, 5.0]),
            "tv_weight": lambda: draw.choice([0.0, 50.0]),
            "optimizer": lambda: draw.choice(["adam", "lbfgs"]),
            "layer_weights": lambda: {"relu1_1": draw.uniform(0.1, 2)},
            "size": lambda: draw.choice([48, 64, 80]),
            "style": lambda: draw.choice(["wave", "night_swirls"]),
            "content": lambda: draw.choice(["temple", "cat"]),
        }
        name = draw.choice(list(options))
        made.set(**{name: options[name]()})

    operations: dict[str, Callable[[], Any]] = {
        "step": lambda: made.step(draw.randint(1, 3)),
        "set": change,
        "reset": lambda: made.reset(draw.choice(["content", "style", "noise"]), seed=draw.randint(0, 9)),
        "snapshot": made.snapshot,
        "restore": lambda: made.snapshots and made.restore(draw.choice(made.snapshots)),
        "refresh": made.refresh,
        "recipe": made.recipe,
    }
    for _ in range(40 if small else 200):
        name = draw.choices(list(operations), weights=[8, 5, 1, 1, 1, 1, 1])[0]
        operations[name]()
        counts[name] = counts.get(name, 0) + 1
        nst.check_image(made.image)
    if not made.history:
        made.step()
    if [e.step for e in made.history] != list(range(1, len(made.history) + 1)):
        raise AssertionError("the history has a gap")
    return counts | {"restarts": sum("back to the best" in e.event for e in made.history)}


def recipe(device: torch.device, small: bool) -> dict[str, Any]:
    """Walk a recipe again: here, and on the CPU."""
    made = nst.StyleSession("temple", "night_swirls", size=64, device=device, precision="float32")
    made.step(5)
    made.set(style_weight=30.0, optimizer="adam")
    made.step(5)
    again, there = (nst.replay(made.recipe(), device=d) for d in (device, "cpu"))
    here = (again.image - made.image).abs().max().item()
    require_below(here, 0.02, "the picture here")
    require_below((there.image - made.image).abs().mean().item(), 0.01, "the picture on the CPU")
    return {"to the pixel": torch.equal(again.image, made.image), "largest": here}


def sweep(device: torch.device, small: bool) -> dict[str, Any]:
    """Two cells of a grid, in this process."""
    content, style = run_pictures(small)
    cells = nst.sweep({"style_weight": [1.0, 100.0]}, content=content, style=style, **run_options(device, steps=3))
    if not all(cell.ok for cell in cells):
        raise AssertionError([cell.error for cell in cells])
    return {"cells": len(cells)}


def command_line(device: torch.device, small: bool) -> str:
    """The command line in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.png"
        command = [sys.executable, "-m", "nst_helpers", "temple", "wave", "-o", str(out), "--size", "64"]
        command += ["--steps", "3", "--device", str(device)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode or not out.exists():
            raise AssertionError(done.stderr[-800:])
    return " ".join(done.stdout.split())[-160:]


class Slow(torch.nn.Module):
    """A model whose losses come late: the device has something else to do first."""

    def __init__(self, inner: Any, cycles: int) -> None:
        super().__init__()
        self.inner, self.cycles = inner, cycles
        self.content_losses, self.style_losses = inner.content_losses, inner.style_losses
        self.tv_loss, self.normalize = inner.tv_loss, inner.normalize

    def forward(self, image: Tensor) -> None:
        if image.is_cuda:
            torch.cuda._sleep(self.cycles)
        self.inner(image)

    def total_loss(self, **weights: float) -> Tensor:
        return self.inner.total_loss(**weights)


def ahead(device: torch.device, small: bool) -> dict[str, Any]:
    """Numbers read an evaluation late are those that are read at once, however late the device is."""
    prepared = nst.prepare(encoder_of("mini", "avg"), device=device, precision="float32")
    content, style = (p.to(device) for p in photos((64, 80)))
    told = []
    for late, cycles in ((False, 0), (True, 20_000_000), (True, 0)):
        made = Slow(nst.build_model(prepared, content, style), cycles)
        run = nst.Optimisation(made, content, total=12, ahead=late)
        evaluations = []
        while not run.finished:
            evaluations.append(run.step())
        told.append([(e.loss, e.tv, *e.content.values(), *e.style.values()) for e in evaluations])
    synchronize(device)
    worst = max(off(torch.tensor(a), torch.tensor(b)) for late in told[1:] for a, b in zip(late, told[0], strict=True))
    require_below(worst, 0.01, "a number read late")
    return {"the same": told[0] == told[1] == told[2], "worst": worst}


def estimate(device: torch.device, small: bool) -> dict[str, float]:
    """Seconds and bytes, promised and taken."""
    found: dict[str, float] = {}
    shapes = [("mini", 64, {})] if small else [("mini", 512, {}), ("vgg19", 512, {}), ("vgg19", 1024, {"tile": 512})]
    for name, size, more in shapes:
        pictures, options = photos((size, size)), run_options(device, encoder=encoder_of(name), steps=20, **more)
        promised = nst.estimate(*pictures, **options)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        made = nst.stylize(*pictures, **options)
        key = f"{name} {size}{' tiled' if more else ''}"
        found[f"{key} seconds promised/taken"] = promised.seconds / made.seconds
        if device.type == "cuda":
            taken = torch.cuda.max_memory_allocated(device) - before
            found[f"{key} bytes promised/taken"] = promised.run_bytes / taken
            if promised.run_bytes < 0.9 * taken:
                raise AssertionError(f"{key}: {promised.run_bytes} bytes promised, {taken} taken; {found}")
    return found


def refusal(device: torch.device, small: bool) -> str:
    """A run too large for what is free is refused beforehand, and the size that is named runs."""
    if device.type != "cuda":
        raise Left("the free memory of a GPU")
    torch.cuda.empty_cache()
    held = torch.empty(torch.cuda.mem_get_info(device)[0] - 3 * 2**29, dtype=torch.uint8, device=device)
    try:
        content, style = photos((256, 256))
        options = run_options(device, encoder=encoder_of("vgg19"), steps=2)
        told = sentence_of_a_run_too_large(content, style, 4096, options)
        short = int(re.search(r"(\d+) px", told)[1])
        nst.stylize(content, style, size=short, **options)
    finally:
        del held
        torch.cuda.empty_cache()
    return told


def sentence_of_a_run_too_large(content: torch.Tensor, style: torch.Tensor, size: int, options: dict) -> str:
    """What a run says that has no room on the device; AssertionError where it runs."""
    try:
        nst.stylize(content, style, size=size, **options)
    except MemoryError as error:
        return str(error)
    raise AssertionError(f"{size} px ran in {torch.cuda.mem_get_info()[0] / 2**30:.1f} GB")


def out_of_memory(device: torch.device, small: bool) -> str:
    """A run that was counted to fit and runs out all the same ends in one sentence, and the next run runs."""
    if device.type != "cuda":
        raise Left("the memory of a GPU")
    torch.cuda.empty_cache()
    device = torch.device("cuda", torch.cuda.current_device())
    total = torch.cuda.get_device_properties(device).total_memory
    content, style = photos((256, 256))
    options = run_options(device, encoder=encoder_of("vgg19"), steps=2)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 2**30) / total, device)
    try:
        told = sentence_of_a_run_too_large(content, style, 2048, options)
        held = (torch.cuda.memory_allocated(device) - before) / 2**20
        if "ran out of memory" not in told or "\n" in told:
            raise AssertionError(told)
        require_below(held, STILL_HELD, "memory, in MB,")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    nst.stylize(content, style, size=256, **options)
    return f"{told} {held:.0f} MB are still held."


def nothing_stays(device: torch.device, small: bool) -> dict[str, float]:
    """What runs, a run that was broken off and a live session leave on the device, in MB."""
    if device.type != "cuda":
        raise Left("the memory of a GPU")
    pictures = photos((256, 256))

    def held() -> float:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(device) / 2**20

    def run(**more: Any) -> None:
        nst.stylize(*pictures, **run_options(device, **more))

    def live() -> None:
        made = nst.StyleSession(*pictures, size=256, device=device)
        made.step(3)
        made.set(size=192)
        made.step(3)

    ways: dict[str, Callable[[], object]] = {
        "recorded": lambda: run(precision="auto"),
        "not recorded": lambda: run(compiled=False),
        "scales": lambda: run(scales=[128, 256]),
        "preconditioned": lambda: run(precondition=True),
        "tiles": lambda: run(tile=96),
        "broken off": lambda: next(nst.iterate(*pictures, **run_options(device))),
        "live": live,
    }
    found = {}
    for name, way in ways.items():
        way()  # the routines' own memory, which stays
        before = held()
        for _ in range(3):
            way()
        found[name] = held() - before
    require_below(max(found.values()), STILL_HELD, f"memory, in MB, of {found}")
    return found


def compiled(device: torch.device, small: bool) -> dict[str, Any]:
    """The captured evaluation: the same numbers to rounding."""
    if device.type != "cuda":
        raise Left("a captured graph needs a GPU")
    plain, made = (nst.stylize(*run_pictures(small), **run_options(device, compiled=c)) for c in (False, True))
    ratios = [off(a.loss, b.loss) for a, b in zip(made.history, plain.history, strict=True)]
    require_below(ratios[0], 5 * VALUE, "the first loss")
    require_below(max(ratios), RUN, "a loss")
    model = next(nst.iterate(*run_pictures(small), **run_options(device))).optimisation.model
    if model.passes is None or model.refusal:
        raise AssertionError(f"nothing was captured: {model.refusal}")
    return {"worst loss": max(ratios), "picture": (made.image - plain.image).abs().mean().item()}


def twice(device: torch.device, small: bool) -> dict[str, bool]:
    """Whether a run made again gives the same picture, to the pixel."""
    kinds = {"lbfgs": {}, "adam": {"optimizer": "adam"}, "preconditioned": {"precondition": True}}
    kinds["tiles"] = {"tile": 40 if small else 96}
    found = {}
    for precision in ("float32",) if small else ("float32", "auto"):
        for name, more in kinds.items():
            one, two = (
                nst.stylize(*run_pictures(small), **run_options(device, precision=precision, **more)) for _ in "ab"
            )
            found[f"{precision} {name}"] = torch.equal(one.image, two.image)
    return found
