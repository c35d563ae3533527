"""The photo as a map of its regions: who takes what, where a click falls, and what the map looks like.

A region's button lies over the whole map, and a clip path leaves of it what belongs to the region. So a click, a key
and a screen reader find a common button, and no script has to run in the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..accel.modes import plain_torch
from ..control.find import find_regions
from ..images import resize
from .sources import sha256_of

__all__ = ["PHOTO", "Regions", "clip_paths", "deepest_point", "found_regions", "key_of", "map_picture", "outline"]

PHOTO = -1  # the choice of a region that no style paints in
SHORT_SIDE = 256  # pixels of the masks that are found; they are brought to any size that is painted
MAP_SIDE = 192  # pixels of the map
LAID_OVER = 0.42  # how much of the style is seen in its regions; the rest is the photo


@dataclass(frozen=True, eq=False)
class Regions:
    """The parts of a photo, masks (1, 1, H, W) whose sum is 1, and the number of the style that each takes, or `PHOTO`.

    >>> left = torch.tensor([[[[1.0, 0.0]]]])
    >>> regions = Regions((left, 1 - left), (0, 1))
    >>> regions.turned(1, styles=2).choices, [mask.flatten().tolist() for mask in regions.masks_for(2)]
    ((0, -1), [[1.0, 0.0], [0.0, 1.0]])
    """

    parts: tuple[Tensor, ...]
    choices: tuple[int, ...]

    @classmethod
    def of_masks(cls, masks: Sequence[Tensor | None]) -> Regions:
        """One region for each style of a session that has a mask, where no smaller parts are known."""
        there = {number: mask for number, mask in enumerate(masks) if mask is not None}
        return cls(tuple(there.values()), tuple(there))

    def dealt(self, styles: int) -> Regions:
        """The same parts, each with the next one of the styles."""
        return replace(self, choices=tuple(number % styles for number in range(len(self.parts))))

    def turned(self, number: int, *, styles: int) -> Regions:
        """The regions with one part's next choice: the styles in turn, then the photo, unless nothing else paints."""
        others = [choice for i, choice in enumerate(self.choices) if i != number and choice != PHOTO]
        turn = [*range(styles), *([PHOTO] if others else [])]
        place = turn.index(self.choices[number]) if self.choices[number] in turn else -1
        chosen = turn[(place + 1) % len(turn)]
        return replace(self, choices=(*self.choices[:number], chosen, *self.choices[number + 1 :]))

    def without_style(self, number: int) -> Regions:
        """The regions with the first style in the place of another one."""
        return replace(self, choices=tuple(0 if choice == number else choice for choice in self.choices))

    def masks_for(self, styles: int) -> list[Tensor | None]:
        """What a session takes as masks: for each style the sum of its parts, None where it has none."""
        masks: list[Tensor | None] = []
        for style in range(styles):
            mine = [part for part, choice in zip(self.parts, self.choices, strict=True) if choice == style]
            # In whole levels, so that a sum of parts is held by 8 bits as they are.
            levels = sum(part.mul(255).round() for part in mine) if mine else None
            masks.append(None if levels is None else torch.as_tensor(levels).clamp_max(255) / 255)
        return masks


@plain_torch()
def found_regions(content: Tensor, k: int) -> tuple[Tensor, ...]:
    """The k parts of a photo (1, 3, H, W) as `find_regions` finds them, in levels of 8 bits whose sum is 255."""
    masks = torch.cat(find_regions(resize(content, min(SHORT_SIDE, *content.shape[-2:])), k))
    levels = masks.mul(255).round()
    most = masks.argmax(0, keepdim=True)
    levels.scatter_add_(0, most, 255 - levels.sum(0, keepdim=True))
    return tuple((levels / 255).split(1))


def map_picture(content: Tensor, regions: Regions, styles: Sequence[Tensor]) -> Tensor:
    """The photo (1, 3, H, W) with each style laid over its regions, and a light line between the parts."""
    photo = resize(content, min(MAP_SIDE, *content.shape[-2:]))
    size = (photo.shape[-2], photo.shape[-1])
    shown = photo.clone()
    for mask, style in zip(regions.masks_for(len(styles)), styles, strict=True):
        if mask is not None:
            share = LAID_OVER * F.interpolate(mask, size=size, mode="bilinear")
            shown = shown * (1 - share) + _covering(style, size) * share
    labels = _labels(regions.parts, size)[None, None].float()
    edge = (F.max_pool2d(labels, 3, 1, 1) != labels).float()
    return shown * (1 - 0.75 * edge) + 0.75 * edge


