"""The examination of closures: what an optimiser calls has to zero, evaluate, backpropagate and return, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdicts import Examination, close, generator

__all__ = ["CLOSURE_SYMPTOMS", "CountingSGD", "examine_closure"]

_STEP = "calls optimizer.step inside the closure: the optimiser calls the closure, not the other way round."
CLOSURE_SYMPTOMS = (
    (
        "backward through the graph a second time",
        "loss-outside",
        "evaluates the loss once, outside the closure: the closure has to call loss_function(image) itself.",
    ),
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
    (
        "leaf Variable that requires grad",
        "in-place",
        "changes the image: the optimiser alone may do that.",
    ),
    (
        "maximum recursion depth",
        "step-inside",
        _STEP,
    ),
)


class CountingSGD(torch.optim.SGD):
    """Gradient descent that counts how often it is asked to step."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        """Count the call, and step."""
        self.steps += 1
        return super().step(closure)


def examine_closure(examination: Examination) -> None:
    """Examine a function that makes the closure which an optimiser calls."""
    g = generator()
    # Values outside [0, 1], so that a clamp shows.
    start, goal = (torch.rand(2, 3, 4, 5, generator=g) * 3 - 1 for _ in range(2))
    image, calls = start.clone().requires_grad_(), []

    def loss_function(x: Tensor) -> Tensor:
        calls.append(x)
        return ((x - goal) ** 2).sum() * 0.5

    optimizer = CountingSGD([image], lr=0.0)
    closure = examination.call(optimizer, image, loss_function)
    examination.require(closure is not None, "returns-nothing", "returns nothing: end it with `return closure`.")
    examination.require(
        callable(closure),
        "closure-called",
        "returns a result, not a function: return closure, without the brackets ().",
    )
    early, hooks = len(calls), []
    image.register_hook(lambda gradient: hooks.append(1))
    loss = examination.call(function=closure)
    inside = torch.equal(image.detach(), start.clamp(0, 1))
    examination.require(
        not inside,
        "clamp-inside",
        "clamps the image inside the closure, behind the optimiser's back: clamp after the step, or at the end.",
    )
    examination.require(
        optimizer.steps == 0,
        "step-inside",
        _STEP,
    )
    examination.require(
        torch.equal(image.detach(), start), "in-place", "changes the image: the optimiser alone may do that."
    )
    examination.require(
        loss is not None, "closure-returns-nothing", "makes a closure that returns nothing: end it with `return loss`."
    )
    number = not isinstance(loss, Tensor)
    examination.require(not number, "python-number", "makes a closure that returns no tensor: return the loss itself.")
    examination.require(
        not close(loss.reshape(-1)[:1], loss_function(start.clamp(0, 1)).reshape(1)),
        "clamps-copy",
        "evaluates a clamped copy of the image, so pixels outside [0, 1] get no gradient: hand over the image itself.",
    )
    examination.require(
        loss.numel() == 1 and close(loss.reshape(()), loss_function(start)),
        "wrong-values",
        "makes a closure that returns something else than the loss of the image.",
    )
    del calls[-2:]
    stale = "evaluates the loss once, outside the closure: the closure has to call loss_function(image) itself."
    examination.require(len(calls) > early, "loss-outside", stale)
    examination.require(
        len(calls) - early == 1, "evaluates-twice", "evaluates the loss more than once a call, which takes time."
    )
    examination.require(
        bool(hooks), "backward-forgotten", "makes a closure without a gradient: call loss.backward() in it."
    )
    _check_gradients(examination, closure, image, start - goal)

    with torch.no_grad():
        image += 0.25
    loss = examination.call(function=closure)
    examination.require(close(loss.reshape(()), loss_function(image)), "loss-outside", stale)
    _check_with_lbfgs(examination, start, loss_function)


def _check_gradients(examination: Examination, closure: Callable, image: Tensor, want: Tensor) -> None:
    examination.require(
        image.grad is not None and bool(image.grad.any()),
        "zeroed-too-late",
        "zeroes the gradient after backward(): zero first, then evaluate and backpropagate.",
    )
    examination.require(close(image.grad, want), "wrong-gradient", "leaves another gradient than that of the loss.")
    examination.call(function=closure)
    again = image.grad
    examination.require(
        not close(again, want * 2),
        "zero-grad-forgotten",
        "adds each call's gradient to the last one: call optimizer.zero_grad() first in the closure.",
    )
    examination.require(
        close(again, want), "wrong-gradient", "leaves another gradient at the second call than at the first."
    )


def _check_with_lbfgs(examination: Examination, start: Tensor, loss_function: Callable[[Tensor], Tensor]) -> None:
    image = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([image], max_iter=5)
    closure = examination.call(optimizer, image, loss_function)
    examination.call(closure, function=optimizer.step)
    lower = loss_function(image) < loss_function(start) * 0.1
    examination.require(bool(lower), "does-not-descend", "makes a closure with which L-BFGS doesn't lower the loss.")
