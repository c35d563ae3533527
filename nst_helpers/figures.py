"""Figures for the lessons: functions that return matplotlib Figures, and `show`, which displays one with its text.

The only module that imports matplotlib, and never pyplot: no global state, nothing drawn behind the caller's back.
Titles state the finding; lines differ in dashes as well as in colour; pictures have no axes and are clipped to [0, 1],
never rescaled.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from .figure_data import columns_for, curves_of, matrix, pixels, row_heights, spread, strongest, wrapped

__all__ = ["COLOURS", "bars", "encode", "feature_maps", "heatmaps", "lines", "losses", "pictures", "show"]

# Okabe & Ito's palette, which people with any colour vision can tell apart, without its yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), "-")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, DPI, LIMIT = 8.0, 100, 150_000  # inches, pixels an inch, bytes
STYLE = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "grid.color": "#dddddd", "grid.linewidth": 0.7, "xtick.color": "#444444", "ytick.color": "#444444",
    "axes.labelcolor": "#222222", "hatch.linewidth": 0.6,
}  # fmt: skip

Curve = Sequence[float] | tuple[Sequence[float], Sequence[float]]


def show(figure: Figure, text: str) -> None:
    """Display a figure below the cell, and print one line that describes it for those who can't see it.

    A PNG, or a JPEG where that would be over 150 kB. Raises ValueError for a text that is empty or more than a line.

    >>> show(bars({"one": 1.0, "two": 2.0}), "Two bars; the second is twice as long.")
    <IPython.core.display.Image object>
    Two bars; the second is twice as long.
    """
    from IPython import display

    if not (text := text.strip()) or "\n" in text:
        raise ValueError("show needs one line of text that says what the figure shows.")
    data, kind = encode(figure)
    display.display(display.Image(data=data, format=kind, metadata={"alt": text}))
    print(text)


def encode(figure: Figure) -> tuple[bytes, str]:
    """A figure's bytes and their kind: "png", or "jpeg" with as much quality as 150 kB allow.

    >>> encode(bars({"one": 1.0}))[1]
    'png'
    """
    file = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(file, facecolor="white", format="png")
    if len(data := file.getvalue()) <= LIMIT:
        return data, "png"
    drawn = Image.open(file).convert("RGB")
    for scale, quality in itertools.product((1, 0.8, 0.6, 0.4), (92, 85, 75, 65)):
        size = (round(drawn.width * scale), round(drawn.height * scale))
        drawn.resize(size, Image.Resampling.LANCZOS).save(file := io.BytesIO(), "JPEG", quality=quality, optimize=True)
        if len(data := file.getvalue()) <= LIMIT:
            break
    return data, "jpeg"


def pictures(images: Mapping[str, Tensor], *, columns: int | None = None, title: str = "") -> Figure:
    """Images side by side, each under its own title: (1, 3, H, W) or (3, H, W) in [0, 1], or grey (H, W).

    >>> import torch
    >>> len(pictures({"content": torch.rand(1, 3, 20, 30), "style": torch.rand(1, 3, 30, 20)}).axes)
    2
    """
    arrays = {name: pixels(image) for name, image in images.items()}
    figure, axes = _grid(arrays, columns, title)
    for axis, array in zip(axes, arrays.values(), strict=True):
        axis.imshow(array, vmin=0, vmax=1, cmap="gray")
        axis.axis("off")
    return figure


def feature_maps(
    features: Tensor | Mapping[str, Tensor], count: int = 8, *, title: str = "", columns: int | None = None
) -> Figure:
    """The strongest channels of feature maps (C, h, w) or (1, C, h, w), each drawn from its least to its largest value.

    A mapping of layer names to feature maps gives one row a layer.

    >>> import torch
    >>> figure = feature_maps({"relu1_1": torch.rand(1, 8, 12, 12), "relu2_1": torch.rand(1, 8, 6, 6)}, 4)
    >>> len(figure.axes), figure.axes[0].texts[0].get_text()
    (8, 'relu1_1')
    """
    layers = features if isinstance(features, Mapping) else {"": features}
    tiles = {(n, f"channel {c}"): tile for n, maps in layers.items() for c, tile in strongest(maps, count).items()}
    columns = columns or (count if isinstance(features, Mapping) else None)
    figure, axes = _grid(tiles, columns, title, size=9)
    for i, (axis, ((name, _), tile)) in enumerate(zip(axes, tiles.items(), strict=True)):
        axis.imshow(tile, cmap="viridis", interpolation="nearest")
        axis.axis("off")
        if name and i % columns == 0:
            axis.text(-0.06, 0.5, name, transform=axis.transAxes, rotation=90, ha="right", va="center", weight="bold")
    return figure


def heatmaps(
    matrices: Mapping[str, Tensor],
    *,
    title: str = "",
    columns: int | None = None,
    shared: bool = True,
    log: bool = False,
    numbers: bool | None = None,
) -> Figure:
    """Matrices (n, m) or (1, n, m) as heat maps, on one scale of colours unless `shared` is False.

    Small ones have their numbers written into them instead of a scale beside them; `log` spreads out values of very
    different sizes.

    >>> import torch
    >>> figure = heatmaps({"photo": torch.rand(64, 64), "style": torch.rand(64, 64)}, title="Two Gram matrices")
    >>> len(figure.axes)  # with the scale
    3
    """
    arrays = {name: matrix(values) for name, values in matrices.items()}
    numbers = all(a.size <= 48 for a in arrays.values()) if numbers is None else numbers
    figure, axes = _grid(arrays, columns, title, tallest=2.6 if numbers else 3.6, bar=0 if numbers else 0.9)
    everything = np.concatenate([array.ravel() for array in arrays.values()])
    for axis, array in zip(axes, arrays.values(), strict=True):
        norm = _norm(everything if shared else array.ravel(), log)
        # A square an entry where there is room for it; where there is not, entries are averaged, not left out.
        drawn = axis.imshow(array, norm=norm, interpolation="nearest" if max(array.shape) < 100 else None)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if numbers:
            _write_numbers(axis, array, drawn)
        elif not shared:
            figure.colorbar(drawn, ax=axis, fraction=0.046, pad=0.03)
    if shared and not numbers:
        figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
    return figure


def losses(history: Any, *, x: str = "step", title: str = "", ylabel: str = "loss", log: bool = True) -> Figure:
    """Loss curves on a log axis, against closure evaluations or `x="seconds"`.

    A history (of a `Result`, or plain numbers) shows the total, and the content and style losses it is made of,
    unweighted; a mapping of labels to histories compares totals. A curve that becomes NaN or infinite says where.

    >>> figure = losses({"Adam": [3.0, 2.0, 1.0], "L-BFGS": [3.0, 1.0, float("nan")]})
    >>> sorted(text.get_text() for text in figure.axes[0].texts)
    ['Adam', 'L-BFGS: NaN at 3']
    """
    xlabel = "seconds" if x == "seconds" else "closure evaluations"
    return lines(curves_of(history, x), title=title, xlabel=xlabel, ylabel=ylabel, log="y" * log, markers=False)


def lines(
    curves: Mapping[str, Curve],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    log: str = "",
    markers: bool = True,
    points: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Curves, each a list of y or a pair of lists (x, y), with their labels at their ends.

    `log` names the logarithmic axes: "", "x", "y" or "xy". `points` marks single places by a star and their name.

    >>> len(lines({"relu1_1": [3, 2, 1], "relu4_1": ([0, 1, 2], [1, 4, 9])}, log="y").axes[0].lines)
    2
    """
    figure, axis = _axes(title, 3.8)
    ends = []
    for i, (label, curve) in enumerate(curves.items()):
        xs, ys = curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)
        xs, ys = np.asarray(xs, float), np.array([float(y) if np.isfinite(float(y)) else np.nan for y in ys])
        k = i % len(COLOURS)
        style = {"color": COLOURS[k], "linestyle": DASHES[k], "linewidth": 1.8}
        style |= {"marker": MARKERS[k], "markersize": 5} if markers else {}
        axis.plot(xs, ys, **style)
        if (finite := np.isfinite(ys).nonzero()[0]).size:
            ends.append((label, xs[finite[-1]], ys[finite[-1]], COLOURS[k]))
    axis.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if "x" not in log:
        whole = xlabel == "closure evaluations"
        axis.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10], integer=whole))
        axis.margins(x=0.02)
    for name, place in (points or {}).items():
        axis.plot(*place, marker="*", markersize=14, color="black", markeredgecolor="white", linestyle="none")
        axis.annotate(name, place, (8, 8), textcoords="offset points", weight="bold")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(True, axis="y")
    if len(ends) > 1 or (ends and ends[0][0]):
        _label_ends(axis, ends)
    return figure


