"""Checks for the exercises: each names the mistake it recognises; and the solutions, the package's own source."""

from __future__ import annotations

from .exercises import (
    CHECKS,
    Solution,
    check_content_loss,
    check_content_loss_layer,
    check_convert_style_weight,
    check_denormalize,
    check_gram_matrix,
    check_make_closure,
    check_masked_gram,
    check_match_color,
    check_normalize,
    check_receptive_field,
    check_style_loss,
    check_style_loss_layer,
    check_to_array,
    check_to_tensor,
    check_total_loss,
    check_total_variation,
    checkpoint,
    show_solution,
)
from .verdicts import Verdict

__all__ = [
    "CHECKS",
    "Solution",
    "Verdict",
    "check_content_loss",
    "check_content_loss_layer",
    "check_convert_style_weight",
    "check_denormalize",
    "check_gram_matrix",
    "check_make_closure",
    "check_masked_gram",
    "check_match_color",
    "check_normalize",
    "check_receptive_field",
    "check_style_loss",
    "check_style_loss_layer",
    "check_to_array",
    "check_to_tensor",
    "check_total_loss",
    "check_total_variation",
    "checkpoint",
    "show_solution",
]
