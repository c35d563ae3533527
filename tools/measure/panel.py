"""Measure the live panel in a real JupyterLab: speed, latency of a key press and of a pause, growth of memory.

    python tools/measure/panel.py                       ten minutes, 500 moves of a slider
    python tools/measure/panel.py --minutes 0.3 --moves 12 --size 96
    python tools/measure/panel.py --json FILE           the figures as JSON, too
    python tools/measure/panel.py --handles regions     with the fold open, and a second style in some of the regions

The kernel writes down when each evaluation ended and the weight it had; the page when a key was pressed. Both read the
same clock, so a latency is the time from the key to the end of the first evaluation with the new weight.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))

from jupyter_lab import browse, find_browser, run_all, serve, write_notebook

WARM_UP = 15  # seconds until the memory counts: first drawings, caches

CELL = """import json, pathlib, time
import nst_helpers as nst
session = nst.StyleSession("temple", "night_swirls", size=SIZE)
start = time.perf_counter()
alone = len(session.step(seconds=4)) / (time.perf_counter() - start)
_ = session.reset()
inside, most, last = 0, 0, 0.0
log = open("steps.txt", "w", buffering=1)
evaluate = session._evaluate
def noted():
    global inside, most, last
    inside += 1
    most = max(most, inside)
    made = evaluate()
    inside -= 1
    log.write(f"{time.time():.4f} {session.settings.style_weight:.6g} {most}\\n")
    return made
session._evaluate = noted
pathlib.Path("alone.json").write_text(json.dumps(alone))
nst.panel(session)"""

WATCH = """() => { window.seen = 0;
  new MutationObserver(() => window.seen++).observe(document.querySelector('.nst-stage img'),
    {attributes: true, attributeFilter: ['src']}) }"""


def temporary_folder(parent: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="nst-panel-", dir=parent, ignore_cleanup_errors=True)


def kernel_of(folder: Path) -> psutil.Process:
    """The process of the notebook's kernel, which runs in the notebook's folder."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "ipykernel_launcher" in " ".join(process.info["cmdline"] or []) and process.info["cwd"] == str(folder):
            return process
    raise RuntimeError("no kernel runs over this folder")


def steps(folder: Path) -> list[tuple[float, float, int]]:
    """Every evaluation so far: when it ended, the style weight it had, the most that ever ran at once."""
    lines = (folder / "steps.txt").read_text("utf-8").split("\n")[:-1]
    return [(float(t), float(w), int(m)) for t, w, m in (line.split() for line in lines)]


def first_step(folder: Path, patience: float = 30) -> None:
    """Wait for an evaluation with the weight as it was: a press before it would have nothing to differ from."""
    end = time.monotonic() + patience
    while not steps(folder):
        if time.monotonic() > end:
            raise TimeoutError(f"the panel made no step in {patience:g} s")
        time.sleep(0.02)


def badge(page: Any, word: str) -> None:
    page.wait_for_function("w => document.querySelector('.nst-badge').innerText.toLowerCase() == w", arg=word)


def soak(page: Any, folder: Path, minutes: float, moves: int) -> dict[str, Any]:
    """Paint for so long, and press a key on the style slider so often."""
    play = page.locator(".nst-panel .widget-play button").first
    page.wait_for_function("() => document.querySelector('.nst-stage img').naturalWidth > 0")
    page.evaluate(WATCH)
    play.click()
    badge(page, "painting")
    first_step(folder)
    handle = page.locator(".nst-panel .widget-hslider .noUi-handle").nth(1)
    kernel, begun, start = kernel_of(folder), time.time(), time.monotonic()
    end, pressed, memory = start + 60 * minutes, [], []
    heap = "() => performance.memory ? performance.memory.usedJSHeapSize : 0"
    while (now := time.monotonic()) < end:
        memory.append((now - start, kernel.memory_info().rss, page.evaluate(heap)))
        if len(pressed) < moves:
            handle.focus()
            # Forth and back over forty places of the slider, so that each press is a new weight.
            pressed.append(time.time())
            page.keyboard.press("ArrowRight" if (len(pressed) - 1) // 20 % 2 == 0 else "ArrowLeft")
        time.sleep(max(0.05, 60 * minutes / max(moves, 1) - (time.monotonic() - now)))
    painted, seen = time.time() - begun, page.evaluate("window.seen")
    asked = time.time()
    play.click()
    badge(page, "paused")
    time.sleep(1)
    made = steps(folder)
    waits, lost = latencies(pressed, made)
    after = [m for m in memory if m[0] >= min(WARM_UP, 30 * minutes)]
    return {
        "minutes": minutes,
        "evaluations a second": len(made) / painted,
        "evaluations a second, session alone": json.loads((folder / "alone.json").read_text("utf-8")),
        "pictures a second": seen / painted,
        "slider moves": len(pressed),
        "lost values": lost,
        "key press to a step with the new value, median s": statistics.median(waits),
        "the same, 95 % of them under": sorted(waits)[int(0.95 * (len(waits) - 1))],
        "the same, longest": max(waits),
        "pause: last step ended after s": max(0.0, made[-1][0] - asked),
        "most steps at once": max(m for *_, m in made),
        "kernel memory growth MB": (after[-1][1] - after[0][1]) / 1e6,
        "page memory growth MB": (after[-1][2] - after[0][2]) / 1e6,
        "console errors": len(page.said),
    }


def unfold(page: Any, handles: str) -> None:
    """Open the fold of further handles, and paint in regions if asked for."""
    if handles == "closed":
        return
    page.locator(".nst-fold summary").click()
    if handles == "regions":
        page.locator(".nst-second select").select_option("mosaic")
        page.locator(".nst-panel button:has-text('Find regions')").click()
        page.wait_for_selector(".nst-map", state="visible", timeout=120_000)


def latencies(pressed: list[float], made: list[tuple[float, float, int]]) -> tuple[list[float], int]:
    """Seconds from each press to the end of the first step with another weight, and how many presses changed none."""
    changes = [b for a, b in itertools.pairwise(made) if a[1] != b[1]]
    waits = [t - p for p, (t, *_) in zip(pressed, changes, strict=False)]
    return waits, len(pressed) - len(changes)


def main(arguments: list[str] | None = None, *, server: Sequence[Any] | None = None) -> int:
    """Measure; `server` is one that runs, as the folder that it shows and its address."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--moves", type=int, default=500)
    parser.add_argument("--size", type=int, default=192, help="short side in pixels")
    parser.add_argument("--threads", type=int, default=0, help="of the kernel; 0 leaves it to PyTorch")
    parser.add_argument("--handles", choices=("closed", "open", "regions"), default="closed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if find_browser() is None:
        parser.error("no Chromium is installed")
    env = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    with contextlib.ExitStack() as on:
        root = server[0] if server else Path(on.enter_context(temporary_folder()))
        address = server[1] if server else on.enter_context(serve(root, **env))
        folder = Path(on.enter_context(temporary_folder(root))).resolve()
        write_notebook(folder / "live.ipynb", CELL.replace("SIZE", str(options.size)))
        page = on.enter_context(browse(address, f"{folder.name}/live.ipynb"))
        run_all(page)
        page.wait_for_function("() => document.querySelector('.nst-stage img')?.naturalWidth > 0")
        unfold(page, options.handles)
        figures = soak(page, folder, options.minutes, options.moves)
    for what, value in figures.items():
        print(f"{what:50} {value:.3g}" if isinstance(value, float) else f"{what:50} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
