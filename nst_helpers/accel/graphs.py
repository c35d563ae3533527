"""A GPU's evaluation as two graphs, one for each pass, which it replays without the interpreter.

An evaluation is some 150 small operations, and on a GPU the interpreter needs longer to start them than the GPU to do
them: at 512 pixels twice to three times as long. They are the same for each image of a size, so they are recorded once
and started together from then on. Recording takes as long as a few evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..losses import ContentLoss, StyleLoss, TVLoss
from ..model import Objective, StyleModel

__all__ = ["CapturedModel"]

# cuDNN and cuBLAS choose their routines and take their memory in the first evaluations, which a recording may not do.
WARM_UPS = 3
# cuDNN's other routines add up in an order that differs from run to run, and so then does the picture.
DETERMINISTIC = True


class CapturedModel(Objective, nn.Module):
    """A `StyleModel` on a GPU with the same losses and gradients; images (1, 3, H, W) are all of the first one's size.

    The graphs hold the loss layers' targets; the layers' weights and those of the total loss may still change.
    """

    def __init__(self, model: StyleModel) -> None:
        super().__init__()
        self.model, self.normalize, self.convention = model, model.normalize, model.convention
        self.tv_loss, self.content_losses, self.style_losses = model.tv_loss, model.content_losses, model.style_losses
        self.layers: list[TVLoss | ContentLoss | StyleLoss] = [
            model.tv_loss,
            *model.content_losses.values(),
            *model.style_losses.values(),
        ]
        self.passes: _Passes | None = None
        self.refusal = ""  # why the device would not record; it then gets each operation by itself

    def forward(self, image: Tensor) -> None:
        """Leave the image's losses in the loss layers."""
        if not self.refusal and (self.passes is None or self.passes.image.shape != image.shape):
            self.passes = None  # the memory of the one before is free first
            try:
                self.passes = _Passes(self._losses, image)
            except RuntimeError as error:  # also where the recordings' memory is more than there is
                self.refusal = str(error)
        if self.passes is None:
            self.model(image)
            return
        losses: Tensor = _Replay.apply(image, self.passes)
        for layer, loss in zip(self.layers, losses.unbind(), strict=True):
            layer.loss = loss

    def _losses(self, image: Tensor) -> Tensor:
        self.model(image)
        return torch.stack([layer.loss for layer in self.layers if isinstance(layer.loss, Tensor)])


class _Passes:
    """The two recordings, and the memory that they read and write."""

    def __init__(self, losses_of: Callable[[Tensor], Tensor], image: Tensor) -> None:
        self.losses_of, self.image = losses_of, image.detach().clone().requires_grad_()
        self.losses = self.gradient = self.shares = self.image  # until the work was done once
        before, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, DETERMINISTIC
        try:
            warm_up(self._both)
            # The loss layers still hold on to the warm-up's graph, which belongs to another stream: this one begins
            # from a leaf of its own.
            self.image = self.image.detach().clone().requires_grad_()
            pool = torch.cuda.graph_pool_handle()
            self.forward = capture(self._forward, pool)
            self.backward = capture(self._backward, pool)
        finally:
            torch.backends.cudnn.deterministic = before
            # The model's last loss leads to these recordings through autograd, where Python's collector can't follow:
            # if they led back to the model, neither would ever be let go of.
            del self.losses_of

    def _both(self) -> None:
        self._forward()
        self.shares = torch.ones_like(self.losses)  # of each loss in the total
        self._backward()

    def _forward(self) -> None:
        with torch.enable_grad():
            self.losses = self.losses_of(self.image)

    def _backward(self) -> None:
        (self.gradient,) = torch.autograd.grad(self.losses, self.image, self.shares)


class _Replay(torch.autograd.Function):
    """Image (1, 3, H, W) to the loss layers' losses (L,)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, passes: _Passes) -> Tensor:
        passes.image.detach().copy_(image)
        passes.forward()
        ctx.passes = passes
        return passes.losses.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, shares: Tensor) -> tuple[Tensor, None]:
        ctx.passes.shares.copy_(shares)
        ctx.passes.backward()
        return ctx.passes.gradient.clone(), None


def warm_up(work: Callable[[], None]) -> None:
    """Do the work a few times, beside the device's main stream of work: a recording needs that before it."""
    main, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    main.wait_stream(side)


def capture(work: Callable[[], None], pool: Any) -> Callable[[], None]:
    """Record the work on the device without doing it; returns the function that does it."""
    graph = torch.cuda.CUDAGraph()
    # "thread_local": other threads may use the device meanwhile, since they may be painting, too.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        work()
    return graph.replay
