"""The exercise checks: every known mistake gets its own name and sentence, and every right answer passes."""

from __future__ import annotations

import ast
import random
import re
import time
import warnings
from collections import Counter, defaultdict
from functools import cache, partial
from typing import NamedTuple

import mutants
import numpy as np
import pytest
import torch
from conftest import slow
from IPython.utils.capture import capture_output

from nst_helpers import checks, losses
from nst_helpers.checks import values
from nst_helpers.checks.exercises import CHECKS, Verdict, checkpoint, show_solution

NAMES = {
    "to_tensor", "to_array", "normalize", "denormalize", "content_loss", "receptive_field", "gram_matrix", "style_loss",
    "content_loss_layer", "style_loss_layer", "total_loss", "convert_style_weight", "make_closure", "total_variation",
    "match_color", "masked_gram", "pixel_distance", "blend", "weight_ladder", "best_trades",
}  # fmt: skip
# What the mistakes' sentences have to say, so that a learner can act on them.
SAYS = {
    "batch-folded": "batch", "missing-divisor": "divide", "divided-by-channels": "H * W alone",
    "divided-twice": "twice",
    "over-space": "channels by channels", "reshape-not-transpose": "transpose|permute", "detached": "detach",
    "in-place": "in place|optimiser alone", "mean-instead-of-sum": "sum", "sum-instead-of-mean": "mean",
    "missing-normalisation": "mean", "normalised-twice": "twice", "not-divided": "255", "bgr": "RGB",
    "channels-last": "permute", "channels-first": "permute", "truncated": "round", "clamp-inside": "closure",
    "zero-grad-forgotten": "zero_grad", "closure-returns-nothing": "return loss", "backward-forgotten": "backward",
    "returns-loss": "return features", "target-not-detached": "detach", "target-every-call": "__init__",
    "wrong-dtype": "expected", "python-number": "tensor", "raised": "raises", "not-a-function": "not a function",
}  # fmt: skip


def judge(name: str, function: object) -> Verdict:
    return CHECKS[name][0](function)


class Judged(NamedTuple):
    """A wrong answer of mutants.py, what the check said of it, and the processor time that it took."""

    name: str
    mistake: str
    function: object
    verdict: Verdict
    seconds: float


@cache
def judged() -> list[Judged]:
    """All of them, judged once."""
    judge("make_closure", CHECKS["make_closure"][1])  # the first use of an optimiser imports a large part of torch
    found = []
    for name, mistake, function in mutants.WRONG:
        start = time.process_time()
        verdict = judge(name, function)
        found.append(Judged(name, mistake, function, verdict, time.process_time() - start))
    return found


def test_the_solution_of_the_gram_matrix_reads_like_the_lesson():
    """A check, the branch for a mask, and what the lesson derives: flatten, multiply, divide."""
    (function,) = ast.parse(show_solution("gram_matrix").source).body
    code = function.body[1:]  # after the docstring
    assert code[-1].end_lineno - code[0].lineno < 5
    assert "flatten(2)" in ast.unparse(code[-2])
    assert re.search(r"bmm\(flat, flat.transpose\(1, 2\)\) / flat.shape\[-1\]", ast.unparse(code[-1]))


def label(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def written_out(name: str) -> object:
    """The package's own answer as a learner would have it who copied its solution: another function, the same code."""
    own = CHECKS[name][1]
    space = dict(vars(__import__(own.__module__, fromlist=["x"])))
    source = show_solution(name).source.replace("super().__init__()", "nn.Module.__init__(self)")
    exec(source, space)
    return space[own.__name__]


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(None, id="the seed"),
        pytest.param(1, id="seed 1", marks=pytest.mark.slow),
    ],
)
def test_every_mutant_is_named_and_no_right_answer_is_refused(seed, monkeypatch):
    """The inputs are fixed; that others would give the same verdicts shows that no one number decides."""
    if seed is None:
        verdicts = [one.verdict for one in judged()]
    else:
        monkeypatch.setattr(values, "_SEED", seed)
        verdicts = [judge(name, f) for name, _, f in mutants.WRONG]
    wrong = [
        f"{name}: {label(f)} is {mistake}, got {verdict.mistake}: {verdict}"
        for (name, mistake, f), verdict in zip(mutants.WRONG, verdicts, strict=True)
        if verdict.mistake != mistake or verdict
    ]
    assert wrong == []
    assert min(Counter(name for name, _ in mutants.RIGHT).values()) >= 3
    refused = [f"{name}: {label(f)}: {verdict}" for name, f in mutants.RIGHT if not (verdict := judge(name, f))]
    assert refused == []


@pytest.mark.slow
def test_each_mistake_has_two_spellings_and_one_sentence_of_its_own():
    spellings = Counter((name, mistake) for name, mistake, _ in mutants.WRONG)
    assert [key for key, count in spellings.items() if count < 2] == []
    meant = defaultdict(set)
    for name, mistake, _, verdict, _ in judged():
        assert verdict.sentence.startswith(name + " "), verdict
        assert verdict.sentence.endswith("."), verdict
        assert "\n" not in repr(verdict), verdict
        assert len(repr(verdict)) < 360, verdict
        meant[name, verdict.sentence].add(mistake)
    assert {key: found for key, found in meant.items() if len(found) > 1} == {}


