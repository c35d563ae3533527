"""Where and how to compute: the device, and the number format and memory layout of the convolutions.

By pairs at 256 px on one AVX512-BF16 core, an evaluation without channels last takes 1.65 times as long with `mini` and
1.05 times with VGG-19; in float32 in place of bfloat16 1.49 and 1.87 times (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import platform
import re
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ..encoders import Encoder
from ..errors import NSTError, WeightsError
from ..io.records import read_record
from ..pretrained.vgg19 import cache_folder
from .allocator import keep_memory
from .convolution import SplitConv
from .modes import plain_torch

__all__ = ["choose_device", "choose_precision", "has_bfloat16", "peak_memory", "prepare", "processor_name", "to_host"]

# The compute capability of the first GPUs with units for products of float16 matrices: Volta's.
FIRST_MATRIX_UNITS = (7, 0)
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for, else CUDA, else Apple's MPS, else the CPU; raises NSTError for one that can't be used.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device is not None:
        try:
            device = torch.device(device)
            torch.zeros(1, device=device).item()  # not from the device "meta", which holds no numbers
        except (RuntimeError, AssertionError, TypeError):
            raise NSTError(f"The device {str(device)!r} can't be used here: use 'cpu', or leave it out.") from None
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def has_bfloat16() -> bool:
    """Whether this processor has matrix instructions for bfloat16 (AMX or AVX512-BF16)."""
    return bool(
        getattr(torch.cpu, "_is_amx_tile_supported", bool)() or getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    )


def choose_precision(encoder: Encoder, device: torch.device, precision: str = "auto") -> torch.dtype:
    """The convolutions' number format: as asked, or else the fastest one that the device computes well in.

    A GPU with matrix units gets float16: as quick there as bfloat16, three binary digits finer, and a T4 has it too.
    The gradient is kept within its range (engine/scaling.py). On a CPU bfloat16 is timed against float32 for this
    encoder, which takes a fraction of a second and is remembered for the machine, so that the same run gives the same
    pixels next time. Raises ValueError for an unknown precision.

    >>> choose_precision(None, torch.device("cpu"), "float32")
    torch.float32
    """
    if precision not in PRECISIONS:
        raise ValueError(f"The precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.float16 if torch.cuda.get_device_capability(device) >= FIRST_MATRIX_UNITS else torch.float32
    if device.type != "cpu" or not has_bfloat16():
        return torch.float32
    key = f"{encoder.architecture.blocks} {encoder.pool} threads={torch.get_num_threads()} torch={torch.__version__}"
    return torch.bfloat16 if _bfloat16_is_faster(key, encoder) else torch.float32


@plain_torch()
def prepare(encoder: Encoder, *, device: torch.device | str | None = None, precision: str = "auto") -> Encoder:
    """A copy of the encoder for that device; on a CPU with channels last and, where it pays, bfloat16 convolutions.

    Gram matrices and losses stay in float32 (see losses.py); a float64 encoder stays float64 throughout. On a CPU the
    process keeps memory for the next evaluation from here on (allocator.py).

    >>> from nst_helpers.encoders import Architecture
    >>> toy = prepare(Encoder(Architecture("toy", ((4,),))), device="cpu", precision="bfloat16")
    >>> toy.layers["conv1_1"].weight.dtype
    torch.bfloat16
    """
    if not isinstance(encoder, Encoder):
        raise WeightsError(
            f"A {type(encoder).__name__} can't be prepared, expected an encoder: load_encoder gives one."
        )
    device = choose_device(device)
    if device.type == "cpu":
        keep_memory()
    double = encoder.layers["conv1_1"].weight.dtype == torch.float64
    if double and precision == "auto":
        precision = "float32"  # Nothing to choose, so nothing to measure.
    dtype = choose_precision(encoder, device, precision)
    return _converted(encoder, device, torch.float64 if double else dtype)


def _converted(encoder: Encoder, device: torch.device, dtype: torch.dtype) -> Encoder:
    # One parameter after the other: a copy of them all in the old format would stand beside the new.
    memo = {id(p): nn.Parameter(_moved(p, device, dtype), requires_grad=False) for p in encoder.layers.parameters()}
    encoder = copy.deepcopy(encoder, memo)
    # The images are float32, whatever the convolutions are, unless all is float64.
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    for name, buffer in encoder.normalize.named_buffers():
        setattr(encoder.normalize, name, buffer.detach().to(device, exact, copy=True))
    if dtype == torch.bfloat16 and device.type == "cpu":
        first = encoder.layers["conv1_1"]
        assert isinstance(first, nn.Conv2d)
        encoder.layers["conv1_1"] = SplitConv(first)
        encoder.normalize.output_dtype = None  # the split is of float32
    else:
        encoder.normalize.output_dtype = dtype
    return encoder


def _moved(parameter: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if parameter.ndim == 4 else torch.preserve_format
    return parameter.detach().to(device, dtype, copy=True, memory_format=layout)


def _bfloat16_is_faster(key: str, encoder: Encoder) -> bool:
    memory = cache_folder() / "precision.json"
    known = read_record(memory)
    key = f"{processor_name()} {key}"
    if not isinstance(known.get(key), bool):
        known[key] = _measure(key, encoder)
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(known, indent=1))
        except OSError:
            pass  # A read-only home costs a new measurement in the next process, nothing else.
    return known[key]


_measured: dict[str, bool] = {}


def _measure(key: str, encoder: Encoder) -> bool:
    if key not in _measured:
        deepest = next(n for n in reversed(encoder.layer_names) if n.startswith("relu"))
        seconds = {}
        for dtype in (torch.float32, torch.bfloat16):
            trial = _converted(encoder, torch.device("cpu"), dtype)
            image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
            times = []
            for _ in range(4):
                start = time.perf_counter()
                trial(image, [deepest])[deepest].float().sum().backward()
                times.append(time.perf_counter() - start)
            seconds[dtype] = min(times)
        # A tenth in favour of float32: it needs no trust in rounding.
        _measured[key] = seconds[torch.bfloat16] < 0.9 * seconds[torch.float32]
    return _measured[key]


@functools.cache
def processor_name() -> str:
    """What this machine's processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def to_host(numbers: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Numbers on their way to the CPU, and the event to wait for before they are read; None where they are there.

    Only CUDA has an event to wait for here, so only from there are they sent without waiting: a copy that is under way
    from another device would be read too early.

    >>> to_host(torch.tensor([1.0, 2.0]))
    (tensor([1., 2.]), None)
    """
    if not numbers.is_cuda:
        return numbers.to("cpu"), None
    numbers, arrived = numbers.to("cpu", non_blocking=True), torch.cuda.Event()
    arrived.record()
    return numbers, arrived


def peak_memory(device: torch.device) -> int | None:
    """The peak of memory used so far, in bytes: of the GPU, or of this process; None where that isn't known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        # Linux hands a process its parent's peak on the way; this one is its own.
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
