"""What right and wrong ways from arrays to tensors and back look like, and a sentence a mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...encoders import IMAGENET_MEAN, IMAGENET_STD
from ..known import ExerciseSpec, Mistake, SpecialCase
from ..scaling import factor_or_power

__all__ = ["TO_ARRAY", "TO_TENSOR"]

_MEAN, _STD = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))


def _bytes(g: torch.Generator, h: int, w: int, low: int = 0, high: int = 256) -> np.ndarray:
    return torch.randint(low, high, (h, w, 3), generator=g).to(torch.uint8).numpy()


def _tensor_by_hand(array: np.ndarray, order: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
    return torch.stack([torch.tensor(array[:, :, c].astype(float)) / 255 for c in order])[None]


# Pictures with something special about their size, in words, as (height, width).
_SIZES = {
    "a picture that is 3 pixels wide": (5, 3),
    "a picture that is 3 pixels high": (3, 5),
    "a picture of 3 x 3 pixels": (3, 3),
    "a picture that is 1 pixel high": (1, 4),
    "a picture that is 1 pixel wide": (4, 1),
    "a picture that is 2 pixels high": (2, 7),
    "a square picture": (6, 6),
    "a picture with sides over 224": (226, 231),
}


def _special_arrays(g: torch.Generator) -> list[SpecialCase]:
    shades = {
        "a dark picture, in which no byte is above 1": (0, 2),
        "a dark picture": (0, 9),
        "a bright picture": (250, 256),
        "a black picture": (0, 1),
        "a white picture": (255, 256),
    }
    return [
        *(SpecialCase(about, (_bytes(g, h, w),)) for about, (h, w) in _SIZES.items()),
        *(SpecialCase(about, (_bytes(g, 4, 5, low, high),)) for about, (low, high) in shades.items()),
    ]


def _swapped(array: np.ndarray) -> tuple[int, ...]:
    return (1, 3, array.shape[1], array.shape[0])


_BGR = "has red and blue swapped: these arrays are RGB already, so leave the order of the channels alone."
_RESHAPE = "has the right shape but the pixels in the wrong places: reshape only relabels the numbers, so use permute."

TO_TENSOR = ExerciseSpec(
    arguments=("array",),
    cases=lambda g: [(_bytes(g, 5, 7),), (_bytes(g, 4, 6),), (_bytes(g, 6, 4, 60, 200),)],
    special=_special_arrays,
    references=(_tensor_by_hand,),
    axes="HWC",
    result_axes="BCHW",
    advice="divide by 255 and by nothing else.",
    mistakes=(
        Mistake(
            "channels-last",
            "gives shape {got} for {given}: the channels come last, so put them first with permute.",
            shapes=lambda a: [(1, *a.shape), a.shape],
        ),
        Mistake(
            "no-batch",
            "gives shape {got} for {given}: the batch axis is missing, so add it with [None].",
            shapes=lambda a: [(3, *a.shape[:2])],
        ),
        Mistake(
            "sides-swapped",
            "gives shape {got} for {given}: height and width have changed places, so use permute(2, 0, 1).",
            shapes=lambda a: [_swapped(a), _swapped(a)[1:]],
        ),
        Mistake(
            "not-divided",
            "gives values up to 255: divide by 255 to come to [0, 1].",
            lambda a: _tensor_by_hand(a) * 255,
        ),
        Mistake(
            "divided-twice",
            "gives values up to 1/255: it was divided by 255 twice (torchvision's ToTensor divides, too).",
            lambda a: _tensor_by_hand(a) / 255,
        ),
        Mistake("bgr", _BGR, lambda a: _tensor_by_hand(a, (2, 1, 0))),
        Mistake(
            "integer-division",
            "gives only 0 and 1: // throws the fraction away, so divide with /.",
            lambda a: _tensor_by_hand(a // 255) * 255,
        ),
        Mistake(
            "rounded",
            "gives only 0 and 1: it rounds to whole numbers, so leave the fractions as they are.",
            lambda a: _tensor_by_hand(a).round(),
        ),
        Mistake(
            "overflow",
            "computes with bytes, which start again at 0 after 255: make floats first, with .float().",
            *(lambda a, k=k: _tensor_by_hand(a.astype(int) * k % 256) / k for k in (2, 3, 4)),
            lambda a: _tensor_by_hand(a.astype(np.int8)),
            lambda a: _tensor_by_hand(a.astype(np.int8)) * 255 / 127,
            lambda a: _tensor_by_hand((a.astype(int) + 1) % 256),
            lambda a: _tensor_by_hand((a.astype(int) - 1) % 256),
            lambda a: 2 * _tensor_by_hand(a.astype(int) * 2 % 256) - 1,
        ),
        Mistake(
            "clamped-first",
            "clamps to [0, 1] before it divides by 255: divide first.",
            lambda a: _tensor_by_hand(a.clip(0, 1)) * 255,
            lambda a: _tensor_by_hand(a.clip(0, 1)),
        ),
        Mistake(
            "wrong-divisor",
            "is divided by 256: the largest byte is 255, and it has to become 1.",
            lambda a: _tensor_by_hand(a) * 255 / 256,
        ),
        Mistake(
            "reshape-not-transpose",
            _RESHAPE,
            lambda a: torch.tensor(a / 255).reshape(1, 3, *a.shape[:2]),
            lambda a: torch.tensor(a / 255).permute(2, 1, 0).reshape(1, 3, *a.shape[:2]),
            lambda a: torch.tensor(a / 1.0).reshape(1, 3, *a.shape[:2]),
        ),
        Mistake(
            "normalised-too",
            "is normalised as well: to_tensor only changes the form, and the encoder normalises.",
            lambda a: (_tensor_by_hand(a) - _MEAN) / _STD,
            lambda a: _tensor_by_hand(a) * 2 - 1,
        ),
        Mistake(
            "rescaled",
            "stretches each picture to its own darkest and lightest value: divide by 255, whatever is in it.",
            lambda a: (_tensor_by_hand(a) * 255 - float(a.min())) / float(int(a.max()) - int(a.min())),
            lambda a: _tensor_by_hand(a) * 255 / float(a.max()),
        ),
    ),
)


def _image(g: torch.Generator, h: int, w: int, low: int = 1, high: int = 255) -> Tensor:
    """Pixels near whole bytes, so that rounding is clear; bytes outside 0 to 255 are values outside [0, 1]."""
    whole = torch.randint(low, high, (1, 3, h, w), generator=g)
    return (whole + (torch.rand(whole.shape, generator=g) - 0.5) * 0.8) / 255


def _array_by_hand(image: Tensor, turn: Callable[[float], float] | None = None) -> np.ndarray:
    turn = turn or (lambda v: math.floor(min(max(v, 0.0), 1.0) * 255 + 0.5))
    return np.array([[[turn(float(v)) for v in pixel] for pixel in row] for row in image[0].permute(1, 2, 0)])


def _byte(value: float) -> float:
    return min(max(value, 0), 255)


def _right_inside(turn: Callable[[float], float]) -> Callable[[Sequence[tuple], Sequence[Tensor]], bool]:
    """Whether all pixels in [0, 1] came out as by this formula, whatever became of the others."""

    def holds(cases: Sequence[tuple], answers: Sequence[Tensor]) -> bool:
        for (image,), answer in zip(cases, answers, strict=True):
            if answer.shape != (*image.shape[2:], 3):
                return False
            inside = ((image >= 0) & (image <= 1))[0].permute(1, 2, 0)
            if not torch.equal(answer.double()[inside], torch.tensor(_array_by_hand(image, turn)).double()[inside]):
                return False
        return True

    return holds


def _array(image: Tensor) -> np.ndarray:
    rounded = (image.double().clamp(0, 1) * 255 + 0.5).floor()
    return rounded[0].permute(1, 2, 0).numpy()


def _special_images(g: torch.Generator) -> list[SpecialCase]:
    ranges = {
        "a picture with values above 1": (1, 320),
        "a picture with values below 0": (-60, 255),
        "a picture with values below 0 and above 1": (-60, 320),
        "a picture with values far outside [0, 1]": (-2000, 2000),
        "a dark picture": (1, 20),
        "a bright picture": (240, 255),
    }
    flat = [
        SpecialCase(f"a {name} picture", (torch.full((1, 3, 4, 5), v),)) for name, v in (("black", 0.0), ("white", 1.0))
    ]
    return [
        *(SpecialCase(about, (_image(g, 6, 4, low, high),)) for about, (low, high) in ranges.items()),
        *flat,
        *(SpecialCase(about, (_image(g, h, w),)) for about, (h, w) in _SIZES.items()),
    ]


TO_ARRAY = ExerciseSpec(
    arguments=("image",),
    cases=lambda g: [(_image(g, h, w),) for h, w in ((5, 7), (4, 6), (6, 4))],
    special=_special_images,
    references=(_array,),
    axes="BCHW",
    result_axes="HWC",
    advice="multiply by 255 and by nothing else.",
    explain=lambda cases, answers: factor_or_power(cases[0][0], answers[0]),
    kind="array",
    optimised=True,
    dtype=torch.uint8,
    symptoms=(
        (
            "Can't call numpy\\(\\) on Tensor that requires grad",
            "needs-detach",
            "fails for an image that carries a gradient, as an optimised one does: call .detach() before .numpy().",
        ),
    ),
    mistakes=(
        Mistake(
            "channels-first",
            "gives shape {got} for {given}: a picture's array has its channels last, so use permute(1, 2, 0).",
            shapes=lambda x: [tuple(x.shape[1:]), tuple(x.shape)],
        ),
        Mistake(
            "batch-kept",
            "gives shape {got} for {given}: the batch axis is still there, so take image[0].",
            shapes=lambda x: [(1, *x.shape[2:], 3)],
        ),
        Mistake(
            "sides-swapped",
            "gives shape {got} for {given}: height and width have changed places, so use permute(1, 2, 0).",
            shapes=lambda x: [(x.shape[3], x.shape[2], 3)],
        ),
        Mistake(
            "rounded-up",
            "rounds up, so most pixels come out too bright: round to the nearest.",
            lambda x: _array_by_hand(x, lambda v: math.ceil(_byte(v * 255))),
            lambda x: _array_by_hand(x, lambda v: _byte(math.floor(v * 255 + 1))),
        ),
        Mistake(
            "denormalised",
            "undoes a normalisation that was never made: the image has values in [0, 1], so leave mean and std out.",
            lambda x: _array(x * _STD + _MEAN),
            lambda x: _array((x + 1) / 2),
        ),
        Mistake(
            "signed-bytes",
            "makes signed bytes (int8), which end at 127: convert to uint8.",
            lambda x: (_array(x) + 128) % 256 - 128,
        ),
        Mistake("one-minus", "exchanges light and dark: leave 255 - value out.", lambda x: 255 - _array(x)),
        Mistake(
            "squashed",
            "is squashed by a sigmoid: clamp to [0, 1] instead.",
            lambda x: _array(torch.sigmoid(x)),
        ),
        Mistake(
            "averaged",
            "is grey: it averages the three colour channels, which have to stay apart.",
            lambda x: _array(x.mean(1, keepdim=True).expand_as(x)),
        ),
        Mistake(
            "truncated",
            "cuts the fraction off, so most pixels come out too dark: round before the cast.",
            when=_right_inside(lambda v: math.floor(v * 255)),
        ),
        Mistake(
            "not-clamped",
            "lets values below 0 or above 1 through, which turn into wrong bytes: clamp to [0, 1] first.",
            when=_right_inside(lambda v: math.floor(v * 255 + 0.5)),
        ),
        Mistake(
            "not-multiplied",
            "gives only 0 and 1: multiply by 255 before the cast.",
            lambda x: _array_by_hand(x, lambda v: math.floor(min(max(v, 0), 1))),
            lambda x: _array_by_hand(x, lambda v: round(min(max(v, 0), 1))),
            lambda x: _array_by_hand(x, lambda v: min(max(v, 0), 1)),
        ),
        Mistake(
            "rounded-too-early",
            "gives only 0 and 255: multiply by 255 before you round.",
            lambda x: _array_by_hand(x, lambda v: 255 * round(min(max(v, 0), 1))),
        ),
        Mistake(
            "multiplied-twice",
            "is white nearly everywhere: it was multiplied by 255 twice.",
            lambda x: _array_by_hand(x, lambda v: math.floor(_byte(v * 255 * 255) + 0.5)),
            lambda x: _array_by_hand(x, lambda v: math.floor(_byte(_byte(v * 255) * 255) + 0.5)),
            lambda x: _array_by_hand(x, lambda v: _byte(math.floor(_byte(v * 255) + 0.5) * 255)),
        ),
        Mistake(
            "wrong-factor",
            "is multiplied by 256: 1 has to become 255, the largest byte.",
            lambda x: _array_by_hand(x, lambda v: math.floor(_byte(v * 256))),
            lambda x: _array_by_hand(x, lambda v: math.floor(_byte(v * 256) + 0.5)),
        ),
        Mistake("bgr", _BGR, lambda x: _array_by_hand(x)[..., ::-1]),
        Mistake(
            "reshape-not-transpose",
            _RESHAPE,
            lambda x: _array_by_hand(x).transpose(2, 0, 1).reshape(*x.shape[2:], 3),
            lambda x: _array_by_hand(x).transpose(2, 1, 0).reshape(*x.shape[2:], 3),
        ),
        Mistake(
            "rescaled",
            "stretches each picture to its own darkest and lightest value: clamp to [0, 1] instead.",
            lambda x: ((x - x.min()) / (x.max() - x.min()) * 255)[0].permute(1, 2, 0).round().numpy(),
            lambda x: ((x - x.min()) / (x.max() - x.min()) * 255)[0].permute(1, 2, 0).floor().numpy(),
        ),
    ),
)
