"""Neural style transfer, one idea at a time: the package behind the notebooks.

The method is five files, in reading order: `images` (files and tensors), `encoders` (feature maps), `losses` (Gram
matrix, content, style, total variation), `model` (a network with losses in it), `optimize` (`stylize`, the whole run).

Beside them stand `regions` (masks and the losses that use them), `samples`, `conventions` and `errors`.

Behind the doors: `engine` (a running optimisation), `accel` (the same numbers sooner, or larger), `control` (colours,
regions, balance), `budget` (what a run will cost), `io` and `pretrained` (files and weights), `live` (session and
panel), `sweeps`, `checks`, `figures`, `cli` (the command line), `classroom`. README.md beside this file is the map.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import checks, conventions, figures
    from .accel.devices import choose_device, prepare
    from .accel.tiling import build_tiled_model
    from .budget.estimate import check_fits, estimate, largest_size
    from .checks import lessons, show_solution
    from .checks.claims import claim
    from .checks.progress import progress
    from .control.color import keep_color, match_color
    from .control.find import find_regions, match_regions
    from .control.maps import detail_map
    from .control.masks import load_mask
    from .conventions import convert_style_weight
    from .encoders import Encoder, Normalization, load_encoder
    from .engine.checkpoints import CheckpointError
    from .engine.evaluation import Evaluation
    from .engine.optimisation import Optimisation
    from .engine.settings import Settings
    from .errors import ImageError, LayerError, MaskError, NSTError, WeightsError
    from .images import check_image, check_output, load_image, resize, save_image
    from .live.panel import panel
    from .live.recipes import RecipeError, replay, save_recipe
    from .live.session import StyleSession
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
    from .sweeps.grid import sweep

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
    "MaskError",
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
    "claim",
    "content_loss",
    "conventions",
    "convert_style_weight",
    "detail_map",
    "estimate",
    "figures",
    "find_regions",
    "get_convention",
    "gram_matrix",
    "iterate",
    "keep_color",
    "largest_size",
    "lessons",
    "list_samples",
    "load_encoder",
    "load_image",
    "load_mask",
    "load_sample",
    "match_color",
    "match_regions",
    "panel",
    "prepare",
    "progress",
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

# Everything is loaded when it is first asked for: `--help` doesn't wait for PyTorch, a run not for matplotlib. The
# imports above say the same to type checkers and editors; a test holds the two equal.
_HOMES = {
    "choose_device": "accel.devices",
    "prepare": "accel.devices",
    "build_tiled_model": "accel.tiling",
    "check_fits": "budget.estimate",
    "estimate": "budget.estimate",
    "largest_size": "budget.estimate",
    "claim": "checks.claims",
    "progress": "checks.progress",
    "show_solution": "checks",
    "keep_color": "control.color",
    "match_color": "control.color",
    "find_regions": "control.find",
    "match_regions": "control.find",
    "detail_map": "control.maps",
    "load_mask": "control.masks",
    "convert_style_weight": "conventions",
    "Encoder": "encoders",
    "Normalization": "encoders",
    "load_encoder": "encoders",
    "CheckpointError": "engine.checkpoints",
    "Evaluation": "engine.evaluation",
    "Optimisation": "engine.optimisation",
    "Settings": "engine.settings",
    "ImageError": "errors",
    "LayerError": "errors",
    "MaskError": "errors",
    "NSTError": "errors",
    "WeightsError": "errors",
    "check_image": "images",
    "check_output": "images",
    "load_image": "images",
    "resize": "images",
    "save_image": "images",
    "panel": "live.panel",
    "RecipeError": "live.recipes",
    "replay": "live.recipes",
    "save_recipe": "live.recipes",
    "StyleSession": "live.session",
    "CONVENTIONS": "losses",
    "ContentLoss": "losses",
    "Convention": "losses",
    "StyleLoss": "losses",
    "TVLoss": "losses",
    "content_loss": "losses",
    "get_convention": "losses",
    "gram_matrix": "losses",
    "style_loss": "losses",
    "total_variation": "losses",
    "CONTENT_LAYERS": "model",
    "STYLE_LAYERS": "model",
    "StyleModel": "model",
    "Weights": "model",
    "build_model": "model",
    "style_targets": "model",
    "Result": "optimize",
    "Step": "optimize",
    "iterate": "optimize",
    "stylize": "optimize",
    "list_samples": "samples",
    "load_sample": "samples",
    "sample_info": "samples",
    "sweep": "sweeps.grid",
}
_MODULES = {"lessons": "checks.lessons"}
_FOLDERS_AND_FILES = (
    "accel", "budget", "checks", "control", "conventions", "encoders", "engine", "errors", "figures", "images", "io",
    "live", "losses", "model", "optimize", "pretrained", "regions", "samples", "sweeps",
)  # fmt: skip

# OpenMP's threads would spin while they wait, and take the processor from other programs. A short spin, a fraction of a
# millisecond, bridges most waits between two operations: without it an evaluation on an idle machine takes 1.5 times as
# long, with a tenth of it 1.1 times. The library reads this once, when PyTorch loads it (docs/performance.md).
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES or name in _FOLDERS_AND_FILES:
        found = importlib.import_module(f".{_MODULES.get(name, name)}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
