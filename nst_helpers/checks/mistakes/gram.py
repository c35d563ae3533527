"""What right and wrong Gram matrices look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase
from .losses import gram, noise, raw_gram

__all__ = ["GRAM"]


def _times(base: Callable[[Tensor], Tensor], *powers: tuple[int, int, int]) -> list[Callable[[Tensor], Tensor]]:
    """A formula divided by powers of B, C and H * W."""

    def scaled(x: Tensor, b: int, c: int, n: int) -> Tensor:
        return base(x) / (x.shape[0] ** b * x.shape[1] ** c * x[0, 0].numel() ** n)

    return [partial(scaled, b=b, c=c, n=n) for b, c, n in powers]


def _product(left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: left(x) @ right(x)


def _columns(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1, x.shape[1])


def _last_then_view(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], x.shape[1], -1)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean((2, 3), keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return x / x.square().sum((2, 3), keepdim=True).sqrt()


_DIVISORS = [(b, c, n) for b in (0, 1) for c in (0, 1) for n in (0, 1, 2)]


def _special_features(g: torch.Generator) -> list[SpecialCase]:
    sizes = {
        "a batch of one": (1, 3, 4, 5),
        "a batch of five": (5, 2, 3, 4),
        "a single channel": (2, 1, 3, 4),
        "a map that is 3 columns wide": (2, 3, 5, 3),
        "a map of 3 x 3 positions": (2, 3, 3, 3),
        "a map of a single position": (2, 3, 1, 1),
        "a square map": (2, 3, 5, 5),
        "more channels than positions": (2, 24, 2, 3),
    }
    large = {
        "64 channels": noise(g, 1, 64, 6, 7),
        "a map with sides over 224": noise(g, 1, 2, 226, 231),
        "features around 1000": 1000 * noise(g, 2, 3, 4, 5),
        "features around 0.001": 0.001 * noise(g, 2, 3, 4, 5),
    }
    return [
        *(SpecialCase(about, (noise(g, *size),), "right") for about, size in sizes.items()),
        *(SpecialCase(about, (features,)) for about, features in large.items()),
        SpecialCase("features that are all 0", (torch.zeros(2, 3, 4, 5),), "right"),
    ]


GRAM = ExerciseSpec(
    arguments=("features",),
    cases=lambda g: [(noise(g, *s),) for s in ((2, 3, 4, 5), (3, 4, 2, 7), (2, 5, 6, 3))],
    special=_special_features,
    references=(gram,),
    advice="divide by H * W alone, the number of positions.",
    axes="BCHW",
    result_axes="BCC",
    symptoms=(
        (
            r"must match the size of tensor b",
            "transposed-all",
            "combines shapes that don't go together: swap the last two axes with transpose(1, 2), not all with .T, and "
            "multiply matrices with @, not entries with *.",
        ),
    ),
    example=(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]),),
    differentiable=(0,),
    mistakes=(
        Mistake(
            "batch-folded",
            "gives shape {got} for {given}: the batch is folded into the channels, so keep B as an axis of its own "
            "and multiply with bmm.",
            shapes=lambda x: [(x.shape[0] * x.shape[1],) * 2, (1, *(x.shape[0] * x.shape[1],) * 2)],
        ),
        Mistake(
            "channels-flattened",
            "gives shape {got} for {given}: the channels were flattened with the positions, so call flatten(2), which "
            "keeps B and C.",
            shapes=lambda x: [(x.shape[0],) * 2, (x[0].numel(),) * 2, (x.numel(),) * 2, (x.shape[0], 1, 1)],
        ),
        Mistake(
            "diagonal-only",
            "gives shape {got} for {given}: each channel meets itself alone, but a Gram matrix has an entry for every "
            "pair of channels.",
            shapes=lambda x: [tuple(x.shape[:2])],
        ),
        Mistake(
            "batch-lost",
            "gives shape {got} for {given}: the images of the batch have become one, so keep B as the first axis.",
            shapes=lambda x: [(x.shape[1],) * 2],
        ),
        Mistake(
            "over-space",
            "gives shape {got} for {given}: that is Fᵀ F, positions by positions, where F Fᵀ, channels by channels, "
            "is wanted.",
            shapes=lambda x: [(x[0, 0].numel(),) * 2, (x.shape[0], *(x[0, 0].numel(),) * 2)],
        ),
        Mistake(
            "not-flattened",
            "gives shape {got} for {given}: height and width were not made into one axis, so call flatten(2) first.",
            shapes=lambda x: [(*x.shape[:2], x.shape[2], x.shape[2]), (*x.shape[:2], x.shape[3], x.shape[3])],
        ),
        Mistake("missing-divisor", "is H * W times too large: divide by the number of positions.", raw_gram),
        Mistake(
            "divided-by-channels",
            "is C times too small: divide by H * W alone, since only positions are summed over.",
            *_times(gram, (0, 1, 0)),
        ),
        Mistake("divided-twice", "is H * W times too small: it was divided by H * W twice.", *_times(gram, (0, 0, 1))),
        Mistake(
            "divided-by-batch",
            "depends on how many images are in the batch: divide by H * W alone, not by B as well.",
            *_times(gram, (1, 0, 0), (1, 1, 0)),
        ),
        Mistake(
            "wrong-divisor",
            "is divided by something else than H * W: after flatten(2), H * W is the size of the last axis.",
            *_times(raw_gram, (0, 1, 0), (1, 0, 0), (1, 1, 0)),
            lambda x: raw_gram(x) / x.shape[2],
            lambda x: raw_gram(x) / x.shape[3],
            lambda x: raw_gram(x) / (x[0, 0].numel() - 1),
            lambda x: raw_gram(x) / x[0, 0].numel() ** 0.5,
            lambda x: raw_gram(x) / x.shape[1] ** 2,
            lambda x: raw_gram(x) / (x.shape[2] + x.shape[3]),
            lambda x: raw_gram(x) / x.shape[2] ** 2,
            lambda x: raw_gram(x) / x.shape[3] ** 2,
        ),
        Mistake(
            "multiplied",
            "is multiplied by the number of positions: divide by it.",
            lambda x: raw_gram(x) * x[0, 0].numel(),
        ),
        Mistake(
            "reshape-not-transpose",
            "has the right shape but mixes channels and positions: reshape only relabels the numbers, so swap the "
            "axes with transpose(1, 2).",
            *(
                formula
                for base in (
                    _product(lambda x: _columns(x).transpose(1, 2), _columns),
                    _product(lambda x: x.flatten(2), _columns),
                    _product(_last_then_view, lambda x: _last_then_view(x).transpose(1, 2)),
                )
                for formula in _times(base, *_DIVISORS)
            ),
        ),
        Mistake(
            "centred",
            "subtracts the mean first, which makes a covariance: multiply the features as they are.",
            *_times(lambda x: raw_gram(_centred(x)), *_DIVISORS),
            lambda x: raw_gram(_centred(x)) / (x[0, 0].numel() - 1),
        ),
        Mistake(
            "correlation",
            "subtracts the mean and scales every channel to 1, which makes a correlation: take the features as they "
            "are.",
            lambda x: raw_gram(_unit(_centred(x))),
        ),
        Mistake(
            "unit-channels",
            "scales every channel to length 1, so how strong it is gets lost: multiply the features as they are.",
            *_times(lambda x: raw_gram(_unit(x)), *_DIVISORS),
        ),
    ),
)
