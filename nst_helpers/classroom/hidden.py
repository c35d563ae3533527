"""The hidden tests: what the lessons' checks show, on shapes, seeds and kinds of input that they don't show.

A wrong value costs all points. An answer that is right but fragile, for float64 or for tensors whose numbers don't lie
in order, costs a quarter of them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks.functions import ExerciseSpec, examine_function
from ..checks.layers import CONTENT_LAYER_SYMPTOMS, STYLE_LAYER_SYMPTOMS
from ..checks.mistakes.blend import BLEND, two_pictures
from ..checks.mistakes.color import COLOR, picture
from ..checks.mistakes.gram import GRAM
from ..checks.mistakes.images import TO_ARRAY, TO_TENSOR
from ..checks.mistakes.losses import CONTENT, STYLE, gram, relative, relative_each
from ..checks.mistakes.masked import MASKED, soft_mask
from ..checks.mistakes.normalization import DENORMALIZE, NORMALIZE
from ..checks.mistakes.pixels import PIXELS
from ..checks.mistakes.receptive_field import RECEPTIVE_FIELD
from ..checks.mistakes.style_weight import CONVERT
from ..checks.mistakes.total_loss import TOTAL
from ..checks.mistakes.total_variation import TV, steep_image
from ..checks.mistakes.trade import LADDER, TRADES, ends, points
from ..checks.values import as_tensor, close, copy_of, kind_of, value_of
from ..checks.verdicts import Examination, MistakeFound, Verdict, assess

__all__ = ["HIDDEN", "inspect", "prove"]


def _noise(*shapes: Sequence[int]) -> Callable[[torch.Generator], list[tuple]]:
    return lambda g: [(torch.randn(s, generator=g) * 0.7 + 0.3,) for s in shapes]


def _images(*shapes: Sequence[int]) -> Callable[[torch.Generator], list[tuple]]:
    return lambda g: [(torch.rand(s, generator=g),) for s in shapes]


def _steep_images(g: torch.Generator) -> list[tuple]:
    return [(steep_image(g, size),) for size in ((3, 3, 4, 9), (1, 3, 6, 2), (3, 3, 3, 5))]


def _pairs(*shapes: Sequence[int]) -> Callable[[torch.Generator], list[tuple]]:
    return lambda g: [tuple(torch.randn(s, generator=g) + 0.6 for _ in "ab") for s in shapes]


def _grams(g: torch.Generator) -> list[tuple]:
    return [tuple(gram(torch.randn(b, c, 3, 5, generator=g) + 0.2) for _ in "ab") for b, c in ((1, 4), (1, 7), (1, 2))]


def _arrays(g: torch.Generator) -> list[tuple]:
    sizes = ((3, 8), (9, 2), (1, 5))
    return [(torch.randint(0, 256, (h, w, 3), generator=g).to(torch.uint8).numpy(),) for h, w in sizes]


def _bytes_like(g: torch.Generator) -> list[tuple]:
    cases = []
    for h, w in ((3, 8), (9, 2), (1, 5)):
        whole = torch.randint(-40, 300, (1, 3, h, w), generator=g)
        cases.append(((whole + (torch.rand(whole.shape, generator=g) - 0.5) * 0.8) / 255,))
    return cases


def _names(g: torch.Generator) -> list[tuple]:
    cases = []
    for _ in range(5):
        counts = torch.randint(1, 5, (5,), generator=g).tolist()
        names = [
            n
            for b, count in enumerate(counts, 1)
            for n in (*(f"{kind}{b}_{i}" for i in range(1, count + 1) for kind in ("conv", "relu")), f"pool{b}")
        ]
        cases.append((names[: int(torch.randint(3, len(names), (1,), generator=g))],))
    return cases


def _totals(g: torch.Generator) -> list[tuple]:
    def number() -> Tensor:
        return torch.rand((), generator=g) * 3 + 0.1

    return [(number(), [number() for _ in range(n)], float(number()), float(number() * 40)) for n in (1, 6, 4)]


def _recipes(g: torch.Generator) -> list[tuple]:
    pairs = (("d2l", "gatys_notebook"), ("gatys_notebook", "neural_style_pt"), ("pytorch_tutorial", "gordicaleksa"))
    return [
        (float(torch.rand((), generator=g)) * 90 + 1, a, b, c) for (a, b), c in zip(pairs, (48, 7, 31), strict=True)
    ]


def _mixtures(g: torch.Generator) -> list[tuple]:
    shapes = ((1, 3, 5, 3), (3, 3, 2, 6), (2, 3, 7, 1))
    return [(*two_pictures(g, *shape), share) for shape, share in zip(shapes, (0.15, 0.62, 0.9), strict=True)]


def _two_pictures(g: torch.Generator) -> list[tuple]:
    return [tuple(two_pictures(g, *shape)) for shape in ((1, 3, 5, 3), (3, 3, 2, 6), (2, 3, 7, 1))]


def _ladders(g: torch.Generator) -> list[tuple]:
    return [(*ends(g), count) for count in (4, 6, 11)]


def _trades(g: torch.Generator) -> list[tuple]:
    return [(points(g, count),) for count in (6, 9, 17)]


def _colors(g: torch.Generator) -> list[tuple]:
    sizes = (((5, 7), (4, 3)), ((2, 9), (8, 5)), ((6, 3), (3, 11)))
    return [(picture(g, *size, contrast=0.4, chroma=0.2), picture(g, *other)) for size, other in sizes]


def _regions(g: torch.Generator) -> list[tuple]:
    sizes = ((3, 2, 5, 3, 4), (1, 6, 2, 9, 2), (3, 5, 3, 4, 8))
    return [(torch.randn(b, c, h, w, generator=g) + 0.3, soft_mask(g, k * h, k * w)) for b, c, h, w, k in sizes]


# The same examination as the lesson's check, with other cases.
SPECS: dict[str, tuple[ExerciseSpec, Callable[[torch.Generator], list[tuple]]]] = {
    "pixel_distance": (PIXELS, _two_pictures),
    "blend": (BLEND, _mixtures),
    "to_tensor": (TO_TENSOR, _arrays),
    "to_array": (TO_ARRAY, _bytes_like),
    "normalize": (NORMALIZE, _images((3, 3, 2, 9), (1, 3, 7, 3), (3, 3, 1, 4))),
    "denormalize": (DENORMALIZE, _noise((3, 3, 2, 9), (1, 3, 7, 3), (3, 3, 1, 4))),
    "receptive_field": (RECEPTIVE_FIELD, _names),
    "content_loss": (CONTENT, _pairs((3, 2, 6, 3), (1, 5, 2, 9), (3, 4, 1, 5))),
    "gram_matrix": (GRAM, _noise((3, 2, 5, 3), (1, 6, 2, 9), (3, 5, 1, 4))),
    "style_loss": (STYLE, _grams),
    "total_loss": (TOTAL, _totals),
    "convert_style_weight": (CONVERT, _recipes),
    "total_variation": (TV, _steep_images),
    "weight_ladder": (LADDER, _ladders),
    "best_trades": (TRADES, _trades),
    "match_color": (COLOR, _colors),
    "masked_gram": (MASKED, _regions),
}
# Whose arguments may come in double precision, or with their numbers out of order.
_FRAGILE = {
    "to_array", "normalize", "denormalize", "content_loss", "gram_matrix", "style_loss", "total_variation",
    "match_color", "masked_gram", "pixel_distance", "blend", "best_trades",
}  # fmt: skip


def inspect(name: str, function: Any, *, seed: int = 0) -> tuple[float, Verdict]:
    """The share of the points that an answer has earned by the hidden tests (0, 0.75 or 1), and why.

    >>> inspect("total_variation", lambda image: image.abs().mean())[0]
    0.0
    """
    examination, symptoms = _examination(name, seed)
    verdict = assess(name, function, examination, symptoms)
    if not verdict:
        return 0.0, verdict
    fragile = assess(name, function, lambda examination: _strain(examination, name, seed), symptoms)
    if not fragile:
        sentence = f"{fragile.sentence} (The values are right, so this costs a quarter of the points.)"
        return 0.75, dataclasses.replace(fragile, sentence=sentence)
    return 1.0, verdict


def prove(name: str, function: Any, *, points: float, seed: int = 0) -> float:
    """The points that an answer has earned; raises AssertionError with the sentence where it has earned none.

    For nbgrader's own autograder, which runs the tests beside the answer; `mark` judges from outside.
    """
    share, verdict = inspect(name, function, seed=seed)
    if not share:
        raise AssertionError(repr(verdict))
    if share < 1:
        print(verdict)
    return points * share


def _examination(name: str, seed: int) -> tuple[Callable[[Examination], None], Sequence]:
    def own() -> torch.Generator:
        return torch.Generator().manual_seed(seed + 1)

    if name in SPECS:
        spec, cases = SPECS[name]
        # A check draws its cases more than once, from generators with seeds of their own.
        spec = dataclasses.replace(spec, cases=lambda g: cases(g.manual_seed(g.initial_seed() + seed + 1)))
        return lambda examination: examine_function(examination, spec), spec.symptoms
    symptoms = {"content_loss_layer": CONTENT_LAYER_SYMPTOMS, "style_loss_layer": STYLE_LAYER_SYMPTOMS}
    return lambda examination: OTHERS[name](examination, own()), symptoms.get(name, ())


def _strain(examination: Examination, name: str, seed: int) -> None:
    """Double precision, and numbers that don't lie in order."""
    if name not in _FRAGILE and name != "to_tensor":
        return
    spec, cases = SPECS[name]
    for case in cases(torch.Generator().manual_seed(seed + 2)):
        if name != "to_tensor":
            _same(examination, spec, tuple(copy_of(a, torch.float64) for a in case), "for float64 input")
        _same(examination, spec, tuple(map(_out_of_order, case)), "for input whose numbers don't lie in order")


