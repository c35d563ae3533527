"""What right and wrong receptive fields look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..variants import Variants

__all__ = ["RECEPTIVE_FIELD"]


def _layers(*blocks: int, last: str = "") -> list[str]:
    """The names of a network with so many convolutions in each block, up to a layer."""
    names: list[str] = []
    for b, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            names += [f"conv{b}_{i}", f"relu{b}_{i}"]
        names.append(f"pool{b}")
    return names[: names.index(last) + 1] if last else names


def _split(g: torch.Generator, total: int, parts: int) -> list[int]:
    """A number as a sum of so many parts, each at least 1."""
    cuts = sorted((torch.randperm(total - 1, generator=g)[: parts - 1] + 1).tolist())
    return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


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
    names: list[str],
    *,
    conv: int = 2,
    pool: int = 1,
    grow: Callable[[int], int] = lambda step: 2 * step,
    start: int = 1,
    relu: int = 0,
    early: bool = False,
    layers: Callable[[list[str]], list[str]] = lambda names: names,
    finish: Callable[[int], float] = lambda field: field,
) -> float:
    """The usual walk from the image on."""
    field, step = start, 1
    for name in layers(names):
        if name.startswith("pool"):
            step = grow(step) if early else step
            field += pool * step
            step = step if early else grow(step)
        else:
            field += (conv if name.startswith("conv") else relu) * step
    return finish(field)


def _field_doubled(names: list[str]) -> int:
    field = 1
    for name in names:
        field = field * 2 if name.startswith("pool") else field + 2 * name.startswith("conv")
    return field


def _by_blocks(names: list[str]) -> list[str]:
    return [n for n in names if not n.startswith("conv") or n.endswith("_1")]


RECEPTIVE_FIELD = ExerciseSpec(
    scalar=True,
    arguments=("layer_names",),
    # Networks of the same length and the same last layer, with their poolings in other places.
    cases=lambda g: [
        (_layers(*_split(g, 8, 3), 3, last="conv4_2"),),
        (_layers(*_split(g, 6, 2), 3, last="relu3_3"),),
        (_layers(*_split(g, 7, 3)),),
        (_layers(*_split(g, 9, 4), 1, last="relu5_1"),),
    ],
    special=lambda g: [
        SpecialCase("VGG-19 up to conv5_1", (_layers(2, 2, 4, 4, 4, last="conv5_1"),)),
        SpecialCase("a single convolution", (["conv1_1"],)),
        SpecialCase("layers that end with a pooling", (_layers(1, 2),)),
        SpecialCase("two poolings in a row", (["conv1_1", "relu1_1", "pool1", "pool2", "conv3_1"],)),
        SpecialCase("twelve convolutions without a pooling", (_layers(12, last="relu1_12"),)),
    ],
    references=(_receptive_field,),
    example=(["conv1_1", "relu1_1", "pool1", "conv2_1"],),
    kind="number",
    mistakes=(
        Mistake(
            "field-doubled",
            "doubles the field at a pooling: the step doubles, and the field grows by one step.",
            _field_doubled,
        ),
        Mistake(
            "kernel-whole",
            "adds the whole kernel: a 3 × 3 convolution adds 2 steps, a 2 × 2 pooling adds 1.",
            partial(_walk, conv=3, pool=2),
            partial(_walk, conv=3, pool=0),
        ),
        Mistake(
            "step-only",
            "gives the step, how far apart two neighbours of the last layer are: the size of the square is wanted.",
            lambda names: 2 ** sum(n.startswith("pool") for n in names),
        ),
        Mistake(
            "count",
            "counts layers: a convolution adds 2 steps, and a pooling adds one step and doubles it.",
            len,
            lambda names: 1 + sum(n.startswith("conv") for n in names),
            lambda names: sum(n.startswith("conv") for n in names),
        ),
        Mistake(
            "by-name",
            "reads the answer off a block's number: count the layers that are there, one after the other.",
            lambda names: 4 * 2 ** int(names[-1][4]) - 3,
            lambda names: 1 + sum(2 * int(n[4]) for n in names if n.startswith("conv")),
        ),
        Mistake(
            "nothing-counted",
            "gives 1 for every network: names are such as 'conv1_2', so ask whether a name starts with 'conv'.",
            lambda names: 1,
        ),
        Mistake(
            "returns-too-early",
            "returns after the first layer: put the return after the loop.",
            lambda names: _walk(names[:1]),
        ),
    ),
    variants=Variants(
        _walk,
        grow=(
            Variant(lambda step: 2 * step),
            Variant(
                lambda step: step,
                "stride-forgotten",
                "grows by the same amount in every block: after a pooling each step is twice as many pixels.",
            ),
            *(
                Variant(grow, "step-added", f"lets the step grow {how} at a pooling: it doubles.")
                for how, grow in {
                    "by 1": lambda step: step + 1,
                    "by 2": lambda step: step + 2,
                    "threefold": lambda step: 3 * step,
                    "fourfold": lambda step: 4 * step,
                }.items()
            ),
        ),
        pool=(
            Variant(1),
            Variant(0, "pool-forgotten", "leaves out that a pooling itself sees one step more."),
            *(
                Variant(
                    n,
                    "pool-too-wide",
                    "adds several steps for a pooling: add one, of the size before it, and double the step then.",
                )
                for n in (2, 3)
            ),
        ),
        early=(
            Variant(False),
            Variant(
                True,
                "pool-too-wide",
                "adds two steps for a pooling: add one, of the size before the pooling, and double the step then.",
            ),
        ),
        conv=(
            Variant(2),
            Variant(
                3, "kernel-whole", "adds the whole kernel: a 3 × 3 convolution adds 2 steps, a 2 × 2 pooling adds 1."
            ),
            Variant(1, "one-side-only", "adds 1 for a convolution: it reaches out by 1 on both sides."),
            Variant(0, "nothing-counted", "adds nothing for a convolution: it adds 2 steps."),
            *(
                Variant(n, "kernel-too-wide", "counts a convolution as more than 3 × 3: it adds 2 steps.")
                for n in (4, 6)
            ),
        ),
        start=(
            Variant(1),
            *(
                Variant(
                    n,
                    "wrong-start",
                    "starts at another number than 1: before the first layer, a position sees its own pixel.",
                )
                for n in (0, 2, 3)
            ),
        ),
        relu=(
            Variant(0),
            *(Variant(n, "relu-counted", "counts the ReLUs: they see one position and add nothing.") for n in (1, 2)),
        ),
        layers=(
            Variant(lambda names: names),
            Variant(lambda names: names[:-1], "last-layer-forgotten", "stops before the last layer: it counts, too."),
            Variant(lambda names: names[1:], "first-layer-forgotten", "leaves the first layer out: it counts, too."),
            Variant(_by_blocks, "one-per-block", "counts one convolution in each block: every one counts."),
            Variant(
                lambda names: names[::-1], "reversed", "goes backwards, from the last layer on: start at the image."
            ),
        ),
        finish=(
            Variant(lambda field: field),
            Variant(lambda field: field**2, "area", "gives the number of pixels: the side of the square is wanted."),
            *(
                Variant(
                    half,
                    "radius",
                    "gives half of the square, how far one side reaches: a layer reaches out on both sides.",
                )
                for half in (lambda field: (field - 1) / 2, lambda field: field // 2, lambda field: (field + 1) // 2)
            ),
        ),
    ),
)
