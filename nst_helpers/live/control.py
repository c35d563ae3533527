"""What a session was given to stay in charge: further styles, masks, maps and the rest that no slider turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..engine.settings import options
from .sources import NamedImage, sha256_of

__all__ = ["MASKS", "Control"]

MASKS = ("masks", "style_masks", "content_map")  # held by their hashes in a recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """The style pictures beside the first one, and the fields of `Settings` that stay the same for a session.

    >>> Control(style_size=0.5).described()
    {'style_size': 0.5}
    """

    others: tuple[NamedImage, ...] = ()
    masks: Sequence[Tensor] | None = None
    style_masks: Sequence[Tensor | None] | None = None
    style_size: float | None = None
    content_map: Tensor | None = None
    balance: str = "weights"

    def __post_init__(self) -> None:
        for name in (*MASKS, "style_size", "balance"):
            object.__setattr__(self, name, options()[name].check(getattr(self, name)))

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Settings` that are held here."""
        return {name: getattr(self, name) for name in (*MASKS, "style_size", "balance")}

    def described(self) -> dict[str, Any]:
        """The controls that differ from their defaults, fit for JSON: pictures and masks by hash."""
        plain, given = Control().settings, self.settings
        found = {name: value for name, value in given.items() if name not in MASKS and value != plain[name]}
        for name in MASKS:
            if given[name] is not None:
                found[name] = [_hashed(mask) for mask in _listed(given[name])]
        return found | ({"others": [picture.describe() for picture in self.others]} if self.others else {})

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


def _listed(masks: Any) -> Sequence[Tensor | None]:
    return [masks] if isinstance(masks, Tensor) else masks


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
