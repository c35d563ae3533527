"""How fast this machine is at an evaluation and at an optimiser's step: measured small, in half a second, and kept.

An evaluation costs a little for each layer and the rest by the pixel, so two small ones say what a large one takes.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..accel.allocator import MMAP
from ..accel.modes import plain_torch
from ..accel.tile_grid import SegmentedEncoder
from ..encoders import Encoder
from ..engine.objective import AnyModel, build_objective
from ..engine.optimisation import Optimisation
from ..engine.settings import Settings
from ..engine.steppers import make_stepper

__all__ = [
    "Rates",
    "balancing",
    "evaluation_rates",
    "fresh_rate",
    "is_overlapping",
    "layers_used",
    "measuring",
    "optimiser_rate",
    "regions_of",
    "tiles_ratio",
    "unit_of",
]

# Sides of the pictures that are timed, and for how long in all: enough to tell a layer's cost from a pixel's.
SMALL, LARGE, BUDGET = 64, 160, 0.4
# A GPU does an evaluation of these in the time that it takes to start one.
SMALL_ON_GPU, LARGE_ON_GPU = 256, 768
# For how many seconds at most tiles may be timed, and how large they are at least.
TILES_BUDGET, SMALLEST = 3.0, 64


@dataclass(frozen=True)
class Rates:
    """Seconds for an evaluation, by the image and by the pixel, and the same for building a model of two pictures."""

    fixed: float
    pixel: float
    build_fixed: float
    build_pixel: float
    first: float = 0.0  # what the first evaluation takes besides: routines are chosen


_known: dict[str, Rates] = {}
_tiles_known: dict[str, float] = {}


def evaluation_rates(encoder: Encoder, settings: Settings) -> Rates:
    """The cost of a prepared encoder's evaluations on this machine."""
    for _ in measuring(encoder, settings):
        pass
    return _known[_key(encoder, settings)]


def measuring(encoder: Encoder, settings: Settings) -> Iterator[None]:
    """Measure what `evaluation_rates` then knows, one evaluation at a time: the caller may do other work in between.

    Small and large take turns, so that a slow moment hits both; the median leaves out what is out of the ordinary.
    """
    if _key(encoder, settings) not in _known:
        yield from _measuring(encoder, settings)


def _measuring(encoder: Encoder, settings: Settings) -> Iterator[None]:
    device = encoder.device
    pools = sum(name.startswith("pool") for name in encoder.layer_names)
    small, large = (SMALL_ON_GPU, LARGE_ON_GPU) if is_overlapping(device) else (SMALL, LARGE)
    sides = (max(small, 2**pools), max(large, 2 ** (pools + 1)))
    works: list[Callable[[], Any]] = []
    builds: dict[int, float] = {}
    firsts: dict[int, float] = {}
    times: dict[int, list[float]] = {side: [] for side in sides}
    for side in sides:
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device, encoder.dtype)
        start = _now(device)
        model = build_objective(encoder, image, [image.flip(-1)] * regions_of(settings), _measured(settings, tile=None))
        builds[side] = _now(device) - start
        works.append(_work_of(model, image, settings))
        yield
        start = _now(device)
        works[-1]()
        firsts[side] = _now(device) - start
        yield
    for done in itertools.count():
        for side, work in zip(sides, works, strict=True):
            # The other side's evaluation has taken the caches.
            work()
            yield
            before = _now(device)
            work()
            times[side].append(_now(device) - before)
            yield
        if done >= 1 and 2 * sum(map(sum, times.values())) > BUDGET:
            break
    fixed, pixel = _line(*((side**2, statistics.median(times[side])) for side in sides))
    # A GPU's very first work also starts its libraries, once in a process; that is done by then.
    new = sides[1] if is_overlapping(device) else sides[0]
    first = max(0.0, firsts[new] - statistics.median(times[new]))
    _known[_key(encoder, settings)] = Rates(fixed, pixel, *_line(*((side**2, builds[side]) for side in sides)), first)


def _measured(settings: Settings, *, tile: int | None) -> Settings:
    """The settings as they are timed: with one style picture, or one for each region, whatever mix and weights."""
    masks = None if settings.masks is None else [torch.ones(1, 1, 1, 1)] * regions_of(settings)
    plain: dict[str, Any] = {"layer_weights": None, "style_mix": None, "style_masks": None, "content_map": None}
    return replace(settings, tile=tile, masks=masks, balance="weights", convention="relative", **plain)


def regions_of(settings: Settings) -> int:
    """How many regions an evaluation tells apart; 1 where there are no masks."""
    return len(settings.masks or [None])


def balancing(settings: Settings) -> int:
    """How many evaluations a model's building takes where its terms are balanced: one for each loss, and each term."""
    return len(layers_used(settings)) + 3 if settings.balance == "gradients" else 0


def is_overlapping(device: torch.device) -> bool:
    """Whether an optimiser's step is prepared while the device is at an evaluation, so that the two are one time."""
    return device.type == "cuda"


def _work_of(model: AnyModel, image: Tensor, settings: Settings) -> Callable[[], Any]:
    """What is timed: an evaluation, or where the two overlap one with its step."""
    if not is_overlapping(image.device):
        return functools.partial(_evaluate, model, image.requires_grad_())
    return Optimisation(model, image, settings, total=sys.maxsize).step


