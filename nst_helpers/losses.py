"""Losses: the Gram matrix, content, style and total variation losses, as functions and as transparent layers.

Systems in this field divide by different constants, so a style weight means nothing without its convention. Three are
here by name; N is the number of channels, M = h * w the number of positions, G and A the Gram matrices divided by M:

| convention | content                 | one style layer         | layers        | used by                        |
|------------|-------------------------|-------------------------|---------------|--------------------------------|
| relative   | sum (F - P)^2 / sum P^2 | sum (G - A)^2 / sum A^2 | weighted mean | this package                   |
| gatys      | sum (F - P)^2 / 2       | sum (G - A)^2 / (4 N^2) | weighted mean | Gatys et al. 2016, eq. 1, 4, 5 |
| pytorch    | mean (F - P)^2          | sum (G - A)^2 / N^4     | weighted sum  | the PyTorch tutorial           |

`relative` depends neither on the encoder's scale and width nor on the image size, so one weight serves them all.
A batch counts as the mean of its images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = [
    "CONVENTIONS",
    "ContentLoss",
    "Convention",
    "Statistic",
    "StyleLoss",
    "TVLoss",
    "at_least_float32",
    "content_loss",
    "get_convention",
    "gram_matrix",
    "masked_gram_matrix",
    "style_loss",
    "total_variation",
]

HALF_PRECISION = (torch.bfloat16, torch.float16)


class Statistic(Protocol):
    """What describes the style of feature maps (B, C, H, W): `gram_matrix`, or another function of the same kind.

    It gives one tensor for each image, (B, ...), of a shape that doesn't depend on H and W. With a mask (1, 1, H, W)
    it describes the part of the feature maps that the mask cuts out.
    """

    def __call__(self, features: Tensor, mask: Tensor | None = None, /) -> Tensor: ...


def gram_matrix(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """The Gram matrix of feature maps: (B, C, H, W) to (B, C, C), divided by H * W.

    Entry (i, j) is the mean over all positions of channel i times channel j. With a mask (1, 1, H, W) of weights, one
    for all images, or (B, 1, H, W), it is the mean by those weights. Half precision is computed in float32.
    Raises ValueError for a tensor that is not floating (B, C, H, W), or a mask of another height and width.

    >>> gram_matrix(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])).tolist()
    [[[2.5, 1.5], [1.5, 4.5]]]
    >>> gram_matrix(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), mask=torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[4.0, 0.0], [0.0, 0.0]]]

    Source: Gatys et al. 2016, eq. 3, divided by the positions so that images of different sizes compare; with a mask
    Gatys et al. 2017 (arXiv:1611.07865), eq. 5, whose guide is the root of the mask here.
    """
    _check_features(features)
    if mask is not None:
        return masked_gram_matrix(features, mask)
    flat = at_least_float32(features).flatten(2)
    return torch.bmm(flat, flat.transpose(1, 2)) / flat.shape[-1]


def masked_gram_matrix(features: Tensor, mask: Tensor) -> Tensor:
    """What `gram_matrix` gives with a mask: each product's mean over the positions by the mask's weights.

    >>> masked_gram_matrix(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[4.0, 0.0], [0.0, 0.0]]]
    """
    if mask.shape not in ((1, 1, *features.shape[2:]), (len(features), 1, *features.shape[2:])):
        raise ValueError(
            f"The mask is {tuple(mask.shape)} and the feature maps are {tuple(features.shape)}: "
            f"bring the mask to (1, 1, {features.shape[2]}, {features.shape[3]}) first, as the layer's poolings do."
        )
    flat = at_least_float32(features).flatten(2)
    weights = mask.to(flat).flatten(2)
    return torch.bmm(flat * weights, flat.transpose(1, 2)) / weights.sum(-1, keepdim=True)


def _check_features(features: Tensor) -> None:
    if not features.is_floating_point():  # whole numbers of 8 bits would overflow without a word
        raise ValueError(f"gram_matrix takes floating point numbers, but {features.dtype} came: use features.float().")
    if features.ndim != 4:
        raise ValueError(
            f"gram_matrix takes feature maps (B, C, H, W), but the shape {tuple(features.shape)} came: "
            "add the missing axis, for example with features[None]."
        )


def content_loss(features: Tensor, target: Tensor, *, convention: str | Convention = "relative") -> Tensor:
    """How far feature maps are from the content's, (B, C, H, W) both, as a scalar >= 0.

    Raises ValueError where the shapes differ in more than the batch.

    >>> content_loss(torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 2.0)).item()
    0.25

    Source: Gatys et al. 2016, eq. 1 (convention="gatys").
    """
    _same_shape(features, target, "content_loss")
    return get_convention(convention).content(at_least_float32(features), at_least_float32(target))


def style_loss(gram: Tensor, target: Tensor, *, convention: str | Convention = "relative") -> Tensor:
    """How far Gram matrices are from the style's, (B, C, C) both, as a scalar >= 0.

    Both are divided by their own number of positions, so the style may have another size than the image.
    Raises ValueError where the shapes differ in more than the batch.

    >>> style_loss(torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])).item()
    0.25

    Source: Gatys et al. 2016, eq. 4 (convention="gatys").
    """
    _same_shape(gram, target, "style_loss")
    return get_convention(convention).style(gram, target)


def total_variation(image: Tensor, *, kind: str = "l1") -> Tensor:
    """Mean difference between neighbouring pixels, (B, C, H, W) to a scalar: absolute ("l1") or squared ("l2").

    The vertical and the horizontal mean are added, so it does not grow with the image; a flat image has 0.
    Raises ValueError for another kind.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).item()
    1.0

    Source: Rudin, Osher & Fatemi 1992 ("l1"); Mahendran & Vedaldi 2015 (arXiv:1412.0035), eq. 5 ("l2").
    """
    if kind not in ("l1", "l2"):
        raise ValueError(f"The total variation {kind!r} is unknown: use kind='l1' or kind='l2'.")
    if not image.is_floating_point():
        raise ValueError(f"total_variation takes floating point numbers, but {image.dtype} came: use image.float().")
    size = torch.abs if kind == "l1" else torch.square
    parts = (image[..., 1:, :] - image[..., :-1, :], image[..., :, 1:] - image[..., :, :-1])
    return sum((size(part).mean() for part in parts if part.numel()), start=image.new_zeros(()))


@dataclass(frozen=True)
class Convention:
    """One choice of constants: the loss of a content layer, of a style layer, and how layers are put together."""

    name: str
    content: Callable[[Tensor, Tensor], Tensor]
    style: Callable[[Tensor, Tensor], Tensor]
    layers: str  # "mean" or "sum"

    def combine(self, losses: Iterable[Tensor], weights: Iterable[float]) -> Tensor:
        """One loss out of several layers' losses and their weights."""
        weights = list(weights)
        first, *others = (w * loss for w, loss in zip(weights, losses, strict=True))
        total = sum(others, first)
        return total / sum(weights) if self.layers == "mean" else total


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).sum(1)


