"""The one place where a model's layers give way to their quicker twins; the numbers stay the same.

The Gram matrix gets a backward pass written by hand (gram.py), which adds to the gradient that comes from the layers
behind where it lies. On a CPU pooling does too (pooling.py), and in half precision a ReLU and the maximum pooling
behind it become one layer where no loss reads the value between them. What concerns the encoder itself, its device,
number format and memory layout, is `prepare` in devices.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from ..encoders import Pool
from ..losses import HALF_PRECISION, StyleLoss, gram_matrix, style_loss
from ..model import StyleModel
from ..regions import RegionStyleLoss
from .gram import features_and_gram, fused_gram
from .pooling import AvgPool, MaxPoolReLU

__all__ = ["FusedStyleLoss", "accelerate"]


class FusedStyleLoss(StyleLoss):
    """A `StyleLoss` with the same loss and gradient, whose Gram matrix has a quicker backward pass."""

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        features, gram = features_and_gram(features)
        self.loss = style_loss(gram, self.target, convention=self.convention)
        return features


def accelerate(model: StyleModel) -> StyleModel:
    """A model of the same losses and gradients that takes less time; it shares the weights with the given one.

    >>> import torch
    >>> from nst_helpers import build_model, load_encoder
    >>> encoder, photo = load_encoder("mini"), torch.rand(1, 3, 32, 32)
    >>> model = accelerate(build_model(encoder, photo, photo))
    >>> type(model.relu1_1_style).__name__, type(model.pool1).__name__
    ('FusedStyleLoss', 'AvgPool')
    """
    styles = {name: _fused(layer) for name, layer in model.style_losses.items()}
    twins = {id(layer): styles[name] for name, layer in model.style_losses.items()}
    layers = [(name, twins.get(id(layer), layer)) for name, layer in model.named_children()]
    weight = next((layer.weight for _, layer in layers if isinstance(layer, nn.Conv2d)), None)
    if weight is not None and weight.device.type == "cpu":
        layers = list(_with_twins(layers, weight.dtype in HALF_PRECISION))
    return StyleModel(
        OrderedDict(layers),
        tv_loss=model.tv_loss,
        content_losses=model.content_losses,
        style_losses=styles,
        convention=model.convention,
    ).eval()


def _fused(layer: StyleLoss) -> StyleLoss:
    """The quicker twin of a style loss on Gram matrices; one on another statistic stays as it is."""
    if layer.statistic is not gram_matrix:
        return layer
    common: dict[str, Any] = {"weight": layer.weight, "convention": layer.convention}
    if isinstance(layer, RegionStyleLoss):
        return RegionStyleLoss(layer.target, masks=layer.masks, shares=layer.shares, statistic=fused_gram, **common)
    return FusedStyleLoss(layer.target, **common)


def _with_twins(layers: Iterable[tuple[str, nn.Module]], half: bool) -> Iterator[tuple[str, nn.Module]]:
    """The named layers of a CPU's model; two that follow each other may become one, by the name of the second."""
    waiting: tuple[str, nn.Module] | None = None
    for name, layer in layers:
        if waiting and (both := _as_one(waiting[1], layer, half)):
            yield name, both
            waiting = None
            continue
        if waiting:
            yield waiting
        waiting = name, AvgPool(layer.scale) if isinstance(layer, Pool) and layer.kind == "avg" else layer
    if waiting:
        yield waiting


def _as_one(first: nn.Module, second: nn.Module, half: bool) -> nn.Module | None:
    if half and isinstance(first, nn.ReLU) and isinstance(second, Pool) and second.kind == "max":
        return MaxPoolReLU()
    return None
