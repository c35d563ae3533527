"""What holds an optimisation in bounds: its learning rate over time, and when its loss counts as blown up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Guard", "Lift", "lr_factor"]

# The largest entry of the image's gradient is lifted to this, and the first loss to that. Between the layers it is 30
# to 400 times smaller, and its rms there 10 to 50 times smaller still: float16 has room for both, 6e-5 to 65504.
LIFTED_GRADIENT, LIFTED_LOSS = 2.0**13, 1e4


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


class Lift:
    """Keeps gradients within what float16 can hold: the loss is multiplied by a power of 2, and the gradient divided.

    The power follows from the gradient before. Nothing is read from the device.

    >>> image, lift = torch.full((2,), 3.0, requires_grad=True), Lift()
    >>> for _ in range(2):
    ...     image.grad = None
    ...     lift.backward(1e-6 * image.square().sum(), image)
    >>> image.grad.mul(1e6).round().tolist(), lift.factor.log2().item()
    ([6.0, 6.0], 30.0)

    Source: loss scaling, Micikevicius et al. 2018 (arXiv:1710.03740), section 3.2.
    """

    def __init__(self) -> None:
        self.factor: Tensor | None = None

    def backward(self, loss: Tensor, image: Tensor) -> None:
        """Leave the gradient of the loss (a scalar) in `image.grad`."""
        if self.factor is None:
            self.factor = _power(LIFTED_LOSS / loss.detach())
        (loss * self.factor).backward()
        image.grad = image.grad / self.factor
        self.factor = _power(LIFTED_GRADIENT / image.grad.abs().max())


def _power(wished: Tensor) -> Tensor:
    """The power of 2 below; 1 where the wish is no positive number."""
    power = wished.log2().floor().exp2()
    return torch.where(power.isfinite() & (power > 0), power, torch.ones_like(power))
