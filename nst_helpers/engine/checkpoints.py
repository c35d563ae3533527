"""A run's state on disk, so that a later process goes on where this one stopped."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder
from ..errors import NSTError
from ..io.atomic import write_whole
from .settings import Settings

__all__ = ["CheckpointError", "fingerprint", "read_checkpoint", "write_checkpoint"]


# What a state holds has changed with the package: an older file can't be gone on from.
FORMAT = "6"


class CheckpointError(NSTError, ValueError):
    """A checkpoint that can't be read, or that belongs to another run."""


def fingerprint(settings: Settings, content: Tensor, styles: Sequence[Tensor]) -> dict[str, str]:
    """What has to be the same for a run to be the same run, in words: settings by name, pictures by their hash.

    >>> picture = torch.zeros(1, 3, 2, 2)
    >>> fingerprint(Settings(), picture, [picture])["optimizer"]
    "'lbfgs'"
    """
    told = {f.name: _word(getattr(settings, f.name)) for f in fields(settings) if f.name not in ("device", "steps")}
    if settings.scales is not None or settings.lr_schedule != "constant":
        told["steps"] = _word(settings.steps)  # Elsewhere a run may go on for longer than first asked for.
    return told | {"content": _word(content), "style": _word(list(styles)), "format": FORMAT}


def _word(value: Any) -> str:
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, Encoder):
        return repr(value.architecture.name)
    if isinstance(value, (list, tuple)):
        return repr([_word(v) for v in value])
    if isinstance(value, dict):
        return repr(sorted((k, _word(v)) for k, v in value.items()))
    return repr(value)


def write_checkpoint(path: str | Path, content: dict[str, Any]) -> Path:
    """Write the state whole or not at all: a temporary file beside it takes its place when complete."""
    path = Path(path)
    state = io.BytesIO()
    torch.save(content, state)
    try:
        write_whole(path, state.getvalue())
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} can't be written ({error.strerror}): choose another folder."
        ) from None
    return path


def read_checkpoint(path: str | Path, expected: dict[str, str]) -> dict[str, Any] | None:
    """The state in the file, or None where there is no file; raises CheckpointError where it is of another run."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = dict(state["fingerprint"])
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of this package ({type(error).__name__}): delete it, or start without resume."
        ) from None
    if other := sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)):
        raise CheckpointError(
            f"{path} belongs to another run (different: {', '.join(other)}): start without resume, "
            "or give the same pictures and settings."
        )
    return state
