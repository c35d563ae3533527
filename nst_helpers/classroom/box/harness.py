"""The students' side of a call: values come in as bytes, the answer is called, and values go back, gradients too.

What the judge wants to see of an ordinary call in one process is told in the replies: arguments and earlier results
that have been changed, gradients that have been filled in, and how often an optimiser has stepped.
"""

from __future__ import annotations

import contextlib
import importlib
import marshal
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .absent import called
from .callbacks import function_of_the_judge
from .cells import describe, run_cell
from .values import Sizes, bytes_of, is_ordinary, origins, state_of
from .wire import ARRAY_DTYPES, Channel, Closed, pack_array, pack_tensor, unpack_array, unpack_tensor

__all__ = ["serve"]

# What came with a call: each value with its bytes before the call (the items, for a list).
Arguments = list[tuple[Any, bytes | list | None]]
_LONGEST = 10_000  # of a text or a list that is sent back


def serve(channel: Channel, shell: Any) -> None:
    """Run cells and answer calls until the judge hangs up."""
    harness = Harness(channel)
    with contextlib.suppress(Closed):
        while True:
            header, blobs = channel.receive()
            if header["do"] == "allow":
                _allow(header["functions"], blobs)
            elif header["do"] == "run":
                harness.run(shell, header["cells"], header["symbol"])
            else:
                harness.answer(header, blobs)


def _allow(functions: list[str], codes: list[bytes]) -> None:
    """Give back the code of functions that the question at hand doesn't ask for."""
    for name, code in zip(functions, codes, strict=True):
        module, _, path = name.partition(":")
        owner: Any = importlib.import_module(module)
        for part in path.split("."):
            owner = getattr(owner, part)
        owner.__code__ = marshal.loads(code)


def _usual_state() -> None:
    """Undo what a cell has set for all of torch, so that it costs no other answer anything."""
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    if torch.get_default_device().type != "cpu":
        torch.set_default_device("cpu")


