"""Large images: the loss and gradient of `build_model`'s model, evaluated in tiles, for a fraction of the memory.

A Gram matrix is a sum over positions and a content loss is one too, so both add up over tiles. What does not is the
backward pass: a tile's gradient needs the Gram matrix of the whole image. So there are two passes. The first, without
a graph, adds up Gram matrices and content distances; the second runs each tile again, with a graph, and sends the
gradient of the finished sums back through it.

Tiles overlap by as much as the convolutions reach, and only a tile's interior counts, so no seam can be seen: at the
image's own borders a tile ends where the image ends and is padded with zeros as the image would be. The reach of a
whole VGG is 70 pixels to each side, which makes tiles of 512 pixels work 1.6 times. So the network is cut after its
poolings (but the first) into segments whose tiles overlap by 4 to 8 positions; a segment's input, small after two
poolings, is kept whole between the passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders import Encoder
from ..errors import LayerError
from ..losses import Convention, StyleLoss, style_loss
from ..model import (
    CONTENT_LAYERS,
    STYLE_LAYERS,
    Objective,
    StyleModel,
    build_model,
)
from ..regions import RegionStyleLoss, check_regions, content_maps, layer_masks, region_guides, stacked
from .allocator import MMAP, release_memory
from .bands import BandedTVLoss
from .gram import rows_of
from .tile_grid import SegmentedEncoder, SegmentPass, TileBox
from .tile_sums import ContentTarget, add, add_grams, roots_over, squares

__all__ = ["TiledModel", "build_tiled_model"]


class TiledContentLoss:
    """A content layer's target (B, C, h, w), in the features' own format, and the loss of the last image."""

    def __init__(self, target: Tensor, weight: float, convention: Convention, map: Tensor | None = None) -> None:
        self.target, self.weight = target, weight
        self.map = map  # (1, 1, h, w), where positions don't count alike
        self.loss: Tensor | None = None
        norm = torch.stack([squares(image, map) for image in target])
        # The sum of squares is all that the tiles add up, so the conventions' constants are needed by themselves.
        if convention.name == "relative":
            self.factor = 1 / norm.clamp_min(torch.finfo(norm.dtype).tiny ** 0.5)
        elif convention.name in ("gatys", "pytorch"):
            self.factor = torch.full_like(norm, 0.5 if convention.name == "gatys" else 1 / target[0].numel())
        else:
            raise LayerError(f"Tiles know the conventions relative, gatys and pytorch, not {convention.name!r}.")


class TiledModel(Objective, nn.Module):
    """Like a `StyleModel`: after `model(image)` its losses belong to that image and `total_loss` has its gradient.

    An image is (B, 3, H, W) of the content's height and width. Made by `build_tiled_model`.
    """

    content_losses: dict[str, TiledContentLoss]
    style_losses: dict[str, StyleLoss]

    def __init__(
        self,
        network: SegmentedEncoder,
        untiled: StyleModel,
        targets: Mapping[str, Tensor],
        size: tuple[int, int] | None,
        maps: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.size = size  # the content's height and width
        self.network, self.normalize, self.convention = network, network.encoder.normalize, untiled.convention
        self.content_losses = {
            name: TiledContentLoss(targets[name], layer.weight, untiled.convention, maps.get(name))
            for name, layer in untiled.content_losses.items()
        }
        self.style_losses, self.tv_loss = untiled.style_losses, BandedTVLoss(kind=untiled.tv_loss.kind)

    def forward(self, image: Tensor) -> None:
        """Evaluate the losses of an image (B, 3, H, W). Raises ImageError and ValueError for one that doesn't fit."""
        self.network.encoder.check_image(image, self.network.names)
        if self.size not in (None, tuple(image.shape[-2:])):
            raise ValueError(
                f"content_loss compares like with like, but an image of {tuple(image.shape[-2:])} came for a "
                f"content of {self.size}: take the content at the image's own size."
            )
        # The last image's graph goes before there is another.
        for content in self.content_losses.values():
            content.loss = None
        for style in self.style_losses.values():
            style.loss = None
        # Total variation comes first, so that its backward pass comes last, when the tiles' memory is free again.
        self.tv_loss(image)
        targets = {name: ContentTarget(layer.target, layer.map) for name, layer in self.content_losses.items()}
        styles = {
            name: layer.masks if isinstance(layer, RegionStyleLoss) else None
            for name, layer in self.style_losses.items()
        }
        sums = _Tiles.apply(image, self.network, targets, styles)
        for content, total in zip(self.content_losses.values(), sums, strict=False):
            content.loss = (total * content.factor).mean()
        for style, grams in zip(self.style_losses.values(), sums[len(targets) :], strict=True):
            if isinstance(style, RegionStyleLoss):
                style.loss = style.compare(grams)
            else:
                style.loss = style_loss(grams[0], style.target, convention=self.convention)


