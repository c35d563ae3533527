"""Weights that mean the same for every pair: each term's gradient is measured once, and divided by its norm.

The convention `relative` already takes out the scale of encoder and picture; the others don't, and in none of them do
two styles pull alike. Balanced, the gradients' norms are known, whatever the convention: those that the default weights
have for a usual pair.

At the photo itself the content's gradient is 0. So the norms are taken at the style picture, cut to the photo's shape
and turned upside down: the content pulls fully there, and the style as little as it does at the end of a run. Upright,
a style picture of the photo's own size would not pull at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..images import scaled
from ..model import LossFactors, LossTerm, Objective, Weights
from ..regions import stacked

__all__ = ["USUAL", "balancing_factors", "style_laid_over"]

# The gradient norms of the three terms with the weights 1, 1 and 1, in those of the content: medians over six of the
# course's pairs with the mini encoder (tools/measure/balance.py).
USUAL = Weights(content=1.0, style=0.45, tv=0.01)
FLAT = 1e-12  # a norm below this is a loss that pulls nowhere: there is nothing to balance


def balancing_factors(model: Objective, image: Tensor) -> LossFactors:
    """What each loss is multiplied by so that at an image (1, 3, H, W) the gradients of terms and layers are alike.

    Each style layer's gradient has the same norm, times its weight, and so has each content layer's; each whole term's
    is that of `USUAL`. Calls the model once for each loss, so it also works where a graph serves one backward pass.

    >>> from nst_helpers import build_model
    >>> from nst_helpers.encoders import Architecture, Encoder
    >>> photo, style = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    >>> model = build_model(Encoder(Architecture("toy", ((4,), (4,)))), photo, style, content_layers=["relu2_1"],
    ...                     style_layers=["relu1_1"])
    >>> x = style.clone().requires_grad_()
    >>> model.factors = balancing_factors(model, x); _ = model(x)
    >>> round(torch.autograd.grad(model.content_loss(), x)[0].norm().item(), 4)
    1.0
    """
    image = image.detach().clone().requires_grad_()

    def inverse(losses: Mapping[str, LossTerm], name: str) -> float:
        return _inverse(_norm(model, image, lambda: losses[name].loss))

    content = {name: inverse(model.content_losses, name) for name in model.content_losses}
    style = {name: inverse(model.style_losses, name) for name in model.style_losses}
    model.factors = LossFactors(content, style)
    whole = USUAL.content * _inverse(_norm(model, image, model.content_loss))
    strokes = USUAL.style * _inverse(_norm(model, image, model.style_loss))
    model.factors = LossFactors()
    return LossFactors(
        content={name: pull * whole for name, pull in content.items()},
        style={name: pull * strokes for name, pull in style.items()},
        tv=USUAL.tv * _inverse(_norm(model, image, lambda: model.tv_loss.loss)),
    )


def style_laid_over(
    content: Tensor, styles: Sequence[Tensor], masks: Sequence[Tensor] | None, mix: Sequence[float] | None
) -> Tensor:
    """The style upside down, cut to the content's shape (1, 3, H, W): of several the first in weight, or by masks all.

    >>> style_laid_over(torch.rand(1, 3, 4, 6), [torch.zeros(1, 3, 8, 8)], None, None).shape
    torch.Size([1, 3, 4, 6])
    """
    size = (content.shape[-2], content.shape[-1])
    weights = list(mix or [1.0] * len(styles))
    if masks is None:
        return scaled(styles[weights.index(max(weights))], size, crop=True).flip(2, 3)
    regions = stacked(masks, size)
    laid = [
        region * scaled(style, size, crop=True).flip(2, 3)
        for region, style in zip(regions.split(1), styles, strict=True)
    ]
    return torch.stack(laid).sum(0) + (1 - regions.sum(0, keepdim=True)) * content


def _norm(model: Any, image: Tensor, loss: Callable[[], Tensor | None]) -> float:
    """The norm of a loss's gradient at an image; 0 where it doesn't depend on it."""
    model(image)
    value = loss()
    if value is None or not value.requires_grad:
        return 0.0
    return torch.autograd.grad(value, image)[0].float().norm().item()


def _inverse(norm: float) -> float:
    return 1 / norm if norm > FLAT else 1.0
