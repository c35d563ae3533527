"""A preconditioner for the pixels, learnt during the run: how far to go in directions that no pair of L-BFGS covers.

The loss responds more strongly to some changes of a picture than to others: it depends on how fine the detail is, and
where it is. L-BFGS learns this for the few directions it went, and takes one length for all others. Here each band of
frequencies has its own length, the quotient of step and change of gradient in that band over the last steps. Each small
square of the picture has one too, of half the effect.

At 256 px a run reaches the loss of a textbook loop's 300 evaluations in 0.31 of its time on trained weights and in 0.22
on random ones; without the preconditioner in 0.39, and not in 450 evaluations (docs/performance.md, benchmark.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Preconditioner"]

BANDS = 10  # rings of frequencies, each wider than the one inside it by the same factor
CELL = 8  # pixels on a side of the squares
# The share of the sums that each step leaves in place. All numbers here were chosen by the loss after 50 to 300
# evaluations, on trained and on random weights.
DECAY = 0.8
MOST_CONTRAST = 2.0  # the length of a square is at most this many times the mean, and at least the mean divided by it
LEAST = 1e-9  # in shares of the mean, so that nothing is divided by 0


class Preconditioner:
    """A guess P of the inverse curvature of flat images of one shape (B, 3, H, W): P = M F M, the identity at first.

    F multiplies each band of frequencies by one number, M each pixel, smooth from square to square; both are symmetric
    and positive, and so is P.

    >>> guess, x = Preconditioner((1, 3, 16, 16)), torch.arange(16) * torch.pi / 8
    >>> slow, fast = (torch.cos(n * x).expand(1, 3, 16, 16).flatten() for n in (1, 6))
    >>> _ = guess.learn(slow + fast, slow + 10 * fast, torch.tensor(True))
    >>> [round(float(guess.apply(wave).dot(wave) / wave.dot(wave)), 2) for wave in (slow, fast)]
    [0.97, 0.1]

    Source: the length of each part is the geometric mean of Barzilai & Borwein 1988, Two-Point Step Size Gradient
    Methods, equations 5 and 6.
    """

    def __init__(
        self, shape: Sequence[int], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        *_, h, w = self.shape = tuple(shape)
        frequency = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w)[None] ** 2).sqrt()
        lowest, highest = 1 / max(h, w), math.sqrt(0.5)
        place = (frequency.clamp_min(lowest) / lowest).log() / math.log(highest / lowest)
        self.band = (place * BANDS).long().clamp(max=BANDS - 1).flatten().to(device)
        # A real image's spectrum is kept by half: its inner columns stand for two.
        self.times = torch.full((w // 2 + 1,), 2.0, device=device, dtype=dtype)
        self.times[0 :: w // 2 if w % 2 == 0 and w > 1 else w] = 1.0
        cells = (-(-h // CELL), -(-w // CELL))
        # Squares of steps and of changes of gradient, summed up over the last steps.
        self.seen = {
            "bands": torch.zeros(2, BANDS, device=device, dtype=dtype),
            "cells": torch.zeros(2, 1, *cells, device=device, dtype=dtype),
        }
        self._settle_cells()
        self._settle_bands()

    def learn(self, step: Tensor, change: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
        """Take in a pair of flat vectors (N,) where `good` is true; returns step P⁻¹ step and change P change."""
        share = torch.where(good, (1 - DECAY) / step.dot(step).clamp_min(torch.finfo(step.dtype).tiny), 0.0)
        kept = torch.where(good, DECAY, 1.0)
        self.seen["cells"] = self.seen["cells"] * kept + share * torch.stack([self._cells(v) for v in (step, change)])
        self._settle_cells()
        spectra = (self._spectrum(step.view(self.shape) / self.map), self._spectrum(change.view(self.shape) * self.map))
        powers = torch.stack([self._powers(s) for s in spectra])
        self.seen["bands"] = self.seen["bands"] * kept + share * powers
        self._settle_bands()
        return (powers[0] / self.gains).sum(), (powers[1] * self.gains).sum()

    def apply(self, vector: Tensor) -> Tensor:
        """P times a flat vector (N,)."""
        spectrum = self._spectrum(vector.view(self.shape) * self.map)
        filtered = spectrum.mul_(self.gains[self.band].view(spectrum.shape[-2:]))
        return (torch.fft.irfft2(filtered, s=self.shape[-2:], norm="ortho") * self.map).flatten()

    def state(self) -> dict[str, Tensor]:
        """What `load` takes back."""
        return {name: seen.cpu() for name, seen in self.seen.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state()`."""
        self.seen = {name: seen.to(self.seen[name]) for name, seen in state.items()}
        self._settle_cells()
        self._settle_bands()

    def _spectrum(self, image: Tensor) -> Tensor:
        return torch.fft.rfft2(image, norm="ortho")

    def _powers(self, spectrum: Tensor) -> Tensor:
        """The squares in each band, which add up to the image's."""
        squares = (torch.view_as_real(spectrum).square().sum(-1) * self.times).sum((0, 1))
        return squares.new_zeros(BANDS).index_add_(0, self.band, squares.flatten())

    def _cells(self, vector: Tensor) -> Tensor:
        squares = vector.view(self.shape).square().mean((0, 1))
        rows, columns = self.seen["cells"].shape[-2:]
        return F.adaptive_avg_pool2d(squares[None], (rows, columns))

    def _settle_bands(self) -> None:
        self.gains = _lengths(self.seen["bands"])

    def _settle_cells(self) -> None:
        lengths = _lengths(self.seen["cells"])
        # P has the root of each length, and M occurs in P twice.
        root = (lengths / lengths.log().mean().exp()).sqrt().clamp(1 / MOST_CONTRAST, MOST_CONTRAST).sqrt()
        self.map = F.interpolate(root[None], size=self.shape[-2:], mode="bilinear")[0]


def _lengths(seen: Tensor) -> Tensor:
    """Lengths from the squares of steps and of changes of gradient (2, ...); 1 where nothing was seen."""
    steps, changes = (squares + LEAST * squares.mean() for squares in seen)
    return torch.where(changes > 0, steps / changes, 1.0).sqrt()
