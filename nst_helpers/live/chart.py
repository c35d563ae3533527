"""The panel's chart of losses as an SVG string: three lines on a logarithmic axis, drawn in a millisecond.

The lines differ in dash and are named at their ends, so that nothing is told by colour alone. The colours are Okabe
and Ito's, which people with any kind of colour vision tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ..engine.evaluation import Evaluation
from .state import summarize_losses

__all__ = ["COLOURS", "colour", "draw_chart"]

COLOURS = {"content": "#0072b2", "style": "#d55e00", "tv": "#00805f"}
NAMES = {"content": "content", "style": "style", "tv": "variation"}
DASHES = {"content": "", "style": "7 3", "tv": "1.5 3.5"}
WIDTH, HEIGHT = 520, 176
LEFT, RIGHT, TOP, BOTTOM = 40, 78, 10, 22
POINTS = 200
DECADES = 5  # what lies further down is cut off: a loss that starts at 0 would flatten everything else
FLOOR = 1e-9


def colour(name: str) -> str:
    """The colour of a loss in CSS: that of the theme, where the panel's style sheet is there.

    >>> colour("style")
    'var(--style,#d55e00)'
    """
    return f"var(--{name},{COLOURS[name]})"


def draw_chart(history: Sequence[Evaluation], targets: Mapping[str, float] | None = None) -> str:
    """The losses by step, unweighted, with a tick below for each change and a line for each target, as SVG.

    >>> draw_chart([]).startswith("<svg")
    True
    """
    targets = dict(targets or {})
    values = _curves(history)
    drawn = [y for points in values.values() for _, y in points] + list(targets.values())
    high = math.ceil(math.log10(max(drawn, default=1.0)) - 1e-9)
    low = math.floor(math.log10(min(drawn, default=1e-3)) + 1e-9)
    low = max(min(low, high - 1), high - DECADES)
    end = max([10, *(e.step for e in history[-1:])])
    step = _nice(end / 5)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / end

    def y(value: float) -> float:
        share = (math.log10(max(value, FLOOR)) - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)

    parts = [_axes(range(low, high + 1), range(0, end + 1, step), x, y)]
    for event in (e for e in history if e.event):
        at = x(event.step)
        parts.append(f'<path class="nst-tick" d="M{at:.1f} {HEIGHT - BOTTOM + 1}l3 5h-6z"/>')
    for name, limit in targets.items():
        across = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"'
        parts.append(f'<line {across} style="stroke:{colour(name)}" opacity=".55"/>')
    parts += _lines(values, x, y)
    aims: dict[str, float] = {}
    for name, limit in targets.items():
        # The text stands on the other side of the limit than the curve; near the bottom there is room above it only.
        under = values[name] and values[name][-1][1] > limit and y(limit) < HEIGHT - BOTTOM - 14
        aims[name] = y(limit) + (12 if under else -4)
    for name, at in _apart(aims).items():
        parts.append(
            f'<text class="nst-halo" x="{WIDTH - RIGHT - 4}" y="{at:.1f}" text-anchor="end" '
            f'style="fill:{colour(name)}">aim {targets[name]:.3g}</text>'
        )
    if not history:
        parts.append(f'<text x="{WIDTH / 2 - 30}" y="{HEIGHT / 2}" text-anchor="middle">no step yet</text>')
    said = ", ".join(f"{NAMES[name]} {points[-1][1]:.3g}" for name, points in values.items() if points)
    return (
        f'<svg class="nst-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Losses by step on a logarithmic axis, {said or "none yet"}">{"".join(parts)}</svg>'
    )


def _curves(history: Sequence[Evaluation]) -> dict[str, list[tuple[int, float]]]:
    """The curves by name, as (step, loss): a long history is thinned out, and a loss without a logarithm left out."""
    shown = list(history[:: max(1, math.ceil(len(history) / POINTS))])
    if history and shown[-1] is not history[-1]:
        shown.append(history[-1])
    points = {name: [(e.step, summarize_losses(e)[name]) for e in shown] for name in COLOURS}
    return {name: [(x, y) for x, y in pairs if math.isfinite(y) and y > FLOOR] for name, pairs in points.items()}


def _lines(
    curves: Mapping[str, Sequence[tuple[int, float]]], x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    """The curves, each with its name at its end."""
    ends = _apart({name: y(points[-1][1]) for name, points in curves.items() if points})
    parts = []
    for name in (name for name in curves if name in ends):
        line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curves[name])
        dash = f' stroke-dasharray="{DASHES[name]}"' if DASHES[name] else ""
        parts.append(
            f'<polyline points="{line}" fill="none" style="stroke:{colour(name)}" stroke-width="2" '
            f'stroke-linejoin="round" stroke-linecap="round"{dash}/>'
            f'<text class="nst-name" x="{WIDTH - RIGHT + 8}" y="{ends[name] + 4:.1f}" style="fill:{colour(name)}">'
            f"{NAMES[name]}</text>"
        )
    return parts


def _axes(decades: range, steps: range, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    parts = []
    for power in decades:
        at = y(10.0**power)
        label = f"{10.0**power:g}" if abs(power) < 5 else f"1e{power}"
        parts.append(f'<line class="nst-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for value in steps:
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 5}" text-anchor="middle">{value}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT + 20}" y="{HEIGHT - 5}">steps</text>')
    return "".join(parts)


def _apart(wanted: Mapping[str, float], gap: float = 13) -> dict[str, float]:
    """Heights for texts: as near as may be to those that are wanted, without overlap."""
    placed: dict[str, float] = {}
    for name, at in sorted(wanted.items(), key=lambda item: item[1]):
        placed[name] = max(at, max(placed.values(), default=at - gap) + gap)
    over = max(placed.values(), default=0) - (HEIGHT - BOTTOM)
    return {name: at - max(over, 0) for name, at in placed.items()}


def _nice(rough: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that is not below a number.

    >>> [_nice(v) for v in (0.3, 2, 3, 11, 130)]
    [1, 2, 5, 20, 200]
    """
    power = 10 ** math.floor(math.log10(max(rough, 1)))
    return next(int(m * power) for m in (1, 2, 5, 10) if m * power >= rough)
