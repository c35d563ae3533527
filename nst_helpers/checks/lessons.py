"""The functions that the lessons have you write and that the rest of the package does not need by itself.

Short and plain: what `show_solution` shows is what a learner could have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders import IMAGENET_MEAN, IMAGENET_STD
from ..losses import content_loss, gram_matrix, style_loss

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ContentLossLayer",
    "StyleLossLayer",
    "best_trades",
    "blend",
    "denormalize",
    "make_closure",
    "masked_gram",
    "match_color",
    "normalize",
    "pixel_distance",
    "receptive_field",
    "to_array",
    "to_tensor",
    "total_loss",
    "weight_ladder",
]


def to_tensor(array: np.ndarray) -> Tensor:
    """Turn a picture's bytes into an image: (H, W, 3) uint8 to (1, 3, H, W) float32 in [0, 1].

    Taught in lesson 01.

    >>> image = to_tensor(np.full((2, 5, 3), 255, dtype=np.uint8))
    >>> image.shape, image.max().item()
    (torch.Size([1, 3, 2, 5]), 1.0)
    """
    tensor = torch.from_numpy(array).float() / 255
    return tensor.permute(2, 0, 1)[None].contiguous()


def to_array(image: Tensor) -> np.ndarray:
    """Turn an image into a picture's bytes: (1, 3, H, W) in [0, 1] to (H, W, 3) uint8.

    Values outside [0, 1] are clamped, and bytes are rounded to the nearest. Taught in lesson 01.

    >>> to_array(torch.full((1, 3, 2, 5), 0.999)).max()
    np.uint8(255)
    """
    scaled = image.detach().cpu()[0].clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).permute(1, 2, 0).numpy()


def normalize(image: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its standard deviation: (B, 3, H, W) in [0, 1] to the same shape.

    Taught in lesson 01.

    >>> normalize(torch.full((1, 3, 1, 1), 0.5)).flatten().tolist()
    [0.0655..., 0.1964..., 0.4177...]
    """
    mean = image.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = image.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (image - mean) / std


def denormalize(x: Tensor) -> Tensor:
    """Undo `normalize`: (B, 3, H, W) back to [0, 1], without clamping.

    Taught in lesson 01.

    >>> image = torch.rand(2, 3, 4, 5)
    >>> torch.allclose(denormalize(normalize(image)), image, atol=1e-6)
    True
    """
    mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return x * std + mean


def receptive_field(layer_names: Sequence[str]) -> int:
    """How many pixels wide the square is that one position of the last layer sees.

    `layer_names` lists every layer from the image up to and including that layer. A convolution is 3 x 3 with
    stride 1, a pooling 2 x 2 with stride 2, and a ReLU sees one position. Taught in lesson 02.

    >>> receptive_field(["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"])
    10
    """
    field, step = 1, 1
    for name in layer_names:
        if name.startswith("conv"):
            field += 2 * step
        elif name.startswith("pool"):
            field += step
            step *= 2
    return field


class ContentLossLayer(nn.Module):
    """A transparent layer: forward gives the features (B, C, H, W) back and keeps the content loss in `loss`.

    Taught in lesson 04; `nst.ContentLoss` adds a weight and the choice of a convention.

    >>> layer = ContentLossLayer(torch.ones(1, 2, 3, 4))
    >>> x = torch.zeros(1, 2, 3, 4)
    >>> layer(x) is x, layer.loss.item()
    (True, 1.0)
    """

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target.detach()

    def forward(self, features: Tensor) -> Tensor:
        """Keep the content loss of the features in `loss`, and give them back."""
        self.loss = content_loss(features, self.target)
        return features


class StyleLossLayer(nn.Module):
    """A transparent layer: forward gives the features (B, C, H, W) back and keeps the style loss in `loss`.

    The target's Gram matrix is computed once, here; the style may have another height and width than the image.
    Taught in lesson 04; `nst.StyleLoss` adds a weight and the choice of a convention.

    >>> layer = StyleLossLayer(torch.ones(1, 2, 3, 4))
    >>> x = torch.zeros(1, 2, 5, 6)
    >>> layer(x) is x, layer.loss.item()
    (True, 1.0)
    """

    def __init__(self, target_features: Tensor) -> None:
        super().__init__()
        self.target = gram_matrix(target_features).detach()

    def forward(self, features: Tensor) -> Tensor:
        """Keep the style loss of the features in `loss`, and give them back."""
        self.loss = style_loss(gram_matrix(features), self.target)
        return features


