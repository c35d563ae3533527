"""What right and wrong normalisations look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...encoders import IMAGENET_MEAN, IMAGENET_STD
from ..known import ExerciseSpec, Mistake, SpecialCase
from ..values import close

__all__ = ["DENORMALIZE", "NORMALIZE"]

_OTHER_NUMBERS = f"uses other numbers than ImageNet's mean {IMAGENET_MEAN} and std {IMAGENET_STD}."


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)


def _affine(turn: Callable[[Tensor, Tensor, Tensor], Tensor], order: int = 1) -> Callable[[Tensor], Tensor]:
    """A formula in the image, the mean and the standard deviation; order -1 takes the two for BGR."""
    return lambda x: turn(x, _column(IMAGENET_MEAN[::order]), _column(IMAGENET_STD[::order]))


def _by_channel(turn: Callable[[Tensor, float, float], Tensor]) -> Callable[[Tensor], Tensor]:
    def formula(x: Tensor) -> Tensor:
        return torch.stack([turn(x[:, c], IMAGENET_MEAN[c], IMAGENET_STD[c]) for c in range(3)], 1)

    return formula


_ALIGN = (
    (
        "must match the size of tensor b|could not be broadcast",
        "not-broadcast",
        "can't line three numbers up with (B, 3, H, W): give mean and std the shape (1, 3, 1, 1), or (3, 1, 1).",
    ),
    (
        "unsupported operand type.*'list'",
        "not-a-tensor",
        "computes with a list: make a tensor of the three numbers first, of shape (1, 3, 1, 1).",
    ),
)
_KEEP = "clamps the result: leave it alone, or the way back is lost."

_SIZES = {
    "a batch of one": (1, 3, 4, 6),
    "a batch of five": (5, 3, 2, 4),
    "a picture that is 3 pixels wide": (2, 3, 5, 3),
    "a picture that is 3 pixels high": (2, 3, 3, 5),
    "a picture of 3 x 3 pixels": (1, 3, 3, 3),
    "a picture that is 1 pixel high": (2, 3, 1, 4),
    "a picture with sides over 224": (1, 3, 226, 231),
}
_COLOURS = ("red", "green", "blue")


def _fit_lines(x: Tensor, y: Tensor) -> list[tuple[float, float]] | None:
    """Slope and offset of y over x in each channel, where a line fits them."""
    lines = []
    for c in range(3):
        a, b = x[:, c].flatten().double(), y[:, c].flatten().double()
        slope = float(((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum())
        offset = float(b.mean() - slope * a.mean())
        if not close(slope * a + offset, b, tolerance=1e-3):
            return None
        lines.append((slope, offset))
    return lines


def _normalised_otherwise(cases: Sequence[tuple], answers: Sequence[Tensor]) -> tuple[str, str] | None:
    """Other numbers than ImageNet's, read off the values."""
    lines = _fit_lines(cases[0][0], answers[0])
    for name, mean, std, (slope, offset) in zip(_COLOURS, IMAGENET_MEAN, IMAGENET_STD, lines or [], strict=False):
        if abs(slope * std - 1) > 1e-3 or abs(offset + mean / std) > 1e-3:
            got = "does nothing to" if slope == 1 and offset == 0 else f"computes {slope:.4g} * image {offset:+.4g} for"
            if abs(slope) > 1e-6:
                got = f"computes (image - {-offset / slope:.4g}) / {1 / slope:.4g} for"
            sentence = f"{got} {name}, where ImageNet's numbers give (image - {mean}) / {std}: check each channel's."
            return "other-statistics", sentence
    return None


def _denormalised_otherwise(cases: Sequence[tuple], answers: Sequence[Tensor]) -> tuple[str, str] | None:
    lines = _fit_lines(cases[0][0], answers[0])
    for name, mean, std, (slope, offset) in zip(_COLOURS, IMAGENET_MEAN, IMAGENET_STD, lines or [], strict=False):
        if abs(slope - std) > 1e-3 or abs(offset - mean) > 1e-3:
            got = f"computes {slope:.4g} * value {offset:+.4g} for {name}"
            sentence = (
                f"{got}, where ImageNet's std and mean give {std} * value + {mean}: check each channel's numbers."
            )
            return "other-statistics", sentence
    return None


def _special_images(g: torch.Generator) -> list[SpecialCase]:
    shades = {
        "a dark picture": lambda x: 0.1 * x,
        "a bright picture": lambda x: 1 - 0.1 * x,
        "a flat picture": lambda x: 0 * x + 0.3,
        "a black picture": lambda x: 0 * x,
        "a white picture": lambda x: 0 * x + 1,
    }
    small = [SpecialCase(about, (torch.rand(size, generator=g),), "right") for about, size in _SIZES.items()]
    return [
        *small,
        *(SpecialCase(a, (shade(torch.rand(2, 3, 4, 5, generator=g)),), "right") for a, shade in shades.items()),
    ]


