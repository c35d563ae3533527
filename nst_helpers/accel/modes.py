"""What a run makes sure of before it computes, whatever its caller has switched: PyTorch's modes and defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["plain_torch"]


@contextlib.contextmanager
def plain_torch() -> Iterator[None]:
    """Gradients on; no inference mode, autocast, default device or default type but PyTorch's own.

    What the caller had switched is as it was afterwards, whatever happens.

    >>> with torch.no_grad(), plain_torch():
    ...     torch.is_grad_enabled()
    True
    """
    with contextlib.ExitStack() as stack:
        # Only what differs is switched: a default device of PyTorch's own costs time at each call of an operation.
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield
