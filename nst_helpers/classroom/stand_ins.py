"""What stands in the judge's process for the objects and results of a box, and how they are kept in step."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .box.wire import ProtocolError, pack_tensor, unpack_array, unpack_tensor

__all__ = [
    "Remote",
    "RemoteCallable",
    "RemoteModule",
    "Through",
    "alike",
    "error_from",
    "gradient_of",
    "overwrite",
    "plain",
    "plain_name",
]


class Through(torch.autograd.Function):
    """A result of the box as a step of autograd in the judge's process."""

    @staticmethod
    def forward(ctx: Any, connection: Any, number: int, value: Tensor, *leaves: Tensor) -> Tensor:
        """Hand the value on."""
        ctx.connection, ctx.number, ctx.shapes = connection, number, [leaf.shape for leaf in leaves]
        ctx.wanted = [connection._ids[id(leaf)] for leaf in leaves]
        ctx.save_for_backward(torch.empty(0))
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Ask the box; a second time, torch itself complains that the graph is freed."""
        _ = ctx.saved_tensors
        found = ctx.connection.gradients(ctx.number, gradient, ctx.wanted)
        if [one.shape for one in found if one is not None] != [
            shape for shape, one in zip(ctx.shapes, found, strict=True) if one is not None
        ]:
            ctx.connection._lose("garbled")
        return None, None, None, *found


class Remote:
    """Some object in the box."""

    def __init__(self, connection: Any, encoded: dict[str, Any]) -> None:
        self._connection, self._number = connection, encoded["number"]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._connection.request({"do": "get", "of": self._number, "name": name})


class RemoteCallable(Remote):
    """A function, a class or another callable object in the box."""

    def __call__(self, *args: Any) -> Any:
        return self._connection.request({"do": "call", "of": self._number}, args)


class RemoteModule(nn.Module):
    """A layer in the box. Its parameters have shapes, and no values."""

    def __init__(self, connection: Any, encoded: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__["_connection"], self.__dict__["_number"] = connection, encoded["number"]
        for place, (shape, learns) in enumerate(encoded["module"]):
            empty = torch.zeros(1).expand([int(n) for n in shape])
            self.register_parameter(f"parameter_{place}", nn.Parameter(empty, requires_grad=learns is True))

    def forward(self, *args: Any) -> Any:
        """Call the layer."""
        return self._connection.request({"do": "call", "of": self._number}, args)

    def train(self, mode: bool = True) -> RemoteModule:
        """Set the mode on both sides."""
        self._connection.request({"do": "method", "of": self._number, "name": "train", "values": [mode]})
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return self._connection.request({"do": "get", "of": self.__dict__["_number"], "name": name})


def alike(known: Any, value: Any, grad: Any) -> bool:
    """Whether an object that has come again may stay what it is here, with the values that it has now."""
    if isinstance(known, Tensor) and isinstance(value, Tensor):
        same = known.shape == value.shape and known.dtype == value.dtype
        return same and known.requires_grad == (grad is True) and (grad is not True or torch.equal(known, value))
    return isinstance(known, np.ndarray) and isinstance(value, np.ndarray) and known.shape == value.shape


def gradient_of(value: Tensor, blobs: list[bytes]) -> dict[str, Any] | None:
    """A leaf's gradient, to be sent; None where there is none."""
    return pack_tensor(value.grad, blobs) if value.is_leaf and value.grad is not None else None


def overwrite(mine: Any, encoded: dict[str, Any], blobs: list[bytes]) -> None:
    """Change one of the judge's values in place to what it has become in the box."""
    if isinstance(mine, list):
        mine.append(None)  # something about it has changed, no matter what
    elif isinstance(mine, np.ndarray):
        array = unpack_array(encoded, blobs)
        mine[...] = array if array.shape == mine.shape else np.zeros(1, mine.dtype)
    elif isinstance(mine, Tensor):
        value = unpack_tensor(encoded, blobs)
        if value.shape != mine.shape or value.dtype != mine.dtype:
            mine.data = value.to(mine.dtype)
        elif not torch.equal(value, mine.detach()):
            mine.data.copy_(value)


def plain(value: Any) -> Any:
    """A plain value; raises ProtocolError for anything else."""
    if value is not None and type(value) not in (bool, int, float, str):
        raise ProtocolError("a plain value is something else")
    return value


def plain_name(value: Any) -> str:
    """A name for a class, with nothing in it that could disturb a sentence."""
    return re.sub(r"\W+", "", str(value))[:80] or "Unknown"


def error_from(reply: dict[str, Any]) -> Exception:
    """What the answer has raised: an exception of the same name and text."""
    name, text = plain_name(reply["error"]), " ".join(str(reply.get("text", "")).split())[:500]
    base = NotImplementedError if reply.get("unwritten") is True else Exception
    return type(name, (base,), {"__str__": lambda self: text})(text)
