"""What right and wrong answers about weights and trade-offs look like: a ladder of weights, and the best trades."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..known import ExerciseSpec, Mistake, SpecialCase, Variant
from ..variants import Variants

__all__ = ["LADDER", "TRADES", "ends", "points"]


def ends(g: torch.Generator) -> tuple[float, float]:
    """A first and a last weight, a factor of 4 to 400 apart."""
    first, factor = torch.rand(2, generator=g).tolist()
    return 0.5 + 3 * first, (0.5 + 3 * first) * (4 + 396 * factor**2)


def _evenly(count: int) -> list[float]:
    """Numbers from 0 to 1 in equal steps."""
    return [i / (count - 1) for i in range(count)]


def _climbed(
    first: float,
    last: float,
    count: int,
    *,
    steps: Callable[[int], Iterable[float]] = _evenly,
    rung: Callable[[float, float, float], float] = lambda a, b, t: a * (b / a) ** t,
    finish: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    return finish(torch.tensor([rung(first, last, t) for t in steps(count)]))


_TOO_SOON = (
    "does not arrive at the last weight: between so many weights there is one step fewer, so divide by count - 1."
)

LADDER = ExerciseSpec(
    arguments=("first", "last", "count"),
    cases=lambda g: [(*ends(g), n) for n in (5, 3, 8)],
    special=lambda g: [
        SpecialCase("two weights", (2.0, 50.0, 2)),
        SpecialCase("whole numbers", (1, 625, 5)),
        SpecialCase("weights that fall", (100.0, 0.01, 5)),
        SpecialCase("weights below 1", (0.001, 0.1, 4)),
        SpecialCase("a first weight that is the last", (7.0, 7.0, 3)),
        SpecialCase("many weights", (1.0, 1000.0, 40)),
    ],
    references=(_climbed,),
    example=(1.0, 8.0, 4),
    advice="start at `first`, and multiply by the same factor each time.",
    mistakes=(
        Mistake(
            "one-missing",
            "has a weight too few: `count` weights, the first and the last among them.",
            shapes=lambda a, b, n: [(n - 1,)],
        ),
        Mistake(
            "one-too-many",
            "has a weight too many: `count` weights have count - 1 steps between them.",
            shapes=lambda a, b, n: [(n + 1,)],
        ),
        Mistake(
            "cumulative",
            "adds the weights up on the way: each is the one before it times the factor.",
            lambda a, b, n: _climbed(a, b, n).cumsum(0),
        ),
    ),
    variants=Variants(
        _climbed,
        steps=(
            Variant(_evenly),
            Variant(lambda n: (i / n for i in range(n)), "too-soon", _TOO_SOON),
            Variant(
                lambda n: (i / n for i in range(1, n + 1)),
                "first-left-out",
                "does not start at the first weight: the first has the factor's power 0.",
            ),
            Variant(
                lambda n: (i / (n + 1) for i in range(1, n + 1)),
                "ends-left-out",
                "leaves out both ends: the first and the last weight belong to it.",
            ),
            Variant(
                lambda n: (1 - i / (n - 1) for i in range(n)), "reversed", "goes from the last weight to the first."
            ),
            Variant(
                lambda n: range(n),
                "no-root",
                "goes from the first to the last in a single step, and on: the factor is the root of last / first, "
                "the one over count - 1.",
            ),
        ),
        rung=(
            Variant(lambda a, b, t: a * (b / a) ** t),
            Variant(
                lambda a, b, t: a + (b - a) * t,
                "equal-differences",
                "has equal differences: multiply by the same factor at each step, so that 1, 10, 100 are neighbours.",
            ),
            Variant(
                lambda a, b, t: (b / a) ** t,
                "starts-at-one",
                "starts at 1: multiply all by the first weight.",
            ),
            Variant(
                lambda a, b, t: a * b**t,
                "factor-of-last",
                "multiplies by powers of the last weight: the factor comes from last / first.",
            ),
            Variant(
                lambda a, b, t: a + (b - a) * t**2,
                "squares",
                "grows by squares: multiply by the same factor at each step.",
            ),
        ),
        finish=(
            Variant(lambda x: x),
            Variant(lambda x: x.round(), "rounded", "rounds the weights: leave their fractions."),
            Variant(lambda x: x.trunc(), "rounded", "cuts off the fractions: leave them."),
            Variant(
                lambda x: x.log10(),
                "exponents",
                "gives exponents: the weights themselves are wanted, 10 to that power.",
            ),
            Variant(lambda x: x.log(), "exponents", "gives logarithms: the weights themselves are wanted, so use exp."),
        ),
    ),
)


def points(g: torch.Generator, count: int) -> Tensor:
    """Content and style distances (count, 2) of pictures, some of which others beat."""
    content, luck = torch.rand(2, count, generator=g)
    # The first three lie on a curve; the others do, or lie behind it.
    content[:3] = torch.tensor([0.1, 0.4, 0.8]) + 0.1 * content[:3]
    behind = torch.where(luck < 0.4, 0.0, luck)
    behind[:3] = 0.0
    both = torch.stack([content + 0.5 * behind, 0.1 / (content + 0.1) + 0.5 * behind], 1)
    return both[torch.randperm(count, generator=g)]


def _stays(
    table: Tensor,
    *,
    beats: Callable[[Tensor, Tensor], bool] = lambda p, q: bool((p <= q).all() and (p < q).any()),
    keep: Callable[[bool], bool] = lambda beaten: not beaten,
    against: Callable[[list[Tensor], int], list[Tensor]] = lambda rows, i: rows,
) -> Tensor:
    rows = list(table)
    return torch.tensor([keep(any(beats(p, q) for p in against(rows, i))) for i, q in enumerate(rows)])


def _special_points(g: torch.Generator) -> list[SpecialCase]:
    def at(*rows: tuple[float, float]) -> tuple[Tensor]:
        return (torch.tensor(rows),)

    return [
        SpecialCase("a single picture", at((0.5, 0.2))),
        SpecialCase("one picture that beats all others", at((0.5, 0.5), (0.1, 0.1), (0.2, 0.4))),
        SpecialCase("pictures of which none beats another", at((0.3, 0.5), (0.1, 0.9), (0.7, 0.2))),
        SpecialCase("two pictures with the same two numbers, which both stay", at((0.2, 0.3), (0.4, 0.4), (0.2, 0.3))),
        SpecialCase("two pictures that are alike in one distance", at((0.2, 0.3), (0.2, 0.1), (0.1, 0.3))),
        SpecialCase("distances of very different size", at((1.0, 1e-4), (0.5, 2e-4), (0.7, 3e-4), (2.0, 5e-5))),
    ]


TRADES = ExerciseSpec(
    arguments=("points",),
    cases=lambda g: [(points(g, n),) for n in (11, 16, 24)],
    special=_special_points,
    references=(_stays,),
    example=(torch.tensor([[0.2, 0.9], [0.6, 0.1], [0.7, 0.5]]),),
    advice="a row stays unless another is at most as large in both columns and smaller in one.",
    dtype=torch.bool,
    mistakes=(
        Mistake(
            "smallest-sum",
            "keeps the smallest sum: the two distances have different units, so compare each with its own kind.",
            lambda x: x.sum(1) == x.sum(1).min(),
        ),
        Mistake(
            "rows-instead-of-answers",
            "gives rows: give True or False for each row, in a tensor (n,).",
            shapes=lambda x: [(k, 2) for k in range(len(x) + 1)],
        ),
        Mistake(
            "answers-in-columns",
            "gives an answer for each number: a row has one, so ask .all(dim=1) and .any(dim=1).",
            shapes=lambda x: [(len(x), 2), (len(x), len(x)), (len(x), 1)],
        ),
        Mistake(
            "nothing-kept",
            "keeps nothing: only a row that is at most as large in both columns, and smaller in one, beats another.",
            lambda x: torch.zeros(len(x), dtype=torch.bool),
        ),
        Mistake(
            "all-kept",
            "keeps every row: leave out those that another beats.",
            lambda x: torch.ones(len(x), dtype=torch.bool),
        ),
    ),
    variants=Variants(
        _stays,
        beats=(
            Variant(lambda p, q: bool((p <= q).all() and (p < q).any())),
            *(
                Variant(
                    lambda p, q, k=k: bool(p[k] < q[k]),
                    f"{name}-alone",
                    f"looks at the {name} distance alone: a row is beaten only by one that is as near in both.",
                )
                for k, name in enumerate(("content", "style"))
            ),
            Variant(
                lambda p, q: bool((p >= q).all() and (p > q).any()),
                "larger-is-better",
                "keeps the largest distances: smaller is better.",
            ),
        ),
        keep=(
            Variant(lambda beaten: not beaten),
            Variant(lambda beaten: beaten, "beaten-kept", "keeps those that are beaten: leave them out."),
        ),
        against=(
            Variant(lambda rows, i: rows),
            Variant(
                lambda rows, i: rows[:i],
                "earlier-rows-only",
                "compares a row with those above it alone: a later one may beat it, too.",
            ),
            Variant(
                lambda rows, i: rows[i + 1 :],
                "later-rows-only",
                "compares a row with those below it alone: an earlier one may beat it, too.",
            ),
            Variant(
                lambda rows, i: rows[max(i - 1, 0) : i + 2],
                "neighbours-only",
                "compares a row with its neighbours alone: compare it with all.",
            ),
        ),
    ),
)
