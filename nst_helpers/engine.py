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

from .devices import peak_memory
from .lbfgs import LBFGS
from .model import StyleModel, Weights
from .precondition import Preconditioner

__all__ = ["LEARNING_RATES", "OPTIMIZERS", "SCHEDULES", "Evaluation", "Optimisation"]

LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.03}
OPTIMIZERS = tuple(LEARNING_RATES)
SCHEDULES = ("constant", "step", "cosine")

# PyTorch's L-BFGS begins with a step of total length 1 over all pixels, too short to tell the curvature from rounding,
# and neither it nor ours keeps a curvature where step times change of gradient is under 1e-10. So the first step moves
# the pixels by 0.01 in the mean (0.001 where it starts afresh), and the loss is scaled to begin at 1e4: L-BFGS is
# blind to its scale.
FIRST_STEP, FRESH_STEP = 1e-2, 1e-3
SCALED_LOSS = 1e4
# No step of L-BFGS moves the pixels by more than this in the mean: a leap on curvature half learnt is what explodes.
# The preconditioner's smooth steps can be longer.
LONGEST_STEP, LONGEST_SMOOTH_STEP = 2e-2, 1e-1
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


@dataclass
class Guard:
    """When an optimisation counts as blown up, and how often it may start again from its best image."""

    factor: float = 10.0
    restarts: int = 0
    most: int = 8
    lr_scale: float = 1.0

    def broken(self, loss: float, best: float) -> bool:
        return not math.isfinite(loss) or (math.isfinite(best) and loss > self.factor * best + 1e-12)


def lr_factor(schedule: str, done: int, total: int) -> float:
    """What the learning rate is multiplied by after `done` of `total` evaluations.

    >>> [round(lr_factor("cosine", t, 4), 3) for t in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [lr_factor("step", t, 4) for t in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    share = min(done / max(total, 1), 1.0)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if schedule == "step":
        return 0.5 ** (share >= 0.5) * 0.5 ** (share >= 0.75)
    return 1.0


class Optimisation:
    """An image on its way: `step()` makes one closure evaluation and one change, and returns its `Evaluation`.

    `weights` may be exchanged between steps with `set_weights`. `best` is the image (1, 3, H, W) with the lowest
    loss evaluated so far. Where the loss is NaN, infinite or ten times the best, the image goes back to `best`, the
    optimiser starts afresh with half the learning rate, and the evaluation's `event` says so.

    L-BFGS keeps the last `history_size` steps; with `precondition` it prefers smooth changes (see `Preconditioner`).

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
        self.root: Preconditioner | None = None
        if precondition:
            self.root = Preconditioner(tuple(image.shape[-2:]), device=image.device)
        self.history_size = history_size
        self.best, self.best_loss = self.image.detach().clone(), math.inf
        self.done, self.local, self.guard = done, 0, Guard()
        self.scale: float | None = None
        self.started = time.perf_counter() if started is None else started
        self.restart()

    def restart(self) -> None:
        """A fresh optimiser on the same image: L-BFGS forgets its curvature, Adam its moments."""
        self.moved: Tensor | None = None
        self.gradient: Tensor | None = None
        self.known = LBFGS(self.history_size, compact=self.image.dtype == torch.float32)
        self.adam = torch.optim.Adam([self.image], lr=1.0) if self.kind == "adam" else None

    def finish(self) -> None:
        """Let go of the network and of what the optimiser knows; `image` and `best` stay."""
        self.model, self.image.grad = None, None
        self.restart()

    def set_weights(self, weights: Weights) -> None:
        """Change the objective: the optimiser starts afresh, and the best image is judged anew."""
        self.weights, self.best_loss, self.scale = weights, math.inf, None
        self.best = self.image.detach().clone()
        if self.kind == "lbfgs":
            self.restart()

    def step(self) -> Evaluation:
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
        loss, terms = self._read()
        self.done, self.local = self.done + 1, self.local + 1
        event = ""
        if self.guard.broken(loss, self.best_loss):
            event = self._recover(loss)
        elif loss < self.best_loss:
            self.best, self.best_loss = before, loss
        return Evaluation(
            step=self.done,
            loss=loss,
            **terms,
            seconds=time.perf_counter() - self.started,
            lr=lr,
            size=tuple(self.image.shape[-2:]),
            peak_memory=peak_memory(self.image.device),
            event=event,
        )

    @torch.no_grad()
    def _move(self, before: Tensor, lr: float) -> None:
        """One step of L-BFGS from the gradient of the image: one evaluation, no line search."""
        gradient = self.image.grad
        gradient = (self.root.apply(gradient) if self.root else gradient).flatten()
        if self.moved is not None:
            self.known.add(self.moved, gradient - self.gradient)
        self.known.judge(self._loss)
        change = self.known.direction(gradient)
        if self.moved is None:
            first = before.numel() * (FRESH_STEP if self.local else FIRST_STEP)
            change *= first * (1 / gradient.abs().sum()).clamp(max=1.0)
        change = change.mul_(lr).view_as(before)
        change = self.root.apply(change) if self.root else change
        longest = LONGEST_SMOOTH_STEP if self.root else LONGEST_STEP
        change *= (longest / change.abs().mean()).clamp(max=1.0)
        self.image.copy_(change.add_(before).clamp_(0, 1))
        # The curvature is learnt from the step as it was made, and not from the one that was wished for.
        change = self.image - before
        self.moved = (self.root.undo(change) if self.root else change).flatten()
        self.gradient = gradient

    def _evaluate(self) -> None:
        self.image.grad = None
        self.model(self.image)
        w = self.weights
        loss = self.model.total_loss(content_weight=w.content, style_weight=w.style, tv_weight=w.tv)
        if self.scale is None:
            first = loss.item() if self.kind == "lbfgs" else 0.0
            self.scale = SCALED_LOSS / first if math.isfinite(first) and first > 0 else 1.0
        (loss * self.scale).backward()
        if self.image.is_cuda:
            # A captured graph writes its gradients to the same place each time, and L-BFGS compares two of them.
            self.image.grad = self.image.grad.clone()
        self._loss = loss.detach()

    def _read(self) -> tuple[float, dict[str, Any]]:
        model, names = self.model, [*self.model.content_losses, *self.model.style_losses]
        parts = [self._loss, model.tv_loss.loss]
        parts += [layer.loss for layer in (*model.content_losses.values(), *model.style_losses.values())]
        # One transfer for all numbers: on a GPU each one would wait for the queue to drain.
        loss, tv, *values = torch.stack([p.detach().float() for p in parts]).tolist()
        split = len(model.content_losses)
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
            "local": self.local,
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
        self.restart()
        self.best, self.best_loss = state["best"].to(self.image.device), state["best_loss"]
        self.scale = state["loss_scale"]
        self.done, self.local = state["done"], state["local"]
        self.guard.restarts, self.guard.lr_scale = state["restarts"], state["lr_scale"]
        if self.adam:
            self.adam.load_state_dict(state["optimizer"])
        else:
            self.known.load(state["optimizer"], device=self.image.device)
            kept = (state["moved"], state["gradient"])
            self.moved, self.gradient = (t if t is None else t.to(self.image) for t in kept)
        self.started = time.perf_counter() - state["seconds"]
