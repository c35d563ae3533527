"""How large a picture fits: a whole process's peak memory and its seconds per evaluation, each in a child of its own.

    python tools/measure/large_pictures.py [--sizes 1024 2048] [--ways untiled checkpoint tiled] [--encoders vgg19 mini]

Random weights for VGG-19: they cost the same. "checkpoint" is `torch.utils.checkpoint` around the layers between
poolings, the other way of paying for memory with a second forward pass. The optimiser's own share is measured on a
loss that costs nothing (`--ways optimiser`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).parents[2]))

from nst_helpers import Optimisation, build_model, load_encoder, load_sample, prepare
from nst_helpers.accel.devices import peak_memory
from nst_helpers.accel.tiling import build_tiled_model
from nst_helpers.encoders import VGG19, Encoder
from nst_helpers.model import StyleModel

WAYS = ("untiled", "checkpoint", "tiled", "optimiser")


class Checkpointed(nn.Module):
    """A `StyleModel` whose layers between poolings are run again in the backward pass instead of being kept."""

    content_loss, style_loss, total_loss = StyleModel.content_loss, StyleModel.style_loss, StyleModel.total_loss
    _combine = StyleModel._combine

    def __init__(self, model):
        super().__init__()
        self.normalize, self.convention, self.tv_loss = model.normalize, model.convention, model.tv_loss
        self.content_losses, self.style_losses = model.content_losses, model.style_losses
        self.parts = [[]]
        for name, layer in model.named_children():
            self.parts[-1].append(layer)
            if name.startswith("pool"):
                self.parts.append([])

    def forward(self, image):
        for part in filter(None, self.parts):
            kept = [layer for layer in part if hasattr(layer, "loss")]

            def run(x, part=part, kept=kept):
                for layer in part:
                    x = layer(x)
                return x, *(layer.loss for layer in kept)

            image, *losses = checkpoint(run, image, use_reentrant=False)
            for layer, loss in zip(kept, losses, strict=True):
                layer.loss = loss


class Nothing(nn.Module):
    """A loss without a network, so that what is left is the optimiser's."""

    def __init__(self):
        super().__init__()
        self.content_losses, self.style_losses, self.tv_loss = {}, {}, self

    def forward(self, image):
        self.loss = image.square().mean()

    def total_loss(self, **_):
        return self.loss


def child(options):
    """One way at one size: what the process has used at most, and how long an evaluation took."""
    torch.set_num_threads(options.threads)
    size, encoder = options.sizes[0], options.encoders[0]
    encoder = Encoder(VGG19) if encoder == "vgg19" else load_encoder(encoder)
    encoder = prepare(encoder, device="cpu", precision=options.precision)
    content, style = (load_sample(name, size=(size, size), crop=True) for name in ("temple", "night_swirls"))
    way, start = options.ways[0], time.perf_counter()
    if way == "tiled":
        model = build_tiled_model(encoder, content, style, tile=options.tile)
    elif way == "optimiser":
        model = Nothing()
    else:
        model = build_model(encoder, content, style)
        model = Checkpointed(model) if way == "checkpoint" else model
    built, before = time.perf_counter() - start, status("VmRSS")
    # A run needs the pictures no longer, and a person who makes one this large should let them go.
    first = content.clone()
    del content, style
    run = Optimisation(model, first, optimizer=options.optimizer)
    del first
    seconds, cpu = [], []
    for _ in range(options.evaluations):
        start, busy = time.perf_counter(), time.process_time()
        run.step()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    peak = peak_memory(torch.device("cpu"))
    figures = {"peak": peak, "before": before, "after": status("VmRSS"), "build_seconds": built}
    figures |= {"seconds": statistics.median(seconds[1:] or seconds), "cpu": statistics.median(cpu[1:] or cpu)}
    print(json.dumps(figures))


def status(name):
    """A line of this process's memory status, in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[1024, 2048])
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    add("--encoders", nargs="+", default=["vgg19"])
    add("--precision", default="float32")
    add("--optimizer", default="lbfgs")
    add("--evaluations", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--tile", type=int, default=512)
    add("--json", type=Path)
    add("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    rows = []
    print(f"{options.optimizer}, {options.evaluations} evaluations, {options.precision}, {options.threads} threads")
    for encoder in options.encoders:
        for size in options.sizes:
            for way in options.ways:
                # argparse takes the last of each, so the child hears of one size, one way and one encoder.
                command = [sys.executable, __file__, *sys.argv[1:], "--child"]
                command += ["--sizes", str(size), "--ways", way, "--encoders", encoder]
                out = subprocess.run(command, capture_output=True, text=True)
                row = {"encoder": encoder, "size": size, "way": way, "tile": options.tile}
                row |= {k: getattr(options, k) for k in ("precision", "optimizer", "evaluations", "threads")}
                if out.returncode:
                    print(f"{encoder:6} {size:5} px {way:10} stopped ({out.returncode}): {out.stderr[-200:].strip()}")
                else:
                    row |= json.loads(out.stdout.splitlines()[-1])
                    print(
                        f"{encoder:6} {size:5} px {way:10} {row['peak'] / 2**30:6.2f} GB at most, "
                        f"{row['seconds']:7.2f} s an evaluation ({row['cpu']:.2f} s of processor time), "
                        f"{row['build_seconds']:5.1f} s to build"
                    )
                rows.append(row)
                sys.stdout.flush()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