def _relative(a: Tensor, b: Tensor) -> Tensor:
    # The floor keeps a black target, whose norm is 0, from giving 0/0.
    norm = b.square().flatten(1).sum(1).clamp_min(torch.finfo(b.dtype).tiny ** 0.5)
    return (_squares(a, b) / norm).mean()


CONVENTIONS = {
    c.name: c
    for c in (
        Convention("relative", _relative, _relative, "mean"),
        Convention(
            "gatys",
            lambda f, p: _squares(f, p).mean() / 2,
            lambda g, a: _squares(g, a).mean() / (4 * g.shape[-1] ** 2),
            "mean",
        ),
        Convention(
            "pytorch",
            lambda f, p: _squares(f, p).mean() / math.prod(f.shape[1:]),
            lambda g, a: _squares(g, a).mean() / g.shape[-1] ** 4,
            "sum",
        ),
    )
}


def get_convention(convention: str | Convention) -> Convention:
    """The convention of that name; raises ValueError with the names there are.

    >>> get_convention("gatys").layers
    'mean'
    """
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise ValueError(f"The convention {convention!r} is unknown: use one of {', '.join(CONVENTIONS)}.")
    return CONVENTIONS[convention]


class ContentLoss(nn.Module):
    """A transparent layer: gives its input back unchanged and keeps its distance to the content in `loss`.

    >>> layer = ContentLoss(torch.zeros(1, 2, 3, 3), convention="pytorch")
    >>> x = torch.ones(1, 2, 3, 3)
    >>> layer(x) is x, layer.loss.item()
    (True, 1.0)
    """

    target: Tensor

    def __init__(self, target: Tensor, *, weight: float = 1.0, convention: str | Convention = "relative") -> None:
        super().__init__()
        # Detached: the target is a constant, and its graph must not be kept alive or walked backwards.
        self.register_buffer("target", at_least_float32(target.detach()))
        self.weight, self.convention = weight, get_convention(convention)
        self.loss: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Keep the content loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        self.loss = content_loss(features, self.target, convention=self.convention)
        return features

    def extra_repr(self) -> str:
        """The target's shape, the weight and the convention, as they stand in the printed module."""
        return f"target={tuple(self.target.shape)}, weight={self.weight:g}, convention={self.convention.name!r}"


