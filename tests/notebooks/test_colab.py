"""The lessons on Google Colab, as far as that can be known without it.

`colab_versions.json` says what Colab's image holds; every core requirement has to be met by it. A simulation then runs
lesson 00 as Colab would: an empty folder, a `google.colab` package already imported, Colab's IPython, ipykernel and
ipywidgets, no `nst_helpers` until the setup cell has cloned and installed it. What it can't test is Colab's front-end.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from stored_pictures import pictures_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import notebook_setup  # noqa: E402

COLAB = json.loads((Path(__file__).with_name("colab_versions.json")).read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
PINNED = ("ipython", "ipykernel", "ipywidgets", "tornado")


def unmet(requirement: Requirement, versions: dict[str, str], along: set[str]) -> str | None:
    """What Colab lacks of a requirement; what torch or the kernel requires came along, in a version that suits it."""
    name = canonicalize_name(requirement.name)
    if name not in versions:
        return None if name in along else f"{requirement}, Colab has none"
    return None if Version(versions[name]) in requirement.specifier else f"{requirement}, Colab has {versions[name]}"


def required_by(package: str, extras: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """What an installed package requires here and now, with these of its extras: names, and the extras asked for."""
    found = [Requirement(line) for line in importlib.metadata.requires(package) or []]
    wanted = [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))]
    return {canonicalize_name(r.name): tuple(sorted(r.extras)) for r in wanted}


CAME_ALONG = {*required_by("torch"), *required_by("ipykernel")}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_colab_meets_the_requirement(requirement):
    assert unmet(requirement, COLAB["packages"], CAME_ALONG) is None


@pytest.mark.parametrize("line", ["torch>=2.12", "ipywidgets>=8", "numpy<2", "lpips"])
def test_a_requirement_that_colab_does_not_meet_is_seen(line):
    assert unmet(Requirement(line), COLAB["packages"], CAME_ALONG)


def test_colab_has_a_python_that_the_package_takes():
    assert Version(COLAB["python"]) in SpecifierSet(PROJECT["requires-python"])


# The simulation

STUB = {
    "sitecustomize.py": "import google.colab  # a Colab kernel has it loaded from the start\n",
    "google/__init__.py": "",
    "google/colab/__init__.py": "from . import drive, files, output\n",
    "google/colab/drive.py": "def mount(*args, **kwargs):\n    raise AssertionError('no lesson needs Drive')\n",
    "google/colab/output.py": "def enable_custom_widget_manager(*args):\n    raise AssertionError('not needed')\n",
    # As Colab's: blocks until files are chosen, saves them in the working folder, returns {name: bytes}.
    "google/colab/files.py": (
        "import os, pathlib\n\n\ndef upload(target_dir=''):\n"
        "    photo = pathlib.Path(os.environ['STUB_UPLOADS'])\n"
        "    pathlib.Path(photo.name).write_bytes(photo.read_bytes())\n"
        "    return {photo.name: photo.read_bytes()}\n\n\n"
        "def download(name):\n    assert pathlib.Path(name).is_file()\n"
    ),
}
FOREIGN = ("PYTHON", "VIRTUAL_ENV", "IPYTHON")
UNREACHABLE = re.compile(r"dns error|failed to lookup|error sending request|connect|timed? ?out|network|offline", re.I)


@dataclass
class Colab:
    """A place like a fresh Colab runtime: its Python, its working folder and its environment variables."""

    python: Path
    folder: Path
    env: dict[str, str]

    def run(self, code: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-c", code]
        return subprocess.run(command, cwd=self.folder, env=self.env | env, capture_output=True, text=True)

    def packages(self) -> dict[str, str]:
        code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        return json.loads(self.run(code).stdout)


def lend(packages: set[str], site: Path) -> None:
    """Link packages of this environment, and all that they require, into another one's site-packages."""
    there = {canonicalize_name(found.name) for found in importlib.metadata.distributions(path=[str(site)])}
    todo, done = [(name, ()) for name in packages], set()
    while todo:
        name, extras = wanted = todo.pop()
        if name in there or wanted in done:
            continue
        done.add(wanted)
        distribution = importlib.metadata.distribution(name)
        todo += required_by(name, extras).items()
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))


def build_environment(folder: Path) -> Path:
    """A virtual environment with Colab's kernel packages and this environment's torch; returns its Python."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("the Colab simulation builds its environment with uv, which is not on the path")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    pins = [f"{name}=={COLAB['packages'][name]}" for name in PINNED]
    install = [uv, "pip", "install", "--quiet", "--python", str(python), *pins, "pip", "hatchling>=1.26"]
    out = subprocess.run(install, capture_output=True, text=True)
    if out.returncode:  # what an earlier run has brought may do
        out = subprocess.run([*install, "--offline"], capture_output=True, text=True)
    if out.returncode and UNREACHABLE.search(out.stderr):
        pytest.skip(f"the package registry can't be reached for Colab's pins: {out.stderr.strip()[:300]}")
    assert out.returncode == 0, out.stderr
    site = next(folder.glob("lib/python*/site-packages"))
    lend({canonicalize_name(r.name) for r in REQUIREMENTS} - set(PINNED), site)
    return python


def publish(repository: Path) -> None:
    """A bare repository of the working tree as it is now, tagged; neither the tree nor anyone's settings change."""
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        env.pop(key, None)

    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
        subprocess.run(command, check=True, env=env, cwd=ROOT, capture_output=True)

    tree = [f"--git-dir={repository}", f"--work-tree={ROOT}"]
    git("init", "--quiet", "--bare", str(repository))
    git(*tree, "add", "--all")
    git(*tree, "commit", "--quiet", "--message", "the working tree")
    git(*tree, "tag", notebook_setup.TAG)


