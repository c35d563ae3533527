"""What is wrong with wrong values: known mistakes first, then what any function can get wrong, then the numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .changes import changed_inputs, changed_results
from .known import ExerciseSpec, explains
from .scaling import off_by_a_factor, uneven
from .values import close, in_words, shapes_in_words, two_numbers, value_of
from .verdicts import MistakeFound

__all__ = ["changed_result", "diagnose", "mixed_up", "of_known_mistakes", "wrong_dtype"]

_AXES = {"B": "image", "C": "channel", "H": "row", "W": "column"}


def diagnose(
    spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor], call: Callable[..., Tensor]
) -> MistakeFound:
    """The mistake that explains all answers, or else in what way they differ; the spec's example comes first.

    `call` asks for one more answer.
    """
    all_cases, all_answers = cases, answers
    if spec.example:  # it is small enough for a coincidence, and the other cases are not
        cases, answers = cases[1:], answers[1:]
    right = [value_of(spec.references[0], case) for case in cases]
    if all(map(close, answers, right)):
        return _numbers(spec, all_cases, all_answers)
    return (
        of_known_mistakes(spec, cases, answers)
        or _first_again(spec, all_cases, all_answers)
        or wrong_dtype(spec, answers)
        or _shapes(spec, all_cases, all_answers)
        or _not_finite(answers)
        or _varied(spec, cases, answers, mistakes=1)
        or _explained(spec, cases, answers)
        or next(filter(None, (_simple(spec, reference, cases, answers) for reference in spec.references)), None)
        or _always_the_same(all_answers)
        or mixed_up(spec, all_cases, all_answers[1:])
        or _varied(spec, cases, answers, mistakes=2)
        or uneven(spec, answers, right)
        or _some_places(spec, answers, right)
        or _probed(spec, cases, call)
        or _numbers(spec, all_cases, all_answers)
    )


def _simple(
    spec: ExerciseSpec, reference: Callable[..., Any], cases: Sequence[tuple], answers: Sequence[Tensor]
) -> MistakeFound | None:
    """One thing that stands between an answer and one of the right ones."""
    right = [value_of(reference, case) for case in cases]
    return (
        off_by_a_factor(spec, cases, answers, right)
        or _changed(spec, reference, cases, answers, right)
        or _offset(answers, right)
        or _rounded(answers, right)
    )


def of_known_mistakes(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound | None:
    """The first of the exercise's known mistakes that explains all answers."""
    for mistake in spec.mistakes:
        if mistake.fits(cases, answers):
            words = {"got": tuple(answers[0].shape), "given": shapes_in_words(spec.arguments, cases[0])}
            return MistakeFound(mistake.code, mistake.sentence.format(**words))
    return None


def wrong_dtype(spec: ExerciseSpec, answers: Sequence[Tensor]) -> MistakeFound | None:
    """Another dtype than the task says."""
    found = {answer.dtype for answer in answers}
    if spec.kind == "number" or found == {spec.dtype}:
        return None
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
    wanted = str(spec.dtype).removeprefix("torch.")
    return MistakeFound("wrong-dtype", f"gives {names}, expected {wanted}: convert the result.")


def _varied(
    spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor], *, mistakes: int
) -> MistakeFound | None:
    return spec.variants.find(cases, answers, mistakes=mistakes) if spec.variants else None


def _probed(spec: ExerciseSpec, cases: Sequence[tuple], call: Callable[..., Tensor]) -> MistakeFound | None:
    if spec.probe is None:
        return None
    try:
        found = spec.probe(cases, call)
    except (MistakeFound, RuntimeError, ValueError):  # the numbers of the first calls say more
        return None
    return MistakeFound(*found) if found else None