def bars(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    *,
    title: str = "",
    xlabel: str = "",
    log: bool = False,
    highlight: str = "",
) -> Figure:
    """Horizontal bars with their values written at their ends; a mapping of mappings gives groups.

    `highlight` names a bar that stands out.

    >>> figure = bars({"Adam": 0.3, "L-BFGS": 0.1}, title="L-BFGS gets lower", highlight="L-BFGS")
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['Adam', 'L-BFGS']
    """
    groups = {name: v if isinstance(v, Mapping) else {"": v} for name, v in values.items()}
    kinds = list(dict.fromkeys(kind for group in groups.values() for kind in group))
    thick = 0.8 / len(kinds)
    figure, axis = _axes(title, 0.9 + 0.42 * len(groups) * max(1, 0.7 * len(kinds)))
    for j, kind in enumerate(kinds):
        rows = [i for i, group in enumerate(groups.values()) if kind in group]
        lengths = [float(group[kind]) for group in groups.values() if kind in group]
        places = [i + (j - (len(kinds) - 1) / 2) * thick for i in rows]
        looks = [int(list(groups)[i] == highlight) if len(kinds) == 1 else j for i in rows]
        colours, hatches = [COLOURS[k] for k in looks], [HATCHES[k] for k in looks]
        drawn = axis.barh(places, lengths, thick * 0.9, color=colours, hatch=hatches, edgecolor="white", label=kind)
        axis.bar_label(drawn, labels=[f"{length:.3g}" for length in lengths], padding=4, fontsize=9)
    axis.set_yticks(range(len(groups)), list(groups))
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == highlight else "normal")
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set(xscale="log" if log else "linear", xlabel=xlabel)
    axis.margins(x=0.12)
    if len(kinds) > 1:
        axis.legend(frameon=False, loc="best")
    return figure


