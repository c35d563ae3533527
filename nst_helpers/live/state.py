"""What a session is made of, as values: pictures by their hash, the knobs, encoders by name, the way to a picture."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import prepare
from ..encoders import Encoder, load_encoder
from ..engine.optimisation import LEARNING_RATES, OPTIMIZERS, Evaluation
from ..engine.settings import Settings
from ..errors import ImageError, LayerError
from ..images import check_image, load_image
from ..model import Weights
from ..samples import list_samples, load_sample

__all__ = ["FORMAT", "Knobs", "Lens", "Picture", "Snapshot", "Source", "Way", "as_picture", "losses_of", "version"]

FORMAT = 1  # of a recipe
WORDS = {"tv_weight": "total variation weight", "lr": "step size"}
Source = Tensor | str | os.PathLike[str] | bytes


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (1, 3, H, W) with a name and the hash that a recipe knows it by."""

    image: Tensor
    name: str
    sha256: str

    def told(self) -> dict[str, Any]:
        height, width = self.image.shape[-2:]
        return {"name": self.name, "sha256": self.sha256, "height": height, "width": width}


def as_picture(source: Source | Picture, name: str) -> Picture:
    """A picture from an image tensor, the name of a sample, or a file.

    >>> as_picture(torch.zeros(1, 3, 2, 4), "content").told()["width"]
    4
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Tensor):
        image = check_image(source, name=name).detach().float().cpu()
    elif isinstance(source, str) and source in list_samples():
        image, name = load_sample(source), source
    else:
        image, name = load_image(source), name if isinstance(source, bytes) else Path(source).stem
    if len(image) != 1:
        raise ImageError(f"{name} is a batch of {len(image)}, expected one picture: take {name}[:1].")
    return Picture(image, name, _sha256([image]))


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """All that can be turned while a picture is painted. `size` is the short side in pixels."""

    content_weight: float
    style_weight: float
    tv_weight: float
    layer_weights: dict[str, float]
    optimizer: str
    lr: float
    size: int
    encoder: str

    @property
    def weights(self) -> Weights:
        return Weights(self.content_weight, self.style_weight, self.tv_weight)

    def changed(self, changes: Mapping[str, Any], *, lens: Lens | None = None) -> Knobs:
        """These knobs after some changes; raises ValueError, LayerError or WeightsError for what can't be set."""
        changes = dict(changes)
        if unknown := sorted(set(changes) - set(asdict(self))):
            there = ", ".join([*asdict(self), "content", "style"])
            raise ValueError(f"There is nothing called {', '.join(unknown)} to set: choose among {there}.")
        if stray := sorted(set(changes.get("layer_weights", {})) - set(self.layer_weights)):
            raise LayerError(
                f"The weights name {', '.join(stray)}, which have no style loss: use {', '.join(self.layer_weights)}."
            )
        if isinstance(changes.get("encoder"), Encoder):
            changes["encoder"] = lens.add(changes["encoder"])
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            changes.setdefault("lr", LEARNING_RATES.get(changes["optimizer"], 1.0))
        layers = {k: _number(k, v) for k, v in {**self.layer_weights, **changes.pop("layer_weights", {})}.items()}
        if layers and not any(layers.values()):
            raise ValueError("All style layers have the weight 0: leave one above it, or set style_weight=0.")
        new = replace(self, **changes, layer_weights=layers)
        if new.optimizer not in OPTIMIZERS:
            raise ValueError(f"The optimizer {new.optimizer!r} is unknown: use one of {', '.join(OPTIMIZERS)}.")
        numbers = {k: _number(k, getattr(new, k)) for k in ("content_weight", "style_weight", "tv_weight", "lr")}
        if new.lr <= 0:
            raise ValueError(f"lr is {new.lr!r}, expected a number above 0.")
        return replace(new, **numbers)

    def since(self, before: Knobs) -> dict[str, Any]:
        """What differs from earlier knobs, by name."""
        old, new = asdict(before), asdict(self)
        different = {k: v for k, v in new.items() if v != old[k]}
        if "layer_weights" in different:
            was = old["layer_weights"]
            different["layer_weights"] = {k: v for k, v in new["layer_weights"].items() if v != was[k]}
        return different

    def told_since(self, before: Knobs) -> list[str]:
        """What differs from earlier knobs, in words."""
        old, words = asdict(before), []
        for key, value in self.since(before).items():
            pairs = value.items() if key == "layer_weights" else [(WORDS.get(key, key.replace("_", " ")), value)]
            for name, now in pairs:
                was = old[key][name] if key == "layer_weights" else old[key]
                words.append(f"{name} {_short(was)} to {_short(now)}")
        return words


