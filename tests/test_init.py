"""The package's face: names that load when they are asked for, and an import that loads nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nst_helpers as nst


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_does_not_load_pytorch():
    assert not {"torch", "numpy", "PIL"} & set(output_of("import nst_helpers, sys; print(*sys.modules)").split())


def test_every_public_name_is_there_and_is_what_its_module_defines():
    for name in nst.__all__:
        assert getattr(nst, name) is getattr(nst, name)
        assert name in dir(nst)
    assert nst.stylize is sys.modules["nst_helpers.optimize"].stylize
    assert nst.losses.gram_matrix is nst.gram_matrix
    with pytest.raises(AttributeError, match="has no attribute 'stylise'"):
        nst.stylise  # noqa: B018


def test_type_checkers_and_editors_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(nst.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    modules = {name: None for name in ("checks", "conventions", "figures")} | {"lessons": "checks"}
    assert seen == nst._HOMES | modules
    assert set(seen) == set(nst.__all__)


# What matters is that it is among the loaded modules; the true one takes two seconds.
THERE = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); "


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [
        ("", {}, "PASSIVE 10000"),
        (THERE, {}, "None None"),
        ("", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ("", {"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
    ],
    ids=["first", "after torch", "a chosen policy", "a chosen count"],
)
def test_threads_are_told_to_spin_shortly_before_they_are_there(before, given, expected):
    names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    code = f"import os; [os.environ.pop(name, None) for name in {names}]; os.environ.update({given})\n"
    code += f"{before}import nst_helpers; print(*[os.environ.get(name) for name in {names}])"
    assert output_of(code).strip() == expected
