"""How long a picture takes beside 0, 1 and 2 busy processes and beside itself: by two settings of threads.

    python tools/measure/beside_a_busy_process.py --steps 150
    python tools/measure/beside_a_busy_process.py --steps 150 --one-session  as among programs of one terminal
    python tools/measure/beside_a_busy_process.py --steps 150 --runs 2 4     two and four runs at once, as in a class

Each row is the command line's own run, whole, from start to saved picture, with the package's own setting (threads that
spin for a moment and then sleep) and with threads that spin on. Run it on a machine that is otherwise idle. It fails
where a run beside others takes longer than with an equal share of the cores: twice the idle machine's seconds beside
one, three times beside two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def busy(count: int, *, own: bool) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy, each in a session of its `own` or in this one.

    Linux shares the cores out equally among sessions, and within one among threads.
    """
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command, start_new_session=own) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def seconds(steps: int, size: int, policy: str | None, runs: int = 1) -> float:
    """Until the last of so many of the command line's runs, begun together; `policy` None is the package's own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nst_helpers", "temple", "night_swirls", "--quiet"]
        command += ["--size", str(size), "--steps", str(steps)]
        start, begun = time.perf_counter(), []
        for number in range(runs):
            out = ["-o", str(Path(folder) / f"{number}.png")]
            begun.append(subprocess.Popen([*command, *out], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL))
        if any([run.wait() for run in begun]):
            raise RuntimeError("a run failed")
        return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=1, help="the mean of so many is taken")
    parser.add_argument("--one-session", action="store_true", help="busy processes as from the same terminal")
    parser.add_argument("--runs", type=int, nargs="+", help="time so many runs at once, and nothing else")
    options = parser.parse_args()
    if options.runs:
        print(f"{'runs at once':>14} {'ours':>16} {'spinning':>10}   in seconds a run")
        for runs in options.runs:
            each = [seconds(options.steps, options.size, policy, runs) / runs for policy in (None, "ACTIVE")]
            print(f"{runs:14} {each[0]:16.1f} {each[1]:10.1f}", flush=True)
        return 0
    found: dict[int, float] = {}
    print(f"{'busy processes':>14} {'ours':>16} {'times idle':>11} {'spinning':>9}")
    for count in (0, 1, 2):
        with busy(count, own=not options.one_session):
            ours, spinning = (
                statistics.fmean(seconds(options.steps, options.size, policy) for _ in range(options.rounds))
                for policy in (None, "ACTIVE")
            )
        found[count] = ours
        print(f"{count:14} {ours:14.1f} s {ours / found[0]:11.2f} {spinning:7.1f} s", flush=True)
    return int(any(found[count] > (1 + count) * found[0] for count in (1, 2)))


if __name__ == "__main__":
    raise SystemExit(main())
