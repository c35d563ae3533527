"""The style transfer model: an encoder rebuilt with loss layers in it and trimmed after the last one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .encoders import Encoder
from .errors import ImageError, LayerError, WeightsError
from .losses import ContentLoss, Convention, Statistic, StyleLoss, TVLoss, get_convention, gram_matrix
from .regions import (
    MappedContentLoss,
    RegionStyleLoss,
    check_regions,
    content_maps,
    layer_masks,
    mix_weights,
    region_guides,
    stacked,
)

__all__ = ["CONTENT_LAYERS", "STYLE_LAYERS", "LossFactors", "Objective", "StyleModel", "Weights", "build_model"]
__all__ += ["region_targets", "style_targets"]

# After the ReLU, as in the code and the pictures of Gatys et al. The mini encoder was also fitted to
# VGG-19 at these layers.
CONTENT_LAYERS = ("relu4_2",)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@dataclass(frozen=True)
class Weights:
    """The weights of the three parts of the total loss.

    Neither content nor style loss minds the finest grid of noise: the style's Gram matrices even ask for some, and what
    the encoder pools away is free to stay. A little squared total variation takes it out and leaves the strokes.
    """

    content: float = 1.0
    style: float = 100.0
    tv: float = 50.0


@dataclass(frozen=True)
class LossFactors:
    """What balances the losses before their weights: a factor for each layer's, 1 where none is given."""

    content: Mapping[str, float] = field(default_factory=dict)
    style: Mapping[str, float] = field(default_factory=dict)
    tv: float = 1.0


class LossTerm(Protocol):
    """What the total loss needs of a loss layer: its weight, and its loss for the image of the last call."""

    weight: float
    loss: Tensor | None


class Objective:
    """The total loss of a model with losses in it: what `StyleModel` and its twin in tiles have in common."""

    tv_loss: TVLoss
    content_losses: Mapping[str, LossTerm]
    style_losses: Mapping[str, LossTerm]
    convention: Convention
    factors = LossFactors()

    def content_loss(self) -> Tensor:
        """The content layers' losses as one scalar, by their weights and the convention."""
        return self._combine(self.content_losses, self.factors.content)

    def style_loss(self) -> Tensor:
        """The style layers' losses as one scalar, by their weights and the convention."""
        return self._combine(self.style_losses, self.factors.style)

    def total_loss(
        self,
        *,
        content_weight: float = Weights.content,
        style_weight: float = Weights.style,
        tv_weight: float = Weights.tv,
    ) -> Tensor:
        """The scalar to minimise, for the image of the last call.

        Raises LayerError where the model has not been called yet.

        Source: Gatys et al. 2016, eq. 7, and a total variation term.
        """
        total = content_weight * self.content_loss() + style_weight * self.style_loss()
        return total + tv_weight * self.factors.tv * _loss_of(self.tv_loss) if tv_weight else total

    def _combine(self, layers: Mapping[str, LossTerm], factors: Mapping[str, float]) -> Tensor:
        used = {name: layer for name, layer in layers.items() if layer.weight}
        if not used:
            return torch.zeros_like(_loss_of(self.tv_loss))
        losses = [factors.get(name, 1.0) * _loss_of(layer) for name, layer in used.items()]
        return self.convention.combine(losses, [layer.weight for layer in used.values()])


def _loss_of(layer: LossTerm | TVLoss) -> Tensor:
    if layer.loss is None:
        raise LayerError("The model has no losses yet: call model(image) first.")
    return layer.loss


class StyleModel(Objective, nn.Sequential):
    """An encoder with loss layers in it; after `model(image)` each loss layer's `loss` belongs to that image."""

    content_losses: dict[str, ContentLoss]
    style_losses: dict[str, StyleLoss]

    def __init__(
        self,
        layers: OrderedDict[str, nn.Module],
        *,
        tv_loss: TVLoss,
        content_losses: Mapping[str, ContentLoss],
        style_losses: Mapping[str, StyleLoss],
        convention: Convention,
    ) -> None:
        super().__init__(layers)
        # Plain attributes: the layers are registered once, as parts of the sequence.
        object.__setattr__(self, "tv_loss", tv_loss)
        self.content_losses, self.style_losses = dict(content_losses), dict(style_losses)
        self.convention = convention


