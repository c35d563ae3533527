"""The sides that gpu_fast.py times: the textbook loop, pystiche and this package with its levers, on one loss.

All sides optimise the same loss (mean squared errors of convolutions' outputs and of their Gram matrices) over the same
network and pictures.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from contenders import Absent, import_pystiche, pystiche_criterion, pystiche_loop
from gpu_rows import Left, tf32
from textbook import CONTENT_LAYERS, STYLE_LAYERS, TextbookContentLoss, TextbookStyleLoss, textbook_loop
from torch import Tensor, nn

import nst_helpers as nst
from nst_helpers.accel import graphs
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.encoders import VGG19, Encoder

# Chosen so that style outweighs content at the start, and both count at the end.
STYLE_WEIGHTS = {"vgg19": 1e4, "mini": 1e4}
See = Callable[[Tensor], None]


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to run: whose loop, and its levers."""

    kind: str = "ours"
    precision: str = "float32"
    tf32: bool = False
    last: bool = True  # channels last in memory
    search: bool = False  # cuDNN times its routines and takes the quickest
    split: bool = False  # the image enters bfloat16 as two numbers
    captured: bool = False
    any_order: bool = False  # a recording may take routines that add up in an order of their own
    ahead: bool = False
    precondition: bool = False
    history: int = 10


def _captured(precision: str, **more: Any) -> Side:
    return Side(precision=precision, tf32=True, captured=True, ahead=True, **more)


