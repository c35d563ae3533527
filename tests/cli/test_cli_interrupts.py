"""Ctrl-C, SIGTERM and a closed terminal: what each finds and what it leaves, from the first moment to the last."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import picture
from forked import Forked

from nst_helpers import load_image, save_image
from nst_helpers.__main__ import main, program
from nst_helpers.cli.interrupts import Interrupts
from nst_helpers.engine.interrupts import hold_interrupts

ROOT = Path(__file__).parents[2]
ASKS_TO_END = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by their numbers")


def command(folder: Path, *more: str, size: str = "32", steps: str = "100000") -> list[str]:
    save_image(picture(48, 60), folder / "photo.png")
    save_image(picture(40, 40, 1), folder / "painting.png")
    words = ["photo.png", "painting.png", "-o", "out.png", "--device", "cpu", "--precision", "float32"]
    return [sys.executable, "-m", "nst_helpers", *words, "--size", size, "--steps", steps, *more]


STARTED: list[subprocess.Popen[str] | Forked] = []


def start_loaded(folder: Path, *more: str, **options) -> Forked:
    """The program in a process that has PyTorch loaded: it paints at once."""
    STARTED.append(Forked(folder, run_program, folder, command(folder, *more, **options)[3:]))
    return STARTED[-1]


def run_program(folder: Path, words: list[str]) -> None:
    os.chdir(folder)
    for number in ASKS_TO_END:  # as a shell starts a program, whatever the tests' own process was told to ignore
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv[1:] = words
    program()


# `python -m nst_helpers`, with a file that appears as soon as signals are heard.
TOLD = """
import contextlib, pathlib
from nst_helpers.__main__ import program
from nst_helpers.cli.interrupts import Interrupts
plain = Interrupts.heard
@contextlib.contextmanager
def heard(self):
    with plain(self):
        pathlib.Path("heard").touch()
        yield
Interrupts.heard = heard
program()
"""


def start(folder: Path, *more: str, **options) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder, "env": env}
    words = command(folder, *more, **options)
    STARTED.append(subprocess.Popen([words[0], "-c", TOLD, *words[3:]], **pipes))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test_or_is_deaf():
    before = signal.signal(ASKS_TO_END[-1], signal.SIG_DFL)  # nohup, under which the tests may run, has it ignored
    yield
    signal.signal(ASKS_TO_END[-1], before)
    for process in STARTED:
        if process.poll() is None:
            process.kill()
        process.communicate()
    STARTED.clear()


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists(), process.communicate(timeout=10) if process.poll() is not None else "still running"


def is_whole_or_not_there(folder: Path) -> bool:
    """Whether the picture is there, whole; nothing half-made may stand beside it."""
    assert [p.name for p in folder.iterdir() if p.name.endswith(".tmp")] == []
    if not (folder / "out.png").exists():
        return False
    assert load_image(folder / "out.png").shape[1] == 3
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", ASKS_TO_END)
def test_each_saves_what_there_is_and_exits_with_130(tmp_path, number):
    process = start_loaded(tmp_path, "--save-every", "5")
    wait_for(tmp_path / "out_0005.png", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "interrupted" in out.splitlines()[-1]
    assert is_whole_or_not_there(tmp_path)
    assert (tmp_path / "out.png.checkpoint").is_file()


@pytest.mark.slow
def test_from_the_first_moment_on_it_ends_with_130_and_one_true_line(tmp_path):
    """At three moments of the first seconds: importing, with PyTorch half loaded, reading and estimating.

    While it paints, the tests before and after this one send them.
    """
    for moment in (0.0, 0.9, 2.0):
        for name in ("heard", "out.png", "out.png.checkpoint"):
            (tmp_path / name).unlink(missing_ok=True)
        process = start(tmp_path, "--quiet")
        wait_for(tmp_path / "heard", process)  # until then they are the interpreter's
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, (moment, out, err)
        saved = is_whole_or_not_there(tmp_path)
        said = (out + err).splitlines()
        assert len(said) == 1, (moment, said)
        assert ("nothing was saved" in said[0]) != saved, (moment, said)
        assert (tmp_path / "out.png.checkpoint").exists() == saved


@pytest.mark.slow
def test_a_second_one_and_a_third_still_save(tmp_path):
    process = start(tmp_path, "--save-every", "5", "--quiet")
    wait_for(tmp_path / "out_0005.png", process)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (said,) = (out + err).splitlines()
    assert "nothing was saved" not in said
    assert is_whole_or_not_there(tmp_path)
    assert (tmp_path / "out.png.checkpoint").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_run_killed_again_and_again_ends_with_the_same_pixels(tmp_path, monkeypatch, capsys):
    """Killed while it writes pictures and checkpoints at each step, and resumed each time from what is there."""
    monkeypatch.chdir(tmp_path)
    more = ["--save-every", "1", "--resume"]
    words = command(tmp_path, *more, steps="12")[3:]
    assert main(words) == 0
    expected = (tmp_path / "out.png").read_bytes()
    for path in tmp_path.glob("out*"):
        path.unlink()
    chance = random.Random(0)
    for step in (3, 8):
        process = start_loaded(tmp_path, *more, steps="12")
        wait_for(tmp_path / f"out_{step:04d}.png", process)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.communicate(timeout=60)
    assert main(words) == 0
    assert (tmp_path / "out.png").read_bytes() == expected
    capsys.readouterr()


def test_resume_goes_on_without_save_every(tmp_path, monkeypatch, capsys):
    """Ctrl-C keeps a checkpoint, and the resumed run ends with the picture of a run that was never stopped."""
    monkeypatch.chdir(tmp_path)
    words = command(tmp_path, "--optimizer", "adam", steps="8")[3:]
    assert main(words) == 0
    expected = (tmp_path / "out.png").read_bytes()
    assert not (tmp_path / "out.png.checkpoint").exists()
    assert main(words, interrupts=Stops(after=5)) == 130
    assert (tmp_path / "out.png.checkpoint").is_file()
    assert main([*words, "--resume"]) == 0
    assert (tmp_path / "out.png").read_bytes() == expected
    assert not (tmp_path / "out.png.checkpoint").exists()
    capsys.readouterr()


class Stops(Interrupts):
    """As if Ctrl-C had come after so many steps."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self.left = after

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        super().check()


