"""What right and wrong Gram matrices, content and style losses look like: slow formulas, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..functions import ExerciseSpec
from ..verdicts import Mistake

__all__ = ["CONTENT", "GRAM", "STYLE", "gram", "loss_mistakes", "raw_gram", "relative", "relative_each"]


def gram(x: Tensor) -> Tensor:
    """Entry by entry: the mean of channel i times channel j over all positions."""
    rows = [torch.stack([(x[:, i] * x[:, j]).mean((1, 2)) for j in range(x.shape[1])], 1) for i in range(x.shape[1])]
    return torch.stack(rows, 1)


def raw_gram(x: Tensor) -> Tensor:
    """The Gram matrix without its division by the number of positions."""
    return gram(x) * x[0, 0].numel()


def relative(a: Tensor, b: Tensor) -> Tensor:
    """The squared distance to b over b's own squares, as one quotient for the whole batch."""
    return ((a - b) ** 2).sum() / (b**2).sum()


def relative_each(a: Tensor, b: Tensor) -> Tensor:
    """The mean over the batch of each image's own relative distance."""
    return torch.stack([relative(x, y) for x, y in zip(a, b, strict=True)]).mean()


def _noise(g: torch.Generator, *shape: int, shift: float = 0.4) -> Tensor:
    return torch.randn(shape, generator=g) + shift


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

GRAM = ExerciseSpec(
    arguments=("features",),
    cases=lambda g: [(_noise(g, *s),) for s in ((2, 3, 4, 5), (3, 4, 2, 7), (2, 5, 6, 3))],
    references=(gram,),
    example=(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]),),
    differentiable=(0,),
    mistakes=(
        Mistake(
            "batch-folded",
            "gives shape {got} for {given}: the batch is folded into the channels, so keep B as an axis of its own "
            "and multiply with bmm.",
            shapes=lambda x: [(x.shape[0] * x.shape[1],) * 2],
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
            "unit-channels",
            "scales every channel to length 1, so how strong it is gets lost: multiply the features as they are.",
            *_times(lambda x: raw_gram(_unit(x)), *_DIVISORS),
        ),
    ),
)


def _both(formula: Callable[[Tensor, Tensor], Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """A formula over the whole batch, and the mean of it over the images."""
    return [formula, lambda a, b: torch.stack([formula(x, y) for x, y in zip(a, b, strict=True)]).mean()]


def loss_mistakes(a: str, b: str) -> tuple[Mistake, ...]:
    """The mistakes in sum (a - b)^2 / sum b^2."""
    denominator = f"({b} ** 2).sum()"
    return (
        Mistake(
            "missing-divisor",
            f"is the plain sum of squares: divide by {denominator}, so that layers of any size compare.",
            *_both(lambda x, y: ((x - y) ** 2).sum()),
        ),
        Mistake(
            "not-relative",
            f"is the mean squared error: divide the sum of squares by {denominator}, not by how many there are.",
            lambda x, y: ((x - y) ** 2).mean(),
        ),
        Mistake(
            "mean-instead-of-sum",
            "takes a mean above the line and a sum below it: use sum() in both.",
            *_both(lambda x, y: ((x - y) ** 2).mean() / (y**2).sum()),
            lambda x, y: relative_each(x, y) / x[0].numel(),
        ),
        Mistake(
            "sum-instead-of-mean",
            "takes a sum above the line and a mean below it: use sum() in both.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (y**2).mean()),
        ),
        Mistake(
            "batch-summed",
            "grows with the number of images: take the mean over the batch.",
            lambda x, y: relative_each(x, y) * len(x),
        ),
        Mistake(
            "first-image-only",
            "looks at the first image of the batch alone: keep all of them.",
            lambda x, y: relative(x[0], y[0]),
        ),
        Mistake(
            "wrong-denominator",
            f"is divided by the squares of {a} itself: divide by {denominator}, which stays the same during a run.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (x**2).sum()),
        ),
        Mistake(
            "root-taken",
            "takes a square root, as torch.norm does: use the squares themselves.",
            *_both(lambda x, y: relative(x, y) ** 0.5),
            *_both(lambda x, y: ((x - y) ** 2).sum() ** 0.5),
        ),
        Mistake(
            "divisor-not-squared",
            f"is divided by something that isn't squared: divide by {denominator}.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (y**2).sum() ** 0.5),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.sum()),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.abs().sum()),
        ),
        Mistake(
            "squared-after-sum",
            "squares a sum: square each entry first, and add up then.",
            *_both(lambda x, y: (x - y).sum() ** 2 / (y**2).sum()),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.sum() ** 2),
            *_both(lambda x, y: (x - y).sum() ** 2 / y.sum() ** 2),
            *_both(lambda x, y: (x - y).mean() ** 2),
        ),
        Mistake(
            "not-squared",
            "takes absolute differences: square them.",
            *_both(lambda x, y: (x - y).abs().sum() / (y**2).sum()),
            *_both(lambda x, y: (x - y).abs().sum() / y.abs().sum()),
            *_both(lambda x, y: (x - y).abs().mean()),
        ),
        Mistake(
            "precedence",
            f"squares only one side, since ** binds tighter than -: write (({a} - {b}) ** 2).",
            *_both(lambda x, y: (x - y**2).sum() / (y**2).sum()),
            *_both(lambda x, y: (x - y**2).sum()),
            *_both(lambda x, y: (x - y**2).mean()),
        ),
        Mistake(
            "halved", "is half of what it should be: leave out the factor 1/2.", *_both(lambda x, y: relative(x, y) / 2)
        ),
        Mistake(
            "divided-twice",
            f"is divided by {denominator} twice.",
            *_both(lambda x, y: relative(x, y) / (y**2).sum()),
        ),
    )


def _symmetric(g: torch.Generator, b: int, c: int) -> Tensor:
    return gram(_noise(g, b, c, 3, 4))


CONTENT = ExerciseSpec(
    scalar=True,
    arguments=("features", "target"),
    cases=lambda g: [(_noise(g, *s), _noise(g, *s)) for s in ((2, 3, 4, 5), (3, 2, 5, 3), (2, 4, 3, 7))],
    references=(relative_each, relative),
    example=(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[1.0, 2.0]]]])),
    differentiable=(0,),
    mistakes=loss_mistakes("features", "target"),
)

STYLE = ExerciseSpec(
    scalar=True,
    arguments=("gram", "target"),
    cases=lambda g: [(_symmetric(g, *s), _symmetric(g, *s)) for s in ((2, 3), (3, 5), (2, 4))],
    references=(relative_each, relative),
    example=(torch.tensor([[[3.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])),
    differentiable=(0,),
    mistakes=(
        *loss_mistakes("gram", "target"),
        Mistake(
            "gram-twice",
            "takes the Gram matrix of what already is one: use gram and target as they come.",
            lambda g, a: relative(g @ g.mT, a @ a.mT),
            lambda g, a: relative_each(g @ g.mT, a @ a.mT),
        ),
    ),
)
