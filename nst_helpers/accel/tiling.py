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
from ..losses import Convention, _full, style_loss
from ..model import CONTENT_LAYERS, STYLE_LAYERS, StyleModel, build_model
from .allocator import MMAP, give_back
from .gram import gram_sum
from .tile_grid import Box, Network

__all__ = ["TiledModel", "build_tiled_model"]

BAND = 256  # rows of the image whose total variation is taken at a time


class _Content:
    """A content layer's target, in the features' own format, and the loss of the last image."""

    def __init__(self, target: Tensor, weight: float, convention: Convention) -> None:
        self.target, self.weight, self.loss = target, weight, None
        norm = torch.stack([_squares(image) for image in target])
        # The sum of squares is all that the tiles add up, so the conventions' constants are needed by themselves.
        if convention.name == "relative":
            self.factor = 1 / norm.clamp_min(torch.finfo(norm.dtype).tiny ** 0.5)
        elif convention.name in ("gatys", "pytorch"):
            self.factor = torch.full_like(norm, 0.5 if convention.name == "gatys" else 1 / target[0].numel())
        else:
            raise LayerError(f"Tiles know the conventions relative, gatys and pytorch, not {convention.name!r}.")


class TiledModel(nn.Module):
    """Like a `StyleModel`: after `model(image)` its losses belong to that image and `total_loss` has its gradient.

    An image is (B, 3, H, W) of the content's height and width. Made by `build_tiled_model`.
    """

    content_loss = StyleModel.content_loss
    style_loss = StyleModel.style_loss
    total_loss = StyleModel.total_loss
    _combine = StyleModel._combine

    def __init__(
        self, network: Network, like: StyleModel, contents: Mapping[str, Tensor], size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.size = size  # the content's height and width
        self.network, self.normalize, self.convention = network, network.encoder.normalize, like.convention
        self.content_losses = {
            name: _Content(contents[name], layer.weight, like.convention) for name, layer in like.content_losses.items()
        }
        self.style_losses, self.tv_loss = like.style_losses, _Variation(like.tv_loss.kind)

    def forward(self, image: Tensor) -> None:
        self.network.encoder.check_image(image, self.network.names)
        if self.size not in (None, tuple(image.shape[-2:])):
            raise ValueError(
                f"content_loss compares like with like, but an image of {tuple(image.shape[-2:])} came for a "
                f"content of {self.size}: take the content at the image's own size."
            )
        for layer in (*self.content_losses.values(), *self.style_losses.values(), self.tv_loss):
            layer.loss = None  # The last image's graph goes before there is another.
        # Total variation comes first, so that its backward pass comes last, when the tiles' memory is free again.
        self.tv_loss(image)
        sums = _Tiles.apply(image, self.network, self.content_losses, tuple(self.style_losses))
        contents, grams = sums[: len(self.content_losses)], sums[len(self.content_losses) :]
        for layer, total in zip(self.content_losses.values(), contents, strict=True):
            layer.loss = (total * layer.factor).mean()
        for layer, gram in zip(self.style_losses.values(), grams, strict=True):
            layer.loss = style_loss(gram, layer.target, convention=self.convention)


class _Tiles(torch.autograd.Function):
    """Image to each content layer's sum of squared differences (B,) and each style layer's Gram matrix (B, C, C)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, network: Network, contents: Mapping[str, _Content], styles: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        sums: dict[str, Tensor] = {}

        def see(name: str, features: Tensor, box: Box, stride: int) -> None:
            if name in contents:
                difference = features - box.place(contents[name].target, stride)
                _add(sums, f"content {name}", torch.stack([_squares(d) for d in difference]))
            if name in styles:
                _add(sums, f"style {name}", gram_sum(features))

        ctx.kept = network.first(image, see, keep=ctx.needs_input_grad[0])
        ctx.network, ctx.contents, ctx.styles = network, contents, styles
        ctx.positions = positions = network.positions(image)
        ctx.save_for_backward(image)
        ctx.set_materialize_grads(False)
        return (
            *(sums[f"content {n}"] for n in contents),
            *(sums[f"style {n}"] / math.prod(positions[n]) for n in styles),
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        _ = ctx.saved_tensors  # PyTorch complains here where the image was changed since.
        if not ctx.kept:
            raise RuntimeError("The tiles' sums have been differentiated once already: call model(image) again.")
        count = len(ctx.contents)
        contents = {n: g for n, g in zip(ctx.contents, grads[:count], strict=True) if g is not None}
        styles = {
            n: (g + g.transpose(1, 2)) / math.prod(ctx.positions[n])
            for n, g in zip(ctx.styles, grads[count:], strict=True)
            if g is not None
        }

        def gradient(name: str, features: Tensor, box: Box, stride: int) -> Tensor | None:
            total = None
            if name in contents:
                difference = features - box.place(ctx.contents[name].target, stride)
                total = difference * (2 * contents[name]).view(-1, 1, 1, 1).to(features.dtype)
            if name in styles:
                b, c, h, w = features.shape
                part = torch.bmm(_rows(features), styles[name].to(features.dtype))
                part = part.view(b, h, w, c).permute(0, 3, 1, 2)
                total = part if total is None else total.add_(part)
            return total

        total = ctx.network.second(ctx.kept, gradient)
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


class _Variation:
    """The total variation of the last image, in `loss`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loss: Tensor | None = None

    def __call__(self, image: Tensor) -> None:
        self.loss = _Bands.apply(image, self.kind)


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
    styles = [style] if isinstance(style, Tensor) or style is None else list(style)
    # The untiled model of a tiny picture checks all that came, and knows layers, weights and conventions.
    tiny = torch.zeros(1, 3, 64, 64).to(encoder.device, encoder.dtype)
    like = build_model(
        encoder,
        None if content is None else tiny,
        [tiny for _ in styles],
        content_layers=content_layers,
        style_layers=style_layers,
        layer_weights=layer_weights,
        style_mix=style_mix,
        convention=convention,
        tv_kind=tv_kind,
    )
    if names := list(like.style_losses):
        network, mix = Network(encoder, names, tile), style_mix or [1.0] * len(styles)
        grams: dict[str, Tensor] = {}
        for picture, weight in zip(styles, mix, strict=True):
            for name, gram in _grams(network, picture).items():
                _add(grams, name, gram * (weight / sum(mix)))
        for name, layer in like.style_losses.items():
            layer.target = grams[name]
    names = list(like.content_losses)
    contents = _features(Network(encoder, names, tile), content) if names else {}
    network = Network(encoder, [*contents, *like.style_losses], tile)
    _let_go(content)
    return TiledModel(network, like, contents, tuple(content.shape[-2:]) if names else None)


@torch.no_grad()
def _grams(network: Network, image: Tensor) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    network.first(image, lambda name, features, box, stride: _add(sums, name, gram_sum(features)))
    positions = network.positions(image)
    return {name: total / math.prod(positions[name]) for name, total in sums.items()}


@torch.no_grad()
def _features(network: Network, image: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    network.encoder.check_image(image, network.names)
    positions = network.positions(image)

    def see(name: str, features: Tensor, box: Box, stride: int) -> None:
        if name not in found:
            shape = (*features.shape[:2], *positions[name])
            found[name] = features.new_empty(shape).contiguous(memory_format=torch.channels_last)
        box.place(found[name], stride).copy_(features)

    network.first(image, see)
    return found


def _add(sums: dict[str, Tensor], name: str, part: Tensor) -> None:
    sums[name] = sums[name].add_(part) if name in sums else part


def _let_go(like: Tensor | None) -> None:
    """Hand the tiles' memory to the system, so that an optimiser's large vectors don't come on top of it.

    Tiles are small enough to stay with the process when they are done; whole images from 32 MB on are not, and beside
    an evaluation of one, fetching the memory again takes no time.
    """
    if like is not None and like.device.type == "cpu" and like.nbytes >= MMAP:
        give_back()


def _rows(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def _squares(x: Tensor) -> Tensor:
    return _full(x).square().sum()
