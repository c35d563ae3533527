"""The one place where a model's layers give way to their quicker twins; the numbers stay the same.

Two twins are put in. The Gram matrix gets a backward pass written by hand (gram.py). And where a ReLU is followed by a
maximum pooling and nothing reads the value between them, the two change places: the largest of four is the same before
ReLU as after it, and leaves ReLU a quarter of the work. What concerns the encoder itself, its device, number format and
memory layout, is `prepare` in devices.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from ..encoders import Pool
from ..losses import StyleLoss, style_loss
from ..model import StyleModel
from ..regions import RegionStyleLoss
from .gram import fused_gram

__all__ = ["FusedStyleLoss", "accelerate"]


class FusedStyleLoss(StyleLoss):
    """A `StyleLoss` with the same loss and gradient, whose Gram matrix has a quicker backward pass."""

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        self.loss = style_loss(fused_gram(features), self.target, convention=self.convention)
        return features


class FusedRegionStyleLoss(RegionStyleLoss):
    """The same for regions."""

    statistic = staticmethod(fused_gram)


def accelerate(model: StyleModel) -> StyleModel:
    """A model of the same losses and gradients that takes less time; it shares the other layers with the given one.

    >>> import torch
    >>> from nst_helpers import build_model, load_encoder
    >>> encoder, photo = load_encoder("mini", pool="max"), torch.rand(1, 3, 32, 32)
    >>> names = [name for name, _ in accelerate(build_model(encoder, photo, photo)).named_children()]
    >>> names[names.index("conv1_2") : names.index("conv2_1")]
    ['conv1_2', 'pool1', 'relu1_2']
    """
    styles = {name: _fused(layer) for name, layer in model.style_losses.items()}
    twins = {id(layer): styles[name] for name, layer in model.style_losses.items()}
    layers = [(name, twins.get(id(layer), layer)) for name, layer in model.named_children()]
    return StyleModel(
        OrderedDict(_pooling_first(layers)),
        tv_loss=model.tv_loss,
        content_losses=model.content_losses,
        style_losses=styles,
        convention=model.convention,
    ).eval()


def _fused(layer: StyleLoss) -> StyleLoss:
    common: dict[str, Any] = {"weight": layer.weight, "convention": layer.convention}
    if isinstance(layer, RegionStyleLoss):
        return FusedRegionStyleLoss(layer.target, masks=layer.masks, shares=layer.shares, **common)
    return FusedStyleLoss(layer.target, **common)


def _pooling_first(layers: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """The named layers, each maximum pooling before the ReLU that stood right before it."""
    waiting: tuple[str, nn.Module] | None = None
    for named in layers:
        layer = named[1]
        if waiting and not (isinstance(layer, Pool) and layer.kind == "max"):
            yield waiting
            waiting = None
        if isinstance(layer, nn.ReLU):
            waiting = named
        else:
            yield named
    if waiting:
        yield waiting