def style_targets(
    encoder: Encoder,
    styles: Tensor | Sequence[Tensor],
    layers: Sequence[str],
    *,
    mix: Sequence[float] | None = None,
    statistic: Statistic = gram_matrix,
) -> dict[str, Tensor]:
    """The Gram matrices of one style picture, or the mean of several by the weights in `mix`, per layer.

    The squared distance to a mixed Gram matrix differs from the mean of the squared distances by a constant alone, so
    both have the same gradient. That holds of any `statistic`.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder = Encoder(Architecture("toy", ((4,),)))
    >>> style_targets(encoder, torch.rand(1, 3, 8, 8), ["relu1_1"])["relu1_1"].shape
    torch.Size([1, 4, 4])
    """
    styles = [styles] if isinstance(styles, Tensor) else list(styles)
    weights = mix_weights(len(styles), mix)
    targets: dict[str, Tensor] = {}
    with torch.no_grad():
        for style, weight in zip(styles, weights, strict=True):
            for name, features in encoder(style, layers).items():
                part = statistic(features) * (weight / sum(weights))
                targets[name] = targets[name] + part if name in targets else part
    return targets


def region_targets(
    encoder: Encoder,
    styles: Sequence[Tensor],
    layers: Sequence[str],
    *,
    masks: Sequence[Tensor | None] | None = None,
    statistic: Statistic = gram_matrix,
) -> dict[str, Tensor]:
    """The Gram matrices (R, C, C) of R style pictures per layer, each of the part that its mask (1, 1, H, W) gives.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder = Encoder(Architecture("toy", ((4,),)))
    >>> region_targets(encoder, [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 6, 6)], ["relu1_1"])["relu1_1"].shape
    torch.Size([2, 4, 4])
    """
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    with torch.no_grad():
        for style, mask in zip(styles, masks or [None] * len(styles), strict=True):
            guides = (
                {}
                if mask is None
                else layer_masks(encoder, stacked([mask], (style.shape[-2], style.shape[-1])), layers)
            )
            for name, features in encoder(style, layers).items():
                found[name].append(statistic(features, guides.get(name)))
    return {name: torch.cat(grams) for name, grams in found.items()}


