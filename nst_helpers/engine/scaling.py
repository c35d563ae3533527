"""The loss times a number that the optimiser and the number format need, and the gradient that results."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Backward", "GradientScaler"]

# L-BFGS doesn't see the scale of its loss, except that neither PyTorch's nor ours keeps a curvature where step times
# change of gradient is under 1e-10. So the first loss is scaled to this.
FIRST_LOSS = 1e4
# The largest entry of the image's gradient is scaled to this in float16, and the first loss to that. Between the layers
# it is 30 to 400 times smaller, and its rms there 10 to 50 times smaller still: float16 has room for both, 6e-5 to
# 65504.
LARGEST_GRADIENT, FIRST_HALF_LOSS = 2.0**13, 1e4


class Backward:
    """The backward pass of a run: the gradient of the loss, in the scale that its optimiser works in.

    With `normalized` the first loss is scaled to 1e4, and all later ones by the same factor. With `half` the pass goes
    through a `GradientScaler`. Nothing is read from the device.
    """

    def __init__(self, *, normalized: bool, half: bool) -> None:
        self.normalized = normalized
        self.factor: Tensor | None = None
        self.scaler = GradientScaler() if half else None

    def reset(self) -> None:
        """Forget the scale: the next loss is the first one of another objective."""
        self.factor = None
        self.scaler = GradientScaler() if self.scaler else None

    def __call__(self, loss: Tensor, image: Tensor) -> None:
        """Leave the gradient of the loss (a scalar) in `image.grad`."""
        if self.factor is None:
            one = torch.ones_like(loss)
            first = loss.detach()
            usable = first.isfinite() & (first > 0) if self.normalized else one < 0
            self.factor = torch.where(usable, FIRST_LOSS / first, one)
        if self.scaler:
            self.scaler.backward(loss * self.factor, image)
        else:
            (loss * self.factor).backward()


class GradientScaler:
    """Keeps gradients within what float16 can hold: the loss is multiplied by a power of 2, and the gradient divided.

    The power follows from the gradient before. Nothing is read from the device.

    >>> image, scaler = torch.full((2,), 3.0, requires_grad=True), GradientScaler()
    >>> for _ in range(2):
    ...     image.grad = None
    ...     scaler.backward(1e-6 * image.square().sum(), image)
    >>> image.grad.mul(1e6).round().tolist(), scaler.factor.log2().item()
    ([6.0, 6.0], 30.0)

    Source: loss scaling, Micikevicius et al. 2018 (arXiv:1710.03740), section 3.2.
    """

    def __init__(self) -> None:
        self.factor: Tensor | None = None

    def backward(self, loss: Tensor, image: Tensor) -> None:
        """Leave the gradient of the loss (a scalar) in `image.grad`."""
        factor = _power_of_2(FIRST_HALF_LOSS / loss.detach()) if self.factor is None else self.factor
        (loss * factor).backward()
        assert image.grad is not None
        image.grad = image.grad / factor
        self.factor = _power_of_2(LARGEST_GRADIENT / torch.linalg.vector_norm(image.grad, torch.inf))


def _power_of_2(number: Tensor) -> Tensor:
    """The power of 2 at or below a number; 1 where it is not positive and finite."""
    return number.log2().floor().nan_to_num(0.0, 0.0, 0.0).exp2()
