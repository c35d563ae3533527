"""For gpu_right.py: every number that a device computes against float64 on the CPU, from single losses to runs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from gpu_pictures import (
    GRADIENT,
    RUN,
    VALUE,
    encoder_of,
    off,
    photos,
    random_tensor,
    require_below,
    run_options,
    run_pictures,
)
from gpu_rows import tf32
from torch import Tensor

import nst_helpers as nst

# What an image's gradient may be off by in formats of 11, 8 and 11 binary digits.
FORMATS = {"tf32": 0.1, "bfloat16": 0.35, "float16": 0.1}
CONVENTIONS = ("relative", "gatys", "pytorch")


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
        require_below(values[name], VALUE, name)
        require_below(gradients[name], 2e-4, f"the gradient of {name}")
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
    require_below(found["value"], 5 * VALUE, "a loss")
    require_below(found["gradient"], GRADIENT[encoder], "the gradient")
    return found


def tiles(device: torch.device, small: bool) -> dict[str, float]:
    """The tiled model in float32 against the untiled one in float64."""
    prepared = nst.prepare(encoder_of("mini", "max"), device=device, precision="float32")
    content, style = (p.to(device) for p in photos(_shape(small)))
    made = nst.build_tiled_model(prepared, content, style, tile=40 if small else 96)
    found = _compare(_evaluate(made, _on_its_way(small).to(device)), _oracle("mini", "max", "relative", small))
    require_below(found["value"], 5 * VALUE, "a loss")
    require_below(found["gradient"], GRADIENT["mini"], "the gradient")
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
        require_below(value, FORMATS[name.split()[-1]], f"{name} of {found}")
    return found


def run(device: torch.device, small: bool, **options: Any) -> dict[str, float]:
    """A run here and on the CPU: the losses, and the picture."""
    here, there = (nst.stylize(*run_pictures(small), **run_options(d, **options)) for d in (device, "cpu"))
    ratios = [off(a.loss, b.loss) for a, b in zip(here.history, there.history, strict=True)]
    require_below(ratios[0], 5 * VALUE, "the first loss")
    require_below(max(ratios), RUN, "a loss")
    difference = (here.image - there.image).abs().mean().item()
    require_below(difference, 0.01, "the picture's mean")
    if not all(e.peak_memory for e in here.history):
        raise AssertionError("an evaluation has no peak memory")
    return {"worst loss": max(ratios), "picture": difference}


def endings(device: torch.device, small: bool) -> dict[str, float]:
    """Where 60 evaluations in each format lead, judged in float32."""
    content, style = run_pictures(small)
    encoder = encoder_of("mini", "avg")
    judge = nst.build_model(nst.prepare(encoder, device="cpu", precision="float32"), content, style)
    ends = {}
    for kind in ("float32", "bfloat16", "float16"):
        for optimizer in ("lbfgs", "adam"):
            steps = 6 if small else 80
            made = nst.stylize(content, style, **run_options(device, precision=kind, optimizer=optimizer, steps=steps))
            if events := [e.event for e in made.history if e.event]:
                raise AssertionError(f"{kind}, {optimizer}: {events[0]}")
            judge(made.image)
            ends[f"{kind} {optimizer}"] = judge.total_loss().item()
    shares = {k: v / ends[f"float32 {k.split()[1]}"] for k, v in ends.items() if not k.startswith("float32")}
    for name, share in shares.items():
        require_below(share - 1, 0.03, name)
    return shares
