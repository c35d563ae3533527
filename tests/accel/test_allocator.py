"""Memory that was let go of goes back to the system when told, where the system can be told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nst_helpers.accel import allocator

HEAP = """
import torch
from nst_helpers.accel.allocator import release_memory

def held():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) // 1024

pieces = [torch.ones(2**16) for _ in range(1000)]  # 250 MB, each small enough for the heap
last = torch.ones(2**16)  # above them, so that the heap can't shrink by itself
del pieces
before = held()
release_memory()
print(before - held())
"""


@pytest.mark.skipif(allocator._library() is None, reason="another C library")
def test_the_systems_memory_comes_back():
    """In a process of its own: this one's heap has a past."""
    out = subprocess.run([sys.executable, "-W", "error", "-c", HEAP], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) > 200


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    allocator._library.cache_clear()
    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert allocator._library() is None
    allocator.release_memory()
    monkeypatch.undo()
    allocator._library.cache_clear()
