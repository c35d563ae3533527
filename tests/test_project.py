"""The project as a whole: who imports whom, how quickly, and whether its lists of packages agree."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import slow
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nst_helpers"

# From the ground up: a module may import from its own folder and from the lines above its own, from no line below, and
# of those that share a line none imports another. A file of the top level counts as a folder of its own.
FLOORS = """
errors
io
pretrained
images encoders losses
regions statistics
samples conventions model figures
accel
control fast
engine
budget
optimize
live sweeps judging
checks
cli
__main__ classroom __init__
"""


def test_imports_point_downwards_only():
    assert upward(FLOORS, arrows()) == []


def test_the_map_tells_the_same_order_and_names_folders_that_exist_or_says_so():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    chain = text.partition("from the bottom up:")[2].partition(". A test")[0]
    order = [re.findall(r"`(\w+)`", floor) for floor in chain.split("·")]
    there = {path.stem for path in PACKAGE.iterdir()} - {"__init__"}
    floors = [[name for name in line.split() if name in there] for line in FLOORS.split("\n")]
    assert [sorted(floor) for floor in order] == [sorted(floor) for floor in floors if floor]
    for line in text.partition("## Where")[2].splitlines():
        for name in re.findall(r"`(?:tests/)?(\w+)/[\w/.]*`", line):
            assert name in there or f"a folder to be made, `{name}/`" in line


def test_checks_and_figures_know_the_core_alone():
    core = {"errors", "io", "conventions", "images", "encoders", "losses", "regions", "model", "samples"}
    known = arrows()
    assert known["checks"] | known["figures"] <= core


def test_an_arrow_that_points_up_or_aside_is_seen():
    floors = "a b\nc"
    assert upward(floors, {"a": {"c"}, "c": {"b"}}) == ["a -> c"]
    assert upward(floors, {"a": {"b"}}) == ["a -> b"]
    assert upward(floors, {"d": {"a"}}) == ["d has no floor"]


def test_modules_import_each_other_without_a_circle():
    left = {name_of(p): set(imports(p)) for p in PACKAGE.rglob("*.py") if p.stem != "__init__"}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def name_of(path: Path) -> str:
    """ "losses", or "classroom.marking" for a module in a folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file names in its imports, with dots, from the package's top."""
    found, home = set(), path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*home[: len(home) - node.level + 1], *(node.module or "").split(".")]
        base = [part for part in base if part]
        # `from .losses import gram_matrix` names a module, `from . import losses` another one.
        found |= {".".join([*base, alias.name]) for alias in node.names} if not node.module else {".".join(base)}
    return frozenset(found - {"__version__"})


def arrows() -> dict[str, set[str]]:
    """Each folder, and each file of the top level, with those that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        home = name_of(path).partition(".")[0]
        targets = {name.partition(".")[0] for name in imports(path)}
        found.setdefault(home, set()).update(targets - {home})
    return found


def upward(floors: str, arrows: dict[str, set[str]]) -> list[str]:
    level = {name: i for i, line in enumerate(floors.split("\n")) for name in line.split()}
    wrong = [f"{name} has no floor" for name in arrows if name not in level]
    wrong += [f"{a} -> {b}" for a, bs in arrows.items() if a in level for b in bs if level[b] >= level[a]]
    return sorted(wrong)


@pytest.mark.slow
def test_import_is_light_and_quick():
    """No network, no display, no torchvision, no ipywidgets, and under 0.2 s beyond torch itself."""
    code = """