@pytest.mark.parametrize("mistake", SAYS)
def test_sentences_say_what_to_do(mistake):
    found = [one.verdict.sentence for one in judged() if one.mistake == mistake]
    assert found
    assert [s for s in found if not any(word in s for word in SAYS[mistake].split("|"))] == []


def test_the_contracts_names_are_all_there():
    assert set(CHECKS) == NAMES
    for name, (check, own) in CHECKS.items():
        assert getattr(checks, f"check_{name}") is check
        assert callable(own)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_solution_passes_quickly(name):
    check, answer = CHECKS[name][0], written_out(name)
    check(answer)  # the first use of an optimiser imports a large part of torch, which is not the check's time
    start = time.process_time()
    verdict = check(answer)
    seconds = time.process_time() - start
    assert verdict, verdict
    assert verdict.mistake is None
    assert verdict.checks >= 15
    assert repr(verdict) == f"right: {name} passed {verdict.checks} checks."
    assert verdict.require() is verdict
    assert seconds < 2 * slow()  # of processor time, of which it needs 0.03


@pytest.mark.slow
def test_wrong_answers_are_found_quickly():
    assert max(one.seconds for one in judged()) < 2 * slow()
    assert sum(one.seconds for one in judged()) < 10 * slow()


# Not those that give functions, and not receptive_field, whose cases are mostly known networks.
VALUED = NAMES - {"receptive_field", "content_loss_layer", "style_loss_layer", "make_closure"}


@pytest.mark.parametrize("name", sorted(VALUED))
def test_yesterdays_answers_do_not_pass(name, monkeypatch):
    """A function that replays what the right one gave for another seed, whatever it is called with, fails."""
    check, own = CHECKS[name]
    tape = []

    def record(*args):
        tape.append(own(*args))
        return tape[-1]

    monkeypatch.setattr(values, "_SEED", 1)
    assert check(record).mistake == "package-function"  # all else is right
    monkeypatch.setattr(values, "_SEED", 2)
    replay = iter(tape)
    assert not check(lambda *args: next(replay))


def test_one_process_gives_one_verdict():
    for name, _, f, verdict, _ in judged()[::7]:
        assert judge(name, f) == verdict


def test_random_states_and_modes_are_left_alone(capsys):
    def careless(features):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
        print("noise")
        warnings.warn("careless", stacklevel=1)
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        return mutants.bmm(features) / mutants.n(features)

    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    assert judge("gram_matrix", careless)
    assert states() == before
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", "")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_checks_turn_gradients_on_for_themselves(mode, name):
    check, answer = CHECKS[name][0], written_out(name)
    with mode():
        assert check(answer)
        assert not torch.is_grad_enabled()


def test_a_learner_who_turns_gradients_off_does_so_for_nobody_else():
    def careless(features):
        torch.set_grad_enabled(False)
        return losses.gram_matrix(features)

    assert judge("gram_matrix", careless).mistake == "detached"
    assert torch.is_grad_enabled()


def test_inputs_are_contiguous_so_that_view_works():
    for name in VALUED | {"content_loss_layer", "style_loss_layer"}:
        answer = written_out(name)

        def strict(*args, answer=answer):
            assert all(a.is_contiguous() for a in args if isinstance(a, torch.Tensor))
            return answer(*args)

        assert CHECKS[name][0](strict), name


@pytest.mark.parametrize(("dtype", "device"), [(torch.float64, "cpu"), (torch.float32, "meta")])
def test_defaults_of_torch_make_no_difference_and_come_back(dtype, device):
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        for name in sorted(NAMES):
            assert CHECKS[name][0](written_out(name)), name
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (dtype, device)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_packages_own_answer_is_recognised_and_not_praised(name, capsys):
    check, own = CHECKS[name]
    verdict = check(own)
    assert (verdict.passed, verdict.mistake) == (False, "package-function")
    assert "run the cell with your answer again" in verdict.sentence
    assert checkpoint(own, name) is own
    assert "run the cell with your answer again" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(VALUED | {"make_closure"}))
def test_calling_the_packages_own_answer_is_not_an_answer(name):
    check, own = CHECKS[name]
    verdict = check(lambda *args: own(*args))
    assert verdict.mistake == "package-function"
    assert f"calls the package's own {own.__name__}" in verdict.sentence


def test_layers_may_use_the_losses_of_earlier_lessons():
    assert judge("style_loss_layer", mutants.style())
    assert judge("content_loss_layer", mutants.layer())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("eps", "mistake"), [(1e-6, "special-case"), (1e-8, "special-case"), (1e-14, None)])
def test_a_smoothed_root_is_decided_by_what_it_gives_for_a_flat_picture(seed, eps, mistake, monkeypatch):
    """It has to be 0 there, up to rounding; no number that happens to be drawn decides."""
    monkeypatch.setattr(values, "_SEED", seed)
    verdict = judge(
        "total_variation", lambda x: sum((x.diff(dim=axis).square() + eps).sqrt().mean() for axis in (2, 3))
    )
    assert verdict.mistake == mistake, verdict
    assert not mistake or "flat picture" in verdict.sentence


