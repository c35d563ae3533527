"""A function that stays with the judge, as the answer gets it: values and gradients are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["function_of_the_judge"]

# Sends a question with a tensor; gives the tensor that comes back, and the number of the evaluation.
Ask = Callable[[dict[str, Any], Tensor], tuple[Tensor, int]]


def function_of_the_judge(ask: Ask, number: int) -> Callable[[Tensor], Tensor]:
    """A function that the judge keeps; gradients go through it, those of `torch.func` as well."""
    evaluations: list[int] = []

    class Gradient(torch.autograd.Function):
        """The gradient as a step of its own, so that `torch.func` hands over plain tensors here, too."""

        @staticmethod
        def forward(gradient: Tensor, evaluation: int) -> Tensor:
            """Ask for the gradient."""
            return ask({"ask": "gradient", "of": evaluation}, gradient)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
            """Keep nothing: there is no second derivative."""

    class Callback(torch.autograd.Function):
        """The judge's function, as a step of autograd."""

        @staticmethod
        def forward(image: Tensor) -> Tensor:
            """Ask for the value."""
            value, evaluation = ask({"ask": "value", "of": number}, image)
            evaluations.append(evaluation)
            return value

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
            """Keep what is needed to ask for the gradient."""
            ctx.evaluation = evaluations[-1]
            ctx.save_for_backward(inputs[0])

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            """Ask for the gradient; a second time, torch itself complains that the graph is freed."""
            _ = ctx.saved_tensors
            return Gradient.apply(gradient, ctx.evaluation)

    def function(image: Tensor) -> Tensor:
        return Callback.apply(image)

    return function
