"""What right and wrong mixtures of two pictures look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..known import ExerciseSpec, SpecialCase, Variant
from ..variants import Variants

__all__ = ["BLEND", "two_pictures"]


def two_pictures(g: torch.Generator, *shape: int) -> list[Tensor]:
    """Two pictures of that shape in [0, 1]."""
    return list(torch.rand(2, *shape, generator=g))


def _share(g: torch.Generator) -> float:
    """Neither near 0 or 1 nor near a half, where mistakes look right."""
    return 0.1 + 0.25 * float(torch.rand((), generator=g)) + 0.5 * float(torch.rand((), generator=g) < 0.5)


def _mixed(
    photo: Tensor,
    painted: Tensor,
    share: float,
    *,
    shares: Callable[[float], tuple[float, float]] = lambda s: (1 - s, s),
    join: Callable[[Tensor, Tensor], Tensor] = lambda a, b: a + b,
    finish: Callable[[Tensor], Any] = lambda x: x,
) -> Tensor:
    first, second = shares(share)
    return finish(join(first * photo, second * painted))


def _special(g: torch.Generator) -> list[SpecialCase]:
    return [
        SpecialCase("a share of 0, which gives the photo", (*two_pictures(g, 1, 3, 4, 5), 0.0), "right"),
        SpecialCase("a share of 1, which gives the painting", (*two_pictures(g, 1, 3, 4, 5), 1.0), "right"),
        SpecialCase("whole numbers as a share", (*two_pictures(g, 1, 3, 2, 3), 1), "right"),
        SpecialCase("a batch of two pictures", (*two_pictures(g, 2, 3, 5, 3), 0.3), "right"),
        SpecialCase("two black pictures", (*torch.zeros(2, 1, 3, 2, 4), 0.7), "right"),
        SpecialCase("two white pictures", (*torch.ones(2, 1, 3, 2, 4), 0.7)),
    ]


BLEND = ExerciseSpec(
    arguments=("photo", "painted", "share"),
    cases=lambda g: [
        (*two_pictures(g, *shape), _share(g)) for shape in ((1, 3, 4, 7), (1, 3, 6, 2), (2, 3, 3, 5), (1, 3, 1, 9))
    ],
    special=_special,
    references=(lambda a, b, s: torch.stack([(1 - s) * x + s * y for x, y in zip(a, b, strict=True)]),),
    example=(torch.tensor([0.0, 0.4]).view(1, 1, 1, 2), torch.tensor([1.0, 0.8]).view(1, 1, 1, 2), 0.25),
    advice="the two shares add up to 1.",
    axes="BCHW",
    result_axes="BCHW",
    differentiable=(0, 1),
    mistakes=(),
    variants=Variants(
        _mixed,
        shares=(
            Variant(lambda s: (1 - s, s)),
            Variant(
                lambda s: (s, 1 - s),
                "swapped",
                "has the shares exchanged: a share of 1 is the painting, and a share of 0 the photo.",
            ),
            Variant(
                lambda s: (1, s),
                "photo-whole",
                "adds to the whole photo: multiply the photo by 1 - share, so that the shares add up to 1.",
            ),
            Variant(lambda s: (1 - s, 1), "painting-whole", "adds the whole painting: multiply it by share."),
            Variant(lambda s: (1, 1), "share-forgotten", "does not use the share: the picture has to follow it."),
            Variant(lambda s: (0.5, 0.5), "share-forgotten", "takes half of each, whatever the share is."),
            Variant(lambda s: (s, s), "one-share", "gives both pictures the same share: the photo gets 1 - share."),
            Variant(lambda s: (0, s), "photo-forgotten", "leaves the photo out: add (1 - share) times the photo."),
            Variant(lambda s: (1 - s, 0), "painting-forgotten", "leaves the painting out: add share times it."),
            Variant(
                lambda s: (1 - s / 100, s / 100),
                "percent",
                "divides the share by 100: it comes as a number from 0 to 1.",
            ),
        ),
        join=(
            Variant(lambda a, b: a + b),
            Variant(lambda a, b: a - b, "subtracted", "subtracts one picture from the other: add the two parts."),
            Variant(lambda a, b: b - a, "subtracted", "subtracts one picture from the other: add the two parts."),
            Variant(lambda a, b: a * b, "multiplied", "multiplies the two pictures: add the two parts."),
            Variant(torch.maximum, "lighter", "takes the lighter of the two parts: add them."),
        ),
        finish=(
            Variant(lambda x: x),
            Variant(lambda x: x / 2, "halved", "halves the sum: the shares add up to 1 already."),
            Variant(
                lambda x: x.round(), "rounded", "rounds to whole numbers: a picture's numbers lie between 0 and 1."
            ),
            Variant(lambda x: 255 * x, "times-255", "gives values up to 255: a picture's numbers lie between 0 and 1."),
        ),
    ),
)
