"""What the figures are drawn on: figures and axes of the course's width, numbers in cells, labels at curves' ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from ..io.sizes import whole_number
from . import layout as looks
from .layout import columns_for, row_heights, shortened, spread, wrapped

__all__ = [
    "WIDTH",
    "PlainLog",
    "as_written",
    "label_ends",
    "new_axes",
    "new_figure",
    "new_grid",
    "norm_of",
    "write_numbers",
]

WIDTH, DPI = 8.0, 100  # inches, pixels an inch
LONGEST_TITLE = 240  # letters


class PlainLog(LogFormatter):
    """Labels where matplotlib would put them on a logarithmic axis, as plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def new_axes(title: str, height: float) -> tuple[Figure, Axes]:
    """A figure of that height in inches, with axes that fill it."""
    with rc_context(looks.STYLE):
        figure = new_figure(height, title)
        return figure, figure.add_subplot()


def as_written(figure: Figure) -> Figure:
    """The figure with its words as they are: a dollar sign starts no formula. Numbers on axes keep theirs."""
    for axis in figure.axes:
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts):
            text.set_parse_math(False)
    for text in (*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())):
        text.set_parse_math(False)
    return figure


def new_figure(height: float, title: str, width: float = WIDTH) -> Figure:
    """A figure of that height and width in inches, and higher by the lines of its title."""
    title = wrapped(shortened(title, LONGEST_TITLE), width, size=12)
    room = 0.3 * bool(title) + 0.2 * title.count("\n")
    figure = Figure(figsize=(width, height + room), dpi=DPI, layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def new_grid(
    panels: Mapping[Any, np.ndarray],
    columns: int | None,
    title: str,
    *,
    size: int = 10,
    tallest: float = 6.0,
    bar: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """A figure with a titled place for each panel; `bar` inches of its width are left for a scale.

    Fewer panels than columns make it narrower, and nothing is left empty.
    """
    columns = columns or columns_for(len(panels))
    if (whole := whole_number(columns)) is None or whole < 1:
        raise ValueError(f"columns is {columns!r}, expected a whole number of 1 or more, or None.")
    columns = whole
    width = (WIDTH - bar) / columns
    columns = min(columns, len(panels))
    titles = [shortened(name[1] if isinstance(name, tuple) else name, LONGEST_TITLE) for name in panels]
    names = [wrapped(name, width, size=size) for name in titles]
    heights = row_heights(list(panels.values()), names, columns, width=width, tallest=tallest, size=size)
    with rc_context(looks.STYLE):
        figure = new_figure(sum(heights), title, columns * width + bar)
        places = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        axes = [figure.add_subplot(places[i // columns, i % columns], anchor="N") for i in range(len(names))]
        for axis, name in zip(axes, names, strict=True):
            axis.set_title(name, fontsize=size)
    return figure, axes


def norm_of(values: np.ndarray, log: bool) -> Any:
    """The scale of colours for values; logarithmic over four decades at most."""
    if log and (values > 0).any():
        largest = values.max()
        return LogNorm(max(values[values > 0].min(), largest * 1e-4), largest, clip=True)
    return Normalize(values.min(), values.max() if values.max() > values.min() else values.min() + 1)


def write_numbers(axis: Axes, array: np.ndarray, drawn: Any, points: float) -> None:
    """Write the values into cells that are so many points wide, in letters that fit the longest."""
    size = min(10, 1.4 * points / max(len(f"{value:.3g}") for value in array.ravel()))
    for (row, column), value in np.ndenumerate(array):
        # Relative luminance; at 0.18 black and white have the same contrast.
        light = np.dot(np.power(drawn.cmap(drawn.norm(value))[:3], 2.2), (0.2126, 0.7152, 0.0722)) > 0.18
        colour = "black" if light else "white"
        axis.text(column, row, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=size)


def label_ends(axis: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Write each label at its curve's end, beside the axes if it ends there, and clear of the others."""
    axis.get_xlim(), axis.get_ylim()  # settles the limits, which the transformation needs
    to_axes = (axis.transData + axis.transAxes.inverted()).transform
    places = sorted((tuple(to_axes(end[1:3])), end) for end in ends)
    for beside in (False, True):
        # A letter is about 0.014 of the axes wide; a label without room inside them goes beside.
        here = sorted((up, x, end) for (x, up), end in places if (x > min(0.9, 1 - 0.014 * len(end[0]))) == beside)
        for up, (_, across, (label, *_, colour)) in zip(spread([up for up, *_ in here]), here, strict=True):
            x = 1.01 if beside else across + 0.01
            axis.text(x, up, label, transform=axis.transAxes, va="center", color=colour, weight="bold")
