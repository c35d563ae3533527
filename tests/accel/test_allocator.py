"""Memory that was let go of is kept during a run, and goes back to the system when told, where that can be told."""

from __future__ import annotations

import pytest
from forked import run_forked

from nst_helpers.accel import allocator

HEAP = """
import resource, torch
from nst_helpers.accel.allocator import keep_memory, release_memory

def held():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) // 1024

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [torch.ones(2**20) for _ in range(16)]  # of 4 MB each
    del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([new_pages() for _ in range(4)][-1])
keep_memory()
print([new_pages() for _ in range(4)][-1])
release_memory()
print(new_pages())

pieces = [torch.ones(2**16) for _ in range(1000)]  # 250 MB, each small enough for the heap
last = torch.ones(2**16)  # above them, so that the heap can't shrink by itself
del pieces
before = held()
release_memory()
print(before - held())
"""


@pytest.mark.slow
@pytest.mark.skipif(allocator._library() is None, reason="another C library")
def test_memory_that_is_kept_needs_no_new_pages_and_comes_back_when_it_is_released():
    """In a process of its own: this one's heap has a past."""
    before, kept, released, megabytes = map(int, run_forked(HEAP).split())
    assert kept < max(before, released) / 10
    assert released > 10
    assert megabytes > 200


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    allocator._library.cache_clear()
    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert allocator._library() is None
    allocator.keep_memory()
    allocator.release_memory()
    monkeypatch.undo()
    allocator._library.cache_clear()


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    monkeypatch.setattr(allocator, "_library", lambda: pytest.fail("asked to keep memory"))
    allocator.keep_memory()
