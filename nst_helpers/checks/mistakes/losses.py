"""What right and wrong Gram matrices, content and style losses look like: slow formulas, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..functions import Spec
from ..verdicts import Signature

__all__ = ["CONTENT", "GRAM", "STYLE", "gram", "loss_signatures", "raw_gram", "relative", "relative_each"]


def gram(x: Tensor) -> Tensor:
    """Entry by entry: the mean of channel i times channel j over all positions."""
    rows = [torch.stack([(x[:, i] * x[:, j]).mean((1, 2)) for j in range(x.shape[1])], 1) for i in range(x.shape[1])]
    return torch.stack(rows, 1)


def raw_gram(x: Tensor) -> Tensor:
    return gram(x) * x[0, 0].numel()


def relative(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).sum() / (b**2).sum()


def relative_each(a: Tensor, b: Tensor) -> Tensor:
    return sum(relative(x, y) for x, y in zip(a, b, strict=True)) / len(a)


def _noise(g: torch.Generator, *shape: int, shift: float = 0.4) -> Tensor:
    return torch.randn(shape, generator=g) + shift


def _times(base: Callable[[Tensor], Tensor], *powers: tuple[int, int, int]) -> list[Callable[[Tensor], Tensor]]:
    """A formula divided by powers of B, C and H * W."""

    def scaled(x: Tensor, b: int, c: int, n: int) -> Tensor:
        return base(x) / (x.shape[0] ** b * x.shape[1] ** c * x[0, 0].numel() ** n)

    return [lambda x, p=p: scaled(x, *p) for p in powers]


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

GRAM = Spec(
    arguments=("features",),
    cases=lambda g: [(_noise(g, *s),) for s in ((2, 3, 4, 5), (3, 4, 2, 7), (2, 5, 6, 3))],
    oracles=(gram,),
    example=(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]),),
    differentiable=(0,),
    signatures=(
        Signature(
            "batch-folded",
            "gives shape {got} for {given}: the batch is folded into the channels, so keep B as an axis of its own "
            "and multiply with bmm.",
            shapes=lambda x: [(x.shape[0] * x.shape[1],) * 2],
        ),
        Signature(
            "batch-lost",
            "gives shape {got} for {given}: the images of the batch have become one, so keep B as the first axis.",
            shapes=lambda x: [(x.shape[1],) * 2],
        ),
        Signature(
            "over-space",
            "gives shape {got} for {given}: that is Fᵀ F, positions by positions, where F Fᵀ, channels by channels, "
            "is wanted.",
            shapes=lambda x: [(x[0, 0].numel(),) * 2, (x.shape[0], *(x[0, 0].numel(),) * 2)],
        ),
        Signature(
            "not-flattened",
            "gives shape {got} for {given}: height and width were not made into one axis, so call flatten(2) first.",
            shapes=lambda x: [(*x.shape[:2], x.shape[2], x.shape[2]), (*x.shape[:2], x.shape[3], x.shape[3])],
        ),
        Signature("missing-divisor", "is H * W times too large: divide by the number of positions.", raw_gram),
        Signature(
            "divided-by-channels",
            "is C times too small: divide by H * W alone, since only positions are summed over.",
            *_times(gram, (0, 1, 0)),
        ),
        Signature(
            "divided-twice", "is H * W times too small: it was divided by H * W twice.", *_times(gram, (0, 0, 1))
        ),
        Signature(
            "divided-by-batch",
            "depends on how many images are in the batch: divide by H * W alone, not by B as well.",
            *_times(gram, (1, 0, 0), (1, 1, 0)),
        ),
        Signature(
            "wrong-divisor",
            "is divided by something else than H * W: after flatten(2), H * W is the size of the last axis.",
            *_times(raw_gram, (0, 1, 0), (1, 0, 0), (1, 1, 0)),
            lambda x: raw_gram(x) / x.shape[2],
            lambda x: raw_gram(x) / x.shape[3],
            lambda x: raw_gram(x) / (x[0, 0].numel() - 1),
            lambda x: raw_gram(x) / x[0, 0].numel() ** 0.5,
            lambda x: raw_gram(x) / x.shape[1] ** 2,
        ),
        Signature(
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
        Signature(
            "centred",
            "subtracts the mean first, which makes a covariance: multiply the features as they are.",
            *_times(lambda x: raw_gram(_centred(x)), *_DIVISORS),
            lambda x: raw_gram(_centred(x)) / (x[0, 0].numel() - 1),
        ),
        Signature(
            "unit-channels",
            "scales every channel to length 1, so how strong it is gets lost: multiply the features as they are.",
            *_times(lambda x: raw_gram(_unit(x)), *_DIVISORS),
        ),
    ),
)


def _both(formula: Callable[[Tensor, Tensor], Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """A formula over the whole batch, and the mean of it over the images."""
    return [formula, lambda a, b: sum(formula(x, y) for x, y in zip(a, b, strict=True)) / len(a)]


def loss_signatures(a: str, b: str) -> tuple[Signature, ...]:
    """The mistakes in sum (a - b)^2 / sum b^2."""
    denominator = f"({b} ** 2).sum()"
    return (
        Signature(
            "missing-divisor",
            f"is the plain sum of squares: divide by {denominator}, so that layers of any size compare.",
            *_both(lambda x, y: ((x - y) ** 2).sum()),
        ),
        Signature(
            "not-relative",
            f"is the mean squared error: divide the sum of squares by {denominator}, not by how many there are.",
            lambda x, y: ((x - y) ** 2).mean(),
        ),
        Signature(
            "mean-instead-of-sum",
            "takes a mean above the line and a sum below it: use sum() in both.",
            *_both(lambda x, y: ((x - y) ** 2).mean() / (y**2).sum()),
            lambda x, y: relative_each(x, y) / x[0].numel(),
        ),
        Signature(
            "sum-instead-of-mean",
            "takes a sum above the line and a mean below it: use sum() in both.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (y**2).mean()),
        ),
        Signature(
            "batch-summed",
            "grows with the number of images: take the mean over the batch.",
            lambda x, y: relative_each(x, y) * len(x),
        ),
        Signature(
            "first-image-only",
            "looks at the first image of the batch alone: keep all of them.",
            lambda x, y: relative(x[0], y[0]),
        ),
        Signature(
            "wrong-denominator",
            f"is divided by the squares of {a} itself: divide by {denominator}, which stays the same during a run.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (x**2).sum()),
        ),
        Signature(
            "root-taken",
            "takes a square root, as torch.norm does: use the squares themselves.",
            *_both(lambda x, y: relative(x, y) ** 0.5),
            *_both(lambda x, y: ((x - y) ** 2).sum() ** 0.5),
        ),
        Signature(
            "divisor-not-squared",
            f"is divided by something that isn't squared: divide by {denominator}.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / (y**2).sum() ** 0.5),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.sum()),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.abs().sum()),
        ),
        Signature(
            "squared-after-sum",
            "squares a sum: square each entry first, and add up then.",
            *_both(lambda x, y: (x - y).sum() ** 2 / (y**2).sum()),
            *_both(lambda x, y: ((x - y) ** 2).sum() / y.sum() ** 2),
            *_both(lambda x, y: (x - y).sum() ** 2 / y.sum() ** 2),
            *_both(lambda x, y: (x - y).mean() ** 2),
        ),
        Signature(
            "not-squared",
            "takes absolute differences: square them.",
            *_both(lambda x, y: (x - y).abs().sum() / (y**2).sum()),
            *_both(lambda x, y: (x - y).abs().sum() / y.abs().sum()),
            *_both(lambda x, y: (x - y).abs().mean()),
        ),
        Signature(
            "precedence",
            f"squares only one side, since ** binds tighter than -: write (({a} - {b}) ** 2).",
            *_both(lambda x, y: (x - y**2).sum() / (y**2).sum()),
            *_both(lambda x, y: (x - y**2).sum()),
            *_both(lambda x, y: (x - y**2).mean()),
        ),
        Signature(
            "halved", "is half of what it should be: leave out the factor 1/2.", *_both(lambda x, y: relative(x, y) / 2)
        ),
        Signature(
            "divided-twice",
            f"is divided by {denominator} twice.",
            *_both(lambda x, y: relative(x, y) / (y**2).sum()),
        ),
    )


def _symmetric(g: torch.Generator, b: int, c: int) -> Tensor:
    return gram(_noise(g, b, c, 3, 4))


CONTENT = Spec(
    scalar=True,
    arguments=("features", "target"),
    cases=lambda g: [(_noise(g, *s), _noise(g, *s)) for s in ((2, 3, 4, 5), (3, 2, 5, 3), (2, 4, 3, 7))],
    oracles=(relative_each, relative),
    example=(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[1.0, 2.0]]]])),
    differentiable=(0,),
    signatures=loss_signatures("features", "target"),
)

STYLE = Spec(
    scalar=True,
    arguments=("gram", "target"),
    cases=lambda g: [(_symmetric(g, *s), _symmetric(g, *s)) for s in ((2, 3), (3, 5), (2, 4))],
    oracles=(relative_each, relative),
    example=(torch.tensor([[[3.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])),
    differentiable=(0,),
    signatures=(
        *loss_signatures("gram", "target"),
        Signature(
            "gram-twice",
            "takes the Gram matrix of what already is one: use gram and target as they come.",
            lambda g, a: relative(g @ g.mT, a @ a.mT),
            lambda g, a: relative_each(g @ g.mT, a @ a.mT),
        ),
    ),
)
