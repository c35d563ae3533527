"""Total variation of a large image, in bands of rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses import TVLoss

__all__ = ["BandedTVLoss"]

BAND = 256  # rows of the image whose total variation is taken at a time


class _Bands(torch.autograd.Function):
    """`total_variation` in bands of rows: neither pass holds the image's differences whole."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(image)
        ctx.kind = kind
        return sum((_band(image, kind, top) for top in range(0, image.shape[-2], BAND)), image.new_zeros(()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (image,) = ctx.saved_tensors
        total = torch.zeros_like(image)
        for top in range(0, image.shape[-2], BAND):
            rows = slice(top, top + BAND + 1)
            with torch.enable_grad():
                band = image[..., rows, :].detach().requires_grad_()
                loss = _band(band, ctx.kind, 0, image)
            if loss.requires_grad:
                total[..., rows, :].add_(torch.autograd.grad(loss, band, grad)[0])
        return total, None


def _band(image: Tensor, kind: str, top: int, whole: Tensor | None = None) -> Tensor:
    """What the rows from `top` on add to the total variation of the whole image."""
    b, c, h, w = (image if whole is None else whole).shape
    rows = image[..., top : top + BAND + 1, :]
    down, across = rows[..., 1:, :] - rows[..., :-1, :], rows[..., :BAND, 1:] - rows[..., :BAND, :-1]
    size = torch.abs if kind == "l1" else torch.square
    parts = ((down, b * c * (h - 1) * w), (across, b * c * h * (w - 1)))
    return sum((size(part).sum() / count for part, count in parts if part.numel()), image.new_zeros(()))


class BandedTVLoss(TVLoss):
    """A `TVLoss` that takes the image in bands of rows, with the same loss and gradient."""

    def forward(self, image: Tensor) -> Tensor:
        """Keep the total variation of the image (B, 3, H, W) in `loss`, and give it back unchanged."""
        self.loss = None
        self.loss = _Bands.apply(image, self.kind)
        return image