def test_what_is_displayed_in_a_notebook_is_hidden():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    shell = InteractiveShell.instance()
    try:
        with capture_output() as shown:

            def gram_matrix(features):
                display(features.shape)
                return mutants.bmm(features) / mutants.n(features)

            assert judge("gram_matrix", gram_matrix)
        assert (shown.stdout, shown.outputs) == ("", [])
    finally:
        shell.clear_instance()


def test_exceptions_are_told_in_one_sentence_with_the_shapes():
    verdict = judge("gram_matrix", lambda features: features.view(7, 11))
    assert verdict.sentence == (
        "gram_matrix raises RuntimeError for features (1, 2, 1, 2): shape '[7, 11]' is invalid for input of size 4."
    )

    def long(features):
        raise KeyError("a\nb" * 200)

    assert len(judge("gram_matrix", long).sentence) < 300


@pytest.mark.parametrize("error", [SystemExit, RecursionError, AssertionError, StopIteration, MemoryError])
def test_no_exception_of_the_learners_gets_out(error):
    def f(*args):
        raise error

    for name in NAMES:
        assert judge(name, f).mistake == "raised"


def test_ctrl_c_gets_out():
    def f(features):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge("gram_matrix", f)


class Odd:
    def __getattr__(self, name):
        raise RuntimeError(name)

    def __len__(self):
        return -1


@pytest.mark.parametrize(
    "value",
    [
        Odd(),
        "text",
        object,
        [[1, 2], [3]],
        torch.tensor([1j]),
        torch.zeros(0),
        torch.zeros(2, 2).to_sparse(),
        float("nan"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_odd_values_are_refused_without_an_exception(name, value):
    for f in (lambda *args: value, lambda *args: lambda *more: value):
        verdict = judge(name, f)
        assert not verdict
        assert verdict.mistake
        assert "\n" not in repr(verdict)


def test_the_kinds_of_verdict_read_as_they_should():
    def stub(features):
        raise NotImplementedError("exercise 3.1")

    assert repr(judge("gram_matrix", stub)) == "to do: gram_matrix is not written yet."
    assert repr(judge("gram_matrix", 3)).startswith("not yet: gram_matrix is an int, not a function")
    verdict = judge("gram_matrix", lambda f: losses.gram_matrix(f) * f.shape[2] * f.shape[3])
    assert repr(verdict) == "not yet: gram_matrix is H * W times too large: divide by the number of positions."
    with pytest.raises(AssertionError, match="not yet: gram_matrix is H"):
        verdict.require()


def test_checkpoint_takes_yours_if_it_is_right_and_says_so(capsys):
    def gram_matrix(features):
        return torch.einsum("bchw,bdhw->bcd", features, features) / features[0, 0].numel()

    assert checkpoint(gram_matrix) is gram_matrix
    assert capsys.readouterr().out == "gram_matrix: yours is used from here on.\n"

    def total_variation(image):
        raise NotImplementedError

    assert checkpoint(total_variation) is losses.total_variation
    assert capsys.readouterr().out == (
        "total_variation: the package's own is used from here on, since yours is not written yet.\n"
    )


def test_checkpoint_knows_layers_by_their_class_names(capsys):
    class ContentLoss(mutants.layer()):
        pass

    class StyleLossLayer(mutants.layer()):
        pass

    assert checkpoint(ContentLoss) is ContentLoss
    assert checkpoint(StyleLossLayer) is CHECKS["style_loss_layer"][1]
    assert "is not right yet" in capsys.readouterr().out


def test_checkpoint_finds_the_name_of_a_lambda_and_of_a_partial_by_their_variables(capsys):
    space = {"checkpoint": checkpoint, "partial": partial, "n": mutants.n, "bmm": mutants.bmm}
    exec("gram_matrix = lambda x: bmm(x) / n(x)\nkept = gram_matrix = checkpoint(gram_matrix)", space)
    assert space["kept"].__name__ == "<lambda>"
    exec("mean = partial(lambda x, k: x * k, k=2)\ntotal_variation = mean\nout = checkpoint(total_variation)", space)
    assert space["out"] is losses.total_variation
    assert capsys.readouterr().out.startswith(
        "gram_matrix: yours is used from here on.\ntotal_variation: the package's"
    )


def test_checkpoint_asks_for_a_name_it_does_not_know():
    with pytest.raises(ValueError, match="no exercise '<lambda>': use one of pixel_distance, blend, to_tensor, "):
        checkpoint(lambda x: x)
    with pytest.raises(ValueError, match="no exercise ''"):
        checkpoint(3)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_solutions_are_the_packages_own_source(name):
    solution = show_solution(name)
    own = CHECKS[name][1]
    assert f" {own.__name__}" in solution.source.splitlines()[0]
    assert solution._repr_markdown_().startswith("```python\n")
    assert solution._repr_markdown_().endswith("\n```")
    compile(repr(solution), name, "exec")
