"""What right and wrong total variations look like, and a sentence a mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase

__all__ = ["TV", "steep_image"]


def _differences(x: Tensor, dims: tuple[int, int] = (2, 3)) -> list[Tensor]:
    return [x.narrow(d, 1, x.shape[d] - 1) - x.narrow(d, 0, x.shape[d] - 1) for d in dims]


def _mean_of(x: Tensor, size: Callable[[Tensor], Tensor], dims: tuple[int, int] = (2, 3)) -> Tensor:
    return torch.stack([size(d).mean() for d in _differences(x, dims)]).sum()


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
    references=(lambda x: _mean_of(x, torch.abs),),
    advice="add the mean of |d| over the vertical neighbours and that over the horizontal ones.",
    axes="BCHW",
    example=(torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 4.0, 0.0]]]]),),
    differentiable=(0,),
    mistakes=(
        Mistake(
            "sum-instead-of-mean",
            "grows with the size of the image: take means, not sums.",
            lambda x: sum(d.abs().sum() for d in _differences(x)),
            lambda x: sum(d.abs().sum() for d in _differences(x)) / len(x),
        ),
        Mistake(
            "one-direction",
            "looks in one direction only: add the vertical and the horizontal mean.",
            lambda x: _differences(x)[0].abs().mean(),
            lambda x: _differences(x)[1].abs().mean(),
        ),
        Mistake(
            "squared",
            "squares the differences: take their absolute values.",
            lambda x: _mean_of(x, torch.square),
            lambda x: sum(d.square().sum() for d in _differences(x)),
        ),
        Mistake(
            "sign-kept",
            "lets rising and falling differences cancel: take abs() before the mean.",
            lambda x: _mean_of(x, lambda d: d),
            lambda x: -_mean_of(x, lambda d: d),
            lambda x: sum(d.mean().abs() for d in _differences(x)),
        ),
        Mistake(
            "wrapped-around",
            "compares one border with the opposite one, as torch.roll does: use slices, [1:] minus [:-1].",
            lambda x: sum((x - x.roll(s, d)).abs().mean() for d, s in ((2, 1), (3, 1))),
        ),
        Mistake(
            "wrong-divisor",
            "is divided by the number of pixels, but there are fewer differences than pixels: use mean().",
            lambda x: sum(d.abs().sum() for d in _differences(x)) / x.numel(),
        ),
        Mistake(
            "batch-summed",
            "grows with the number of images: take the mean over the batch, too.",
            lambda x: _mean_of(x, torch.abs) * len(x),
        ),
        Mistake(
            "channels-summed",
            "is 3 times too large, as if the channels were added up: take the mean over them, too.",
            lambda x: _mean_of(x, torch.abs) * x.shape[1],
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
            "not-neighbours",
            "compares pixels that are two apart: take direct neighbours, [1:] minus [:-1].",
            lambda x: sum(
                (x.narrow(d, 2, x.shape[d] - 2) - x.narrow(d, 0, x.shape[d] - 2)).abs().mean() for d in (2, 3)
            ),
            lambda x: sum(
                (x.narrow(d, 2, x.shape[d] - 2) - x.narrow(d, 0, x.shape[d] - 2)).abs().sum() for d in (2, 3)
            ),
        ),
        Mistake(
            "diagonal",
            "compares each pixel with its diagonal neighbour: take the vertical and the horizontal one.",
            lambda x: (x[..., 1:, 1:] - x[..., :-1, :-1]).abs().mean(),
        ),
        Mistake(
            "one-direction",
            "counts one direction twice: add the vertical and the horizontal mean.",
            *(lambda x, i=i: 2 * _differences(x)[i].abs().mean() for i in (0, 1)),
        ),
        Mistake(
            "other-power",
            "takes a power of the differences: their absolute values alone.",
            *(lambda x, p=p: _mean_of(x, lambda d: d.abs() ** p) for p in (0.5, 1.25, 1.5, 3)),
        ),
        Mistake(
            "one-sign-only",
            "counts rising differences alone, as relu does, and forgets falling ones: take abs().",
            *(lambda x, s=s: _mean_of(x, lambda d: (s * d).relu()) for s in (1, -1)),
        ),
        Mistake(
            "largest-only",
            "takes the largest difference: take the mean.",
            lambda x: sum(d.abs().max() for d in _differences(x)),
            lambda x: max(d.abs().max() for d in _differences(x)),
        ),
        Mistake(
            "spread",
            "is the spread of all pixels, wherever they lie: compare neighbours.",
            lambda x: x.std(),
            lambda x: x.var(),
            lambda x: (x - x.mean()).abs().mean(),
        ),
        Mistake(
            "one-mean",
            "averages both directions together: take a mean for each, and add the two.",
            lambda x: torch.cat([d.abs().flatten() for d in _differences(x)]).mean(),
        ),
        Mistake("halved", "is half of what it should be: add the two means.", lambda x: _mean_of(x, torch.abs) / 2),
        Mistake(
            "wrong-axes",
            "takes differences along the wrong axes: in (B, C, H, W), height is axis 2 and width axis 3.",
            *(
                lambda x, dims=dims: _mean_of(x, torch.abs, dims)
                for dims in itertools.combinations_with_replacement(range(4), 2)
                if dims != (2, 3)
            ),
        ),
    ),
)
