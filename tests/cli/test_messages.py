"""What is said: by every terminal, and with nobody there to read it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import picture
from forked import Forked

from nst_helpers import save_image
from nst_helpers.__main__ import main, program
from nst_helpers.cli.messages import SafeOutput

ROOT = Path(__file__).parents[2]


def words(folder: Path, out: str = "out.png") -> list[str]:
    save_image(picture(48, 60), folder / "photo.png")
    photo, small = str(folder / "photo.png"), ["--size", "24", "--steps", "2"]
    return [photo, photo, "-o", str(folder / out), *small, "--device", "cpu", "--precision", "float32"]


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class Closed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.close()


@pytest.mark.parametrize("stream", [None, Broken(), Closed()])
@pytest.mark.parametrize("quiet", [True, False])
def test_output_that_can_t_be_written_stops_no_run(tmp_path, monkeypatch, stream, quiet):
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([*words(tmp_path), *["--quiet"][:quiet]]) == 0
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize("more", [[], ["--quiet"]])
def test_a_run_that_goes_back_says_so_without_a_terminal(tmp_path, capsys, more):
    photo = save_image(picture(32, 32), tmp_path / "photo.png")
    words = [str(photo), str(photo), "-o", str(tmp_path / "out.png"), "--size", "32", "--steps", "12", *more]
    assert main([*words, "--init", "noise", "--optimizer", "adam", "--lr", "1e6", "--precision", "float32"]) == 0
    assert "back to the best image" in capsys.readouterr().out


def test_an_ascii_terminal_gets_every_message(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(words(tmp_path, "café.png")) == 0
    assert main([str(tmp_path / "naïve.png"), "wave", "-o", "x.png"]) == 2
    terminal.flush()
    said = terminal.buffer.getvalue().decode("ascii")
    assert r"caf\xe9.png: 30 x 24" in said
    assert r"na\xefve.png" in said


def test_a_stream_that_works_gets_the_text_as_it_is():
    stream = io.StringIO()
    out = SafeOutput(stream)
    out.say("one: café", "two")
    assert stream.getvalue() == "one: café\ntwo\n"
    assert not out.isatty()
    assert SafeOutput(None).write("lost") == 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("how", ["{} | true", "{} >&- 2>&-", "LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii {}"])
def test_a_program_ends_well_whatever_its_output_is(tmp_path, how):
    """A reader who has gone, all closed, a terminal without accents: the picture is made and 0 returned."""
    quoted = " ".join(f"'{word}'" for word in [sys.executable, "-m", "nst_helpers", *words(tmp_path, "é.png")])
    line = f"set -o pipefail; {how.format(quoted)}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "é.png").is_file()


def run_without_output(arguments: list[str]) -> None:
    os.close(1)
    sys.stdout = None  # as Python has it after `>&-`
    sys.argv[1:] = arguments
    program()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs descriptors as POSIX has them")
def test_a_program_whose_output_is_closed_says_nothing_on_the_other_one(tmp_path):
    process = Forked(tmp_path, run_without_output, words(tmp_path))
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0
    assert (tmp_path / "out.png").is_file()
