"""What several test files share: small networks and pictures from local generators."""

from __future__ import annotations

import os
import signal

import browser_lab
import gate  # before torch, whose threads it counts
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nst_helpers.encoders import Architecture, Encoder

quick = False  # whether the slow tests are left out
TOY = Architecture("toy", ((6, 6), (8,), (8,)), final_pool=False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return gate.processes(config)


def pytest_configure(config: pytest.Config) -> None:
    global quick
    quick = gate.is_quick(config)
    # What a shell runs in the background is deaf to Ctrl-C, and so would be all that the tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(gate.Gate())
    config.pluginmanager.register(browser_lab)
    config.pluginmanager.import_plugin("marking_fixtures")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the person's own cache."""
    monkeypatch.setenv("NST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("NST_PROGRESS", "off")
    for name in ("NST_WEIGHTS", "NST_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["NST_CACHE"]


@pytest.fixture
def toy() -> Encoder:
    return Encoder(TOY, seed=1)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform noise in [0, 1] from a generator of its own."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picture(height: int = 32, width: int = 40, seed: int = 0) -> torch.Tensor:
    """Smooth coloured blobs, (1, 3, H, W): more like a photo than noise is."""
    coarse = noise(1, 3, 4, 5, seed=seed)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def busy() -> float:
    """How many times as long as on an idle machine something may take by the clock: 1, or the load of a processor."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, load / (os.cpu_count() or 1))


def examples(number: int) -> int:
    """So many examples of a property in the whole gate, a fifth in the quick suite."""
    return max(5, number // 5) if quick else number


class Reads(TorchDispatchMode):
    """Counts the numbers that the interpreter asks a tensor for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
