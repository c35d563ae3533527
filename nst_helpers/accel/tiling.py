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

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders import Encoder
from ..errors import LayerError
from ..losses import Convention, StyleLoss, TVLoss, at_least_float32, style_loss
from ..model import CONTENT_LAYERS, STYLE_LAYERS, Objective, StyleModel, build_model
from .allocator import MMAP, give_back
from .gram import gram_sum, rows_of
from .tile_grid import Box, SegmentedEncoder, SegmentPass

__all__ = ["TiledModel", "build_tiled_model"]

BAND = 256  # rows of the image whose total variation is taken at a time


class TiledContentLoss:
    """A content layer's target (B, C, h, w), in the features' own format, and the loss of the last image."""

    def __init__(self, target: Tensor, weight: float, convention: Convention) -> None:
        self.target, self.weight = target, weight
        self.loss: Tensor | None = None
        norm = torch.stack([_squares(image) for image in target])
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
    ) -> None:
        super().__init__()
        self.size = size  # the content's height and width
        self.network, self.normalize, self.convention = network, network.encoder.normalize, untiled.convention
        self.content_losses = {
            name: TiledContentLoss(targets[name], layer.weight, untiled.convention)
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
        targets = {name: layer.target for name, layer in self.content_losses.items()}
        sums = _Tiles.apply(image, self.network, targets, tuple(self.style_losses))
        for content, total in zip(self.content_losses.values(), sums, strict=False):
            content.loss = (total * content.factor).mean()
        for style, gram in zip(self.style_losses.values(), sums[len(targets) :], strict=True):
            style.loss = style_loss(gram, style.target, convention=self.convention)


class _Tiles(torch.autograd.Function):
    """Image to each content layer's sum of squared differences (B,) and each style layer's Gram matrix (B, C, C)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, network: SegmentedEncoder, targets: Mapping[str, Tensor], styles: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        sums: dict[str, Tensor] = {}

        def see(name: str, features: Tensor, box: Box, stride: int) -> None:
            if name in targets:
                difference = features - box.place(targets[name], stride)
                _add(sums, f"content {name}", torch.stack([_squares(d) for d in difference]))
            if name in styles:
                _add(sums, f"style {name}", gram_sum(features))

        ctx.passes = network.forward_pass(image, see, keep_graphs=ctx.needs_input_grad[0])
        # Targets alone: a loss layer here would hold its loss, whose graph holds this, out of the collector's sight.
        ctx.network, ctx.targets, ctx.styles = network, targets, styles
        ctx.positions = positions = network.positions(image)
        ctx.save_for_backward(image)
        ctx.set_materialize_grads(False)
        return (
            *(sums[f"content {n}"] for n in targets),
            *(sums[f"style {n}"] / math.prod(positions[n]) for n in styles),
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        _ = ctx.saved_tensors  # PyTorch complains here where the image was changed since.
        passes: list[SegmentPass] = ctx.passes
        if not passes:
            raise RuntimeError("The tiles' sums have been differentiated once already: call model(image) again.")
        count = len(ctx.targets)
        contents = {n: g for n, g in zip(ctx.targets, grads[:count], strict=True) if g is not None}
        styles = {
            n: (g + g.transpose(1, 2)) / math.prod(ctx.positions[n])
            for n, g in zip(ctx.styles, grads[count:], strict=True)
            if g is not None
        }

        def gradient(name: str, features: Tensor, box: Box, stride: int) -> Tensor | None:
            total = None
            if name in contents:
                difference = features - box.place(ctx.targets[name], stride)
                total = difference * (2 * contents[name]).view(-1, 1, 1, 1).to(features.dtype)
            if name in styles:
                b, c, h, w = features.shape
                part = torch.bmm(rows_of(features), styles[name].to(features.dtype))
                part = part.view(b, h, w, c).permute(0, 3, 1, 2)
                total = part if total is None else total.add_(part)
            return total

        total = ctx.network.backward_pass(passes, gradient)
        _let_go(total)
        return total, None, None, None


class _Bands(torch.autograd.Function):
    """`total_variation` in bands of rows: neither pass holds the image's differences whole."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(image)
        ctx.kind = kind
        return sum((_band(image, kind, top) for top in range(0, image.shape[-2], BAND)), image.new_zeros(()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (image,) = ctx.saved_tensors
        total = torch.zeros_like(image)
        for top in range(0, image.shape[-2], BAND):
            rows = slice(top, top + BAND + 1)
            with torch.enable_grad():
                band = image[..., rows, :].detach().requires_grad_()
                loss = _band(band, ctx.kind, 0, image)
            if loss.requires_grad:
                total[..., rows, :].add_(torch.autograd.grad(loss, band, grad)[0])
        return total, None


def _band(image: Tensor, kind: str, top: int, whole: Tensor | None = None) -> Tensor:
    """What the rows from `top` on add to the total variation of the whole image."""
    b, c, h, w = (image if whole is None else whole).shape
    rows = image[..., top : top + BAND + 1, :]
    down, across = rows[..., 1:, :] - rows[..., :-1, :], rows[..., :BAND, 1:] - rows[..., :BAND, :-1]
    size = torch.abs if kind == "l1" else torch.square
    parts = ((down, b * c * (h - 1) * w), (across, b * c * h * (w - 1)))
    return sum((size(part).sum() / count for part, count in parts if part.numel()), image.new_zeros(()))


class BandedTVLoss(TVLoss):
    """A `TVLoss` that takes the image in bands of rows, with the same loss and gradient."""

    def forward(self, image: Tensor) -> Tensor:
        """Keep the total variation of the image (B, 3, H, W) in `loss`, and give it back unchanged."""
        self.loss = None
        self.loss = _Bands.apply(image, self.kind)
        return image


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
    if names := list(untiled.style_losses):
        network, mix = SegmentedEncoder(encoder, names, tile), style_mix or [1.0] * len(styles)
        grams: dict[str, Tensor] = {}
        for picture, weight in zip(styles, mix, strict=True):
            for name, gram in _grams(network, picture).items():
                _add(grams, name, gram * (weight / sum(mix)))
        for name, layer in untiled.style_losses.items():
            layer.target = grams[name]
    targets: dict[str, Tensor] = {}
    size: tuple[int, int] | None = None
    if content is not None and (names := list(untiled.content_losses)):
        targets, size = _features(SegmentedEncoder(encoder, names, tile), content), (*content.shape[-2:],)
    network = SegmentedEncoder(encoder, [*targets, *untiled.style_losses], tile)
    _let_go(content)
    return TiledModel(network, untiled, targets, size)


@torch.no_grad()
def _grams(network: SegmentedEncoder, image: Tensor) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    network.forward_pass(image, lambda name, features, box, stride: _add(sums, name, gram_sum(features)))
    positions = network.positions(image)
    return {name: total / math.prod(positions[name]) for name, total in sums.items()}


@torch.no_grad()
def _features(network: SegmentedEncoder, image: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    positions = network.positions(image)

    def see(name: str, features: Tensor, box: Box, stride: int) -> None:
        if name not in found:
            shape = (*features.shape[:2], *positions[name])
            found[name] = features.new_empty(shape).contiguous(memory_format=torch.channels_last)
        box.place(found[name], stride).copy_(features)

    network.forward_pass(image, see)
    return found


def _add(sums: dict[str, Tensor], name: str, part: Tensor) -> None:
    sums[name] = sums[name].add_(part) if name in sums else part


def _let_go(content: Tensor | None) -> None:
    """Hand the tiles' memory to the system, so that an optimiser's large vectors don't come on top of it.

    Tiles are small enough to stay with the process when they are done; whole images from 32 MB on are not, and beside
    an evaluation of one, fetching the memory again takes no time.
    """
    if content is not None and content.device.type == "cpu" and content.nbytes >= MMAP:
        give_back()


def _squares(x: Tensor) -> Tensor:
    return at_least_float32(x).square().sum()
