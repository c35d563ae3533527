"""Where in the picture a style or the content counts: masks brought to each layer, and the losses that use them.

A mask is (1, 1, H, W) with weights in [0, 1], white for what belongs to a region. Each layer sees it through the same
poolings as the picture, as averages, so a position of the layer has the share of the region that its pixels have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .encoders import Encoder, Pool
from .errors import MaskError
from .losses import (
    ContentLoss,
    Convention,
    Statistic,
    StyleLoss,
    at_least_float32,
    content_loss,
    gram_matrix,
    style_loss,
)

__all__ = ["MappedContentLoss", "RegionStyleLoss", "check_regions", "content_maps", "layer_maps", "layer_masks"]
__all__ += ["mix_weights", "region_guides", "region_shares", "stacked"]


def stacked(masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """R masks (1, 1, H, W) as one tensor (R, 1, H, W), checked; where their sum is above 1, it is scaled down to 1.

    Where the sum is below 1, the rest belongs to no region: no style pulls there.
    Raises MaskError for a mask of another height and width than `size`, or one that is empty.

    >>> halves = torch.tensor([[[[1.0, 1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0, 0.5]]]])
    >>> stacked(halves, (1, 3)).flatten(1).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    for number, mask in enumerate(masks, 1):
        if mask.shape != (1, 1, *size):
            raise MaskError(
                f"Mask {number} is {tuple(mask.shape)}, expected (1, 1, {size[0]}, {size[1]}), the size of its "
                "picture: load_mask(path, size=...) makes one, or find_regions."
            )
        if not mask.any():
            raise MaskError(f"Mask {number} is black all over: white is what belongs to the region.")
    masks_ = torch.cat(list(masks))
    return masks_ / masks_.sum(0, keepdim=True).clamp_min(1)


def region_shares(masks: Tensor, mix: Sequence[float] | None = None) -> list[float]:
    """The share of the image's area that each of the masks (R, 1, H, W) has, times its weight over the largest of them.

    >>> region_shares(torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]], [[[0.0, 1.0, 1.0, 1.0]]]]), [1, 0])
    [0.25, 0.0]
    """
    mix = [1.0] * len(masks) if mix is None else mix
    return [area * weight / max(mix) for area, weight in zip(masks.mean((1, 2, 3)).tolist(), mix, strict=True)]