import json, sys, time
import socket
def refuse(*a, **k): raise OSError("no network in this test")
socket.socket.connect = refuse
import torch, numpy, PIL.Image
start = time.process_time()
import nst_helpers
print(json.dumps([time.process_time() - start, sorted(sys.modules)]))
"""
    best, loaded = 9.0, set()
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds, modules = json.loads(out.stdout)
        best, loaded = min(best, seconds), loaded | set(modules)
        if best < 0.2 * slow():
            break
    assert not loaded & {"torchvision", "ipywidgets", "matplotlib", "IPython", "h5py", "safetensors", "tqdm.auto"}
    assert best < 0.2 * slow()


def test_modules_can_be_read_in_one_sitting():
    long = {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text("utf-8").splitlines())) > 320}
    assert long == {}


def test_functions_can_be_read_at_a_glance():
    """At most 60 lines of code each; signatures and docstrings of runs have one line and more for each option."""
    long = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                code = node.body[1:] if ast.get_docstring(node) else node.body
                if code and (lines := code[-1].end_lineno - code[0].lineno + 1) > 60:
                    long[f"{path.name}:{node.name}"] = lines
    assert long == {}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def test_environment_yml_is_in_step_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    conda = [Requirement(line) for line in environment["dependencies"] if isinstance(line, str) and line != "pip"]
    listed = {r.name: r.specifier for r in conda}
    project = pyproject()
    wanted = {"python": SpecifierSet(project["project"]["requires-python"])}
    for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert listed == wanted


def test_nbgrader_is_for_teachers_and_the_tests():
    """Learners get none, by whatever way they install; the commands of teachers and of the tests ask for it."""
    project = pyproject()
    nbgrader = project["project"]["optional-dependencies"]["classroom"]
    assert project["dependency-groups"]["classroom"] == nbgrader
    assert project["tool"].get("uv", {}).get("default-groups", ["dev"]) == ["dev"]
    for everybodys in (project["dependency-groups"]["dev"], project["project"]["dependencies"]):
        assert not any("nbgrader" in line for line in everybodys)
    commands = re.findall(r"^.*uv run (.*)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    for command in commands:
        needs_it = "pytest" in command or "nst_helpers.classroom" in command
        assert command.startswith("--group classroom ") == needs_it, command
    container = (ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8")
    assert "--group dev --group classroom" in container


UV = "pip install --target .uv uv && .uv/bin/uv run"  # works where Python refuses to be installed into, too


def test_the_gate_runs_the_readmes_test_command():
    command = re.escape(f"{UV} --group classroom pytest")
    for name in ("README.md", ".ci/run"):
        assert re.search(rf"^{command}$", (ROOT / name).read_text("utf-8"), re.M)
    gate = (ROOT / ".ci" / "run").read_text("utf-8")
    assert all(
        re.search(rf"^\.uv/bin/uv run {step}$", gate, re.M)
        for step in (r"ruff check \.", r"ruff format --check \.", "mypy")
    )
    assert re.search(rf"^      - run: {command}$", (ROOT / ".github/workflows/tests.yml").read_text("utf-8"), re.M)
    assert re.search(
        rf"^{re.escape(UV)} jupyter lab notebooks/\w+\.ipynb$", (ROOT / "README.md").read_text("utf-8"), re.M
    )


def test_the_first_screen_says_what_is_downloaded_and_how_to_download_less():
    """3 GiB of CUDA's packages come to a Linux without a GPU, unless one asks for the others."""
    first = (ROOT / "README.md").read_text("utf-8").split("## The lessons")[0]
    before, command, after = first.partition(f"{UV} jupyter lab")
    assert command
    assert "3 GiB on Linux" in before
    assert "--torch-backend=cpu" in after


def test_every_folder_of_the_package_and_of_the_tools_has_its_folder_of_tests():
    for code, tests in ((PACKAGE, ROOT / "tests"), (ROOT / "tools", ROOT / "tests" / "tools")):
        folders = {path.parent.name for path in code.glob("*/*.py")}
        assert folders <= {path.parent.name for path in tests.glob("*/test_*.py")}


def test_every_test_file_has_a_name_of_its_own():
    """pytest imports them by their names alone; two of one name can't be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_readme_fits_on_a_few_screens():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


PAGES = [p.relative_to(ROOT) for p in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *PACKAGE.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_the_pages_lead_somewhere(page):
    """Relative ones to files, and anchors to headings."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = ROOT / page.parent / path if path else ROOT / page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ +(.+?) *$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings], target


SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    "CITATION.cff": "vendor.citation-file-format",
}


