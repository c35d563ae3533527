"""What several test files share: small networks and pictures from local generators."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nst_helpers.encoders import Architecture

__all__ = ["TOY", "Reads", "noise", "picture"]

TOY = Architecture("toy", ((6, 6), (8,), (8,)), final_pool=False)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform noise in [0, 1] from a generator of its own."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picture(height: int = 32, width: int = 40, seed: int = 0) -> torch.Tensor:
    """Smooth coloured blobs, (1, 3, H, W): more like a photo than noise is."""
    coarse = noise(1, 3, 4, 5, seed=seed)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


class Reads(TorchDispatchMode):
    """Counts the numbers that the interpreter asks a tensor for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