def _axes(title: str, height: float) -> tuple[Figure, Axes]:
    with rc_context(STYLE):
        figure = _figure(height, title)
        return figure, figure.add_subplot()


def _figure(height: float, title: str) -> Figure:
    title = wrapped(title, WIDTH, size=12)
    room = 0.3 * bool(title) + 0.2 * title.count("\n")
    figure = Figure(figsize=(WIDTH, height + room), dpi=DPI, layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _grid(
    panels: Mapping[Any, np.ndarray],
    columns: int | None,
    title: str,
    *,
    size: int = 10,
    tallest: float = 6.0,
    bar: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """A figure with a titled place for each panel; `bar` inches of its width are left for a scale."""
    columns = columns or columns_for(len(panels))
    width = (WIDTH - bar) / columns
    names = [wrapped(name[1] if isinstance(name, tuple) else name, width, size=size) for name in panels]
    heights = row_heights(list(panels.values()), names, columns, width=width, tallest=tallest, size=size)
    with rc_context(STYLE):
        figure = _figure(sum(heights), title)
        places = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        axes = [figure.add_subplot(places[i // columns, i % columns], anchor="N") for i in range(len(names))]
        for axis, name in zip(axes, names, strict=True):
            axis.set_title(name, fontsize=size)
    return figure, axes


def _norm(values: np.ndarray, log: bool) -> Any:
    if log and (values > 0).any():
        largest = values.max()
        return LogNorm(max(values[values > 0].min(), largest * 1e-4), largest, clip=True)
    return Normalize(values.min(), values.max() if values.max() > values.min() else values.min() + 1)


def _write_numbers(axis: Axes, array: np.ndarray, drawn: Any) -> None:
    for (row, column), value in np.ndenumerate(array):
        # Relative luminance; at 0.18 black and white have the same contrast.
        light = np.dot(np.power(drawn.cmap(drawn.norm(value))[:3], 2.2), (0.2126, 0.7152, 0.0722)) > 0.18
        axis.text(column, row, f"{value:.3g}", ha="center", va="center", color="black" if light else "white")


def _label_ends(axis: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Write each label at its curve's end: beside the axes, level with it and clear of the others, if it ends there."""
    axis.get_xlim(), axis.get_ylim()  # settles the limits, which the transformation needs
    to_axes = (axis.transData + axis.transAxes.inverted()).transform
    beside = []
    for (across, up), (label, x, y, colour) in sorted((tuple(to_axes(end[1:3])), end) for end in ends):
        if across < 0.9:
            axis.annotate(label, (x, y), (6, 0), textcoords="offset points", va="center", color=colour, weight="bold")
        else:
            beside.append((up, label, colour))
    for up, (_, label, colour) in zip(spread([up for up, _, _ in sorted(beside)]), sorted(beside), strict=True):
        axis.text(1.01, up, label, transform=axis.transAxes, va="center", color=colour, weight="bold")
