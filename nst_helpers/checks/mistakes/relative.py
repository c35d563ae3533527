"""The mistakes in a relative squared distance, sum (a - b)^2 / sum b^2, of features or of Gram matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..known import Mistake, Variant
from ..variants import Variants

__all__ = ["loss_mistakes", "loss_variants"]


def _mean_over_images(loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    pairs = zip(a.split(1), b.expand_as(a).split(1), strict=True)
    return torch.stack([loss(x, y) for x, y in pairs]).mean()


def _norm(x: Tensor) -> Tensor:
    return x.square().sum().sqrt()


def _huber(d: Tensor) -> Tensor:
    if d.abs().max() < 1:
        raise ValueError("half a square: not to be told from a loss that is halved")
    return torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5)


def _varied(
    a: Tensor,
    b: Tensor,
    *,
    see: Callable[[Tensor], Tensor],
    join: Callable[[Tensor, Tensor], Tensor],
    power: Callable[[Tensor], Tensor],
    above: Callable[[Tensor], Tensor],
    below: Callable[[Tensor, Tensor], Tensor],
    batch: Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor], Tensor],
    finish: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """finish(sum of power(join(a, b)) over a sum for b), image by image or for the whole batch."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return above(power(join(see(x), see(y)))) / below(see(x), see(y))

    return finish(batch(loss, a, b), a)


def loss_variants(a: str, b: str, *, batches: bool = True) -> Variants:
    """The mistakes in sum (a - b)^2 / sum b^2."""
    return Variants(
        _varied,
        batch=_batches(b) if batches else (Variant(_whole),),
        below=_divisors(a, b),
        above=_sums(),
        power=_powers(a, b),
        join=_differences(a, b),
        see=_changed_inputs(a, b),
        finish=_changed_results(b),
    )


