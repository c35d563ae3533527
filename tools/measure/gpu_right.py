"""Is it right on this device? Every number against float64 on the CPU, and each way through a run: for gpu_check.py."""

from __future__ import annotations

import copy
import functools
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_rows import Left, synchronize, tf32
from torch import Tensor

import nst_helpers as nst
from nst_helpers.encoders import VGG19, Encoder

# What float32 may be off by, in shares of the whole: of losses and Gram matrices, and of an image's gradient. A rounded
# number can send maximum pooling's gradient to another pixel, which in a deep network is seen on a CPU as well.
VALUE, GRADIENT = 2e-5, {"mini": 2e-4, "vgg19": 5e-3}
# The same for an image's gradient in other formats, of 11, 8 and 11 binary digits.
FORMATS = {"tf32": 0.1, "bfloat16": 0.35, "float16": 0.1}
# Of the losses of a run here and on the CPU, after 12 steps that each build on the one before.
RUN = 0.05
CONVENTIONS = ("relative", "gatys", "pytorch")
ROOT = Path(__file__).resolve().parents[2]


def checks(device: torch.device, *, small: bool = False) -> dict[str, Callable[[], Any]]:
    """The checks by name; `small` is for a rehearsal on a CPU."""
    given = functools.partial(_exact, device=device, small=small)
    return {
        "losses": given(losses),
        **{
            f"model {encoder}, {pool}, {kind}": given(model, encoder=encoder, pool=pool, convention=kind)
            for encoder, pool in (("mini", "avg"), ("mini", "max"), *([] if small else [("vgg19", "max")]))
            for kind in CONVENTIONS
        },
        "model in tiles": given(tiles),
        "gradient by format": given(formats),
        **{f"stylize {kind}": given(run, optimizer=kind) for kind in ("lbfgs", "adam")},
        "stylize preconditioned": given(run, optimizer="lbfgs", precondition=True),
        "stylize scales": given(run, optimizer="lbfgs", scales=[48, 64] if small else [96, 128, 192]),
        "stylize tiles": given(run, optimizer="lbfgs", tile=40 if small else 96),
        "stylize from noise": given(run, optimizer="adam", init="noise"),
        "formats end alike": given(endings),
        "checkpoint": given(checkpoint),
        "session, random operations": given(session),
        "recipe": given(recipe),
        "sweep": given(sweep),
        "command line": given(command_line),
        "ahead": given(ahead),
        "estimate": given(estimate),
        "refusal": given(refusal),
        "out of memory": given(out_of_memory),
        "compiled": given(compiled),
        "twice the same": given(twice),
    }


def _exact(check: Callable[..., Any], **options: Any) -> Callable[[], Any]:
    """The check with float32 products that are float32."""

    def run() -> Any:
        with tf32(False):
            return check(**options)

    return run


@functools.cache
def encoder_of(name: str, pool: str = "max") -> Encoder:
    """The shipped encoder, or VGG-19 with random weights."""
    return Encoder(VGG19, seed=0, pool=pool) if name == "vgg19" else nst.load_encoder(name, pool=pool)


