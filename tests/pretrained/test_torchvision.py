"""torchvision that is whole, missing, or built for another torch: stand-ins for it in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nst_helpers.errors import NSTError
from nst_helpers.pretrained import torchvision

PACKAGE = Path(torchvision.__file__).parents[1]

CHILD = """
import importlib.metadata, json, sys, types

package = sys.modules["nst_helpers"] = types.ModuleType("nst_helpers")  # without the package's own imports, for speed
package.__path__ = [sys.argv[2]]
from nst_helpers.pretrained.torchvision import TorchvisionError, torchvision_or_error

outcomes = {}
for name, (folder, versions) in json.loads(sys.argv[1]).items():
    def version(name):
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError(name)
    importlib.metadata.version = version
    sys.path.insert(0, folder)
    said = []
    for attempt in range(2):
        try:
            said.append(torchvision_or_error().__version__)
        except TorchvisionError as error:
            said.append(str(error))
    left = sorted(name for name in sys.modules if name.startswith("torchvision"))
    outcomes[name] = [*said, left]
    del sys.path[0]
print(json.dumps(outcomes))
"""

CASES = {
    "operators": (
        {"torch": "2.13.0+cpu", "torchvision": "0.28.0"},
        {
            "__init__.py": "from torchvision import extension, _meta_registrations",
            "extension.py": "",
            "_meta_registrations.py": "raise RuntimeError('operator torchvision::nms does not exist')",
        },
    ),
    "absent": ({"torch": "2.13.0"}, {"__init__.py": "raise ModuleNotFoundError(name='torchvision')"}),
    "dependency": ({"torch": "2.13.0+cu126", "torchvision": "0.28.0"}, {"__init__.py": "import surely_not_installed"}),
    "strange": ({"torch": "2.13.0", "torchvision": "0.28.0"}, {"__init__.py": "raise OSError('odd\\nand long')"}),
    "whole": (
        {"torch": "2.13.0", "torchvision": "0.28.0"},
        {"__init__.py": "import warnings; warnings.warn('noise'); __version__ = '0.28.0'"},
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What two calls in a row say in each case, and which modules of torchvision stay behind."""
    cases = {}
    for name, (versions, files) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "torchvision").mkdir()
        for file, text in files.items():
            (folder / "torchvision" / file).write_text(text, "utf-8")
        cases[name] = (str(folder), versions)
    command = [sys.executable, "-W", "error", "-c", CHILD, json.dumps(cases), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", ["operators", "absent", "dependency", "strange"])
def test_a_failure_is_one_sentence_the_same_twice(outcomes, case):
    first, second, left = outcomes[case]
    assert first == second
    assert left == []
    assert "\n" not in first
    assert f"torch {CASES[case][0]['torch']}" in first or case == "dependency"


def test_missing_operators_are_said_with_the_pair_and_the_command(outcomes):
    said = outcomes["operators"][0]
    assert said.startswith("torchvision 0.28.0 doesn't work with torch 2.13.0+cpu (its compiled operators are missing")
    assert "`uv pip install --reinstall --torch-backend=cpu torch torchvision`" in said
    assert "`pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cpu`" in said


def test_an_absent_torchvision_is_said(outcomes):
    said = outcomes["absent"][0]
    assert said.startswith(
        "torchvision isn't installed beside torch 2.13.0: run `uv pip install --reinstall torch torchv"
    )


def test_a_dependency_that_is_missing_is_named(outcomes):
    assert "torchvision 0.28.0 needs the module surely_not_installed" in outcomes["dependency"][0]
    assert "--torch-backend=cu126" in outcomes["dependency"][0]


def test_a_whole_torchvision_comes_back(outcomes):
    assert outcomes["whole"] == ["0.28.0", "0.28.0", ["torchvision"]]


def test_the_error_is_one_of_ours_and_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(NSTError) as caught:
        torchvision.torchvision_or_error()
    assert isinstance(caught.value, ImportError)