class StyleLoss(nn.Module):
    """A transparent layer: gives its input back unchanged and keeps its Gram matrix's distance to the style in `loss`.

    The target is a Gram matrix (1, C, C): `StyleLoss(gram_matrix(style_features))`. With another `statistic` of the
    features it is what that gives, (1, ...): then the convention has to be "relative", or one made for it.

    >>> layer = StyleLoss(gram_matrix(torch.ones(1, 2, 3, 3)))
    >>> x = torch.ones(1, 2, 5, 4)
    >>> layer(x) is x, layer.loss.item()
    (True, 0.0)
    """

    target: Tensor

    def __init__(
        self,
        target: Tensor,
        *,
        statistic: Statistic = gram_matrix,
        weight: float = 1.0,
        convention: str | Convention = "relative",
    ) -> None:
        super().__init__()
        if statistic is gram_matrix and (target.ndim != 3 or target.shape[-1] != target.shape[-2]):
            raise ValueError(
                f"StyleLoss takes a Gram matrix (B, C, C), but the shape {tuple(target.shape)} came: "
                "pass gram_matrix(features), not the features."
            )
        self.register_buffer("target", at_least_float32(target.detach()))
        self.statistic, self.weight, self.convention = statistic, weight, get_convention(convention)
        self.loss: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        self.loss = style_loss(self.statistic(features), self.target, convention=self.convention)
        return features

    extra_repr = ContentLoss.extra_repr


class TVLoss(nn.Module):
    """A transparent layer on the image itself: keeps its total variation in `loss`.

    >>> layer = TVLoss()
    >>> _ = layer(torch.ones(1, 3, 4, 4))
    >>> layer.loss.item()
    0.0
    """

    def __init__(self, *, kind: str = "l2") -> None:
        super().__init__()
        self.kind = kind
        self.loss: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Keep the total variation of the image (B, 3, H, W) in `loss`, and give it back unchanged."""
        self.loss = total_variation(image, kind=self.kind)
        return image

    def extra_repr(self) -> str:
        """The kind of variation, as it stands in the printed module."""
        return f"kind={self.kind!r}"


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32 where it came in half precision: sums over many positions lose digits there.

    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype, at_least_float32(torch.ones(1).double()).dtype
    (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in HALF_PRECISION else x


def _same_shape(a: Tensor, b: Tensor, what: str) -> None:
    if a.shape[1:] != b.shape[1:] or b.shape[0] not in (1, a.shape[0]):
        raise ValueError(
            f"{what} compares like with like, but the shapes {tuple(a.shape)} and {tuple(b.shape)} came: "
            "take both from the same layer, and the content at the image's own size."
        )
