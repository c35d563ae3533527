"""What a run will cost, known before it: seconds from a short calibration on this machine, bytes from the shapes.

An evaluation's cost is a little for each layer and the rest by the pixel, so two small evaluations say what a large
one takes. Large tensors come fresh from the system at each evaluation; what that costs is measured too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..accel.allocator import release_memory
from ..accel.devices import choose_device, choose_precision, peak_memory, prepare
from ..accel.modes import plain_torch
from ..encoders import Encoder, load_encoder
from ..engine.plan import plan
from ..engine.settings import Settings
from ..errors import NSTError
from .available import memory_available, memory_held
from .calibration import (
    balancing,
    evaluation_rates,
    fresh_rate,
    layers_used,
    measuring,
    optimiser_rate,
    tiles_ratio,
    unit_of,
)
from .memory import (
    fresh_bytes,
    optimiser_bytes,
    tiled_bytes,
    untiled_bytes,
    weights_bytes,
)
from .progress import amount_words, time_words
from .shapes import Image, Images, Shape, shape_of, shapes_of, with_short_side

__all__ = [
    "Estimate",
    "TooLargeError",
    "calibrating",
    "check_fits",
    "estimate",
    "largest_size",
    "memory_available",
    "run_bytes",
]

TILE = 512
# What is left to the system and to other programs when a size is chosen by the memory there is.
SHARE = 0.9


class TooLargeError(NSTError, MemoryError):
    """A run that needs more memory than there is."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take: time, and memory beyond what the process holds now.

    `peak_bytes` is the whole process at its peak, as `Evaluation.peak_memory` reports it; on a GPU, that of the GPU.
    """

    seconds: float
    scales: tuple[tuple[int, float], ...]  # of each scale its evaluations, and seconds for one; the largest is last
    run_bytes: int
    peak_bytes: int
    available_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the memory that is free is enough."""
        return self.run_bytes <= self.available_bytes

    @property
    def seconds_per_evaluation(self) -> float:
        """Seconds for one evaluation at the last and largest scale."""
        return self.scales[-1][1]

    @property
    def evaluations(self) -> int:
        """The evaluations of all scales together."""
        return sum(steps for steps, _ in self.scales)

    def after(self, step: int) -> float:
        """Seconds for the evaluations that come after a step.

        >>> Estimate(80.0, ((10, 1.0), (10, 7.0)), 0, 0, 0).after(8)
        72.0
        """
        left, seconds = self.evaluations - step, 0.0
        for steps, each in reversed(self.scales):
            taken = min(max(left, 0), steps)
            left, seconds = left - taken, seconds + taken * each
        return seconds

    def __str__(self) -> str:
        need, free = amount_words(self.run_bytes), amount_words(self.available_bytes)
        return f"about {time_words(self.seconds)} and {need} of the {free} free"


