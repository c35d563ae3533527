"""Where an evaluation's time goes, operator by operator, with everything on.

    python tools/measure/operators.py [--encoders mini vgg19] [--size 192] [--evaluations 20] [--threads 2]

PyTorch's profiler counts each operator's own time on the CPU over a few evaluations of a run, optimiser included.
Random weights for VGG-19: they cost the same. On a busy machine the shares hold and the milliseconds don't.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
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


def measure(encoder: str, size: int, evaluations: int) -> tuple[float, dict[str, float]]:
    """Milliseconds for one evaluation without the profiler, and each kind's own milliseconds with it."""
    network = Encoder(VGG19) if encoder == "vgg19" else nst.load_encoder(encoder)
    content, style = (nst.load_sample(name, size=(size, size), crop=True) for name in ("temple", "night_swirls"))
    steps = nst.iterate(content, style, encoder=network, steps=100_000, device="cpu")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["mini", "vgg19"])
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for encoder in options.encoders:
        whole, kinds = measure(encoder, options.size, options.evaluations)
        print(f"\n{encoder}, {options.size} px, {options.threads} threads: {whole:.1f} ms an evaluation")
        total = sum(kinds.values())
        for kind, part in sorted(kinds.items(), key=lambda item: -item[1]):
            print(f"  {kind:34} {part:7.2f} ms {part / total:5.0%}")


if __name__ == "__main__":
    main()
