"""Figures for the lessons: functions that return matplotlib Figures, and `show`, which displays one with its text.

Matplotlib, and never pyplot: no global state, nothing drawn behind the caller's back.
Titles state the finding; lines differ in dashes as well as in colour; pictures have no axes and are clipped to [0, 1],
never rescaled.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from ..errors import ImageError
from . import layout as looks
from .canvas import WIDTH, PlainLog, as_written, label_ends, new_axes, new_grid, norm_of, write_numbers
from .layout import columns_for, curves_of, matrix, packed, pixels, shortened, strongest

__all__ = ["bars", "encode", "feature_maps", "heatmaps", "lines", "losses", "pictures", "show"]

LIMIT = 150_000  # bytes
LONGEST_LABEL = 32  # letters

Curve = Sequence[float] | tuple[Sequence[float], Sequence[float]]


class _Shown:
    """A picture for a notebook's page, as HTML: JupyterLab gives a bare image no alternative text."""

    def __init__(self, data: bytes, kind: str, text: str) -> None:
        self._source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        # JupyterLab shows the first line of a folded output, which is not the place for a picture's bytes.
        return f' \n<img src="{self._source}" alt="{html.escape(self._text)}" style="max-width: 100%">'


def show(figure: Figure, text: str, *, caption: str = "") -> None:
    """Display a figure below the cell, with one line for those who can't see it; print the caption if there is one.

    At most 150 kB. Raises ValueError for a text that is empty or more than a line.

    >>> show(bars({"one": 1.0, "two": 2.0}), "Two bars; the second is twice as long.", caption="A first look.")
    Two bars; the second is twice as long.
    A first look.
    """
    from IPython import display

    if not (text := text.strip()) or "\n" in text:
        raise ValueError("show needs one line of text that says what the figure shows.")
    display.display(_Shown(*encode(figure), text))
    if caption:
        print(caption)


def encode(figure: Figure) -> tuple[bytes, str]:
    """A figure's bytes and their kind: "png" with a palette for lines and text, "jpeg" for pictures.

    >>> encode(bars({"one": 1.0}))[1]
    'png'
    """
    file = io.BytesIO()
    with rc_context(looks.STYLE):
        figure.savefig(file, facecolor="white", format="png")
    return packed(Image.open(file).convert("RGB"), LIMIT)


