"""Neural style transfer, one idea at a time: the package behind the notebooks.

The method is five files, in reading order: `images` (files and tensors), `encoders` (feature maps), `losses` (Gram
matrix, content, style, total variation), `model` (a network with losses in it), `optimize` (`stylize`, the whole run).

Behind the doors: `engine` (a running optimisation), `accel` (the same numbers sooner, or larger), `budget` (what a run
will cost), `io` and `pretrained` (files and weights), `live` (session and panel), `sweeps`, `checks`, `figures`,
`classroom`. README.md beside this file is the map.
"""

from __future__ import annotations

import importlib
from typing import Any

from .accel.devices import choose_device, prepare
from .encoders import Encoder, Normalization, load_encoder
from .engine.checkpoints import CheckpointError
from .engine.optimisation import Evaluation, Optimisation
from .engine.settings import Settings
from .errors import ImageError, LayerError, NSTError, WeightsError
from .images import check_image, check_output, load_image, resize, save_image
from .losses import (
    CONVENTIONS,
    ContentLoss,
    Convention,
    StyleLoss,
    TVLoss,
    content_loss,
    get_convention,
    gram_matrix,
    style_loss,
    total_variation,
)
from .model import CONTENT_LAYERS, STYLE_LAYERS, StyleModel, Weights, build_model, style_targets
from .optimize import Result, Step, iterate, stylize
from .samples import list_samples, load_sample, sample_info

__version__ = "0.1.0"

__all__ = [
    "CONTENT_LAYERS",
    "CONVENTIONS",
    "STYLE_LAYERS",
    "CheckpointError",
    "ContentLoss",
    "Convention",
    "Encoder",
    "Evaluation",
    "ImageError",
    "LayerError",
    "NSTError",
    "Normalization",
    "Optimisation",
    "RecipeError",
    "Result",
    "Settings",
    "Step",
    "StyleLoss",
    "StyleModel",
    "StyleSession",
    "TVLoss",
    "Weights",
    "WeightsError",
    "build_model",
    "build_tiled_model",
    "check_fits",
    "check_image",
    "check_output",
    "checks",
    "choose_device",
    "content_loss",
    "conventions",
    "convert_style_weight",
    "estimate",
    "figures",
    "get_convention",
    "gram_matrix",
    "iterate",
    "largest_size",
    "lessons",
    "list_samples",
    "load_encoder",
    "load_image",
    "load_sample",
    "panel",
    "prepare",
    "replay",
    "resize",
    "sample_info",
    "save_image",
    "save_recipe",
    "show_solution",
    "style_loss",
    "style_targets",
    "stylize",
    "sweep",
    "total_variation",
]

# Loaded when first asked for: a run needs neither matplotlib nor the exercises' checks.
_MODULES = {"checks": "checks", "conventions": "conventions", "figures": "figures", "lessons": "checks.lessons"}
_LAZY = {
    "RecipeError": "live.recipes",
    "StyleSession": "live.session",
    "build_tiled_model": "accel.tiling",
    "check_fits": "budget.estimate",
    "convert_style_weight": "conventions",
    "estimate": "budget.estimate",
    "largest_size": "budget.estimate",
    "panel": "live.panel",
    "replay": "live.recipes",
    "save_recipe": "live.recipes",
    "show_solution": "checks",
    "sweep": "sweeps.grid",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{_MODULES[name]}", __name__)
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
