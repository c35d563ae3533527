"""What right and wrong colour matching looks like: a style picture with a photo's mean colour and covariance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..known import ExerciseSpec, SpecialCase, Variant
from ..variants import Variants

__all__ = ["COLOR", "picture"]

_Matrices = Callable[[Tensor, Tensor], Tensor]  # of the style's and the photo's covariance


def picture(g: torch.Generator, h: int, w: int, *, contrast: float = 1.0, chroma: float = 0.25) -> Tensor:
    """A picture (1, 3, h, w) in [0, 1] whose channels go together without being the same."""
    light, color = torch.rand(1, 1, h, w, generator=g), torch.rand(1, 3, h, w, generator=g)
    shares = torch.tensor([0.4, 1.0, 1.6]).view(1, 3, 1, 1) * chroma
    return (0.5 + contrast * ((1 - shares) * light + shares * color - 0.5)).contiguous()


def covariance(pixels: Tensor, *, less: int = 0) -> Tensor:
    """The covariance (3, 3) of pixels (3, N): sums of products of centred channels, divided by N - less."""
    centred = pixels - pixels.mean(1, keepdim=True)
    return centred @ centred.T / (pixels.shape[1] - less)


def power(matrix: Tensor, exponent: float) -> Tensor:
    """The symmetric power V D^p V^T."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values**exponent).diag() @ vectors.T


