"""A session's controls over the result: further styles, where each of them paints, maps and the rest."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..engine.inputs import MASKS, own_copy
from ..engine.settings import Settings, options
from ..errors import MaskError
from ..regions import check_regions
from .sources import NamedImage, is_one_source, named_image, sha256_of, sources_of

__all__ = ["Control", "stored_masks", "unpacked_masks"]

MOST_PIXELS = 2**22  # of a mask that a recipe holds itself


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """The style pictures beside the first one, and the fields of `Settings` that no slider turns.

    `masks` has one for each style picture, or None for a picture that paints nowhere.

    >>> Control(style_size=0.5).described()
    {'style_size': 0.5}
    """

    others: tuple[NamedImage, ...] = ()
    masks: Sequence[Tensor | None] | None = None
    style_masks: Sequence[Tensor | None] | None = None
    style_size: float | None = None
    content_map: Tensor | None = None
    balance: str = Settings.balance

    def __post_init__(self) -> None:
        for name in (*MASKS, "style_size", "balance"):
            object.__setattr__(self, name, options()[name].check(getattr(self, name)))
        if self.masks is not None and not any(mask is not None for mask in self.masks):
            raise MaskError("No style paints anywhere: give one of them a mask at least, or leave masks out.")
        # Copies: the caller may go on to change the tensors in place.
        for name in MASKS:
            object.__setattr__(self, name, own_copy(getattr(self, name)))

    @property
    def all_masks(self) -> list[Tensor | None]:
        """Every mask and map."""
        return [mask for name in MASKS for mask in _listed(getattr(self, name))]

    @property
    def given(self) -> dict[str, Any]:
        """The fields of `Settings` that are held here, one entry for each style picture where they are lists."""
        return {name: getattr(self, name) for name in (*MASKS, "style_size", "balance")}

    def painting(self, styles: Sequence[Any]) -> list[Any]:
        """What belongs to the style pictures that paint somewhere, of `styles`, which has one entry for each picture.

        Raises MaskError unless there is one mask for each, where there are masks.
        """
        check_regions(len(styles), self.masks, self.style_masks)
        return [style for style, mask in zip(styles, self.masks or styles, strict=True) if mask is not None]

    def settings(self, style_mix: Sequence[float] | None) -> dict[str, Any]:
        """The fields of `Settings` for the style pictures that paint somewhere, their mix among them."""
        lists = {"masks": self.masks, "style_masks": self.style_masks, "style_mix": style_mix}
        for name, values in lists.items():
            if values is not None and len(values) == len(self.others) + 1:
                lists[name] = tuple(self.painting(values))
        return {**self.given, **lists}

    def described(self) -> dict[str, Any]:
        """The controls that differ from their defaults, fit for JSON: pictures and masks by hash."""
        plain, given = Control().given, self.given
        found = {name: value for name, value in given.items() if name not in MASKS and value != plain[name]}
        for name in MASKS:
            if given[name] is not None:
                found[name] = [_hashed(mask) for mask in _listed(given[name])]
        return found | ({"others": [picture.describe() for picture in self.others]} if self.others else {})

    def changed(self, changes: dict[str, Any]) -> tuple[Control, dict[str, NamedImage]]:
        """The control after some changes, and the new first pictures by role; takes what it uses out of `changes`."""
        control, pictures = self, {}
        if "content" in changes:
            pictures["content"] = named_image(changes.pop("content"), "content")
        if "style" in changes:
            given = changes.pop("style")
            pictures["style"], *others = [named_image(source, "style") for source in sources_of(given)]
            if not is_one_source(given):
                if len(others) != len(self.others):
                    changes.setdefault("style_mix", None)
                control = replace(control, others=tuple(others))
        if "masks" in changes:
            control = replace(control, masks=changes.pop("masks"))
        return control, pictures

    def since(self, before: Control) -> tuple[dict[str, Any], list[str]]:
        """How styles and masks differ from those of an earlier control: as a recipe holds it, and in words."""
        different: dict[str, Any] = {}
        words = []
        was, now = before.described(), self.described()
        if was.get("others") != now.get("others"):
            different["others"] = now.get("others", [])
            old, new = (", ".join(picture.name for picture in one.others) or "none" for one in (before, self))
            several = max(len(before.others), len(self.others)) > 1
            words.append(f"{'further styles' if several else 'second style'} {old} to {new}")
        if was.get("masks") != now.get("masks"):
            different["masks"] = now.get("masks")
            words.append("regions " + ("gone" if self.masks is None else "set" if before.masks is None else "changed"))
        return different, words

    @classmethod
    def found(cls, described: Mapping[str, Any], others: Sequence[NamedImage], masks: Iterable[Tensor]) -> Control:
        """The control that a recipe describes, with its masks from among those given; ValueError for a missing one."""
        given = {sha256_of([mask]): mask for mask in masks}
        values = {name: value for name, value in described.items() if name in ("style_size", "balance")}
        for name in MASKS:
            if name in described:
                looked_up = [_looked_up(mask, given, name) for mask in described[name]]
                values[name] = looked_up[0] if name == "content_map" else looked_up
        return cls(others=tuple(others), **values)


def stored_masks(masks: Iterable[Tensor | None]) -> list[str]:
    """The masks that 8 bits hold without loss, each once, as PNG in base64: a recipe contains these itself."""
    found = {}
    for mask in masks:
        if mask is None or mask.numel() > MOST_PIXELS:
            continue
        levels = mask.detach().float().cpu().mul(255).round()
        if torch.equal(levels / 255, mask.detach().float().cpu()):
            file = io.BytesIO()
            Image.fromarray(levels[0, 0].to(torch.uint8).numpy()).save(file, "PNG")
            found[sha256_of([mask])] = base64.b64encode(file.getvalue()).decode()
    return list(found.values())


def unpacked_masks(stored: Sequence[str]) -> list[Tensor]:
    """The masks (1, 1, H, W) that a recipe holds itself. Raises ValueError for what is none.

    >>> unpacked_masks(stored_masks([torch.tensor([[[[0.0, 1.0]]]])]))[0].tolist()
    [[[[0.0, 1.0]]]]
    """
    masks = []
    for number, text in enumerate(stored):
        try:
            with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
                if image.mode != "L" or image.width * image.height > MOST_PIXELS:
                    raise ValueError
                data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
                masks.append(data.view(1, 1, image.height, image.width) / 255)
        except (ValueError, TypeError, OSError, SyntaxError, binascii.Error):
            raise ValueError(f"masks[{number}] is no mask as PNG in base64.") from None
    return masks


def _listed(masks: Any) -> Sequence[Tensor | None]:
    return [masks] if isinstance(masks, Tensor) else masks or []


def _hashed(mask: Tensor | None) -> dict[str, Any] | None:
    if mask is None:
        return None
    return {"sha256": sha256_of([mask]), "height": mask.shape[-2], "width": mask.shape[-1]}


def _looked_up(described: Mapping[str, Any] | None, given: Mapping[str, Tensor], name: str) -> Tensor | None:
    if described is None:
        return None
    if described["sha256"] not in given:
        raise ValueError(
            f"one of its {name.replace('_', ' ')} ({described['width']} x {described['height']} pixels, hash "
            f"{described['sha256'][:8]}) is not among those given: pass the very same one in masks=[...]."
        )
    return given[described["sha256"]]
