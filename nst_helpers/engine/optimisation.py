"""One running optimisation as an object: each step is one closure evaluation, guarded, and counted.

The image is the parameter, and it is clamped to [0, 1] after each step, never inside the closure, where the optimiser
would not know of it. L-BFGS learns the curvature from the steps as the clamp left them. When its image was left free
and clamped once at the end instead, that one clamp raised the loss by 10 to 30 %.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import peak_memory
from ..accel.modes import plain_torch
from ..accel.threads import CORES, adapt_threads, restored_threads
from ..model import Weights
from .evaluation import Evaluation, PendingEvaluation
from .guard import Guard, lr_factor
from .objective import AnyModel
from .scaling import Backward
from .settings import Settings
from .steppers import make_stepper

__all__ = ["Optimisation"]


class Optimisation:
    """An image on its way: `step()` makes one closure evaluation and one change, and returns its `Evaluation`.

    `settings`, or their fields as keywords, say who makes the steps (`optimizer`, `precondition`, `history_size`), how
    long they are (`lr`, `lr_schedule`) and what each part of the loss counts. `total` is the number of evaluations
    that the schedule is laid out for, `settings.steps` where it is left out; `done` how many went before. `best` is the
    image (1, 3, H, W) with the lowest loss evaluated so far.

    Where the loss is NaN, infinite or ten times the best, the image goes back to `best`, the optimiser starts afresh
    with half the learning rate, and the evaluation's `event` says so.

    With `ahead` an evaluation's numbers are read while the next one is under way, so that a GPU never waits for the
    interpreter; none is begun after `total`. `image` is then one change further than the last `Evaluation`; the guard
    acts one evaluation late, and drops the one that began from the image it refuses.

    Raises ValueError where the first loss is already NaN or infinite.

    >>> from nst_helpers import Encoder, build_model
    >>> from nst_helpers.encoders import Architecture
    >>> photo, encoder = torch.rand(1, 3, 16, 16), Encoder(Architecture("toy", ((8,),)))
    >>> model = build_model(encoder, photo, photo.flip(-1), content_layers=["conv1_1"], style_layers=["relu1_1"])
    >>> run = Optimisation(model, photo, optimizer="adam", steps=3)
    >>> run.step().step, run.step().step, run.finished
    (1, 2, False)
    """

    @plain_torch()
    def __init__(
        self,
        model: AnyModel,
        image: Tensor,
        settings: Settings | None = None,
        *,
        total: int | None = None,
        done: int = 0,
        started: float | None = None,
        ahead: bool = False,
        **options: Any,
    ) -> None:
        settings = replace(settings or Settings(), **options)
        self.model: AnyModel | None = model
        self.weights, self.lr, self.schedule = settings.weights, settings.learning_rate, settings.lr_schedule
        # A list of steps goes with scales, and each of those has an optimisation, and a total, of its own.
        steps = settings.steps if isinstance(settings.steps, int) else sum(settings.steps)
        self.total = steps if total is None else total
        self.image = image.detach().clone().requires_grad_()
        self.best, self.best_loss = self.image.detach().clone(), math.inf
        self.stepper = make_stepper(self.image, settings)
        half = getattr(getattr(model, "normalize", None), "output_dtype", None) == torch.float16
        self.backward = Backward(normalized=self.stepper.normalizes_loss, half=half)
        self.guard = Guard()
        self.here, self._earlier = 0, done  # evaluations of this optimisation, and of the run before it
        self.ahead = ahead
        self.started = time.perf_counter() if started is None else started
        self._pending: PendingEvaluation | None = None
        self._before: Tensor | None = None  # during a step, the image to go back to
        self._threads = torch.get_num_threads()  # of the last step

    @property
    def done(self) -> int:
        """The evaluations made and read since the run began, at all of its scales."""
        return self._earlier + self.here

    @property
    def finished(self) -> bool:
        """Whether `total` evaluations were made and read."""
        return self.here >= self.total

    @property
    def diverged(self) -> bool:
        """Whether starting again has not helped often enough to stop trying."""
        return self.guard.exhausted

    def step(self) -> Evaluation:
        """Make one evaluation and one change of the image; returns the evaluation's record.

        After an error or an interrupt in mid-step, the image is as it was before, and the optimiser starts afresh.
        """
        self._before = self._pending.image if self._pending else None
        try:
            with plain_torch(), restored_threads():
                self._threads = adapt_threads() if self.image.device.type == "cpu" else self._threads
                evaluated = self._pending or self._evaluate(self.here)
                another = self.ahead and self.here + 1 < self.total
                self._pending = self._evaluate(self.here + 1) if another else None
                record = self._settle(evaluated)
            self.here += 1
        except BaseException:
            self._undo()
            raise
        self._before = None
        return record

    def set_weights(self, weights: Weights) -> None:
        """Change the objective: L-BFGS forgets its curvature, and the best image is looked for anew."""
        self.weights, self.best_loss = weights, math.inf
        self.backward.reset()
        self._pending = None
        self.best = self.image.detach().clone()
        if self.stepper.normalizes_loss:
            self.stepper.restart()

    def restart(self) -> None:
        """A fresh optimiser on the same image: L-BFGS forgets its curvature, Adam its moments."""
        self.stepper.restart()

    def finish(self) -> None:
        """Let go of the network and of what the optimiser knows; `image` and `best` stay."""
        self.model, self.image.grad, self._pending = None, None, None
        self.stepper.restart()

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on from here; `load` takes it back."""
        factor = self.backward.factor
        return {
            "image": self.image.detach().cpu(),
            "best": self.best.cpu(),
            "best_loss": self.best_loss,
            "loss_factor": None if factor is None else factor.cpu(),
            "done": self.done,
            "here": self.here,
            "restarts": self.guard.restarts,
            "lr_scale": self.guard.lr_scale,
            "stepper": self.stepper.state(),
            "threads": self._threads,
            "seconds": time.perf_counter() - self.started,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        with torch.no_grad():
            self.image.copy_(state["image"])
        self._pending = None
        self.best, self.best_loss = state["best"].to(self.image), state["best_loss"]
        factor = state["loss_factor"]
        self.backward.reset()
        self.backward.factor = None if factor is None else factor.to(self.image.device)
        self.here, self._earlier = state["here"], state["done"] - state["here"]
        self.guard.restarts, self.guard.lr_scale = state["restarts"], state["lr_scale"]
        self.stepper.load(state["stepper"], self.image)
        CORES.resume_from(state["threads"])
        self.started = time.perf_counter() - state["seconds"]

    def _evaluate(self, number: int) -> PendingEvaluation:
        """One closure evaluation, and the change of the image that follows from it; the first has the number 0."""
        assert self.model is not None, "this optimisation is finished"
        lr = self.lr * self.guard.lr_scale * lr_factor(self.schedule, number, self.total)
        # The loss belongs to the image before the change, so that image has to be kept until the loss is known.
        before = self.image.detach().clone()
        self._before = before if self._before is None else self._before
        loss = self._closure(self.model)
        assert self.image.grad is not None
        after = self.stepper.step(before, self.image.grad, loss, lr)
        with torch.no_grad():
            self.image.copy_(after)
        return PendingEvaluation(self.model, loss, before, lr)

    def _closure(self, model: AnyModel) -> Tensor:
        """The loss of the image as it is (a scalar), with its gradient in `image.grad`."""
        w = self.weights
        self.image.grad = None
        model(self.image)
        loss = model.total_loss(content_weight=w.content, style_weight=w.style, tv_weight=w.tv)
        self.backward(loss, self.image)
        return loss.detach()

    def _settle(self, evaluated: PendingEvaluation) -> Evaluation:
        """Read the numbers, and keep the image or go back to the best one."""
        loss, terms = evaluated.read()
        # In bfloat16 a ReLU may lose a NaN on the way (accel/relu.py); the image's total variation does not.
        loss = loss if math.isfinite(terms["tv"]) else math.nan
        event = ""
        if self.guard.broken(loss, self.best_loss):
            event = self._recover(loss)
        elif loss < self.best_loss:
            self.best, self.best_loss = evaluated.image, loss
        height, width = self.image.shape[-2:]
        return Evaluation(
            step=self.done + 1,
            loss=loss,
            **terms,
            seconds=time.perf_counter() - self.started,
            lr=evaluated.lr,
            size=(height, width),
            peak_memory=peak_memory(self.image.device),
            event=event,
        )

    def _recover(self, loss: float) -> str:
        """Go back to the best image with a fresh optimiser; returns that in words."""
        if not math.isfinite(self.best_loss):
            raise ValueError(
                f"The loss is {loss} at the first evaluation: check the weights {self.weights} and the pictures."
            )
        self.guard.start_again()
        self._pending = None
        with torch.no_grad():
            self.image.copy_(self.best)
        self.stepper.restart()
        return (
            f"the loss became {loss:.3g}: back to the best image ({self.best_loss:.3g}) "
            f"with a fresh optimizer and {self.guard.lr_scale:g} times the learning rate"
        )

    def _undo(self) -> None:
        """Put the image back as it was before a step that wasn't finished."""
        if self._before is not None:
            with torch.no_grad():
                self.image.copy_(self._before)
        self._pending = self._before = None
        self.stepper.restart()
