"""What right and wrong total losses look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..probes import probe_total_loss
from ..variants import Variants

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


def _halving_mean(s: list[Tensor]) -> Tensor:
    weights = [0.5**i for i in range(len(s))]
    return torch.stack([w * x for w, x in zip(weights, s, strict=True)]).sum() / sum(weights)


def _varied(
    c: Tensor,
    s: list[Tensor],
    a: float,
    b: float,
    *,
    layers: Callable[[list[Tensor]], list[Tensor]],
    mean: Callable[[list[Tensor]], Tensor],
    weights: Callable[[float, float], tuple[float, float]],
    content: Callable[[Tensor, list[Tensor]], Tensor],
    join: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    first, second = weights(a, b)
    return join(first * content(c, s), second * mean(layers(s)))


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
            "all-averaged",
            "averages the content loss with the style losses: take the mean of the style losses alone.",
            lambda c, s, a, b: (a * c + b * sum(s)) / (1 + len(s)),
        ),
    ),
    probe=probe_total_loss,
    variants=Variants(
        _varied,
        layers=(
            Variant(lambda s: s),
            *(
                Variant(lambda s, k=k: s[k], "one-layer-only", "looks at one style layer alone: take the mean of all.")
                for k in (slice(0, 1), slice(-1, None))
            ),
            *(
                Variant(lambda s, k=k: s[k], "layer-left-out", "leaves a style layer out: take the mean of all.")
                for k in (slice(1, None), slice(0, -1))
            ),
            Variant(lambda s: [x**2 for x in s], "squared", "squares the style losses: they come ready."),
        ),
        mean=(
            Variant(lambda s: torch.stack(s).mean()),
            Variant(
                lambda s: torch.stack(s).sum(),
                "sum-instead-of-mean",
                "adds the style layers up: take their mean, so that another layer doesn't change the balance.",
            ),
            *(
                Variant(
                    how,
                    "not-a-mean",
                    f"takes {name}: take the mean of the style losses, sum(style_losses) / len(style_losses).",
                )
                for name, how in {
                    "the largest style loss": max,
                    "the smallest style loss": min,
                    "the median": lambda s: torch.stack(s).median(),
                    "the product": lambda s: torch.stack(s).prod(),
                    "a geometric mean": lambda s: torch.stack(s).prod() ** (1 / len(s)),
                    "the root of a mean of squares": lambda s: torch.stack(s).square().mean().sqrt(),
                    "a mean over one more than there are": lambda s: sum(s) / (len(s) + 1),
                    "a mean over one fewer than there are": lambda s: sum(s) / (len(s) - 1),
                    "a mean whose weights halve from layer to layer": _halving_mean,
                }.items()
            ),
            Variant(lambda s: _mean(s) / len(s), "divided-twice", "divides the style losses by their number twice."),
            *(
                Variant(
                    lambda s, n=n: sum(s) / n,
                    "fixed-count",
                    "divides by a fixed number of layers, which is written into the code: divide by len(style_losses).",
                )
                for n in range(2, 13)
            ),
        ),
        weights=(
            Variant(lambda a, b: (a, b)),
            Variant(lambda a, b: (b, a), "weights-swapped", "has the two weights the wrong way round."),
            *(
                Variant(weights, "weight-forgotten", "leaves a weight out: each of the two losses has its own.")
                for weights in (lambda a, b: (1, 1), lambda a, b: (1, b), lambda a, b: (a, 1))
            ),
            *(
                Variant(weights, "weight-on-both", "multiplies both losses by one weight: mind the brackets.")
                for weights in (
                    lambda a, b: (b, b),
                    lambda a, b: (a, a),
                    lambda a, b: (a * b, b),
                    lambda a, b: (a, a * b),
                )
            ),
            Variant(lambda a, b: (a * b, a * b), "weight-on-both", "multiplies both losses by both weights."),
            Variant(
                lambda a, b: (a / (a + b), b / (a + b)),
                "weights-divided",
                "divides by the sum of the weights: use them as they come.",
            ),
            *(
                Variant(weights, "weights-changed", "changes the weights first: use them as they come.")
                for weights in (lambda a, b: (a**0.5, b**0.5), lambda a, b: (a**2, b**2))
            ),
            *(
                Variant(
                    lambda a, b, n=n: (1, n),
                    "own-weights",
                    "ignores the weights that come, and has its own written in: use content_weight and style_weight.",
                )
                for n in (10, 100, 1000, 1e4, 1e5, 1e6)
            ),
        ),
        content=(
            Variant(lambda c, s: c),
            Variant(lambda c, s: c / len(s), "all-averaged", "divides the content loss by the number of style layers."),
            Variant(lambda c, s: c**2, "squared", "squares the content loss: it comes ready."),
        ),
        join=(
            Variant(lambda a, b: a + b),
            Variant(lambda a, b: a - b, "subtracted", "subtracts one loss from the other: add content and style."),
            Variant(lambda a, b: b - a, "subtracted", "subtracts one loss from the other: add content and style."),
            Variant(lambda a, b: a * b, "multiplied", "multiplies content and style: add them."),
            Variant(lambda a, b: a, "loss-forgotten", "holds only the content loss: add the style."),
            Variant(lambda a, b: b, "loss-forgotten", "holds only the style loss: add the content."),
            Variant(lambda a, b: (a + b) / 2, "halved", "is an average of the two parts: add them."),
            Variant(torch.maximum, "larger-only", "takes the larger of the two parts: add them."),
        ),
    ),
)
