"""How much memory a run needs, counted beforehand from the shapes alone.

The count follows one evaluation through the network: what autograd keeps for the backward pass, what a layer holds
besides while it works, and what the backward pass adds while it lets go. PyTorch keeps a convolution's input and a
ReLU's output, which are mostly the same tensor; a maximum pooling also keeps an index of 8 bytes for each output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..accel.allocator import MMAP
from ..accel.gram import FEWEST_STRETCHES, STRETCH
from ..accel.tile_grid import SegmentedEncoder
from ..encoders import Encoder, Pool
from ..engine.lbfgs import COMPACT_FROM, COMPACT_FROM_ON_GPU
from .available import memory_available

__all__ = [
    "fresh_bytes",
    "has_room_to_record",
    "layers_of",
    "optimiser_bytes",
    "tiled_bytes",
    "untiled_bytes",
    "weights_bytes",
]

MB = 2**20

# Measured over 96 to 512 px, both optimisers, the mini encoder and VGG-19, in float32 and in bfloat16: how much more a
# process held than before, fitted by what the count below gives. tools/measure/estimates.py says how well it fits.
FIXED = 5 * MB
# A run whose evaluation is recorded on a GPU took up to 1.34 times the bytes counted (256 to 1500 px), since a
# recording's memory serves nothing else.
RECORDED = 1.5
# What the convolutions and the allocator hold besides the tensors, in images (B, 3, H, W) of float32, and the most that
# it comes to: holes in the heap stop growing, since what is larger than MMAP lies outside it.
OVERHEAD_IMAGES, MOST_OVERHEAD = 48, 5 * MMAP
# The heap grows to this many times a tile's tensors, which are of many sizes and too small to be mapped. Measured with
# VGG-19: 2.0 times in tiles of 256 and of 512 up to 1024 px, and 3 times at 2048 px.
HOLES = 2.5
# An Optimisation's image, its gradient, the next one, the one before, the best, the first one and the result.
OPTIMISATION_IMAGES = 7
# What each optimiser holds besides: Adam's two moments; the last step and its gradient.
OPTIMIZER_IMAGES = {"adam": 2, "lbfgs": 2}
# L-BFGS also keeps two images for each step, large ones in half precision. What a step computes on the way takes 10
# more in the heap, and none to speak of where images are mapped: those are gone before the next evaluation.
LBFGS_HEAP = 10
# The preconditioner's maps, and the spectra of a step and of its change of gradient.
PRECONDITION_IMAGES = 6
# What a region takes, in copies of a style layer's features: the part that its mask cuts out, and the backward pass.
# Measured with two and three regions at 512 px.
MASKED = 1.5
# The differences that total variation keeps for its backward pass.
VARIATION_IMAGES = 2


@dataclass(frozen=True)
class Layer:
    """One layer on the way: what it is, its channels before and after, and its height and width."""

    name: str
    kind: str  # "conv", "relu", "max" or "avg"
    before: int
    channels: int
    size: tuple[int, int]

    @property
    def numbers(self) -> int:
        """How many numbers its feature maps hold."""
        return self.channels * math.prod(self.size)


def layers_of(encoder: Encoder, size: tuple[int, int], names: Sequence[str]) -> Iterator[Layer]:
    """The layers up to the deepest of those names, for an image of that height and width."""
    deepest = max(map(encoder.layer_names.index, encoder.check_layers(names)))
    channels = 3
    for name in encoder.layer_names[: deepest + 1]:
        layer, before = encoder.layers[name], channels
        if isinstance(layer, Pool):
            kind, size = layer.kind, (size[0] // 2, size[1] // 2)
        else:
            kind = "relu"
            if isinstance(layer, nn.Conv2d):
                kind, channels = "conv", layer.out_channels
        yield Layer(name, kind, before, channels, size)


def untiled_bytes(
    encoder: Encoder, size: tuple[int, int], contents: Sequence[str], styles: Sequence[str], unit: int, regions: int = 0
) -> int:
    """What evaluating an image of that size takes at its fullest, with `unit` bytes for a number of a feature map.

    Each of the regions, where there are masks, takes what it cuts out of a style layer's features.

    >>> from nst_helpers.encoders import Architecture
    >>> toy = Encoder(Architecture("toy", ((8,), (8,))))
    >>> round(untiled_bytes(toy, (200, 200), ["relu2_1"], [], 4) / untiled_bytes(toy, (100, 100), ["relu2_1"], [], 4))
    4
    """
    image = 12 * math.prod(size)
    layers = list(layers_of(encoder, size, [*contents, *styles]))
    targets = sum(4 * layer.numbers for layer in layers if layer.name in contents)
    on_cpu = encoder.device.type == "cpu"
    work = _pass(layers, contents, styles, unit, VARIATION_IMAGES * image, regions=regions, with_twins=on_cpu)
    return targets + work + _overhead(image)


def tiled_bytes(
    encoder: Encoder, size: tuple[int, int], contents: Sequence[str], styles: Sequence[str], unit: int, tile: int
) -> int:
    """What evaluating takes in tiles: the largest tile at work, and what is kept whole between the two passes."""
    network = SegmentedEncoder(encoder, [*contents, *styles], tile)
    layers = list(layers_of(encoder, size, [*contents, *styles]))
    targets = sum(unit * layer.numbers for layer in layers if layer.name in contents)
    inputs, works = [0], []  # the image itself is counted among the optimiser's
    for i, segment in enumerate(network.segments):
        names = {name for name, _ in segment.layers}
        part = [layer for layer in layers if layer.name in names]
        if i:
            inputs.append(unit * part[0].before * math.prod(size))
        boxes = segment.boxes(size, network.edges[i])
        outer = max(((b.outer[1] - b.outer[0], b.outer[3] - b.outer[2]) for b in boxes), key=math.prod)
        shape, resized = outer, []
        for layer in part:
            shape = (shape[0] // 2, shape[1] // 2) if layer.kind in ("max", "avg") else shape
            resized.append(replace(layer, size=shape))
        # The losses of a tile are no part of its graph, and their gradients are there before its backward pass begins,
        # which copies a pooling's places. What only a loss reads is held for it.
        read = [layer for layer in resized if layer.name in (*contents, *styles)]
        losses = sum((2 if layer.kind == "conv" else 1) * unit * layer.numbers for layer in read)
        places = max((8 * layer.numbers for layer in resized if layer.kind == "max"), default=0)
        works.append((round(HOLES * (_pass(resized, (), (), unit, 0) + losses + places)), len(boxes) == 1))
        size = (size[0] // segment.stride, size[1] // segment.stride)
    most = 0
    for i, (work, _) in enumerate(works):
        graphs = sum(other for other, single in works[:i] if single)
        gradients = inputs[i] + (inputs[i + 1] if i + 1 < len(inputs) else 0)
        most = max(most, sum(inputs[: i + 1]) + gradients + graphs + work)
    return targets + most


def optimiser_bytes(
    size: tuple[int, int], optimizer: str, history: int, *, precondition: bool = False, on_gpu: bool = False
) -> int:
    """What an `Optimisation` holds of images of that size, its own and its optimiser's.

    >>> optimiser_bytes((512, 512), "lbfgs", 10) // 2**20, optimiser_bytes((512, 512), "adam", 10) // 2**20
    (87, 27)
    """
    image = 12 * math.prod(size)
    images = OPTIMISATION_IMAGES + OPTIMIZER_IMAGES[optimizer] + PRECONDITION_IMAGES * precondition
    if optimizer == "lbfgs":
        pair = 1 if 3 * math.prod(size) >= (COMPACT_FROM_ON_GPU if on_gpu else COMPACT_FROM) else 2
        images += pair * history + LBFGS_HEAP * (image < MMAP)
    return images * image


def _overhead(image: int) -> int:
    return min(OVERHEAD_IMAGES * image, MOST_OVERHEAD)


def weights_bytes(encoder: Encoder, unit: int) -> int:
    """What a prepared copy of the encoder takes."""
    return FIXED + unit * sum(p.numel() for p in encoder.parameters())


def fresh_bytes(encoder: Encoder, size: tuple[int, int], names: Sequence[str], unit: int) -> int:
    """The bytes of an evaluation's tensors that are too large for the C library to keep: feature maps and gradients.

    On a CPU a ReLU works in its convolution's memory, so the two count once.
    """
    each = (unit * layer.numbers for layer in layers_of(encoder, size, names) if layer.kind == "conv")
    return (2 if encoder.device.type == "cpu" else 4) * sum(bytes_ for bytes_ in each if bytes_ >= MMAP)


def _pass(
    layers: Sequence[Layer],
    contents: Sequence[str],
    styles: Sequence[str],
    unit: int,
    variation: int,
    *,
    regions: int = 0,
    with_twins: bool = False,
) -> int:
    """The fullest moment of one forward and backward pass, in bytes; `with_twins` for the layers of accel/ on a CPU."""
    split = 2 if unit == 2 and layers[0].before == 3 else 1  # the image in bfloat16, and what is left of it
    now = variation + split * layers[0].before * math.prod(layers[0].size) * unit
    most, loose, half, read = now, 0, unit < 4, {*contents, *styles}
    if with_twins and half:
        # A ReLU before a maximum pooling comes behind it, in the memory of what is pooled (accel/pooling.py).
        pairs = zip(layers, [*layers[1:], layers[-1]], strict=True)
        layers = [a for a, b in pairs if not (a.kind == "relu" and b.kind == "max" and a.name not in read)]
    kept: list[int] = []
    for layer, later in zip(layers, [*layers[1:], layers[-1]], strict=True):
        out, keeps = layer.numbers * unit, 0
        if layer.kind == "conv":
            # Its output is the ReLU's input, which is let go of then, unless a style loss keeps it; or it is the
            # ReLU's output itself (accel/accelerate.py).
            most = max(most, now + out)
            keeps = out if layer.name in styles else 0
            loose = 0 if with_twins and later.kind == "relu" and layer.name not in read else out - keeps
        elif layer.kind == "relu":
            most = max(most, now + loose + out)
            keeps, loose = out, 0
        else:
            keeps = out + (8 * layer.numbers if layer.kind == "max" else 0)
            most = max(most, now + loose + keeps + (out if layer.kind == "avg" else 0))
            loose = 0
        if layer.name in styles:
            gram = 4 * layer.channels**2
            # In float16 or regions few positions are summed up in float32, and many in stretches.
            few = math.prod(layer.size) < STRETCH * FEWEST_STRETCHES
            copied = 4 * layer.numbers if half and few and (regions or not with_twins) else 0
            most = max(most, now + loose + keeps + copied + 3 * gram)
            keeps += gram + round(MASKED * regions * out)
        if layer.name in contents:
            most = max(most, now + loose + keeps + 4 * layer.numbers * (2 + half))
            keeps += 4 * layer.numbers
        now += keeps
        kept.append(keeps)
    gradient = 0
    for layer, keeps in zip(reversed(layers), reversed(kept), strict=True):
        out = layer.numbers * unit
        into = layer.before * (4 if layer.kind in ("max", "avg") else 1) * math.prod(layer.size) * unit
        gradient = max(gradient, out)
        if layer.name in styles:
            most = max(most, now + gradient + out * (2 if regions else 1))
        if layer.name in contents:
            most = max(most, now + gradient + 2 * 4 * layer.numbers)
        most = max(most, now + out + into)
        now, gradient = now - keeps, into
    return most


def has_room_to_record(need: int, device: torch.device) -> bool:
    """Whether a run that needs so many bytes may have its evaluation recorded, which takes a GPU more of them.

    >>> has_room_to_record(2**60, torch.device("cpu"))
    True
    """
    return device.type != "cuda" or RECORDED * need <= memory_available(device)