class Lens:
    """The encoders of a session, each prepared once: by the names that `load_encoder` knows, or handed over."""

    def __init__(self, encoder: Encoder | str, *, device: torch.device | str | None, precision: str) -> None:
        self.device, self.precision = device, precision
        self._prepared: dict[str, Encoder] = {}
        self._sha256: dict[str, str] = {}
        self.name = self.add(encoder) if isinstance(encoder, Encoder) else encoder

    def add(self, encoder: Encoder) -> str:
        """Take an encoder in; returns the name it goes by."""
        name = encoder.architecture.name
        self._prepared[name] = prepare(encoder, device=self.device, precision=self.precision)
        self._sha256[name] = _sha256(encoder.state_dict().values())
        return name

    def encoder(self, name: str) -> Encoder:
        if name not in self._prepared:
            encoder = load_encoder(name)
            self._prepared[name] = prepare(encoder, device=self.device, precision=self.precision)
            self._sha256[name] = _sha256(encoder.state_dict().values())
        return self._prepared[name]

    def settings(self, knobs: Knobs, **layers: Sequence[str]) -> Settings:
        """What a run with such knobs depends on, as far as it costs time or memory."""
        options = {"device": self.device, "precision": self.precision, "optimizer": knobs.optimizer}
        return Settings(encoder=self.encoder(knobs.encoder), size=knobs.size, **options, **layers)

    def told(self) -> dict[str, dict[str, str]]:
        """Of each encoder used so far: the hash of its weights, its pooling and its number format."""
        return {
            name: {
                "sha256": self._sha256[name],
                "pool": encoder.pool,
                "precision": str(encoder.layers["conv1_1"].weight.dtype).removeprefix("torch."),
            }
            for name, encoder in self._prepared.items()
        }


@dataclass
class Way:
    """How a picture came to be: what it was started with, the changes on the way and the evaluations made."""

    start: Knobs
    content: Picture
    style: Picture
    init: str
    seed: int
    changes: list[dict[str, Any]] = field(default_factory=list)
    history: list[Evaluation] = field(default_factory=list)

    def copy(self) -> Way:
        return replace(self, changes=list(self.changes), history=list(self.history))

    def recipe(self, lens: Lens, options: Mapping[str, Any]) -> dict[str, Any]:
        """The way as JSON values, copied, so that the session may go on."""
        recipe = {
            "recipe": FORMAT,
            "nst_helpers": version(),
            "content": self.content.told(),
            "style": self.style.told(),
            "start": {**asdict(self.start), "init": self.init, "seed": self.seed, **options},
            "changes": self.changes,
            "steps": len(self.history),
            "encoders": lens.told(),
            "made_with": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        }
        return json.loads(json.dumps(recipe))


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A picture kept from a session, (1, 3, H, W), with its settings and the way to it."""

    number: int
    image: Tensor
    losses: dict[str, Any]
    knobs: Knobs
    pictures: tuple[Picture, Picture]
    way: Way
    recipe: dict[str, Any]

    @property
    def step(self) -> int:
        return len(self.way.history)


def losses_of(made: Evaluation) -> dict[str, Any]:
    """An evaluation's losses in short: the weighted total, and what no weight changes, each as one number."""
    content, style = (sum(part.values()) / len(part) if part else 0.0 for part in (made.content, made.style))
    rest = {"content": content, "style": style, "tv": made.tv, "layers": dict(made.style)}
    return {"step": made.step, "total": made.loss, **rest}


def version() -> str:
    """The package's version, which a recipe is bound to."""
    return importlib.import_module(__package__.partition(".")[0]).__version__


def _sha256(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _number(name: str, value: Any) -> float:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if not ok:
        raise ValueError(f"{name.replace('_', ' ')} is {value!r}, expected a number of 0 or more.")
    return float(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
