"""What right and wrong Gram matrices of a region look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..variants import Variants
from .gram import GRAM
from .losses import noise

__all__ = ["MASKED", "soft_mask"]


def soft_mask(g: torch.Generator, h: int, w: int) -> Tensor:
    """A mask (1, 1, h, w): black on the right, and black, white and grey by chance for the rest."""
    mask = (torch.rand(1, 1, h, w, generator=g) * 3 - 1).clamp(0, 1)
    mask[..., w - w // 3 :] = 0
    return mask


def _shrunk(mask: Tensor, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(mask, (x.shape[-2], x.shape[-1]))


def _weighted(
    x: Tensor,
    mask: Tensor,
    *,
    shrink: Callable[[Tensor, Tensor], Tensor] = _shrunk,
    use: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda m: (m, m),
    divisor: Callable[..., Any] = lambda m, mask, x: m.sum(),
) -> Tensor:
    """Row by row: the mean of channel i times each channel, each position with its weight."""
    weights, base = use(shrink(mask, x))
    rows = [(weights * x[:, i : i + 1] * x).sum((2, 3)) for i in range(x.shape[1])]
    return torch.stack(rows, 1) / divisor(base, mask, x)


def _of_gram(*codes: str) -> list[Mistake]:
    """Mistakes of shape that are the same without a mask."""
    return [
        Mistake(m.code, m.sentence, shapes=lambda x, mask, shapes=m.shapes: shapes(x))
        for m in GRAM.mistakes
        if m.code in codes and m.shapes
    ]


_TWICE = (
    "has the mask on both factors, so that a half counts as a quarter: multiply one of the two by it, and divide by "
    "its sum."
)
_SAMPLED = (
    "takes one pixel of the mask for each position: a position sees many pixels, so take their mean, with "
    "adaptive_avg_pool2d."
)


def _special(g: torch.Generator) -> list[SpecialCase]:
    x = noise(g, 2, 3, 4, 6)
    half = torch.cat([torch.ones(1, 1, 8, 5), torch.zeros(1, 1, 8, 7)], -1)
    return [
        SpecialCase("a mask of ones, which gives gram_matrix", (x, torch.ones(1, 1, 8, 12)), "right"),
        SpecialCase("a mask of the layer's own size", (x, soft_mask(g, 4, 6)), "right"),
        SpecialCase("a mask that is white on the left and black on the right", (x, half), "right"),
        SpecialCase("a mask that is grey all over", (x, torch.full((1, 1, 8, 12), 0.3)), "right"),
        SpecialCase("a batch of one", (noise(g, 1, 4, 3, 5), soft_mask(g, 12, 20)), "right"),
        SpecialCase("a single channel", (noise(g, 2, 1, 3, 4), soft_mask(g, 6, 8)), "right"),
        SpecialCase("64 channels", (noise(g, 1, 64, 4, 3), soft_mask(g, 8, 6))),
    ]


MASKED = ExerciseSpec(
    arguments=("features", "mask"),
    cases=lambda g: [
        (noise(g, b, c, h, w), soft_mask(g, k * h, k * w))
        for b, c, h, w, k in ((2, 3, 4, 5, 2), (3, 4, 2, 7, 4), (2, 5, 6, 3, 4))
    ],
    special=_special,
    references=(_weighted,),
    advice="divide by the sum of the mask at the layer's size.",
    axes="BCHW",
    result_axes="BCC",
    example=(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[[[1.0, 0.5]]]])),
    differentiable=(0,),
    symptoms=(
        (
            r"The size of tensor a \(\d+\) must match the size of tensor b",
            "mask-not-shrunk",
            "combines features with a mask of another size: shrink the mask to the features' height and width first, "
            "with adaptive_avg_pool2d.",
        ),
        (
            r"Expected size for first two dimensions|cannot be multiplied",
            "transposed-all",
            "multiplies matrices that don't go together: swap the last two axes of the second with transpose(1, 2).",
        ),
    ),
    mistakes=(
        *_of_gram("batch-folded", "batch-lost", "over-space", "not-flattened", "diagonal-only"),
        Mistake(
            "mask-ignored",
            "gives the Gram matrix of the whole picture: weigh each position by the mask.",
            lambda x, mask: _weighted(x, mask, use=lambda m: (torch.ones_like(m),) * 2),
        ),
    ),
    variants=Variants(
        _weighted,
        shrink=(
            Variant(_shrunk),
            Variant(lambda m, x: F.interpolate(m, x.shape[-2:]), "mask-sampled", _SAMPLED),
            Variant(lambda m, x: F.interpolate(m, x.shape[-2:], mode="bilinear"), "mask-sampled", _SAMPLED),
            Variant(
                lambda m, x: m[..., : x.shape[-2], : x.shape[-1]],
                "mask-cropped",
                "cuts a corner out of the mask: shrink the whole of it to the features' height and width.",
            ),
            Variant(
                lambda m, x: F.adaptive_max_pool2d(m, x.shape[-2:]),
                "mask-grown",
                "takes the largest value of the mask, so that the region grows at its border: take the mean.",
            ),
        ),
        use=(
            Variant(lambda m: (m, m)),
            Variant(lambda m: (m * m, m), "mask-twice", _TWICE),
            Variant(lambda m: (m * m, m * m), "mask-twice", _TWICE),
            Variant(
                lambda m: (1 - m, 1 - m), "mask-inverted", "describes what lies outside the region: white is inside."
            ),
            *(
                Variant(
                    lambda m, edge=edge: ((m > edge).to(m), (m > edge).to(m)),
                    "mask-made-hard",
                    "makes the soft mask black and white: use its greys as weights.",
                )
                for edge in (0.5, 0.0)
            ),
        ),
        divisor=(
            Variant(lambda m, mask, x: m.sum()),
            Variant(
                lambda m, mask, x: x[0, 0].numel(),
                "divided-by-positions",
                "divides by H * W, so that a small region looks weak: divide by the sum of the mask.",
            ),
            Variant(
                lambda m, mask, x: 1,
                "missing-divisor",
                "adds up without a division: divide by the sum of the mask, so that it is a mean over the region.",
            ),
            Variant(
                lambda m, mask, x: mask.sum(),
                "divided-by-large-mask",
                "divides by the sum of the mask at the picture's size: take the sum of the shrunk one.",
            ),
            Variant(
                lambda m, mask, x: m.sum() * x[0, 0].numel(),
                "divided-twice",
                "divides twice, by the mask's sum and by H * W: divide by the sum of the mask alone.",
            ),
            Variant(
                lambda m, mask, x: m.sum() * x.shape[1],
                "divided-by-channels-too",
                "is C times too small: divide by the sum of the mask alone.",
            ),
            Variant(
                lambda m, mask, x: (m > 0).sum(),
                "divided-by-count",
                "divides by the number of positions that are not black: a grey one counts by its grey, so divide by "
                "the sum.",
            ),
            Variant(
                lambda m, mask, x: m.mean(),
                "divided-by-mean",
                "divides by the mean of the mask: divide by its sum.",
            ),
        ),
    ),
)
