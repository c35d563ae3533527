"""One running optimisation as an object: each step is one closure evaluation, guarded, and counted.

The image is the parameter, and it is clamped to [0, 1] after each step, never inside the closure, behind the
optimiser's back. L-BFGS learns the curvature from where it went, so it is told where the clamp really left it. Left
free and clamped once at the end, the loss of its pictures rose by 10 to 30 % in that one clamp.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import peak_memory, to_host
from ..model import StyleModel, Weights
from .guard import Guard, Lift, lr_factor
from .lbfgs import LBFGS
from .preconditioner import Preconditioner
from .settings import LEARNING_RATES, OPTIMIZERS, SCHEDULES

__all__ = ["Evaluation", "Optimisation"]

# PyTorch's L-BFGS begins with a step of total length 1 over all pixels, too short to tell the curvature from rounding,
# and neither it nor ours keeps a curvature where step times change of gradient is under 1e-10. So the first step moves
# the pixels by 0.01 in the mean (0.001 where it starts afresh), and the loss is scaled to begin at 1e4: L-BFGS is
# blind to its scale.
FIRST_STEP, FRESH_STEP = 1e-2, 1e-3
SCALED_LOSS = 1e4
# No step of L-BFGS moves the pixels by more than this in the mean: a leap on curvature half learnt is what explodes.
# With a preconditioner they can be longer.
LONGEST_STEP, LONGEST_PRECONDITIONED_STEP = 2e-2, 1e-1
HISTORY_SIZE = 10


@dataclass(frozen=True)
class Evaluation:
    """One closure evaluation: the losses of the image as it was before the step's change, unweighted per layer."""

    step: int
    loss: float
    content: dict[str, float]
    style: dict[str, float]
    tv: float
    seconds: float
    lr: float
    size: tuple[int, int]  # height and width of the image
    peak_memory: int | None = None  # bytes
    event: str = ""  # in words, where something out of the ordinary happened

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Made:
    """An evaluation whose numbers may still be on their way from the device."""

    before: Tensor
    lr: float
    numbers: Tensor
    arrived: torch.cuda.Event | None

    def read(self) -> list[float]:
        if self.arrived:
            self.arrived.synchronize()
        return self.numbers.tolist()