def layer_masks(encoder: Encoder, masks: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
    """The masks (R, 1, H, W) at each layer's height and width, pooled as the encoder pools, by averages.

    Raises MaskError where a mask is empty at a layer: a pooling leaves out an odd last row or column.

    >>> from nst_helpers.encoders import Architecture
    >>> mask = torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]])
    >>> layer_masks(Encoder(Architecture("toy", ((4,), (4,)))), mask, ["relu2_1"])["relu2_1"].tolist()
    [[[[1.0]]]]
    """
    found = layer_maps(encoder, masks, layers)
    for name, pooled in found.items():
        for number, region in enumerate(pooled, 1):
            if not region.any():
                raise MaskError(
                    f"Mask {number} is empty at {name}, which has {pooled.shape[-1]} x {pooled.shape[-2]} positions: "
                    "make the region larger, or leave that layer out."
                )
    return found


def layer_maps(encoder: Encoder, maps: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
    """Any maps (R, 1, H, W) of weights at each layer's height and width, pooled as the encoder pools, by averages.

    >>> from nst_helpers.encoders import Architecture
    >>> layer_maps(Encoder(Architecture("toy", ((4,), (4,)))), torch.eye(2)[None, None], ["relu2_1"])["relu2_1"].item()
    0.5
    """
    missing, found = set(encoder.check_layers(layers)), {}
    for name, layer in encoder.layers.items():
        if not missing:
            break
        if isinstance(layer, Pool):
            maps = F.avg_pool2d(maps, 2)
        if name in missing:
            found[name] = maps
            missing.discard(name)
    return found


def mix_weights(styles: int, mix: Sequence[float] | None) -> list[float]:
    """The weight of each of so many style pictures, 1 where there is no mix; ValueError for a mix that doesn't fit.

    >>> mix_weights(2, None), mix_weights(2, [3, 1])
    ([1.0, 1.0], [3.0, 1.0])
    """
    weights = [1.0] * styles if mix is None else [float(w) for w in mix]
    if len(weights) != styles or not styles or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(
            f"{styles} style pictures and the mix {mix} came: give each picture one weight of 0 or more, "
            "not all of them 0."
        )
    return weights


def check_regions(
    styles: int, masks: Sequence[Tensor | None] | None, style_masks: Sequence[Tensor | None] | None = None
) -> None:
    """Raise MaskError unless there is one mask for each style picture, where there are masks.

    >>> check_regions(2, [torch.ones(1, 1, 4, 4)])
    Traceback (most recent call last):
    nst_helpers.errors.MaskError: The number of masks is 1, that of style pictures 2: give one mask for each.
    """
    if style_masks is not None and masks is None:
        raise MaskError("There are style_masks and no masks: say with masks= where each of the styles goes.")
    for name, given in (("masks", masks), ("style_masks", style_masks)):
        if given is not None and len(given) != styles:
            raise MaskError(
                f"The number of {name} is {len(given)}, that of style pictures {styles}: give one mask for each."
            )


def region_guides(
    encoder: Encoder,
    masks: Sequence[Tensor],
    size: tuple[int, int] | None,
    layers: Sequence[str],
    *,
    mix: Sequence[float] | None = None,
) -> dict[str, dict[str, Any]]:
    """What each layer's `RegionStyleLoss` needs of the masks (1, 1, H, W): `masks` at its size, and the `shares`.

    Raises MaskError for masks that don't fit, ValueError for a mix that doesn't.

    >>> from nst_helpers.encoders import Architecture
    >>> mask = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]] * 2]])
    >>> region_guides(Encoder(Architecture("toy", ((4,),))), [mask], None, ["pool1"])["pool1"]
    {'masks': tensor([[[[1., 0.]]]]), 'shares': [0.5]}
    """
    regions = stacked(masks, size or (masks[0].shape[-2], masks[0].shape[-1]))
    shares = region_shares(regions, mix_weights(len(masks), mix))
    return {name: {"masks": found, "shares": shares} for name, found in layer_masks(encoder, regions, layers).items()}


def content_maps(
    encoder: Encoder, content_map: Tensor | None, content: Tensor | None, layers: Sequence[str]
) -> dict[str, Tensor]:
    """The content map (1, 1, H, W) at each of the content layers, with a mean of 1; {} where there is none.

    Raises MaskError for a map of another height and width than the content, or one without a weight above 0.

    >>> from nst_helpers.encoders import Architecture
    >>> photo, weights = torch.rand(1, 3, 1, 2), torch.tensor([[[[1.0, 3.0]]]])
    >>> content_maps(Encoder(Architecture("toy", ((4,),))), weights, photo, ["conv1_1"])
    {'conv1_1': tensor([[[[0.5000, 1.5000]]]])}
    """
    if content_map is None or content is None:
        return {}
    if content_map.shape != (1, 1, *content.shape[-2:]) or not content_map.sum() > 0:
        raise MaskError(
            f"content_map is {tuple(content_map.shape)}, expected (1, 1, {content.shape[-2]}, {content.shape[-1]}) "
            "with weights above 0: detail_map(content) gives one."
        )
    return {name: map / map.mean() for name, map in layer_maps(encoder, content_map, layers).items()}


class MappedContentLoss(ContentLoss):
    """A `ContentLoss` that counts each position by a map (1, 1, H, W) of weights, at the target's height and width.

    >>> layer = MappedContentLoss(torch.ones(1, 2, 1, 2), map=torch.tensor([[[[2.0, 0.0]]]]))
    >>> _ = layer(torch.tensor([[[[1.0, 9.0]], [[1.0, 9.0]]]]))
    >>> layer.loss.item()
    0.0
    """

    root: Tensor

    def __init__(self, target: Tensor, *, map: Tensor, weight: float = 1.0, convention: str | Convention = "relative"):
        # Both sides times the root: then each square has its weight, and so has the norm that `relative` divides by.
        super().__init__(target * map.sqrt().to(target), weight=weight, convention=convention)
        self.register_buffer("root", map.sqrt().to(self.target))

    def forward(self, features: Tensor) -> Tensor:
        """Keep the weighted content loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        self.loss = content_loss(at_least_float32(features) * self.root, self.target, convention=self.convention)
        return features


class RegionStyleLoss(StyleLoss):
    """A `StyleLoss` for each of R regions: what their masks (R, 1, H, W) cut out, against targets (R, C, C).

    The loss is the sum of the regions' losses by their `shares`, the area that each of them has of the image. So each
    position is pulled as hard as it is without regions, whatever the size of its own.

    >>> left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    >>> layer = RegionStyleLoss(torch.tensor([[[4.0]], [[9.0]]]), masks=torch.cat([left, right]), shares=[0.5, 0.5])
    >>> _ = layer(torch.tensor([[[[2.0, 3.0]]]]))
    >>> layer.loss.item()
    0.0

    Source: Gatys et al. 2017 (arXiv:1611.07865), section 4.
    """

    masks: Tensor

    def __init__(
        self,
        target: Tensor,
        *,
        masks: Tensor,
        shares: Sequence[float],
        statistic: Statistic = gram_matrix,
        weight: float = 1.0,
        convention: str | Convention = "relative",
    ) -> None:
        super().__init__(target, statistic=statistic, weight=weight, convention=convention)
        self.register_buffer("masks", masks)
        self.shares = tuple(shares)

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features (B, C, H, W) in `loss`, and give them back unchanged."""
        self.loss = self.compare([self.statistic(features, mask[None]) for mask in self.masks])
        return features

    def compare(self, found: Iterable[Tensor]) -> Tensor:
        """The loss of the statistics that were found in the regions, Gram matrices (B, C, C) or others."""
        regions = zip(self.shares, found, self.target, strict=True)
        losses = [share * style_loss(one, target[None], convention=self.convention) for share, one, target in regions]
        return torch.stack(losses).sum()
