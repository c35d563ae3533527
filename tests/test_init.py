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
    tree = ast.parse(Path(nst.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    modules = {name: None for name in ("checks", "conventions", "figures")} | {"lessons": "checks"}
    assert seen == nst._HOMES | modules
    assert set(seen) == set(nst.__all__)


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [("", None, "PASSIVE"), ("import torch; ", None, "None"), ("", "ACTIVE", "ACTIVE")],
    ids=["first", "after torch", "as the person chose"],
)
def test_threads_are_told_not_to_spin_before_they_are_there(before, given, expected):
    set_ = f"os.environ['OMP_WAIT_POLICY'] = {given!r}" if given else "os.environ.pop('OMP_WAIT_POLICY', None)"
    code = f"import os; {set_}; {before}import nst_helpers; print(os.environ.get('OMP_WAIT_POLICY'))"
    assert output_of(code).strip() == expected
