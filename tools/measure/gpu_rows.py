"""Guarded, timed rows and what the parts of gpu_check.py share."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["Left", "Part", "machine", "synchronize", "tf32", "words"]


class Left(Exception):
    """A row that can't be measured here; the message says why."""


class Part:
    """The rows of one part: each guarded, timed, printed and kept."""

    def __init__(self, name: str, seconds: float, save: Callable[[], None] = lambda: None) -> None:
        self.name, self.end, self.save = name, time.perf_counter() + seconds, save
        self.rows: list[dict[str, Any]] = []
        print(f"\n{name}: {seconds:.0f} s at most", flush=True)

    @property
    def left(self) -> float:
        return self.end - time.perf_counter()

    def row(self, name: str, check: Callable[[], Any], *, most: float = 60.0) -> None:
        """Run a check, which returns what it found: words, or numbers by name."""
        row: dict[str, Any] = {"name": name}
        start = time.perf_counter()
        try:
            if self.left < 1:
                raise Left("no time was left for it")
            with within(min(most, self.left)):
                row |= {"state": "ok", "found": check()}
        except Left as why:
            row |= {"state": "left out", "why": str(why)}
        except (Exception, KeyboardInterrupt) as error:
            text = f"{type(error).__name__}: {error}"
            row |= {"state": "FAILED", "why": text, "traceback": traceback.format_exc()[-3000:]}
        row["seconds"] = round(time.perf_counter() - start, 2)
        self.rows.append(row)
        said = row.get("why") or words(row["found"])
        print(f"  {row['state']:8} {name:34} {row['seconds']:6.1f} s  {said[:200]}", flush=True)
        if row["state"] == "FAILED":
            print("    " + row["traceback"][-1200:].replace("\n", "\n    "), flush=True)
        self.save()

    @property
    def failed(self) -> bool:
        return any(row["state"] == "FAILED" for row in self.rows)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what runs longer, where the interpreter gets to hear of it."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: Any) -> None:
        raise TimeoutError(f"it took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def words(found: Any) -> str:
    """What a check found, on one line."""
    if isinstance(found, dict):
        return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items())
    return str(found)


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """float32 products by the matrix units' short float32, or exact."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, Any]:
    """The card and the software, by name."""
    told: dict[str, Any] = {"device": str(device), "python": platform.python_version(), "torch": torch.__version__}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        told |= {"card": card.name, "capability": [card.major, card.minor], "gb": round(card.total_memory / 2**30, 1)}
        told |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "cores": os.cpu_count()}
    return told
