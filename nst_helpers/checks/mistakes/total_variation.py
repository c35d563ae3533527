"""What right and wrong total variations look like, and a sentence a mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..probes import probe_total_variation
from ..variants import Variants

__all__ = ["TV", "steep_image"]


def _differences(x: Tensor, *, dims: tuple[int, int] = (2, 3), apart: int = 1) -> list[Tensor]:
    return [x.narrow(d, apart, x.shape[d] - apart) - x.narrow(d, 0, x.shape[d] - apart) for d in dims]


def _varied(
    x: Tensor,
    *,
    differences: Callable[[Tensor], list[Tensor]] = _differences,
    size: Callable[[Tensor], Tensor] = torch.abs,
    reduce: Callable[[Tensor, Tensor], Tensor] = lambda d, x: d.mean(),
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
    finish: Callable[[Tensor], Tensor] = lambda value: value,
) -> Tensor:
    dy, dx = differences(x)
    return finish(join(reduce(size(dy), x), reduce(size(dx), x)))


def steep_image(g: torch.Generator, size: tuple[int, int, int, int], *, step: float = 0.05) -> Tensor:
    """Noise in [0, 1] in which no two neighbours are equal: each differs by `step` at least.

    Where two pixels are equal, |d| has no single slope, and what rounding makes of it would decide.
    """
    image = torch.rand(size, generator=g)
    for i, j in itertools.product(range(size[2]), range(size[3])):
        around = [image[:, :, i - 1, j]] if i else []
        around += [image[:, :, i, j - 1]] if j else []
        while around:
            near = (image[:, :, i, j] - torch.stack(around)).abs().amin(0) < step
            if not near.any():
                break
            image[:, :, i, j] = torch.where(near, torch.rand(size[:2], generator=g), image[:, :, i, j])
    return image


def _special_images(g: torch.Generator) -> list[SpecialCase]:
    sizes = {
        "a batch of one": (1, 3, 4, 6),
        "a picture that is 3 pixels wide": (2, 3, 5, 3),
        "a picture of 3 x 3 pixels": (1, 3, 3, 3),
        "a picture of 2 x 2 pixels": (1, 3, 2, 2),
        "a square picture": (2, 3, 5, 5),
    }
    image = steep_image(g, (2, 3, 4, 5))
    return [
        SpecialCase("a flat picture, whose total variation is 0", (torch.full((1, 3, 4, 5), 0.5),), "finite"),
        SpecialCase("a black picture, whose total variation is 0", (torch.zeros(2, 3, 3, 4),), "finite"),
        *(SpecialCase(about, (steep_image(g, size),), "right") for about, size in sizes.items()),
        SpecialCase("a dark picture with small differences", (0.02 * image,), "right"),
        SpecialCase("a bright picture", (1 - 0.1 * image,), "right"),
        SpecialCase("a picture with values outside [0, 1]", (4 * image - 2,), "right"),
        SpecialCase("a picture with sides over 224", (torch.rand(1, 3, 226, 231, generator=g),)),
    ]


def _at_pixels(x: Tensor, join: Callable[[Tensor, Tensor], Tensor], reduce: Callable[[Tensor], Tensor]) -> Tensor:
    dy = x[..., 1:, :-1] - x[..., :-1, :-1]
    dx = x[..., :-1, 1:] - x[..., :-1, :-1]
    return reduce(join(dy, dx))


TV = ExerciseSpec(
    scalar=True,
    arguments=("image",),
    cases=lambda g: [(steep_image(g, s),) for s in ((2, 3, 5, 7), (3, 3, 4, 6), (2, 3, 8, 4))],
    special=_special_images,
    references=(_varied,),
    advice="add the mean of |d| over the vertical neighbours and that over the horizontal ones.",
    axes="BCHW",
    example=(torch.tensor([[[[0.0, 0.1, 0.9], [0.5, 0.7, 0.2]]]]),),
    differentiable=(0,),
    mistakes=(
        Mistake(
            "one-mean",
            "averages both directions together: take a mean for each, and add the two.",
            lambda x: torch.cat([d.abs().flatten() for d in _differences(x)]).mean(),
        ),
        Mistake(
            "length",
            "takes the length sqrt(dx^2 + dy^2) at each pixel: take the absolute value in each direction by itself.",
            *(lambda x, k=k: _at_pixels(x, lambda a, b: (a**2 + b**2).sqrt(), k) for k in (torch.mean, torch.sum)),
        ),
        Mistake(
            "corner-lost",
            "leaves neighbours in the last row or column out, since both differences are cut to one size: use all.",
            lambda x: _at_pixels(x, lambda a, b: a.abs() + b.abs(), torch.mean),
        ),
        Mistake(
            "diagonal",
            "compares each pixel with its diagonal neighbour: take the vertical and the horizontal one.",
            lambda x: (x[..., 1:, 1:] - x[..., :-1, :-1]).abs().mean(),
        ),
        Mistake(
            "spread",
            "is the spread of all pixels, wherever they lie: compare neighbours.",
            lambda x: x.std(),
            lambda x: x.var(),
            lambda x: (x - x.mean()).abs().mean(),
        ),
    ),
    probe=probe_total_variation,
    variants=Variants(
        _varied,
        differences=(
            Variant(_differences),
            *(
                Variant(
                    partial(_differences, dims=dims),
                    "wrong-axes",
                    "takes differences along the wrong axes: in (B, C, H, W), height is axis 2 and width axis 3.",
                )
                for dims in itertools.combinations_with_replacement(range(4), 2)
                if dims not in ((2, 3), (2, 2), (3, 3))
            ),
            *(
                Variant(
                    partial(_differences, dims=dims),
                    "one-direction",
                    "looks at one direction twice: add the vertical and the horizontal mean.",
                )
                for dims in ((2, 2), (3, 3))
            ),
            Variant(
                lambda x: [x - x.roll(1, axis) for axis in (2, 3)],
                "wrapped-around",
                "compares one border with the opposite one, as torch.roll does: use slices, [1:] minus [:-1].",
            ),
            Variant(
                partial(_differences, apart=2),
                "not-neighbours",
                "compares pixels that are two apart: take direct neighbours, [1:] minus [:-1].",
            ),
            Variant(
                lambda x: [x.diff(n=2, dim=axis) for axis in (2, 3)],
                "second-differences",
                "takes differences of differences: the first ones are wanted, so call diff once.",
            ),
        ),
        size=(
            Variant(torch.abs),
            Variant(torch.square, "squared", "squares the differences: take their absolute values."),
            Variant(lambda d: d, "sign-kept", "lets rising and falling differences cancel: call abs() first."),
            *(
                Variant(
                    lambda d, s=s: (s * d).relu(),
                    "one-sign-only",
                    "counts rising differences alone, as relu does, and forgets falling ones: take abs().",
                )
                for s in (1, -1)
            ),
            *(
                Variant(
                    lambda d, p=p: d.abs() ** p,
                    "other-power",
                    "takes a power of the differences: their absolute values alone.",
                )
                for p in (0.5, 1.25, 1.5, 3)
            ),
            Variant(
                lambda d: torch.nn.functional.smooth_l1_loss(d, torch.zeros_like(d), reduction="none"),
                "huber",
                "squares small differences, as a Huber loss does: take their absolute values.",
            ),
        ),
        reduce=(
            Variant(lambda d, x: d.mean()),
            Variant(
                lambda d, x: d.sum(), "sum-instead-of-mean", "grows with the size of the image: take means, not sums."
            ),
            Variant(
                lambda d, x: d.sum() / len(x),
                "sum-instead-of-mean",
                "grows with the size of the image: take means, not sums.",
            ),
            Variant(
                lambda d, x: d.sum() / x.numel(),
                "wrong-divisor",
                "is divided by the number of pixels, but there are fewer differences than pixels: use mean().",
            ),
            Variant(
                lambda d, x: d.mean() * len(x),
                "batch-summed",
                "grows with the number of images: take the mean over the batch, too.",
            ),
            Variant(
                lambda d, x: d.mean() * x.shape[1],
                "channels-summed",
                "is 3 times too large, as if the channels were added up: take the mean over them, too.",
            ),
            Variant(lambda d, x: d.max(), "largest-only", "takes the largest difference: take the mean."),
            Variant(lambda d, x: d.median(), "median", "takes the median of the differences: take the mean."),
            Variant(lambda d, x: d.std(), "spread", "takes the spread of the differences: take the mean."),
            Variant(
                lambda d, x: d.mean().abs(),
                "sign-kept",
                "lets rising and falling differences cancel: call abs() first.",
            ),
        ),
        join=(
            Variant(lambda a, b: a + b),
            Variant(lambda a, b: a, "one-direction", "looks at the vertical direction only: add the horizontal mean."),
            Variant(lambda a, b: b, "one-direction", "looks at the horizontal direction only: add the vertical mean."),
            Variant(lambda a, b: (a + b) / 2, "halved", "is half of what it should be: add the two means."),
            Variant(lambda a, b: a * b, "multiplied", "multiplies the two means: add them."),
            Variant(lambda a, b: a - b, "subtracted", "subtracts the two means: add them."),
            Variant(lambda a, b: b - a, "subtracted", "subtracts the two means: add them."),
            Variant(torch.maximum, "larger-only", "takes the larger of the two means: add them."),
        ),
        finish=(
            Variant(lambda value: value),
            Variant(lambda value: value.sqrt(), "root-taken", "takes a square root at the end: leave it out."),
            Variant(lambda value: value / 255, "scaled-255", "divides by 255: the image is in [0, 1] already."),
            Variant(lambda value: value * 255, "scaled-255", "multiplies by 255: the image is in [0, 1] already."),
        ),
    ),
)