def _explained(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound | None:
    found = spec.explain(cases, answers)
    return MistakeFound(*found) if found else None


def _shapes(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound | None:
    for case, answer in zip(cases, answers, strict=True):
        wanted = tuple(value_of(spec.references[0], case).shape)
        got = tuple(answer.shape)
        if got == wanted:
            continue
        if not wanted:
            return MistakeFound(
                "not-a-scalar", f"gives shape {got}, expected one number: sum or average over all of it."
            )
        shapes = shapes_in_words(spec.arguments, case)
        given = f" for {shapes}, expected {wanted}" if shapes else f", expected {wanted}"
        if got == (1, *wanted[1:]) or got == wanted[1:]:
            return MistakeFound("batch-lost", f"gives shape {got}{given}: keep every image of the batch.")
        return MistakeFound("wrong-shape", f"gives shape {got}{given}.")
    return None


def _not_finite(answers: Sequence[Tensor]) -> MistakeFound | None:
    if all(answer.isfinite().all() for answer in answers):
        return None
    return MistakeFound("not-finite", "gives values that are infinite or not a number: look for a division by zero.")


def _first_again(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound | None:
    """The first call's answer, whatever came after it."""
    first, later = answers[0], answers[1:]
    right = [value_of(spec.references[0], case) for case in cases]
    if first.numel() < 2 or not close(first, right[0]) or any(r.shape == right[0].shape for r in right[1:]):
        return None
    if not all(close(answer, first) for answer in later):
        return None
    return MistakeFound("remembered", "gives the first call's result again, whatever comes in: remember nothing.")


def _always_the_same(answers: Sequence[Tensor]) -> MistakeFound | None:
    first = answers[0].flatten()[:1]
    if first.numel() and all(close(a, first.expand(a.numel()).reshape(a.shape)) for a in answers):
        return MistakeFound(
            "constant",
            f"gives {in_words(first[0])} whatever comes in: compute it from the arguments, with no result written in.",
        )
    return None


def changed_result(spec: ExerciseSpec, answers: Sequence[Tensor], right: Sequence[Tensor]) -> MistakeFound | None:
    """One thing done to the right result that gives the answers: a sign lost, an axis flipped, a clamp."""
    for code, sentence, change in changed_results(spec):
        try:
            if all(close(a, change(r)) for a, r in zip(answers, right, strict=True)):
                return MistakeFound(code, sentence)
        except (RuntimeError, IndexError, ValueError):
            continue
    return None


def _changed(
    spec: ExerciseSpec,
    reference: Callable[..., Any],
    cases: Sequence[tuple],
    answers: Sequence[Tensor],
    right: Sequence[Tensor],
) -> MistakeFound | None:
    """One thing done to the right result, or to the arguments before."""
    if found := changed_result(spec, answers, right):
        return found
    for code, sentence, arguments in changed_inputs(spec):
        if explains(_after(reference, arguments), cases, answers):
            return MistakeFound(code, sentence)
    return None


def _after(reference: Callable[..., Any], change: Callable[..., tuple]) -> Callable[..., Any]:
    return lambda *arguments: reference(*change(*arguments))


def mixed_up(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound | None:
    """Arguments kept from the first case: the answers go with the other cases, the first of which is left out."""
    first, *later = cases
    places = range(len(spec.arguments))
    for count in range(1, len(spec.arguments)):
        for kept in itertools.combinations(places, count):
            mixed = [tuple(first[i] if i in kept else case[i] for i in places) for case in later]
            if any(explains(reference, mixed, answers) for reference in spec.references):
                names = " and ".join(spec.arguments[i] for i in kept)
                sentence = f"remembers {names} of an earlier call: use what comes in, and keep nothing between calls."
                return MistakeFound("remembered", sentence)
    return None


def _offset(answers: Sequence[Tensor], right: Sequence[Tensor]) -> MistakeFound | None:
    differences = torch.cat([(a.double() - r).flatten() for a, r in zip(answers, right, strict=True)])
    if abs(differences.mean()) < 1e-5 or not close(differences, differences.mean().expand_as(differences)):
        return None
    number = float(differences.mean())
    how = f"{in_words(abs(number))} too {'large' if number > 0 else 'small'}"
    return MistakeFound("offset", f"is {how} everywhere: something is added that doesn't belong there.")


def _rounded(answers: Sequence[Tensor], right: Sequence[Tensor]) -> MistakeFound | None:
    """Values that are right but for their last digits."""
    pairs = list(zip(answers, right, strict=True))
    if any(answer.dtype == torch.uint8 for answer in answers):
        return None
    for dtype in (torch.float16, torch.bfloat16):
        if all(torch.equal(a.to(dtype).double(), a.double()) and close(a, r, tolerance=0.02) for a, r in pairs):
            kind = str(dtype).removeprefix("torch.")
            return MistakeFound("half-precision", f"has half precision ({kind}): compute in float32 throughout.")
    for decimals in range(5):
        unit = 10.0**-decimals
        if all(close(a, r, tolerance=0, floor=1.01 * unit) and _whole(a.double() / unit) for a, r in pairs):
            return MistakeFound(
                "rounded", f"is rounded to {decimals} decimals: leave the digits as they are, without round() or //."
            )
    if all(close(a, r, tolerance=0.02) for a, r in pairs):
        worst = max(float((a.double() - r).abs().max()) for a, r in pairs)
        return MistakeFound(
            "inexact",
            f"comes close but is up to {in_words(worst, 2)} off: look for a small number that is added, or for lost "
            "digits.",
        )
    return None


def _whole(values: Tensor) -> bool:
    return bool(((values - values.round()).abs() < 1e-3).all())


def _some_places(spec: ExerciseSpec, answers: Sequence[Tensor], right: Sequence[Tensor]) -> MistakeFound | None:
    """Right in some images, channels, rows or columns, and wrong in all the others."""
    wrong = [(a.double() - r).abs() > 1e-4 * r.abs().max() for a, r in zip(answers, right, strict=True)]
    if spec.result_axes == "BCC":
        diagonals = [w.diagonal(dim1=1, dim2=2) for w in wrong]
        off = [w & ~torch.eye(w.shape[-1], dtype=torch.bool) for w in wrong]
        if not any(o.any() for o in off):
            return MistakeFound(
                "diagonal-wrong",
                "is wrong on the diagonal alone, where a channel meets itself: add nothing there, and leave it in.",
            )
        if not any(d.any() for d in diagonals):
            return MistakeFound(
                "off-diagonal-wrong",
                "is right on the diagonal alone: multiply every channel with every other one, by a matrix product.",
            )
    for axis, letter in enumerate(spec.result_axes):
        rest = [tuple(i for i in range(w.ndim) if i != axis) for w in wrong]
        lines = [w.float().mean(r) for w, r in zip(wrong, rest, strict=True)]
        lines = [line for line in lines if len(line) > 1]
        if not lines or (letter == "C" and spec.result_axes == "BCC"):
            continue
        bad = [line > 0.5 for line in lines]
        clear = all(bool((line[~b] == 0).all()) and b.any() and not b.all() for line, b in zip(lines, bad, strict=True))
        if clear:
            return _places(letter, bad)
    return None


def _places(letter: str, bad: Sequence[Tensor]) -> MistakeFound:
    name = _AXES[letter]
    if all(not b[0] and b[1:].all() for b in bad):
        where = f"is right in the first {name} alone"
    elif all(not b[-1] and b[:-1].all() for b in bad):
        where = f"is right in the last {name} alone"
    elif all(b[0] and not b[1:].any() for b in bad):
        where = f"is wrong in the first {name}"
    elif all(b[-1] and not b[:-1].any() for b in bad):
        where = f"is wrong in the last {name}"
    else:
        where = f"is wrong in some {name}s and right in others ({name} {int(bad[0].nonzero()[0])} is wrong)"
    return MistakeFound("some-places", f"{where}: treat every {name} in the same way.")


def _numbers(spec: ExerciseSpec, cases: Sequence[tuple], answers: Sequence[Tensor]) -> MistakeFound:
    """Nothing is recognised: an answer and the right one, side by side."""
    right = [value_of(spec.references[0], case) for case in cases]
    if spec.example and not close(answers[0], right[0]):
        given = ", ".join(f"{n} = {in_words(a)}" for n, a in zip(spec.arguments, spec.example, strict=True))
        got, wanted = two_numbers(answers[0], right[0])
        return MistakeFound("wrong-values", f"gives {got} where {wanted} is right, for {given}.")
    for case, answer, value in zip(cases, answers, right, strict=True):
        if not close(answer, value):
            place = torch.unravel_index((answer.double() - value).abs().argmax(), answer.shape)
            at = f" at {[int(i) for i in place]}" if answer.ndim else ""
            got, wanted = two_numbers(answer[place], value[place])
            given = ", ".join(f"{n} = {_short(a)}" for n, a in zip(spec.arguments, case, strict=True))
            before = "is right for a tiny example, but " if spec.example else ""
            sentence = f"{before}gives {got}{at} where {wanted} is right, for {given}."
            return MistakeFound("wrong-values", sentence)
    return MistakeFound("wrong-values", "gives other values than the task asks for.")


def _short(value: Any) -> str:
    """A number or a name as it is, and of anything longer what kind of thing it is."""
    return in_words(value) if isinstance(value, (int, float, str)) else shapes_in_words([""], [value]).strip()
