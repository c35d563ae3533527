"""Is it right on this device? Every number against float64 on the CPU, and each way through a run: for gpu_check.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gpu_numbers as numbers
import gpu_ways as ways
import torch
from gpu_rows import tf32


def checks(device: torch.device, *, small: bool = False) -> dict[str, Callable[[], Any]]:
    """The checks by name; `small` is for a rehearsal on a CPU."""
    given = functools.partial(_exact, device=device, small=small)
    return {
        "losses": given(numbers.losses),
        **{
            f"model {encoder}, {pool}, {kind}": given(numbers.model, encoder=encoder, pool=pool, convention=kind)
            for encoder, pool in (("mini", "avg"), ("mini", "max"), *([] if small else [("vgg19", "max")]))
            for kind in numbers.CONVENTIONS
        },
        "model in tiles": given(numbers.tiles),
        "gradient by format": given(numbers.formats),
        **{f"stylize {kind}": given(numbers.run, optimizer=kind) for kind in ("lbfgs", "adam")},
        "stylize preconditioned": given(numbers.run, optimizer="lbfgs", precondition=True),
        "stylize scales": given(numbers.run, optimizer="lbfgs", scales=[48, 64] if small else [96, 128, 192]),
        "stylize tiles": given(numbers.run, optimizer="lbfgs", tile=40 if small else 96),
        "stylize from noise": given(numbers.run, optimizer="adam", init="noise"),
        "formats end alike": given(numbers.endings),
        "checkpoint": given(ways.checkpoint),
        "session, random operations": given(ways.session),
        "recipe": given(ways.recipe),
        "sweep": given(ways.sweep),
        "command line": given(ways.command_line),
        "ahead": given(ways.ahead),
        "estimate": given(ways.estimate),
        "refusal": given(ways.refusal),
        "out of memory": given(ways.out_of_memory),
        "nothing stays": given(ways.nothing_stays),
        "compiled": given(ways.compiled),
        "twice the same": given(ways.twice),
    }


def _exact(check: Callable[..., Any], **options: Any) -> Callable[[], Any]:
    """The check with float32 products that are float32."""

    def run() -> Any:
        with tf32(False):
            return check(**options)

    return run