class _Tiles(torch.autograd.Function):
    """Image to each content layer's sum of squared differences (B,) and each style layer's Gram matrices (R, B, C, C).

    `styles` names the style layers, each with its regions' masks (R, 1, h, w), or None for the one Gram matrix of all.
    """

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        network: SegmentedEncoder,
        targets: Mapping[str, ContentTarget],
        styles: Mapping[str, Tensor | None],
    ) -> tuple[Tensor, ...]:
        sums: dict[str, Tensor] = {}

        def see(name: str, features: Tensor, box: TileBox, stride: int) -> None:
            if name in targets:
                difference, part = targets[name].difference(features, box, stride)
                add(sums, f"content {name}", torch.stack([squares(d, part) for d in difference]))
            if name in styles:
                add_grams(sums, name, features, styles[name], box, stride)

        ctx.passes = network.forward_pass(image, see, keep_graphs=ctx.needs_input_grad[0])
        # Targets alone: a loss layer here would hold its loss, whose graph holds this, out of the collector's sight.
        ctx.network, ctx.targets, ctx.styles = network, targets, styles
        ctx.weights = {n: sums[f"weights {n}"] for n in styles}
        ctx.save_for_backward(image)
        ctx.set_materialize_grads(False)
        return (*(sums[f"content {n}"] for n in targets), *(sums[f"style {n}"] / ctx.weights[n] for n in styles))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        _ = ctx.saved_tensors  # PyTorch complains here where the image was changed since.
        passes: list[SegmentPass] = ctx.passes
        if not passes:
            raise RuntimeError("The tiles' sums have been differentiated once already: call model(image) again.")
        count = len(ctx.targets)
        contents = {n: g for n, g in zip(ctx.targets, grads[:count], strict=True) if g is not None}
        styles = {
            n: (g + g.transpose(2, 3)) / ctx.weights[n]
            for n, g in zip(ctx.styles, grads[count:], strict=True)
            if g is not None
        }

        def gradient(name: str, features: Tensor, box: TileBox, stride: int) -> Tensor | None:
            total = None
            if name in contents:
                difference, part = ctx.targets[name].difference(features, box, stride)
                total = difference * (2 * contents[name]).view(-1, 1, 1, 1).to(features.dtype)
                total = total if part is None else total.mul_(part)
            if name in styles:
                b, c, h, w = features.shape
                for root, both in zip(roots_over(features, ctx.styles[name], box, stride), styles[name], strict=True):
                    rows = rows_of(features if root is None else features * root)
                    pull = torch.bmm(rows, both.to(features.dtype)).view(b, h, w, c).permute(0, 3, 1, 2)
                    pull = pull if root is None else pull.mul_(root)
                    total = pull if total is None else total.add_(pull)
            return total

        total = ctx.network.backward_pass(passes, gradient)
        _let_go(total)
        return total, None, None, None


