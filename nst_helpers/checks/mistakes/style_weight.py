"""What right and wrong conversions of a style weight look like, and a sentence a mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from ...conventions import PUBLISHED, PublishedWeights
from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..variants import Variants

__all__ = ["CONVERT"]


def _pull(setting: PublishedWeights, channels: int) -> float:
    """How hard a layer's style loss pulls on the features, against its content loss, in one published system."""
    g = torch.Generator().manual_seed(7)
    x, p, s = (torch.randn(channels, 6, generator=g, dtype=torch.float64) for _ in range(3))
    x.requires_grad_()
    f, p, s = (t * setting.input_scale for t in (x, p, s))
    image_gram, style_gram = (t @ t.T / (6 * (channels if setting.gram_divisor == "CHW" else 1)) for t in (f, s))
    style = torch.nn.functional.mse_loss(image_gram, style_gram, reduction=setting.reduction)
    style = style / (channels**2 if setting.layer_weight == "1/C^2" else 1)
    content = torch.nn.functional.mse_loss(f, p)
    pull = [torch.autograd.grad(loss, x, retain_graph=True)[0].norm() for loss in (style, content)]
    return float(pull[0] / pull[1])


def _converted(weight: float, source: str, target: str, channels: int) -> float:
    return weight * _pull(PUBLISHED[source], channels) / _pull(PUBLISHED[target], channels)


_POWER_OF_C = "has the wrong power of C: what divides the Gram matrix divides the loss by its square."


def _varied(
    weight: float,
    source: str,
    target: str,
    count: int,
    *,
    scale: int,
    divisor: int,
    reduction: int,
    layer: int,
    channels: Callable[[int], float],
    join: Callable[[float, float], float],
    brackets: int,
) -> float:
    """The conversion by powers of the input scale and of the channels; only some of them are right."""

    def factor(setting: PublishedWeights, scale: int) -> float:
        power = divisor * (setting.gram_divisor == "CHW")
        power += reduction * (setting.reduction == "mean") + layer * (setting.layer_weight == "1/C^2")
        return setting.input_scale**scale / channels(count) ** power

    a, b = PUBLISHED[source], PUBLISHED[target]
    return weight * join(factor(a, scale), factor(b, scale - brackets))


def _factors(source: str, target: str, channels: int) -> float:
    return PUBLISHED[source].style_factor(channels) / PUBLISHED[target].style_factor(channels)


_PAIRS = (
    ("pytorch_tutorial", "gatys_notebook"),
    ("gordicaleksa", "d2l"),
    ("neural_style_pt", "gordicaleksa"),
    ("gatys_notebook", "d2l"),
)


def _conversions(g: torch.Generator) -> list[tuple]:
    numbers = torch.randperm(60, generator=g)[: len(_PAIRS)] + 4
    return [(float(torch.rand((), generator=g) + 0.5), a, b, int(n)) for (a, b), n in zip(_PAIRS, numbers, strict=True)]


def _worth(setting: PublishedWeights, channels: int) -> float:
    return setting.style_factor(channels) / setting.input_scale**2