def _special_normalised(g: torch.Generator) -> list[SpecialCase]:
    scales = {"values that lie in [0, 1] afterwards": 0.3, "values far outside [0, 1]": 20.0}
    return [
        *(SpecialCase(about, (torch.randn(size, generator=g),), "right") for about, size in _SIZES.items()),
        *(SpecialCase(a, (torch.randn(2, 3, 4, 5, generator=g) * scale,), "right") for a, scale in scales.items()),
    ]


NORMALIZE = ExerciseSpec(
    arguments=("image",),
    cases=lambda g: [(torch.rand(s, generator=g),) for s in ((2, 3, 4, 5), (3, 3, 5, 2), (2, 3, 6, 4))],
    special=_special_images,
    references=(_by_channel(lambda v, m, s: (v - m) / s),),
    explain=_normalised_otherwise,
    axes="BCHW",
    result_axes="BCHW",
    example=(torch.tensor([[[[0.5]], [[0.5]], [[0.5]]]]),),
    differentiable=(0,),
    symptoms=(
        *_ALIGN,
        (
            "Expected more than 1 value per channel when training",
            "own-statistics",
            "uses the batch's own mean and std, as batch norm does: use ImageNet's, as the network was trained.",
        ),
    ),
    mistakes=(
        Mistake(
            "missing-normalisation",
            "gives the image back as it came: subtract the mean and divide by the std.",
            lambda x: x,
        ),
        Mistake(
            "normalised-twice",
            "normalises twice.",
            _affine(lambda x, m, s: ((x - m) / s - m) / s),
        ),
        Mistake("std-forgotten", "subtracts the mean but doesn't divide by the std.", _affine(lambda x, m, s: x - m)),
        Mistake("mean-forgotten", "divides by the std but doesn't subtract the mean.", _affine(lambda x, m, s: x / s)),
        Mistake(
            "wrong-order",
            "has the steps in the wrong order: subtract the mean first, and mind the brackets.",
            _affine(lambda x, m, s: x / s - m),
            _affine(lambda x, m, s: x - m / s),
        ),
        Mistake(
            "wrong-direction",
            "goes the other way: subtract the mean and divide, rather than multiply and add.",
            _affine(lambda x, m, s: x * s + m),
            _affine(lambda x, m, s: (x - m) * s),
            _affine(lambda x, m, s: (x + m) / s),
        ),
        Mistake(
            "wrong-sign",
            "subtracts the image from the mean, so the sign is wrong: subtract the mean from the image.",
            _affine(lambda x, m, s: (m - x) / s),
        ),
        Mistake("swapped", "has mean and std swapped.", _affine(lambda x, m, s: (x - s) / m)),
        Mistake(
            "bgr",
            "uses the statistics in the order blue, green, red: these images are RGB.",
            _affine(lambda x, m, s: (x - m) / s, -1),
            lambda x: _affine(lambda y, m, s: (y - m) / s)(x).flip(1),
            lambda x: _affine(lambda y, m, s: (y - m) / s)(x.flip(1)),
        ),
        Mistake(
            "own-statistics",
            "uses the image's own mean and std: use ImageNet's, which the network was trained with.",
            *(
                lambda x, dims=dims, keep=keep: (
                    (x - x.mean(dims, keepdim=True)) / x.std(dims, correction=keep, keepdim=True)
                )
                for dims in ((0, 1, 2, 3), (1, 2, 3), (2, 3), (0, 2, 3))
                for keep in (0, 1)
            ),
        ),
        Mistake(
            "other-statistics",
            _OTHER_NUMBERS,
            lambda x: x * 2 - 1,
            lambda x: (x - 0.45) / 0.226,
        ),
        Mistake(
            "scaled-255",
            "brings in a factor of 255: the image is in [0, 1] already, and so are the mean and the std.",
            lambda x: x * 255,
            lambda x: x / 255,
            _affine(lambda x, m, s: (x - m) * 255),
            _affine(lambda x, m, s: x.flip(1) * 255 - m.flip(1) * 255),
            _affine(lambda x, m, s: (x * 255 - m) / s),
            _affine(lambda x, m, s: (x / 255 - m) / s),
            _affine(lambda x, m, s: (x * 255 - m * 255) / s),
            lambda x: x * 255 - torch.tensor([123.68, 116.779, 103.939], dtype=x.dtype).view(1, 3, 1, 1),
            lambda x: x * 255 - torch.tensor([103.939, 116.779, 123.68], dtype=x.dtype).view(1, 3, 1, 1),
        ),
        Mistake(
            "std-squared",
            "divides by a power of the std, such as the variance: divide by the std itself.",
            _affine(lambda x, m, s: (x - m) / s**2),
            _affine(lambda x, m, s: (x - m) / s**0.5),
        ),
        Mistake(
            "clamped",
            _KEEP,
            _affine(lambda x, m, s: ((x - m) / s).clamp(0, 1)),
            _affine(lambda x, m, s: ((x - m) / s).clamp(-1, 1)),
        ),
    ),
)

