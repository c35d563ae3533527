"""Guards of the checks: what the course, torch and Python were before the students' code ran, and whose work it is."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import pkgutil
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .. import losses
from ..accel import gram
from ..checks import lessons
from ..checks.verdicts import Verdict
from ..conventions import convert_style_weight
from ..encoders import Normalization

__all__ = ["Snapshot", "own_work"]

_JUDGING = ("checks", "accel.gram", "conventions", "encoders", "losses", "classroom.hidden", "classroom.integrity")
_OTHERS = (torch, torch.nn, torch.nn.functional, torch.autograd, torch.optim, torch.testing, np, builtins)
_CLASSES = (torch.Tensor, torch.nn.Module, torch.optim.Optimizer, torch.optim.Adam, torch.optim.SGD, torch.optim.LBFGS)

# The package's functions that do what a question asks for; the first one is named in the sentence.
_OWN: dict[str, tuple[Any, ...]] = {
    "to_tensor": (lessons.to_tensor,),
    "to_array": (lessons.to_array,),
    "normalize": (lessons.normalize, Normalization.forward),
    "denormalize": (lessons.denormalize,),
    "receptive_field": (lessons.receptive_field,),
    "content_loss": (losses.content_loss, losses._relative, losses._squares, losses.ContentLoss.forward),
    "gram_matrix": (losses.gram_matrix, gram.fused_gram, losses.StyleLoss.forward, lessons.StyleLossLayer.forward),
    "style_loss": (losses.style_loss, losses._relative, losses._squares, losses.StyleLoss.forward),
    "content_loss_layer": (lessons.ContentLossLayer, losses.ContentLoss),
    "style_loss_layer": (lessons.StyleLossLayer, losses.StyleLoss),
    "total_loss": (lessons.total_loss,),
    "convert_style_weight": (convert_style_weight,),
    "make_closure": (lessons.make_closure,),
    "total_variation": (losses.total_variation, losses.TVLoss.forward),
}
_calls: list[int] = []


class Snapshot:
    """What the checks rely on, noted before a hand-in is run: `changed` says what is different, `restore` mends it."""

    def __init__(self) -> None:
        self._attributes: list[tuple[str, Any, str, Any]] = []
        self._codes: dict[types.FunctionType, tuple] = {}
        self._tables: list[tuple[str, dict, dict]] = []
        for module in _modules():
            self._note(module, everything=True)
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__.startswith("nst_helpers"):
                    self._note(value, everything=True)
        for module in _OTHERS:
            self._note(module)
        for kind in _CLASSES:
            self._note(kind)

    def _note(self, owner: Any, *, everything: bool = False) -> None:
        for name, value in list(vars(owner).items()):
            constant = everything and isinstance(value, (tuple, int, float, str, dict, torch.Tensor))
            if name.startswith("__") and not callable(value):
                continue
            if not (callable(value) or constant or isinstance(value, property)):
                continue
            self._attributes.append((_named(owner, name), owner, name, value))
            if everything and isinstance(value, types.FunctionType):
                self._codes[value] = (value.__code__, value.__defaults__, value.__kwdefaults__)
            if everything and type(value) is dict and not name.startswith("__"):
                self._tables.append((_named(owner, name), value, dict(value)))

    def changed(self) -> list[str]:
        """The dotted names of what is no longer as it was."""
        found = [told for told, owner, name, value in self._attributes if vars(owner).get(name, _GONE) is not value]
        found += [f"{f.__module__}.{f.__qualname__}" for f, kept in self._codes.items() if _code(f) != kept]
        found += [told for told, table, kept in self._tables if table != kept]
        return sorted({*found, *(f"torch.Tensor.{name}" for name in self._hiding())})

    def _hiding(self) -> list[str]:
        """Methods that were added to tensors and hide one of torch's own."""
        noted = {name for _, owner, name, _ in self._attributes if owner is torch.Tensor}
        added = [n for n in vars(torch.Tensor) if n not in noted and not n.startswith("__")]
        return [n for n in added if any(n in vars(parent) for parent in torch.Tensor.__mro__[1:])]

    def restore(self) -> None:
        """Put everything back."""
        for name in self._hiding():
            delattr(torch.Tensor, name)
        for _, owner, name, value in self._attributes:
            if vars(owner).get(name, _GONE) is not value:
                setattr(owner, name, value)
        for function, kept in self._codes.items():
            if _code(function) != kept:
                function.__code__, function.__defaults__, function.__kwdefaults__ = kept
        for _, table, noted in self._tables:
            if table != noted:
                table.clear()
                table.update(noted)


_GONE = object()


def _modules() -> list[types.ModuleType]:
    """The package, the modules that judge, and every module in those of them that are folders."""
    home = importlib.import_module(__package__.partition(".")[0])
    found = [home]
    for part in _JUDGING:
        module = importlib.import_module(f"{home.__name__}.{part}")
        inside = pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}.")
        found += [module, *(importlib.import_module(info.name) for info in inside)]
    return found


def _code(function: types.FunctionType) -> tuple:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _named(owner: Any, name: str) -> str:
    if isinstance(owner, type):
        return f"{'torch' if owner.__module__.startswith('torch') else owner.__module__}.{owner.__name__}.{name}"
    return f"{owner.__name__}.{name}"


def _caught(*args: Any, **keywords: Any) -> None:
    import sys  # this code runs as another module's function

    sys.modules["nst_helpers.classroom.integrity"]._calls.append(1)
    raise RuntimeError("the course's own function may not be called here")


@contextlib.contextmanager
def own_work(name: str) -> Iterator[list[Verdict]]:
    """Within this, the package's own answer to a question is out of order; the list gets a verdict if it was called."""
    functions = [f for part in _OWN.get(name, ()) for f in _functions_of(part)]
    kept = [(f, _code(f)) for f in functions]
    _calls.clear()
    found: list[Verdict] = []
    try:
        for function in functions:
            function.__code__, function.__defaults__, function.__kwdefaults__ = _caught.__code__, None, None
        yield found
    finally:
        for function, (code, defaults, keywords) in kept:
            function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, keywords
        if _calls:
            shown = _OWN[name][0].__qualname__.removesuffix(".forward")
            told = f"{name} calls the course's own {shown}, which is what you are asked to write: write it yourself."
            found.append(Verdict(name, False, told, "package-function"))


def _functions_of(part: Any) -> list[types.FunctionType]:
    if isinstance(part, type):
        # `__init__` has a cell for super(), so it can't take the other code; forward is enough: no loss without it.
        return [vars(part)["forward"]]
    return [part]