class Harness:
    """Everything that the judge may refer to by a number: its own above 0, ours below, and the answer itself, 0."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.pid = channel, os.getpid()
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}  # id(object) to its number
        self.sent: dict[int, bytes] = {}  # what the judge has of our tensors
        self.known: dict[int, tuple[bytes, bytes | None]] = {}  # what the judge has of its own tensors
        self.hooks: dict[int, int] = {}
        self.versions: dict[int, int] = {}  # of the judge's tensors, which autograd counts
        self.last = 0

    def run(self, shell: Any, cells: list[dict[str, Any]], symbol: str) -> None:
        """Run cells, announcing each, and tell what the symbol stands for in the end."""
        for cell in cells:
            self.channel.send({"cell": cell["number"]})
            error = run_cell(shell, cell["source"])
            with contextlib.suppress(Exception):  # torch may be anything by now
                _usual_state()
            if error is not None:
                self.channel.send({"cell": cell["number"], "stopped": describe(error)})
        found = symbol in shell.user_ns
        blobs: list[bytes] = []
        header: dict[str, Any] = {"ready": True, "defined": found, "absent": list(called)}
        called.clear()
        if found:
            self._remember(0, shell.user_ns[symbol])
            header["value"] = self._encode(shell.user_ns[symbol], blobs)
        self.channel.send(header, blobs)

    def answer(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        """Do what the judge asks for, and reply."""
        for number in header.get("release", ()):
            self._release(number)
        for encoded in header.get("sync", ()):
            self._take_over(encoded, blobs)
        back: list[bytes] = []
        arguments: Arguments = []
        reply: dict[str, Any] = {}
        try:
            value = self._do(header, blobs, arguments, reply)
            reply["value"] = self._encode(value, back, arguments)
        except Closed:
            raise
        except BaseException as error:
            reply |= describe(error)
        if os.getpid() != self.pid:  # the answer has forked, and this is the child
            os._exit(0)
        reply["absent"] = list(called)
        if header["do"] == "gradients":
            self.hooks.clear()  # those that ran for the judge alone
        else:
            self._tell_changes(reply, back, arguments)
        self.channel.send(reply, back)

    def _do(self, header: dict[str, Any], blobs: list[bytes], arguments: Arguments, reply: dict[str, Any]) -> Any:
        what: str = header["do"]
        target: Any = self.objects.get(header.get("of", 0))
        if what == "call":
            given = [self._decode(encoded, blobs, arguments) for encoded in header["args"]]
            if not header["watch"]:
                return target(*given)
            with Sizes() as sizes:
                value = target(*given)
            reply["sizes"] = sorted(sizes.seen)
            return value
        if what == "get":
            return getattr(target, header["name"])
        if what == "method":
            return getattr(target, header["name"])(*header["values"])
        if what == "gradients":
            gradient = unpack_tensor(header["gradient"], blobs)
            wanted = [self.objects[number] for number in header["wrt"]]
            if not wanted:
                return []
            return list(torch.autograd.grad(target, wanted, gradient, allow_unused=True, retain_graph=True))
        raise ValueError(what)

    # --- values that come

    def _decode(self, encoded: Any, blobs: list[bytes], arguments: Arguments) -> Any:
        kind = encoded["kind"]
        if kind == "plain":
            return encoded["value"]
        if kind in ("list", "tuple"):
            values = [self._decode(one, blobs, arguments) for one in encoded["items"]]
            arguments.append((values, list(values)))
            return values if kind == "list" else tuple(values)
        if kind == "array":
            array = unpack_array(encoded, blobs)
            self._remember(encoded["number"], array)
            arguments.append((array, bytes_of(array)))
            return array
        if kind == "callback":
            return function_of_the_judge(self._ask, encoded["number"])
        if kind == "optimizer":
            return self._optimizer(encoded, blobs)
        if kind == "known":
            known = self.objects[encoded["number"]]
            if "value" in encoded:
                self._renew(known, encoded, blobs)
                arguments.append((known, bytes_of(known)))
            return known
        tensor = unpack_tensor(encoded, blobs, strides=True)
        self.versions[encoded["number"]] = encoded["version"]
        if not encoded["grad"]:
            self._remember(encoded["number"], tensor)
            arguments.append((tensor, bytes_of(tensor)))
            return tensor
        tensor.requires_grad_()
        if not encoded["leaf"]:
            tensor = tensor * 1
        number = encoded["number"]
        self._remember(number, tensor)
        tensor.register_hook(lambda _: self.hooks.update({number: self.hooks.get(number, 0) + 1}))
        arguments.append((tensor, None))
        return tensor

    def _ask(self, header: dict[str, Any], tensor: Tensor) -> tuple[Tensor, int]:
        blobs: list[bytes] = []
        number = self.numbers.get(id(tensor), 0)
        header |= {"value": pack_tensor(tensor, blobs), "number": number}
        self.channel.send(header, blobs)
        reply, back = self.channel.receive()
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return unpack_tensor(reply["value"], back), reply.get("evaluation", 0)

    def _optimizer(self, encoded: dict[str, Any], blobs: list[bytes]) -> torch.optim.Optimizer:
        known = self.objects.get(encoded["number"])
        if known is None:
            base = getattr(torch.optim, encoded["name"])

            def step(self: Any, closure: Any = None) -> Any:
                self.steps += 1
                return base.step(self, closure)

            counted = type(encoded["name"], (base,), {"step": step, "steps": 0})
            known = counted([self._decode(one, blobs, []) for one in encoded["parameters"]], **encoded["defaults"])
            self._remember(encoded["number"], known)
        return known

    def _renew(self, known: Any, encoded: dict[str, Any], blobs: list[bytes]) -> None:
        """The judge's present value of an argument that comes again: the same object, changed as the judge's was."""
        if isinstance(known, np.ndarray):
            known[...] = unpack_array(encoded["value"], blobs)
            return
        value = unpack_tensor(encoded["value"], blobs)
        # Else it was changed behind autograd's back.
        noticed = self.versions.get(encoded["number"]) != encoded["version"]
        self.versions[encoded["number"]] = encoded["version"]
        with torch.no_grad():
            (known if noticed else known.data).copy_(value)

    def _take_over(self, encoded: dict[str, Any], blobs: list[bytes]) -> None:
        """The judge's present value and gradient of a tensor that both sides have."""
        tensor = self.objects.get(encoded["number"])
        if tensor is None:
            return
        with torch.no_grad():
            value = unpack_tensor(encoded["value"], blobs)
            if bytes_of(value) != bytes_of(tensor):
                tensor.data.copy_(value) if tensor.shape == value.shape else setattr(tensor, "data", value)
            gradient = unpack_tensor(encoded["gradient"], blobs) if encoded["gradient"] else None
            tensor.grad = gradient
        self.known[encoded["number"]] = bytes_of(value), None if gradient is None else bytes_of(gradient)

    # --- values that go

    def _encode(
        self, value: Any, blobs: list[bytes], arguments: Arguments | None = None, depth: int = 0
    ) -> dict[str, Any]:
        for place, (given, _) in enumerate(arguments or ()):
            if value is given and isinstance(value, (Tensor, np.ndarray)):
                return {"kind": "argument", "place": place}
        if value is None or type(value) in (bool, str, float) or (type(value) is int and abs(value) < 2**63):
            return {"kind": "plain", "value": value[:_LONGEST] if isinstance(value, str) else value}
        if type(value) in (Tensor, torch.nn.Parameter) and is_ordinary(value):
            encoded = pack_tensor(value, blobs)
            self.sent[number := self._number(value)] = bytes_of(value)
            return {
                "kind": "tensor",
                "number": number,
                "grad": value.requires_grad,
                "from": origins(value, self.objects),
                **encoded,
            }
        if type(value) is np.ndarray and value.dtype.name in ARRAY_DTYPES:
            encoded = pack_array(value, blobs)
            self.sent[number := self._number(value)] = bytes_of(value)
            return {"kind": "array", "number": number, **encoded}
        if isinstance(value, np.generic) and value.dtype.name in ARRAY_DTYPES:
            return {"kind": "scalar", **pack_array(np.asarray(value), blobs)}
        if type(value) in (list, tuple) and depth < 4 and len(value) <= _LONGEST:
            items = [self._encode(one, blobs, arguments, depth + 1) for one in value]
            return {"kind": type(value).__name__, "items": items}
        encoded = {"kind": "object", "number": self._number(value), "name": type(value).__name__[:80]}
        encoded["callable"] = callable(value)
        if isinstance(value, torch.nn.Module):
            encoded["module"] = []
            with contextlib.suppress(Exception):
                encoded["module"] = [[list(p.shape), p.requires_grad] for p in value.parameters()][:1000]
        return encoded

    def _tell_changes(self, reply: dict[str, Any], blobs: list[bytes], arguments: Arguments) -> None:
        """Add to a reply what a caller in the same process would see by looking at what it already had."""
        reply["changed"], reply["results"], reply["shared"] = [], [], []
        for place, (given, before) in enumerate(arguments):
            if isinstance(before, bytes) and bytes_of(given) != before:
                pack = pack_tensor if isinstance(given, Tensor) else pack_array
                reply["changed"].append({"place": place, **pack(given, blobs)})
            elif isinstance(before, list) and list(map(id, before)) != list(map(id, given)):
                reply["changed"].append({"place": place})
        for number, thing in list(self.objects.items()):
            if number < 0 and number in self.sent and self.sent[number] != (now := bytes_of(thing)):
                self.sent[number] = now
                pack = pack_tensor if isinstance(thing, Tensor) else pack_array
                reply["results"].append({"number": number, **pack(thing, blobs)})
            elif number > 0 and isinstance(thing, Tensor) and thing.requires_grad:
                hooks, state = self.hooks.pop(number, 0), state_of(thing)
                if not hooks and self.known.get(number) == state:
                    continue
                self.known[number] = state
                encoded = {"number": number, "value": pack_tensor(thing, blobs), "hooks": hooks}
                grad = thing.grad if thing.is_leaf else None
                encoded["gradient"] = pack_tensor(grad, blobs) if isinstance(grad, Tensor) else None
                reply["shared"].append(encoded)
            elif number > 0 and isinstance(thing, torch.optim.Optimizer):
                reply["shared"].append({"number": number, "steps": getattr(thing, "steps", 0)})

    def _number(self, value: Any) -> int:
        if id(value) not in self.numbers:
            self.last -= 1
            self._remember(self.last, value)
        return self.numbers[id(value)]

    def _remember(self, number: int, value: Any) -> None:
        self.objects[number], self.numbers[id(value)] = value, number

    def _release(self, number: int) -> None:
        value = self.objects.pop(number, None)
        self.numbers.pop(id(value), None)
        self.sent.pop(number, None)
        self.known.pop(number, None)
