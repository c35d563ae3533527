"""The package that the students' code may import: a copy without the course's own answers, and without what judges.

A box gets back the functions that the question at hand doesn't ask for, so that a style layer may call
`nst.gram_matrix`; the answer to its own question is neither in its memory nor, in namespaces, on its disk.
"""

from __future__ import annotations

import ast
import importlib
import marshal
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import losses, regions
from ..accel import accelerate, bands, distances, gram
from ..checks.own import OWN_ANSWERS, own_functions
from ..control import color

__all__ = ["FURTHER", "allowed", "taken_away", "write_package"]

PACKAGE = Path(__file__).parents[1]

# What does a question's work, or the better part of it, besides the functions that `OWN_ANSWERS` names.
FURTHER: dict[str, tuple[Any, ...]] = {
    "content_loss": (
        losses._relative, losses._squares, accelerate.FusedContentLoss.forward, distances._Distance.forward,
    ),
    "gram_matrix": (
        losses.masked_gram_matrix, gram.features_and_gram, gram.fused_gram, gram.gram_sum, gram._product,
        gram._gram_near,
    ),
    "style_loss": (losses._relative, losses._squares, distances._Distance.forward),
    "content_loss_layer": (regions.MappedContentLoss.forward, accelerate.FusedContentLoss.forward),
    "style_loss_layer": (regions.RegionStyleLoss.forward, accelerate.FusedStyleLoss.forward),
    "total_variation": (
        bands.BandedTVLoss.forward, bands._band, accelerate.FusedTVLoss.forward, distances._SquaredVariation.forward,
    ),
    "match_color": (color.match_color, color._with_moments),
    "masked_gram": (gram.fused_gram, gram.mask_root),
}  # fmt: skip


def taken_away(question: str) -> Iterator[tuple[str, types.FunctionType]]:
    """The functions that are taken away for a question, each with its name ("nst_helpers.losses:gram_matrix")."""
    if question in OWN_ANSWERS:
        for function in (*own_functions(question), *FURTHER.get(question, ())):
            yield f"{function.__module__}:{function.__qualname__}", function


def allowed(question: str) -> dict[str, bytes]:
    """The code of all functions that are taken away for other questions but not for this one, by name."""
    taken = {name for name, _ in taken_away(question)}
    others = {name: function for other in OWN_ANSWERS for name, function in taken_away(other)}
    return {name: marshal.dumps(function.__code__) for name, function in others.items() if name not in taken}


def write_package(folder: Path) -> None:
    """Write the students' package to `folder/nst_helpers`, and the samples beside it."""
    absent: dict[str, dict[str, str]] = {}
    for question in OWN_ANSWERS:
        for name, _ in taken_away(question):
            module, _, path = name.partition(":")
            absent.setdefault(module, {})[path] = question
    target = folder / PACKAGE.name
    kept = {"__init__.py", "personal.py", "box"}

    def skip(place: str, names: list[str]) -> set[str]:
        here = Path(place)
        if here == PACKAGE / "classroom":
            return set(names) - kept
        if here == PACKAGE / "checks":
            return set(names) - {"lessons.py", "claims.py"}
        return {name for name in names if name == "__pycache__"}

    shutil.copytree(PACKAGE, target, ignore=skip)
    for name in ("__init__.py", "progress.py"):
        shutil.copy(PACKAGE / "classroom" / "box" / "checks_stub.py", target / "checks" / name)
    data = PACKAGE.parent / "data"
    if not (PACKAGE / "data").exists() and data.exists():
        shutil.copytree(data, folder / "data")
    for module, functions in absent.items():
        source = Path(str(importlib.import_module(module).__file__))
        tree = _without(ast.parse(source.read_text(encoding="utf-8")), functions)
        (target / source.relative_to(PACKAGE)).write_text(ast.unparse(tree), encoding="utf-8")


def _without(tree: ast.Module, functions: dict[str, str]) -> ast.Module:
    """A module in which the bodies of some functions, named by their paths, are gone."""
    left = dict(functions)

    def visit(body: list[ast.stmt], above: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{above}{node.name}.")
            if isinstance(node, ast.FunctionDef) and (question := left.pop(above + node.name, None)):
                called = f"from {PACKAGE.name}.classroom.box.absent import absent\nabsent({question!r})"
                node.body = ast.parse(called).body

    visit(tree.body, "")
    if left:
        raise RuntimeError(f"functions are not where they were expected: {sorted(left)}")
    return tree