def _whole(loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    return loss(a, b)


def _batches(b: str) -> tuple[Variant, ...]:
    """How several images become one loss."""
    return (
        Variant(_mean_over_images),
        Variant(_whole),
        Variant(
            lambda loss, x, y: _mean_over_images(loss, x, y) * len(x),
            "batch-summed",
            "grows with the number of images: take the mean over the batch.",
        ),
        Variant(
            lambda loss, x, y: loss(x[:1], y[:1]),
            "first-image-only",
            "looks at the first image of the batch alone: keep all of them.",
        ),
        Variant(
            lambda loss, x, y: loss(x[-1:], y[-1:]),
            "last-image-only",
            "looks at the last image of the batch alone: keep all of them.",
        ),
        Variant(
            lambda loss, x, y: _mean_over_images(loss, x.flatten(0, 1)[:, None], y.flatten(0, 1)[:, None]),
            "channel-by-channel",
            f"divides channel by channel: sum over the channels, too, and divide once by ({b} ** 2).sum().",
        ),
    )


def _divisors(a: str, b: str) -> tuple[Variant, ...]:
    """What the sum is divided by."""
    denominator = f"({b} ** 2).sum()"
    plain = f"is the plain sum of squares: divide by {denominator}, so that layers of any size compare."
    not_squared = f"is divided by something that isn't squared: divide by {denominator}."
    more = f"is divided by more than the target: divide by {denominator} alone."
    mean_below = "takes a sum above the line and a mean below it: use sum() in both."
    return (
        Variant(lambda x, y: (y**2).sum()),
        Variant(lambda x, y: torch.ones(()), "missing-divisor", plain),
        Variant(
            lambda x, y: torch.tensor(float(y.numel())),
            "not-relative",
            f"is the mean squared error: divide the sum of squares by {denominator}, not by how many there are.",
        ),
        Variant(lambda x, y: (y**2).mean(), "sum-instead-of-mean", mean_below),
        Variant(
            lambda x, y: (x**2).sum(),
            "wrong-denominator",
            f"is divided by the squares of {a} itself: divide by {denominator}, which stays the same during a run.",
        ),
        Variant(lambda x, y: _norm(y), "divisor-not-squared", not_squared),
        Variant(lambda x, y: y.sum(), "divisor-not-squared", not_squared),
        Variant(lambda x, y: y.abs().sum(), "divisor-not-squared", not_squared),
        Variant(
            lambda x, y: y.sum() ** 2,
            "squared-after-sum",
            f"squares the sum of the {b}: square each entry first, and add up then.",
        ),
        Variant(lambda x, y: (x**2).sum() + (y**2).sum(), "both-in-denominator", more),
        Variant(lambda x, y: 1 + (y**2).sum(), "both-in-denominator", more),
        Variant(lambda x, y: _norm(x) * _norm(y), "both-in-denominator", more),
        Variant(
            lambda x, y: y.var() * y.numel(),
            "variance-below",
            f"is divided by the variance of the {b}, from which its mean is gone: divide by {denominator}.",
        ),
        *(
            Variant(
                lambda x, y, number=number: (y**2).sum() + number,
                "added-to-denominator",
                f"adds a number to what it divides by, so the loss is too small: divide by {denominator} alone.",
            )
            for number in (1e-3, 1e-2, 0.1, 0.5)
        ),
        Variant(lambda x, y: (y**2).sum() ** 2, "divided-twice", f"is divided by {denominator} twice."),
    )


def _sums() -> tuple[Variant, ...]:
    """How the squares become one number."""
    return (
        Variant(torch.sum),
        Variant(
            torch.mean,
            "mean-instead-of-sum",
            "takes a mean above the line and a sum below it: use sum() in both.",
        ),
        Variant(torch.amax, "largest-only", "takes the largest difference alone: sum over all of them."),
    )


def _powers(a: str, b: str) -> tuple[Variant, ...]:
    """What is done to each difference."""
    return (
        Variant(torch.square),
        Variant(torch.abs, "not-squared", "takes absolute differences: square them."),
        Variant(lambda d: d, "precedence", f"doesn't square the difference: write (({a} - {b}) ** 2)."),
        Variant(lambda d: d.abs() ** 3, "other-power", "takes another power than the square."),
        Variant(lambda d: d**4, "other-power", "takes another power than the square."),
        Variant(torch.sqrt, "other-power", "takes another power than the square."),
    )


def _differences(a: str, b: str) -> tuple[Variant, ...]:
    """How the two are compared."""
    one_side = "counts only where the one is larger than the other, as relu does: count negative differences, too."
    subtracts_squares = f"subtracts squares: subtract first, and square then, (({a} - {b}) ** 2)."
    return (
        Variant(torch.sub),
        Variant(torch.add, "added", f"adds {a} and {b}, where their difference is wanted: subtract."),
        Variant(lambda x, y: (x - y).relu(), "one-side-only", one_side),
        Variant(lambda x, y: (y - x).relu(), "one-side-only", one_side),
        Variant(
            lambda x, y: x - y**2,
            "precedence",
            f"squares {b} before it subtracts, since ** binds tighter than -: write (({a} - {b}) ** 2).",
        ),
        Variant(lambda x, y: x**2 - y**2, "squares-subtracted", subtracts_squares),
        Variant(
            lambda x, y: x - y.mean(), "mean-subtracted", f"subtracts the mean of the {b}: subtract entry by entry."
        ),
    )


def _changed_inputs(a: str, b: str) -> tuple[Variant, ...]:
    """What is done to the two before."""
    own = f"divides {a} and {b} each by its own norm first, so their strength gets lost: leave both as they come."
    return (
        Variant(lambda x: x),
        Variant(torch.relu, "negatives-dropped", "drops negative values first, as relu does: keep them."),
        Variant(torch.abs, "sign-lost", "takes abs() first: take the values as they come."),
        Variant(lambda x: x - x.mean(), "centred", "subtracts the mean first: take the values as they come."),
        Variant(lambda x: x / _norm(x), "own-scale", own),
        Variant(lambda x: x / x.abs().max(), "own-scale", own),
    )


def _changed_results(b: str) -> tuple[Variant, ...]:
    """What is done to the loss afterwards."""
    denominator = f"({b} ** 2).sum()"
    sizes = "is divided by a size of its input as well"
    return (
        Variant(lambda value, x: value),
        Variant(
            lambda value, x: value.abs().sqrt(),
            "root-taken",
            "takes a square root, as torch.norm does: use the squares themselves.",
        ),
        Variant(lambda value, x: value / 2, "halved", "is half of what it should be: leave out the factor 1/2."),
        Variant(
            lambda value, x: value / 4, "quartered", "is a quarter of what it should be: leave out the factor 1/4."
        ),
        *(
            Variant(
                lambda value, x, axis=axis, p=p: value / x.shape[axis] ** p,
                "divided-by-size",
                f"{sizes}, {name}: divide by {denominator} alone.",
            )
            for axis, name in ((0, "the number of images"), (1, "the number of channels"))
            for p in (1, 2, 4)
        ),
    )


def loss_mistakes(a: str, b: str) -> tuple[Mistake, ...]:
    """The mistakes in sum (a - b)^2 / sum b^2 that are no variant of the formula."""
    return (
        Mistake(
            "squared-after-sum",
            "squares a sum: square each entry first, and add up then.",
            lambda x, y: (x - y).sum() ** 2 / (y**2).sum(),
            lambda x, y: (x - y).sum() ** 2 / y.sum() ** 2,
            lambda x, y: (x - y).mean() ** 2,
            lambda x, y: ((x - y).flatten(1).sum(1) ** 2 / (y**2).flatten(1).sum(1)).mean(),
            lambda x, y: ((x - y).flatten(1).sum(1) ** 2 / y.flatten(1).sum(1) ** 2).mean(),
        ),
        Mistake(
            "not-squared",
            "takes absolute differences: square them.",
            lambda x, y: (x - y).abs().sum() / y.abs().sum(),
            lambda x, y: (x - y).abs().mean(),
        ),
        Mistake(
            "root-taken",
            "takes a square root, as torch.norm does: use the squares themselves.",
            lambda x, y: _norm(x - y),
            lambda x, y: _mean_over_images(lambda a, b: _norm(a - b) / _norm(b), x, y),
        ),
        Mistake(
            "precedence",
            f"squares only one side, since ** binds tighter than -: write (({a} - {b}) ** 2).",
            lambda x, y: (x - y**2).sum() / (y**2).sum(),
            lambda x, y: (x - y**2).sum(),
            lambda x, y: (x - y**2).mean(),
        ),
        *_other_distances(a, b),
    )


def _other_distances(a: str, b: str) -> tuple[Mistake, ...]:
    """Distances that people know from elsewhere."""
    denominator = f"({b} ** 2).sum()"
    return (
        Mistake(
            "entry-by-entry",
            f"divides entry by entry: sum the squares above and below the line, and divide then by {denominator}.",
            lambda x, y: ((x - y) ** 2 / y**2).mean(),
            lambda x, y: ((x - y) ** 2 / y**2).sum(),
            lambda x, y: ((x - y) / y).abs().mean(),
        ),
        Mistake(
            "cosine",
            f"is a cosine distance, which compares directions alone: sum (({a} - {b}) ** 2), divide by {denominator}.",
            lambda x, y: 1 - (x * y).sum() / (_norm(x) * _norm(y)),
            lambda x, y: 1 - torch.nn.functional.cosine_similarity(x.flatten(1), y.expand_as(x).flatten(1)).mean(),
        ),
        Mistake(
            "other-power",
            "takes another power than the square.",
            lambda x, y: ((x - y).abs() ** 3).sum() / (y.abs() ** 3).sum(),
            lambda x, y: ((x - y) ** 4).sum() / (y**4).sum(),
        ),
        Mistake(
            "largest-only",
            "compares the largest entries alone: sum over all of them.",
            lambda x, y: (x - y).abs().max() / y.abs().max(),
            lambda x, y: ((x - y).abs().max() / y.abs().max()) ** 2,
        ),
        Mistake(
            "huber",
            "is a Huber loss, which doesn't square large differences: square all of them.",
            lambda x, y: _huber(x - y).sum() / _huber(y).sum(),
            lambda x, y: _huber(x - y).sum() / (y**2).sum(),
            lambda x, y: _huber(x - y).mean(),
        ),
    )
