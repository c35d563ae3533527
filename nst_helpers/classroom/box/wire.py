"""Messages between the judge and a box: a header in JSON and plain bytes, nothing that could run.

Whatever comes from a box may be forged, so everything is checked before use: sizes, shapes, and the kinds of numbers.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Channel", "Closed", "ProtocolError", "TimeUp", "pack_array", "pack_tensor", "unpack_array", "unpack_tensor"]

_HEADER_LIMIT, _BLOB_LIMIT = 4 * 2**20, 256 * 2**20
_SIZES = struct.Struct(">II")
DTYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip
ARRAY_DTYPES = {
    np.dtype(kind).name
    for kind in ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32")
} | {"float64"}


class ProtocolError(Exception):
    """A message that the other side can't have meant."""


class Closed(Exception):
    """The other side is gone."""


class TimeUp(Exception):
    """No whole message came before the deadline."""


class Channel:
    """Sends and receives messages over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, header: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Send a message; raises Closed."""
        text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
        try:
            self._socket.sendall(b"".join([_SIZES.pack(len(text), sum(map(len, blobs))), text, *blobs]))
        except (OSError, ValueError):
            raise Closed from None

    def receive(
        self, deadline: float = math.inf, watch: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Wait for a message until `deadline` (of `time.monotonic`), calling `watch` now and then.

        Raises Closed, TimeUp or ProtocolError.
        """
        size, total = _SIZES.unpack(self._read(_SIZES.size, deadline, watch))
        if size > _HEADER_LIMIT or total > _BLOB_LIMIT:
            raise ProtocolError("the message is too large")
        try:
            header = json.loads(self._read(size, deadline, watch))
            lengths = header.pop("blobs")
            right = isinstance(header, dict) and all(type(n) is int and n >= 0 for n in lengths)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise ProtocolError("the message can't be read") from None
        if not right or sum(lengths) != total:
            raise ProtocolError("the message's sizes don't add up")
        return header, [self._read(n, deadline, watch) for n in lengths]

    def _read(self, count: int, deadline: float, watch: Callable[[], None]) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeUp
            try:
                ready = select.select([self._socket], [], [], min(left, 0.1))[0]
                part = self._socket.recv(min(count - len(parts), 2**20)) if ready else None
            except (OSError, ValueError):
                raise Closed from None
            if part == b"":
                raise Closed
            parts += part or b""
            if part is None:
                watch()
        return bytes(parts)


def pack_tensor(value: Tensor, blobs: list[bytes], *, strides: bool = False) -> dict[str, Any]:
    """Describe a tensor, and add its numbers to the blobs; with `strides`, how they lie in memory as well."""
    encoded: dict[str, Any] = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if strides and not value.is_contiguous():
        encoded["strides"] = list(value.stride())
    encoded["blob"] = len(blobs)
    plain = value.detach().cpu().contiguous().reshape(-1)
    blobs.append(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return encoded


def unpack_tensor(encoded: dict[str, Any], blobs: Sequence[bytes], *, strides: bool = False) -> Tensor:
    """The tensor that was described, with its `strides` only where the sender is trusted; raises ProtocolError."""
    shape, blob = _shape(encoded), _blob(encoded, blobs)
    dtype = DTYPES.get(str(encoded.get("dtype")))
    if dtype is None or math.prod(shape) * torch.empty(0, dtype=dtype).element_size() != len(blob):
        raise ProtocolError("a tensor has another size than its numbers")
    if dtype == torch.bool and blob.translate(None, b"\0\1"):
        raise ProtocolError("a truth value is neither true nor false")
    values = torch.frombuffer(bytearray(blob), dtype=dtype).reshape(shape) if blob else torch.empty(shape, dtype=dtype)
    if strides and "strides" in encoded:
        return torch.empty_strided(shape, encoded["strides"], dtype=dtype).copy_(values)
    return values


def pack_array(value: np.ndarray, blobs: list[bytes]) -> dict[str, Any]:
    """Describe an array, and add its numbers to the blobs."""
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    encoded = {"dtype": value.dtype.name, "shape": list(value.shape), "order": order, "blob": len(blobs)}
    blobs.append(np.ascontiguousarray(value).tobytes())
    return encoded


def unpack_array(encoded: dict[str, Any], blobs: Sequence[bytes]) -> np.ndarray:
    """The array that was described; raises ProtocolError where its parts don't agree."""
    shape, blob = _shape(encoded), _blob(encoded, blobs)
    if encoded.get("dtype") not in ARRAY_DTYPES:
        raise ProtocolError("an array has an unknown kind of numbers")
    dtype = np.dtype(encoded["dtype"])
    if math.prod(shape) * dtype.itemsize != len(blob):
        raise ProtocolError("an array has another size than its numbers")
    return np.array(np.frombuffer(blob, dtype).reshape(shape), order="F" if encoded.get("order") == "F" else "C")


def _shape(encoded: dict[str, Any]) -> list[int]:
    shape = encoded.get("shape")
    if not isinstance(shape, list) or len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ProtocolError("a shape can't be read")
    return shape


def _blob(encoded: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    place = encoded.get("blob")
    if type(place) is not int or not 0 <= place < len(blobs):
        raise ProtocolError("numbers are missing")
    return blobs[place]
