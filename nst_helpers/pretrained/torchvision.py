"""torchvision where it is needed, and one sentence where it doesn't fit the installed torch."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from types import ModuleType

from ..errors import NSTError

__all__ = ["TorchvisionError", "torchvision_or_error"]


class TorchvisionError(NSTError, ImportError):
    """torchvision is missing, or was built for another torch than the one beside it."""


def torchvision_or_error() -> ModuleType:
    """torchvision, imported; the package itself does without it and imports it here alone.

    A torchvision built for another torch (or for CUDA beside a CPU-only torch) fails on import with
    "operator torchvision::nms does not exist", which helps nobody.

    Raises:
        TorchvisionError: names the installed pair and the command that mends it.

    >>> from unittest.mock import patch
    >>> with patch.dict("sys.modules", {"torchvision": None}):
    ...     torchvision_or_error()
    Traceback (most recent call last):
    nst_helpers.pretrained.torchvision.TorchvisionError: torchvision ... torch ...
    """
    already = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("torchvision")
    except Exception as error:
        # Half-imported submodules would make the second attempt fail with another, stranger message.
        for name in set(sys.modules) - already:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        raise TorchvisionError(_explain(error)) from error


def _explain(error: Exception) -> str:
    torch, vision = _version("torch"), _version("torchvision")
    if vision is None:
        return f"torchvision isn't installed beside torch {torch}: run {_command(torch)}"
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "torchvision":
        return f"torchvision {vision} needs the module {error.name}, which isn't installed: run {_command(torch)}"
    missing = "torchvision::" in str(error)
    why = "its compiled operators are missing, so the two were built apart" if missing else _first_line(error)
    return f"torchvision {vision} doesn't work with torch {torch} ({why}): run {_command(torch)}"


def _command(torch: str | None) -> str:
    """Both packages anew from one index: the one that torch's own version label names ("2.13.0+cpu")."""
    label = (torch or "").partition("+")[2]
    uv = f" --torch-backend={label}" if label else ""
    pip = f" --index-url https://download.pytorch.org/whl/{label}" if label else ""
    return (
        f"`uv pip install --reinstall{uv} torch torchvision`, or without uv "
        f"`pip install --force-reinstall torch torchvision{pip}`"
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
