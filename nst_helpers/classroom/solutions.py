"""The answer cells of the source notebooks: a lesson's stub, and in it the package's own code between the markers."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

from .. import checks, conventions, losses
from .questions import ClassroomError

__all__ = ["BEGIN", "END", "solved"]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"

# Where the package's function chooses among conventions, the one that the lesson teaches.
_TAUGHT: dict[str, Callable] = {"content_loss": losses._relative, "style_loss": losses._relative}
# Part of the answer, though public; all else that is public is something the lesson has built before.
_INLINED = (conventions.get_published,)


def solved(name: str, stub: str) -> str:
    """The stub with every `raise NotImplementedError(...)` replaced by the package's own code between the markers."""
    tree = ast.parse(stub)
    own = _TAUGHT.get(name, checks.CHECKS[name][1])
    lines = stub.splitlines()
    holes = [n for n in ast.walk(tree) if isinstance(n, ast.Raise) and "NotImplementedError" in ast.dump(n)]
    if not holes:
        raise ClassroomError(f"The lesson's stub of {name} has no line `raise NotImplementedError(...)` to fill.")
    for hole in sorted(holes, key=lambda n: -n.lineno):
        function = _innermost(tree, hole)
        answer = vars(own)[function.name] if isinstance(own, type) else own
        indent = " " * hole.col_offset
        body = [indent + line if line else "" for line in [BEGIN, *_body(answer, function), END]]
        lines[hole.lineno - 1 : hole.end_lineno] = body
    return "\n".join(lines)


def _innermost(tree: ast.AST, hole: ast.AST) -> ast.FunctionDef:
    around = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and hole in ast.walk(n)]
    return around[-1]


def _body(function: Callable, stub: ast.FunctionDef) -> list[str]:
    """The statements of a package function, made to stand in the stub: helpers, constants, names, and the code."""
    node = _plain(function)
    body = [n for n in node.body if "super().__init__()" not in ast.unparse(n)]
    ours, theirs = [a.arg for a in node.args.args], [a.arg for a in stub.args.args]
    # What the package's function may be given beyond what the exercise has keeps its default.
    more = list(zip(reversed(ours), reversed(node.args.defaults), strict=False))[: max(0, len(ours) - len(theirs))]
    asked = ours[: len(ours) - len(more)]
    lead = [f"{', '.join(asked)} = {', '.join(theirs)}"] if asked != theirs else []
    lead += [f"{name} = {ast.unparse(value)}" for name, value in reversed(more)]
    lead += [
        f"{arg.arg} = {ast.unparse(value)}"
        for arg, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if value is not None
    ]
    return _needs(function, node, set()) + lead + "\n".join(map(ast.unparse, body)).splitlines()


def _plain(function: Callable) -> ast.FunctionDef:
    """A function's syntax without docstring, annotations and comments."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef):
            inner.returns = None
            for arg in (*inner.args.args, *inner.args.kwonlyargs):
                arg.annotation = None
            if ast.get_docstring(inner) is not None and len(inner.body) > 1:
                inner.body = inner.body[1:]
    return node


def _needs(function: Callable, node: ast.FunctionDef, seen: set[str]) -> list[str]:
    """What a function takes from its module: private helpers and constants are copied, the rest imported."""
    home, lines = sys.modules[function.__module__], []
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    local = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    for name in sorted((names & set(vars(home))) - local - seen):
        seen.add(name)
        value: Any = vars(home)[name]
        if isinstance(value, types.ModuleType):
            continue  # torch and its like stand in the notebook's first cell
        if isinstance(value, types.FunctionType) and (name.startswith("_") or value in _INLINED):
            lines += _needs(value, inner := _plain(value), seen)
            lines += ast.unparse(inner).splitlines()
        elif isinstance(value, (tuple, int, float, str)):
            lines.append(f"{name} = {value!r}")
        else:
            lines.append(f"from {getattr(value, '__module__', None) or home.__name__} import {name}")
    return lines