DENORMALIZE = ExerciseSpec(
    arguments=("x",),
    cases=lambda g: [(torch.randn(s, generator=g) * 1.5,) for s in ((2, 3, 4, 5), (3, 3, 5, 2), (2, 3, 6, 4))],
    special=_special_normalised,
    references=(_by_channel(lambda v, m, s: v * s + m),),
    explain=_denormalised_otherwise,
    axes="BCHW",
    result_axes="BCHW",
    example=(torch.tensor([[[[1.0]], [[1.0]], [[0.0]]]]),),
    differentiable=(0,),
    symptoms=_ALIGN,
    mistakes=(
        Mistake("missing-denormalisation", "gives back what came: multiply by the std and add the mean.", lambda x: x),
        Mistake(
            "wrong-direction",
            "normalises once more: multiply by the std, then add the mean.",
            _affine(lambda x, m, s: (x - m) / s),
        ),
        Mistake("mean-subtracted", "subtracts the mean: add it, after the std.", _affine(lambda x, m, s: x * s - m)),
        Mistake(
            "std-divided",
            "divides by the std: multiply by it.",
            _affine(lambda x, m, s: x / s + m),
            _affine(lambda x, m, s: (x + m) / s),
        ),
        Mistake("denormalised-twice", "undoes the normalisation twice.", _affine(lambda x, m, s: (x * s + m) * s + m)),
        Mistake("std-forgotten", "adds the mean but doesn't multiply by the std.", _affine(lambda x, m, s: x + m)),
        Mistake("mean-forgotten", "multiplies by the std but doesn't add the mean.", _affine(lambda x, m, s: x * s)),
        Mistake(
            "wrong-order",
            "has the steps in the wrong order: multiply by the std first, then add the mean.",
            _affine(lambda x, m, s: (x + m) * s),
        ),
        Mistake("swapped", "has mean and std swapped.", _affine(lambda x, m, s: x * m + s)),
        Mistake(
            "bgr",
            "uses the statistics in the order blue, green, red: these images are RGB.",
            _affine(lambda x, m, s: x * s + m, -1),
            lambda x: _affine(lambda y, m, s: y * s + m)(x).flip(1),
            lambda x: _affine(lambda y, m, s: y * s + m)(x.flip(1)),
        ),
        Mistake(
            "clamped",
            _KEEP.replace("back", "there"),
            _affine(lambda x, m, s: (x * s + m).clamp(0, 1)),
            _affine(lambda x, m, s: (x * s + m).clamp(min=0)),
            _affine(lambda x, m, s: (x * s + m).clamp(max=1)),
        ),
        Mistake(
            "other-statistics",
            _OTHER_NUMBERS,
            lambda x: (x + 1) / 2,
            lambda x: x * 0.226 + 0.45,
        ),
        Mistake(
            "scaled-255",
            "brings in a factor of 255: an image has values in [0, 1] here.",
            _affine(lambda x, m, s: (x * s + m) * 255),
            _affine(lambda x, m, s: (x * s + m) / 255),
            _affine(lambda x, m, s: ((x * s + m) * 255).clamp(0, 255)),
            _affine(lambda x, m, s: ((x * s + m).clamp(0, 1) * 255).round()),
            _affine(lambda x, m, s: (x * s + m).clamp(0, 1) * 255),
            _affine(lambda x, m, s: x * s * 255 + m),
            lambda x: x * 255,
        ),
        Mistake(
            "std-squared",
            "multiplies by a power of the std, such as the variance: multiply by the std itself.",
            _affine(lambda x, m, s: x * s**2 + m),
            _affine(lambda x, m, s: x * s**0.5 + m),
        ),
        Mistake(
            "wrong-sign",
            "has the wrong sign in front of the std: multiply by the std, and add the mean.",
            _affine(lambda x, m, s: m - x * s),
        ),
        Mistake(
            "rescaled",
            "stretches the values to their own range: use ImageNet's std and mean.",
            lambda x: (x - x.min()) / (x.max() - x.min()),
        ),
    ),
)
