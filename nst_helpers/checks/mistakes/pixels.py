"""What right and wrong distances between two pictures look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..variants import Variants
from .blend import two_pictures

__all__ = ["PIXELS"]


def _apart(
    picture: Tensor,
    photo: Tensor,
    *,
    compare: Callable[[Tensor, Tensor], Tensor] = lambda a, b: a - b,
    size: Callable[[Tensor], Tensor] = lambda x: x.abs(),
    gather: Callable[[Tensor], Any] = lambda x: x.mean(),
) -> Any:
    return gather(size(compare(picture, photo)))


def _one_by_one(picture: Tensor, photo: Tensor) -> float:
    pairs = list(zip(picture.flatten().tolist(), photo.flatten().tolist(), strict=True))
    return sum(max(a, b) - min(a, b) for a, b in pairs) / len(pairs)


def _pairs(g: torch.Generator) -> list[tuple]:
    """One of the two is darker on the whole, as no mistake may hide behind means that are nearly the same."""
    shapes = ((1, 3, 4, 7), (1, 3, 6, 2), (2, 3, 3, 5), (1, 3, 1, 9))
    factors = ((0.7, 1), (1, 0.8), (0.6, 1), (1, 0.7))
    pairs = (two_pictures(g, *shape) for shape in shapes)
    return [(a * picture, b * photo) for (picture, photo), (a, b) in zip(pairs, factors, strict=True)]


def _special(g: torch.Generator) -> list[SpecialCase]:
    photo, _ = two_pictures(g, 1, 3, 4, 5)
    return [
        SpecialCase("a picture and itself, which are 0 apart", (photo, photo.clone())),
        SpecialCase("black and white, which are 1 apart", (torch.zeros(1, 3, 2, 3), torch.ones(1, 3, 2, 3))),
        SpecialCase("a photo and its negative", (1 - photo, photo)),
        SpecialCase("a picture that is darker everywhere", (0.6 * photo, photo)),
        SpecialCase("a picture that differs in one pixel", (torch.where(photo == photo.max(), 0.0, photo), photo)),
        SpecialCase("a batch of two pictures", tuple(two_pictures(g, 2, 3, 5, 3))),
    ]


PIXELS = ExerciseSpec(
    arguments=("picture", "photo"),
    cases=_pairs,
    special=_special,
    references=(_one_by_one,),
    example=(torch.tensor([0.2, 0.9]).view(1, 1, 1, 2), torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)),
    advice="take the mean: the sum of all sizes, divided by how many there are.",
    kind="number",
    scalar=True,
    axes="BCHW",
    mistakes=(
        Mistake(
            "abs-last",
            "drops the sign of the mean alone, when darker and lighter have cancelled: .abs() comes before .mean().",
            lambda a, b: (a - b).mean().abs(),
        ),
        Mistake(
            "root",
            "is a length, the root of squares: drop the signs with .abs(), without squares and roots.",
            lambda a, b: (a - b).square().mean().sqrt(),
            lambda a, b: (a - b).norm(),
        ),
        Mistake(
            "relative",
            "divides by the photo: the mean of the differences alone is wanted.",
            lambda a, b: (a - b).abs().mean() / b.mean(),
            lambda a, b: ((a - b).abs() / b).mean(),
            lambda a, b: (a - b).abs().sum() / b.sum(),
        ),
        Mistake(
            "differing-share",
            "counts how many numbers differ: take how far they differ.",
            lambda a, b: (a != b).double().mean(),
            lambda a, b: (a != b).sum(),
        ),
    ),
    variants=Variants(
        _apart,
        compare=(
            Variant(lambda a, b: a - b),
            Variant(lambda a, b: a + b, "added", "adds the two pictures: subtract one from the other."),
            Variant(lambda a, b: a * b, "multiplied", "multiplies the two pictures: subtract one from the other."),
            Variant(lambda a, b: a, "photo-forgotten", "leaves the photo out: subtract it from the picture."),
            Variant(lambda a, b: b, "picture-forgotten", "leaves the picture out: subtract the photo from it."),
        ),
        size=(
            Variant(lambda x: x.abs()),
            *(
                Variant(
                    keep,
                    "signs-kept",
                    "keeps the signs, so that darker and lighter cancel each other: drop them with .abs() first.",
                )
                for keep in (lambda x: x, lambda x: -x)
            ),
            Variant(lambda x: x.clamp(min=0), "one-side", "counts lighter pixels alone: .abs() counts both kinds."),
            Variant(lambda x: (-x).clamp(min=0), "one-side", "counts darker pixels alone: .abs() counts both kinds."),
            Variant(lambda x: x**2, "squared", "squares the differences: drop their signs with .abs() instead."),
        ),
        gather=(
            Variant(lambda x: x.mean()),
            Variant(lambda x: x.sum(), "sum", "adds all the differences up, so large pictures are far: take the mean."),
            Variant(lambda x: x.max(), "largest", "gives the largest difference: take the mean of all."),
            Variant(lambda x: x.min(), "smallest", "gives the smallest difference: take the mean of all."),
            Variant(lambda x: x.median(), "median", "gives the median: take the mean of all."),
            Variant(lambda x: x.std(), "spread", "gives the spread of the differences: take their mean."),
            Variant(lambda x: x.mean() / 2, "halved", "divides by 2: the mean divides already."),
            Variant(lambda x: 100 * x.mean(), "percent", "gives percent: a mean of numbers from 0 to 1 is wanted."),
            Variant(lambda x: 255 * x.mean(), "times-255", "multiplies by 255: the numbers go from 0 to 1."),
            Variant(lambda x: 1 - x.mean(), "likeness", "gives how alike they are: 0 means the same picture."),
        ),
    ),
)
