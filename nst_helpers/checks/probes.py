"""A closer look at an answer that no known mistake explains: it is called with inputs that take its formula apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .values import close, generator, in_words

__all__ = ["probe_loss", "probe_total_loss", "probe_total_variation"]

_Call = Callable[..., Tensor]
_Found = tuple[str, str] | None


def probe_loss(cases: Sequence[tuple], call: _Call) -> _Found:
    """A relative distance: whether what stands above the line is right, and what stands below it."""
    target = cases[0][1]
    noise = torch.randn(target.shape, generator=generator(6))
    features = [target + noise, target - 0.5 * noise, target + torch.randn(target.shape, generator=generator(7))]
    found = [float(call(x, target)) for x in features]
    squares = [float(((x - target).double() ** 2).sum()) for x in features]
    if not all(found):
        return "loss-zero", "is 0 for some features that differ from the target: compare all of both."
    divisors = torch.tensor([s / f for s, f in zip(squares, found, strict=True)], dtype=torch.float64)
    right = float((target.double() ** 2).sum())
    if close(divisors, divisors[:1].expand(3), tolerance=1e-3):
        divided = f"is the sum of squared differences divided by {in_words(divisors[0])}, where (target ** 2).sum()"
        return "wrong-divisor", f"{divided} = {in_words(right)} is right."
    doubled = float(call(target + 2 * noise, target)) / found[0]
    if abs(doubled - 4) > 0.2:
        growth = f"grows {in_words(doubled, 3)} times where the difference doubles, and 4 times is right"
        return "not-squared", f"{growth}: square the difference, and divide by the target's squares alone."
    return None


def probe_total_loss(cases: Sequence[tuple], call: _Call) -> _Found:
    """A weighted sum: what each loss is multiplied by."""
    content, style, first, second = cases[0]
    base = float(call(content, style, first, second))
    got = [float(call(content + 1, style, first, second)) - base]
    for place in range(len(style)):
        other = [s + (i == place) for i, s in enumerate(style)]
        got.append(float(call(content, other, first, second)) - base)
    wanted = [float(first), *[float(second) / len(style)] * len(style)]
    names = ["content_loss", *(f"style_losses[{i}]" for i in range(len(style)))]
    for name, one, right in zip(names, got, wanted, strict=True):
        if abs(one - right) > 1e-3 * abs(right):
            given = f"content_weight = {in_words(first)} and style_weight = {in_words(second)}, {len(style)} layers"
            sentence = f"multiplies {name} by {in_words(one)} where {in_words(right)} is right, for {given}."
            return "wrong-coefficient", sentence
    return None


def probe_total_variation(cases: Sequence[tuple], call: _Call) -> _Found:
    """Pictures that are flat, vary in one direction alone, or have twice the contrast."""
    flat = float(call(torch.full((1, 3, 5, 6), 0.5)))
    if abs(flat) > 1e-3:
        return "not-zero", f"gives {in_words(flat)} for a flat picture, where all neighbours are equal: 0 is right."
    image = cases[0][0]
    value, doubled = float(call(image)), float(call(2 * image))
    if value and abs(doubled / value - 2) > 0.1:
        growth = f"grows {in_words(doubled / value, 3)} times where the contrast doubles, and twice is right"
        return "other-power", f"{growth}: take the absolute values of the differences, without powers or limits."
    ramp = torch.arange(4.0) * 0.2
    rows, columns = ramp[:, None].expand(1, 3, 4, 4), ramp[None].expand(1, 3, 4, 4)
    for picture, name in ((rows, "vertical"), (columns, "horizontal")):
        got = float(call(picture.clone()))
        if abs(got - 0.2) > 1e-3:
            sentence = f"gives {in_words(got)} where each {name} difference is 0.2, and all others are 0: 0.2 is right."
            return "one-direction", sentence
    lone = torch.zeros(1, 3, 5, 5)
    lone[..., 2, 2] = 1
    got, wanted = float(call(lone)), 4 / 20
    if abs(got - wanted) > 1e-3:
        sentence = (
            f"gives {in_words(got)} for one white pixel on black, and 0.2 is right: take the mean over all neighbours"
        )
        return "wrong-mean", f"{sentence}, in each direction by itself, and add the two."
    return None
