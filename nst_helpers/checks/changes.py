"""What any function can get wrong: one change of the right result, or of the arguments, and its sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .known import ExerciseSpec

__all__ = ["changed_inputs", "changed_results"]

_Change = tuple[str, str, Callable[[Tensor], Tensor]]

# On any tensor.
_ANY: tuple[_Change, ...] = (
    ("sign-lost", "loses the sign, as abs() does: leave negative values negative.", torch.abs),
    ("negatives-dropped", "loses the negative values, as relu does: leave them as they are.", torch.relu),
    ("clamped", "is clamped to [0, 1]: leave the values as they are.", lambda x: x.clamp(0, 1)),
    ("clamped", "is clamped at 1: leave large values as they are.", lambda x: x.clamp(max=1)),
    ("squared", "is squared once too often: leave out a power.", torch.square),
    ("root-taken", "is the square root of the right value: leave sqrt() and norm() out.", lambda x: x.abs().sqrt()),
    ("logarithm", "takes a logarithm, log(1 + value), that the task doesn't ask for.", torch.log1p),
    ("logarithm", "takes a logarithm that the task doesn't ask for.", lambda x: x.abs().log()),
    ("logarithm", "takes a base-10 logarithm that the task doesn't ask for.", lambda x: x.abs().log10()),
    ("exponential", "takes an exponential that the task doesn't ask for.", torch.exp),
    ("exponential", "takes 1 - exp(-value), which the task doesn't ask for.", lambda x: 1 - torch.exp(-x)),
    ("squashed", "is squashed by a sigmoid: leave the values as they are.", torch.sigmoid),
    ("squashed", "is squashed by tanh: leave the values as they are.", torch.tanh),
    ("inverted", "is one over the right value: turn the fraction round.", torch.reciprocal),
    ("one-minus", "is 1 minus the right value: light and dark, or near and far, are exchanged.", lambda x: 1 - x),
    (
        "gamma",
        "is raised to a power, as gamma correction does: leave the values alone.",
        lambda x: x.abs() ** 2.2,
    ),
    (
        "gamma",
        "is raised to a power, as gamma correction does: leave the values alone.",
        lambda x: x.abs() ** 0.45,
    ),
)
# On more than one number.
_MANY: tuple[_Change, ...] = (
    ("own-scale", "is divided by its own largest value: leave the scale as it is.", lambda x: x / x.max()),
    ("own-scale", "is divided by its own norm: leave the scale as it is.", lambda x: x / x.norm()),
    ("own-scale", "is divided by its own sum: leave the scale as it is.", lambda x: x / x.sum()),
    (
        "own-scale",
        "is stretched to its own range, from least to largest.",
        lambda x: (x - x.min()) / (x.max() - x.min()),
    ),
    ("softmax", "goes through a softmax, which the task doesn't ask for.", lambda x: x.softmax(-1)),
)


def _over(x: Tensor, axis: int) -> Tensor:
    return x.mean(axis, keepdim=True).expand_as(x)


def _by_axis(axes: str) -> Iterator[_Change]:
    """Changes along the axes of a feature map, an image or an array."""
    names = {
        "H": "is upside down: leave the order of the rows as it is.",
        "W": "is mirrored left to right: leave the order of the columns as it is.",
        "C": "has the channels in reverse order: leave them as they come.",
        "B": "has the images of the batch in reverse order: leave them as they come.",
    }
    plurals = {"C": "channels", "B": "images of the batch", "H": "rows", "W": "columns"}
    for axis, letter in enumerate(axes):
        yield "flipped", names[letter], _along(axis, lambda x, a: x.flip(a))
        first = f"looks at the first of the {plurals[letter]} alone: keep all of them."
        yield "first-only", first, _along(axis, lambda x, a: x.narrow(a, 0, 1).expand_as(x))
        last = f"looks at the last of the {plurals[letter]} alone: keep all of them."
        yield "last-only", last, _along(axis, lambda x, a: x.narrow(a, x.shape[a] - 1, 1).expand_as(x))
        grey = "is grey: it averages the three colour channels, which have to stay apart."
        mean = grey if letter == "C" else f"averages over the {plurals[letter]}: keep them apart."
        yield "averaged", mean, _along(axis, _over)
    if "H" in axes:
        h, w = axes.index("H"), axes.index("W")
        yield "flipped", "is turned by half: leave rows and columns in order.", lambda x: x.flip(h, w)
        yield "sides-swapped", "has rows and columns exchanged: leave both in place.", lambda x: x.transpose(h, w)
        centred = "subtracts the mean of each channel first: take the values as they are."
        yield "centred", centred, lambda x: x - x.mean((h, w), keepdim=True)


def _along(axis: int, change: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: change(x, axis)


def changed_results(spec: ExerciseSpec) -> Iterator[_Change]:
    """What can be done to the right result: (code, sentence, change)."""
    yield from _ANY
    if not spec.scalar:
        yield from _MANY
    axes = spec.result_axes
    if axes == "BCC":
        yield "flipped", "has the channels in reverse order: leave them as they come.", lambda x: x.flip(1)
        yield "flipped", "has the channels in reverse order: leave them as they come.", lambda x: x.flip(2)
        yield "triangle", "keeps the entries above the diagonal alone: keep all of them.", torch.triu
        yield "triangle", "keeps the entries below the diagonal alone: keep all of them.", torch.tril
        diagonal = "keeps the diagonal alone: multiply every channel with every other one, by a matrix product."
        yield "diagonal-only", diagonal, lambda x: torch.diag_embed(x.diagonal(dim1=1, dim2=2))
        yield "averaged", "averages over the images of the batch: keep them apart.", lambda x: _over(x, 0)
        first = "looks at the first image of the batch alone: keep all of them."
        yield "first-only", first, lambda x: x[:1].expand_as(x)
        yield "own-scale", "is a correlation, scaled to 1 on the diagonal: leave the scale as it is.", _correlation
    elif axes:
        yield from _by_axis(axes)


def _correlation(x: Tensor) -> Tensor:
    size = x.diagonal(dim1=1, dim2=2).sqrt()
    return x / (size[:, :, None] * size[:, None])


def _of_inputs(axes: str) -> Iterator[_Change]:
    before = "before anything else: take the values as they come."
    yield "sign-lost", f"takes abs() {before}", torch.abs
    yield "negatives-dropped", f"drops negative values, as relu does, {before}", torch.relu
    yield "squared", f"squares the values {before}", torch.square
    yield "clamped", f"clamps to [0, 1] {before}", lambda x: x.clamp(0, 1)
    yield "scaled-first", f"multiplies by 255 {before}", lambda x: x * 255
    yield "scaled-first", f"divides by 255 {before}", lambda x: x / 255
    yield "centred", f"subtracts the mean of all values {before}", lambda x: x - x.mean()
    yield "standardised", f"subtracts the mean and divides by the spread {before}", lambda x: (x - x.mean()) / x.std()
    yield "own-scale", f"divides by the largest value {before}", lambda x: x / x.max()
    yield "own-scale", f"divides by the norm of all values {before}", lambda x: x / x.norm()
    yield "squashed", f"applies a sigmoid {before}", torch.sigmoid
    if axes == "BCC":
        diagonal = "looks at the diagonal alone: use every entry."
        yield "diagonal-only", diagonal, lambda x: torch.diag_embed(x.diagonal(dim1=1, dim2=2))
        trace = "looks at the sum of the diagonal alone: compare entry by entry."
        yield "diagonal-only", trace, lambda x: x.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
        yield "triangle", "uses the entries above the diagonal alone: use all of them.", torch.triu
        yield "triangle", "uses the entries below the diagonal alone: use all of them.", torch.tril
        above = "uses the entries above the diagonal alone: use all of them."
        yield "triangle", above, lambda x: torch.triu(x, 1)
    if axes == "BCHW":
        yield "first-only", "looks at the first image of the batch alone: keep all of them.", lambda x: x[:1]
        yield "last-only", "looks at the last image of the batch alone: keep all of them.", lambda x: x[-1:]
        yield "averaged", "averages the images of the batch first: keep them apart.", lambda x: x.mean(0, keepdim=True)
        yield "channel-only", "looks at the first channel alone: use all of them.", lambda x: x[:, :1]
        yield "channel-only", "looks at the last channel alone: use all of them.", lambda x: x[:, -1:]
        grey = "averages the channels first, which makes a grey picture: keep them apart."
        yield "averaged", grey, lambda x: x.mean(1, keepdim=True)
        yield "averaged", grey, lambda x: _over(x, 1)
        one = "looks at the first channel alone: each of them has its own values."
        yield "channel-only", one, lambda x: x[:, :1].expand_as(x)
        means = "averages over all positions first, so only the channels' means count: keep the positions."
        yield "averaged", means, lambda x: x.mean((2, 3), keepdim=True)
        yield "centred", f"subtracts each channel's mean {before}", lambda x: x - x.mean((2, 3), keepdim=True)
        across = f"subtracts the mean over the channels {before}"
        yield "centred", across, lambda x: x - x.mean(1, keepdim=True)
        yield "cropped", "leaves out the last row and column: keep the border.", lambda x: x[..., :-1, :-1]
        yield "cropped", "leaves out the first row and column: keep the border.", lambda x: x[..., 1:, 1:]
        yield "cropped", "leaves the border out: keep it.", lambda x: x[..., 1:-1, 1:-1]
        padded = "sees a border of zeros that doesn't belong to the picture: leave padding out."
        yield "padded", padded, lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1))
        smaller = "looks at every second pixel alone: use all of them."
        yield "shrunk", smaller, lambda x: x[..., ::2, ::2]


def changed_inputs(spec: ExerciseSpec) -> Iterator[tuple[str, str, Callable[..., tuple]]]:
    """What can be done to the arguments before all else: (code, sentence, the changed arguments)."""
    if not spec.axes or spec.kind == "array" or spec.axes in ("HWC", "N"):
        return
    for code, sentence, change in _of_inputs(spec.axes):
        yield code, sentence, lambda *args, c=change: tuple(map(c, args))
    if len(spec.arguments) == 2:
        first, second = spec.arguments
        yield "swapped", f"has {first} and {second} the wrong way round.", lambda a, b: (b, a)
        plus = f"adds {first} and {second}, where their difference is wanted: subtract."
        yield "added", plus, lambda a, b: (-a, b)
        for code, sentence, change in _of_inputs(spec.axes):
            yield code, f"changes {first} alone: it {sentence}", lambda a, b, c=change: (c(a), b)