def clip_paths(regions: Regions, size: tuple[int, int], name: str) -> str:
    """A style sheet and the clip paths for the buttons `.NAME .nst-region-1` and so on, as HTML.

    `size` is the height and width of the photo; the map is as wide as its place, and not higher than 340 px.
    """
    height, width = size
    shrink = min(1.0, MAP_SIDE / min(size))
    labels = _labels(regions.parts, (max(1, round(height * shrink)), max(1, round(width * shrink))))
    h, w = labels.shape
    rules, paths = [f".{name} {{ aspect-ratio:{width}/{height}; max-width:{340 * width / height:.0f}px; }}"], []
    for number in range(len(regions.parts)):
        mine = labels == number
        x, y = deepest_point(mine)
        rules.append(
            f".nst-panel .{name} .nst-region-{number + 1} {{ clip-path:url(#{name}-{number + 1}); "
            f"--x:{100 * x:.1f}%; --y:{100 * y:.1f}%; }}"
        )
        paths.append(
            f'<clipPath id="{name}-{number + 1}" clipPathUnits="objectBoundingBox">'
            f'<path transform="scale({1 / w:.6f} {1 / h:.6f})" d="{outline(mine)}"/></clipPath>'
        )
    svg = f'<svg width="0" height="0" aria-hidden="true" style="position:absolute">{"".join(paths)}</svg>'
    return f"<style>{' '.join(rules)}</style>{svg}"


def outline(inside: Tensor) -> str:
    """A region (H, W) of truth values as an SVG path: rectangles, each as high as its rows are alike.

    >>> outline(torch.tensor([[True, False], [True, False], [True, True]]))
    'M0 0h1v2h-1zM0 2h2v1h-2z'
    """
    rows = torch.cat([inside.int(), torch.zeros_like(inside[:1]).int()])  # an empty row closes what is open
    padded = F.pad(rows, (1, 1))
    changes = (padded[:, 1:] - padded[:, :-1]).tolist()
    found, open_since = [], dict[tuple[int, int], int]()
    for y, row in enumerate(changes):
        starts = [x for x, change in enumerate(row) if change == 1]
        runs = set(zip(starts, (x for x, change in enumerate(row) if change == -1), strict=True))
        for run in [run for run in open_since if run not in runs]:
            found.append((open_since.pop(run), *run, y))
        for run in runs:
            open_since.setdefault(run, y)
    return "".join(
        f"M{left} {top}h{right - left}v{end - top}h{left - right}z" for top, left, right, end in sorted(found)
    )


def deepest_point(inside: Tensor) -> tuple[float, float]:
    """Where a region (H, W) of truth values is widest: x and y as shares of the width and height.

    >>> deepest_point(torch.ones(3, 5, dtype=torch.bool))
    (0.5, 0.5)
    """
    left = inside[None, None].float()
    if not left.any():
        return 0.5, 0.5
    while (smaller := 1 - F.max_pool2d(F.pad(1 - left, (1, 1, 1, 1), value=1.0), 3, 1)).any():
        left = smaller
    y, x = left[0, 0].nonzero().float().mean(0).tolist()
    places = left[0, 0].nonzero().float()
    y, x = places[(places - torch.tensor([y, x])).square().sum(1).argmin()].tolist()
    return (x + 0.5) / inside.shape[1], (y + 0.5) / inside.shape[0]


def key_of(masks: Sequence[Tensor | None]) -> tuple[str | None, ...]:
    """What some masks are known by."""
    return tuple(None if mask is None else sha256_of([mask]) for mask in masks)


def _labels(parts: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Which part each pixel belongs to most, (H, W); -1 where it belongs to none."""
    masks = torch.cat([F.interpolate(part, size=size, mode="bilinear") for part in parts])[:, 0]
    most, labels = masks.max(0)
    return torch.where(most > 0.05, labels, -1)


def _covering(style: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of a style picture, as large as it may be, at a height and width."""
    h, w = style.shape[-2:]
    factor = max(size[0] / h, size[1] / w)
    scaled = resize(style, (max(size[0], round(h * factor)), max(size[1], round(w * factor))))
    top, left = (scaled.shape[-2] - size[0]) // 2, (scaled.shape[-1] - size[1]) // 2
    return scaled[..., top : top + size[0], left : left + size[1]]