CONVERT = ExerciseSpec(
    scalar=True,
    arguments=("weight", "source", "target", "channels"),
    cases=_conversions,
    special=lambda g: [
        SpecialCase("the same system twice", (3.0, "gatys_notebook", "gatys_notebook", 16)),
        SpecialCase("more channels of the same systems", (1.0, "gordicaleksa", "neural_style_pt", 512)),
        SpecialCase("a single channel", (1.0, "gordicaleksa", "d2l", 1)),
        SpecialCase("a weight of 0", (0.0, "pytorch_tutorial", "gatys_notebook", 64)),
        SpecialCase("a weight of a million, a whole number", (1000000, "pytorch_tutorial", "gatys_notebook", 64)),
        SpecialCase("a small weight", (1e-3, "d2l", "gordicaleksa", 128)),
        *(SpecialCase(f"{a} and {b}", (2.0, a, b, 7)) for a, b in itertools.permutations(PUBLISHED, 2)),
    ],
    references=(_converted,),
    example=(1.0, "gordicaleksa", "neural_style_pt", 4),
    kind="number",
    mistakes=(
        Mistake("unchanged", "gives the weight back as it came: divide the two systems' factors.", lambda w, *_: w),
        Mistake(
            "inverted",
            "goes the wrong way, from target to source: a system with a smaller loss needs a larger weight.",
            lambda w, a, b, c: w * _converted(1.0, b, a, c),
        ),
        Mistake(
            "one-scale-twice",
            "uses one system's input scale for both, or leaves one out: source and target each have their own.",
            lambda w, a, b, c: w * _factors(a, b, c) * PUBLISHED[b].input_scale ** 2,
            lambda w, a, b, c: w * _factors(a, b, c) / PUBLISHED[a].input_scale ** 2,
        ),
        Mistake(
            "weight-forgotten",
            "leaves the weight out, or doesn't multiply by it: multiply the weight by the quotient of the two worths.",
            lambda w, a, b, c: _converted(1.0, a, b, c),
            lambda w, a, b, c: _converted(1.0, a, b, c) / w,
            lambda w, a, b, c: w + _worth(PUBLISHED[a], c) - _worth(PUBLISHED[b], c),
            lambda w, a, b, c: w + _converted(1.0, a, b, c),
        ),
        Mistake(
            "published-weights",
            "compares the weights that the systems publish: compare what one and the same weight is worth in them.",
            lambda w, a, b, c: w * PUBLISHED[b].style_weight / PUBLISHED[a].style_weight,
            lambda w, a, b, c: w * PUBLISHED[a].style_weight / PUBLISHED[b].style_weight,
            lambda w, a, b, c: w * PUBLISHED[b].ratio / PUBLISHED[a].ratio,
            lambda w, a, b, c: w * PUBLISHED[a].ratio / PUBLISHED[b].ratio,
        ),
        Mistake(
            "fixed-names",
            "has the names of two systems written into it: use source and target.",
            *(lambda w, a, b, c, x=x, y=y: _converted(w, x, y, c) for x, y in itertools.permutations(PUBLISHED, 2)),
        ),
    ),
    variants=Variants(
        _varied,
        scale=(
            Variant(2),
            Variant(0, "scale-forgotten", "leaves the input scale out: 0-255 inputs need less style weight."),
            *(
                Variant(
                    power,
                    "scale-power",
                    "has the wrong power of the input scale: the style loss grows by its fourth power, the "
                    "content loss by its square, so the square remains.",
                )
                for power in (1, 3, 4, 5, 6, -2)
            ),
        ),
        reduction=(
            Variant(2),
            Variant(0, "reduction-forgotten", "leaves out that a mean over C x C entries divides by C^2."),
            Variant(1, "channel-power", _POWER_OF_C),
        ),
        divisor=(
            Variant(2),
            Variant(0, "divisor-forgotten", "leaves out that some divide the Gram matrix by C as well."),
            Variant(1, "channel-power", _POWER_OF_C),
        ),
        layer=(
            Variant(2),
            Variant(0, "layer-weight-forgotten", "leaves out the layer weight of 1/C^2."),
            Variant(1, "channel-power", _POWER_OF_C),
        ),
        channels=(
            Variant(lambda c: c),
            *(
                Variant(
                    lambda c, n=n: n,
                    "fixed-channels",
                    "has a number of channels written into it: use the argument channels.",
                )
                for n in (3, 32, 64, 128, 256, 512)
            ),
            *(Variant(lambda c, p=p: c**p, "channel-power", _POWER_OF_C) for p in (2, 0.5)),
        ),
        join=(
            Variant(lambda up, down: up / down),
            Variant(
                lambda up, down: up,
                "target-forgotten",
                "gives what the weight is worth under the source alone: divide by what 1 is worth under the target.",
            ),
            Variant(
                lambda up, down: 1 / down,
                "source-forgotten",
                "takes the target alone into account: multiply by what the weight is worth under the source.",
            ),
            Variant(
                lambda up, down: up * down,
                "multiplied",
                "multiplies by both systems' factors: divide by that of the target.",
            ),
            Variant(
                lambda up, down: (up / down) ** 0.5, "root-taken", "takes a square root of the quotient: leave it out."
            ),
            Variant(lambda up, down: (up / down) ** 2, "squared", "squares the quotient: leave it as it is."),
        ),
        brackets=(
            Variant(0),
            Variant(
                -4,
                "brackets",
                "divides by the target's input scale, where it has to multiply: put the target's worth in brackets.",
            ),
        ),
    ),
)
