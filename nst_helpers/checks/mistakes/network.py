"""What right and wrong normalisations and receptive fields look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...encoders import IMAGENET_MEAN, IMAGENET_STD
from ..functions import ExerciseSpec
from ..verdicts import Mistake

__all__ = ["DENORMALIZE", "NORMALIZE", "RECEPTIVE_FIELD"]


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
    "must match the size of tensor b|could not be broadcast",
    "not-broadcast",
    "can't line three numbers up with (B, 3, H, W): give mean and std the shape (1, 3, 1, 1), or (3, 1, 1).",
)
_KEEP = "clamps the result: leave it alone, or the way back is lost."

NORMALIZE = ExerciseSpec(
    arguments=("image",),
    cases=lambda g: [(torch.rand(s, generator=g),) for s in ((2, 3, 4, 5), (3, 3, 5, 2), (2, 3, 6, 4))],
    references=(_by_channel(lambda v, m, s: (v - m) / s),),
    example=(torch.tensor([[[[0.5]], [[0.5]], [[0.5]]]]),),
    differentiable=(0,),
    symptoms=(_ALIGN,),
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
            "uses other numbers than ImageNet's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225).",
            lambda x: x * 2 - 1,
            lambda x: (x - 0.45) / 0.226,
            _affine(lambda x, m, s: (x - m) * 255),
            _affine(lambda x, m, s: x.flip(1) * 255 - m.flip(1) * 255),
            _affine(lambda x, m, s: (x * 255 - m) / s),
            _affine(lambda x, m, s: (x / 255 - m) / s),
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
    references=(_by_channel(lambda v, m, s: v * s + m),),
    example=(torch.tensor([[[[1.0]], [[1.0]], [[0.0]]]]),),
    differentiable=(0,),
    symptoms=(_ALIGN,),
    mistakes=(
        Mistake("missing-denormalisation", "gives back what came: multiply by the std and add the mean.", lambda x: x),
        Mistake(
            "wrong-direction",
            "normalises once more: multiply by the std, then add the mean.",
            _affine(lambda x, m, s: (x - m) / s),
        ),
        Mistake("mean-subtracted", "subtracts the mean: add it, after the std.", _affine(lambda x, m, s: x * s - m)),
        Mistake("std-divided", "divides by the std: multiply by it.", _affine(lambda x, m, s: x / s + m)),
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
        Mistake("clamped", _KEEP.replace("back", "there"), _affine(lambda x, m, s: (x * s + m).clamp(0, 1))),
        Mistake(
            "other-statistics",
            "uses other numbers than ImageNet's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225).",
            lambda x: (x + 1) / 2,
            lambda x: x * 0.226 + 0.45,
            _affine(lambda x, m, s: (x * s + m) * 255),
        ),
    ),
)


def _layers(*blocks: int, last: str = "") -> list[str]:
    """The names of a network with so many convolutions in each block, up to a layer."""
    names: list[str] = []
    for b, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            names += [f"conv{b}_{i}", f"relu{b}_{i}"]
        names.append(f"pool{b}")
    return names[: names.index(last) + 1] if last else names


def _receptive_field(names: list[str]) -> int:
    """Walk one position of the last layer back to the pixels that it depends on."""
    left = right = 0
    for name in reversed(names):
        if name.startswith("conv"):
            left, right = left - 1, right + 1
        elif name.startswith("pool"):
            left, right = 2 * left, 2 * right + 1
    return right - left + 1


def _walk(
    conv: int = 2,
    pool: int = 1,
    double: bool = True,
    start: int = 1,
    relu: int = 0,
    drop: int = 0,
) -> Callable[[list[str]], int]:
    """The usual forward walk with something in it changed."""

    def walk(names: list[str]) -> int:
        field, step = start, 1
        for name in names[: len(names) - drop]:
            if name.startswith("pool"):
                field += pool * step
                step *= 2 if double else 1
            else:
                field += (conv if name.startswith("conv") else relu) * step
        return field

    return walk


def _field_doubled(names: list[str]) -> int:
    field = 1
    for name in names:
        field = field * 2 if name.startswith("pool") else field + 2 * name.startswith("conv")
    return field


RECEPTIVE_FIELD = ExerciseSpec(
    scalar=True,
    arguments=("layer_names",),
    cases=lambda g: [
        (_layers(2, 2, 4, 4, last="conv4_2"),),
        (_layers(2, 2, 3, last="relu3_3"),),
        (_layers(1, 3, 2),),
        (_layers(*torch.randint(1, 4, (4,), generator=g).tolist(), last="relu4_1"),),
    ],
    references=(_receptive_field,),
    example=(["conv1_1", "relu1_1", "pool1", "conv2_1"],),
    kind="number",
    mistakes=(
        Mistake(
            "stride-forgotten",
            "grows by the same amount in every block: after a pooling each step is twice as many pixels.",
            _walk(double=False),
            _walk(double=False, pool=0),
        ),
        Mistake("pool-forgotten", "leaves out that a pooling itself sees one step more.", _walk(pool=0)),
        Mistake(
            "kernel-whole",
            "adds the whole kernel: a 3 x 3 convolution adds 2 steps, a 2 x 2 pooling adds 1.",
            _walk(conv=3),
            _walk(conv=3, pool=2),
            _walk(conv=3, pool=0),
        ),
        Mistake("one-side-only", "adds 1 for a convolution: it reaches out by 1 on both sides.", _walk(conv=1)),
        Mistake(
            "pool-too-wide",
            "adds two steps for a pooling: add one, of the size before the pooling, and double the step then.",
            _walk(pool=2),
        ),
        Mistake(
            "wrong-start",
            "starts at another number than 1: before the first layer, a position sees its own pixel.",
            _walk(start=0),
            _walk(start=2),
            _walk(start=3),
        ),
        Mistake(
            "relu-counted", "counts the ReLUs: they see one position and add nothing.", _walk(relu=1), _walk(relu=2)
        ),
        Mistake("last-layer-forgotten", "stops before the last layer: it counts, too.", _walk(drop=1)),
        Mistake(
            "area",
            "gives the number of pixels: the side of the square is wanted.",
            lambda names: _receptive_field(names) ** 2,
        ),
        Mistake(
            "field-doubled",
            "doubles the field at a pooling: the step doubles, and the field grows by one step.",
            _field_doubled,
        ),
    ),
)
