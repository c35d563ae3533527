"""The examination of closures: what an optimiser calls has to zero, evaluate, backpropagate and return, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdicts import Trial, close, generator

__all__ = ["CLOSURE_SYMPTOMS", "examine_closure"]

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


class _Counted(torch.optim.SGD):
    steps = 0

    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        return super().step(closure)


def examine_closure(trial: Trial) -> None:
    """A function that makes the closure which an optimiser calls."""
    g = generator()
    # Values outside [0, 1], so that a clamp shows.
    start, goal = (torch.rand(2, 3, 4, 5, generator=g) * 3 - 1 for _ in range(2))
    image, calls = start.clone().requires_grad_(), []

    def loss_function(x: Tensor) -> Tensor:
        calls.append(x)
        return ((x - goal) ** 2).sum() * 0.5

    optimizer = _Counted([image], lr=0.0)
    closure = trial.call(optimizer, image, loss_function)
    trial.hold(closure is not None, "returns-nothing", "returns nothing: end it with `return closure`.")
    trial.hold(
        callable(closure),
        "closure-called",
        "returns a result, not a function: return closure, without the brackets ().",
    )
    early, hooks = len(calls), []
    image.register_hook(lambda gradient: hooks.append(1))
    loss = trial.call(function=closure)
    inside = torch.equal(image.detach(), start.clamp(0, 1))
    trial.hold(
        not inside,
        "clamp-inside",
        "clamps the image inside the closure, behind the optimiser's back: clamp after the step, or at the end.",
    )
    trial.hold(
        optimizer.steps == 0,
        "step-inside",
        _STEP,
    )
    trial.hold(torch.equal(image.detach(), start), "in-place", "changes the image: the optimiser alone may do that.")
    trial.hold(
        loss is not None, "closure-returns-nothing", "makes a closure that returns nothing: end it with `return loss`."
    )
    number = not isinstance(loss, Tensor)
    trial.hold(not number, "python-number", "makes a closure that returns no tensor: return the loss itself.")
    trial.hold(
        not close(loss.reshape(-1)[:1], loss_function(start.clamp(0, 1)).reshape(1)),
        "clamps-copy",
        "evaluates a clamped copy of the image, so pixels outside [0, 1] get no gradient: hand over the image itself.",
    )
    trial.hold(
        loss.numel() == 1 and close(loss.reshape(()), loss_function(start)),
        "wrong-values",
        "makes a closure that returns something else than the loss of the image.",
    )
    del calls[-2:]
    stale = "evaluates the loss once, outside the closure: the closure has to call loss_function(image) itself."
    trial.hold(len(calls) > early, "loss-outside", stale)
    trial.hold(
        len(calls) - early == 1, "evaluates-twice", "evaluates the loss more than once a call, which takes time."
    )
    trial.hold(bool(hooks), "backward-forgotten", "makes a closure without a gradient: call loss.backward() in it.")
    _check_gradients(trial, closure, image, start - goal)

    with torch.no_grad():
        image += 0.25
    loss = trial.call(function=closure)
    trial.hold(close(loss.reshape(()), loss_function(image)), "loss-outside", stale)
    _check_with_lbfgs(trial, start, loss_function)


def _check_gradients(trial: Trial, closure: Callable, image: Tensor, want: Tensor) -> None:
    trial.hold(
        image.grad is not None and bool(image.grad.any()),
        "zeroed-too-late",
        "zeroes the gradient after backward(): zero first, then evaluate and backpropagate.",
    )
    trial.hold(close(image.grad, want), "wrong-gradient", "leaves another gradient than that of the loss.")
    trial.call(function=closure)
    again = image.grad
    trial.hold(
        not close(again, want * 2),
        "zero-grad-forgotten",
        "adds each call's gradient to the last one: call optimizer.zero_grad() first in the closure.",
    )
    trial.hold(close(again, want), "wrong-gradient", "leaves another gradient at the second call than at the first.")


def _check_with_lbfgs(trial: Trial, start: Tensor, loss_function: Callable[[Tensor], Tensor]) -> None:
    image = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([image], max_iter=5)
    closure = trial.call(optimizer, image, loss_function)
    trial.call(closure, function=optimizer.step)
    lower = loss_function(image) < loss_function(start) * 0.1
    trial.hold(bool(lower), "does-not-descend", "makes a closure with which L-BFGS doesn't lower the loss.")