@plain_torch()
def estimate(content: Image, style: Images, settings: Settings | None = None, **options: Any) -> Estimate:
    """Seconds and bytes that `stylize(content, style, **options)` will take on this machine, without running it.

    Takes a `Settings` or its fields as keywords, as `iterate` does. A picture may be given by its height and width
    alone. The first call for an encoder measures for about half a second, and for tiles of a new size up to three
    seconds more; later ones remember. The machine's other work counts as it was while it measured.

    >>> from nst_helpers.encoders import Architecture
    >>> toy, layers = Encoder(Architecture("toy", ((8,), (8,)))), {"content_layers": (), "style_layers": ("relu1_1",)}
    >>> one, two = (estimate((n, n), (64, 64), encoder=toy, device="cpu", **layers) for n in (128, 256))
    >>> two.seconds > one.seconds, two.run_bytes > one.run_bytes, one.fits
    (True, True, True)
    """
    settings = replace(settings or Settings(), **options)
    device, (size, *styles) = choose_device(settings.device), sizes_of(content, style, settings)
    encoder, start = _encoder(settings), time.perf_counter()
    prepared = prepare(encoder, device=device, precision=settings.precision)
    seconds = time.perf_counter() - start
    need = run_bytes(size, styles, settings, encoder=prepared)
    stages = plan(size, settings)
    rates, move, scales = evaluation_rates(prepared, settings), optimiser_rate(settings, device), []
    seconds += rates.first
    for (height, width), steps in stages:
        shrink, area = height / size[0], height * width
        areas = [area, *(math.prod(s) * shrink**2 for s in styles)]
        seconds += rates.build_fixed * len(areas) / 2 + rates.build_pixel * sum(areas) / 2
        if settings.in_tiles((height, width)):
            ratio = tiles_ratio(prepared, settings, (height, width))
            each = rates.fixed + (rates.pixel * ratio + move) * area
        else:
            each = rates.fixed + (rates.pixel + move) * area
            if device.type == "cpu":
                fresh = fresh_bytes(prepared, (height, width), layers_used(settings), unit_of(prepared))
                each += fresh_rate() * fresh if fresh else 0.0
        seconds += (steps + balancing(settings)) * each
        scales.append((steps, each))
    return Estimate(
        seconds=seconds,
        scales=tuple(scales),
        run_bytes=need,
        peak_bytes=max(memory_held(device) + need, peak_memory(device) or 0),
        available_bytes=memory_available(device),
    )


def calibrating(settings: Settings) -> Iterator[None]:
    """Measure what `estimate` needs for these settings in short pieces, with room in between to answer others.

    >>> from nst_helpers.encoders import Architecture
    >>> settings = Settings(encoder=Encoder(Architecture("toy", ((8,),))), content_layers=[], style_layers=["relu1_1"])
    >>> sum(1 for _ in calibrating(settings)) > 4, sum(1 for _ in calibrating(settings)) < 4
    (True, True)
    """
    device = choose_device(settings.device)
    yield from measuring(prepare(_encoder(settings), device=device, precision=settings.precision), settings)
    optimiser_rate(settings, device)
    yield
    if device.type == "cpu":
        fresh_rate()
    yield


def sizes_of(content: Image, style: Images, settings: Settings) -> list[Shape]:
    """Height and width of the content and each style, scaled as `settings.size` and `style_size` say.

    >>> sizes_of((30, 40), [(64, 64), (20, 40)], Settings(size=60))
    [(60, 80), (60, 60), (60, 120)]
    """
    size, *styles = [shape_of(content), *shapes_of(style)]
    short: int | None = None
    if settings.size is not None:
        short = settings.size if isinstance(settings.size, int) else fit_size(content, style, settings)
        size, styles = with_short_side(size, short), [with_short_side(shape, short) for shape in styles]
    if settings.style_size is not None:
        styles = [with_short_side(shape, settings.style_size * min(size)) for shape in styles]
    return [size, *styles]


def run_bytes(content: Image, style: Images, settings: Settings, *, encoder: Encoder | None = None) -> int:
    """The bytes that a run takes beyond its pictures, from the shapes alone; `encoder` is one already prepared."""
    if encoder is None:
        encoder = _encoder(settings)
        dtype = choose_precision(encoder, choose_device(settings.device), settings.precision)
        double = encoder.layers["conv1_1"].weight.dtype == torch.float64
        unit = 8 if double else dtype.itemsize
    else:
        unit = unit_of(encoder)
    size = plan(shape_of(content), settings)[-1].size
    layers = (settings.content_layers, settings.style_layers)
    shrink = size[0] / shape_of(content)[0]
    # Taking a style's Gram matrices keeps no graph: about half of what evaluating a picture of its size takes.
    pictures = [(size, 1.0)]
    pictures += [((max(1, round(h * shrink)), max(1, round(w * shrink))), 0.5) for h, w in shapes_of(style)]
    if (tile := settings.tile) and settings.in_tiles(size):
        most = max(tiled_bytes(encoder, shape, *layers, unit, tile) * share for shape, share in pictures)
    else:
        regions = len(settings.masks or ())
        most = max(untiled_bytes(encoder, shape, *layers, unit, regions) * share for shape, share in pictures)
    place = {"precondition": settings.precondition, "on_gpu": choose_device(settings.device).type == "cuda"}
    moved = optimiser_bytes(size, settings.optimizer, settings.history_size, **place)
    return round(most) + moved + weights_bytes(encoder, unit)


