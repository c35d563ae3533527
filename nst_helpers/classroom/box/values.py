"""What a box has to know of values: whether they can be sent, whether they have changed, and where they came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .wire import DTYPES, pack_array, pack_tensor

__all__ = ["Sizes", "bytes_of", "is_ordinary", "origins", "state_of"]


def origins(value: Tensor, objects: dict[int, Any]) -> list[int]:
    """The numbers above 0 of the tensors that a value was computed from, by its graph."""
    waiting: list[Any] = [value.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [above for above, _ in node.next_functions]
    leaves = {id(node.variable) for node in seen if hasattr(node, "variable")}
    return [
        number
        for number, thing in objects.items()
        if number > 0 and isinstance(thing, Tensor) and (id(thing) in leaves or thing.grad_fn in seen)
    ]


def is_ordinary(value: Tensor) -> bool:
    """Whether a tensor can be sent as it is."""
    kind = str(value.dtype).removeprefix("torch.")
    return kind in DTYPES and value.layout == torch.strided and value.device.type == "cpu"


def bytes_of(value: Any) -> bytes:
    """A value's kind, shape and numbers, to be compared later."""
    blobs: list[bytes] = []
    encoded = pack_tensor(value, blobs) if isinstance(value, Tensor) else pack_array(value, blobs)
    return f"{encoded['dtype']}{encoded['shape']}".encode() + blobs[0]


def state_of(value: Tensor) -> tuple[bytes, bytes | None]:
    """A tensor's numbers and those of its gradient, if it is a leaf that has one, to be compared later."""
    gradient = value.grad if value.is_leaf else None
    return bytes_of(value), bytes_of(gradient) if isinstance(gradient, Tensor) else None


class Sizes(TorchFunctionMode):
    """Notes how many entries the tensors have that operations are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Note the sizes and go on."""
        flat = [b for a in args for b in (a if isinstance(a, (list, tuple)) else (a,))]
        self.seen |= {a.numel() for a in flat if isinstance(a, Tensor)}
        return func(*args, **(kwargs or {}))
