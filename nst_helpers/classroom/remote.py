"""Stand-ins, in the judge's process, for an answer that runs in a box: called and examined like the answer itself.

A call sends its arguments and gets values back; `backward` through a result asks the box for the gradients. So the
checks need not know where an answer runs, and the box needs to know nothing of the checks.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from .box.values import bytes_of, state_of
from .box.wire import Channel, Closed, ProtocolError, TimeUp, pack_array, pack_tensor, unpack_array, unpack_tensor
from .stand_ins import (
    Remote,
    RemoteCallable,
    RemoteModule,
    Through,
    alike,
    error_from,
    gradient_of,
    overwrite,
    plain,
    plain_name,
)

__all__ = ["Connection", "Lost"]

_FORGED = (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError, OverflowError, ProtocolError)


class Lost(BaseException):
    """The box is of no more use: it is "closed", the "time" is up, or what it says is "garbled".

    It is no Exception, so that no check takes it for a mistake in the answer.
    """


class Connection:
    """A box as the judge sees it: `run` runs cells, and gives a stand-in for what they have defined."""

    def __init__(
        self, channel: Channel, *, deadline: float = math.inf, watch: Callable[[], None] = lambda: None
    ) -> None:
        self._channel, self._deadline, self._watch = channel, deadline, watch
        self.cell: int | None = None  # which cell is running, None while the answer is called
        self.lost: str | None = None
        # Whether it has run out of memory, has tried to end Python, or has called one of the course's own answers.
        self.memory = self.exit = self.absent = False
        self.hide_changes = False  # whether what an answer does to its arguments is kept from the caller
        self._numbers = itertools.count(1)
        # Numbers above 0 are of the judge's values, the others of the box's; who drops a value forgets its number.
        self._objects: dict[int, weakref.ref[Any]] = {}
        self._ids: dict[int, int] = {}
        self._callbacks: dict[int, Callable[[Tensor], Tensor]] = {}
        self._evaluations: list[tuple[Tensor, Tensor]] = []
        self._known: dict[int, tuple[bytes, bytes | None]] = {}  # what the box has of the judge's leaves
        self._released: list[int] = []
        self._kept: list[Tensor] = []

    def allow(self, functions: dict[str, bytes]) -> None:
        """Give functions of the course back to the box: their names ("module:path") and codes."""
        self._send({"do": "allow", "functions": list(functions)}, list(functions.values()))

    def run(self, cells: list[dict[str, Any]], symbol: str) -> tuple[bool, Any, dict[int, dict[str, Any]]]:
        """Run cells; whether they have defined the symbol, what it stands for, and the errors by cell."""
        errors: dict[int, dict[str, Any]] = {}
        self._send({"do": "run", "cells": cells, "symbol": symbol})
        while True:
            header, blobs = self._receive()
            if header.get("ready"):
                self.cell = None
                self._note(header)
                defined = header.get("defined") is True
                return defined, self._checked(self._decode, header.get("value"), blobs, []) if defined else None, errors
            self.cell = header["cell"] if type(header.get("cell")) is int else self.cell
            if isinstance(stopped := header.get("stopped"), dict) and self.cell is not None:
                errors[self.cell] = {key: plain(stopped.get(key)) for key in ("error", "text", "line", "lacks")}
                self._note(stopped)

    def request(self, header: dict[str, Any], args: Iterable[Any] = ()) -> Any:
        """Ask the box for something and return the value; raises what the answer has raised, or Lost."""
        header["watch"] = torch._C._len_torch_function_stack() > 0
        sizes: list[int] = []
        try:
            with torch._C.DisableTorchFunction():  # our own operations are nobody's business
                return self._request(header, args, sizes)
        finally:
            for size in sizes:
                torch.numel(torch.empty(1).expand(size))  # for whoever watches the operations here

    def _request(self, header: dict[str, Any], args: Iterable[Any], sizes: list[int]) -> Any:
        blobs: list[bytes] = []
        given: list[Any] = []
        header["args"] = [self._encode(one, blobs, given) for one in args]
        header["sync"] = [
            {"number": number, "value": pack_tensor(one, blobs), "gradient": gradient_of(one, blobs)}
            for number, one in self._leaves()
            if self._is_news(number, one)
        ]
        header["release"], self._released[:] = list(self._released), []
        reply, back = self._exchange(header, blobs)
        self._checked(self._take_changes, reply, back, given)
        self._checked(lambda: sizes.extend(int(n) for n in reply.get("sizes", ())[:10_000] if 0 <= int(n) < 2**40))
        self._note(reply)
        if "error" in reply:
            raise AttributeError(str(reply.get("text"))) if header["do"] == "get" else error_from(reply)
        return self._checked(self._decode, reply.get("value"), back, given)

    def _is_news(self, number: int, leaf: Tensor) -> bool:
        """Whether a leaf is not what the box has of it; it will have it with the message that follows."""
        before, self._known[number] = self._known.get(number), state_of(leaf)
        return before != self._known[number]

    def _exchange(self, header: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Send, serve what the box asks for meanwhile, and return its answer."""
        self._send(header, blobs)
        while True:
            reply, back = self._receive()
            if "ask" not in reply:
                return reply, back
            self._checked(self._serve, reply, back)

    def gradients(self, number: int, gradient: Tensor, wanted: list[int]) -> list[Tensor | None]:
        """The gradients of one result of the box with respect to the judge's tensors."""
        blobs: list[bytes] = []
        encoded = pack_tensor(gradient, blobs)
        header = {"do": "gradients", "of": number, "gradient": encoded, "wrt": wanted}
        header |= {"args": [], "release": [], "sync": []}
        reply, back = self._exchange(header, blobs)
        if "error" in reply:
            raise error_from(reply)
        items = self._checked(lambda: [None if one["kind"] == "plain" else unpack_tensor(one, back)
                                       for one in reply["value"]["items"]])  # fmt: skip
        return items

    # --- the talk

    def _note(self, reply: dict[str, Any]) -> None:
        self.memory |= reply.get("memory") is True
        self.exit |= reply.get("exit") is True
        self.absent |= bool(reply.get("absent"))

    def _send(self, header: dict[str, Any], blobs: list[bytes] | None = None) -> None:
        if self.lost:
            raise Lost(self.lost)
        try:
            self._channel.send(header, blobs or [])
        except Closed:
            self._lose("closed")

    def _receive(self) -> tuple[dict[str, Any], list[bytes]]:
        try:
            return self._channel.receive(self._deadline, self._watch)
        except Closed:
            self._lose("closed")
        except TimeUp:
            self._lose("time")
        except ProtocolError:
            self._lose("garbled")

    def _lose(self, why: str) -> NoReturn:
        self.lost = self.lost or why
        raise Lost(self.lost)

    def _checked(self, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except _FORGED:
            self._lose("garbled")

    def _serve(self, asked: dict[str, Any], blobs: list[bytes]) -> None:
        """Evaluate a function of the judge's for the box, or its gradient."""
        back: list[bytes] = []
        value, number = unpack_tensor(asked["value"], blobs), asked["of"]
        if asked["ask"] == "gradient":
            given, result = self._evaluations[number]
            (gradient,) = torch.autograd.grad(result, given, value.reshape(result.shape), retain_graph=True)
            self._send({"value": pack_tensor(gradient, back)}, back)
            return
        mine = self._find(asked["number"])
        if not (isinstance(mine, Tensor) and mine.shape == value.shape and torch.equal(mine.detach(), value)):
            mine = value.requires_grad_()  # torch.func hands over plain tensors, and wants gradients all the same
        try:
            with torch.enable_grad():
                result = self._callbacks[number](mine)
        except (RuntimeError, TypeError, ValueError) as error:
            self._send({"error": str(error)[:500]})
            return
        self._evaluations.append((mine, result))
        self._send({"value": pack_tensor(result, back), "evaluation": len(self._evaluations) - 1}, back)

    def _take_changes(self, reply: dict[str, Any], blobs: list[bytes], given: list[Any]) -> None:
        """Let arguments, earlier results and gradients be what they would be after a call in one process."""
        for encoded in () if self.hide_changes else reply["changed"]:
            overwrite(given[encoded["place"]], encoded, blobs)
        for encoded in reply["results"]:
            overwrite(self._find(encoded["number"]), encoded, blobs)
        for encoded in reply["shared"]:
            mine = self._find(encoded["number"])
            if isinstance(mine, torch.optim.Optimizer) and hasattr(mine, "steps"):
                mine.steps = int(encoded["steps"])
            if isinstance(mine, Tensor):
                overwrite(mine, encoded["value"], blobs)
                gradient = unpack_tensor(encoded["gradient"], blobs) if encoded["gradient"] else None
                value = unpack_tensor(encoded["value"], blobs)
                self._known[encoded["number"]] = bytes_of(value), None if gradient is None else bytes_of(gradient)
                if mine.is_leaf and (gradient is None or mine.grad is None or not torch.equal(gradient, mine.grad)):
                    mine.grad = gradient
                for _ in range(min(int(encoded["hooks"]), 100)):
                    for hook in list((mine._backward_hooks or {}).values()):
                        hook(torch.zeros_like(mine) if mine.grad is None else mine.grad)

    # --- numbers for values

    def _find(self, number: Any) -> Any:
        known = self._objects.get(number) if type(number) is int else None
        return known() if known else None

    def _register(self, value: Any, number: int | None = None) -> int:
        number = next(self._numbers) if number is None else number
        self._objects[number], self._ids[id(value)] = weakref.ref(value), number
        weakref.finalize(value, self._forget, number, id(value))
        return number

    def _forget(self, number: int, place: int) -> None:
        self._objects.pop(number, None)
        self._known.pop(number, None)
        self._released.append(number)
        if self._ids.get(place) == number:
            del self._ids[place]

    def _leaves(self) -> Iterator[tuple[int, Tensor]]:
        """The judge's tensors, as far as they are alive, through which gradients may be asked for."""
        for number in sorted(self._objects):
            value = self._find(number)
            if number > 0 and isinstance(value, Tensor) and value.requires_grad:
                yield number, value

    # --- values

    def _encode(self, value: Any, blobs: list[bytes], given: list[Any]) -> dict[str, Any]:
        number = self._ids.get(id(value))
        if isinstance(value, (list, tuple)):
            items = [self._encode(one, blobs, given) for one in value]
            given.append(value)
            return {"kind": "list" if isinstance(value, list) else "tuple", "items": items}
        if isinstance(value, np.ndarray):
            given.append(value)
            if number is not None and number > 0:
                return {"kind": "known", "number": number, "value": pack_array(value, blobs)}
            return {"kind": "array", "number": self._register(value), **pack_array(value, blobs)}
        if isinstance(value, Tensor):
            version = value._version
            if number is not None and number > 0 and value.requires_grad:
                return {"kind": "known", "number": number}
            given.append(value)
            if number is not None and number > 0:
                return {"kind": "known", "number": number, "value": pack_tensor(value, blobs), "version": version}
            encoded = {"kind": "tensor", "grad": value.requires_grad, "leaf": value.is_leaf, "version": version}
            encoded["number"] = self._register(value)
            if value.requires_grad:
                self._kept.append(value)  # the answer may keep it, and then its gradient may be asked for
            return encoded | pack_tensor(value, blobs, strides=True)
        if isinstance(value, torch.optim.Optimizer):
            parameters = [self._encode(p, blobs, []) for group in value.param_groups for p in group["params"]]
            name = next(kind.__name__ for kind in type(value).__mro__ if getattr(torch.optim, kind.__name__, 0) is kind)
            defaults = {key: v for key, v in value.defaults.items() if isinstance(v, (int, float, bool, type(None)))}
            encoded = {"kind": "optimizer", "name": name, "number": number or self._register(value)}
            return encoded | {"parameters": parameters, "defaults": defaults}
        if isinstance(value, (Remote, RemoteModule)):
            return {"kind": "known", "number": value.__dict__["_number"]}
        if callable(value):
            number = next(self._numbers)
            self._callbacks[number] = value
            return {"kind": "callback", "number": number}
        return {"kind": "plain", "value": value}

    def _decode(self, encoded: Any, blobs: list[bytes], given: list[Any]) -> Any:
        kind = encoded["kind"]
        if kind == "plain":
            return plain(encoded["value"])
        if kind == "argument":
            return given[encoded["place"]]
        if kind in ("list", "tuple"):
            items = [self._decode(one, blobs, given) for one in encoded["items"]]
            return items if kind == "list" else tuple(items)
        if kind == "scalar":
            return unpack_array(encoded, blobs).reshape(())[()]
        number = encoded["number"]
        known = self._find(number)
        if kind == "object":
            return known if known is not None else self._stand_in(encoded)
        value: Any = unpack_tensor(encoded, blobs) if kind == "tensor" else unpack_array(encoded, blobs)
        if known is not None and number < 0 and alike(known, value, encoded.get("grad")):
            overwrite(known, encoded, blobs)
            return known
        if kind == "tensor" and encoded["grad"] is True:
            leaves = [leaf for n, leaf in self._leaves() if n in encoded["from"]]
            value = Through.apply(self, number, value, *leaves) if leaves else value.requires_grad_()
        if number < 0:
            self._register(value, number)
        return value

    def _stand_in(self, encoded: dict[str, Any]) -> Any:
        base = RemoteModule if "module" in encoded else RemoteCallable if encoded["callable"] is True else Remote
        stand_in = type(plain_name(encoded["name"]), (base,), {})(self, encoded)
        if encoded["number"] < 0:
            self._register(stand_in, int(encoded["number"]))
        return stand_in
