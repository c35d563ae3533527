"""Memory that is kept during a run: no new pages, given back afterwards, and no trace on other systems."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from nst_helpers.accel import allocator

LARGE = 40 * 2**20
here = pytest.mark.skipif(not allocator.keeps_memory(), reason="another C library")


def child(code):
    """What a process of its own prints: this one's heap has a past."""
    code = "import resource, torch\nfrom nst_helpers.accel.allocator import *\n" + textwrap.dedent(code)
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return [int(word) for word in out.stdout.split()]


TOOLS = f"""
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def held():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) // 1024

def new_pages(times=1):
    before = pages()
    for _ in range(times):
        torch.zeros({LARGE}, dtype=torch.uint8)
    return (pages() - before) // times
"""


@pytest.mark.skip(reason="fails on some machines and with one thread: not understood yet, the lever is under review")
@here
def test_tensors_take_no_new_pages_within_and_the_system_gets_them_back():
    usual, within, grown, left, after = child(
        TOOLS
        + """
torch.zeros(8)
usual, before = new_pages(3), held()
with kept_memory():
    new_pages(6)
    within, grown = new_pages(3), held() - before
print(usual, within, grown, held() - before, new_pages(3))
"""
    )
    assert usual > 1000
    assert within < usual / 20
    assert grown >= LARGE // 2**20 - 1
    assert left < 8
    assert after > 1000  # as before


@pytest.mark.skip(reason="fails on some machines and with one thread: not understood yet, the lever is under review")
@here
def test_the_last_of_several_runs_gives_it_back():
    first, last = child(
        TOOLS
        + """
one, two = kept_memory(), kept_memory()
one.__enter__(); two.__enter__()
new_pages(6)
one.__exit__(None, None, None)
first = new_pages(3)
two.__exit__(None, None, None)
print(first, new_pages(3))
"""
    )
    assert first < 100 < last


@here
@pytest.mark.parametrize("end", ["steps.close()", "del steps", "list(steps)", "stop(steps)"])
def test_a_run_gives_it_back_however_it_ends(end):
    (left,) = child(
        TOOLS
        + f"""
from nst_helpers import iterate
from nst_helpers.encoders import Encoder, Architecture

def stop(steps):
    try:
        steps.throw(KeyboardInterrupt)
    except KeyboardInterrupt:
        pass

picture = torch.rand(1, 3, 48, 48)
steps = iterate(picture, picture, encoder=Encoder(Architecture("toy", ((8,),))), steps=3, content_layers=["conv1_1"],
                style_layers=["relu1_1"], device="cpu", precision="float32")
step = next(steps)
del step
new_pages(6)
assert new_pages(3) < 100
{end}
print(new_pages(3))
"""
    )
    assert left > 1000


def test_elsewhere_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(allocator, "_library", lambda: None)
    assert not allocator.keeps_memory()
    with allocator.kept_memory():
        allocator.give_back()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    allocator._library.cache_clear()
    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert allocator._library() is None
    monkeypatch.undo()
    allocator._library.cache_clear()
