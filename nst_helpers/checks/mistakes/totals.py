"""What right and wrong total variations, total losses and converted weights look like, and a sentence a mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from ...conventions import PUBLISHED, PublishedWeights
from ..functions import ExerciseSpec
from ..verdicts import Mistake

__all__ = ["CONVERT", "TOTAL", "TV"]


def _differences(x: Tensor, dims: tuple[int, int] = (2, 3)) -> list[Tensor]:
    return [x.narrow(d, 1, x.shape[d] - 1) - x.narrow(d, 0, x.shape[d] - 1) for d in dims]


def _mean_of(x: Tensor, size: Callable[[Tensor], Tensor], dims: tuple[int, int] = (2, 3)) -> Tensor:
    return torch.stack([size(d).mean() for d in _differences(x, dims)]).sum()


TV = ExerciseSpec(
    scalar=True,
    arguments=("image",),
    cases=lambda g: [(torch.rand(s, generator=g),) for s in ((2, 3, 5, 7), (3, 3, 4, 6), (2, 3, 8, 3))],
    references=(lambda x: _mean_of(x, torch.abs),),
    example=(torch.tensor([[[[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]]]]),),
    differentiable=(0,),
    mistakes=(
        Mistake(
            "sum-instead-of-mean",
            "grows with the size of the image: take means, not sums.",
            lambda x: sum(d.abs().sum() for d in _differences(x)),
            lambda x: sum(d.abs().sum() for d in _differences(x)) / len(x),
        ),
        Mistake(
            "one-direction",
            "looks in one direction only: add the vertical and the horizontal mean.",
            lambda x: _differences(x)[0].abs().mean(),
            lambda x: _differences(x)[1].abs().mean(),
        ),
        Mistake(
            "squared",
            "squares the differences: take their absolute values.",
            lambda x: _mean_of(x, torch.square),
            lambda x: sum(d.square().sum() for d in _differences(x)),
        ),
        Mistake(
            "sign-kept",
            "lets rising and falling differences cancel: take abs() before the mean.",
            lambda x: _mean_of(x, lambda d: d),
            lambda x: -_mean_of(x, lambda d: d),
            lambda x: sum(d.mean().abs() for d in _differences(x)),
        ),
        Mistake(
            "wrapped-around",
            "compares one border with the opposite one, as torch.roll does: use slices, [1:] minus [:-1].",
            lambda x: sum((x - x.roll(s, d)).abs().mean() for d, s in ((2, 1), (3, 1))),
        ),
        Mistake(
            "wrong-divisor",
            "is divided by the number of pixels, but there are fewer differences than pixels: use mean().",
            lambda x: sum(d.abs().sum() for d in _differences(x)) / x.numel(),
        ),
        Mistake(
            "one-mean",
            "averages both directions together: take a mean for each, and add the two.",
            lambda x: torch.cat([d.abs().flatten() for d in _differences(x)]).mean(),
        ),
        Mistake("halved", "is half of what it should be: add the two means.", lambda x: _mean_of(x, torch.abs) / 2),
        Mistake(
            "wrong-axes",
            "takes differences along the wrong axes: in (B, C, H, W), height is axis 2 and width axis 3.",
            *(
                lambda x, dims=dims: _mean_of(x, torch.abs, dims)
                for dims in itertools.combinations_with_replacement(range(4), 2)
                if dims != (2, 3)
            ),
        ),
    ),
)


def _numbers(g: torch.Generator, count: int) -> list[Tensor]:
    return list(torch.rand(count, generator=g) + 0.5)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


TOTAL = ExerciseSpec(
    scalar=True,
    arguments=("content_loss", "style_losses", "content_weight", "style_weight"),
    cases=lambda g: [
        (_numbers(g, 1)[0], _numbers(g, n), float(_numbers(g, 1)[0]) * 2, float(_numbers(g, 1)[0]) * 10)
        for n in (3, 5, 2)
    ],
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


def _by_powers(
    scale: int = 2, divisor: int = 2, reduction: int = 2, layer: int = 2
) -> Callable[[float, str, str, int], float]:
    """The conversion with other powers of the input scale and of the channels than the right ones."""

    def factor(setting: PublishedWeights, channels: int) -> float:
        power = divisor * (setting.gram_divisor == "CHW")
        power += reduction * (setting.reduction == "mean") + layer * (setting.layer_weight == "1/C^2")
        return setting.input_scale**scale / channels**power

    return lambda w, a, b, c: w * factor(PUBLISHED[a], c) / factor(PUBLISHED[b], c)


_PAIRS = (
    ("pytorch_tutorial", "gatys_notebook"),
    ("gordicaleksa", "d2l"),
    ("neural_style_pt", "gordicaleksa"),
    ("gatys_notebook", "d2l"),
)

CONVERT = ExerciseSpec(
    scalar=True,
    arguments=("weight", "source", "target", "channels"),
    cases=lambda g: [
        (float(torch.rand((), generator=g) + 0.5), a, b, n) for (a, b), n in zip(_PAIRS, (6, 9, 5, 12), strict=True)
    ],
    references=(_converted,),
    example=(1.0, "gordicaleksa", "neural_style_pt", 4),
    kind="number",
    mistakes=(
        Mistake("unchanged", "gives the weight back as it came: divide the two systems' factors.", lambda w, *_: w),
        Mistake(
            "inverted",
            "goes the wrong way, from target to source: a system with a smaller loss needs a larger weight.",
            lambda w, a, b, c: w * _by_powers()(1.0, b, a, c),
        ),
        Mistake(
            "scale-forgotten", "leaves the input scale out: 0-255 inputs need less style weight.", _by_powers(scale=0)
        ),
        Mistake(
            "scale-power",
            "has the wrong power of the input scale: the style loss grows by its fourth power, the content loss by its "
            "square, so the square remains.",
            *(_by_powers(scale=n) for n in (1, 3, 4, -2)),
        ),
        Mistake(
            "reduction-forgotten", "leaves out that a mean over C x C entries divides by C^2.", _by_powers(reduction=0)
        ),
        Mistake(
            "divisor-forgotten", "leaves out that some divide the Gram matrix by C as well.", _by_powers(divisor=0)
        ),
        Mistake("layer-weight-forgotten", "leaves out the layer weight of 1/C^2.", _by_powers(layer=0)),
        Mistake(
            "channel-power",
            "has the wrong power of C: what divides the Gram matrix divides the loss by its square.",
            _by_powers(divisor=1),
            _by_powers(reduction=1),
            _by_powers(divisor=1, reduction=1),
            _by_powers(divisor=1, reduction=1, layer=1),
            _by_powers(layer=1),
        ),
    ),
)
