"""How a network is cut into segments and an image into tiles, and the two passes over them: the geometry of tiling.py.

A tile counts for its interior alone and takes in a halo, as wide as the convolutions reach; at the image's own borders
it ends where the image ends and is padded with zeros as the image would be. Edges lie on multiples of the stride, so
that no pooling window is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..encoders import Encoder, Pool

__all__ = ["SMALLEST_TILE", "Segment", "SegmentPass", "SegmentedEncoder", "TileBox", "edges_of", "segments_of"]

SMALLEST_TILE = 32


@dataclass(frozen=True)
class TileBox:
    """A tile: the rows and columns [top, bottom) x [left, right) that count, and those it takes in with its halo."""

    inner: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]

    def take(self, x: Tensor) -> Tensor:
        """The tile with its halo, out of the whole (B, C, H, W)."""
        top, bottom, left, right = self.outer
        return x[..., top:bottom, left:right]

    def crop(self, y: Tensor, stride: int) -> Tensor:
        """What counts of the tile's own features, `stride` times smaller."""
        (top, bottom, left, right), (y0, _, x0, _) = self.inner, self.outer
        rows = slice((top - y0) // stride, bottom // stride - y0 // stride)
        return y[..., rows, (left - x0) // stride : right // stride - x0 // stride]

    def place(self, whole: Tensor, stride: int) -> Tensor:
        """The place of those features among the whole image's."""
        top, bottom, left, right = (edge // stride for edge in self.inner)
        return whole[..., top:bottom, left:right]


class LayerMaps(NamedTuple):
    """A layer's feature maps (B, C, h, w) for a tile; `stride` positions of the segment's input make one of theirs."""

    name: str
    maps: Tensor
    stride: int


# Both are called with a layer's name, the features of a tile's interior, the tile and the features' stride.
Visitor = Callable[[str, Tensor, TileBox, int], None]
TileGradient = Callable[[str, Tensor, TileBox, int], Tensor | None]


@dataclass(frozen=True)
class Segment:
    """A run of layers that is evaluated tile by tile."""

    layers: tuple[tuple[str, nn.Module], ...]
    stride: int  # how many input positions make one of the output's, to each side
    halo: int  # how far the output reaches beyond its own positions, in whole strides of the input
    numbers: float  # how many numbers a graph keeps for each input position
    work: float  # multiplications for each input position

    def walk(self, x: Tensor) -> Iterator[LayerMaps]:
        """The feature maps of each layer for an input (B, C, H, W)."""
        stride = 1
        for name, layer in self.layers:
            x = layer(x)
            stride *= 2 if isinstance(layer, Pool) else 1
            yield LayerMaps(name, x, stride)

    def boxes(self, size: tuple[int, int], edge: int) -> list[TileBox]:
        """Tiles of about `edge` positions a side for an input of that height and width.

        Their edges are multiples of the stride, so that each pooling window lies in one tile.
        """
        rows, columns = (self._cuts(length, edge) for length in size)
        return [
            TileBox((top, bottom, left, right), (y0, y1, x0, x1))
            for top, bottom, y0, y1 in rows
            for left, right, x0, x1 in columns
        ]

    def _cuts(self, length: int, edge: int) -> list[tuple[int, int, int, int]]:
        units = max(1, length // self.stride)
        count = min(units, math.ceil(length / edge))
        cuts = [i * units // count * self.stride for i in range(count)] + [length]
        return [(a, b, max(0, a - self.halo), min(length, b + self.halo)) for a, b in pairwise(cuts)]


def segments_of(encoder: Encoder, layers: Sequence[str]) -> list[Segment]:
    """The encoder up to the deepest of the layers, cut after each pooling but the first.

    >>> from nst_helpers.encoders import Architecture
    >>> encoder = Encoder(Architecture("toy", ((4, 4), (8,), (8, 8), (8,))))
    >>> [(part.layers[0][0], part.layers[-1][0], part.halo) for part in segments_of(encoder, ["relu4_1"])]
    [('normalize', 'pool2', 4), ('conv3_1', 'pool3', 2), ('conv4_1', 'relu4_1', 1)]
    """
    deepest = max(encoder.check_layers(layers), key=encoder.layer_names.index)
    names = encoder.layer_names[: encoder.layer_names.index(deepest) + 1]
    parts: list[list[tuple[str, nn.Module]]] = [[("normalize", encoder.normalize)]]
    pools = 0
    for name in names:
        parts[-1].append((name, encoder.layers[name]))
        if isinstance(encoder.layers[name], Pool):
            pools += 1
            if pools > 1 and name != names[-1]:
                parts.append([])
    return [_segment(tuple(part)) for part in parts]


def _segment(layers: tuple[tuple[str, nn.Module], ...]) -> Segment:
    stride = 2 ** sum(isinstance(layer, Pool) for _, layer in layers)
    reach, area, numbers, work = 0, 1.0, 0.0, 0.0
    for _, layer in reversed(layers):
        reach = reach + 1 if isinstance(layer, nn.Conv2d) else reach * 2 if isinstance(layer, Pool) else reach
    channels = 3
    for _, layer in layers:
        if isinstance(layer, nn.Conv2d):
            work += area * 9 * layer.in_channels * layer.out_channels
            channels = layer.out_channels
        elif isinstance(layer, Pool):
            area /= 4
        numbers += area * channels if isinstance(layer, (nn.Conv2d, Pool)) else 0.0
    return Segment(layers, stride, math.ceil(reach / stride) * stride, numbers, work)


def edges_of(segments: Sequence[Segment], tile: int) -> list[int]:
    """How many positions a tile has to a side in each segment: as many numbers in all of them."""
    if not isinstance(tile, int) or tile < SMALLEST_TILE:
        raise ValueError(f"tile={tile!r} came: a tile needs to be at least {SMALLEST_TILE} pixels, for example 512.")
    return [max(8, round(tile * math.sqrt(segments[0].numbers / part.numbers))) for part in segments]


@dataclass
class SegmentPass:
    """What the backward pass needs of a segment: its input, its tiles, and its graph where that was kept."""

    input: Tensor
    boxes: list[TileBox]
    graph: list[LayerMaps]  # empty where the segment has to be run again


class SegmentedEncoder:
    """The segments of an encoder, and the two passes over their tiles."""

    def __init__(self, encoder: Encoder, names: Sequence[str], tile: int) -> None:
        self.encoder, self.names = encoder, tuple(names)
        self.segments = segments_of(encoder, names)
        self.edges = edges_of(self.segments, tile)

    def positions(self, image: Tensor) -> dict[str, tuple[int, int]]:
        """Each layer's height and width for that image."""
        names = self.encoder.layer_names
        strides = {n: 2 ** sum(p.startswith("pool") for p in names[: names.index(n) + 1]) for n in self.names}
        return {n: (image.shape[-2] // stride, image.shape[-1] // stride) for n, stride in strides.items()}

    def forward_pass(self, image: Tensor, see: Visitor, *, keep_graphs: bool = False) -> list[SegmentPass]:
        """Call `see(name, features, box, stride)` for each tile's interior; returns what `backward_pass` needs.

        With `keep_graphs` a segment of a single tile keeps its graph, and is not run a second time.
        """
        x, passes = image, []
        for i, segment in enumerate(self.segments):
            boxes, last = segment.boxes((x.shape[-2], x.shape[-1]), self.edges[i]), i + 1 == len(self.segments)
            with_graph = keep_graphs and len(boxes) == 1
            x = x.detach().requires_grad_() if with_graph else x.detach()
            graph: list[LayerMaps] = []
            output: Tensor | None = None
            for box in boxes:
                with torch.set_grad_enabled(with_graph):
                    for layer in segment.walk(box.take(x)):
                        if layer.name in self.names:
                            see(layer.name, box.crop(layer.maps, layer.stride).detach(), box, layer.stride)
                        if with_graph and (layer.name in self.names or layer.name == segment.layers[-1][0]):
                            graph.append(layer)
                if len(boxes) == 1:
                    output = layer.maps.detach()
                elif not last:
                    if output is None:
                        size = [edge // segment.stride for edge in x.shape[-2:]]
                        output = layer.maps.new_empty((*layer.maps.shape[:2], *size))
                        output = output.contiguous(memory_format=torch.channels_last)
                    box.place(output, layer.stride).copy_(box.crop(layer.maps, layer.stride))
                del layer
            passes.append(SegmentPass(x, boxes, graph))
            if output is not None:
                x = output
        return passes

    def backward_pass(self, passes: list[SegmentPass], gradient: TileGradient) -> Tensor | None:
        """The image's gradient, where `gradient(name, features, box, stride)` is that of a tile's interior.

        Empties `passes` on the way, so that each segment's memory is free for the one before it.
        """
        after: Tensor | None = None
        while passes:
            done, segment = passes.pop(), self.segments[len(passes)]
            total: Tensor | None = None
            for box in done.boxes:
                with torch.enable_grad():
                    tile = done.input if done.graph else box.take(done.input).detach().requires_grad_()
                    outputs: list[Tensor] = []
                    gradients: list[Tensor] = []
                    for layer in done.graph or segment.walk(tile):
                        inner = box.crop(layer.maps, layer.stride)
                        if layer.name not in self.names:
                            continue
                        if (found := gradient(layer.name, inner.detach(), box, layer.stride)) is not None:
                            outputs.append(inner)
                            gradients.append(found)
                if after is not None:
                    outputs.append(inner)
                    gradients.append(box.place(after, layer.stride))
                del layer, inner
                if outputs:
                    (part,) = torch.autograd.grad(outputs, tile, gradients)
                    if len(done.boxes) == 1:
                        total = part
                    else:
                        total = torch.zeros_like(done.input) if total is None else total
                        box.take(total).add_(part)
                    del part
                done.graph = []
                del outputs, gradients, tile
            after = total
        return after
