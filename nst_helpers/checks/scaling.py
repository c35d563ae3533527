"""Values that are right but for a factor: a constant, a power of the sizes, or a fixed number in place of a size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from .known import ExerciseSpec
from .values import close, in_words
from .verdicts import MistakeFound

__all__ = ["factor_or_power", "off_by_a_factor", "uneven"]

_SIZES = {"N": "the number of layers"}


def off_by_a_factor(
    spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor], right: Sequence[Tensor]
) -> MistakeFound | None:
    """One factor between all answers and the right values, or one that is a power of the sizes."""
    ratios = [_ratio(a, r) for a, r in zip(answers, right, strict=True)]
    if any(r is None for r in ratios):
        return None
    factors = [r for r in ratios if r is not None]
    if all(math.isclose(f, factors[0], rel_tol=1e-3) for f in factors):
        if math.isclose(factors[0], 1, rel_tol=1e-3):
            return None
        if math.isclose(factors[0], -1, rel_tol=1e-3):
            return MistakeFound("wrong-sign", "has the wrong sign: what is positive comes out negative.")
        sentence = f"is {in_words(factors[0])} times the right value, always: look for a constant factor."
        return MistakeFound("wrong-factor", sentence)
    if any(f < 0 for f in factors):
        return None
    power = _power_of_sizes(spec, cases, factors)
    if power:
        return MistakeFound("wrong-divisor", f"is {power}: {spec.advice}")
    return None


def uneven(spec: ExerciseSpec, answers: Sequence[Tensor], right: Sequence[Tensor]) -> MistakeFound | None:
    """One factor in each result, but another one in the next."""
    ratios = [_ratio(a, r) for a, r in zip(answers, right, strict=True)]
    factors = [r for r in ratios if r is not None and r > 0]
    if len(factors) < len(answers) or all(answer.numel() == 1 for answer in answers):
        return None
    between = f"between {in_words(min(factors))} and {in_words(max(factors))} times the right value"
    return MistakeFound("wrong-divisor", f"is {between}, depending on the input: {spec.advice}")


def _ratio(answer: Tensor, right: Tensor) -> float | None:
    """The one factor between an answer and the right values; None where there isn't one."""
    answer, right = answer.double(), right.double()
    factor = float((answer * right).sum() / right.square().sum().clamp_min(1e-300))
    fits = factor != 0 and math.isfinite(factor) and close(answer / factor, right)
    return factor if fits else None


def _power_of_sizes(spec: ExerciseSpec, cases: Sequence[tuple], factors: Sequence[float]) -> str:
    """In words, the product of sizes by which all values are too large or too small; "" if there is none."""
    if not spec.axes:
        return ""
    sizes = []
    for case in cases:
        shape = case[0].shape if hasattr(case[0], "shape") else ()
        known = dict(zip(spec.axes, shape, strict=False))
        if spec.axes == "N":
            known = {"N": len(case[1])}
        if "H" in known:
            known["H * W"] = known["H"] * known["W"]
        sizes.append(known)
    names = list(sizes[0])
    logs = torch.tensor([[math.log(known[n]) for n in names] for known in sizes], dtype=torch.float64)
    wanted = torch.tensor([math.log(f) for f in factors], dtype=torch.float64)
    for powers in _few_powers(len(names)):
        rest = wanted - logs @ torch.tensor(powers, dtype=torch.float64)
        if (rest - rest.mean()).abs().max() > 1e-3:
            continue
        up, down = (_product(names, powers, sign) for sign in (1, -1))
        if abs(float(rest.mean())) < 1e-3:
            if up and down:
                return f"{up} / {down} times the right value"
            return f"{up} times too large" if up else f"{down} times too small"
        if up and not down:
            number = in_words(math.exp(-float(rest.mean())))
            return f"divided by a fixed number, {number}, where {up} belongs, so a size is written into the code"
        number = in_words(math.exp(float(rest.mean())))
        if not up:
            return f"{number} / ({down}) times the right value"
    return ""


@cache
def _few_powers(count: int) -> list[tuple[float, ...]]:
    """Powers of one size or of two, the simplest first."""
    found = []
    for places in (*itertools.combinations(range(count), 1), *itertools.combinations(range(count), 2)):
        for powers in itertools.product((-1, 1, -2, 2, -0.5, 0.5), repeat=len(places)):
            found.append(tuple(dict(zip(places, powers, strict=True)).get(i, 0.0) for i in range(count)))
    return sorted(found, key=lambda powers: (sum(x != 0 for x in powers), sum(map(abs, powers))))


def _product(names: Sequence[str], powers: Sequence[float], sign: int) -> str:
    words = {1: "{}", 2: "({})^2", 0.5: "sqrt({})"}
    parts = [words[abs(p)].format(_SIZES.get(n, n)) for n, p in zip(names, powers, strict=True) if p * sign > 0]
    return " * ".join(parts)


def factor_or_power(image: Tensor, array: Tensor) -> tuple[str, str] | None:
    """Another factor than 255 from an image to bytes, or a power, read off the values."""
    image, answer = image[0].permute(1, 2, 0).double(), array.double()
    if answer.shape != image.shape:
        return None
    factor = float((answer * image).sum() / image.square().sum())
    if factor > 1 and bool(((image * round(factor)).clamp(0, 255) - answer).abs().max() <= 1):
        return "wrong-factor", f"is multiplied by {round(factor)}: 1 has to become 255, the largest byte."
    middle = (answer > 20) & (answer < 235) & (image > 0.02)
    powers = (answer / 255)[middle].log() / image[middle].log()
    if len(powers) > 9 and float(powers.std()) < 0.05:
        power = float(powers.mean())
        return "gamma", f"raises the values to a power, about {power:.2g}, as gamma correction does: multiply alone."
    return None
