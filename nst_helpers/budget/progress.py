"""How quickly work gets done, how long the rest of it will take, and the words for such times and for memory."""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Pace", "amount_words", "left_words", "time_words"]

WINDOW = 10.0  # seconds of work that the pace is taken from: long enough to be calm, short enough to follow
FEWEST = 4  # stretches that count even where they took longer
ENOUGH = 1.0  # seconds of work before which nothing is said


class Pace:
    """The pace of work over its last ten seconds. Work is counted in any unit, and breaks don't count.

    >>> pace = Pace()
    >>> for second in range(5):
    ...     pace.done(10, at=second)  # ten steps a second, after the first call, which only starts the clock
    >>> pace.each, pace.rate(now=4.5)
    (0.1, 10.0)
    """

    def __init__(self) -> None:
        self._stretches: deque[tuple[float, float, float]] = deque()  # when it ended, its seconds, its work
        self._seconds = self._work = 0.0
        self._since: float | None = None

    def done(self, work: float, *, at: float | None = None) -> None:
        """Count work done since the last call; the first call, and the first after a break, only starts the clock."""
        at = time.monotonic() if at is None else at
        if self._since is not None:
            self._stretches.append((at, at - self._since, work))
            self._seconds, self._work = self._seconds + at - self._since, self._work + work
        self._since = at
        while len(self._stretches) > FEWEST and self._seconds - self._stretches[0][1] >= WINDOW:
            _, seconds, work = self._stretches.popleft()
            self._seconds, self._work = self._seconds - seconds, self._work - work

    def rest(self) -> None:
        """A break: the time until the next call of `done` doesn't count."""
        self._since = None

    def forget(self) -> None:
        """Start over: from here on the work is of another kind."""
        self._stretches.clear()
        self._seconds = self._work = 0.0
        self._since = None

    @property
    def each(self) -> float | None:
        """Seconds for a unit of work; None as long as too little is done to say."""
        return self._seconds / self._work if self._seconds >= ENOUGH and self._work > 0 else None

    def rate(self, *, last: float = 2.5, now: float | None = None) -> float:
        """Units of work a second over the last few seconds; 0 where there was none, or a break is on."""
        now = time.monotonic() if now is None else now
        recent = [(seconds, work) for end, seconds, work in self._stretches if end > now - last]
        seconds = sum(seconds for seconds, _ in recent)
        return sum(work for _, work in recent) / max(seconds, 1e-6) if recent and self._since is not None else 0.0


def time_words(seconds: float) -> str:
    """A duration in its proper unit.

    >>> [time_words(s) for s in (0.25, 12.3, 130, 9000)]
    ['0.25 s', '12 s', '2 min', '2.5 h']
    """
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def left_words(seconds: float) -> str:
    """What is left, in steps coarse enough to stand still while they are read.

    >>> [left_words(s) for s in (0.2, 7.6, 38, 200)]
    ['about 1 s left', 'about 8 s left', 'about 40 s left', 'about 3 min left']
    """
    if seconds < 13:
        seconds = max(1, round(seconds))
    elif seconds < 90:
        seconds = 5 * round(seconds / 5)
    return f"about {time_words(seconds)} left"


def amount_words(bytes_: float) -> str:
    """An amount of memory in its proper unit.

    >>> amount_words(340 * 2**20), amount_words(1.5 * 2**30)
    ('340 MB', '1.5 GB')
    """
    return f"{bytes_ / 2**30:.1f} GB" if bytes_ >= 2**30 else f"{bytes_ / 2**20:.0f} MB"
