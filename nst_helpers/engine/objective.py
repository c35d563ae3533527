"""The objective of a run: pictures and settings to the model whose `total_loss` an optimisation lowers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..accel.accelerate import accelerate
from ..accel.graphs import CapturedModel
from ..accel.modes import plain_torch
from ..accel.tiling import TiledModel, build_tiled_model
from ..control.balance import balancing_factors
from ..control.masks import resize_mask
from ..encoders import Encoder
from ..images import scaled
from ..model import StyleModel, build_model
from .settings import Settings

__all__ = ["AnyModel", "build_objective"]

AnyModel = StyleModel | CapturedModel | TiledModel


@plain_torch()
def build_objective(
    encoder: Encoder,
    content: Tensor,
    styles: Sequence[Tensor],
    settings: Settings,
    size: tuple[int, int] | None = None,
) -> AnyModel:
    """The model of a prepared encoder for one scale: whole, captured or in tiles, as the settings say.

    `content` (1, 3, H, W) is brought to `size`, a height and width, and each style picture is scaled by the same
    factor; without a size both stay as they are. Masks are brought to their pictures' sizes. This is the one place
    where a run, a live session and the calibration build what they evaluate, and where `accelerate` puts the quicker
    twins of the layers in.

    Raises what `build_model` raises.

    >>> import torch
    >>> from nst_helpers.encoders import Architecture
    >>> picture, layers = torch.rand(1, 3, 32, 48), {"content_layers": ["relu2_1"], "style_layers": ["relu1_1"]}
    >>> encoder = Encoder(Architecture("toy", ((4,), (8,))))
    >>> model = build_objective(encoder, picture, [picture], Settings(**layers), (16, 24))
    >>> model.content_losses["relu2_1"].target.shape
    torch.Size([1, 8, 8, 12])
    """
    if size is not None:
        factor = size[0] / content.shape[-2]
        content, styles = scaled(content, size), [_scaled(style, factor) for style in styles]
    masks, style_masks = settings.masks, settings.style_masks
    losses: dict[str, Any] = {
        "content_layers": settings.content_layers,
        "style_layers": settings.style_layers,
        "layer_weights": settings.weights_of_layers,
        "style_mix": settings.style_mix,
        "masks": None if masks is None else [resize_mask(mask, like=content) for mask in masks],
        "content_map": None if settings.content_map is None else resize_mask(settings.content_map, like=content),
        "style_masks": None if style_masks is None else list(map(_fitted, style_masks, styles)),
        "convention": settings.convention,
        "tv_kind": settings.tv_kind,
    }
    model: AnyModel
    if settings.tile and settings.in_tiles((content.shape[-2], content.shape[-1])):
        model = build_tiled_model(encoder, content, list(styles), tile=settings.tile, **losses)
    else:
        model = accelerate(build_model(encoder, content, list(styles), **losses))
        model = CapturedModel(model) if settings.compiled and encoder.device.type == "cuda" else model
    if settings.balance == "gradients":
        model.factors = balancing_factors(model, content)
    return model


def _fitted(mask: Tensor | None, style: Tensor) -> Tensor | None:
    return None if mask is None else resize_mask(mask, like=style)


def _scaled(image: Tensor, factor: float) -> Tensor:
    h, w = image.shape[-2:]
    return scaled(image, (max(1, round(h * factor)), max(1, round(w * factor))))
