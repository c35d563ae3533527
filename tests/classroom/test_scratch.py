"""The temporary folder of a marking: who was killed leaves it behind, and the next one to start removes it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

from nst_helpers.classroom import scratch
from nst_helpers.classroom.scratch import ScratchFolder, remove_abandoned

OWNER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("scratch", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
folder = module.ScratchFolder()
(folder.path / "package").mkdir()
print(folder.path, flush=True)
sys.stdin.read()
"""

JUDGE = """
import sys, tempfile, time
from pathlib import Path
from nst_helpers.classroom import judge

class Server:
    isolation, why, made = "limits", "", 0
    def __init__(self, isolation):
        Server.made += 1
        self.seconds = Server.made  # to close a second one takes longer than the process has
        self.closed, self.path = False, Path(tempfile.mkdtemp(prefix="nst-"))
    def close(self):
        if not self.closed:
            self.closed = True
            time.sleep(self.seconds)
            self.path.rmdir()

def judging(server, request):
    while not server.closed:
        time.sleep(0.01)
    raise ConnectionError

judge.BoxServer, judge.judge_hand_in = Server, judging
judge.main("limits", int(sys.argv[1]))
"""
PARENT = """
import os, subprocess, sys
judge = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdin=subprocess.PIPE)
judge.stdin.write(b"{}\\n")
judge.stdin.flush()
print(judge.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder for this process and those that it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def owner() -> tuple[subprocess.Popen, Path]:
    """A process with a folder of its own."""
    command = [sys.executable, "-c", OWNER, scratch.__file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_uses_is_not(temporary):
    (killed, abandoned), (living, used) = owner(), owner()
    try:
        end(killed)
        assert (abandoned / "package").is_dir()
        mine = ScratchFolder()
        assert set(temporary.iterdir()) == {used, mine.path}
        assert (used / "package").is_dir()
        mine.close()
        assert set(temporary.iterdir()) == {used}
    finally:
        end(living)
    remove_abandoned()
    assert list(temporary.iterdir()) == []


def test_what_only_looks_like_a_left_folder_stays(temporary):
    """A folder that gets its lock at this moment, somebody's link to elsewhere, and a file."""
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / scratch._LOCK).touch()
    (temporary / f"{scratch.PREFIX}new").mkdir()
    (temporary / f"{scratch.PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{scratch.PREFIX}file").touch()
    before = set(temporary.rglob("*"))
    remove_abandoned()
    assert set(temporary.rglob("*")) == before


@pytest.mark.slow
def test_a_judge_whose_parent_is_killed_while_it_judges_makes_no_new_folder(temporary):
    command = [sys.executable, "-c", PARENT, JUDGE]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    judge = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 60
    while not list(temporary.glob("nst-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(temporary.glob("nst-*"))) == 1
    parent.kill()
    parent.wait()
    try:
        judge.wait(timeout=60)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            judge.kill()
        end(parent)
    assert list(temporary.glob("nst-*")) == []