@pytest.mark.slow
@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_for_the_platform_keep_their_schemas(pattern, tmp_path):
    """Offline, with the schemas that check-jsonschema brings; and a file that breaks its schema is seen."""
    files = sorted(ROOT.glob(pattern))
    assert files
    from check_jsonschema import main
    from click.testing import CliRunner, Result

    def check(*paths: Path) -> Result:
        return CliRunner().invoke(main, ["--no-cache", "--builtin-schema", SCHEMAS[pattern], *map(str, paths)])

    done = check(*files)
    assert done.exit_code == 0, done.output
    (tmp_path / files[0].name).write_text(files[0].read_text("utf-8") + "\nnobodys-key: {}\n", "utf-8")
    assert check(tmp_path / files[0].name).exit_code == 1


def test_the_container_and_the_hooks_are_of_this_project():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert Version(container["image"].rpartition(":")[2]) in SpecifierSet(pyproject()["project"]["requires-python"])
    hooks = [
        h
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
        for h in repo["hooks"]
    ]
    assert {"ruff-check", "ruff-format"} < {hook["id"] for hook in hooks}
    for hook in hooks:
        for word in hook.get("entry", "").split():
            assert not word.endswith(".py") or (ROOT / word).is_file()


LEVERS = ("accel/devices", "accel/gram", "accel/pooling", "accel/allocator", "engine/lbfgs", "engine/preconditioner")


def test_what_a_module_says_it_is_worth_stands_on_the_page_of_measurements():
    """A figure that was measured anew is changed in both places."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    docs = {name: ast.get_docstring(tree(PACKAGE / f"{name}.py")) or "" for name in LEVERS}
    figures = {name: re.findall(r"\b[01]\.\d\d\b", text) for name, text in docs.items()}
    assert all(figures.values())
    known = set(re.findall(r"\b[01]\.\d\d\b", page))
    assert {name: missing for name, found in figures.items() if (missing := set(found) - known)} == {}


# What Python, other projects and the tests have.
ELSEWHERE = ("alembic", "await", "nbgrader_config.py", "tests/test_project.py", "tests/checks/mutants.py")


def test_names_and_files_that_the_packages_texts_speak_of_are_there():
    """What is renamed is renamed in docstrings and comments, too."""
    docstring, comment = re.compile(r'"""(.*?)"""', re.S), re.compile(r"(?:^|\s)#.*", re.M)
    modules = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    texts = {place: " ".join([*docstring.findall(code), *comment.findall(code)]) for place, code in modules.items()}
    texts["README.md"] = (PACKAGE / "README.md").read_text(encoding="utf-8")
    known = {word for code in modules.values() for word in re.findall(r"\w+", comment.sub("", docstring.sub("", code)))}
    tools = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").rglob("*.py")]
    files = " ".join([*(f"/nst_helpers/{place}" for place in modules), *(f"/{tool}" for tool in tools)]) + " "
    for place, text in texts.items():
        for name in re.findall(r"`([A-Za-z_]\w{3,})`", text):
            assert name in known or name in ELSEWHERE, f"{place} speaks of {name}"
        for name in re.findall(r"(?<![\w./-])((?:[\w-]+/)*\w+\.py)\b", text):
            assert f"/{name} " in files or name in ELSEWHERE, f"{place} speaks of {name}"


def test_versions_agree():
    import nst_helpers

    version = pyproject()["project"]["version"]
    assert nst_helpers.__version__ == version
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]) == version
    assert re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[0] == version


def test_every_public_name_is_there_and_documented():
    import nst_helpers

    for name in nst_helpers.__all__:
        assert getattr(nst_helpers, name, None) is not None, name
        if callable(value := getattr(nst_helpers, name)):
            assert value.__doc__, name
            assert inspect.isclass(value) or ">>>" in value.__doc__, f"{name} has no example"


def test_every_public_method_and_function_of_a_module_is_documented():
    bare = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Module, ast.ClassDef)) and not getattr(node, "name", "").startswith("_"):
                defined = [part for part in node.body if isinstance(part, (ast.FunctionDef, ast.ClassDef))]
                bare += [f"{path.name}:{d.name}" for d in defined if d.name[0] != "_" and not ast.get_docstring(d)]
    assert bare == []


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
                for i, line in enumerate(path.read_text(errors="ignore", encoding="utf-8").splitlines(), 1)
                if bad.search(line)
            ]
    assert wrong == []
