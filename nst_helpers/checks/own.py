"""The package's own answers: which functions do what an exercise asks for."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from .. import conventions, encoders, losses
from . import lessons

__all__ = ["OWN_ANSWERS", "own_functions"]

# The first of each is the answer that a solution shows; the others do the same elsewhere in the package.
OWN_ANSWERS: dict[str, tuple[Callable[..., Any], ...]] = {
    "pixel_distance": (lessons.pixel_distance,),
    "blend": (lessons.blend,),
    "to_tensor": (lessons.to_tensor,),
    "to_array": (lessons.to_array,),
    "normalize": (lessons.normalize, encoders.Normalization.forward),
    "denormalize": (lessons.denormalize,),
    "receptive_field": (lessons.receptive_field,),
    "content_loss": (losses.content_loss, losses.ContentLoss.forward),
    "gram_matrix": (losses.gram_matrix, losses.StyleLoss.forward, lessons.StyleLossLayer.forward),
    "style_loss": (losses.style_loss, losses.StyleLoss.forward),
    "content_loss_layer": (lessons.ContentLossLayer, losses.ContentLoss),
    "style_loss_layer": (lessons.StyleLossLayer, losses.StyleLoss),
    "total_loss": (lessons.total_loss,),
    "convert_style_weight": (conventions.convert_style_weight,),
    "make_closure": (lessons.make_closure,),
    "total_variation": (losses.total_variation, losses.TVLoss.forward),
    "weight_ladder": (lessons.weight_ladder,),
    "best_trades": (lessons.best_trades,),
    "match_color": (lessons.match_color,),
    "masked_gram": (lessons.masked_gram, losses.gram_matrix, losses.masked_gram_matrix),
}


def own_functions(name: str) -> list[types.FunctionType]:
    """The package's functions that answer an exercise; of a layer, its forward."""
    parts = (vars(part)["forward"] if isinstance(part, type) else part for part in OWN_ANSWERS[name])
    return [part for part in parts if isinstance(part, types.FunctionType)]
