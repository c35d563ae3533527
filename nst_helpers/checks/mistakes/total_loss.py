"""What right and wrong total losses look like, and a sentence a mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase

__all__ = ["TOTAL"]


def _numbers(g: torch.Generator, count: int) -> list[Tensor]:
    return list(torch.rand(count, generator=g) + 0.5)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def _special_totals(g: torch.Generator) -> list[SpecialCase]:
    def case(about: str, layers: int = 3, weights: tuple[float, float] = (1.5, 20.0), scale: float = 1) -> SpecialCase:
        content, *style = (scale * number for number in _numbers(g, layers + 1))
        return SpecialCase(about, (content, style, *weights), "right")

    zero = torch.zeros(())
    return [
        case("a single style layer", 1),
        case("nine style layers", 9),
        case("a content weight of 0", weights=(0.0, 20.0)),
        case("a style weight of 0", weights=(1.5, 0.0)),
        case("weights of 0", weights=(0.0, 0.0)),
        case("whole numbers as weights", weights=(1, 100)),
        case("a large style weight", weights=(1.0, 1e6)),
        case("small weights", weights=(1e-3, 1e-2)),
        case("large losses", scale=1e4),
        case("small losses", scale=1e-3),
        SpecialCase("losses of 0", (zero, [zero.clone(), zero.clone()], 1.0, 100.0), "right"),
    ]


def _lesson_weights(c: Tensor, s: list[Tensor], a: float, b: float) -> Tensor:
    return c + 100 * _mean(s)


TOTAL = ExerciseSpec(
    scalar=True,
    arguments=("content_loss", "style_losses", "content_weight", "style_weight"),
    cases=lambda g: [
        (_numbers(g, 1)[0], _numbers(g, n), float(_numbers(g, 1)[0]) * 2, float(_numbers(g, 1)[0]) * 10)
        for n in (3, 6, 4)
    ],
    special=_special_totals,
    advice="add content_weight * content_loss and style_weight times the mean of the style losses.",
    axes="N",
    references=(lambda c, s, a, b: a * c + b * _mean(s),),
    example=(torch.tensor(3.0), [torch.tensor(1.0), torch.tensor(5.0)], 2.0, 10.0),
    differentiable=(0, 1),
    mistakes=(
        Mistake(
            "sum-instead-of-mean",
            "adds the style layers up: take their mean, so that another layer doesn't change the balance.",
            lambda c, s, a, b: a * c + b * sum(s),
        ),
        Mistake(
            "weights-swapped",
            "has the two weights the wrong way round.",
            lambda c, s, a, b: b * c + a * _mean(s),
            lambda c, s, a, b: b * c + a * sum(s),
        ),
        Mistake(
            "weight-forgotten",
            "leaves a weight out: each of the two losses has its own.",
            lambda c, s, a, b: c + _mean(s),
            lambda c, s, a, b: c + sum(s),
            lambda c, s, a, b: c + b * _mean(s),
            lambda c, s, a, b: a * c + _mean(s),
        ),
        Mistake(
            "weight-on-both",
            "multiplies both losses by one weight: mind the brackets.",
            lambda c, s, a, b: b * (c + _mean(s)),
            lambda c, s, a, b: a * (c + _mean(s)),
            lambda c, s, a, b: (a * c + _mean(s)) * b,
            lambda c, s, a, b: a * (c + b * _mean(s)),
            lambda c, s, a, b: a * b * (c + _mean(s)),
        ),
        Mistake(
            "loss-forgotten",
            "holds only one of the two losses: add content and style.",
            lambda c, s, a, b: a * c,
            lambda c, s, a, b: b * _mean(s),
            lambda c, s, a, b: b * sum(s),
        ),
        Mistake(
            "one-layer-only",
            "looks at one style layer alone: take the mean of all.",
            lambda c, s, a, b: a * c + b * s[0],
            lambda c, s, a, b: a * c + b * s[-1],
        ),
        Mistake(
            "all-averaged",
            "divides the content loss by the number of style layers as well: take the mean of the style losses alone.",
            lambda c, s, a, b: (a * c + b * sum(s)) / len(s),
        ),
        Mistake(
            "not-a-mean",
            "puts the style layers together by something else than their mean, sum(style_losses) / len(style_losses).",
            lambda c, s, a, b: a * c + b * max(s),
            lambda c, s, a, b: a * c + b * min(s),
            lambda c, s, a, b: a * c + b * torch.stack(s).median(),
            lambda c, s, a, b: a * c + b * torch.stack(s).prod() ** (1 / len(s)),
            lambda c, s, a, b: a * c + b * torch.stack(s).prod(),
            lambda c, s, a, b: a * c + b * torch.stack(s).square().mean().sqrt(),
            lambda c, s, a, b: a * c + b * sum(s) / (len(s) + 1),
            lambda c, s, a, b: a * c + b * sum(s) / (len(s) - 1),
        ),
        Mistake(
            "fixed-count",
            "divides by a fixed number of layers, which is written into the code: divide by len(style_losses).",
            *(lambda c, s, a, b, n=n: a * c + b * sum(s) / n for n in range(2, 20)),
        ),
        Mistake(
            "subtracted",
            "subtracts one loss from the other: add content and style.",
            lambda c, s, a, b: a * c - b * _mean(s),
            lambda c, s, a, b: b * _mean(s) - a * c,
        ),
        Mistake(
            "multiplied",
            "multiplies content and style: add them.",
            lambda c, s, a, b: a * c * b * _mean(s),
            lambda c, s, a, b: a * c * b * sum(s),
        ),
        Mistake(
            "squared",
            "squares the losses or the weights: they come ready, so weight and add them.",
            lambda c, s, a, b: a * c**2 + b * _mean([x**2 for x in s]),
            lambda c, s, a, b: a**2 * c + b**2 * _mean(s),
            lambda c, s, a, b: a * c**2 + b * _mean(s) ** 2,
        ),
        Mistake(
            "root-of-weights",
            "takes the root of the weights: use them as they come.",
            lambda c, s, a, b: a**0.5 * c + b**0.5 * _mean(s),
        ),
        Mistake(
            "own-weights",
            "ignores the weights that come, and has its own written in: use content_weight and style_weight.",
            _lesson_weights,
            *(lambda c, s, a, b, n=n: c + n * _mean(s) for n in (10, 1000, 1e4, 1e5, 1e6)),
        ),
        Mistake(
            "divided-twice",
            "divides the style losses by their number twice.",
            lambda c, s, a, b: a * c + b * _mean(s) / len(s),
        ),
        Mistake(
            "halved",
            "is an average of the two parts: add them.",
            lambda c, s, a, b: (a * c + b * _mean(s)) / 2,
            lambda c, s, a, b: (a * c + b * _mean(s)) / (a + b),
            lambda c, s, a, b: (a * c + b * sum(s)) / (1 + len(s)),
        ),
    ),
)
