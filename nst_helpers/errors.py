"""The package's errors: each carries one sentence that says what came, what was expected and what to do."""

from __future__ import annotations

__all__ = ["ImageError", "LayerError", "MaskError", "NSTError", "WeightsError"]


class NSTError(Exception):
    """Anything a person can mend: the command line prints it as one sentence, without a traceback."""


class ImageError(NSTError, ValueError):
    """A picture, or an image tensor, that can't be used as it is."""


class LayerError(NSTError, ValueError):
    """A layer name that the network doesn't have, or that doesn't fit where it is used."""


class MaskError(NSTError, ValueError):
    """A mask or a map that can't be used: of another size than its picture, empty, or not one for each style."""


class WeightsError(NSTError, RuntimeError):
    """Pretrained weights that can't be found, fetched or trusted."""