def _same(examination: Examination, spec: ExerciseSpec, case: tuple, when: str) -> None:
    kept = tuple(map(copy.deepcopy, case))
    try:
        answer = as_tensor(examination.function(*case))
    except Exception as error:
        hint = ": use flatten or reshape, not view" if "view" in str(error) else ""
        examination.require(False, "fragile", f"raises {type(error).__name__} {when}{hint}.")
    rights = [value_of(reference, kept) for reference in spec.references]
    good = any(close(answer.reshape(right.shape), right) for right in rights if answer.numel() == right.numel())
    examination.require(good, "fragile", f"gives other values {when}.")


def _out_of_order(value: Any) -> Any:
    if isinstance(value, Tensor) and value.ndim > 1:
        return value.transpose(0, -1).contiguous().transpose(0, -1)
    if isinstance(value, np.ndarray):
        return np.asfortranarray(value)
    return value


def _layer(examination: Examination, pairs: Iterable[tuple[Tensor, Tensor]], references: Sequence[Callable]) -> None:
    layers = []
    for x, target in pairs:
        layer = examination.call(target.clone(), names=("target",))
        layers.append((layer, x, target))
    for layer, x, target in layers:
        examination.require(isinstance(layer, torch.nn.Module), "not-a-module", "is not an nn.Module.")
        given = x.clone().requires_grad_()
        out = examination.call(given, names=("features",), function=layer)
        examination.require(
            isinstance(out, Tensor), "wrong-type", f"returns {kind_of(out)}: end forward with `return features`."
        )
        examination.require(torch.equal(out, x), "changes-features", "returns other features than came.")
        loss = getattr(layer, "loss", None)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise MistakeFound("no-loss", "keeps no loss that is one number.")
        fits = [o for o in references if close(loss.reshape(()), o(x.double(), target.double()))]
        shapes = f"features {tuple(x.shape)} and a target {tuple(target.shape)}"
        examination.require(bool(fits), "wrong-values", f"keeps another loss than the relative one, for {shapes}.")
        examination.require(loss.requires_grad, "detached", "has a loss that is cut off from the features.")
        (loss + 0 * out.sum()).backward()
        examination.require(
            given.grad is not None and bool(given.grad.any()), "detached", "sends no gradient to the features."
        )


