"""Where the pretrained weights of VGG-19 come from, in which order, and what to do where they can't be had."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from ..io.sources import one_line
from . import download, torchvision
from .download import reason
from .files import VGG19_BLOCKS, load_state, pick, read_hed, read_kept, remembered, require_file, write_kept

__all__ = ["cache_folder", "read_hed", "resolve_vgg19"]

VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG19_FILE = "vgg19-dcbb9e9d.pth"
VGG19_SHA256 = "dcbb9e9d"  # as much of it as the publisher gives, in the file's name
CACHE_FILE = "vgg19_conv.safetensors"


def resolve_vgg19(*, progress: bool = True) -> dict[str, Tensor]:
    """Weights and biases of VGG-19's convolutions, `{"conv1_1.weight": (64, 3, 3, 3), "conv1_1.bias": (64,), ...}`.

    float32, contiguous, on the CPU. The first of these that is there is used, and none stands in for another silently:

    1. the file that the environment variable `NST_WEIGHTS` names (.safetensors or .pth, with our keys or
       torchvision's `features.N.*`); if it is wrong, that is an error;
    2. our cache of the convolutions alone, 80 MB, in `cache_folder()`;
    3. torchvision's own file in torch.hub's folder (or in `cache_folder()`), if its SHA-256 is right;
    4. a download (548 MiB) of `VGG19_URL`, or of the mirror in `NST_WEIGHTS_URL`, to `cache_folder()`.

    After 3 and 4 the cache is written, and the full file downloaded in 4 removed. A damaged file in 2 or 3 is
    left out with a warning. `progress` shows the download on standard output.

    Raises:
        WeightsError: what was missing or wrong, and how to bring the file by hand.

    >>> from unittest.mock import patch
    >>> with patch.dict("os.environ", NST_WEIGHTS="nowhere.pth"):
    ...     resolve_vgg19()
    Traceback (most recent call last):
    nst_helpers.errors.WeightsError: NST_WEIGHTS can't be used: there is no file nowhere.pth; ...
    """
    if named := os.environ.get("NST_WEIGHTS"):
        try:
            file = Path(named).expanduser()
            return pick(load_state(file), VGG19_BLOCKS, file)
        except RuntimeError as error:
            remedy = "name a .pth or .safetensors file of VGG-19 there, or unset it"
            raise WeightsError(f"NST_WEIGHTS can't be used: {reason(error)}; {remedy}.") from error
    folder = cache_folder()
    with contextlib.suppress(WeightsError):
        return read_kept(folder / CACHE_FILE, VGG19_BLOCKS)
    with _locked(folder, progress=progress):
        # Another process may have filled the cache while this one waited, so it is looked at again.
        return _search(folder, progress=progress)


def cache_folder() -> Path:
    """Where the package keeps what it fetched: `NST_CACHE`, else `nst_helpers` in the user's cache folder.

    >>> from unittest.mock import patch
    >>> with patch.dict("os.environ", NST_CACHE="elsewhere"):
    ...     cache_folder().name
    'elsewhere'
    """
    local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    try:
        if own := os.environ.get("NST_CACHE"):
            return Path(own).expanduser().absolute()
        base = Path(os.environ.get("XDG_CACHE_HOME") or local or "~/.cache")
        return base.expanduser().absolute() / "nst_helpers"
    except RuntimeError as error:
        advice = "set NST_CACHE to a folder that can be written"
        raise WeightsError(f"This account has no home folder to keep weights in: {advice}.") from error


def _search(folder: Path, *, progress: bool) -> dict[str, Tensor]:
    """Sources 2, 3 and 4; what comes from 3 or 4 is kept as 2."""
    cache, fresh = folder / CACHE_FILE, folder / VGG19_FILE
    damaged: list[str] = []
    for file in (cache, _hub_folder() / VGG19_FILE, fresh):
        if not os.path.lexists(file):
            continue
        try:
            if file == cache:
                return read_kept(cache, VGG19_BLOCKS)
            state = _read_full(file, folder)
        except WeightsError as error:
            damaged.append(reason(error))
            warnings.warn(f"{reason(error)}, so it isn't used.", stacklevel=3)
        else:
            _keep(state, cache)
            return state
    state = _download(fresh, damaged, progress=progress)
    if _keep(state, cache):
        with contextlib.suppress(OSError):
            fresh.unlink()
    return state


def _read_full(file: Path, folder: Path) -> dict[str, Tensor]:
    """torchvision's whole file, once its SHA-256 is right."""
    require_file(file)
    try:
        digest = remembered(file, folder, lambda: download.file_sha256(file))
    except OSError as error:
        raise WeightsError(f"{one_line(file)} can't be read ({reason(error)})") from error
    if not digest.startswith(VGG19_SHA256):
        begins = f"its SHA-256 begins with {digest[: len(VGG19_SHA256)]} and not {VGG19_SHA256}"
        raise WeightsError(f"{one_line(file)} is damaged ({begins}, most often because a download was cut short)")
    return pick(load_state(file), VGG19_BLOCKS, file)


def _download(target: Path, damaged: list[str], *, progress: bool) -> dict[str, Tensor]:
    url = _url()
    try:
        download.fetch(url, target, sha256=VGG19_SHA256, progress=progress)
        return pick(load_state(target), VGG19_BLOCKS, target)
    except (download.DownloadError, WeightsError) as error:
        why = "; ".join([reason(error), *damaged])
        raise WeightsError(
            f"The VGG-19 weights aren't on this machine and can't be downloaded ({why}): fetch {url} by other means "
            f"and put it as {VGG19_FILE} into {_hub_folder()}, or name such a file in the environment variable "
            'NST_WEIGHTS; load_encoder("mini") and load_encoder("hed") need no download.'
        ) from error


def _url() -> str:
    if url := os.environ.get("NST_WEIGHTS_URL"):
        return url
    try:
        return torchvision.torchvision_or_error().models.VGG19_Weights.IMAGENET1K_V1.url
    except (ImportError, AttributeError):
        return VGG19_URL


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _keep(state: dict[str, Tensor], cache: Path) -> bool:
    """Write the cache, and say whether that worked; a folder that can't be written is only worth a warning."""
    try:
        write_kept(state, cache, source=VGG19_FILE)
    except OSError as error:
        warnings.warn(
            f"The VGG-19 weights are used but can't be kept in {cache.parent} ({reason(error)}): set NST_CACHE to a "
            "folder that can be written, with 80 MB free.",
            stacklevel=4,
        )
        return False
    return True


@contextlib.contextmanager
def _locked(folder: Path, *, progress: bool) -> Iterator[None]:
    """One process at a time in the cache folder, so that two of them make one download."""
    import filelock

    with contextlib.ExitStack() as stack:
        # A folder where no lock can be had can't be written either: there is nothing to guard.
        with contextlib.suppress(OSError, NotImplementedError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(folder / "vgg19.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                if progress:
                    print("Waiting for another process that is fetching the VGG-19 weights.", flush=True)
                lock.acquire(poll_interval=0.2)
            stack.callback(lock.release)
        yield