def _key(encoder: Encoder, settings: Settings) -> str:
    weight = _first_weight(encoder)
    place = weight.dtype, weight.device, torch.get_num_threads()
    step = settings.optimizer, settings.history_size, settings.precondition, settings.compiled
    timed = step if is_overlapping(weight.device) else ()
    masked = regions_of(settings) if settings.masks else 0
    return repr((encoder.architecture, encoder.pool, *place, layers_used(settings), timed, masked))


def _line(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """The line through two points, or through the larger alone where noise would have it fall or start below 0."""
    slope = (large[1] - small[1]) / (large[0] - small[0])
    start = small[1] - slope * small[0]
    return (start, slope) if slope > 0 and start >= 0 else (0.0, large[1] / large[0])


@plain_torch()
def _evaluate(model: AnyModel, image: Tensor) -> None:
    image.grad = None
    model(image)
    model.total_loss().backward()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def optimiser_rate(settings: Settings, device: torch.device) -> float:
    """Seconds for each of the image's pixels that a step takes besides the evaluation, with a full history."""
    if is_overlapping(device):
        return 0.0
    kind = (settings.optimizer, settings.history_size, settings.precondition)
    return _optimiser_rate(*kind, str(device), torch.get_num_threads())


@functools.cache
def _optimiser_rate(optimizer: str, history: int, precondition: bool, device: str, threads: int) -> float:
    side = 2 * LARGE
    settings = Settings(optimizer=optimizer, history_size=history, precondition=precondition)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    stepper, gradient, times = make_stepper(image, settings), torch.ones_like(image), []
    for _ in range((history if optimizer == "lbfgs" else 0) + 5):
        start = time.perf_counter()
        image.copy_(stepper.step(image.clone(), gradient.clone(), gradient.sum(), 1e-3))
        times.append(time.perf_counter() - start)
    return statistics.median(times[-4:]) / side**2


@functools.cache
def fresh_rate() -> float:
    """How many seconds longer it takes to write a byte of memory fresh from the system than one used before."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        fresh = torch.empty(MMAP * 5 // 4, dtype=torch.uint8).zero_()
        first = time.perf_counter() - start
        start, size = time.perf_counter(), fresh.numel()
        fresh.zero_()
        again = time.perf_counter() - start
        start = time.perf_counter()
        del fresh
        times.append(max(0.0, first - again + time.perf_counter() - start) / size)
    return statistics.median(times)


def tiles_ratio(encoder: Encoder, settings: Settings, size: tuple[int, int]) -> float:
    """The time of an evaluation of that size in tiles over that of a whole one, both without their fixed parts.

    The additional work is counted: halos, and a third pass through each tile. What cutting, memory and caches add
    differs from one machine to the next, and with the tile, so that is timed.
    """
    assert settings.tile is not None
    return _work(encoder, settings, size, settings.tile) * _tiles_cost(encoder, settings, settings.tile)


def _tiles_cost(encoder: Encoder, settings: Settings, tile: int) -> float:
    """The measured time of an evaluation in two tiles over the time that its work alone would take.

    Where tiles of that size would take long, smaller ones are timed.
    """
    key = f"{_key(encoder, settings)} tile={tile}"
    if key not in _tiles_known:
        rates, device = evaluation_rates(encoder, settings), encoder.device

        def seconds(tile: int) -> float:
            return rates.fixed + rates.pixel * _work(encoder, settings, (tile, 2 * tile), tile) * 2 * tile**2

        # Three evaluations, one of them building the model; tiles cost up to twice their work.
        while tile >= 2 * SMALLEST and 3 * 2 * seconds(tile) > TILES_BUDGET:
            tile //= 2
        image = torch.rand(1, 3, tile, 2 * tile, generator=torch.Generator().manual_seed(0)).to(device, encoder.dtype)
        model = build_objective(encoder, image, [image.flip(-1)] * regions_of(settings), _measured(settings, tile=tile))
        image, times = image.requires_grad_(), []
        for _ in range(2):
            start = _now(device)
            _evaluate(model, image)
            times.append(_now(device) - start)
        _tiles_known[key] = max(1.0, (min(times) - rates.fixed) / (seconds(tile) - rates.fixed))
    return _tiles_known[key]


def _work(encoder: Encoder, settings: Settings, size: tuple[int, int], tile: int) -> float:
    """The work of an evaluation in tiles over that of a whole one: halos, and a third pass through each tile."""
    network = SegmentedEncoder(encoder, layers_used(settings), tile)
    done = whole = 0.0
    for segment, edge in zip(network.segments, network.edges, strict=True):
        boxes = segment.boxes(size, edge)
        area = sum((b.outer[1] - b.outer[0]) * (b.outer[3] - b.outer[2]) for b in boxes)
        done += segment.work * area * (1.5 if len(boxes) > 1 else 1.0)
        whole += segment.work * math.prod(size)
        size = (size[0] // segment.stride, size[1] // segment.stride)
    return done / whole


def layers_used(settings: Settings) -> tuple[str, ...]:
    """The layers with a loss."""
    return (*settings.content_layers, *settings.style_layers)


def unit_of(encoder: Encoder) -> int:
    """Bytes for each of a feature map's numbers."""
    return _first_weight(encoder).element_size()


def _first_weight(encoder: Encoder) -> Tensor:
    weight = encoder.layers["conv1_1"].weight
    assert isinstance(weight, Tensor)
    return weight