def largest_size(
    content: Image,
    style: Images,
    settings: Settings | None = None,
    *,
    available: int | None = None,
    **options: Any,
) -> int:
    """The largest short side in pixels whose run fits the memory there is, leaving a tenth of it to others.

    All pictures are taken to be that much larger or smaller, and `scales` to end there. Raises TooLargeError where not
    even 32 pixels fit.

    >>> small, large = (largest_size((300, 400), (300, 300), available=n * 2**30, precision="float32") for n in (1, 4))
    >>> 300 < small < large
    True
    """
    settings = replace(settings or Settings(), **options)
    settings = replace(settings, scales=None, steps=1, encoder=_encoder(settings))
    available = memory_available(choose_device(settings.device)) if available is None else available
    shapes = [shape_of(content), *shapes_of(style)]

    def fits(short: int, settings: Settings = settings) -> bool:
        factor = short / min(shapes[0])
        grown = [(max(32, round(h * factor)), max(32, round(w * factor))) for h, w in shapes]
        return run_bytes(grown[0], grown[1:], settings) <= SHARE * available

    low, high = 32, 64
    if not fits(low):
        history = fits(low, replace(settings, history_size=Settings.history_size))
        raise TooLargeError(
            f"{amount_words(available)} of memory are free, and not even 32 pixels fit: "
            + ("give a smaller history_size." if history else "close other programs, or take the mini encoder.")
        )
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fit_size(content: Image, style: Images, settings: Settings | None = None, **options: Any) -> int:
    """What `size="fit"` means: the content's own short side, or the largest that fits where that is less.

    >>> fit_size((64, 80), (64, 64), precision="float32")
    64
    """
    return min(*shape_of(content), largest_size(content, style, settings, **options))


def check_fits(
    content: Image,
    style: Images,
    settings: Settings | None = None,
    *,
    available: int | None = None,
    **options: Any,
) -> int:
    """The bytes that a run needs; raises TooLargeError, with the largest size that fits, where that is too much.

    >>> check_fits((64, 80), (64, 64), precision="float32") > 2**20
    True
    """
    settings = replace(settings or Settings(), **options)
    available = memory_available(choose_device(settings.device)) if available is None else available
    size, *styles = sizes_of(content, style, settings)
    if (need := run_bytes(size, styles, settings)) <= available:
        return need
    height, width = plan(size, settings)[-1].size
    short = largest_size(size, styles, settings, available=available)
    advice = ""
    if not settings.tile:
        tiled = largest_size(size, styles, settings, available=available, tile=TILE)
        advice = f", with tile={TILE} {tiled} px" if tiled > short else ""
    raise TooLargeError(
        f"A run at {width} x {height} pixels needs about {amount_words(need)} of memory and {amount_words(available)} "
        f"are free: the largest short side that fits is {short} px{advice}."
    )


def out_of_memory_error(content: Image, style: Images, settings: Settings) -> TooLargeError:
    """What to raise for a run that was counted to fit and ran out of memory all the same, once that is free again."""
    device = choose_device(settings.device)
    release_memory()
    size, *styles = sizes_of(content, style, settings)
    height, width = plan(size, settings)[-1].size
    # The count was too low for this size, so it names nothing near it.
    most = 4 * min(height, width) // 5
    try:
        short = min(largest_size(size, styles, settings), most)
    except TooLargeError:  # what the C library holds for later looks taken, and smaller tensors find room in it
        short = max(1, most // 3)
    return TooLargeError(
        f"A run at {width} x {height} pixels ran out of memory, and {amount_words(memory_available(device))} are free "
        f"without it: the largest short side to try is {short} px."
    )


def _encoder(settings: Settings) -> Encoder:
    return settings.encoder if isinstance(settings.encoder, Encoder) else load_encoder(settings.encoder)
