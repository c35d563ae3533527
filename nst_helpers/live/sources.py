"""Where a session's pictures and encoders come from, each known by a name and a hash."""

from __future__ import annotations

import copy
import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import prepare
from ..encoders import Encoder, load_encoder
from ..errors import ImageError
from ..images import check_picture, load_image
from ..samples import list_samples, load_sample

__all__ = ["EncoderCache", "NamedImage", "SessionSource", "is_one_source", "named_image", "sources_of"]

SessionSource = Tensor | str | os.PathLike[str] | bytes


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image (1, 3, H, W) in [0, 1] with its name and the hash that a recipe knows it by."""

    image: Tensor
    name: str
    sha256: str

    def describe(self) -> dict[str, Any]:
        """Name, hash, height and width, fit for JSON."""
        height, width = self.image.shape[-2:]
        return {"name": self.name, "sha256": self.sha256, "height": height, "width": width}

    @property
    def is_sample(self) -> bool:
        """Whether `load_sample` gives this very image under this name."""
        return self.name in list_samples() and self.sha256 == sha256_of([load_sample(self.name)])


def named_image(source: SessionSource | NamedImage, name: str) -> NamedImage:
    """An image tensor, the name of a sample, a file or its bytes, as an image of the session's own.

    `name` is for sources that have none. Raises ImageError for what is no single picture.

    >>> named_image(torch.zeros(1, 3, 2, 4), "content").describe()["width"]
    4
    """
    if isinstance(source, NamedImage):
        return source
    if isinstance(source, Tensor):
        # A copy: the caller may go on to change the tensor in place.
        image = check_picture(source, name=name).detach().to("cpu", torch.float32, copy=True)
    elif isinstance(source, str) and source in list_samples():
        image, name = load_sample(source), source
    else:
        image = load_image(source)
        name = Path(os.fsdecode(source)).stem if isinstance(source, (str, os.PathLike)) else name
    return NamedImage(image, name, sha256_of([image]))


def is_one_source(style: object) -> bool:
    """Whether this is one picture, and no list of several."""
    return isinstance(style, (Tensor, str, os.PathLike, bytes, NamedImage))


def sources_of(
    style: SessionSource | NamedImage | Sequence[SessionSource | NamedImage],
) -> list[SessionSource | NamedImage]:
    """The style pictures as a list, also where there is one. Raises ImageError for no picture, or an empty list."""
    if isinstance(style, (Tensor, str, os.PathLike, bytes, NamedImage)):
        return [style]
    try:
        styles = list(style)
    except TypeError:
        raise ImageError(f"style is a {type(style).__name__}, expected a picture or a list of them.") from None
    if not styles:
        raise ImageError("style is an empty list, expected at least one picture: load_image gives one.")
    return styles


class EncoderCache:
    """The encoders of a session, each prepared once: by the names that `load_encoder` knows, or handed over."""

    def __init__(self, *, device: torch.device | str | None = None, precision: str = "auto") -> None:
        self.device, self.precision = device, precision
        self._prepared: dict[str, Encoder] = {}
        self._sha256: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, encoder: Encoder, *, name: str | None = None, precision: str | None = None) -> str:
        """Take an encoder in; returns the name it goes by: its own, with a number if another one has that already."""
        sha256, base = sha256_of(encoder.state_dict().values()), name or encoder.architecture.name
        if encoder.dtype not in (torch.float32, torch.float64):  # `encoder.half()`: images would be coarse, too
            encoder = copy.deepcopy(encoder).float()
        known = {n: (self._sha256[n], e.pool, _dtype(e)) for n, e in self._prepared.items()}
        prepared = prepare(encoder, device=self.device, precision=precision or self.precision)
        name, number = base, 1
        while name in known and known[name] != (sha256, encoder.pool, _dtype(prepared)):
            number += 1
            name = f"{base} {number}"
        if name not in known:
            self._prepared[name], self._sha256[name] = prepared, sha256
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._prepared

    def encoder(self, name: str) -> Encoder:
        """The prepared encoder of that name, loaded if need be. Raises WeightsError where it can't be had."""
        if name not in self._prepared:
            loaded = load_encoder(name)  # outside the lock: a download takes minutes, and others go on meanwhile
            with self._lock:
                if name not in self._prepared:
                    self.add(loaded, name=name)
        return self._prepared[name]

    def describe(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The hash of the weights, the pooling and the number format of each of these encoders, fit for JSON."""
        return {
            name: {
                "sha256": self._sha256[name],
                "pool": self._prepared[name].pool,
                "precision": _dtype(self._prepared[name]),
            }
            for name in names
        }


def sha256_of(tensors: Iterable[Tensor]) -> str:
    """The hash of shapes and float32 values, the same on every device and in every layout."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _dtype(encoder: Encoder) -> str:
    """The number format of an encoder's convolutions, such as "float32"."""
    return str(encoder.get_parameter("layers.conv1_1.weight").dtype).removeprefix("torch.")
