"""How fast it is on this device: the textbook loop, pystiche and this package with its levers, for gpu_check.py.

Building the model is on nobody's clock, and every clock waits for the device. The sides are those of gpu_sides.py.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_rows import Left, Part, synchronize, tf32
from gpu_sides import RACERS, SIDES, Side, Task, drive, levers, optimisation, task, textbook_model
from textbook import textbook_loss
from torch import Tensor, nn

import nst_helpers as nst

WARM, TIMED, ROUNDS = 6, 16, 2
# Of larger pictures, and those whose time is taken apart.
LARGE = ("textbook", "pystiche", "tf32", "tf32, captured", "bfloat16, captured")
LARGE += ("float16", "float16, captured", "float16, captured, any order")
PROFILED = ("tf32", "tf32, captured", "float16, captured")


def limits(device: torch.device) -> dict[str, float]:
    """TFLOP/s of a large product and of one of VGG-19's convolutions, by format."""
    found, n, side = {}, 8192 if device.type == "cuda" else 512, 256 if device.type == "cuda" else 32
    for kind in ("float32", "tf32", "bfloat16", "float16"):
        dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
        with tf32(kind == "tf32"), torch.no_grad():
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            conv = nn.Conv2d(256, 256, 3, padding=1).to(device, dtype, memory_format=torch.channels_last)
            x = torch.randn(8, 256, side, side, device=device).to(dtype, memory_format=torch.channels_last)
            work = {"product": 2 * n**3, "convolution": 2 * 9 * 256**2 * 8 * side**2}
            jobs = {"product": functools.partial(torch.mm, a, b), "convolution": functools.partial(conv, x)}
            for name, job in jobs.items():
                times = []
                for _ in range(8):
                    synchronize(device)
                    start = time.perf_counter()
                    job()
                    synchronize(device)
                    times.append(time.perf_counter() - start)
                found[f"{kind} {name}"] = work[name] / statistics.median(times[2:]) / 1e12
    return found


def one_evaluation(job: Task, side: Side) -> dict[str, float]:
    """Seconds for each evaluation after the first few, the seconds before those, and the peak of memory."""
    device, clock, done = job.content.device, [], 0

    def see(_: Tensor) -> None:
        nonlocal done
        done += 1
        if done in (WARM, WARM + TIMED):
            synchronize(device)
            clock.append(time.perf_counter())

    before = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    start = time.perf_counter()
    drive(job, side, WARM + TIMED, see)
    found = {"ms": 1e3 * (clock[1] - clock[0]) / TIMED, "start": clock[0] - start}
    if device.type == "cuda":
        found["peak MB"] = (torch.cuda.max_memory_allocated(device) - before) / 2**20
    return found


