"""How a network is cut into segments and an image into tiles, and the two passes over them: the geometry of `tiles`.

A tile counts for its interior alone and takes in a halo, as wide as the convolutions reach; at the image's own borders
it ends where the image ends and is padded with zeros as the image would be. Edges lie on multiples of the stride, so
that no pooling window is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders import Encoder, Pool

__all__ = ["SMALLEST_TILE", "Box", "Network", "Segment", "edges_of", "segments_of"]

SMALLEST_TILE = 32


@dataclass(frozen=True)
class Box:
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


@dataclass(frozen=True)
class Segment:
    """A run of layers that is evaluated tile by tile."""

    layers: tuple[tuple[str, nn.Module], ...]
    stride: int  # how many input positions make one of the output's, to each side
    halo: int  # how far the output reaches beyond its own positions, in whole strides of the input
    numbers: float  # how many numbers a graph keeps for each input position
    work: float  # multiplications for each input position

    def walk(self, x: Tensor) -> Iterator[tuple[str, Tensor, int]]:
        """Each layer's name, its features and their stride."""
        stride = 1
        for name, layer in self.layers:
            x = layer(x)
            stride *= 2 if isinstance(layer, Pool) else 1
            yield name, x, stride

    def boxes(self, size: tuple[int, int], edge: int) -> list[Box]:
        """Tiles of about `edge` positions a side for an input of that height and width.

        Their edges are multiples of the stride, so that each pooling window lies in one tile.
        """
        rows, columns = (self._cuts(length, edge) for length in size)
        return [
            Box((top, bottom, left, right), (y0, y1, x0, x1))
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


class Network:
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

    def _boxes(self, i: int, x: Tensor) -> list[Box]:
        return self.segments[i].boxes(tuple(x.shape[-2:]), self.edges[i])

    def first(self, image: Tensor, see: Callable[[str, Tensor, Box, int], None], *, keep: bool = False) -> list[Any]:
        """Call `see(name, features, box, stride)` for each tile's interior; returns what `second` needs.

        A segment of a single tile keeps its graph, if asked to, and is not run a second time.
        """
        x, kept = image, []
        for i, segment in enumerate(self.segments):
            boxes, whole, last = self._boxes(i, x), None, i + 1 == len(self.segments)
            graph = keep and len(boxes) == 1
            x = x.detach().requires_grad_() if graph else x.detach()
            walked: list[Any] = []
            for box in boxes:
                with torch.set_grad_enabled(graph):
                    for name, y, stride in segment.walk(box.take(x)):
                        if name in self.names:
                            see(name, box.crop(y, stride).detach(), box, stride)
                        if graph and (name in self.names or name == segment.layers[-1][0]):
                            walked.append((name, y, stride))
                if len(boxes) == 1:
                    whole = y.detach()
                elif not last:
                    if whole is None:
                        size = [edge // segment.stride for edge in x.shape[-2:]]
                        whole = y.new_empty((*y.shape[:2], *size)).contiguous(memory_format=torch.channels_last)
                    box.place(whole, stride).copy_(box.crop(y, stride))
                del y
            kept.append((x, boxes, walked))
            x = whole
        return kept

    def second(self, kept: list[Any], gradient: Callable[[str, Tensor, Box, int], Tensor | None]) -> Tensor | None:
        """The image's gradient, where `gradient(name, features, box, stride)` is that of a tile's interior."""
        after = None
        while kept:
            (x, boxes, walked), segment = kept.pop(), self.segments[len(kept)]
            total = None
            for box in boxes:
                with torch.enable_grad():
                    tile = x if walked else box.take(x).detach().requires_grad_()
                    steps = walked or segment.walk(tile)
                    ends: list[Tensor] = []
                    grads: list[Tensor] = []
                    for name, y, stride in steps:
                        inner = box.crop(y, stride)
                        if name in self.names and (grad := gradient(name, inner.detach(), box, stride)) is not None:
                            ends.append(inner)
                            grads.append(grad)
                if after is not None:
                    ends.append(inner)
                    grads.append(box.place(after, stride))
                del y, inner, steps
                if ends:
                    (grad,) = torch.autograd.grad(ends, tile, grads)
                    if len(boxes) == 1:
                        total = grad
                    else:
                        total = torch.zeros_like(x) if total is None else total
                        box.take(total).add_(grad)
                    del grad
                walked = None
                del ends, grads, tile
            after = total
        return after
