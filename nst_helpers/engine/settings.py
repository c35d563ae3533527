"""What a run depends on besides the pictures: every option with its default, its rule and its line of help.

`Settings` is the one source. The command line's options are made from it; the signatures of `stylize` and others are
held equal to it by a test. It loads without PyTorch, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .values import check_value

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..encoders import Encoder
    from ..losses import Convention
    from ..model import Weights

__all__ = [
    "BALANCES",
    "COLORS",
    "INITS",
    "LEARNING_RATES",
    "OPTIMIZERS",
    "SCHEDULES",
    "STROKES",
    "Option",
    "Settings",
    "options",
    "stroke_weights",
]

LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.03}
OPTIMIZERS = tuple(LEARNING_RATES)
SCHEDULES = ("constant", "step", "cosine")
INITS = ("content", "style", "noise")
COLORS = ("style", "content", "luminance")
BALANCES = ("weights", "gradients")
STROKES = {"fine": 0.5, "coarse": 2.0}  # a style layer's weight in that of the one before
# What the modules named here define, for those who can't wait for PyTorch; a test holds them equal.
PRECISIONS = ("auto", "float32", "bfloat16", "float16")  # accel.devices
CONVENTIONS = ("relative", "gatys", "pytorch")  # losses
VARIATIONS = ("l1", "l2")  # losses.total_variation
CONTENT_LAYERS = ("relu4_2",)  # model
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # model
CONTENT_WEIGHT, STYLE_WEIGHT, TV_WEIGHT = 1.0, 100.0, 50.0  # model.Weights


@dataclass(frozen=True)
class Option:
    """One option of a run: `kind` names its rule in `values`, `choices` are the words it may be."""

    name: str
    default: Any
    kind: str
    help: str
    choices: tuple[str, ...] = ()

    def check(self, value: Any, label: str | None = None) -> Any:
        """The value in its proper type, or a ValueError in one sentence that calls it by the label."""
        return check_value(self.kind, label or self.name, value, self.choices)


# "1 for lbfgs, 0.03 for adam"
_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())


def _rule(kind: str, help: str, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"kind": kind, "help": help, "choices": choices}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a run depends on besides the pictures; see `stylize` for more on each field.

    Settings that exist are valid: numbers come in their proper types, whatever they were given as.

    Raises ValueError in one sentence for a value that can't be used.

    >>> Settings(steps=1e2, style_weight=7).steps, Settings(style_weight=7) == Settings(style_weight=7.0)
    (100, True)
    >>> Settings(lr=-1)
    Traceback (most recent call last):
    ValueError: lr is -1, expected a number above 0, or None.
    """

    encoder: Encoder | str = field(
        default="mini",
        metadata=_rule("encoder", "the network: mini (in the package), vgg19, hed, or an encoder's file"),
    )
    steps: int | Sequence[int] = field(
        default=200,
        metadata=_rule("counts", "evaluations: shared out evenly among the scales, or a number for each of them"),
    )
    optimizer: str = field(default="lbfgs", metadata=_rule("choice", "who makes the steps", OPTIMIZERS))
    lr: float | None = field(default=None, metadata=_rule("rate", f"learning rate; where it is left out, {_RATES}"))
    lr_schedule: str = field(
        default="constant", metadata=_rule("choice", "how the learning rate falls during the run", SCHEDULES)
    )
    content_weight: float = field(default=CONTENT_WEIGHT, metadata=_rule("weight", "how much the content counts"))
    style_weight: float = field(default=STYLE_WEIGHT, metadata=_rule("weight", "how much the style counts"))
    tv_weight: float = field(
        default=TV_WEIGHT, metadata=_rule("weight", "how much total variation counts, which takes out fine noise")
    )
    tv_kind: str = field(
        default="l2", metadata=_rule("choice", "total variation of absolute or of squared differences", VARIATIONS)
    )
    content_layers: Sequence[str] = field(
        default=CONTENT_LAYERS, metadata=_rule("layers", "layers whose features hold the content")
    )
    style_layers: Sequence[str] = field(
        default=STYLE_LAYERS, metadata=_rule("layers", "layers whose Gram matrices hold the style")
    )
    layer_weights: Mapping[str, float] | str | None = field(
        default=None,
        metadata=_rule("layer weights", "weights of layers among their kind, 1 where none is given; or fine or coarse"),
    )
    style_mix: Sequence[float] | None = field(
        default=None, metadata=_rule("weights", "one weight for each style picture; equal where it is left out")
    )
    masks: Sequence[Tensor] | None = field(
        default=None, metadata=_rule("masks", "where each style picture paints: one mask of the photo for each")
    )
    style_masks: Sequence[Tensor | None] | None = field(
        default=None, metadata=_rule("masks", "the part of each style picture that counts: a mask of its own for each")
    )
    style_size: float | None = field(
        default=None,
        metadata=_rule("factor", "short side of the style, in those of the photo: less for finer strokes"),
    )
    color: str = field(default="style", metadata=_rule("choice", "whose colours, or the style's light alone", COLORS))
    content_map: Tensor | None = field(
        default=None, metadata=_rule("map", "how much the content counts at each position: a map of the photo's size")
    )
    balance: str = field(
        default="weights",
        metadata=_rule("choice", "weights as they are, or in units of each term's gradient for this pair", BALANCES),
    )
    convention: str | Convention = field(
        default="relative", metadata=_rule("choice or object", "which constants the losses are divided by", CONVENTIONS)
    )
    init: str | Tensor = field(default="content", metadata=_rule("choice or object", "the image to start from", INITS))
    seed: int = field(default=0, metadata=_rule("seed", "for the noise, where the run starts from it"))
    scales: Sequence[int] | None = field(
        default=None, metadata=_rule("scales", "short sides in pixels, from coarse to fine")
    )
    device: torch.device | str | None = field(
        default=None, metadata=_rule("device", "cpu, cuda or mps; the fastest there is where it is left out")
    )
    precision: str = field(default="auto", metadata=_rule("choice", "number format of the convolutions", PRECISIONS))
    compiled: bool = field(
        default=True, metadata=_rule("flag", "on a GPU, record the evaluation once and replay it; a CPU does without")
    )
    precondition: bool = field(
        default=False, metadata=_rule("flag", "let L-BFGS learn how far to go in each band of frequencies: fewer steps")
    )
    history_size: int = field(default=10, metadata=_rule("count", "steps that L-BFGS keeps; fewer take less memory"))
    tile: int | None = field(
        default=None,
        metadata=_rule("tile", "evaluate larger images in tiles of so many pixels: less memory, half as long again"),
    )
    size: int | str | None = field(
        default=None,
        metadata=_rule("size", "short side of all pictures in pixels, or fit for the largest that the memory holds"),
    )

    def __post_init__(self) -> None:
        for option in options().values():
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))
        if self.precondition and self.optimizer != "lbfgs":
            raise ValueError(f"precondition is made for lbfgs, not for {self.optimizer}: leave it out.")
        if not (self.content_layers or self.style_layers):
            raise ValueError("content_layers and style_layers are both empty, expected at least one layer.")
        if not (self._counts(self.content_layers, self.content_weight) or self.tv_weight) and not (
            self._counts(self.style_layers, self.style_weight)
        ):
            raise ValueError(
                f"content_weight, style_weight and tv_weight are {self.content_weight:g}, {self.style_weight:g} and "
                f"{self.tv_weight:g}, expected one above 0 that has layers: nothing would be optimised."
            )

    def _counts(self, layers: Sequence[str], weight: float) -> bool:
        """Whether a part of the loss can be more than 0."""
        return weight > 0 and any((self.weights_of_layers or {}).get(layer, 1.0) > 0 for layer in layers)

    @property
    def weights_of_layers(self) -> Mapping[str, float] | None:
        """`layer_weights` in numbers: "fine" strokes come from the first style layers, "coarse" ones from the last.

        >>> Settings(layer_weights="coarse", style_layers=["relu1_1", "relu2_1", "relu3_1"]).weights_of_layers
        {'relu1_1': 0.5, 'relu2_1': 1.0, 'relu3_1': 2.0}
        """
        weights = self.layer_weights
        return stroke_weights(weights, self.style_layers) if isinstance(weights, str) else weights

    @property
    def weights(self) -> Weights:
        """The weights of the three parts of the loss."""
        from ..model import Weights

        return Weights(self.content_weight, self.style_weight, self.tv_weight)

    @property
    def learning_rate(self) -> float:
        """`lr`, or the optimiser's own where that is None."""
        return LEARNING_RATES[self.optimizer] if self.lr is None else self.lr

    def in_tiles(self, size: tuple[int, int]) -> bool:
        """Whether an image of that height and width is evaluated in tiles.

        >>> [Settings(tile=tile).in_tiles((48, 80)) for tile in (64, 80, 0, None)]
        [True, False, False, False]
        """
        return self.tile is not None and max(size) > self.tile


def stroke_weights(word: str, layers: Sequence[str]) -> dict[str, float]:
    """The weights of style layers that a word stands for: each is as many times that of the layer before it."""
    ratio, middle = STROKES[word], (len(layers) - 1) / 2
    # By what follows the letters: "relu4_2" and "conv4_2" are both "4_2".
    in_order = sorted(layers, key=lambda layer: layer.lstrip("abcdefghijklmnopqrstuvwxyz"))
    return {layer: ratio ** (number - middle) for number, layer in enumerate(in_order)}


def options() -> dict[str, Option]:
    """Every option of a run by its name, in the order of `Settings`.

    >>> options()["optimizer"].choices, options()["seed"].check("7", "--seed")
    Traceback (most recent call last):
    ValueError: --seed is '7', expected a whole number.
    """
    return _OPTIONS


_OPTIONS = {f.name: Option(f.name, f.default, **f.metadata) for f in fields(Settings)}