class Optimisation:
    """An image on its way: `step()` makes one closure evaluation and one change, and returns its `Evaluation`.

    `weights` may be exchanged between steps with `set_weights`. `best` is the image (1, 3, H, W) with the lowest
    loss evaluated so far. Where the loss is NaN, infinite or ten times the best, the image goes back to `best`, the
    optimiser starts afresh with half the learning rate, and the evaluation's `event` says so.

    L-BFGS keeps the last `history_size` steps; with `precondition` it learns a length for each band of
    frequencies and each part of the picture (see `Preconditioner`).

    With `ahead` an evaluation's numbers are read when the next one is under way, so that a GPU never waits for the
    interpreter, and none is under way after `total`. `image` is then one change further than what was told; the guard
    acts one evaluation late, and drops the one that began from the image it refuses.

    Raises ValueError for an unknown optimiser or schedule, or where the first loss is already NaN.
    """

    def __init__(
        self,
        model: StyleModel,
        image: Tensor,
        *,
        optimizer: str = "lbfgs",
        lr: float | None = None,
        schedule: str = "constant",
        total: int = 200,
        weights: Weights | None = None,
        done: int = 0,
        started: float | None = None,
        precondition: bool = False,
        history_size: int = HISTORY_SIZE,
        ahead: bool = False,
    ) -> None:
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"The optimizer {optimizer!r} is unknown: use one of {', '.join(OPTIMIZERS)}.")
        if schedule not in SCHEDULES:
            raise ValueError(f"The schedule {schedule!r} is unknown: use one of {', '.join(SCHEDULES)}.")
        self.model, self.weights = model, weights or Weights()
        self.kind, self.schedule, self.total = optimizer, schedule, total
        self.lr = LEARNING_RATES[optimizer] if lr is None else lr
        self.image = image.detach().clone().requires_grad_()
        if precondition and optimizer != "lbfgs":
            raise ValueError(f"The preconditioner is made for lbfgs, not for {optimizer}: leave precondition out.")
        if history_size < 1:
            raise ValueError(f"The history_size is {history_size}: L-BFGS needs to keep at least 1 step.")
        self.precondition, self.history_size = precondition, history_size
        self.best, self.best_loss = self.image.detach().clone(), math.inf
        self.done, self.local, self.guard = done, 0, Guard()
        self.scale: Tensor | None = None
        half = getattr(getattr(model, "normalize", None), "output_dtype", None) == torch.float16
        self.lift = Lift() if half else None
        self.ahead, self.coming = ahead, None
        self.started = time.perf_counter() if started is None else started
        self.restart()

    def restart(self) -> None:
        """A fresh optimiser on the same image: L-BFGS forgets its curvature, Adam its moments."""
        self.moved: Tensor | None = None
        self.gradient: Tensor | None = None
        image = self.image
        shaped = Preconditioner(image.shape, device=image.device, dtype=image.dtype) if self.precondition else None
        self.known = LBFGS(self.history_size, preconditioner=shaped)
        self.adam = torch.optim.Adam([self.image], lr=1.0) if self.kind == "adam" else None

    def finish(self) -> None:
        """Let go of the network and of what the optimiser knows; `image` and `best` stay."""
        self.model, self.image.grad, self.coming = None, None, None
        self.restart()

    def set_weights(self, weights: Weights) -> None:
        """Change the objective: the optimiser starts afresh, and the best image is judged anew."""
        self.weights, self.best_loss, self.scale = weights, math.inf, None
        self.lift = self.lift and Lift()
        self._drop()
        self.best = self.image.detach().clone()
        if self.kind == "lbfgs":
            self.restart()

    @property
    def finished(self) -> bool:
        """Whether `total` evaluations were made and told."""
        return self.local >= self.total and self.coming is None

    def step(self) -> Evaluation:
        made = self.coming or self._make()
        self.coming = self._make() if self.ahead and self.local < self.total else None
        return self._settle(made)

    def _drop(self) -> None:
        """As if the evaluation under way had not been begun; it is made again from another image."""
        self.local -= bool(self.coming)
        self.coming = None

    def _make(self) -> _Made:
        """An evaluation and the change of the image that follows from it."""
        lr = self.lr * self.guard.lr_scale * lr_factor(self.schedule, self.local, self.total)
        # The loss belongs to the image before the change, so that image has to be kept until the loss is known.
        before = self.image.detach().clone()
        self._evaluate()
        if self.adam:
            self.adam.param_groups[0]["lr"] = lr
            self.adam.step()
            with torch.no_grad():
                self.image.clamp_(0, 1)
        else:
            self._move(before, lr)
        self.local += 1
        return self._send(before, lr)

    def _settle(self, made: _Made) -> Evaluation:
        """Read the numbers, and keep the image or go back."""
        loss, terms = self._terms(made.read())
        self.done += 1
        event = ""
        if self.guard.broken(loss, self.best_loss):
            event = self._recover(loss)
        elif loss < self.best_loss:
            self.best, self.best_loss = made.before, loss
        return Evaluation(
            step=self.done,
            loss=loss,
            **terms,
            seconds=time.perf_counter() - self.started,
            lr=made.lr,
            size=tuple(self.image.shape[-2:]),
            peak_memory=peak_memory(self.image.device),
            event=event,
        )

    @torch.no_grad()
    def _move(self, before: Tensor, lr: float) -> None:
        """One step of L-BFGS from the gradient of the image: one evaluation, no line search."""
        gradient = self.image.grad.flatten()
        if self.moved is not None:
            self.known.add(self.moved, gradient - self.gradient)
        self.known.judge(self._loss)
        change = self.known.direction(gradient)
        if self.moved is None:
            first = before.numel() * (FRESH_STEP if self.local else FIRST_STEP)
            change *= first * (1 / gradient.abs().sum()).clamp(max=1.0)
        longest = LONGEST_PRECONDITIONED_STEP if self.precondition else LONGEST_STEP
        change = change.mul_(lr).view_as(before)
        change *= (longest / change.abs().mean()).clamp(max=1.0)
        self.image.copy_((before + change).clamp_(0, 1))
        # The curvature is learnt from the step as it was made, and not from the one that was wished for; with a
        # preconditioner, whose wishes reach further beyond 0 and 1, from one between the two.
        made = self.image - before
        self.moved = (self.known.learnt(made, change) if self.precondition else made).flatten()
        self.gradient = gradient

    def _evaluate(self) -> None:
        self.image.grad = None
        self.model(self.image)
        w = self.weights
        loss = self.model.total_loss(content_weight=w.content, style_weight=w.style, tv_weight=w.tv)
        if self.scale is None:
            first, one = loss.detach(), torch.ones_like(loss)
            useful = first.isfinite() & (first > 0) if self.kind == "lbfgs" else one < 0
            self.scale = torch.where(useful, SCALED_LOSS / first, one)
        if self.lift:
            self.lift.backward(loss * self.scale, self.image)
        else:
            (loss * self.scale).backward()
        if self.image.is_cuda:
            # A captured graph writes its gradients to the same place each time, and L-BFGS compares two of them.
            self.image.grad = self.image.grad.clone()
        self._loss = loss.detach()

    def _send(self, before: Tensor, lr: float) -> _Made:
        model = self.model
        parts = [self._loss, model.tv_loss.loss]
        parts += [layer.loss for layer in (*model.content_losses.values(), *model.style_losses.values())]
        # One transfer for all numbers.
        return _Made(before, lr, *to_host(torch.stack([p.detach().float() for p in parts])))

    def _terms(self, numbers: list[float]) -> tuple[float, dict[str, Any]]:
        loss, tv, *values = numbers
        names, split = [*self.model.content_losses, *self.model.style_losses], len(self.model.content_losses)
        return loss, {
            "content": dict(zip(names[:split], values[:split], strict=True)),
            "style": dict(zip(names[split:], values[split:], strict=True)),
            "tv": tv,
        }

    def _recover(self, loss: float) -> str:
        if not math.isfinite(self.best_loss):
            raise ValueError(
                f"The loss is {loss} at the first evaluation: check the weights {self.weights} and the pictures."
            )
        self.guard.restarts += 1
        self.guard.lr_scale /= 2
        self._drop()
        with torch.no_grad():
            self.image.copy_(self.best)
        self.restart()
        return (
            f"the loss became {loss:.3g}: back to the best image ({self.best_loss:.3g}) "
            f"with a fresh optimizer and {self.guard.lr_scale:g} times the learning rate"
        )

    @property
    def diverged(self) -> bool:
        """Whether starting again has not helped often enough to stop trying."""
        return self.guard.restarts >= self.guard.most

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on from here; `load` takes it back."""
        return {
            "image": self.image.detach().cpu(),
            "best": self.best.cpu(),
            "best_loss": self.best_loss,
            "loss_scale": self.scale,
            "done": self.done,
            "local": self.local - bool(self.coming),  # what was told: one that is under way is made again
            "restarts": self.guard.restarts,
            "lr_scale": self.guard.lr_scale,
            "optimizer": self.adam.state_dict() if self.adam else self.known.state(),
            "moved": self.moved,
            "gradient": self.gradient,
            "seconds": time.perf_counter() - self.started,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        with torch.no_grad():
            self.image.copy_(state["image"])
        self.coming = None
        self.restart()
        self.best, self.best_loss = state["best"].to(self.image.device), state["best_loss"]
        self.scale = None if state["loss_scale"] is None else state["loss_scale"].to(self.image.device)
        self.done, self.local = state["done"], state["local"]
        self.guard.restarts, self.guard.lr_scale = state["restarts"], state["lr_scale"]
        if self.adam:
            self.adam.load_state_dict(state["optimizer"])
        else:
            self.known.load(state["optimizer"], device=self.image.device)
            kept = (state["moved"], state["gradient"])
            self.moved, self.gradient = (t if t is None else t.to(self.image) for t in kept)
        self.started = time.perf_counter() - state["seconds"]
