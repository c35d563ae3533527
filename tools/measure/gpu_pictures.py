"""What the checks of gpu_right.py share: pictures, encoders, bounds, and how far a number is off."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

import nst_helpers as nst
from nst_helpers.encoders import VGG19, Encoder

# What float32 may be off by, in shares of the whole: of losses and Gram matrices, and of an image's gradient. A rounded
# number can send maximum pooling's gradient to another pixel, which in a deep network is seen on a CPU as well.
VALUE, GRADIENT = 2e-5, {"mini": 2e-4, "vgg19": 5e-3}
# Of the losses of a run here and on the CPU, after 12 steps that each build on the one before.
RUN = 0.05


@functools.cache
def encoder_of(name: str, pool: str = "max") -> Encoder:
    """The shipped encoder, or VGG-19 with random weights."""
    return Encoder(VGG19, seed=0, pool=pool) if name == "vgg19" else nst.load_encoder(name, pool=pool)


@functools.cache
def photos(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tuple(nst.load_sample(name, size=size, crop=True) for name in ("temple", "night_swirls"))


def off(found: Tensor | float, exact: Tensor | float) -> float:
    """How far from the exact numbers, in shares of their norm."""
    found, exact = (torch.as_tensor(x, dtype=torch.float64).detach().cpu() for x in (found, exact))
    return ((found - exact).norm() / exact.norm().clamp_min(1e-300)).item()


def require_below(value: float, most: float, what: str) -> None:
    if not value <= most:
        raise AssertionError(f"{what} is {value:.3g} off, and {most:.3g} is allowed.")


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run_options(device: torch.device | str, **more: Any) -> dict[str, Any]:
    return {"encoder": encoder_of("mini", "avg"), "precision": "float32", "device": device, "steps": 12} | more


def run_pictures(small: bool) -> tuple[Tensor, Tensor]:
    return photos((64, 80) if small else (192, 240))
