"""How far `estimate` is from the truth: each run in a process of its own, estimated first and then made.

    python tools/measure/estimates.py [--sizes 96 192 320 512] [--encoders mini vgg19] [--precisions float32 bfloat16]

Random weights for VGG-19: they cost the same. Seconds are compared for the whole of `stylize`. Bytes are compared
twice: for the whole process (`peak_bytes`, as the history reports it) and for what the run added (`run_bytes`), which
is the stricter of the two, since PyTorch itself holds half a gigabyte. Where the peak can't be reset (it is on Linux),
what the run added is left out. `--clock cpu` counts the process's own work in place of the time that passed, in the
estimate and in the run: with one thread on an idle machine the two are the same, and on a busy one it is the one that
can be foreseen.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def status(name):
    """A line of this process's memory status, in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def child(options):
    """Estimate, run, and print both."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import torch  # here, for the parent computes nothing

    import nst_helpers as nst
    from nst_helpers.encoders import VGG19, Encoder

    torch.set_num_threads(options.threads)
    if options.clock == "cpu":
        time.perf_counter = time.process_time
    size, optimizer, tile = options.sizes[0], options.optimizers[0], options.tile
    encoder = Encoder(VGG19) if options.encoders[0] == "vgg19" else nst.load_encoder(options.encoders[0])
    content, style = (nst.load_sample(name, size=(size, size), crop=True) for name in ("temple", "night_swirls"))
    given = {"encoder": encoder, "optimizer": optimizer, "precision": options.precisions[0], "device": "cpu"}
    given["steps"] = 14 if optimizer == "lbfgs" else 8
    if tile:
        given["tile"] = tile
    start = time.perf_counter()
    estimate = nst.estimate(content, style, **given)
    told = {"estimating": time.perf_counter() - start}
    gc.collect()
    try:
        # Give back what the calibration left, and count the peak from here.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
        before = status("VmRSS")
    except OSError:
        before = None
    start = time.perf_counter()
    nst.stylize(content, style, **given)
    told |= {"seconds": time.perf_counter() - start, "estimated_seconds": estimate.seconds}
    if before is not None:
        peak = status("VmHWM")
        told |= {"peak": peak, "estimated_peak": before + estimate.run_bytes}
        told |= {"run": peak - before, "estimated_run": estimate.run_bytes}
    print(json.dumps(told))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[96, 192, 320, 512])
    add("--encoders", nargs="+", default=["mini", "vgg19"])
    add("--precisions", nargs="+", default=["float32", "bfloat16"])
    add("--optimizers", nargs="+", default=["lbfgs", "adam"])
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=1, help="processes for each row, of which the median counts")
    add("--clock", choices=("wall", "cpu"), default="wall")
    add("--tile", type=int)
    add("--json", type=Path)
    add("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    print(f"estimate / truth - 1, {options.threads} threads")
    print(f"{'':32} {'seconds':>16} {'process':>14} {'run':>14}")
    rows = []
    for encoder in options.encoders:
        for precision in options.precisions:
            for optimizer in options.optimizers:
                for size in options.sizes:
                    command = [sys.executable, __file__, *sys.argv[1:], "--child", "--sizes", str(size)]
                    command += ["--encoders", encoder, "--precisions", precision, "--optimizers", optimizer]
                    runs = []
                    for _ in range(options.repeats):
                        out = subprocess.run(command, capture_output=True, text=True, check=True)
                        runs.append(json.loads(out.stdout.splitlines()[-1]))
                    row = {"encoder": encoder, "precision": precision, "optimizer": optimizer, "size": size}
                    for name, unit in (("seconds", 1), ("peak", 2**20), ("run", 2**20)):
                        if name in runs[0]:
                            row[name] = statistics.median(run[name] for run in runs) / unit
                            row[f"{name}_error"] = statistics.median(r[f"estimated_{name}"] / r[name] for r in runs) - 1
                    row["estimating"] = statistics.median(run["estimating"] for run in runs)
                    rows.append(row)
                    print(f"{encoder:6} {precision:9} {optimizer:6} {size:4} px", end="")
                    for name, unit in (("seconds", "s"), ("peak", "MB"), ("run", "MB")):
                        if name in row:
                            print(f" {row[name]:7.4g} {unit:2} {row[f'{name}_error']:+4.0%}", end="")
                    print(f"  (estimated in {row['estimating']:.1f} s)", flush=True)
    for name in ("seconds", "peak", "run"):
        errors = [abs(row[f"{name}_error"]) for row in rows if f"{name}_error" in row]
        if errors:
            print(f"{name}: median error {statistics.median(errors):.0%}, largest {max(errors):.0%}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
