"""What right and wrong content and style losses look like: slow formulas, and a sentence a mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase
from ..probes import probe_loss
from .relative import loss_mistakes, loss_variants

__all__ = [
    "CONTENT",
    "STYLE",
    "gram",
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
    variants=loss_variants("features", "target"),
    probe=probe_loss,
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
    variants=loss_variants("gram", "target", batches=False),
    probe=probe_loss,
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
    ),
)