def race(job: Task, side: Side, evaluations: int) -> list[tuple[float, Tensor]]:
    """The picture after each few evaluations, with the seconds by the device's own clock."""
    device, kept, done = job.content.device, [], 0
    every = max(1, evaluations // 100)

    def now() -> Any:
        if device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def see(image: Tensor) -> None:
        nonlocal done
        if done % every == 0:
            kept.append((now(), image.detach().clone()))
        done += 1

    drive(job, side, evaluations, see)
    synchronize(device)
    # The first evaluation's end starts the clock, and is counted with what one takes later on.
    first, last = kept[0][0], kept[-1][0]
    since = (lambda t: first.elapsed_time(t) / 1e3) if device.type == "cuda" else (lambda t: t - first)
    one = since(last) / max(1, (len(kept) - 1) * every)
    return [(since(t) + one, image) for t, image in kept]


def races(job: Task, evaluations: int, part: Part, title: str) -> None:
    """Seconds until each side's picture is as good as the textbook's last and best, judged in exact float32."""
    judge = textbook_model(job)
    goals: dict[str, float] = {}

    def one(side: Side) -> dict[str, Any]:
        more = evaluations if side.kind != "ours" else evaluations * 3 // 2
        with torch.no_grad(), tf32(False):
            with torch.enable_grad(), tf32(side.tf32):
                kept = race(job, side, more)
            curve = [(t, textbook_loss(judge, i.clamp(0, 1)).item()) for t, i in kept]
        if not goals:
            goals.update(last=curve[-1][1], lowest=min(loss for _, loss in curve))
        found: dict[str, Any] = {"seconds": curve[-1][0], "own lowest": min(loss for _, loss in curve)}
        for goal, level in goals.items():
            found[f"to the textbook's {goal}"] = next((t for t, loss in curve if loss <= level), None)
        return found | {"evaluations": more, "goals": dict(goals)}

    for name, side in RACERS.items():
        part.row(f"{title} race: {name}", functools.partial(one, side), most=20)


def profile(job: Task, side: Side, steps: int = 12) -> dict[str, Any]:
    """What the host waits for in each step, and for how much of the time the device is busy."""
    if job.content.device.type != "cuda":
        raise Left("a GPU's profile")
    from torch.profiler import ProfilerActivity

    with levers(side):
        run = optimisation(job, side, steps + 20)
        for _ in range(8):
            run.step()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            start = time.perf_counter()
            for _ in range(steps):
                run.step()
            torch.cuda.synchronize()
            wall = time.perf_counter() - start
    averages = seen.key_averages()
    waits = {e.key: e.count for e in averages if "Synchronize" in e.key or e.key.startswith("cudaMemcpy")}
    waits["cudaDeviceSynchronize"] = waits.get("cudaDeviceSynchronize", 1) - 1  # the one above
    launches = sum(e.count for e in averages if "Launch" in e.key and e.key.startswith("cu"))
    kernels = sorted(
        ((e.self_device_time_total / steps, e.count / steps, e.key[:90]) for e in averages if e.self_device_time_total),
        reverse=True,
    )
    on_device = [e for e in averages if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.self_device_time_total for e in on_device) / 1e6
    host = sorted(((e.self_cpu_time_total / steps, e.count / steps, e.key[:90]) for e in averages), reverse=True)
    return {
        "wall ms": 1e3 * wall / steps,
        "busy": busy / wall,
        "launches": launches / steps,
        "waits a step": {k: v / steps for k, v in waits.items() if v},
        "kernels us": kernels[:24],
        "host us": host[:16],
    }


def live(device: torch.device) -> dict[str, float]:
    """What the panel can show: evaluations a second of a session as it is by itself."""
    session = nst.StyleSession("temple", "night_swirls", size=192, device=device)
    session.step(5)
    start, made = time.perf_counter(), len(session.step(seconds=1.5))
    return {"evaluations a second": made / (time.perf_counter() - start)}


def measure(part: Part, device: torch.device, options: Any, wanted: Callable[[str], bool]) -> None:
    """All rows of this part, the most telling first; then a table for each network and size."""
    table: dict[str, dict[str, list[dict[str, float]]]] = {}
    found_limits: dict[str, float] = {}

    def turns(network: str, size: int, sides: dict[str, Side], rounds: int) -> None:
        title = f"{network} {size}"
        for turn, (name, side) in itertools.product(range(rounds), sides.items()):
            if wanted(f"{title}: {name}"):
                measured = functools.partial(one_evaluation, task(network, size, device), side)
                part.row(f"{title}: {name} ({turn + 1})", measured, most=15)
                if part.rows[-1]["state"] == "ok":
                    table.setdefault(title, {}).setdefault(name, []).append(part.rows[-1]["found"])

    if wanted("limits"):
        part.row("limits", lambda: found_limits.update(limits(device)) or found_limits, most=20)
    small, *large = sorted(options.sizes)
    for network in options.networks:
        turns(network, small, SIDES, ROUNDS)
    for network in options.networks:
        title, job = f"{network} {small}", task(network, small, device)
        if wanted(f"{title} race"):
            races(job, options.evaluations, part, title)
        for name in PROFILED:
            if wanted(f"{title} profile: {name}"):
                part.row(f"{title} profile: {name}", functools.partial(profile, job, SIDES[name]), most=15)
    for size, network in itertools.product(large, options.networks):
        turns(network, size, {name: SIDES[name] for name in LARGE}, ROUNDS)
    if wanted("live"):
        part.row("live session, mini 192", functools.partial(live, device))
    for title, rows in table.items():
        show(title, rows, task(title.split()[0], int(title.split()[1]), device).gflop, found_limits)


def show(title: str, rows: dict[str, list[dict[str, float]]], gflop: float, limits: dict[str, float]) -> None:
    """The rounds' medians, with the ratio to the textbook loop of the same round."""
    print(f"\n{title} px, {gflop:.0f} GFLOP an evaluation")
    print(f"  {'':42} {'ms':>8} {'spread':>7} {'x textbook':>10} {'of limit':>8} {'peak MB':>8} {'start s':>8}")
    for name, rounds in rows.items():
        ms = [r["ms"] for r in rounds]
        base = [r["ms"] for r in rows.get("textbook", [])][: len(ms)]
        ratio = statistics.median([b / m for b, m in zip(base, ms, strict=False)]) if base else 0.0
        kind = name.split(",")[0] if name.split(",")[0] in ("tf32", "bfloat16", "float16", "float32") else "tf32"
        kind = "float32" if name == "textbook, exact" else kind
        top = max((v for k, v in limits.items() if k.startswith(kind)), default=0.0)
        share = gflop / statistics.median(ms) / top if top else 0.0
        spread = max(ms) / min(ms) - 1
        print(
            f"  {name:42} {statistics.median(ms):8.2f} {spread:7.1%} {ratio:10.2f} {share:8.1%}"
            f" {rounds[0].get('peak MB', 0):8.0f} {rounds[0]['start']:8.2f}"
        )
