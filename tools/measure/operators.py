"""Where an evaluation's time goes, operator by operator, with everything on.

    python tools/measure/operators.py [--encoders mini vgg19] [--size 192] [--evaluations 20] [--threads 2]

PyTorch's profiler counts each operator's own time on the CPU over a few evaluations of a run, optimiser included.
Random weights for VGG-19: they cost the same. On a busy machine the shares hold and the milliseconds don't.

With `--layers` each layer is timed by itself instead, forward and backward, on the feature maps of a run: what is left
of an evaluation lies between the layers, in caches that are cold, in autograd and in the optimiser. With one thread the
process's own time counts.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[2]))

import nst_helpers as nst
from nst_helpers.encoders import VGG19, Encoder

KINDS = {
    "convolutions": ("convolution", "conv2d", "mkldnn"),
    "Gram matrices and other products": ("bmm", "baddbmm", "addmm", "mm", "mv", "dot", "einsum"),
    "ReLU": ("relu", "clamp_min", "threshold"),
    "pooling": ("pool", "upsample"),
    "copies and casts": ("copy_", "cat", "contiguous", "flip"),
    "fills": ("fill_", "zero", "ones"),
}


def kind_of(operator: str) -> str:
    """Which kind of work an operator does.

    >>> kind_of("aten::avg_pool2d_backward"), kind_of("aten::copy_"), kind_of("aten::mul")
    ('pooling', 'copies and casts', 'everything else')
    """
    name = operator.split("::")[-1].lower()
    for kind, words in KINDS.items():
        if any(word in name if len(word) > 3 else word in name.split("_") or word == name for word in words):
            return kind
    return "everything else"


def painting(encoder: str, size: int) -> Iterator[nst.Step]:
    """A run on two samples, step by step."""
    network = Encoder(VGG19) if encoder == "vgg19" else nst.load_encoder(encoder)
    content, style = (nst.load_sample(name, size=(size, size), crop=True) for name in ("temple", "night_swirls"))
    return nst.iterate(content, style, encoder=network, steps=100_000, device="cpu")


def measure(encoder: str, size: int, evaluations: int) -> tuple[float, dict[str, float]]:
    """Milliseconds for one evaluation without the profiler, and each kind's own milliseconds with it."""
    steps = painting(encoder, size)
    for _ in range(5):
        next(steps)
    times = []
    for _ in range(evaluations):
        start = time.perf_counter()
        next(steps)
        times.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(evaluations):
            next(steps)
    kinds: dict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        kinds[kind_of(event.key)] += event.self_cpu_time_total / 1e3 / evaluations
    return 1e3 * sorted(times)[len(times) // 2], dict(kinds)


def layers(encoder: str, size: int, evaluations: int) -> tuple[float, dict[str, tuple[float, float]]]:
    """Milliseconds for one evaluation, and each kind of layer's by itself, forward and backward; lower quartiles."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(3 * evaluations):
            start = clock()
            work()
            times.append(1e3 * (clock() - start))
        return sorted(times)[len(times) // 4]

    steps = painting(encoder, size)
    step = [next(steps) for _ in range(12)][-1]
    whole = best(lambda: next(steps))
    x = step.optimisation.image.detach()
    kinds: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for layer in step.optimisation.model.children():
        with torch.no_grad():
            forward = best(functools.partial(layer, x))
        leaf = x.clone().requires_grad_()
        out = layer(leaf.clone())  # some work in the memory of what they get
        ends = [end for end in (out, getattr(layer, "loss", None)) if end is not None]
        shares = [torch.full_like(end, 1e-6) for end in ends]
        backward = best(functools.partial(torch.autograd.grad, ends, leaf, shares, retain_graph=True))
        before, behind = kinds[type(layer).__name__]
        kinds[type(layer).__name__] = before + forward, behind + backward
        x = out.detach()
    return whole, dict(kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["mini", "vgg19"])
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", action="store_true", help="each layer by itself, without the profiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for encoder in options.encoders:
        if options.layers:
            whole, alone = layers(encoder, options.size, options.evaluations)
            print(f"\n{encoder}, {options.size} px, {options.threads} threads: {whole:.1f} ms an evaluation")
            for name, (forward, backward) in sorted(alone.items(), key=lambda item: -sum(item[1])):
                print(f"  {name:18} forward {forward:6.2f} ms   backward {backward:6.2f} ms")
            print(f"  all of them {sum(map(sum, alone.values())):.1f} ms")
            continue
        whole, kinds = measure(encoder, options.size, options.evaluations)
        print(f"\n{encoder}, {options.size} px, {options.threads} threads: {whole:.1f} ms an evaluation")
        total = sum(kinds.values())
        for kind, part in sorted(kinds.items(), key=lambda item: -item[1]):
            print(f"  {kind:34} {part:7.2f} ms {part / total:5.0%}")


if __name__ == "__main__":
    main()
