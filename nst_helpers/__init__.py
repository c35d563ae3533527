"""Neural style transfer, one idea at a time: the package behind the notebooks."""

from __future__ import annotations

import importlib
from typing import Any

from .checkpoints import CheckpointError
from .devices import choose_device, prepare
from .encoders import Encoder, Normalization, load_encoder
from .engine import Evaluation, Optimisation
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
from .settings import Settings

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
_LAZY = {
    "sweep": "sweeps",
    "check_fits": "estimates",
    "estimate": "estimates",
    "largest_size": "estimates",
    "build_tiled_model": "tiles",
    "checks": "checks",
    "conventions": "conventions",
    "figures": "figures",
    "lessons": "lessons",
    "RecipeError": "recipes",
    "StyleSession": "session",
    "panel": "panel",
    "replay": "recipes",
    "save_recipe": "recipes",
    "convert_style_weight": "conventions",
    "show_solution": "checks",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_LAZY[name]}", __name__)
    # A module of the same name as its function (panel) is callable, and stands for both.
    return module if name == _LAZY[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
