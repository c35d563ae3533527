"""The Gram matrix with a backward pass written by hand: the numbers of `losses.gram_matrix` for less time.

Autograd differentiates F F^T as a product of two things and makes one matrix product for each, in the layout of the
Gram matrix rather than the convolution's. But G is symmetric in F: one product, F (dG + dG^T), is the whole gradient.
By pairs on one AVX512-BF16 core, in bfloat16, an evaluation without it takes 1.39 times as long with VGG-19 at 256 px
and 1.50 times at 512, with `mini` 1.49 and 1.72 times (docs/performance.md).

In half precision the sums over positions need more digits than the features have. A style loss needs the difference to
its target. So on a CPU in bfloat16 the product begins with minus the target and only the difference is rounded, to 2e-3
of itself, as its gradient is anyway. Where there is no target and there are many positions, the products are taken in
half precision over short stretches, and the stretches added up in float32: their rounding errors, one for each, cancel
out to 2e-4 of the matrix and less. Where there are few, all is done in float32.

On a CPU, large products in float32 go by way of a convolution with a 1 x 1 kernel, which is the same sum: there PyTorch
has oneDNN, whose routines fit any maker's processor. The ones behind matrix products are slower on some by a half.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_weight

from ..losses import HALF_PRECISION, at_least_float32

__all__ = ["features_and_gram", "fused_gram", "gram_sum", "mask_root", "rows_of"]

STRETCH, FEWEST_STRETCHES = 256, 64
# Below this many multiplications a convolution's start takes longer than the product.
FEWEST_PRODUCTS = 2**23
# It changes nothing for a kernel of 1 x 1, and with one thread PyTorch would not use oneDNN for a plain one.
DILATION = 2
# Whether a GPU's product of half precision may be had in float32: PyTorch knows it since 2.8.
FULL_SUMS = "out_dtype" in (torch.bmm.__doc__ or "")


class _Gram(torch.autograd.Function):
    """Feature maps to themselves and their Gram matrix, whose gradient is added to the one that comes from behind."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, near: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features)
        ctx.set_materialize_grads(False)
        if (
            near is not None
            and features.dtype == torch.bfloat16
            and features.device.type == "cpu"
            and len(features) == 1
        ):
            return features, _gram_near(features, near)
        return features, gram_sum(features) / (features.shape[-2] * features.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, behind: Tensor | None, grad: Tensor | None) -> tuple[Tensor | None, None]:
        (features,) = ctx.saved_tensors
        if grad is None:
            return behind, None
        b, c, h, w = features.shape
        both = ((grad + grad.transpose(1, 2)) / (h * w)).to(features.dtype)
        if behind is not None and behind.is_contiguous(memory_format=torch.channels_last):
            _add_mixed(rows_of(behind), rows_of(features), both)
            return behind, None
        own = _mixed(rows_of(features), both).view(b, h, w, c).permute(0, 3, 1, 2)
        return (own if behind is None else own.add_(behind)), None


def _gram_near(features: Tensor, near: Tensor) -> Tensor:
    """The Gram matrix (1, C, C), divided by H * W, in float32; its difference to `near` (1, C, C) is in bfloat16."""
    rows, near = rows_of(features)[0], near[0].to(features.dtype)
    difference = torch.addmm(near, rows.T, rows, beta=-1, alpha=1 / len(rows))
    return difference.float().add_(near)[None]


def gram_sum(features: Tensor) -> Tensor:
    """The sum over all positions of channel i times channel j: (B, C, H, W) to (B, C, C), in float32 or finer.

    >>> gram_sum(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])).tolist()
    [[[5.0, 3.0], [3.0, 9.0]]]
    """
    rows = rows_of(features)
    if rows.dtype in HALF_PRECISION and rows.is_cuda and FULL_SUMS:
        return torch.bmm(rows.transpose(1, 2), rows, out_dtype=torch.float32)
    if rows.dtype == torch.float16:
        return _product(rows.float())  # the sums over a stretch can be larger than float16 holds
    count = rows.shape[1] // STRETCH if rows.dtype in HALF_PRECISION else 0
    if count < FEWEST_STRETCHES:
        return _product(rows.float() if rows.dtype in HALF_PRECISION else rows)
    b, _, c = rows.shape
    most, rest = rows[:, : count * STRETCH], rows[:, count * STRETCH :].float()
    parts = _product(most.reshape(b * count, STRETCH, c)).view(b, count, c, c)
    return parts.sum(1, dtype=torch.float32) + _product(rest)


def _product(rows: Tensor) -> Tensor:
    """(B, P, C) to (B, C, C): the kernel's gradient of a 1 x 1 convolution with these as input and output gradient."""
    if not _as_convolution(rows):
        return torch.bmm(rows.transpose(1, 2), rows)
    maps, c = _maps(rows), rows.shape[-1]
    return conv2d_weight(maps, (c, c, 1, 1), maps, dilation=DILATION).view(1, c, c)


def _mixed(rows: Tensor, matrices: Tensor) -> Tensor:
    """(B, P, C) times symmetric matrices (B, C, C): a 1 x 1 convolution with the matrix as its kernel."""
    if not _as_convolution(rows):
        return torch.bmm(rows, matrices)
    return conv2d(_maps(rows), matrices[0, :, :, None, None], dilation=DILATION).squeeze(2).transpose(1, 2)


def _add_mixed(total: Tensor, rows: Tensor, matrices: Tensor) -> None:
    if _as_convolution(rows):
        total.add_(_mixed(rows, matrices))
    else:
        total.baddbmm_(rows, matrices)


def _as_convolution(rows: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False  # the compiler has routines of its own
    batch, positions, channels = rows.shape
    return (
        batch == 1
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and positions * channels**2 >= FEWEST_PRODUCTS
    )


def _maps(rows: Tensor) -> Tensor:
    """(B, P, C) as (B, C, 1, P)."""
    return rows.transpose(1, 2).unsqueeze(2)


def rows_of(features: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H*W, C): a view where channels come last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def features_and_gram(features: Tensor, near: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The feature maps (B, C, H, W) unchanged, and what `gram_matrix` gives for them, (B, C, C), divided by H * W.

    The next layer has to read the feature maps that are returned, so that its gradient passes through here. Where the
    Gram matrix is rounded, on a CPU in bfloat16, only its difference from `near` (1, C, C) is.

    >>> features_and_gram(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]))[1].tolist()
    [[[2.5, 1.5], [1.5, 4.5]]]
    """
    return _Gram.apply(features, near)


def fused_gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """The Gram matrix of feature maps, as `gram_matrix`: (B, C, H, W) to (B, C, C), divided by H * W.

    With a mask (1 or B, 1, H, W) it is the mean by the mask's weights.

    >>> fused_gram(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])).tolist()
    [[[2.5, 1.5], [1.5, 4.5]]]
    """
    if mask is None:
        return _Gram.apply(features, None)[1]
    root, total = mask_root(mask, features)
    return _Gram.apply(features * root, None)[1] * (math.prod(features.shape[-2:]) / total)


def mask_root(mask: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The root of a mask in the features' own format, and (1 or B, 1, 1) the sum of the weights that it stands for.

    Both sides of the product get the root, so that it stays symmetric.
    """
    root = mask.sqrt().to(features.dtype)
    return root, at_least_float32(root).square().sum((1, 2, 3)).view(-1, 1, 1)
