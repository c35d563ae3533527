"""What a session is made of, as values: the settings that may change, the log of a picture, snapshots."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder
from ..engine.evaluation import Evaluation
from ..engine.settings import LEARNING_RATES, Settings, options, stroke_weights
from ..engine.values import whole
from ..errors import LayerError
from ..model import Weights
from .control import Control, stored_masks
from .sources import EncoderCache, NamedImage

__all__ = [
    "RECIPE_FORMAT",
    "LiveSettings",
    "SessionLog",
    "Snapshot",
    "package_version",
    "plain_number",
    "summarize_losses",
]

RECIPE_FORMAT = 2
LARGEST_SIZE = 8192  # pixels: beyond what memory holds, so a slip of the keyboard
WORDS = {"tv_weight": "total variation weight", "lr": "step size"}


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """All that may change while a picture is painted. `size` is the short side in pixels."""

    content_weight: float = Weights.content
    style_weight: float = Weights.style
    tv_weight: float = Weights.tv
    layer_weights: dict[str, float]
    optimizer: str = Settings.optimizer
    lr: float = LEARNING_RATES[Settings.optimizer]
    color: str = Settings.color
    style_mix: tuple[float, ...] | None = None
    size: int
    encoder: str

    @property
    def weights(self) -> Weights:
        """The weights of content, style and total variation."""
        return Weights(self.content_weight, self.style_weight, self.tv_weight)

    def changed(self, changes: Mapping[str, Any], *, encoders: EncoderCache | None = None) -> LiveSettings:
        """These settings after some changes, in their proper types; an encoder handed over goes into `encoders`.

        The values have to follow the rules of `Settings`. Raises ValueError or LayerError for what can't be set.
        """
        changes = dict(changes)
        if unknown := sorted(set(changes) - set(asdict(self))):
            known = ", ".join([*asdict(self), "content", "style", "masks"])
            raise ValueError(f"There is nothing called {', '.join(unknown)} to set: choose among {known}.")
        rules = options()
        for name in changes.keys() - {"size"}:
            changes[name] = rules[name].check(changes[name])
        if "size" in changes:
            expected = "the short side in pixels, a whole number"
            changes["size"] = whole("size", changes["size"], least=1, most=LARGEST_SIZE, expected=expected)
        chosen = changes.pop("layer_weights", None) or {}
        if isinstance(chosen, str):
            chosen = dict(stroke_weights(chosen, list(self.layer_weights)))
        if stray := sorted(set(chosen) - set(self.layer_weights)):
            raise LayerError(
                f"The weights name {', '.join(stray)}, which have no style loss: use {', '.join(self.layer_weights)}."
            )
        layers = self.layer_weights | chosen
        if layers and not any(layers.values()):
            raise ValueError("All style layers have the weight 0: leave one above it, or set style_weight=0.")
        if isinstance(changes.get("encoder"), Encoder) and encoders is not None:
            changes["encoder"] = encoders.add(changes["encoder"])
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            changes.setdefault("lr", LEARNING_RATES[changes["optimizer"]])
        if changes.get("lr", self.lr) is None:
            changes["lr"] = LEARNING_RATES[changes.get("optimizer", self.optimizer)]
        return replace(self, **changes, layer_weights=layers)

    def since(self, before: LiveSettings) -> dict[str, Any]:
        """What differs from earlier settings, by name."""
        old, new = asdict(before), asdict(self)
        different = {k: v for k, v in new.items() if v != old[k]}
        if "layer_weights" in different:
            previous = old["layer_weights"]
            different["layer_weights"] = {k: v for k, v in new["layer_weights"].items() if v != previous[k]}
        return different

    def words_since(self, before: LiveSettings) -> list[str]:
        """What differs from earlier settings, in words."""
        old, words = asdict(before), []
        for key, value in self.since(before).items():
            pairs = value.items() if key == "layer_weights" else [(WORDS.get(key, key.replace("_", " ")), value)]
            for name, new_value in pairs:
                old_value = old[key][name] if key == "layer_weights" else old[key]
                words.append(f"{name} {_short(old_value)} to {_short(new_value)}")
        return words


@dataclass
class SessionLog:
    """How a picture came to be: what it was started with, the changes since, and the evaluations."""

    start: LiveSettings
    content: NamedImage
    style: NamedImage
    init: str
    seed: int
    control: Control = field(default_factory=Control)
    changes: list[dict[str, Any]] = field(default_factory=list)
    history: list[Evaluation] = field(default_factory=list)
    pictures: list[NamedImage] = field(default_factory=list)  # that took the place of earlier ones
    masks: list[Tensor | None] = field(default_factory=list)  # the same

    def copy(self) -> SessionLog:
        """A log of its own that starts with the same entries."""
        lists: dict[str, Any] = {name: [*getattr(self, name)] for name in ("changes", "history", "pictures", "masks")}
        return replace(self, **lists)

    def note(
        self,
        change: Mapping[str, Any],
        pictures: Mapping[str, NamedImage] | None = None,
        control: Control | None = None,
    ) -> None:
        """Note a change of settings, pictures by role and control, beside the number of evaluations it came after."""
        described = {role: picture.describe() for role, picture in (pictures or {}).items()}
        self.changes.append({"after": len(self.history), **change, **described})
        self.pictures += (pictures or {}).values()
        if control and "others" in change:
            self.pictures += control.others
        if control and "masks" in change:
            self.masks += control.masks or ()

    def recipe(self, encoders: EncoderCache, options: Mapping[str, Any]) -> dict[str, Any]:
        """The log as JSON values, copied, so that the session may go on."""
        used = [self.start.encoder, *(change["encoder"] for change in self.changes if "encoder" in change)]
        recipe = {
            "recipe": RECIPE_FORMAT,
            "nst_helpers": package_version(),
            "content": self.content.describe(),
            "style": self.style.describe(),
            "control": self.control.described(),
            "masks": stored_masks([*self.control.all_masks, *self.masks]),
            "start": {**asdict(self.start), "init": self.init, "seed": self.seed, **options},
            "changes": self.changes,
            "steps": len(self.history),
            "encoders": encoders.describe(dict.fromkeys(used)),
            "made_with": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        }
        return json.loads(json.dumps(recipe))


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A picture kept from a session, (1, 3, H, W) in [0, 1], with its settings, its log and its recipe."""

    number: int
    image: Tensor
    losses: dict[str, Any]
    settings: LiveSettings
    pictures: tuple[NamedImage, NamedImage]
    control: Control
    log: SessionLog
    recipe: dict[str, Any]
    canvas: Tensor  # what is being optimised: the image before it is given the photo's colours

    @property
    def step(self) -> int:
        """How many evaluations led to it."""
        return len(self.log.history)

    @property
    def own_pictures(self) -> list[NamedImage]:
        """The pictures that `replay` has to be given: all on the way that are no samples."""
        others = (*self.log.control.others, *self.log.pictures)
        used = {picture.sha256: picture for picture in (self.log.content, self.log.style, *others)}
        return [picture for picture in used.values() if not picture.is_sample]


def summarize_losses(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's losses in short: the weighted total, and the unweighted parts, each as one number."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return {
        "step": evaluation.step,
        "total": evaluation.loss,
        "content": mean([*evaluation.content.values()]),
        "style": mean([*evaluation.style.values()]),
        "tv": evaluation.tv,
        "layers": dict(evaluation.style),
    }


def package_version() -> str:
    """The package's version, which a recipe is bound to."""
    return str(importlib.import_module("nst_helpers").__version__)


def plain_number(value: float) -> str:
    """A weight in words: three digits that count, and all before the point, as a person would type it.

    >>> plain_number(0.0316), plain_number(100.0), plain_number(12345.678)
    ('0.0316', '100', '12346')
    """
    return f"{value:.0f}" if 1000 <= value < 1e9 else f"{value:.3g}"


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return ":".join(map(_short, value))
    return plain_number(value) if isinstance(value, float) else "none" if value is None else str(value)
