"""The pictures of a run, as they come in: read where they are named, checked once, and large enough for the network."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..control.color import keep_color, match_color
from ..control.masks import check_mask
from ..encoders import Encoder
from ..errors import ImageError
from ..images import check_picture, load_image, resize
from ..regions import check_regions
from ..samples import list_samples, load_sample
from .plan import Stage, plan
from .settings import Settings

__all__ = [
    "MASKS",
    "PictureSource",
    "check_masks",
    "match_style_colors",
    "output_image",
    "own_copy",
    "plan_run",
    "read_picture",
    "read_pictures",
    "read_run",
]

MASKS = ("masks", "style_masks", "content_map")  # fields of `Settings` that hold tensors
# An image tensor, the name of a sample, or a picture file.
PictureSource = Tensor | str | os.PathLike[str]


def read_pictures(
    content: PictureSource, style: PictureSource | Sequence[PictureSource], settings: Settings
) -> tuple[Tensor, list[Tensor]]:
    """The content (1, 3, H, W) and the style pictures, each of its own size, checked.

    Files and samples are read at `settings.size`, where that is a number; tensors stay as they are.

    Raises ImageError in one sentence that names the picture.

    >>> import torch
    >>> content, styles = read_pictures("temple", [torch.rand(1, 3, 8, 8)], Settings(size=32))
    >>> min(content.shape[-2:]), styles[0].shape
    (32, torch.Size([1, 3, 8, 8]))
    """
    size = settings.size if isinstance(settings.size, int) else None
    sources = list(style) if isinstance(style, (list, tuple, Iterator)) else [style]
    if not sources:
        raise ImageError("style is an empty list, expected at least one picture: load_image gives one.")
    if isinstance(settings.init, Tensor):
        read_picture(settings.init, "init")
    elif not isinstance(settings.init, str):
        raise ImageError(f"init is a {type(settings.init).__name__}, expected an image tensor: use load_image.")
    names = ["style"] if len(sources) == 1 else [f"style {n}" for n in range(1, len(sources) + 1)]
    photo = read_picture(content, "content", size=size)
    styles = [read_picture(source, name, size=size) for name, source in zip(names, sources, strict=True)]
    check_masks(photo, styles, settings)
    return photo, styles


def read_run(
    content: PictureSource, style: PictureSource | Sequence[PictureSource], settings: Settings
) -> tuple[Tensor, list[Tensor], Settings]:
    """The pictures and the settings of a run, as `read_pictures` takes them, with tensors that nobody else changes."""
    photo, styles = read_pictures(content, style, settings)
    copies = {name: own_copy(getattr(settings, name)) for name in (*MASKS, "init")}
    return own_copy(photo), own_copy(styles), replace(settings, **copies)


def check_masks(content: Tensor, styles: Sequence[Tensor], settings: Settings) -> None:
    """Raise MaskError in one sentence unless the settings' masks fit the pictures, in their proportions at least."""
    check_regions(len(styles), settings.masks, settings.style_masks)
    for number, mask in enumerate(settings.masks or (), 1):
        check_mask(mask, like=content, name=f"mask {number}")
    if settings.content_map is not None:
        check_mask(settings.content_map, like=content, name="content_map", most=math.inf)
    for number, (part, style) in enumerate(zip(settings.style_masks or (), styles, strict=False), 1):
        if part is not None:
            check_mask(part, like=style, name=f"style mask {number}")


def match_style_colors(content: Tensor, styles: Sequence[Tensor], settings: Settings) -> list[Tensor]:
    """The style pictures as the run takes them: in the content's colours where `color` is "content"."""
    return [match_color(style, to=content) for style in styles] if settings.color == "content" else list(styles)


def output_image(image: Tensor, colors: Tensor | None) -> Tensor:
    """A picture of a run as it is handed out: clamped, on the CPU, and with the colours of another where there is one.

    >>> import torch
    >>> output_image(torch.full((1, 3, 2, 2), 1.5), None).max().item()
    1.0
    """
    image = image.detach().clamp(0, 1).cpu()
    return image if colors is None else keep_color(image, resize(colors.cpu(), (image.shape[-2], image.shape[-1])))


def read_picture(source: Any, name: str, *, size: int | None = None) -> Tensor:
    """One image (1, 3, H, W) from a tensor, the name of a sample or a file; `size` is for the last two.

    Raises ImageError, in which the picture is called by the name.

    >>> read_picture(None, "content")
    Traceback (most recent call last):
    nst_helpers.errors.ImageError: content is a NoneType, expected an image tensor (1, 3, H, W), ...
    """
    if isinstance(source, Tensor):
        image = check_picture(source, name=name)
        # Autograd can't use what was made in inference mode, except a copy that was made outside of it.
        return image.detach().clone() if image.is_inference() else image.detach()
    if isinstance(source, str) and source in list_samples() and not Path(source).is_file():
        return load_sample(source, size=size)
    if isinstance(source, (str, os.PathLike)):
        return load_image(source, size=size)
    raise ImageError(
        f"{name} is a {type(source).__name__}, expected an image tensor (1, 3, H, W), the name of a sample or a file: "
        "load_image makes a tensor of a picture file or its bytes."
    )


def own_copy(given: Any) -> Any:
    """A tensor's copy, or those of several; anything else as it is. The caller may go on to change it in place.

    >>> import torch
    >>> mask = torch.ones(1, 1, 2, 2)
    >>> (copied,) = own_copy((mask,))
    >>> copied is mask, bool((copied == mask).all())
    (False, True)
    """
    if isinstance(given, (list, tuple)):
        return type(given)(map(own_copy, given))
    return given.detach().clone() if isinstance(given, Tensor) else given


def plan_run(
    encoder: Encoder, content: tuple[int, int], styles: Iterable[tuple[int, int]], settings: Settings
) -> list[Stage]:
    """The scales of a run on pictures of these heights and widths; each picture is large enough at each of them.

    Raises LayerError for a layer that the encoder doesn't have, ImageError for a picture that is too small, and
    ValueError where the steps don't fit the scales.

    >>> from nst_helpers.encoders import load_encoder
    >>> plan_run(load_encoder("mini"), (12, 64), [(64, 64)], Settings())
    Traceback (most recent call last):
    nst_helpers.errors.ImageError: The content is 64 x 12 pixels, and relu5_1 needs at least 16 x 16: ...
    """
    style_layers = encoder.check_layers(settings.style_layers)
    layers = [*encoder.check_layers(settings.content_layers), *style_layers]
    stages = plan(content, settings)
    pictures = [("content", content, layers)]
    styles = list(styles)
    for number, size in enumerate(styles, 1):
        pictures.append(("style" if len(styles) == 1 else f"style {number}", size, style_layers))
    for stage in stages:
        factor = stage.size[0] / content[0]
        scaled = f" at the scale {min(stage.size)}" if settings.scales is not None else ""
        for name, size, used in pictures:
            height, width = stage.size if name == "content" else (max(1, round(n * factor)) for n in size)
            deepest, least = _least_side(encoder, used)
            if min(height, width) < least:
                raise ImageError(
                    f"The {name} is {width} x {height} pixels{scaled}, and {deepest} needs at least {least} x {least}: "
                    "take a larger picture or shallower layers."
                )
    return stages


def _least_side(encoder: Encoder, layers: Sequence[str]) -> tuple[str, int]:
    """The deepest of the layers, and the pixels that an image needs on each side to reach it."""
    if not layers:
        return "", 1
    names = encoder.layer_names
    deepest = max(layers, key=names.index)
    return deepest, 2 ** sum(name.startswith("pool") for name in names[: names.index(deepest) + 1])