def _transposed(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors.T @ (values**exponent).diag() @ vectors


def _symmetric(style: Tensor, photo: Tensor) -> Tensor:
    return power(photo, 0.5) @ power(style, -0.5)


def _cholesky(style: Tensor, photo: Tensor) -> Tensor:
    return torch.linalg.cholesky(photo) @ torch.linalg.cholesky(style).inverse()


def _least_moved(style: Tensor, photo: Tensor) -> Tensor:
    """The symmetric matrix among those that are right (Monge's)."""
    back = power(style, -0.5)
    return back @ power(power(style, 0.5) @ photo @ power(style, 0.5), 0.5) @ back


def _joined(image: Tensor) -> Tensor:
    return image[0].flatten(1)


def _parted(pixels: Tensor, like: Tensor) -> Tensor:
    return pixels.reshape(like.shape)


def _matched(
    style: Tensor,
    content: Tensor,
    *,
    spread: Callable[[Tensor], Tensor] = covariance,
    matrix: _Matrices = _symmetric,
    minus: Callable[[Tensor, Tensor], Any] = lambda s, c: s,
    before: Callable[[Tensor], Tensor] = lambda x: x,
    plus: Callable[[Tensor, Tensor], Any] = lambda s, c: c,
    after: Callable[[Tensor], Tensor] = lambda x: x,
    join: Callable[[Tensor], Tensor] = _joined,
    part: Callable[[Tensor, Tensor], Tensor] = _parted,
) -> Tensor:
    pixels, wanted = join(style), join(content)
    means = pixels.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    changed = matrix(spread(pixels), spread(wanted)) @ before(pixels - minus(*means)) + plus(*means)
    return after(part(changed, style))


def _layout(style: Tensor, content: Tensor, *, rows: bool = False, **choices: Any) -> Tensor:
    """The formula, with the pixels' numbers taken in reading order if `rows`."""
    if rows:
        choices |= {"join": lambda x: x.reshape(-1, 3).T, "part": lambda p, like: p.T.reshape(like.shape)}
    return _matched(style, content, **choices)


_CLAMPED = "clamps to [0, 1], which changes the covariance again: return the values as they are, and clamp outside."
_STRETCHED = _CLAMPED.replace("clamps", "stretches")
_WRONG_MEAN = (
    "ends at another mean colour than the photo's: subtract the style's own mean first, and add the photo's at the end."
)
_NO_ROOT = "multiplies by the covariances themselves: take their roots, since a covariance holds squares."


def _special(g: torch.Generator) -> list[SpecialCase]:
    return [
        SpecialCase("two pictures of one size", (picture(g, 5, 4), picture(g, 5, 4, contrast=0.6))),
        SpecialCase("a style that is one row of pixels", (picture(g, 1, 12), picture(g, 4, 5))),
        SpecialCase("a dark photo", (picture(g, 4, 5), 0.2 * picture(g, 6, 3))),
        SpecialCase("a photo with weak colours", (picture(g, 4, 5), picture(g, 5, 6, chroma=0.1))),
        SpecialCase("a photo of 40 x 60 pixels", (picture(g, 7, 6), picture(g, 40, 60))),
        SpecialCase("a style in the photo's colours already", (p := picture(g, 5, 6), p.flip(-1).contiguous())),
    ]


COLOR = ExerciseSpec(
    arguments=("style", "content"),
    cases=lambda g: [
        (picture(g, *size, contrast=0.5), picture(g, *other, chroma=0.3))
        for size, other in (((4, 6), (5, 3)), ((3, 5), (6, 7)), ((7, 4), (4, 9)))
    ],
    special=_special,
    references=tuple(
        partial(_matched, matrix=matrix, spread=partial(covariance, less=less))
        for less in (0, 1)
        for matrix in (_symmetric, _cholesky, _least_moved)
    ),
    advice="the covariance is a mean over the pixels, and its root is V D^(1/2) Vᵀ.",
    axes="BCHW",
    result_axes="BCHW",
    mistakes=(),
    symptoms=(
        (
            r"must match the size of tensor|cannot be multiplied|Expected size for first two",
            "not-flattened",
            "multiplies shapes that don't go together: lay the pixels out as (3, N) with style[0].flatten(1), and let "
            "the 3 × 3 matrix stand to the left of them.",
        ),
    ),
    variants=Variants(
        _layout,
        rows=(
            Variant(False),
            Variant(
                True,
                "reshape-not-transpose",
                "mixes colours and pixels: reshape(-1, 3) only relabels the numbers, so take style[0].flatten(1), "
                "or permute first.",
            ),
        ),
        spread=(
            Variant(covariance),
            *(
                Variant(
                    lambda p, less=less: covariance(p, less=less).diag().diag(),
                    "std-per-channel",
                    "matches the deviation of each channel alone: how the channels go together has to match too, so "
                    "use the whole 3 × 3 covariance.",
                )
                for less in (0, 1)
            ),
            Variant(
                lambda p: p @ p.T / p.shape[1],
                "not-centred",
                "takes a Gram matrix of the colours for their covariance: subtract the mean colour first.",
            ),
            Variant(
                lambda p: covariance(p) * p.shape[1],
                "missing-divisor",
                "adds up where a covariance is a mean: divide by the number of pixels, which the two pictures don't "
                "share.",
            ),
        ),
        matrix=(
            Variant(_symmetric),
            Variant(
                lambda s, c: _transposed(c, 0.5) @ _transposed(s, -0.5),
                "transposed-root",
                "has its eigenvectors transposed: eigh gives them as columns, so a root is V D^(1/2) Vᵀ, with the "
                "transpose on the right.",
            ),
            Variant(
                lambda s, c: _transposed(c, 0.5) @ power(s, -0.5),
                "transposed-root",
                "has the photo's eigenvectors transposed: a root is V D^(1/2) Vᵀ, with the transpose on the right.",
            ),
            Variant(
                lambda s, c: power(c, 0.5) @ _transposed(s, -0.5),
                "transposed-root",
                "has the style's eigenvectors transposed: a root is V D^(-1/2) Vᵀ, with the transpose on the right.",
            ),
            Variant(
                lambda s, c: power(s, -0.5) @ power(c, 0.5),
                "wrong-order",
                "multiplies the two roots in the wrong order: the style's own covariance is undone first, so its "
                "inverse root stands next to the pixels, on the right.",
            ),
            Variant(lambda s, c: c @ s.inverse(), "no-root", _NO_ROOT),
            Variant(lambda s, c: c @ power(s, -0.5), "no-root", _NO_ROOT),
            Variant(lambda s, c: power(c, 0.5) @ s.inverse(), "no-root", _NO_ROOT),
            Variant(
                lambda s, c: c.sqrt() @ s**-0.5,
                "root-by-entries",
                "takes the root of each entry: the root of a matrix gives the matrix when it is multiplied with "
                "itself, so go by eigh.",
            ),
            Variant(
                lambda s, c: c.sqrt() @ s.sqrt().inverse(),
                "root-by-entries",
                "takes the root of each entry: the root of a matrix gives the matrix when it is multiplied with "
                "itself, so go by eigh.",
            ),
            Variant(
                lambda s, c: power(c, 0.5),
                "not-whitened",
                "leaves the style's own covariance in: multiply with its inverse root first.",
            ),
            Variant(
                lambda s, c: power(s, -0.5),
                "only-whitened",
                "takes the style's covariance away and does not give it the photo's: multiply with the photo's root.",
            ),
            *(
                Variant(
                    matrix,
                    "swapped",
                    "has style and photo exchanged: the style's covariance gets the exponent -1/2, the photo's 1/2.",
                )
                for matrix in (
                    lambda s, c: power(s, 0.5) @ power(c, -0.5),
                    lambda s, c: power(c, -0.5) @ power(s, 0.5),
                )
            ),
            Variant(
                lambda s, c: torch.eye(3, dtype=s.dtype),
                "mean-only",
                "moves the mean colour alone: the covariance has to be the photo's, too.",
            ),
        ),
        minus=(
            Variant(lambda s, c: s),
            Variant(
                lambda s, c: 0,
                "mean-not-subtracted",
                "multiplies the pixels as they are: subtract the style's mean colour first.",
            ),
            Variant(lambda s, c: c, "wrong-mean", _WRONG_MEAN),
        ),
        before=(
            Variant(lambda x: x),
            Variant(
                lambda x: x.clamp(0, 1),
                "clamped-before",
                "clamps before it matches: a difference from the mean may be negative, so clamp nothing in here.",
            ),
        ),
        plus=(
            Variant(lambda s, c: c),
            Variant(
                lambda s, c: s, "wrong-mean", "gives the style's own mean colour back: add the photo's mean at the end."
            ),
            Variant(lambda s, c: 0, "mean-not-added", "leaves the mean colour at 0: add the photo's mean at the end."),
            Variant(
                lambda s, c: c.mean(),
                "grey-mean",
                "adds one number to all three channels: the mean colour has a number for each, so take mean(1, "
                "keepdim=True) of the pixels (3, N).",
            ),
        ),
        after=(
            Variant(lambda x: x),
            Variant(lambda x: x.clamp(0, 1), "clamped", _CLAMPED),
            Variant(lambda x: (x - x.min()) / (x.max() - x.min()), "stretched", _STRETCHED),
        ),
    ),
)
