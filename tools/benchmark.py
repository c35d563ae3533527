"""Measure this package against the textbook loop on the same work: time, loss and memory, as ratios in one run.

    python tools/benchmark.py [--size 256] [--evaluations 200] [--memory-size 512] [--json runs/benchmark.json]

Both sides optimise the same loss over the same VGG-19 with the same random weights and pictures on two threads. The
textbook loop is the one most tutorials print: torchvision's layout, loss modules in a Sequential, Gram matrix and mean
squared error as in the official PyTorch tutorial, L-BFGS with PyTorch's defaults, float32. The time to a common loss is
judged by a float32 evaluation of the textbook model that belongs to neither side's run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

CONTENT_LAYERS, STYLE_LAYERS = ["conv4_2"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
STYLE_WEIGHT = 1e4
SEED = 0
# On a network of random weights L-BFGS gains from a bolder step than 1, which a trained one doesn't need.
LR = 1.5


# The textbook loop.


class TextbookNormalization(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1)

    def forward(self, image):
        return (image - self.mean) / self.std


class TextbookContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, x):
        self.loss = F.mse_loss(x, self.target)
        return x


def textbook_gram(x):
    a, b, c, d = x.size()
    features = x.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class TextbookStyleLoss(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.target = textbook_gram(features).detach()

    def forward(self, x):
        self.loss = F.mse_loss(textbook_gram(x), self.target)
        return x


def textbook_model(weights, content, style):
    """VGG-19 as torchvision lays it out, with loss modules after the chosen convolutions, trimmed."""
    model, contents, styles = nn.Sequential(TextbookNormalization()), [], []
    channels = 3
    for block, (width, depth) in enumerate([(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)], 1):
        for i in range(1, depth + 1):
            name = f"conv{block}_{i}"
            conv = nn.Conv2d(channels, width, 3, padding=1)
            conv.load_state_dict({"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]})
            model.append(conv)
            if name in CONTENT_LAYERS:
                contents.append(TextbookContentLoss(model(content)))
                model.append(contents[-1])
            if name in STYLE_LAYERS:
                styles.append(TextbookStyleLoss(model(style)))
                model.append(styles[-1])
            if len(contents) == len(CONTENT_LAYERS) and len(styles) == len(STYLE_LAYERS):
                return model.eval().requires_grad_(False), contents, styles
            model.append(nn.ReLU(inplace=False))
            channels = width
        model.append(nn.MaxPool2d(2, 2))
    raise AssertionError("the layers asked for are not in the network")


def textbook_loss(parts, image):
    model, contents, styles = parts
    model(image)
    return sum(c.loss for c in contents) + STYLE_WEIGHT * sum(s.loss for s in styles)


def textbook_run(weights, content, style, evaluations, see):
    """Optimise; `see(image, seconds)` gets the image that each evaluation was made on."""
    parts = textbook_model(weights, content, style)
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([image])
    done, start = 0, time.perf_counter()
    while done < evaluations:

        def closure():
            nonlocal done
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            loss = textbook_loss(parts, image)
            loss.backward()
            done += 1
            see(image, time.perf_counter() - start)
            return loss

        optimizer.step(closure)


# This package.


def package_run(weights, content, style, evaluations, see, *, precision):
    from nst_helpers import iterate
    from nst_helpers.encoders import VGG19, Encoder

    steps = iterate(
        content,
        style,
        encoder=Encoder(VGG19, weights=weights),
        content_layers=CONTENT_LAYERS,
        style_layers=STYLE_LAYERS,
        convention="pytorch",
        style_weight=STYLE_WEIGHT,
        tv_weight=0.0,
        lr=LR,
        steps=evaluations,
        precision=precision,
        device="cpu",
    )
    start = None
    for step in steps:
        # The first step also builds the model, which the textbook's clock leaves out too.
        start = time.perf_counter() - step.evaluation.seconds / 2 if start is None else start
        see(step.optimisation.best, time.perf_counter() - start)


def pictures(size):
    """A photo and a style from data/, (1, 3, size, size)."""
    from nst_helpers import load_sample

    return tuple(load_sample(name, size=(size, size), crop=True) for name in ("temple", "night_swirls"))


def random_weights():
    from nst_helpers.encoders import VGG19, Encoder

    return dict(Encoder(VGG19, seed=SEED).layers.state_dict())


RUNS = {
    "textbook": lambda *a: textbook_run(*a),
    "package float32": lambda *a: package_run(*a, precision="float32"),
    "package bfloat16": lambda *a: package_run(*a, precision="bfloat16"),
}


def per_evaluation(size, rounds):
    """Median seconds per evaluation, the sides taking turns so that a slow minute hits all of them."""
    weights, (content, style) = random_weights(), pictures(size)
    seconds = {name: [] for name in RUNS}
    for _ in range(rounds):
        for name, run in RUNS.items():
            times = []
            run(weights, content, style, 8, lambda image, t, times=times: times.append(t))
            seconds[name] += [b - a for a, b in itertools.pairwise(times[2:])]
    return {name: statistics.median(s) for name, s in seconds.items()}


def to_common_loss(size, evaluations):
    """Seconds until each side's image is as good as the textbook's at the end, and as its best on the way."""
    weights, (content, style) = random_weights(), pictures(size)
    judge, every = textbook_model(weights, content, style), max(1, evaluations // 50)
    table, goal, best = {}, None, None
    for name, run in RUNS.items():
        kept = []
        run(weights, content, style, evaluations, lambda image, t, kept=kept: kept.append((t, image.detach().clone())))
        with torch.no_grad():
            curve = [(t, textbook_loss(judge, i.clamp(0, 1)).item()) for t, i in kept[::every] + kept[-1:]]
        goal, best = (curve[-1][1], min(loss for _, loss in curve)) if goal is None else (goal, best)
        to_goal, to_best = (next((t for t, loss in curve if loss <= level), None) for level in (goal, best))
        lowest = min(loss for _, loss in curve)
        row = {"seconds": kept[-1][0], "to_goal": to_goal, "to_best": to_best, "lowest": lowest}
        table[name] = row | {"last": curve[-1][1], "curve": curve}
    return goal, table


def peak(name, size, evaluations):
    """Peak memory in bytes above an interpreter with torch, weights and pictures loaded, in a process of its own."""
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = f"""
import json, resource, sys
sys.path[:0] = {here!r}
import benchmark, nst_helpers, torch
torch.set_num_threads(2)
weights, pictures = benchmark.random_weights(), benchmark.pictures({size})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
benchmark.RUNS[{name!r}](weights, *pictures, {evaluations}, lambda image, seconds: None)
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def import_seconds():
    """Seconds that `import nst_helpers` takes beyond torch, NumPy and Pillow: the best of five processes."""
    code = """
import time, torch, numpy, PIL.Image
start = time.perf_counter()
import nst_helpers
print(time.perf_counter() - start)
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return min(float(run.stdout) for run in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-size", type=int, default=512)
    # PyTorch's L-BFGS keeps 100 steps by default; the textbook loop's memory has peaked only after that many.
    parser.add_argument("--memory-evaluations", type=int, default=110)
    parser.add_argument("--only", choices=("evaluation", "loss", "memory", "import"), nargs="+")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    wanted = options.only or ["evaluation", "loss", "memory", "import"]
    report = {"torch": torch.__version__, "threads": torch.get_num_threads(), "size": options.size}

    if "evaluation" in wanted:
        seconds = per_evaluation(options.size, options.rounds)
        report["seconds_per_evaluation"] = seconds
        print(f"\nOne evaluation, VGG-19, {options.size} px, 2 threads")
        for name, value in seconds.items():
            print(f"  {name:18} {value * 1e3:7.0f} ms   {seconds['textbook'] / value:5.2f} x")
    if "loss" in wanted:
        goal, table = to_common_loss(options.size, options.evaluations)
        report["common_loss"] = {"goal": goal, **table}
        whole = table["textbook"]["seconds"]
        print(
            f"\nUntil the textbook's loss, as a share of its {whole:.0f} s for {options.evaluations} evaluations"
        )
        print(f"  {'':18} its last ({goal:.4g})   its lowest ({table['textbook']['lowest']:.4g})   own lowest")
        for name, row in table.items():
            last, lowest = (f"{row[k] / whole:.2f}" if row[k] else "never" for k in ("to_goal", "to_best"))
            print(f"  {name:18} {last:>17} {lowest:>21} {row['lowest']:12.4g}")
    if "memory" in wanted:
        peaks = {name: peak(name, options.memory_size, options.memory_evaluations) for name in RUNS}
        report["peak_bytes"] = {"size": options.memory_size, **peaks}
        print(f"\nPeak memory above the loaded network, {options.memory_size} px")
        for name, value in peaks.items():
            print(f"  {name:18} {value / 2**20:7.0f} MB   {value / peaks['textbook']:5.2f}")
    if "import" in wanted:
        report["import_seconds"] = import_seconds()
        print(f"\nimport nst_helpers, beyond torch: {report['import_seconds']:.3f} s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