SIDES = {
    "textbook, exact": Side("textbook"),
    "textbook": Side("textbook", tf32=True),
    "textbook, search": Side("textbook", tf32=True, search=True),
    "pystiche": Side("pystiche", tf32=True),
    "float32": Side(),
    "float32, captured": Side(captured=True, ahead=True),
    "tf32, channels first": Side(tf32=True, last=False),
    "tf32": Side(tf32=True),
    "tf32, captured, channels first": _captured("float32", last=False),
    "tf32, captured": _captured("float32"),
    "bfloat16": Side(precision="bfloat16", tf32=True),
    "bfloat16, captured": _captured("bfloat16"),
    "bfloat16, captured, split": _captured("bfloat16", split=True),
    "float16": Side(precision="float16", tf32=True),
    "float16, captured": _captured("float16"),
    "float16, captured, waits": dataclasses.replace(_captured("float16"), ahead=False),
    "float16, captured, any order": _captured("float16", any_order=True),
    "float16, captured, search": _captured("float16", search=True),
    "float16, captured, preconditioned": _captured("float16", precondition=True),
}
RACERS = {
    **{name: SIDES[name] for name in ("textbook, exact", "textbook", "pystiche")},
    **{name: SIDES[name] for name in ("tf32, captured", "float16, captured", "float16, captured, preconditioned")},
    "tf32, captured, preconditioned": _captured("float32", precondition=True),
    "bfloat16, captured, preconditioned": _captured("bfloat16", precondition=True),
    "bfloat16, captured, split, preconditioned": _captured("bfloat16", split=True, precondition=True),
    "float16, captured, preconditioned, 30 steps": _captured("float16", precondition=True, history=30),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What all sides do: an encoder, pictures (1, 3, size, size) on the device, and the style's weight."""

    encoder: Encoder
    content: Tensor
    style: Tensor
    style_weight: float

    @property
    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """The layers up to the last one with a loss."""
        for name, layer in self.encoder.layers.items():
            yield name, copy.deepcopy(layer).to(self.content.device)
            if name == STYLE_LAYERS[-1]:
                return

    @property
    def gflop(self) -> float:
        """Billions of multiplications and additions in an evaluation's convolutions, forward and back to the image."""
        total, pixels = 0.0, self.content.shape[-1] * self.content.shape[-2]
        for _, layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                total += 2 * 2 * 9 * layer.in_channels * layer.out_channels * pixels
            elif not isinstance(layer, nn.ReLU):
                pixels //= 4
        return total / 1e9


@functools.cache
def task(network: str, size: int, device: torch.device) -> Task:
    encoder = Encoder(VGG19, seed=0) if network == "vgg19" else nst.load_encoder(network)
    pictures = (nst.load_sample(n, size=(size, size), crop=True).to(device) for n in ("temple", "night_swirls"))
    return Task(encoder, *pictures, STYLE_WEIGHTS[network])


def textbook_model(job: Task) -> tuple[Any, ...]:
    """The network as a Sequential with loss modules after the chosen convolutions, as the official tutorial has it."""
    normalize = copy.deepcopy(job.encoder.normalize).to(job.content.device)
    model, contents, styles = nn.Sequential(normalize), [], []
    for name, layer in job.layers:
        model.append(layer)
        if name in CONTENT_LAYERS:
            contents.append(TextbookContentLoss(model(job.content)))
            model.append(contents[-1])
        if name in STYLE_LAYERS:
            styles.append(TextbookStyleLoss(model(job.style)))
            model.append(styles[-1])
    return model.eval().requires_grad_(False), contents, styles, job.style_weight


def textbook(job: Task, side: Side, evaluations: int, see: See) -> None:
    textbook_loop(textbook_model(job), job.content, evaluations, see)


def pystiche(job: Task, side: Side, evaluations: int, see: See) -> None:
    _, enc, _, _ = import_pystiche()
    layers = [("preprocessing", copy.deepcopy(job.encoder.normalize).to(job.content.device)), *job.layers]
    encoder = enc.MultiLayerEncoder(layers).requires_grad_(False)
    widths = {name: layer.out_channels for name, layer in job.layers if name in STYLE_LAYERS}
    criterion = pystiche_criterion(encoder, job.content, job.style, job.style_weight, widths)
    pystiche_loop(criterion, job.content, evaluations, see)


def optimisation(job: Task, side: Side, evaluations: int) -> Any:
    """This package's run, with the side's levers."""
    encoder = nst.prepare(job.encoder, device=job.content.device, precision=side.precision)
    if not side.last:
        for parameter in encoder.parameters():
            parameter.data = parameter.data.contiguous()
    if side.split:
        kind = type(nst.prepare(job.encoder, device="cpu", precision="bfloat16").layers["conv1_1"])
        encoder.layers["conv1_1"], encoder.normalize.output_dtype = kind(encoder.layers["conv1_1"]), None
    layers = {"content_layers": CONTENT_LAYERS, "style_layers": STYLE_LAYERS}
    model: Any = accelerate(nst.build_model(encoder, job.content, job.style, convention="pytorch", **layers))
    if side.captured:
        model = graphs.CapturedModel(model)
    return nst.Optimisation(
        model,
        job.content,
        content_weight=1.0,
        style_weight=job.style_weight,
        tv_weight=0.0,
        total=evaluations,
        precondition=side.precondition,
        history_size=side.history,
        ahead=side.ahead,
    )


def ours(job: Task, side: Side, evaluations: int, see: See) -> None:
    run = optimisation(job, side, evaluations)
    while not (run.finished or run.diverged):
        run.step()
        see(run.best)
    if refusal := getattr(run.model, "refusal", ""):
        raise RuntimeError(f"the evaluation was not captured: {refusal}")


LOOPS = {"textbook": textbook, "pystiche": pystiche, "ours": ours}


@contextlib.contextmanager
def levers(side: Side) -> Iterator[None]:
    """The process-wide ones."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, graphs.DETERMINISTIC
    cudnn.benchmark, graphs.DETERMINISTIC = side.search, not side.any_order
    try:
        with tf32(side.tf32):
            yield
    finally:
        cudnn.benchmark, graphs.DETERMINISTIC = before


def drive(job: Task, side: Side, evaluations: int, see: See) -> None:
    if side.captured and job.content.device.type != "cuda":
        raise Left("a captured graph needs a GPU")
    try:
        with levers(side):
            LOOPS[side.kind](job, side, evaluations, see)
    except Absent as why:
        raise Left(str(why)) from None