@functools.cache
def photos(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tuple(nst.load_sample(name, size=size, crop=True) for name in ("temple", "night_swirls"))


def off(found: Tensor | float, exact: Tensor | float) -> float:
    """How far from the exact numbers, in shares of their norm."""
    found, exact = (torch.as_tensor(x, dtype=torch.float64).detach().cpu() for x in (found, exact))
    return ((found - exact).norm() / exact.norm().clamp_min(1e-300)).item()


def hold(value: float, most: float, what: str) -> None:
    if not value <= most:
        raise AssertionError(f"{what} is {value:.3g} off, and {most:.3g} is allowed.")


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(device: torch.device, small: bool) -> dict[str, float]:
    """Each loss by itself: its value and its gradient."""
    x, y = random_tensor(2, 48, 37, 53), random_tensor(1, 48, 37, 53, seed=1)
    target = nst.gram_matrix(y)
    cases: dict[str, Callable[[Tensor], Tensor]] = {
        "gram": lambda f: nst.gram_matrix(f).square().sum(),
        "l1": lambda f: nst.total_variation(f, kind="l1"),
        "l2": lambda f: nst.total_variation(f, kind="l2"),
    }
    for kind in CONVENTIONS:
        cases[f"content {kind}"] = lambda f, kind=kind: nst.content_loss(f, y.to(f), convention=kind)
        cases[f"style {kind}"] = lambda f, kind=kind: nst.style_loss(nst.gram_matrix(f), target.to(f), convention=kind)
        cases[f"layer {kind}"] = functools.partial(_layer, target=target, kind=kind)
    values, gradients = {}, {}
    for name, case in cases.items():
        numbers = []
        for like in (x.clone(), x.float().to(device)):
            loss = case(like.requires_grad_())
            loss.backward()
            numbers += [loss, like.grad]
        values[name], gradients[name] = off(numbers[2], numbers[0]), off(numbers[3], numbers[1])
    for name in cases:
        hold(values[name], VALUE, name)
        hold(gradients[name], 2e-4, f"the gradient of {name}")
    return {"worst value": max(values.values()), "worst gradient": max(gradients.values()), "of": len(cases)}


def _layer(features: Tensor, *, target: Tensor, kind: str) -> Tensor:
    layer = nst.StyleLoss(target, convention=kind).to(features)
    layer(features)
    return layer.loss


def _evaluate(made: Any, image: Tensor) -> tuple[dict[str, float], Tensor]:
    image = image.clone().requires_grad_()
    made(image)
    loss = made.total_loss(style_weight=100.0, tv_weight=50.0)
    loss.backward()
    parts = {**made.content_losses, **made.style_losses}
    return {"total": loss.item(), **{name: layer.loss.item() for name, layer in parts.items()}}, image.grad


@functools.cache
def _oracle(name: str, pool: str, convention: str, small: bool) -> tuple[dict[str, float], Tensor]:
    """Losses and gradient in float64 on the CPU, of an image on its way: the photo with a little noise."""
    double = copy.deepcopy(encoder_of(name, pool)).double()
    content, style = (p.double() for p in photos(_shape(small)))
    made = nst.build_model(double, content, style, convention=convention)
    return _evaluate(made, _on_its_way(small).double())


def _shape(small: bool) -> tuple[int, int]:
    return (48, 64) if small else (160, 208)


def _on_its_way(small: bool) -> Tensor:
    content, _ = photos(_shape(small))
    return (content + 0.1 * random_tensor(*content.shape, seed=5).float()).clamp(0, 1)


def _compare(found: tuple[dict[str, float], Tensor], exact: tuple[dict[str, float], Tensor]) -> dict[str, float]:
    values = {name: off(found[0][name], value) for name, value in exact[0].items()}
    worst = max(values, key=values.get)
    return {"value": values[worst], "gradient": off(found[1], exact[1])}


def model(device: torch.device, small: bool, *, encoder: str, pool: str, convention: str) -> dict[str, float]:
    """The whole model in float32: each layer's loss, and the image's gradient."""
    prepared = nst.prepare(encoder_of(encoder, pool), device=device, precision="float32")
    content, style = (p.to(device) for p in photos(_shape(small)))
    made = nst.build_model(prepared, content, style, convention=convention)
    found = _compare(_evaluate(made, _on_its_way(small).to(device)), _oracle(encoder, pool, convention, small))
    hold(found["value"], 5 * VALUE, "a loss")
    hold(found["gradient"], GRADIENT[encoder], "the gradient")
    return found


def tiles(device: torch.device, small: bool) -> dict[str, float]:
    """The tiled model in float32 against the untiled one in float64."""
    prepared = nst.prepare(encoder_of("mini", "max"), device=device, precision="float32")
    content, style = (p.to(device) for p in photos(_shape(small)))
    made = nst.build_tiled_model(prepared, content, style, tile=40 if small else 96)
    found = _compare(_evaluate(made, _on_its_way(small).to(device)), _oracle("mini", "max", "relative", small))
    hold(found["value"], 5 * VALUE, "a loss")
    hold(found["gradient"], GRADIENT["mini"], "the gradient")
    return found


def formats(device: torch.device, small: bool) -> dict[str, float]:
    """How far each number format's gradient is from float64's; float16 is divided by what it was lifted by."""
    found = {}
    for name, pool in (("mini", "max"),) if small else (("mini", "avg"), ("mini", "max"), ("vgg19", "max")):
        exact = _oracle(name, pool, "relative", small)
        for kind in FORMATS if device.type == "cuda" else ("bfloat16", "float16"):
            precision = "float32" if kind == "tf32" else kind
            with tf32(kind == "tf32"):
                prepared = nst.prepare(encoder_of(name, pool), device=device, precision=precision)
                made = nst.build_model(prepared, *(p.to(device) for p in photos(_shape(small))))
                found[f"{name} {pool} {kind}"] = off(_evaluate(made, _on_its_way(small).to(device))[1], exact[1])
    for name, value in found.items():
        hold(value, FORMATS[name.split()[-1]], f"{name} of {found}")
    return found


def _options(device: torch.device | str, **more: Any) -> dict[str, Any]:
    return {"encoder": encoder_of("mini", "avg"), "precision": "float32", "device": device, "steps": 12} | more


def _pictures(small: bool) -> tuple[Tensor, Tensor]:
    return photos((64, 80) if small else (192, 240))


def run(device: torch.device, small: bool, **options: Any) -> dict[str, float]:
    """A run here and on the CPU: the losses, and the picture."""
    here, there = (nst.stylize(*_pictures(small), **_options(d, **options)) for d in (device, "cpu"))
    ratios = [off(a.loss, b.loss) for a, b in zip(here.history, there.history, strict=True)]
    hold(ratios[0], 5 * VALUE, "the first loss")
    hold(max(ratios), RUN, "a loss")
    difference = (here.image - there.image).abs().mean().item()
    hold(difference, 0.01, "the picture's mean")
    if not all(e.peak_memory for e in here.history):
        raise AssertionError("an evaluation has no peak memory")
    return {"worst loss": max(ratios), "picture": difference}


def endings(device: torch.device, small: bool) -> dict[str, float]:
    """Where 60 evaluations in each format lead, judged in float32."""
    content, style = _pictures(small)
    encoder = encoder_of("mini", "avg")
    judge = nst.build_model(nst.prepare(encoder, device="cpu", precision="float32"), content, style)
    ends = {}
    for kind in ("float32", "bfloat16", "float16"):
        for optimizer in ("lbfgs", "adam"):
            steps = 6 if small else 80
            made = nst.stylize(content, style, **_options(device, precision=kind, optimizer=optimizer, steps=steps))
            if events := [e.event for e in made.history if e.event]:
                raise AssertionError(f"{kind}, {optimizer}: {events[0]}")
            judge(made.image)
            ends[f"{kind} {optimizer}"] = judge.total_loss().item()
    shares = {k: v / ends[f"float32 {k.split()[1]}"] for k, v in ends.items() if not k.startswith("float32")}
    for name, share in shares.items():
        hold(share - 1, 0.03, name)
    return shares


def checkpoint(device: torch.device, small: bool) -> dict[str, float]:
    """Stop and go on: here, begun here and gone on with on the CPU, and the other way round."""
    content, style = _pictures(small)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for optimizer in ("lbfgs", "adam"):
            whole = nst.stylize(content, style, **_options("cpu", optimizer=optimizer))
            for first, second in ((device, device), (device, "cpu"), ("cpu", device)):
                path = Path(folder) / f"{optimizer} {first} {second}.pt".replace(":", "")
                kept = {"checkpoint": path, "resume": True}
                nst.stylize(content, style, **_options(first, optimizer=optimizer, steps=6), **kept)
                ended = nst.stylize(content, style, **_options(second, optimizer=optimizer), **kept)
                if [e.step for e in ended.history] != list(range(1, 13)):
                    raise AssertionError(f"{optimizer}, {first} then {second}: wrong steps")
                worst = max(off(a.loss, b.loss) for a, b in zip(ended.history, whole.history, strict=True))
                found[f"{optimizer} {first}-{second}"] = worst
                hold(worst, RUN, f"a loss of {optimizer}, {first} then {second},")
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
    hold(here, 0.02, "the picture here")
    hold((there.image - made.image).abs().mean().item(), 0.01, "the picture on the CPU")
    return {"to the pixel": torch.equal(again.image, made.image), "largest": here}


def sweep(device: torch.device, small: bool) -> dict[str, Any]:
    """Two cells of a grid, in this process."""
    content, style = _pictures(small)
    cells = nst.sweep({"style_weight": [1.0, 100.0]}, content=content, style=style, **_options(device, steps=3))
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
    hold(worst, 0.01, "a number read late")
    return {"the same": told[0] == told[1] == told[2], "worst": worst}


def estimate(device: torch.device, small: bool) -> dict[str, float]:
    """Seconds and bytes, promised and taken."""
    found: dict[str, float] = {}
    shapes = [("mini", 64, {})] if small else [("mini", 512, {}), ("vgg19", 512, {}), ("vgg19", 1024, {"tile": 512})]
    for name, size, more in shapes:
        pictures, options = photos((size, size)), _options(device, encoder=encoder_of(name), steps=20, **more)
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
        options = _options(device, encoder=encoder_of("vgg19"), steps=2)
        try:
            nst.stylize(content, style, size=4096, **options)
        except MemoryError as error:
            told = str(error)
        else:
            raise AssertionError("4096 px ran in 1.5 GB")
        short = int(re.search(r"(\d+) px", told)[1])
        nst.stylize(content, style, size=short, **options)
    finally:
        del held
        torch.cuda.empty_cache()
    return told


def out_of_memory(device: torch.device, small: bool) -> str:
    """A run that was counted to fit and runs out all the same ends in one sentence, and the next run runs."""
    if device.type != "cuda":
        raise Left("the memory of a GPU")
    torch.cuda.empty_cache()
    device = torch.device("cuda", torch.cuda.current_device())
    total = torch.cuda.get_device_properties(device).total_memory
    content, style = photos((256, 256))
    options = _options(device, encoder=encoder_of("vgg19"), steps=2)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 2**30) / total, device)
    try:
        try:
            nst.stylize(content, style, size=2048, **options)
        except MemoryError as error:
            told = str(error)
        else:
            raise AssertionError("2048 px ran in 1 GB")
        held = torch.cuda.memory_allocated(device) / 2**20
        if "ran out of memory" not in told or "\n" in told:
            raise AssertionError(told)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    nst.stylize(content, style, size=256, **options)
    return f"{told} {held:.0f} MB are still held."


def compiled(device: torch.device, small: bool) -> dict[str, Any]:
    """The captured evaluation: the same numbers to rounding."""
    if device.type != "cuda":
        raise Left("a captured graph needs a GPU")
    plain, made = (nst.stylize(*_pictures(small), **_options(device, compiled=c)) for c in (False, True))
    ratios = [off(a.loss, b.loss) for a, b in zip(made.history, plain.history, strict=True)]
    hold(ratios[0], 5 * VALUE, "the first loss")
    hold(max(ratios), RUN, "a loss")
    model = next(nst.iterate(*_pictures(small), **_options(device))).optimisation.model
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
            one, two = (nst.stylize(*_pictures(small), **_options(device, precision=precision, **more)) for _ in "ab")
            found[f"{precision} {name}"] = torch.equal(one.image, two.image)
    return found
