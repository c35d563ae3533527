"""Checks for the exercises: each names the mistake it recognises; and the solutions, from the package's own source.

Every `check_...` takes a learner's function and returns a `Verdict`: true if the answer is right, and one line when
printed. A wrong answer never raises here, so a notebook runs on; `Verdict.require()` does, for graders.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import conventions, losses
from .closures import CLOSURE_SYMPTOMS, examine_closure
from .functions import ExerciseSpec, examine_function
from .layers import CONTENT_LAYER_SYMPTOMS, STYLE_LAYER_SYMPTOMS, examine_content_layer, examine_style_layer
from .mistakes.blend import BLEND
from .mistakes.color import COLOR
from .mistakes.gram import GRAM
from .mistakes.images import TO_ARRAY, TO_TENSOR
from .mistakes.losses import CONTENT, STYLE
from .mistakes.masked import MASKED
from .mistakes.normalization import DENORMALIZE, NORMALIZE
from .mistakes.pixels import PIXELS
from .mistakes.receptive_field import RECEPTIVE_FIELD
from .mistakes.style_weight import CONVERT
from .mistakes.total_loss import TOTAL
from .mistakes.total_variation import TV
from .mistakes.trade import LADDER, TRADES
from .own import OWN_ANSWERS, own_functions
from .progress import note
from .verdicts import Examination, Symptom, Verdict, assess

__all__ = ["CHECKS", "Solution", "Verdict", "checkpoint", "show_solution"]


def _checked(
    name: str, function: Any, examine: Callable[[Examination], None], symptoms: Sequence[Symptom] = ()
) -> Verdict:
    verdict = assess(name, function, examine, symptoms, own_functions(name))
    note(verdict)  # the learner's progress
    return verdict


def _by_spec(name: str, function: Any, spec: ExerciseSpec) -> Verdict:
    return _checked(name, function, lambda examination: examine_function(examination, spec), spec.symptoms)


def check_pixel_distance(function: Callable[..., Any]) -> Verdict:
    """Check `pixel_distance(picture, photo)`: the mean of |picture - photo| over all of (B, 3, H, W), a number."""
    return _by_spec("pixel_distance", function, PIXELS)


def check_blend(function: Callable[..., Any]) -> Verdict:
    """Check `blend(photo, painted, share)`: (1 - share) of the photo and share of the painting, (B, 3, H, W)."""
    return _by_spec("blend", function, BLEND)


def check_to_tensor(function: Callable[..., Any]) -> Verdict:
    """Check `to_tensor(array)`: (H, W, 3) uint8 to (1, 3, H, W) float32 in [0, 1].

    >>> from nst_helpers.checks import lessons
    >>> check_to_tensor(lambda array: lessons.to_tensor(array) * 255)
    not yet: to_tensor gives values up to 255: divide by 255 to come to [0, 1].
    """
    return _by_spec("to_tensor", function, TO_TENSOR)


def check_to_array(function: Callable[..., Any]) -> Verdict:
    """Check `to_array(image)`: (1, 3, H, W) to (H, W, 3) uint8, clamped and rounded."""
    return _by_spec("to_array", function, TO_ARRAY)


def check_normalize(function: Callable[..., Any]) -> Verdict:
    """Check `normalize(image)`: (B, 3, H, W) minus ImageNet's mean, divided by its standard deviation."""
    return _by_spec("normalize", function, NORMALIZE)


def check_denormalize(function: Callable[..., Any]) -> Verdict:
    """Check `denormalize(x)`: the exact inverse of `normalize`."""
    return _by_spec("denormalize", function, DENORMALIZE)


def check_receptive_field(function: Callable[..., Any]) -> Verdict:
    """Check `receptive_field(layer_names)`: pixels on a side that one position of the last layer sees."""
    return _by_spec("receptive_field", function, RECEPTIVE_FIELD)


def check_content_loss(function: Callable[..., Any]) -> Verdict:
    """Check `content_loss(features, target)`: sum (F - P)^2 / sum P^2, a scalar."""
    return _by_spec("content_loss", function, CONTENT)


def check_gram_matrix(function: Callable[..., Any]) -> Verdict:
    """Check `gram_matrix(features)`: (B, C, H, W) to (B, C, C), divided by H * W.

    >>> check_gram_matrix(lambda f: losses.gram_matrix(f) / f.shape[1])
    not yet: gram_matrix is C times too small: divide by H * W alone, since only positions are summed over.
    """
    return _by_spec("gram_matrix", function, GRAM)


def check_style_loss(function: Callable[..., Any]) -> Verdict:
    """Check `style_loss(gram, target)`: sum (G - A)^2 / sum A^2, a scalar."""
    return _by_spec("style_loss", function, STYLE)


def check_content_loss_layer(layer: Callable[..., Any]) -> Verdict:
    """Check a class with `__init__(self, target)` whose `forward` gives its input back and sets `self.loss`."""
    return _checked("content_loss_layer", layer, examine_content_layer, CONTENT_LAYER_SYMPTOMS)


def check_style_loss_layer(layer: Callable[..., Any]) -> Verdict:
    """Check a class like `check_content_loss_layer`'s, with `__init__(self, target_features)`."""
    return _checked("style_loss_layer", layer, examine_style_layer, STYLE_LAYER_SYMPTOMS)


