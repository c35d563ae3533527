"""Two versions of the package in turns: each side computes with its own checkout's code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_each_side_is_its_own_checkout(tmp_path):
    for part in ("nst_helpers", "data"):
        shutil.copytree(ROOT / part, tmp_path / part)
    with (tmp_path / "nst_helpers/engine/optimisation.py").open("a", encoding="utf-8") as file:
        file.write("""
plain = Optimisation.step
Optimisation.step = lambda self: (time.sleep(0.1), plain(self))[1]
import os
assert os.environ["OMP_NUM_THREADS"] == "2"  # chosen, so that it stays beside the other side
""")
    command = [sys.executable, "tools/measure/two_checkouts.py", str(tmp_path), ".", "--size", "64"]
    command += ["--threads", "2", "--pairs", "2", "--evaluations", "2"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    found = re.search(r"least ([\d.]+) and ([\d.]+) ms; the first takes [\d.]+ x", out.stdout)
    assert found, out.stdout
    slowed, plain = map(float, found.groups())
    assert slowed >= 100
    assert plain < slowed
