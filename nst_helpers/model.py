"""The style transfer model: an encoder rebuilt with loss layers in it and trimmed after the last one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from .encoders import Encoder
from .errors import ImageError, LayerError
from .losses import ContentLoss, Convention, StyleLoss, TVLoss, get_convention, gram_matrix

__all__ = ["CONTENT_LAYERS", "STYLE_LAYERS", "Objective", "StyleModel", "Weights", "build_model", "style_targets"]

# After the ReLU, as in the code and the pictures of Gatys et al.; the mini encoder is also cut to match there.
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

    def content_loss(self) -> Tensor:
        """The content layers' losses as one scalar, by their weights and the convention."""
        return self._combine(self.content_losses.values())

    def style_loss(self) -> Tensor:
        """The style layers' losses as one scalar, by their weights and the convention."""
        return self._combine(self.style_losses.values())

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
        return total + tv_weight * _loss_of(self.tv_loss) if tv_weight else total

    def _combine(self, layers: Iterable[LossTerm]) -> Tensor:
        used = [layer for layer in layers if layer.weight]
        if not used:
            return torch.zeros_like(_loss_of(self.tv_loss))
        return self.convention.combine([_loss_of(layer) for layer in used], [layer.weight for layer in used])


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
) -> dict[str, Tensor]:
    """The Gram matrices of one style picture, or the mean of several by the weights in `mix`, per layer.

    The squared distance to a mixed Gram matrix differs from the mean of the squared distances by a constant alone, so
    both have the same gradient.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder = Encoder(Architecture("toy", ((4,),)))
    >>> style_targets(encoder, torch.rand(1, 3, 8, 8), ["relu1_1"])["relu1_1"].shape
    torch.Size([1, 4, 4])
    """
    styles = [styles] if isinstance(styles, Tensor) else list(styles)
    weights = [1.0] * len(styles) if mix is None else [float(w) for w in mix]
    if len(weights) != len(styles) or not styles or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(
            f"{len(styles)} style pictures and the mix {mix} came: give each picture one weight of 0 or more, "
            "not all of them 0."
        )
    targets: dict[str, Tensor] = {}
    with torch.no_grad():
        for style, weight in zip(styles, weights, strict=True):
            for name, features in encoder(style, layers).items():
                part = gram_matrix(features) * (weight / sum(weights))
                targets[name] = targets[name] + part if name in targets else part
    return targets


def build_model(
    encoder: Encoder,
    content: Tensor | None,
    style: Tensor | Sequence[Tensor] | None,
    *,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    layer_weights: Mapping[str, float] | None = None,
    style_mix: Sequence[float] | None = None,
    convention: str | Convention = "relative",
    tv_kind: str = "l2",
) -> StyleModel:
    """Rebuild the encoder with loss layers in it: a `StyleModel` that takes an image (B, 3, H, W).

    The targets are computed here, once, in one pass per picture and without a graph; the network ends at the last loss
    layer. The encoder itself is left as it was. `layer_weights` gives style (or content) layers a weight other than 1;
    several style pictures are mixed by `style_mix`. Either list of layers may be empty: content reconstruction and
    texture synthesis are style transfer with one half left out.

    Raises LayerError for an unknown layer or one that has a weight but no loss, ImageError for a picture too small.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder, image = Encoder(Architecture("toy", ((4,), (8,)))), torch.rand(1, 3, 8, 8)
    >>> model = build_model(encoder, image, image, content_layers=["relu2_1"], style_layers=["relu1_1"])
    >>> _ = model(image); print(*(name for name, _ in model.named_children()))
    tv normalize conv1_1 relu1_1 relu1_1_style pool1 conv2_1 relu2_1 relu2_1_content
    >>> model.total_loss(tv_weight=0).item()
    0.0

    Source: Gatys et al. 2016, section 2.3.
    """
    convention = get_convention(convention)
    content_layers, style_layers = encoder.check_layers(content_layers), encoder.check_layers(style_layers)
    weights = dict(layer_weights or {})
    used = {*content_layers, *style_layers}
    if not used:
        raise LayerError("The model has no content and no style layers: name at least one.")
    if stray := sorted(set(weights) - used):
        raise LayerError(
            f"The weights name {', '.join(stray)}, which have no loss: use only {', '.join(sorted(used))}."
        )

    for name, picture, layers_asked in (("content", content, content_layers), ("style", style, style_layers)):
        if picture is None and layers_asked:
            raise ImageError(f"There are {name} layers and no {name} picture: give one, or pass {name}_layers=[].")
    grams = style_targets(encoder, style, style_layers, mix=style_mix) if style is not None and style_layers else {}
    with torch.no_grad():
        features = encoder(content, content_layers) if content is not None and content_layers else {}

    # The copy's parameters are objects of their own over the same memory.
    memo = {id(p): nn.Parameter(p.data, requires_grad=False) for p in encoder.parameters()}
    tv = TVLoss(kind=tv_kind)
    layers: OrderedDict[str, nn.Module] = OrderedDict(tv=tv, normalize=copy.deepcopy(encoder.normalize))
    content_losses: dict[str, ContentLoss] = {}
    style_losses: dict[str, StyleLoss] = {}
    for name, layer in encoder.layers.items():
        if len(content_losses) == len(features) and len(style_losses) == len(grams):
            break
        layers[name] = copy.deepcopy(layer, memo)
        weight = weights.get(name, 1.0)
        if name in features:
            layers[f"{name}_content"] = content_losses[name] = ContentLoss(
                features[name], weight=weight, convention=convention
            )
        if name in grams:
            layers[f"{name}_style"] = style_losses[name] = StyleLoss(grams[name], weight=weight, convention=convention)
    model = StyleModel(
        layers, tv_loss=tv, content_losses=content_losses, style_losses=style_losses, convention=convention
    )
    return model.eval()
