"""Where the content counts: more where the photo has detail, less where it is flat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import check_image

__all__ = ["detail_map"]

WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue in the light that the eye sees (Rec. 601)


def detail_map(content: Tensor, *, floor: float = 0.2, spread: float = 0.02) -> Tensor:
    """How much detail there is around each pixel of a photo (1, 3, H, W): a map (1, 1, H, W) with a mean of 1.

    It is the local strength of the light's gradient, averaged over `spread` of the short side. `floor` is the share of
    the weight that all positions have alike, so that a flat sky is held a little, too; 1 makes the map flat.
    Raises ImageError for what is no picture, ValueError for a floor outside [0, 1] or a spread that is not above 0, or
    above 1.

    >>> photo = torch.cat([torch.full((1, 3, 40, 40), 0.5), torch.rand(1, 3, 40, 40)], -1)
    >>> weights = detail_map(photo)
    >>> bool(weights[..., 60:].mean() > 4 * weights[..., :20].mean()), round(weights.mean().item(), 4)
    (True, 1.0)
    """
    check_image(content, name="content")
    for number in (floor, spread):
        if isinstance(number, (bool, str)) or not hasattr(number, "__float__"):
            raise ValueError(f"floor is {floor!r} and spread {spread!r}, expected two numbers.")
    if not 0 <= floor <= 1 or not 0 < spread <= 1:
        raise ValueError(f"floor is {floor} and spread {spread}, expected floor in [0, 1] and spread above 0, up to 1.")
    shares = torch.tensor(WEIGHTS, dtype=torch.float32, device=content.device).view(1, 3, 1, 1)
    light = (content.detach().float() * shares).sum(1, True)
    wide = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    energy = (across.square() + down.square()).sqrt()
    radius = max(1, round(spread * min(energy.shape[-2:])))
    for _ in range(3):  # three boxes make nearly a Gaussian
        energy = F.avg_pool2d(energy, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    mean = energy.mean((2, 3), keepdim=True)
    # A photo without any detail has it everywhere alike.
    detail = torch.where(mean > 1e-6, energy / mean.clamp_min(1e-6), 1.0)
    return floor + (1 - floor) * detail
