"""What a bug report needs to know of a machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator

__all__ = ["describe"]

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "matplotlib",
    "ipywidgets",
    "jupyterlab",
    "safetensors",
    "psutil",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")


def describe() -> Iterator[tuple[str, str]]:
    """Name and value of each line: versions, processor, memory, devices, threads. Nothing of it names the person.

    >>> sorted(dict(describe()).keys() & {"nst_helpers", "python", "torch", "processor", "threads"})
    ['nst_helpers', 'processor', 'python', 'threads', 'torch']
    """
    import psutil
    import torch

    from .. import __version__
    from ..accel.devices import has_bfloat16, processor_name

    yield "nst_helpers", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed"
    yield "processor", processor_name()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "cores", f"{os.cpu_count()}, {usable} of them for this process"
    yield "bfloat16", "matrix instructions" if has_bfloat16() else "no matrix instructions"
    memory = psutil.virtual_memory()
    yield "memory", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"
    yield "devices", ", ".join(_devices())
    chosen = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    yield "threads", ", ".join([str(torch.get_num_threads()), *chosen])


def _devices() -> Iterator[str]:
    import torch

    yield "cpu"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(index)
            yield f"cuda:{index} ({known.name}, {known.total_memory / 2**30:.0f} GiB)"
    if torch.backends.mps.is_available():
        yield "mps"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        yield "xpu"
