"""Two versions of the package, or one under two environments, evaluation against evaluation: which is quicker?

    git worktree add --detach /tmp/before COMMIT
    python tools/measure/two_checkouts.py /tmp/before . --encoder mini --size 192
    python tools/measure/two_checkouts.py . . --second MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=131072

Each is a process of its own. They take turns, and a pair's ratio is the first's time over the second's right before or
after it. With one thread the process's own time counts, which a busy machine leaves nearly as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

WARM_UP = 12  # evaluations: from there on L-BFGS has its whole history


def side(options: argparse.Namespace) -> None:
    """One version, in its own process: for each line that comes in, the median seconds of a few evaluations."""
    sys.path.insert(0, str(options.checkouts[0].resolve()))
    import torch

    import nst_helpers as nst
    from nst_helpers.encoders import VGG19, Encoder

    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    encoder = Encoder(VGG19) if options.encoder == "vgg19" else nst.load_encoder(options.encoder)
    shape = (options.size, options.size)
    content, style = (nst.load_sample(name, size=shape, crop=True) for name in ("temple", "night_swirls"))
    steps = nst.iterate(content, style, encoder=encoder, steps=10**6, device="cpu", precision=options.precision)
    for _ in range(WARM_UP):
        next(steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(options.evaluations):
            start = clock()
            next(steps)
            times.append(clock() - start)
        print(sorted(times)[len(times) // 2], flush=True)


class Turns:
    """A side's process; called, it makes its evaluations and returns their seconds."""

    def __init__(self, checkout: Path, settings: list[str], threads: int) -> None:
        own = dict(setting.split("=", 1) for setting in settings)
        command = [sys.executable, __file__, str(checkout), *sys.argv[1:], "--side"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        # A number of threads that is chosen stays: by default a side would take the other one for a busy program.
        kind = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(command, env=os.environ | kind | own, **pipes)
        self.process.stdout.readline()
        self.least = float("inf")

    def __call__(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        self.least = min(self.least, seconds)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkouts", type=Path, nargs="+")
    add("--first", nargs="+", default=[], metavar="NAME=VALUE", help="the first side's environment")
    add("--second", nargs="+", default=[], metavar="NAME=VALUE")
    add("--encoder", default="mini")
    add("--size", type=int, default=192)
    add("--precision", default="bfloat16")
    add("--threads", type=int, default=1)
    add("--evaluations", type=int, default=8, help="at a turn")
    add("--pairs", type=int, default=9)
    add("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return side(options)
    from levers import ratios, verdict  # not in a side, which has another checkout's package

    if len(options.checkouts) != 2:
        parser.error("name two checkouts")
    sides = zip(options.checkouts, (options.first, options.second), strict=True)
    one, two = (Turns(checkout, settings, options.threads) for checkout, settings in sides)
    found = ratios(two, one, options.pairs)
    for turns in (one, two):
        turns.process.stdin.close()
        turns.process.wait()
    print(f"{options.encoder}, {options.size} px, {options.precision}, threads: {options.threads}")
    print(f"least {1e3 * one.least:.1f} and {1e3 * two.least:.1f} ms; the first takes {verdict(found)}")


if __name__ == "__main__":
    main()