def build_tiled_model(
    encoder: Encoder,
    content: Tensor | None,
    style: Tensor | Sequence[Tensor] | None,
    *,
    tile: int = 512,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    layer_weights: Mapping[str, float] | None = None,
    style_mix: Sequence[float] | None = None,
    masks: Sequence[Tensor] | None = None,
    style_masks: Sequence[Tensor | None] | None = None,
    content_map: Tensor | None = None,
    convention: str | Convention = "relative",
    tv_kind: str = "l2",
) -> TiledModel:
    """What `build_model` builds, evaluated in tiles of about `tile` pixels a side; the pictures are taken in tiles too.

    The loss and its gradient are those of `build_model`'s model up to rounding. An evaluation takes half as long again,
    since each tile is run twice; a tile as large as the image costs nothing extra and saves nothing.

    Raises what `build_model` raises, LayerError for a convention of one's own, ValueError for a tile under 32 pixels.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder, image = Encoder(Architecture("toy", ((4,), (8,)))), torch.rand(1, 3, 70, 90)
    >>> model = build_tiled_model(encoder, image, image, tile=32, content_layers=["relu2_1"], style_layers=["relu1_1"])
    >>> model(image); round(model.total_loss(tv_weight=0).item(), 6)
    0.0
    """
    styles = [] if style is None else [style] if isinstance(style, Tensor) else list(style)
    # The untiled model of a tiny picture checks all that came, and knows layers, weights and conventions.
    tiny = torch.zeros(1, 3, 64, 64).to(encoder.device, encoder.dtype)
    untiled = build_model(
        encoder,
        None if content is None else tiny,
        None if style is None else [tiny for _ in styles],
        content_layers=content_layers,
        style_layers=style_layers,
        layer_weights=layer_weights,
        style_mix=style_mix,
        convention=convention,
        tv_kind=tv_kind,
    )
    check_regions(len(styles), masks, style_masks)
    whole = None if content is None else (content.shape[-2], content.shape[-1])
    if names := list(untiled.style_losses):
        network, mix = SegmentedEncoder(encoder, names, tile), style_mix or [1.0] * len(styles)
        parts = [_grams(network, *pair) for pair in zip(styles, style_masks or [None] * len(styles), strict=True)]
        grams = {name: torch.cat([part[name] for part in parts]) for name in names}
        guides = None if masks is None else region_guides(encoder, masks, whole, names, mix=style_mix)
        for name, layer in untiled.style_losses.items():
            if guides:
                common: dict[str, Any] = {"weight": layer.weight, "convention": layer.convention}
                untiled.style_losses[name] = RegionStyleLoss(grams[name], **guides[name], **common)
            else:
                layer.target = (grams[name] * grams[name].new_tensor(mix).view(-1, 1, 1) / sum(mix)).sum(
                    0, keepdim=True
                )
    targets: dict[str, Tensor] = {}
    size: tuple[int, int] | None = None
    if content is not None and (names := list(untiled.content_losses)):
        targets, size = _features(SegmentedEncoder(encoder, names, tile), content), whole
    maps = content_maps(encoder, content_map, content, list(targets))
    network = SegmentedEncoder(encoder, [*targets, *untiled.style_losses], tile)
    _let_go(content)
    return TiledModel(network, untiled, targets, size, maps)


@torch.no_grad()
def _grams(network: SegmentedEncoder, image: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """The Gram matrices (1, C, C) of a style picture, or of what its mask (1, 1, H, W) cuts out."""
    sums: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    masks: Mapping[str, Tensor] = {}
    if mask is not None:
        masks = layer_masks(network.encoder, stacked([mask], (image.shape[-2], image.shape[-1])), network.names)

    def see(name: str, features: Tensor, box: TileBox, stride: int) -> None:
        add_grams(sums, name, features, masks.get(name), box, stride)

    network.forward_pass(image, see)
    return {name: (sums[f"style {name}"] / sums[f"weights {name}"])[0] for name in network.names}


@torch.no_grad()
def _features(network: SegmentedEncoder, image: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    positions = network.positions(image)

    def see(name: str, features: Tensor, box: TileBox, stride: int) -> None:
        if name not in found:
            shape = (*features.shape[:2], *positions[name])
            found[name] = features.new_empty(shape).contiguous(memory_format=torch.channels_last)
        box.place(found[name], stride).copy_(features)

    network.forward_pass(image, see)
    return found


def _let_go(content: Tensor | None) -> None:
    """Hand the tiles' memory to the system, so that an optimiser's large vectors don't come on top of it.

    Tiles are small enough to stay with the process when they are done; whole images from 32 MB on are not, and beside
    an evaluation of one, fetching the memory again takes no time.
    """
    if content is not None and content.device.type == "cpu" and content.nbytes >= MMAP:
        release_memory()
