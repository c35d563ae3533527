"""The project as a whole: who imports whom, how quickly, and whether its lists of packages agree."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nst_helpers"

# Each module may import those named before it in a line above, never one below.
FLOORS = [
    {"errors", "fused", "heap", "pace", "packed", "precondition"},
    {"lbfgs", "losses"},
    {"compat", "decode", "download", "guard", "weightfiles", "conventions"},
    {"images", "resolver", "lessons", "verdicts", "figure_data"},
    {"samples", "encoders", "figures", "examine"},
    {"signatures_losses", "signatures_images", "signatures_network", "signatures_totals"},
    {"examine_layers", "examine_closures"},
    {"devices", "checks", "segments"},
    {"model"},
    {"engine", "tiles"},
    {"settings", "footprint"},
    {"checkpoints", "calibrate"},
    {"estimates"},
    {"optimize", "knobs"},
    {"session", "sweep_cells"},
    {"sweeps", "recipes", "panel_chart", "panel_pictures"},
    {"panel_layout", "panel_words"},
    {"panel_face"},
    {"panel"},
    {"classroom.questions", "classroom.sandbox", "classroom.pages", "classroom.kernel_client"},
    {"classroom.personal", "classroom.solutions", "classroom.written", "classroom.collecting", "classroom.matching"},
    {"classroom.integrity"},
    {"classroom.hidden", "classroom.sources"},
    {"classroom.autograding", "classroom.judging", "classroom.gradebook", "classroom.reports"},
    {"classroom.running", "classroom.zygote"},
    {"classroom.cluster"},
    {"classroom.marking"},
    {"classroom.__main__", "classroom.__init__"},
    {"__main__", "__init__"},
]
FORBIDDEN = {("images", "encoders"), ("encoders", "images"), ("losses", "encoders"), ("encoders", "losses")}


def name_of(path: Path) -> str:
    """ "losses", or "classroom.marking" for a module of a subpackage."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    found, home = set(), [*path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and home and node.level == 1:
            # From within a subpackage, one dot is the subpackage.
            found |= {f"{home[0]}.{m}" for m in ([node.module] if node.module else [a.name for a in node.names])}
        elif isinstance(node, ast.ImportFrom) and node.level == len(home) + 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nst_helpers"):
            found.add(node.module.partition(".")[2] or "__init__")
    # What is a name in a module rather than a module: `from .losses import gram_matrix`.
    modules = {name_of(p) for p in PACKAGE.rglob("*.py")}
    return {name if name in modules else name.split(".")[0] for name in found if name != "__version__"}


def upward(floors: list[set[str]], arrows: dict[str, set[str]]) -> list[str]:
    level = {name: i for i, names in enumerate(floors) for name in names}
    wrong = [f"{a} -> {b}" for a, bs in arrows.items() for b in bs if level[b] > level[a] or (a, b) in FORBIDDEN]
    return sorted(wrong)


def test_imports_point_downwards_only():
    arrows = {name_of(p): imports(p) for p in PACKAGE.rglob("*.py")}
    assert set(arrows) == set().union(*FLOORS), "a new module needs its place in FLOORS"
    assert upward(FLOORS, arrows) == []


def test_an_arrow_that_points_up_is_seen():
    assert upward([{"a"}, {"b"}], {"a": {"b"}, "b": {"a"}}) == ["a -> b"]


def test_modules_import_each_other_without_a_circle():
    arrows = {name_of(p): imports(p) - {"__init__"} for p in PACKAGE.rglob("*.py") if p.stem != "__init__"}
    while free := [name for name, targets in arrows.items() if not targets]:
        for name in free:
            del arrows[name]
        for targets in arrows.values():
            targets.difference_update(free)
    assert arrows == {}


def test_import_is_light_and_quick():
    """No network, no display, no torchvision, no ipywidgets, and under 0.2 s beyond torch itself."""
    code = """
import json, sys, time
import socket
def refuse(*a, **k): raise OSError("no network in this test")
socket.socket.connect = refuse
import torch, numpy, PIL.Image
start = time.perf_counter()
import nst_helpers
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""
    best, loaded = 9.0, set()
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds, modules = json.loads(out.stdout)
        best, loaded = min(best, seconds), loaded | set(modules)
    assert not loaded & {"torchvision", "ipywidgets", "matplotlib", "IPython", "h5py", "safetensors", "tqdm.auto"}
    assert best < 0.2


def test_modules_can_be_read_in_one_sitting():
    long = {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 320}
    assert long == {}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_environment_yml_is_in_step_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    conda = [Requirement(line) for line in environment["dependencies"] if isinstance(line, str) and line != "pip"]
    listed = {r.name: r.specifier for r in conda}
    project = pyproject()
    wanted = {"python": SpecifierSet(project["project"]["requires-python"])}
    for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert listed == wanted


def test_the_gate_runs_the_readmes_test_command():
    command = "pip install uv && uv run pytest"
    readme, gate = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert re.search(rf"^{re.escape(command)}$", readme, re.M)
    assert re.search(rf"^{re.escape(command)}$", gate, re.M)


def test_versions_agree():
    import nst_helpers

    assert nst_helpers.__version__ == pyproject()["project"]["version"]


def test_every_public_name_is_there_and_documented():
    import nst_helpers

    for name in nst_helpers.__all__:
        assert getattr(nst_helpers, name, None) is not None, name
        if callable(getattr(nst_helpers, name)):
            assert getattr(nst_helpers, name).__doc__, name


def test_no_text_in_the_repository_names_a_machine():
    """No absolute path of a machine, no registry's host."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    # Put together here, so that this file does not hold what it looks for.
    bad = re.compile(
        "|".join(
            ["/" + "work/", "/" + "root/", "pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs"]
        )
    )
    wrong = []
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".json", ".cfg", ""} and path.is_file():
            wrong += [
                f"{name}:{i}"
                for i, line in enumerate(path.read_text(errors="ignore").splitlines(), 1)
                if bad.search(line)
            ]
    assert wrong == []
