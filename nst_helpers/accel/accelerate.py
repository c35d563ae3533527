"""The one place where a model's layers give way to their quicker twins; the numbers stay the same.

The Gram matrix gets a backward pass written by hand (gram.py), which adds its part in place to the gradient of the
layers behind. On a CPU the losses (distances.py) and pooling (pooling.py) get one, too. There a ReLU works in the
memory of its convolution, unless a loss reads the value between the two. In half precision it looks at the signs alone
(relu.py), and becomes one layer with a maximum pooling behind it. `prepare` in devices.py does what concerns the
encoder itself: its device, number format and memory layout.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, TypeGuard

from torch import Tensor, nn

from ..encoders import Pool
from ..losses import HALF_PRECISION, ContentLoss, Convention, StyleLoss, TVLoss, content_loss, gram_matrix, style_loss
from ..model import StyleModel
from ..regions import RegionStyleLoss
from .distances import distance, factor_of, squared_variation
from .gram import features_and_gram, fused_gram
from .pooling import AvgPool, MaxPoolReLU
from .relu import SignReLU

__all__ = ["FusedStyleLoss", "accelerate"]


class FusedStyleLoss(StyleLoss):
    """A `StyleLoss` with the same loss and gradient, whose Gram matrix has a quicker backward pass."""

    def __init__(self, target: Tensor, *, weight: float = 1.0, convention: str | Convention = "relative") -> None:
        super().__init__(target, weight=weight, convention=convention)
        self.factor = factor_of(self.convention, "style", self.target)

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        features, gram = features_and_gram(features, self.target)
        if self.factor is None:
            self.loss = style_loss(gram, self.target, convention=self.convention)
        else:
            self.loss = distance(gram, self.target, self.factor)
        return features


class FusedContentLoss(ContentLoss):
    """A `ContentLoss` with the same loss and gradient in fewer operations."""

    def __init__(self, target: Tensor, *, weight: float = 1.0, convention: str | Convention = "relative") -> None:
        super().__init__(target, weight=weight, convention=convention)
        self.factor = factor_of(self.convention, "content", self.target)

    def forward(self, features: Tensor) -> Tensor:
        """Keep the content loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        if self.factor is None or features.shape[1:] != self.target.shape[1:]:
            self.loss = content_loss(features, self.target, convention=self.convention)
        else:
            self.loss = distance(features, self.target, self.factor)
        return features


class FusedTVLoss(TVLoss):
    """A `TVLoss` of the kind "l2" with the same loss and gradient in fewer operations."""

    def forward(self, image: Tensor) -> Tensor:
        """Keep the total variation of the image (B, 3, H, W) in `loss`, and give it back unchanged."""
        self.loss = squared_variation(image)
        return image


def accelerate(model: StyleModel) -> StyleModel:
    """A model of the same losses and gradients that takes less time; it shares the weights with the given one.

    >>> import torch
    >>> from nst_helpers import build_model, load_encoder
    >>> encoder, photo = load_encoder("mini"), torch.rand(1, 3, 32, 32)
    >>> model = accelerate(build_model(encoder, photo, photo))
    >>> type(model.relu1_1_style).__name__, type(model.pool1).__name__
    ('FusedStyleLoss', 'AvgPool')
    """
    weight = next((layer.weight for layer in model.children() if isinstance(layer, nn.Conv2d)), None)
    on_cpu = weight is not None and weight.device.type == "cpu"
    tv = model.tv_loss
    if on_cpu and type(tv) is TVLoss and tv.kind == "l2":
        tv = FusedTVLoss(kind="l2")
    contents = {name: _with_factor(layer) if on_cpu else layer for name, layer in model.content_losses.items()}
    styles = {name: _fused(layer) for name, layer in model.style_losses.items()}
    twins: dict[int, nn.Module] = {id(model.tv_loss): tv}
    twins |= {id(layer): contents[name] for name, layer in model.content_losses.items()}
    twins |= {id(layer): styles[name] for name, layer in model.style_losses.items()}
    layers = [(name, twins.get(id(layer), layer)) for name, layer in model.named_children()]
    if weight is not None and on_cpu:
        layers = list(_with_twins(layers, weight.dtype in HALF_PRECISION))
    return StyleModel(
        OrderedDict(layers), tv_loss=tv, content_losses=contents, style_losses=styles, convention=model.convention
    ).eval()


def _with_factor(layer: ContentLoss) -> ContentLoss:
    """The quicker twin of a content loss; one that weighs positions by a map stays as it is."""
    if type(layer) is not ContentLoss:
        return layer
    return FusedContentLoss(layer.target, weight=layer.weight, convention=layer.convention)


def _fused(layer: StyleLoss) -> StyleLoss:
    """The quicker twin of a style loss on Gram matrices; one on another statistic stays as it is."""
    if layer.statistic is not gram_matrix:
        return layer
    common: dict[str, Any] = {"weight": layer.weight, "convention": layer.convention}
    if isinstance(layer, RegionStyleLoss):
        return RegionStyleLoss(layer.target, masks=layer.masks, shares=layer.shares, statistic=fused_gram, **common)
    return FusedStyleLoss(layer.target, **common)


def _with_twins(layers: Iterable[tuple[str, nn.Module]], half: bool) -> Iterator[tuple[str, nn.Module]]:
    """The named layers of a CPU's model; a ReLU and a maximum pooling may become one, by the name of the pooling."""
    earlier: nn.Module | None = None
    for (name, layer), (_, later) in pairwise([*layers, ("", nn.Identity())]):
        if half and isinstance(layer, nn.ReLU) and _is_pool(later, "max"):
            pass
        elif half and isinstance(earlier, nn.ReLU) and _is_pool(layer, "max"):
            yield name, MaxPoolReLU()
        elif isinstance(earlier, nn.Conv2d) and isinstance(layer, nn.ReLU):
            yield name, SignReLU() if half else nn.ReLU(inplace=True)
        else:
            yield name, AvgPool(layer.scale) if _is_pool(layer, "avg") else layer
        earlier = layer


def _is_pool(layer: nn.Module, kind: str) -> TypeGuard[Pool]:
    return isinstance(layer, Pool) and layer.kind == kind
