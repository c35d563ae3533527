"""Figures for the lessons: functions that return matplotlib Figures, and `show`, which displays one with its text."""

from __future__ import annotations

from .draw import bars, encode, feature_maps, heatmaps, lines, losses, pictures, show

__all__ = ["bars", "encode", "feature_maps", "heatmaps", "lines", "losses", "pictures", "show"]