def test_handlers_are_the_callers_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    heard = []
    old = {n: signal.signal(n, lambda *_: heard.append(1)) for n in ASKS_TO_END}
    mine = {n: signal.getsignal(n) for n in old}
    try:
        assert main(command(tmp_path, steps="2")[3:]) == 0
        assert {n: signal.getsignal(n) for n in old} == mine
        assert main(["none.png", "none.png", "-o", "x.png"]) == 2
        assert main(command(tmp_path, steps="9")[3:], interrupts=Stops(after=2)) == 130
        assert {n: signal.getsignal(n) for n in old} == mine
        assert heard == []
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    capsys.readouterr()


def test_it_runs_in_a_thread(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    codes, words = [], command(tmp_path, steps="2")[3:]
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join(60)
    assert codes == [0]
    assert is_whole_or_not_there(tmp_path)
    capsys.readouterr()


def raised(number: int = signal.SIGINT) -> bool:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("number", ASKS_TO_END)
def test_what_a_signal_does_in_each_phase(number):
    interrupts = Interrupts()
    with interrupts.heard():
        assert [raised(number), raised(number)] == [True, True]  # nothing to save yet
        interrupts.painting()
        interrupts.check()
        assert [raised(number), raised(number)] == [True, False]  # what follows the first one saves
        with pytest.raises(KeyboardInterrupt):  # should the first one have been lost
            interrupts.check()
        interrupts.saving()
        assert not raised(number)
        interrupts.check()


@pytest.mark.parametrize("number", ASKS_TO_END)
def test_a_step_under_way_ends_first_unless_one_more_comes(number):
    for signals, done in ((1, ["step"]), (2, [])):
        interrupts, made = Interrupts(), []
        with interrupts.heard():
            interrupts.painting()
            with pytest.raises(KeyboardInterrupt):
                held_step(number, signals, made)
        assert made == done


def held_step(number: int, signals: int, made: list[str]) -> None:
    with hold_interrupts():
        for _ in range(signals):
            signal.raise_signal(number)
        made.append("step")


def test_a_finished_run_writes_no_checkpoint(tmp_path, monkeypatch, capsys):
    """That of a large picture takes gigabytes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nst_helpers.engine.outputs.write_checkpoint", None)
    assert main(command(tmp_path, steps="2")[3:]) == 0
    assert not (tmp_path / "out.png.checkpoint").exists()
    capsys.readouterr()
