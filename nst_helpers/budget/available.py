"""How much memory there is: what is free, and what the limits of a container, a group or a shell leave of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

__all__ = ["is_out_of_memory", "memory_available", "memory_held"]

# How PyTorch, its allocator, oneDNN and the C++ library say that there is no memory left.
OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not create a memory object",
    "Cannot allocate memory",
)
# oneDNN says this where the memory for its code is missing, but for other reasons too.
NO_PRIMITIVE = "could not create a primitive"
LITTLE = 256 * 2**20  # bytes: with less than this free, memory is the reason


def memory_available(device: torch.device | str = "cpu", *, root: Path = Path("/")) -> int:
    """Bytes that a run may take here: free memory, or what a container's limit leaves of it; on a GPU, what is free.

    >>> memory_available() > 0
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        # What PyTorch holds without using it is given back first. To add it up would be wrong: the memory of a recorded
        # evaluation looks unused, and serves no other.
        with contextlib.suppress(RuntimeError):  # not while another thread records
            torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return max(0, min([psutil.virtual_memory().available, *_left_by_groups(root), *_left_by_address_space()]))


def memory_held(device: torch.device) -> int:
    """What the process, or this process on the GPU, holds now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the system, has no memory left for a tensor.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")), is_out_of_memory(RuntimeError("no kernel"))
    (True, False)
    """
    words = str(error)
    said = isinstance(error, RuntimeError) and any(sign in words for sign in OUT_OF_MEMORY_SIGNS)
    said = said or (words == NO_PRIMITIVE and memory_available() < LITTLE)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _left_by_address_space() -> Iterator[int]:
    """What `ulimit -v` leaves this process, where it is set."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms


def _left_by_groups(root: Path) -> Iterator[int]:
    """What the control groups of this process leave it, in either version of their files."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, limit, used, cache = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, cache = "sys/fs/cgroup/memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A limit further up holds too, and in a container the path may be that of the host.
        top, folder = root / base, root / base / path.lstrip("/")
        while True:
            try:
                left = int((folder / limit).read_text()) - int((folder / used).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield left + int(stat.get(cache, 0))  # files' pages are let go of when memory is short
            except (OSError, ValueError):
                pass  # no such group here, or "max": no limit
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent
