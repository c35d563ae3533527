"""What right and wrong content and style losses look like: slow formulas, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase

__all__ = [
    "CONTENT",
    "STYLE",
    "gram",
    "loss_mistakes",
    "noise",
    "raw_gram",
    "relative",
    "relative_each",
    "relative_expanded",
]


def gram(x: Tensor) -> Tensor:
    """Row by row: the mean of channel i times each channel over all positions."""
    return torch.stack([(x[:, i : i + 1] * x).mean((2, 3)) for i in range(x.shape[1])], 1)


def raw_gram(x: Tensor) -> Tensor:
    """The Gram matrix without its division by the number of positions."""
    return gram(x) * x[0, 0].numel()


def relative(a: Tensor, b: Tensor) -> Tensor:
    """The squared distance to b over b's own squares, as one quotient for the whole batch."""
    return ((a - b) ** 2).sum() / (b**2).sum()


def relative_expanded(a: Tensor, b: Tensor) -> Tensor:
    """One quotient for the whole batch, where a target for all images counts once for each."""
    return relative(a, b.expand_as(a))


def relative_each(a: Tensor, b: Tensor) -> Tensor:
    """The mean over the batch of each image's own relative distance; b may be one target for all images."""
    return torch.stack([relative(x, y) for x, y in zip(a, b.expand_as(a), strict=True)]).mean()


def noise(g: torch.Generator, *shape: int, shift: float = 0.4) -> Tensor:
    """Noise around a mean that isn't 0, so that centring shows."""
    return torch.randn(shape, generator=g) + shift


def _both(formula: Callable[[Tensor, Tensor], Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """A formula over the whole batch, and the mean of it over the images."""
    return [formula, lambda a, b: torch.stack([formula(x, y) for x, y in zip(a, b.expand_as(a), strict=True)]).mean()]


def _with_number_below(number: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: ((x - y) ** 2).sum() / ((y**2).sum() + number)


def _huber(d: Tensor) -> Tensor:
    return torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5)


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
            "last-image-only",
            "looks at the last image of the batch alone: keep all of them.",
            lambda x, y: relative(x[-1], y[-1]),
        ),
        Mistake(
            "entry-by-entry",
            f"divides entry by entry: sum the squares above and below the line, and divide then by {denominator}.",
            lambda x, y: ((x - y) ** 2 / y**2).mean(),
            lambda x, y: ((x - y) ** 2 / y**2).sum(),
            lambda x, y: ((x - y) / y).abs().mean(),
        ),
        Mistake(
            "both-in-denominator",
            f"is divided by more than the target: divide by {denominator} alone.",
            *_both(lambda x, y: ((x - y) ** 2).sum() / ((x**2).sum() + (y**2).sum())),
            *_both(lambda x, y: ((x - y) ** 2).sum() / ((y**2).sum() + 1)),
            *_both(lambda x, y: ((x - y) ** 2).sum() / (1 + (y**2).sum() + (x**2).sum())),
            *_both(lambda x, y: ((x - y) ** 2).sum() / ((x**2).sum() * (y**2).sum()) ** 0.5),
        ),
        Mistake(
            "added-to-denominator",
            f"adds a number to what it divides by, so the loss comes out too small: divide by {denominator} alone.",
            *(formula for number in (1e-3, 1e-2, 0.1, 0.5) for formula in _both(_with_number_below(number))),
        ),
        Mistake(
            "cosine",
            f"is a cosine distance, which compares directions alone: sum (({a} - {b}) ** 2), divide by {denominator}.",
            *_both(lambda x, y: 1 - (x * y).sum() / ((x**2).sum() * (y**2).sum()) ** 0.5),
            lambda x, y: 1 - torch.nn.functional.cosine_similarity(x.flatten(1), y.expand_as(x).flatten(1)).mean(),
        ),
        Mistake(
            "squares-subtracted",
            f"subtracts squares: subtract first, and square then, (({a} - {b}) ** 2).",
            *_both(lambda x, y: (x**2 - y**2).sum() / (y**2).sum()),
            *_both(lambda x, y: (x**2 - y**2).sum()),
            *_both(lambda x, y: (x**2 - y**2).abs().sum() / (y**2).sum()),
        ),
        Mistake(
            "one-side-only",
            "counts only where the one is larger than the other, as relu does: count negative differences, too.",
            *_both(lambda x, y: (torch.relu(x - y) ** 2).sum() / (y**2).sum()),
            *_both(lambda x, y: (torch.relu(y - x) ** 2).sum() / (y**2).sum()),
        ),
        Mistake(
            "other-power",
            "takes another power than the square.",
            *_both(lambda x, y: ((x - y).abs() ** 3).sum() / (y.abs() ** 3).sum()),
            *_both(lambda x, y: ((x - y) ** 4).sum() / (y**4).sum()),
            *_both(lambda x, y: ((x - y).abs() ** 3).sum() / (y**2).sum()),
        ),
        Mistake(
            "own-scale",
            f"divides {a} and {b} each by its own norm first, so their strength gets lost: leave both as they come.",
            *_both(lambda x, y: ((x / x.norm() - y / y.norm()) ** 2).sum()),
            *_both(lambda x, y: ((x / x.norm() - y / y.norm()) ** 2).mean()),
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
        Mistake(
            "huber",
            "is a Huber loss, which doesn't square large differences: square all of them.",
            lambda x, y: _huber(x - y).sum() / _huber(y).sum(),
            lambda x, y: _huber(x - y).sum() / (y**2).sum(),
            lambda x, y: _huber(x - y).mean(),
        ),
    )


def _symmetric(g: torch.Generator, c: int) -> Tensor:
    return gram(noise(g, 1, c, 3, 4))


def _special_pairs(a: Tensor, b: Tensor, names: tuple[str, str]) -> list[SpecialCase]:
    """Two that are equal, near or far from each other, and two that are large or small."""
    first, second = names
    equal = f"{first} that is equal to the {second}" if first == "a gram" else f"{first} equal to the {second}"
    return [
        SpecialCase(equal, (b.clone(), b), "finite"),
        SpecialCase(f"{first} close to the {second}", (b + 0.01 * a, b), "right"),
        SpecialCase(f"{first} far from the {second}, whose loss is large", (30 * a, b), "right"),
        SpecialCase(f"{first} of zeros", (0 * a, b), "right"),
        SpecialCase("values around 1000", (1000 * a, 1000 * b), "right"),
        SpecialCase("values around 0.01", (0.01 * a, 0.01 * b), "right"),
    ]


CONTENT = ExerciseSpec(
    scalar=True,
    arguments=("features", "target"),
    cases=lambda g: [(noise(g, *s), noise(g, *s)) for s in ((2, 3, 4, 5), (3, 2, 5, 3), (2, 4, 3, 7))],
    special=lambda g: [
        SpecialCase("a batch of one", (noise(g, 1, 3, 4, 5), noise(g, 1, 3, 4, 5)), "right"),
        SpecialCase(
            "a batch of 3 with one target of shape (1, C, h, w)",
            (noise(g, 3, 2, 4, 5), noise(g, 1, 2, 4, 5)),
            "right",
        ),
        *_special_pairs(noise(g, 2, 3, 4, 5), noise(g, 2, 3, 4, 5), ("features", "target")),
        SpecialCase("64 channels", (noise(g, 2, 64, 3, 3), noise(g, 2, 64, 3, 3))),
    ],
    references=(relative_each, relative, relative_expanded),
    advice="divide the sum of squares by (target ** 2).sum().",
    axes="BCHW",
    example=(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[1.0, 2.0]]]])),
    differentiable=(0,),
    mistakes=(
        *loss_mistakes("features", "target"),
        Mistake(
            "gram-matrices",
            "compares Gram matrices, which is the style: compare the features themselves.",
            lambda f, p: relative_each(gram(f), gram(p)),
            lambda f, p: relative(gram(f), gram(p)),
        ),
    ),
)