def build_model(
    encoder: Encoder,
    content: Tensor | None,
    style: Tensor | Sequence[Tensor] | None,
    *,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    layer_weights: Mapping[str, float] | None = None,
    style_mix: Sequence[float] | None = None,
    masks: Sequence[Tensor] | None = None,
    style_masks: Sequence[Tensor | None] | None = None,
    content_map: Tensor | None = None,
    convention: str | Convention = "relative",
    tv_kind: str = "l2",
    statistic: Statistic = gram_matrix,
) -> StyleModel:
    """Rebuild the encoder with loss layers in it: a `StyleModel` that takes an image (B, 3, H, W).

    The targets are computed here, once, in one pass per picture and without a graph; the network ends at the last loss
    layer. The encoder itself is left as it was. `layer_weights` gives style (or content) layers a weight other than 1;
    several style pictures are mixed by `style_mix`. Either list of layers may be empty: content reconstruction and
    texture synthesis are style transfer with one half left out.

    With `masks` (1, 1, H, W) of the content's size, one for each style picture, each paints its own region and
    `style_mix` says how hard it pulls there; `style_masks` are of each style picture's own size, and say which part of
    it counts. `content_map` (1, 1, H, W) weighs the content loss by position; only its proportions count.
    `statistic` describes the style of a layer's features in place of the Gram matrix.

    Raises LayerError for an unknown layer or one that has a weight but no loss, ImageError for a picture too small, and
    MaskError for masks that don't fit.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder, image = Encoder(Architecture("toy", ((4,), (8,)))), torch.rand(1, 3, 8, 8)
    >>> model = build_model(encoder, image, image, content_layers=["relu2_1"], style_layers=["relu1_1"])
    >>> _ = model(image); print(*(name for name, _ in model.named_children()))
    tv normalize conv1_1 relu1_1 relu1_1_style pool1 conv2_1 relu2_1 relu2_1_content
    >>> model.total_loss(tv_weight=0).item()
    0.0

    Source: Gatys et al. 2016, section 2.3.
    """
    if not isinstance(encoder, Encoder):
        raise WeightsError(f"encoder is a {type(encoder).__name__}, expected an encoder: load_encoder gives one.")
    if layer_weights is not None and not isinstance(layer_weights, Mapping):
        raise LayerError(f"layer_weights is a {type(layer_weights).__name__}, expected weights, as {{'relu1_1': 2}}.")
    convention = get_convention(convention)
    content_layers, style_layers = encoder.check_layers(content_layers), encoder.check_layers(style_layers)
    weights, pictures = dict(layer_weights or {}), {"content": content, "style": style}
    _check_layers_asked({"content": content_layers, "style": style_layers}, pictures, weights)
    styles = [] if style is None else [style] if isinstance(style, Tensor) else list(style)
    check_regions(len(styles), masks, style_masks)
    targets: dict[str, Tensor] = {}
    guides: dict[str, dict[str, Any]] = {}
    if styles and style_layers and masks is None:
        targets = style_targets(encoder, styles, style_layers, mix=style_mix, statistic=statistic)
    elif styles and style_layers and masks is not None:
        whole = None if content is None else (content.shape[-2], content.shape[-1])
        guides = region_guides(encoder, masks, whole, style_layers, mix=style_mix)
        targets = region_targets(encoder, styles, style_layers, masks=style_masks, statistic=statistic)
    with torch.no_grad():
        features = encoder(content, content_layers) if content is not None and content_layers else {}
    maps = content_maps(encoder, content_map, content, list(features))

    # The copy's parameters are objects of their own over the same memory.
    memo = {id(p): nn.Parameter(p.data, requires_grad=False) for p in encoder.parameters()}
    tv = TVLoss(kind=tv_kind)
    layers: OrderedDict[str, nn.Module] = OrderedDict(tv=tv, normalize=copy.deepcopy(encoder.normalize))
    content_losses: dict[str, ContentLoss] = {}
    style_losses: dict[str, StyleLoss] = {}
    for name, layer in encoder.layers.items():
        if len(content_losses) == len(features) and len(style_losses) == len(targets):
            break
        layers[name] = copy.deepcopy(layer, memo)
        common: dict[str, Any] = {"weight": weights.get(name, 1.0), "convention": convention}
        if name in features:
            seen = features[name]
            loss = MappedContentLoss(seen, map=maps[name], **common) if maps else ContentLoss(seen, **common)
            layers[f"{name}_content"] = content_losses[name] = loss
        if name in targets:
            kind = RegionStyleLoss if guides else StyleLoss
            of_style = kind(targets[name], statistic=statistic, **guides.get(name, {}), **common)
            layers[f"{name}_style"] = style_losses[name] = of_style
    model = StyleModel(
        layers, tv_loss=tv, content_losses=content_losses, style_losses=style_losses, convention=convention
    )
    return model.eval()


def _check_layers_asked(
    layers: Mapping[str, Sequence[str]], pictures: Mapping[str, object], weights: Mapping[str, float]
) -> None:
    """Raise unless there is a layer, each weight has a layer, and each kind of layers has its picture."""
    used = {name for names in layers.values() for name in names}
    if not used:
        raise LayerError("The model has no content and no style layers: name at least one.")
    if stray := sorted(set(weights) - used):
        raise LayerError(
            f"The weights name {', '.join(stray)}, which have no loss: use only {', '.join(sorted(used))}."
        )
    for kind, names in layers.items():
        if pictures[kind] is None and names:
            raise ImageError(f"There are {kind} layers and no {kind} picture: give one, or pass {kind}_layers=[].")