def check_total_loss(function: Callable[..., Any]) -> Verdict:
    """Check `total_loss(content_loss, style_losses, content_weight, style_weight)`: a scalar."""
    return _by_spec("total_loss", function, TOTAL)


def check_convert_style_weight(function: Callable[..., Any]) -> Verdict:
    """Check `convert_style_weight(weight, source, target, channels)`, with names from `conventions.PUBLISHED`."""
    return _by_spec("convert_style_weight", function, CONVERT)


def check_make_closure(function: Callable[..., Any]) -> Verdict:
    """Check `make_closure(optimizer, image, loss_function)`, which returns the closure."""
    return _checked("make_closure", function, examine_closure, CLOSURE_SYMPTOMS)


def check_total_variation(function: Callable[..., Any]) -> Verdict:
    """Check `total_variation(image)`: the mean of |dx| plus the mean of |dy|, a scalar."""
    return _by_spec("total_variation", function, TV)


def check_weight_ladder(function: Callable[..., Any]) -> Verdict:
    """Check `weight_ladder(first, last, count)`: weights (count,) that grow by equal factors."""
    return _by_spec("weight_ladder", function, LADDER)


def check_best_trades(function: Callable[..., Any]) -> Verdict:
    """Check `best_trades(points)`: which rows of (n, 2) no other row beats, as n times True or False."""
    return _by_spec("best_trades", function, TRADES)


def check_match_color(function: Callable[..., Any]) -> Verdict:
    """Check `match_color(style, content)`: the style picture with the content's mean colour and covariance."""
    return _by_spec("match_color", function, COLOR)


def check_masked_gram(function: Callable[..., Any]) -> Verdict:
    """Check `masked_gram(features, mask)`: (B, C, h, w) and (1, 1, H, W) to (B, C, C), a mean by the mask."""
    return _by_spec("masked_gram", function, MASKED)


_CHECKS: tuple[Callable[[Any], Verdict], ...] = (
    check_pixel_distance,
    check_blend,
    check_to_tensor,
    check_to_array,
    check_normalize,
    check_denormalize,
    check_receptive_field,
    check_content_loss,
    check_gram_matrix,
    check_style_loss,
    check_content_loss_layer,
    check_style_loss_layer,
    check_total_loss,
    check_convert_style_weight,
    check_make_closure,
    check_total_variation,
    check_weight_ladder,
    check_best_trades,
    check_match_color,
    check_masked_gram,
)
# Name: the check, and the package's own answer.
CHECKS: dict[str, tuple[Callable[[Any], Verdict], Callable[..., Any]]] = {
    name: (check, OWN_ANSWERS[name][0]) for check in _CHECKS for name in [check.__name__.removeprefix("check_")]
}

__all__ += [check.__name__ for check, _ in CHECKS.values()]

# What a solution leans on, shown below it.
_PARTS: dict[str, tuple[Callable[..., Any], ...]] = {
    "content_loss": (losses._relative, losses._squares),
    "style_loss": (losses._relative, losses._squares),
    "convert_style_weight": (conventions.PublishedWeights.style_factor,),
}


def checkpoint(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Return your function if it passes its check and the package's own if not, and print which one it is.

    The name is the function's own if it is left out, or that of the variable that holds it; `ContentLossLayer` counts
    as content_loss_layer.

    >>> gram_matrix = checkpoint(lambda features: features, "gram_matrix")
    gram_matrix: the package's own is used from here on, since yours is not right yet.
    >>> gram_matrix is losses.gram_matrix
    True
    """
    name = _known(name or _name_of(function, sys._getframe(1).f_globals))
    check, own = CHECKS[name]
    verdict = check(function)
    if verdict:
        print(f"{name}: yours is used from here on.")
        return function
    if verdict.mistake == "package-function":
        print(f"{name}: the package's own is used from here on. For yours, run the cell with your answer again.")
        return own
    why = "is not written yet" if verdict.mistake == "to-do" else "is not right yet"
    print(f"{name}: the package's own is used from here on, since yours {why}.")
    return own


@dataclass(frozen=True)
class Solution:
    """A solution's source; a notebook shows it in colour."""

    name: str
    source: str

    def __repr__(self) -> str:
        return self.source

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.source}```"


def show_solution(name: str) -> Solution:
    """The package's own source of an exercise's function.

    Raises ValueError with the names there are.

    >>> print(show_solution("total_loss"))
    def total_loss(...
    """
    parts = (CHECKS[_known(name)][1], *_PARTS.get(name, ()))
    return Solution(name, "\n\n".join(inspect.cleandoc("\n" + inspect.getsource(part)) + "\n" for part in parts))


def _known(name: str) -> str:
    if name not in CHECKS:
        raise ValueError(f"There is no exercise {name!r}: use one of {', '.join(CHECKS)}.")
    return name


def _name_of(function: Callable[..., Any], space: dict[str, Any]) -> str:
    """The exercise's name: the function's own or, of a lambda or a partial, that of its variable."""
    name = _as_exercise(getattr(function, "__name__", ""), function)
    if name in CHECKS:
        return name
    variables = (_as_exercise(variable, function) for variable, value in space.items() if value is function)
    return next((variable for variable in variables if variable in CHECKS), name)


def _as_exercise(name: str, function: Any) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return f"{name}_layer" if isinstance(function, type) and not name.endswith("_layer") else name
