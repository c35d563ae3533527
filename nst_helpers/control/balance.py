"""Weights that mean the same for every pair: each term's gradient is measured once, and divided by its norm.

With the weights alone, a run ends at about the same distance from the style, wherever it began. So it takes little of
a style that is near to the photo, and nearly everything of one that is far away. Balanced, each term pulls alike at the
start, and each run goes about the same share of its way, whatever pair, encoder, size and convention.

The style is measured at the photo, where most runs begin. The content's gradient is 0 there, so it is measured a small
step away, where the style pulls the photo: as soon as that happens, the content pulls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..model import LossFactors, LossTerm, Objective, Weights

__all__ = ["USUAL", "balancing_factors", "stepped"]

# The gradient norms of the three terms with the weights 1, 1 and 1, in those of the content. With the default weights a
# usual pair then keeps as much of its distance from the style as it does without balancing (tools/measure/balance.py).
USUAL = Weights(content=1.0, style=0.45, tv=0.01)
STEP = 0.02  # root mean square of what is added to the photo's pixels before the content is measured
FLAT = 1e-12  # a norm below this is a loss that pulls nowhere: there is nothing to balance


def balancing_factors(model: Objective, photo: Tensor) -> LossFactors:
    """What each loss is multiplied by so that the gradients of terms and layers are alike for a photo (1, 3, H, W).

    Each style layer's gradient has the same norm, times its weight, and so has each content layer's; each whole term's
    is that of `USUAL`. Calls the model once for each loss, so it also works where a graph serves one backward pass.

    >>> from nst_helpers import build_model
    >>> from nst_helpers.encoders import Architecture, Encoder
    >>> photo, style = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    >>> model = build_model(Encoder(Architecture("toy", ((4,), (4,)))), photo, style, content_layers=["relu2_1"],
    ...                     style_layers=["relu1_1"])
    >>> model.factors = balancing_factors(model, photo)
    >>> x = stepped(model, photo).requires_grad_(); _ = model(x)
    >>> round(torch.autograd.grad(model.content_loss(), x)[0].norm().item(), 4)
    1.0
    """

    def inverse(losses: Mapping[str, LossTerm], name: str, image: Tensor) -> float:
        return _inverse(_gradient(model, image, lambda: losses[name].loss))

    style = {name: inverse(model.style_losses, name, photo) for name in model.style_losses}
    model.factors = LossFactors(style=style)
    pull = _gradient(model, photo, model.style_loss)
    moved = _step(photo, pull)
    content = {name: inverse(model.content_losses, name, moved) for name in model.content_losses}
    model.factors = LossFactors(content=content)
    whole, strokes = USUAL.content * _inverse(_gradient(model, moved, model.content_loss)), USUAL.style * _inverse(pull)
    model.factors = LossFactors()
    return LossFactors(
        content={name: factor * whole for name, factor in content.items()},
        style={name: factor * strokes for name, factor in style.items()},
        tv=USUAL.tv * _inverse(_gradient(model, photo, lambda: model.tv_loss.loss)),
    )


def stepped(model: Objective, photo: Tensor) -> Tensor:
    """The photo (1, 3, H, W) after one small step to where the style pulls it; where no style pulls, as it is."""
    return _step(photo, _gradient(model, photo, model.style_loss))


def _step(photo: Tensor, pull: Tensor) -> Tensor:
    size = pull.square().mean().sqrt()
    return photo if size < FLAT else photo - (STEP / size * pull).to(photo)


def _gradient(model: Any, image: Tensor, loss: Callable[[], Tensor | None]) -> Tensor:
    """A loss's gradient at an image, in float32; 0 where it doesn't depend on it."""
    image = image.detach().clone().requires_grad_()
    model(image)
    value = loss()
    if value is None or not value.requires_grad:
        return torch.zeros_like(image, dtype=torch.float32)
    return torch.autograd.grad(value, image)[0].float()


def _inverse(gradient: Tensor) -> float:
    norm = gradient.norm().item()
    return 1 / norm if norm > FLAT else 1.0