def _content_layer(examination: Examination, g: torch.Generator) -> None:
    shapes = ((3, 2, 6, 3), (1, 5, 2, 9), (3, 4, 1, 5))
    pairs = [(torch.randn(s, generator=g) + 0.6, torch.randn(s, generator=g) + 0.6) for s in shapes]
    _layer(examination, pairs, (relative_each, relative))


def _style_layer(examination: Examination, g: torch.Generator) -> None:
    shapes = (((1, 4, 6, 3), (1, 4, 2, 9)), ((3, 2, 3, 5), (1, 2, 7, 4)), ((1, 3, 5, 5), (1, 3, 4, 4)))
    references = [lambda x, t, loss=loss: loss(gram(x), gram(t)) for loss in (relative_each, relative)]
    pairs = [(torch.randn(a, generator=g) + 0.6, torch.randn(b, generator=g) + 0.6) for a, b in shapes]
    _layer(examination, pairs, references)


def _closure(examination: Examination, g: torch.Generator) -> None:
    """Two closures side by side, each with its own optimiser, against the four lines written out."""
    runs = []
    for kind, shape in ((torch.optim.Adam, (1, 3, 7, 4)), (torch.optim.SGD, (3, 3, 2, 5))):
        start, goal = (torch.rand(shape, generator=g) * 2 - 0.5 for _ in "ab")
        image = start.clone().requires_grad_()
        optimizer = kind([image], lr=0.05)
        closure = examination.call(optimizer, image, lambda x, goal=goal: (x - goal).abs().pow(1.5).mean())
        examination.require(
            callable(closure), "closure-called", "returns no function: return closure, without the brackets ()."
        )
        runs.append((kind, start, goal, image, optimizer, closure))
    for _ in range(3):
        for *_, optimizer, closure in runs:
            examination.call(closure, function=optimizer.step)
    for kind, start, goal, image, *_ in runs:
        twin = start.clone().requires_grad_()
        optimizer = kind([twin], lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            (twin - goal).abs().pow(1.5).mean().backward()
            optimizer.step()
        sentence = f"leads {kind.__name__} elsewhere than the four lines do, in three steps."
        examination.require(close(image, twin), "wrong-gradient", sentence)


OTHERS: dict[str, Callable[[Examination, torch.Generator], None]] = {
    "content_loss_layer": _content_layer,
    "style_loss_layer": _style_layer,
    "make_closure": _closure,
}
HIDDEN = (*SPECS, *OTHERS)
