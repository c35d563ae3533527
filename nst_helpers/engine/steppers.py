"""Who makes the steps: L-BFGS and Adam behind one small interface.

Another optimiser is one class more. `../README.md` lists the four places that name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..accel.modes import plain_torch
from .lbfgs import LBFGS
from .preconditioner import Preconditioner
from .settings import Settings

__all__ = ["Adam", "LBFGSStepper", "Stepper", "make_stepper"]

# PyTorch's L-BFGS begins with a step of total length 1 over all pixels, too short to tell the curvature from rounding.
# So the first step moves the pixels by 0.01 in the mean, and by 0.001 where it starts afresh in mid-run.
FIRST_STEP, FRESH_STEP = 1e-2, 1e-3
# No step of L-BFGS moves the pixels by more than this in the mean: what explodes is a long step on curvature from too
# few pairs. With a preconditioner steps can be longer.
LONGEST_STEP, LONGEST_PRECONDITIONED_STEP = 2e-2, 1e-1


class Stepper(Protocol):
    """Computes the next image (1, 3, H, W) from an image and its gradient."""

    normalizes_loss: bool  # whether it wants losses whose first is scaled to a fixed size

    def step(self, image: Tensor, gradient: Tensor, loss: Tensor, lr: float) -> Tensor:
        """The next image, in [0, 1], from an image, its gradient and its loss (a scalar); none of them is changed."""
        ...

    def restart(self) -> None:
        """Forget what was learnt on the way; the next step is a first one."""
        ...

    def state(self) -> dict[str, Any]:
        """What `load` takes back: tensors on the CPU, numbers and None."""
        ...

    def load(self, state: Mapping[str, Any], image: Tensor) -> None:
        """Go on from a `state()`, on the device of the image."""
        ...


def make_stepper(image: Tensor, settings: Settings) -> Stepper:
    """The stepper that the settings ask for, for images of that shape, device and type.

    >>> type(make_stepper(torch.rand(1, 3, 8, 8), Settings(optimizer="adam"))).__name__
    'Adam'
    """
    if settings.optimizer == "adam":
        return Adam()
    return LBFGSStepper(image, history_size=settings.history_size, precondition=settings.precondition)


class LBFGSStepper:
    """L-BFGS with one evaluation a step: no line search, steps of bounded length, and a clamp that it learns from."""

    normalizes_loss = True

    def __init__(self, image: Tensor, *, history_size: int, precondition: bool) -> None:
        self.precondition, self.history_size = precondition, history_size
        self._shape, self._device, self._dtype = image.shape, image.device, image.dtype
        self.steps = 0
        self.restart()

    @plain_torch()
    def restart(self) -> None:
        """Forget the curvature."""
        preconditioner = None
        if self.precondition:
            preconditioner = Preconditioner(self._shape, device=self._device, dtype=self._dtype)
        self.curvature = LBFGS(self.history_size, preconditioner=preconditioner)
        # The last step as the curvature takes it, and the gradient before it.
        self.last_step: Tensor | None = None
        self.last_gradient: Tensor | None = None

    @torch.no_grad()
    def step(self, image: Tensor, gradient: Tensor, loss: Tensor, lr: float) -> Tensor:
        """The next image; see `Stepper`."""
        flat = gradient.flatten()
        if self.last_step is not None and self.last_gradient is not None:
            self.curvature.add(self.last_step, flat - self.last_gradient)
        self.curvature.observe_loss(loss)
        change = self.curvature.direction(flat)
        if self.last_step is None:
            first = image.numel() * (FRESH_STEP if self.steps else FIRST_STEP)
            change *= first * (1 / flat.abs().sum()).clamp(max=1.0)
        longest = LONGEST_PRECONDITIONED_STEP if self.precondition else LONGEST_STEP
        change = change.mul_(lr).view_as(image)
        change *= (longest / change.abs().mean()).clamp(max=1.0)
        after = (image + change).clamp_(0, 1)
        # The curvature takes in the step as the clamp left it. With a preconditioner, whose steps are cut more often,
        # it takes a mean of that step and the one before the clamp.
        taken = after - image
        self.last_step = (self.curvature.weighted(taken, change) if self.precondition else taken).flatten()
        self.last_gradient = flat
        self.steps += 1
        return after

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        last = {"last_step": self.last_step, "last_gradient": self.last_gradient}
        kept = {name: None if tensor is None else tensor.cpu() for name, tensor in last.items()}
        return {"curvature": self.curvature.state(), "steps": self.steps, **kept}

    def load(self, state: Mapping[str, Any], image: Tensor) -> None:
        """Go on from a `state()`."""
        self.restart()
        self.curvature.load(state["curvature"], device=image.device)
        self.steps = state["steps"]
        self.last_step, self.last_gradient = (
            None if kept is None else kept.to(image) for kept in (state["last_step"], state["last_gradient"])
        )


class Adam:
    """Adam with its usual constants, and the image clamped to [0, 1] after each step.

    `torch.optim.Adam` makes the same steps, and a test holds this to them. Importing it takes seconds and 130 MB, since
    it loads PyTorch's compiler.

    >>> image = torch.full((1, 3, 1, 1), 0.5)
    >>> after = Adam().step(image, torch.full_like(image, 7.0), torch.tensor(0.0), lr=0.1)
    >>> round(after.mean().item(), 6)
    0.4

    Source: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1.
    """

    normalizes_loss = False
    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the moments."""
        self.steps = 0
        self.mean: Tensor | None = None
        self.square: Tensor | None = None

    @torch.no_grad()
    def step(self, image: Tensor, gradient: Tensor, loss: Tensor, lr: float) -> Tensor:
        """The next image; see `Stepper`."""
        mean = torch.zeros_like(gradient) if self.mean is None else self.mean
        square = torch.zeros_like(gradient) if self.square is None else self.square
        mean = mean.lerp(gradient, 1 - self.BETA1)
        square = (square * self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        steps = self.steps + 1
        root = (square / (1 - self.BETA2**steps)).sqrt_().add_(self.EPSILON)
        after = image.addcdiv(mean, root, value=-lr / (1 - self.BETA1**steps)).clamp_(0, 1)
        self.mean, self.square, self.steps = mean, square, steps
        return after

    def state(self) -> dict[str, Any]:
        """What `load` takes back."""
        moments = {"mean": self.mean, "square": self.square}
        kept = {name: None if tensor is None else tensor.cpu() for name, tensor in moments.items()}
        return {"steps": self.steps, **kept}

    def load(self, state: Mapping[str, Any], image: Tensor) -> None:
        """Go on from a `state()`."""
        self.steps = state["steps"]
        self.mean, self.square = (None if kept is None else kept.to(image) for kept in (state["mean"], state["square"]))
