"""The guide's two commands for a container, as far as they can be tried without one."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nst_helpers.classroom.__main__ import _parser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def commands() -> list[list[str]]:
    """The words of the two lines."""
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(printf .*?)```", page, re.S)
    return [shlex.split(line) for line in block.splitlines()]


@pytest.mark.slow
def test_the_image_is_built_from_what_it_copies_and_nothing_else(commands, tmp_path):
    lines = commands[0][1].replace("\\n", "\n").splitlines()
    assert lines[0].startswith("FROM python:3.")
    for copy in (line.split()[1:] for line in lines if line.startswith("COPY ")):
        *sources, target = copy
        for source in sources:
            there = tmp_path / target.removeprefix("/") / ("" if len(sources) == 1 else source)
            there.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, there)
    assert lines[-1] == 'RUN pip install "/nst[classroom]"'
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t", "wheel"]
    done = subprocess.run(build, cwd=tmp_path / "nst", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {"nst_helpers/classroom/__main__.py", "nst_helpers/data/images.toml"} <= held
    assert any(name.endswith(".safetensors") for name in held)


def test_the_container_has_no_network_few_processes_and_cannot_write_to_the_hand_ins(commands):
    words = commands[1]
    image = words.index("nst-marking")
    options, inside = words[2:image], words[image + 1 :]
    assert words[:2] == ["docker", "run"]
    assert options[: options.index("-v")] == ["--rm", "--network", "none", "--memory", "8g", "--pids-limit", "300"]
    volumes = [options[i + 1] for i, word in enumerate(options) if word == "-v"]
    assert volumes == ["$PWD/course:/course", "$PWD/hand-ins:/in:ro"]
    assert inside[:3] == ["python", "-m", "nst_helpers.classroom"]
    marking = _parser().parse_args(inside[3:])
    assert (marking.command, marking.dir, marking.submissions) == ("mark", Path("/course"), Path("/in"))
