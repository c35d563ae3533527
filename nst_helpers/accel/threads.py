"""How many threads a run computes with: fewer where other programs keep cores busy.

Threads that compute together wait for each other many times in each evaluation. One that shares its core with another
program keeps all others waiting, so a run is quicker, and kinder, with a thread for each core that is free. That is
looked at each second while a run is under way, from what the system counts: a core is free for a run where it is idle
or at work for this very process.

Other numbers of threads add up in another order, so where other programs come and go a run made again may differ in
rounding. A session keeps the caller's number, because its recipe has to replay to the pixel. A number that the user
chose stays, too: `OMP_NUM_THREADS` or `MKL_NUM_THREADS` in the environment, or `torch.set_num_threads` with another
number than that of the cores.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import torch

__all__ = ["CORES", "Cores", "Look", "adapt_threads", "kept_threads", "look", "restored_threads"]

CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SHORTEST, LONGEST = 1.0, 10.0  # seconds between two looks: a shorter time says little, a longer one nothing of now
# A core counts as free from this share on, less for one in use than for one more, so that the number is calm.
ENOUGH_TO_STAY, ENOUGH_TO_RISE = 0.4, 0.7


@dataclass(frozen=True)
class Look:
    """What the system has counted so far, in seconds: by the clock, of all cores, idle, at work for this process."""

    clock: float
    total: float
    idle: float
    own: float


def look() -> Look | None:
    """Count for the cores that this process may use; None where the system doesn't tell."""
    try:
        cores = psutil.cpu_times(percpu=True)
    except (OSError, RuntimeError, NotImplementedError, psutil.Error):
        return None
    usable = [core for number, core in enumerate(cores) if number in _usable(len(cores))]
    # Linux counts a guest's time among the user's, too.
    total = sum(sum(core) - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0) for core in usable)
    idle = sum(core.idle + getattr(core, "iowait", 0.0) for core in usable)
    return Look(time.monotonic(), total, idle, time.process_time())


def _usable(cores: int) -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(cores))


class Cores:
    """How many of the cores are free for this process, from one look to the next.

    >>> seen = iter([Look(0, 0, 0, 0), Look(2, 4, 0.2, 1.4)])  # two cores, one of them busy with something else
    >>> cores = Cores(lambda: next(seen), clock=lambda: 2)
    >>> cores.threads(2)
    1
    """

    def __init__(self, look: Callable[[], Look | None] = look, clock: Callable[[], float] = time.monotonic) -> None:
        self._look, self._clock = look, clock
        self._last = look()
        self._count = math.inf

    def threads(self, most: int) -> int:
        """The number of threads for now, from 1 to `most`."""
        if self._last is not None and self._clock() - self._last.clock >= SHORTEST:
            last, self._last = self._last, self._look()
            if self._last is not None and SHORTEST <= self._last.clock - last.clock <= LONGEST:
                self._settle(last, self._last, most)
        return int(min(most, self._count))

    def resume_from(self, count: int) -> None:
        """Start from a number of threads, that of a run which is taken up again."""
        self._count = count

    def _settle(self, before: Look, after: Look, most: int) -> None:
        seconds, total = after.clock - before.clock, after.total - before.total
        if total < seconds / 2 or after.own < before.own:
            return  # a system that counts nothing, as in some sandboxes, or a process that was forked in between
        cores = total / seconds
        free = min((after.idle - before.idle + after.own - before.own) / seconds, cores)
        now = min(most, self._count)
        if free < now - 1 + ENOUGH_TO_STAY or free > now + ENOUGH_TO_RISE:
            self._count = max(1, math.floor(free + 1 - ENOUGH_TO_STAY))


CORES = Cores()


class _Caller(threading.local):
    """The number of threads that a run's caller computes with, and the one that the run last switched to."""

    most = 0  # while no run is under way
    given = 0
    keeps = False


_caller = _Caller()


@contextlib.contextmanager
def restored_threads() -> Iterator[None]:
    """Whatever `adapt_threads` does inside, the caller's number of threads is the old one afterwards.

    >>> before = torch.get_num_threads()
    >>> with restored_threads():
    ...     _ = adapt_threads()
    >>> torch.get_num_threads() == before
    True
    """
    outermost = not _caller.most
    try:
        if outermost:
            _caller.most = _caller.given = torch.get_num_threads()
        yield
    finally:
        if outermost:
            try:
                _give_back()
            except KeyboardInterrupt:  # half done, it would keep every later run from giving the threads back
                _give_back()
                raise


def _give_back() -> None:
    # What the caller has set in between, in a callback, stays.
    if torch.get_num_threads() == _caller.given != _caller.most:
        torch.set_num_threads(_caller.most)
    _caller.most = 0


@contextlib.contextmanager
def kept_threads() -> Iterator[None]:
    """Inside, `adapt_threads` leaves the number of threads alone.

    >>> with kept_threads():
    ...     adapt_threads() == torch.get_num_threads()
    True
    """
    before, _caller.keeps = _caller.keeps, True
    try:
        yield
    finally:
        _caller.keeps = before


def adapt_threads(cores: Cores | None = None) -> int:
    """Compute with as many threads as cores are free, from here to the end of `restored_threads`; returns how many.

    To switch it costs a few milliseconds, since PyTorch prepares its convolutions anew, so it is switched only where it
    changes.
    """
    now = torch.get_num_threads()
    if _caller.keeps:
        return now
    if now != _caller.given:
        _caller.most = _caller.given = now
    if _is_chosen(_caller.most):
        return now
    wanted = (cores or CORES).threads(_caller.most)
    if wanted != now:
        torch.set_num_threads(wanted)
        _caller.given = wanted
    return wanted


def _is_chosen(threads: int) -> bool:
    """Whether a number of threads is the user's own choice, or 1, and not PyTorch's: one for each core."""
    return threads == 1 or threads not in _by_default() or any(name in os.environ for name in CHOSEN_BY)


@functools.cache
def _by_default() -> set[int | None]:
    cores = psutil.cpu_count() or 1
    return {cores, psutil.cpu_count(logical=False), len(_usable(cores))}