def total_loss(
    content_loss: Tensor, style_losses: Sequence[Tensor], content_weight: float, style_weight: float
) -> Tensor:
    """The scalar to minimise: the weighted content loss plus the weighted mean of the style layers' losses.

    Taught in lesson 04.

    >>> total_loss(torch.tensor(3.0), [torch.tensor(1.0), torch.tensor(5.0)], 1.0, 100.0).item()
    303.0

    Source: Gatys et al. 2016, eq. 5 (with equal layer weights) and 7.
    """
    return content_weight * content_loss + style_weight * torch.stack(list(style_losses)).mean()


def make_closure(
    optimizer: torch.optim.Optimizer, image: Tensor, loss_function: Callable[[Tensor], Tensor]
) -> Callable[[], Tensor]:
    """A closure for `optimizer.step`: zero the gradients, evaluate, backpropagate, return the loss.

    It changes nothing but gradients: the image is never clamped inside. Taught in lesson 05.

    >>> image = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    >>> closure = make_closure(torch.optim.Adam([image]), image, lambda x: x.square().sum())
    >>> closure().item(), image.grad.unique().item()
    (3.0, 1.0)
    """

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_function(image)
        loss.backward()
        return loss

    return closure


def match_color(style: Tensor, content: Tensor) -> Tensor:
    """The style picture (1, 3, H, W) with the mean colour and the covariance of the content (1, 3, h, w), not clamped.

    Taught in lesson 07; `nst.match_color` has other methods and clamps.

    >>> style, photo = torch.rand(1, 3, 6, 5), torch.rand(1, 3, 4, 7)
    >>> torch.allclose(match_color(style, photo).mean((2, 3)), photo.mean((2, 3)), atol=1e-5)
    True

    Source: Gatys et al. 2016 (arXiv:1606.05897), section 5.
    """

    def power(matrix: Tensor, exponent: float) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return vectors @ (values**exponent).diag() @ vectors.T

    def moments(pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean = pixels.mean(1, keepdim=True)
        return mean, (pixels - mean) @ (pixels - mean).T / pixels.shape[1]

    pixels = style[0].flatten(1)
    (mean, covariance), (new_mean, new_covariance) = moments(pixels), moments(content[0].flatten(1))
    matrix = power(new_covariance, 0.5) @ power(covariance, -0.5)
    return (matrix @ (pixels - mean) + new_mean).reshape(style.shape)


def masked_gram(features: Tensor, mask: Tensor) -> Tensor:
    """The Gram matrices (B, C, C) of a region: a mean over the positions of the features (B, C, h, w) by the mask.

    The mask (1, 1, H, W) is the picture's, white for the region, and is shrunk to the features' size. Taught in lesson
    07; `nst.gram_matrix(features, mask)` takes a mask that is shrunk already.

    >>> masked_gram(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]]])).tolist()
    [[[1.0, 3.0], [3.0, 9.0]]]

    Source: Gatys et al. 2017 (arXiv:1611.07865), section 4.
    """
    h, w = features.shape[-2:]
    mask = F.adaptive_avg_pool2d(mask, (h, w))
    return (features * mask).flatten(2) @ features.flatten(2).transpose(1, 2) / mask.sum()


def pixel_distance(picture: Tensor, photo: Tensor) -> Tensor:
    """How far two pictures (B, 3, H, W) are apart: the mean size of the differences of their numbers, a scalar.

    Taught in lesson 00.

    >>> pixel_distance(torch.tensor([0.25, 1.0]), torch.tensor([0.5, 0.5])).item()
    0.375
    """
    return (picture - photo).abs().mean()


def blend(photo: Tensor, painted: Tensor, share: float) -> Tensor:
    """A mixture of two pictures (B, 3, H, W): a share of 0 is the photo, 1 the painting.

    Taught in lesson 00.

    >>> blend(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 0.25).flatten().tolist()
    [0.25, 0.25, 0.25]
    """
    return (1 - share) * photo + share * painted


def weight_ladder(first: float, last: float, count: int) -> Tensor:
    """So many weights (count,), at least two, from the first to the last, each the same factor times the one before.

    Taught in lesson 06.

    >>> weight_ladder(1, 1000, 4).tolist()
    [1.0, 10.0, 100.0, 1000.0]
    """
    factor = (last / first) ** (1 / (count - 1))
    return torch.tensor([first * factor**i for i in range(count)])


def best_trades(points: Tensor) -> Tensor:
    """Which rows of `points` (n, 2), content and style distances, no other row beats: n times True or False.

    A row beats another if it is at most as large in both columns and smaller in one. Taught in lesson 06.

    >>> best_trades(torch.tensor([[0.2, 0.9], [0.6, 0.1], [0.7, 0.5]])).tolist()
    [True, True, False]
    """
    stays = []
    for row in points:
        beats = (points <= row).all(dim=1) & (points < row).any(dim=1)
        stays.append(not beats.any())
    return torch.tensor(stays)