@pytest.fixture(scope="module")
def colab(tmp_path_factory) -> Colab:
    base = tmp_path_factory.mktemp("colab")
    for name, text in STUB.items():
        (base / "stub" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "stub" / name).write_text(text, "utf-8")
    for name in ("content", "tmp", "home"):
        (base / name).mkdir()
    python = build_environment(base / "venv")
    publish(base / "repo.git")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("NST_", "PIP_", *FOREIGN))}
    env = inherited | {
        "PYTHONPATH": str(base / "stub"),
        "NST_REPO": (base / "repo.git").as_uri(),
        "NST_CACHE": str(base / "tmp" / "cache"),
        "STUB_UPLOADS": str(ROOT / "data" / "content" / "astronaut.jpg"),
        "TMPDIR": str(base / "tmp"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the wrong way round: build with the hatchling that is there
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    return Colab(python, base / "content", env)


def client(colab: Colab, notebook: nbformat.NotebookNode, monkeypatch) -> NotebookClient:
    """A client whose kernel is the simulated Colab's."""
    kernel = colab.folder.parent / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True, exist_ok=True)
    argv = [str(colab.python), "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
    spec = {"argv": argv, "display_name": "Colab", "language": "python", "env": colab.env}
    (kernel / "kernel.json").write_text(json.dumps(spec), "utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(kernel.parents[1]))
    for name in set(os.environ) - set(colab.env):
        if name.startswith(("NST_", *FOREIGN)):
            monkeypatch.delenv(name)
    return NotebookClient(
        notebook,
        kernel_name="colab",
        timeout=600,
        store_widget_state=False,
        resources={"metadata": {"path": str(colab.folder)}},
    )


@pytest.mark.slow
def test_a_failed_installation_is_told_in_a_sentence_and_can_be_repeated(colab):
    """Before the package is there: no such repository, no such tag. Nothing stays in the working folder."""
    before = colab.packages()
    assert "nst-helpers" not in before
    assert {name: before[name] for name in PINNED} == {name: COLAB["packages"][name] for name in PINNED}
    missing = colab.run(notebook_setup.SETUP, NST_REPO=(colab.folder / "none.git").as_uri())
    last = missing.stderr.strip().splitlines()
    assert missing.returncode == 1
    assert any(line.startswith("RuntimeError: nst_helpers did not install, try again: ") for line in last)
    assert "none.git" in missing.stderr
    no_tag = colab.run(notebook_setup.SETUP.replace(notebook_setup.TAG, "v9.9.9"))
    assert "v9.9.9 not found" in no_tag.stderr
    assert list(colab.folder.iterdir()) == []
    assert colab.packages() == before


@pytest.mark.slow
def test_pip_would_install_the_package_and_nothing_else(colab):
    """With its requirements this time, and without an index: all of them are met by what is there."""
    url = f"git+{colab.env['NST_REPO']}@{notebook_setup.TAG}"
    command = [str(colab.python), "-m", "pip", "install", "--dry-run", "--no-index", url]
    out = subprocess.run(command, cwd=colab.folder, env=colab.env, capture_output=True, text=True)
    would = re.findall(r"^Would install (.*)$", out.stdout, re.M)
    assert would == [f"nst-helpers-{PROJECT['version']}"], out.stdout + out.stderr


@pytest.mark.slow
def test_the_quickstart_runs_on_a_simulated_colab(colab, monkeypatch):
    """From top to bottom without a photo; then with one from Colab's upload dialogue, and with an exercise solved.

    The pictures are small and quickly made. The lesson's claims are about those of full size, so they are left out, and
    the lesson's own run holds them.
    """
    before = colab.packages()
    nb = nbformat.read(ROOT / "notebooks" / "00_quickstart.ipynb", as_version=4)
    lesson = [cell for cell in nb.cells if cell.cell_type == "code"]
    settings = next(at for at, cell in enumerate(nb.cells) if "\nSTEPS = " in cell.source)
    small = nbformat.v4.new_code_cell("SIZE, STEPS = 64, 6\nnst.claim = lambda *claimed, **how: None")
    nb.cells.insert(settings + 1, small)
    where = nbformat.v4.new_code_cell("import os, sys\nprint(nst.__file__, os.listdir(), *sys.path, sep='\\n')")
    upload = nbformat.v4.new_code_cell("PHOTO = 'upload'\nprint(nst.load_image(my_photo(), size=64).shape)")
    exercise = next(cell.source for cell in lesson if "raise NotImplementedError" in cell.source)
    answer = re.sub(r"raise NotImplementedError\(.*\)", "return (picture - photo).abs().mean()", exercise)
    solved = nbformat.v4.new_code_cell(f"{answer}\n\nprint(nst.checks.check_pixel_distance(pixel_distance))")
    nb.cells += [where, upload, solved]
    client(colab, nb, monkeypatch).execute()
    assert colab.packages() == before | {"nst-helpers": PROJECT["version"]}
    assert lesson[0].source == notebook_setup.SETUP
    assert lesson[0].outputs == []
    outputs = [output for cell in lesson for output in cell.outputs]
    assert [o for o in outputs if o.get("name") == "stderr" or o.output_type == "error"] == []
    drawn = [picture for output in outputs for picture in pictures_of(output)]
    assert len(drawn) == sum("figures.show(" in cell.source for cell in lesson) > 0
    package, left, *path = where.outputs[0].text.splitlines()
    assert Path(package).is_relative_to(colab.python.parents[1])
    assert left == "[]"
    assert str(ROOT) not in path
    assert upload.outputs[0].text == "torch.Size([1, 3, 64, 64])\n"
    assert solved.outputs[0].text.startswith("right")
    assert [path.name for path in colab.folder.iterdir()] == ["astronaut.jpg"]
