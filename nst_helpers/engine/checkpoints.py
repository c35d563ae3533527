"""A run's state on disk, so that a later process goes on where this one stopped."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder
from ..errors import NSTError
from ..io.atomic import check_writable, write_whole
from ..io.sources import one_line
from ..losses import CONVENTIONS, Convention
from .settings import Settings

__all__ = [
    "CheckpointError",
    "check_place",
    "convention_in_words",
    "fingerprint",
    "read_checkpoint",
    "write_checkpoint",
]

# What a state holds has changed with the package: a run can't go on from an older file.
CHECKPOINT_FORMAT = "9"
MAGIC = b"nst_helpers checkpoint\n"  # a file begins with this, and with the SHA-256 of what follows
ANYWHERE = ("device", "compiled", "steps")  # settings that may differ when a run goes on


class CheckpointError(NSTError, ValueError):
    """A checkpoint that can't be read, or that belongs to another run."""


def fingerprint(settings: Settings, content: Tensor, styles: Sequence[Tensor]) -> dict[str, str]:
    """What has to be the same for a run to be the same run, by name: settings in words, pictures and weights by hash.

    >>> picture = torch.zeros(1, 3, 2, 2)
    >>> fingerprint(Settings(), picture, [picture])["optimizer"]
    "'lbfgs'"
    """
    found = {f.name: _in_words(getattr(settings, f.name)) for f in fields(settings) if f.name not in ANYWHERE}
    if settings.scales is not None or settings.lr_schedule != "constant":
        found["steps"] = _in_words(settings.steps)  # Elsewhere a run may go on for longer than first asked for.
    return found | {"content": _in_words(content), "style": _in_words(list(styles)), "format": CHECKPOINT_FORMAT}


def _in_words(value: Any) -> str:
    """A value as text that is the same for the same value in any process."""
    if isinstance(value, Tensor):
        return _digest([value])
    if isinstance(value, Encoder):
        return f"{value.architecture} {value.pool} {value.dtype} {_digest(value.state_dict().values())}"
    if isinstance(value, Convention):
        return convention_in_words(value)
    if isinstance(value, (list, tuple)):
        return repr([_in_words(v) for v in value])
    if isinstance(value, Mapping):
        return repr(sorted((k, _in_words(v)) for k, v in value.items()))
    return repr(value)


def convention_in_words(convention: Convention) -> str:
    """Its name; for one of the caller's own also what it makes of some numbers, as others may have that name.

    >>> convention_in_words(CONVENTIONS["gatys"])
    "'gatys'"
    """
    if CONVENTIONS.get(convention.name) is convention:
        return repr(convention.name)
    a, b = torch.linspace(0.5, 2, 18, dtype=torch.float64, device="cpu").view(1, 2, 9).chunk(2, 1)
    cases = (
        (convention.content, a.view(1, 1, 3, 3), b.view(1, 1, 3, 3)),
        (convention.style, a.view(1, 3, 3), b.view(1, 3, 3)),
    )
    tried = [f"{float(loss(x, y).sum()):.6g}" for loss, x, y in cases]
    return f"{convention.name} {convention.layers} {' '.join(tried)}"


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_place(path: Path) -> None:
    """Raise CheckpointError, before any work is done, where no checkpoint can be written or another file would be lost.

    >>> check_place(Path(__file__))
    Traceback (most recent call last):
    nst_helpers.engine.checkpoints.CheckpointError: ...checkpoints.py is there and is not a checkpoint ...
    """
    named = one_line(path)
    try:
        reason = "it is a folder" if path.is_dir() else ""
        check_writable(path)
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(len(MAGIC))
            if start and start != MAGIC:
                raise CheckpointError(f"{named} is there and is not a checkpoint of this version: choose another name.")
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise CheckpointError(f"The checkpoint {named} can't be written ({reason}): choose another.")


def write_checkpoint(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write the state whole or not at all: a temporary file beside it takes its place when complete.

    Raises CheckpointError where it can't be written.
    """
    path, named = Path(path), one_line(path)
    state = io.BytesIO()
    torch.save(dict(content), state)
    payload = state.getvalue()
    try:
        write_whole(path, MAGIC + hashlib.sha256(payload).digest() + payload)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {named} can't be written ({error.strerror}): choose another place."
        ) from None
    return path


def read_checkpoint(path: str | Path, expected: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The state in the file, or None where there is no file.

    Raises CheckpointError where the file can't be read, is damaged, or, with the fingerprint that is expected, belongs
    to another run.
    """
    path, named = Path(path), one_line(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {named} can't be read ({error.strerror}): choose another place."
        ) from None
    checksum, payload = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if not data.startswith(MAGIC):
        raise CheckpointError(f"{named} is not a checkpoint of this version: delete it, or choose another name.")
    if hashlib.sha256(payload).digest() != checksum:
        raise CheckpointError(f"{named} is damaged, its checksum is wrong: delete it, or start without resume.")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        found = dict(state["fingerprint"])
    except Exception as error:
        raise CheckpointError(
            f"{named} is not a checkpoint of this package ({type(error).__name__}): delete it, or start without resume."
        ) from None
    if expected is not None:
        check_fingerprint(path, found, expected)
    return state


def check_fingerprint(path: str | Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise CheckpointError, with what is different, unless the two fingerprints are the same."""
    if other := sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)):
        raise CheckpointError(
            f"{one_line(path)} belongs to another run (different: {', '.join(other)}): start without resume, "
            "or give the same pictures and settings."
        )
