"""The examination of closures: what an optimiser calls has to zero, evaluate, backpropagate and return, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .values import close, generator
from .verdicts import Examination, Symptom

__all__ = ["CLOSURE_SYMPTOMS", "CountingSGD", "examine_closure"]

_STEP = "calls optimizer.step inside the closure: the optimiser calls the closure, not the other way round."
_OUTSIDE = "evaluates the loss once, outside the closure: the closure has to call loss_function(image) itself."
_ZERO = "adds each call's gradient to the last one: call optimizer.zero_grad() first in the closure, at every call."
_KEPT = "changes the image: the optimiser alone may do that."
CLOSURE_SYMPTOMS: tuple[Symptom, ...] = (
    ("backward through the graph a second time", "loss-outside", _OUTSIDE),
    (
        "does not require grad and does not have a grad_fn",
        "detached",
        "cuts the gradient before backward(): hand over the image itself, without .detach(), .data or no_grad.",
    ),
    (
        "'NoneType' object has no attribute 'zero_'",
        "grad-is-none",
        "zeroes a gradient that isn't there yet: call optimizer.zero_grad(), which knows about that.",
    ),
    ("leaf Variable that requires grad", "in-place", _KEPT),
    ("maximum recursion depth", "step-inside", _STEP),
    (
        r"missing \d+ required positional argument",
        "closure-with-arguments",
        "makes a closure that wants arguments: an optimiser calls closure() without any, so use those of make_closure.",
    ),
)


class CountingSGD(torch.optim.SGD):
    """Gradient descent that counts how often it is asked to step."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        """Count the call, and step."""
        self.steps += 1
        return super().step(closure)


class _Task:
    """An image, its optimiser and a loss that counts its evaluations: scale * sum (image - goal)^2 / 2."""

    def __init__(self, seed: int, *, shape: tuple[int, ...] = (1, 3, 4, 5), scale: float = 1.0) -> None:
        g = generator(seed)
        # Values outside [0, 1], so that a clamp shows.
        self.start, self.goal = (torch.rand(shape, generator=g) * 3 - 1 for _ in range(2))
        self.image, self.scale, self.evaluations = self.start.clone().requires_grad_(), scale, 0
        self.optimizer = CountingSGD([self.image], lr=0.0)

    def loss(self, x: Tensor) -> Tensor:
        self.evaluations += 1
        return ((x - self.goal) ** 2).sum() * (0.5 * self.scale)

    def value(self, x: Tensor | None = None) -> Tensor:
        """The loss without counting, of the image if nothing else is given."""
        x = self.image.detach() if x is None else x
        return ((x - self.goal) ** 2).sum() * (0.5 * self.scale)

    def gradient(self) -> Tensor:
        return (self.image.detach() - self.goal) * self.scale

    def move(self, step: float) -> None:
        """As an optimiser would: the image stays the same object."""
        with torch.no_grad():
            self.image += step


def examine_closure(examination: Examination) -> None:
    """Examine a function that makes the closure which an optimiser calls."""
    task = _Task(0)
    closure = _build_closure(examination, task)
    _check_first_call(examination, task, closure)
    _check_calls_that_follow(examination, task, closure)
    for seed, scale, about in ((1, 1e4, "large"), (2, 1e-4, "small")):
        _check_scale(examination, _Task(seed, scale=scale), about)
    _check_side_by_side(examination)
    _check_with_optimisers(examination)


def _build_closure(examination: Examination, task: _Task) -> Callable[[], Any]:
    closure = examination.call(task.optimizer, task.image, task.loss)
    examination.require(closure is not None, "returns-nothing", "returns nothing: end it with `return closure`.")
    called = "returns a result, not a function: return closure, without the brackets ()."
    examination.require(callable(closure), "closure-called", called)
    return closure


def _check_first_call(examination: Examination, task: _Task, closure: Callable[[], Any]) -> None:
    require, image, start = examination.require, task.image, task.start
    early, backward = task.evaluations, []
    image.register_hook(lambda gradient: backward.append(1))
    loss = examination.call(function=closure)
    clamped = torch.equal(image.detach(), start.clamp(0, 1))
    sentence = "clamps the image inside the closure, behind the optimiser's back: clamp after the step, or at the end."
    require(not clamped, "clamp-inside", sentence)
    require(task.optimizer.steps == 0, "step-inside", _STEP)
    require(torch.equal(image.detach(), start), "in-place", _KEPT)
    sentence = "makes a closure that returns nothing: end it with `return loss`."
    require(loss is not None, "closure-returns-nothing", sentence)
    sentence = "makes a closure that returns no tensor: return the loss itself."
    require(isinstance(loss, Tensor), "python-number", sentence)
    sentence = "evaluates a clamped copy of the image, so pixels outside [0, 1] get no gradient: use the image itself."
    require(not close(loss.reshape(-1)[:1], task.value(start.clamp(0, 1)).reshape(1)), "clamps-copy", sentence)
    right = loss.numel() == 1 and close(loss.reshape(()), task.value())
    require(right, "wrong-values", "makes a closure that returns something else than the loss of the image.")
    require(task.evaluations > early, "loss-outside", _OUTSIDE)
    sentence = "evaluates the loss more than once a call, which takes time."
    require(task.evaluations - early == 1, "evaluates-twice", sentence)
    filled = image.grad is not None and bool(image.grad.any())
    late = bool(backward) and not filled
    sentence = "zeroes the gradient after backward(): zero first, then evaluate and backpropagate."
    require(not late, "zeroed-too-late", sentence)
    sentence = "leaves no gradient in image.grad: call loss.backward(), with the loss of the image itself."
    require(filled, "backward-forgotten", sentence)
    sentence = "leaves another gradient than that of the loss: backpropagate the loss, and leave image.grad as it is."
    require(close(image.grad, task.gradient()), "wrong-gradient", sentence)


def _check_calls_that_follow(examination: Examination, task: _Task, closure: Callable[[], Any]) -> None:
    """Once more with the same image, and then with others: each call has its own loss and its own gradient."""
    require, last = examination.require, task.gradient()
    returned: list[tuple[Tensor, Tensor]] = []
    for step in (0.0, 0.25, -0.5, 0.1, 0.0, 0.3, -0.2, 0.15):
        task.move(step)
        before, evaluations = task.image.detach().clone(), task.evaluations
        loss = examination.call(function=closure)
        require(torch.equal(task.image.detach(), before), "in-place", _KEPT)
        require(task.evaluations - evaluations <= 1, "evaluates-twice", "evaluates the loss more than once a call.")
        sentence = "evaluates the loss in some calls only: evaluate it anew at every call."
        require(bool(returned) is False or task.evaluations > evaluations, "stops-evaluating", sentence)
        own = isinstance(loss, Tensor) and loss.numel() == 1 and close(loss.detach().reshape(()), task.value())
        stale = "loss-outside" if task.evaluations == evaluations else "keeps-state"
        sentence = _OUTSIDE if stale == "loss-outside" else "returns something else than its own loss at a later call."
        require(own, stale, sentence)
        returned.append((loss, loss.detach().clone()))
        gradient = task.image.grad
        require(not close(gradient, last + task.gradient()), "zero-grad-forgotten", _ZERO)
        if not close(gradient, task.gradient()):
            mean = "leaves gradients of earlier calls in image.grad: call optimizer.zero_grad() first, at every call."
            require(False, "wrong-gradient", mean)
        last = task.gradient()
    sentence = "returns losses that change at the next call: return the loss itself, a new tensor each time."
    require(all(close(loss, was) for loss, was in returned), "shared-memory", sentence)


def _check_scale(examination: Examination, task: _Task, about: str) -> None:
    closure = _build_closure(examination, task)
    loss = examination.call(function=closure)
    fits = isinstance(loss, Tensor) and close(loss.detach().reshape(()), task.value())
    sentence = f"returns another loss where the loss is {about}: return it as it is."
    examination.require(fits, "loss-changed", sentence)
    sentence = f"leaves another gradient where the gradient is {about}: don't clip, scale or skip it."
    examination.require(close(task.image.grad, task.gradient()), "wrong-gradient", sentence)


def _check_side_by_side(examination: Examination) -> None:
    """Two closures at a time, each with its own image, optimiser and loss."""
    tasks = [_Task(3), _Task(4, shape=(1, 3, 2, 6))]
    closures = [_build_closure(examination, task) for task in tasks]
    sentence = (
        "makes closures that work on another one's image: use the optimizer, image and loss_function that this very "
        "call of make_closure was given, and no global names."
    )
    for task, closure in [*zip(tasks, closures, strict=True)] * 2:
        task.move(0.1)
        loss = examination.call(function=closure)
        fits = isinstance(loss, Tensor) and close(loss.detach().reshape(()), task.value())
        own = fits and close(task.image.grad, task.gradient())
        examination.require(own, "shared-between-closures", sentence)


def _check_with_optimisers(examination: Examination) -> None:
    for kind, options in ((torch.optim.LBFGS, {"max_iter": 5}), (torch.optim.Adam, {"lr": 0.05})):
        task = _Task(5)
        optimizer = kind([task.image], **options)
        closure = examination.call(optimizer, task.image, task.loss)
        for _ in range(1 if kind is torch.optim.LBFGS else 40):
            examination.call(closure, function=optimizer.step)
        lower = task.value() < task.value(task.start) * 0.3
        name = {"LBFGS": "L-BFGS"}.get(kind.__name__, kind.__name__)
        sentence = f"makes a closure with which {name} doesn't lower the loss."
        examination.require(bool(lower), "does-not-descend", sentence)