def pictures(images: Mapping[str, Tensor], *, columns: int | None = None, title: str = "") -> Figure:
    """Images side by side, each under its own title: (1, 3, H, W) or (3, H, W) in [0, 1], or grey (H, W).

    Raises ImageError in one sentence for what can't be drawn.

    >>> import torch
    >>> len(pictures({"content": torch.rand(1, 3, 20, 30), "style": torch.rand(1, 3, 30, 20)}).axes)
    2
    """
    if not isinstance(images, Mapping) or not images:
        kind = "an empty one" if isinstance(images, Mapping) else f"a {type(images).__name__}"
        raise ImageError(f"pictures takes a mapping of titles to images, as {{'content': image}}, but {kind} came.")
    arrays = {name: pixels(image) for name, image in images.items()}
    # One or two pictures alone would fill the page.
    columns = columns or max(columns_for(len(arrays)), min(len(arrays) + 1, 3))
    figure, axes = new_grid(arrays, columns, title)
    for axis, array in zip(axes, arrays.values(), strict=True):
        axis.imshow(array, vmin=0, vmax=1, cmap="gray")
        axis.axis("off")
    return as_written(figure)


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
    columns = columns or (count if isinstance(features, Mapping) else columns_for(len(tiles)))
    figure, axes = new_grid(tiles, columns, title, size=9)
    for i, (axis, ((name, _), tile)) in enumerate(zip(axes, tiles.items(), strict=True)):
        axis.imshow(tile, cmap="viridis", interpolation="nearest")
        axis.axis("off")
        if name and i % columns == 0:
            label = shortened(name, LONGEST_LABEL)
            axis.text(-0.06, 0.5, label, transform=axis.transAxes, rotation=90, ha="right", va="center", weight="bold")
    return as_written(figure)


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
    columns, tallest = columns or columns_for(len(arrays)), 2.6 if numbers else 3.6
    figure, axes = new_grid(arrays, columns, title, tallest=tallest, bar=0 if numbers else 0.9)
    everything = np.concatenate([array.ravel() for array in arrays.values()])
    for axis, array in zip(axes, arrays.values(), strict=True):
        norm = norm_of(everything if shared else array.ravel(), log)
        # A square an entry where there is room for it; where there is not, entries are averaged, not left out.
        drawn = axis.imshow(array, norm=norm, interpolation="nearest" if max(array.shape) < 100 else None)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if numbers:
            cell = min(0.95 * WIDTH / columns / array.shape[1], 0.9 * tallest / array.shape[0])
            write_numbers(axis, array, drawn, 72 * cell)
        elif not shared:
            figure.colorbar(drawn, ax=axis, fraction=0.046, pad=0.03)
    if shared and not numbers:
        figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
    return as_written(figure)


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
    figure, axis = new_axes(title, 3.8)
    ends = []
    for i, (label, curve) in enumerate(curves.items()):
        xs, ys = curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)
        xs, ys = np.asarray(xs, float), np.array([float(y) if np.isfinite(float(y)) else np.nan for y in ys])
        k = i % len(looks.COLOURS)
        style: dict[str, Any] = {"color": looks.COLOURS[k], "linestyle": looks.DASHES[k], "linewidth": 1.8}
        style |= {"marker": looks.MARKERS[k], "markersize": 5} if markers else {}
        axis.plot(xs, ys, **style)
        if (finite := np.isfinite(ys).nonzero()[0]).size:
            ends.append((shortened(label, LONGEST_LABEL), xs[finite[-1]], ys[finite[-1]], looks.COLOURS[k]))
    axis.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    for scale in [{"x": axis.xaxis, "y": axis.yaxis}[name] for name in log]:
        low, high = scale.get_view_interval()
        if low > 1e-3 and high < 1e4:  # 60 and 0.2 are read more quickly than powers of ten
            scale.set_major_formatter(PlainLog())
            scale.set_minor_formatter(PlainLog(labelOnlyBase=False))
    if "x" not in log:
        whole = xlabel == "closure evaluations"
        axis.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10], integer=whole))
        axis.margins(x=0.02)
    for name, place in (points or {}).items():
        axis.plot(*place, marker="*", markersize=14, color="black", markeredgecolor="white", linestyle="none")
        axis.annotate(shortened(name, LONGEST_LABEL), place, (8, 8), textcoords="offset points", weight="bold")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(True, axis="y")
    if len(ends) > 1 or (ends and ends[0][0]):
        label_ends(axis, ends)
    return as_written(figure)


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
    figure, axis = new_axes(title, 0.9 + 0.42 * len(groups) * max(1, 0.7 * len(kinds)))
    bars_of_kind: list[Any] = []
    for j, kind in enumerate(kinds):
        rows = [i for i, group in enumerate(groups.values()) if kind in group]
        lengths = [float(group[kind]) for group in groups.values() if kind in group]
        places = [i + (j - (len(kinds) - 1) / 2) * thick for i in rows]
        marks = [int(list(groups)[i] == highlight) if len(kinds) == 1 else j for i in rows]
        colours, hatches = [looks.COLOURS[k] for k in marks], [looks.HATCHES[k] for k in marks]
        drawn = axis.barh(places, lengths, thick * 0.9, color=colours, hatch=hatches, edgecolor="white")
        bars_of_kind.append(drawn)
        axis.bar_label(drawn, labels=[f"{length:.3g}" for length in lengths], padding=4, fontsize=9)
    axis.set_yticks(range(len(groups)), [shortened(name, LONGEST_LABEL) for name in groups])
    for label, name in zip(axis.get_yticklabels(), groups, strict=True):
        label.set_fontweight("bold" if name == highlight else "normal")
        label.set_parse_math(False)
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set(xscale="log" if log else "linear", xlabel=xlabel)
    axis.margins(x=0.12)
    if len(kinds) > 1:
        # Matplotlib leaves out what is called "_…": so it is told the texts when the legend is there.
        numbers = [str(j) for j in range(len(kinds))]
        legend = figure.legend(bars_of_kind, numbers, frameon=False, loc="outside lower center", ncols=len(kinds))
        for text, kind in zip(legend.get_texts(), kinds, strict=True):
            text.set_text(shortened(kind, LONGEST_LABEL))
    return as_written(figure)
