"""How an answer is examined: guarded calls of a learner's function, and the verdict that comes of them."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import re
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .values import copy_of, kind_of, same, shapes_in_words

__all__ = ["Examination", "MistakeFound", "NotWritten", "Symptom", "Verdict", "assess"]

# What PyTorch says in a NotImplementedError of its own; a stub's says something else.
_RAISED_BY_TORCH = "not implemented for|Could not run"
# A pattern in an error's message, the mistake's code, and its sentence.
Symptom = tuple[str, str, str]


@dataclass(frozen=True)
class Verdict:
    """What a check found: true if the answer is right; printed, it is one line.

    `mistake` is a short code such as "batch-folded" ("to-do" for an unwritten answer, None for a right one).

    >>> verdict = Verdict("gram_matrix", False, "gram_matrix is H * W times too large.", "missing-divisor", 4)
    >>> verdict, bool(verdict)
    (not yet: gram_matrix is H * W times too large., False)
    """

    name: str
    passed: bool
    sentence: str
    mistake: str | None = None
    checks: int = 0

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        kind = "right" if self.passed else "to do" if self.mistake == "to-do" else "not yet"
        return f"{kind}: {self.sentence}"

    def require(self) -> Verdict:
        """Return the verdict itself if the answer is right, and raise AssertionError with the sentence if not."""
        if not self.passed:
            raise AssertionError(repr(self))
        return self


class MistakeFound(Exception):
    """Raised when a mistake is found: its code, and what to say after the function's name."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


class NotWritten(Exception):
    """Raised when the answer is still a stub."""


class Examination:
    """A learner's function under examination: its calls are guarded, and every requirement is counted."""

    symptoms: tuple[Symptom, ...] = (
        (
            "leaf Variable that requires grad",
            "in-place",
            "changes its input in place: make a new tensor, without +=, /= or methods that end in _.",
        ),
        (
            "Cannot cast ufunc",
            "in-place",
            "changes its input in place: make a new array, without += or /=.",
        ),
        (
            r"Can't call numpy\(\) on Tensor that requires grad",
            "numpy-of-gradient",
            "calls .numpy() on a tensor that carries a gradient: compute with tensors all the way.",
        ),
        (
            r"expects a tensor with <= 2 dimensions",
            "transposed-all",
            "calls .t(), which is for two axes alone: swap the last two with transpose(1, 2).",
        ),
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        symptoms: Sequence[Symptom] = (),
        package: Collection[types.FunctionType] = (),
    ) -> None:
        self.name, self.function, self.checks = name, function, 0
        self.symptoms = (*symptoms, *self.symptoms)
        self.package_used: types.FunctionType | None = None
        self._package = {f.__code__: f for f in package}
        # All arguments stay alive, so that no two of them have the same id().
        self._arguments: list[tuple] = []

    def require(self, condition: bool, mistake: str, sentence: str) -> None:
        """Count one requirement, and raise MistakeFound if it isn't met."""
        self.checks += 1
        if not condition:
            raise MistakeFound(mistake, sentence)

    def call(
        self, *args: Any, names: Sequence[str] = (), function: Callable[..., Any] | None = None, about: str = ""
    ) -> Any:
        """Call the function (or another one) with these arguments; an exception becomes a MistakeFound.

        `about` says in words what is special about the arguments; without it a message has their names and shapes.
        """
        self._arguments.append(args)
        try:
            with self._watching():
                return (function or self.function)(*args)
        except (Exception, SystemExit) as error:
            # What is special about the arguments explains the error better than a symptom of other mistakes.
            for pattern, mistake, sentence in () if about else self.symptoms:
                if re.search(pattern, str(error)):
                    raise MistakeFound(mistake, sentence) from None
            if isinstance(error, NotImplementedError) and not re.search(_RAISED_BY_TORCH, str(error)):
                raise NotWritten from None
            given = about or shapes_in_words(names, args)
            text = " ".join(str(error).split()).rstrip(".")
            text = text if len(text) <= 160 else text[:157] + "..."
            where, why = f" for {given}" if given else "", f": {text}" if text else ""
            raise MistakeFound("raised", f"raises {type(error).__name__}{where}{why}.") from None

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Note in `package_used` which of the package's own answers is called meanwhile."""
        if not self._package:
            yield
            return
        previous = sys.getprofile()
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(previous)

    def _note(self, frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in self._package:
            self.package_used = self._package[frame.f_code]

    def call_on_copies(self, args: tuple, names: Sequence[str], *, about: str = "") -> Any:
        """Call the function with copies of the arguments, and require that it leaves them as they were."""
        copies = tuple(copy_of(a) for a in args)
        answer = self.call(*copies, names=names, about=about)
        kept = all(same(a, b) for a, b in zip(args, copies, strict=True))
        self.require(kept, "in-place", "changes its input in place: work on a new value and leave what came as it was.")
        return answer


def assess(
    name: str,
    function: Any,
    examine: Callable[[Examination], None],
    symptoms: Sequence[Symptom] = (),
    package: Collection[types.FunctionType] = (),
) -> Verdict:
    """Run an examination of a function and return its verdict; modes, random states and output stay as they were.

    `package` holds the package's own answers: a right answer that is one of them, or calls one, is not praised.
    """
    if not callable(function):
        sentence = f"{name} is {kind_of(function)}, not a function: hand over the function itself, without calling it."
        return Verdict(name, False, sentence, "not-a-function")
    examination = Examination(name, function, symptoms, package)
    try:
        with _isolated():
            examine(examination)
    except NotWritten:
        return Verdict(name, False, f"{name} is not written yet.", "to-do", examination.checks)
    except MistakeFound as found:
        return Verdict(name, False, f"{name} {found.sentence}", found.code, examination.checks)
    except Exception as error:
        sentence = f"{name} gives something that can't be checked ({type(error).__name__}): return what the task says."
        return Verdict(name, False, sentence, "unreadable", examination.checks)
    if examination.package_used is not None:
        sentence = _not_your_own(name, function, examination.package_used)
        return Verdict(name, False, sentence, "package-function", examination.checks)
    return Verdict(name, True, f"{name} passed {examination.checks} checks.", None, examination.checks)


def _not_your_own(name: str, function: Any, used: types.FunctionType) -> str:
    own = vars(function).get("forward") if isinstance(function, type) else function
    if getattr(own, "__code__", None) is used.__code__:
        return (
            f"{name} is the package's own, which a checkpoint cell puts in place of an answer that isn't right: run "
            "the cell with your answer again, and then this check."
        )
    called = used.__qualname__.removesuffix(".forward")
    return f"{name} calls the package's own {called}, which is what you are asked to write: write it yourself."


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Turn gradients on, hide output and warnings, and restore torch's defaults and every random state afterwards."""
    python, numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()  # noqa: NPY002
    device, quiet = torch.get_default_device(), logging.root.manager.disable
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            _silenced(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)  # a compiled answer tells of each new shape
            torch.set_default_dtype(torch.float32)
            if device.type != "cpu":
                torch.set_default_device("cpu")
            random.seed(0), np.random.seed(0)  # noqa: NPY002
            torch.default_generator.manual_seed(0)  # the generators of graphics cards are left alone
            yield
    finally:
        logging.disable(quiet)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Hide what is printed and, in a notebook, what is displayed."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.utils.capture import capture_output

        with capture_output():
            yield
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