STYLE = ExerciseSpec(
    scalar=True,
    arguments=("gram", "target"),
    cases=lambda g: [(_symmetric(g, c), _symmetric(g, c)) for c in (3, 5, 4, 8)],
    special=lambda g: [
        SpecialCase("a single channel", (_symmetric(g, 1), _symmetric(g, 1)), "right"),
        SpecialCase("64 channels", (_symmetric(g, 64), _symmetric(g, 64))),
        *_special_pairs(_symmetric(g, 4), _symmetric(g, 4), ("a gram", "target")),
    ],
    references=(relative,),
    advice="divide the sum of squares by (target ** 2).sum() alone.",
    axes="BCC",
    example=(torch.tensor([[[3.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])),
    differentiable=(0,),
    mistakes=(
        *loss_mistakes("gram", "target"),
        Mistake(
            "gram-twice",
            "takes the Gram matrix of what already is one: use gram and target as they come.",
            lambda g, a: relative(g @ g.mT, a @ a.mT),
        ),
        Mistake(
            "matrix-square",
            "multiplies matrices where each entry is to be squared: write ** 2, not @.",
            lambda g, a: ((g - a) @ (g - a)).sum() / (a @ a).sum(),
        ),
        Mistake(
            "divided-by-channels",
            "is divided by the number of channels as well: divide by (target ** 2).sum() alone.",
            *(lambda g, a, p=p: relative(g, a) / g.shape[1] ** p for p in (1, 2, 4)),
        ),
        Mistake(
            "quartered",
            "is a quarter of what it should be: leave out the factor 1/4.",
            lambda g, a: relative(g, a) / 4,
        ),
    ),
)
