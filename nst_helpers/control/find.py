"""Parts of a picture by what an encoder sees in it: soft masks by clustering, brought to the photo's edges.

Nothing is downloaded and nothing is learned: the features and colours of this one picture, or of two, are put into k
groups. In one picture, what is connected also counts: from place to place through places that look alike. What looks
different comes apart, and what a person would name often looks different. Where two things look alike, as a brown
otter before brown water may, they stay together, and then `load_mask` takes a mask drawn by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..encoders import Encoder, load_encoder
from ..errors import MaskError
from ..images import check_picture, resize
from ..io.sizes import whole_number
from .color import to_oklab

__all__ = ["find_regions", "guided_filter", "kmeans", "match_regions", "merged"]

SHORT_SIDE = 192  # pixels: at this size the features are taken
CELL = 8  # pixels of it to a side of what is grouped
CELLS = 1200  # at most, of a long picture larger ones: all pairs of them are compared
# Middle layers tell textures apart; deeper ones see more around a place and know less well where it ends.
LAYERS = {"relu2_1": 0.5, "relu3_1": 0.8, "relu4_1": 0.8}
COLOR = 1.2  # against features whose mean square is 1 before their layer's weight
NEAR, ANYWHERE = 3.0, 0.035  # cells: how far a connection reaches, and the share of it that any distance has
WAYS, LOOKS = 12, 0.7  # the eigenvectors used for what is connected, and the weight of the looks beside them
# Along an edge everything is a mixture, and the mixtures would be a group of their own: this share of the places, where
# least changes, makes the groups, and the others join one of them.
CALM = 0.9
FIRST_GROUPS = 12  # of which the most alike are put together: more stable than k at once
TRIES, ROUNDS = 4, 30


def find_regions(content: Tensor, k: int = 3, *, encoder: Encoder | str = "mini", seed: int = 0) -> list[Tensor]:
    """The k parts of a picture (1, 3, H, W) that look different, as soft masks (1, 1, H, W) whose sum is 1 everywhere.

    They come on the picture's device and in order, the one that lies highest in the picture first. The same seed gives
    the same parts.
    Raises ImageError for what is no picture, MaskError where k is not a whole number from 2 to 8.

    >>> sky, ground = find_regions(torch.cat([torch.zeros(1, 3, 32, 64), torch.rand(1, 3, 32, 64)], 2), 2)
    >>> sky.shape, bool(sky[..., :24, :].mean() > 0.9), bool(torch.allclose(sky + ground, torch.ones(())))
    (torch.Size([1, 1, 64, 64]), True, True)

    Source: Shi & Malik 2000 (the graph of places), Qiu & Hancock 2007 (distances in it), Arthur & Vassilvitskii 2007
    (k-means++), Ward 1963 (merging), He, Sun & Tang 2010 (guided filter).
    """
    return _parts([("content", content)], k, encoder, seed)[0]


def match_regions(
    content: Tensor, style: Tensor, k: int = 3, *, encoder: Encoder | str = "mini", seed: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """The same k kinds of parts in two pictures, as masks for `stylize(..., masks=..., style_masks=...)`.

    The two are grouped as one, so the n-th mask of either means the same: sky with sky, if both have one. Where a
    picture has next to nothing of a kind, its mask there is the whole picture: any style is better than none.

    >>> photo = torch.cat([torch.zeros(1, 3, 32, 64), torch.rand(1, 3, 32, 64)], 2)
    >>> here, there = match_regions(photo, photo.flip(-2), 2)
    >>> bool(here[0][..., :24, :].mean() > 0.9), bool(there[0][..., -24:, :].mean() > 0.9)
    (True, True)
    """
    here, there = _parts([("content", content), ("style", style)], k, encoder, seed)
    return here, [mask if mask.mean() > 0.01 else torch.ones_like(mask) for mask in there]


def _parts(pictures: Sequence[tuple[str, Tensor]], k: int, encoder: Encoder | str, seed: int) -> list[list[Tensor]]:
    """The masks of each picture; `pictures` are names for messages and images (1, 3, H, W)."""
    if (parts := whole_number(k)) is None or not 2 <= parts <= 8:
        raise MaskError(f"k is {k!r}, expected a whole number of parts from 2 to 8.")
    if (start := whole_number(seed)) is None or not -(2**63) <= start < 2**64:
        raise ValueError(f"seed is {seed!r}, expected a whole number.")
    k, seed = parts, start
    for name, picture in pictures:
        check_picture(picture, name=name)
    encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    described = [_described(picture.float().cpu(), encoder) for _, picture in pictures]
    rows = torch.cat([maps.flatten(2)[0].T for maps in described])
    if len(pictures) == 1:  # between two pictures nothing is connected
        rows = torch.cat([_unit(_connected(described[0])), LOOKS * _unit(rows)], 1)
    calm = torch.cat([_is_calm(maps) for maps in described])
    first = merged(rows[calm], kmeans(rows[calm], FIRST_GROUPS, seed=seed), k)
    centres = torch.stack([rows[calm][first == group].mean(0) for group in first.unique()])
    groups = torch.cdist(rows, centres).argmin(1)
    h, w = described[0].shape[-2:]
    here, heights = groups[: h * w], torch.arange(h).repeat_interleave(w).float()
    # By where they lie in the first picture; a part that only the second one has comes last.
    places = {int(g): heights[here == g].mean().item() if (here == g).any() else float(h) for g in groups.unique()}
    order = sorted(places, key=lambda group: places[group])
    masks, start = [], 0
    for (_, picture), maps in zip(pictures, described, strict=True):
        h, w = maps.shape[-2:]
        mine = groups[start : start + h * w].view(1, 1, h, w)
        start += h * w
        masks.append(_along_edges(torch.cat([mine == group for group in order], 1).float(), picture))
    return masks


def _described(picture: Tensor, encoder: Encoder) -> Tensor:
    """What a place looks like, (1, D, h, w): features and colour, each about as large as its weight says."""
    h, w = picture.shape[-2:]
    short = min(SHORT_SIDE, CELL * (CELLS * min(h, w) / max(h, w)) ** 0.5)
    small = resize(picture, max(CELL, round(short)))
    size = (small.shape[-2] // CELL, small.shape[-1] // CELL)
    layers = encoder(small.to(encoder.device, encoder.dtype), LAYERS)
    parts = []
    for name, features in layers.items():
        mode = "area" if features.shape[-1] > size[1] else "bilinear"
        maps = _mean(F.interpolate(features.float().cpu(), size=size, mode=mode), 1)
        parts.append(LAYERS[name] * _standardized(maps / maps.norm(dim=1, keepdim=True).clamp_min(1e-6)))
    colors = F.interpolate(to_oklab(small).float(), size=size, mode="area")
    return torch.cat([*parts, COLOR * _standardized(colors)], 1)


def _connected(maps: Tensor) -> Tensor:
    """Where each place of (1, D, h, w) lies in the graph that joins what is near and looks alike, (h * w, WAYS).

    The distance of two rows is about the time that a random walk takes from the one to the other and back. So an edge
    parts its two sides, and inside a part even far places are near.
    """
    h, w = maps.shape[-2:]
    rows, places = maps.flatten(2)[0].T, torch.cartesian_prod(torch.arange(float(h)), torch.arange(float(w)))
    unlike, far = torch.cdist(rows, rows).square(), torch.cdist(places, places).square()
    alike = torch.exp(-2 * unlike / unlike.median().clamp_min(1e-6))
    joined = (alike * (torch.exp(-far / (2 * NEAR**2)) + ANYWHERE)).double()
    degree = joined.sum(1).sqrt()
    values, vectors = torch.linalg.eigh(joined / degree / degree[:, None])
    values = values[-WAYS - 1 : -1].clamp(0, 1 - 1e-4)  # the last one says nothing: it is the same everywhere
    return (vectors[:, -WAYS - 1 : -1] * (values / (1 - values)).sqrt()).float()


def _is_calm(maps: Tensor) -> Tensor:
    """Which places of (1, D, h, w) look like those around them, as (h * w,) truth values."""
    change = (_mean(maps.square(), 1) - _mean(maps, 1).square()).sum(1).flatten()
    return change <= change.quantile(CALM)


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(1).mean().sqrt().clamp_min(1e-6)


def _standardized(maps: Tensor) -> Tensor:
    centred = maps - maps.mean((2, 3), keepdim=True)
    return centred / centred.square().sum(1).mean().sqrt().clamp_min(0.02)


def kmeans(rows: Tensor, k: int, *, seed: int = 0) -> Tensor:
    """The group, 0 to k - 1, of each of the rows (N, D), by k-means from the best of a few k-means++ starts.

    >>> kmeans(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), 2).unique(return_counts=True)[1].tolist()
    [2, 2]

    Source: Arthur & Vassilvitskii 2007.
    """
    generator, best = torch.Generator().manual_seed(seed), (float("inf"), torch.zeros(len(rows), dtype=torch.long))
    for _ in range(TRIES):
        centres = rows[torch.randint(len(rows), (1,), generator=generator)]
        while len(centres) < k:
            # A row is the next centre with a chance that grows with its squared distance from those there are.
            far = torch.cdist(rows, centres).min(1).values.square() + 1e-12
            centres = torch.cat([centres, rows[torch.multinomial(far, 1, generator=generator)]])
        for _ in range(ROUNDS):
            near = torch.cdist(rows, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, near, rows)
            counts = near.bincount(minlength=k)[:, None]
            moved = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        distances, groups = torch.cdist(rows, centres).min(1)
        best = min(best, (distances.square().sum().item(), groups), key=lambda found: found[0])
    return best[1]


def merged(rows: Tensor, groups: Tensor, k: int) -> Tensor:
    """Join the two groups of rows (N, D) whose union costs least, again and again until k are left.

    The cost is what the squared distances to the centres grow by, so a small group joins another before two large ones.

    >>> merged(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), torch.tensor([0, 1, 2, 3]), 2).tolist()
    [0, 0, 2, 2]

    Source: Ward 1963.
    """
    groups = groups.clone()
    while len(left := groups.unique()) > k:
        sizes = torch.stack([(groups == group).sum() for group in left]).float()
        centres = torch.stack([rows[groups == group].mean(0) for group in left])
        costs = torch.cdist(centres, centres).square() * sizes * sizes[:, None] / (sizes + sizes[:, None])
        kept, gone = divmod(int(costs.fill_diagonal_(float("inf")).argmin()), len(left))
        groups[groups == left[gone]] = left[kept]
    return groups


def _along_edges(groups: Tensor, picture: Tensor) -> list[Tensor]:
    """Coarse groups (1, k, h, w) of 0 and 1 as soft masks whose borders follow the picture's edges."""
    size = (picture.shape[-2], picture.shape[-1])
    coarse = F.interpolate(groups, size=size, mode="bilinear", align_corners=False)
    guide = picture.float().cpu()
    radius = max(1, min(size) // 24)
    soft = torch.cat([guided_filter(guide, mask, radius=radius) for mask in coarse.split(1, 1)], 1)
    # The filter leaves wide slopes; the third power makes them steeper and leaves a half a half.
    steep = soft.clamp(1e-4, 1) ** 3
    return list((steep / steep.sum(1, keepdim=True)).to(picture.device).split(1, 1))


def guided_filter(guide: Tensor, mask: Tensor, *, radius: int = 8, smoothing: float = 1e-3) -> Tensor:
    """The mask (1, 1, H, W), smoothed but for where the guide (1, 3, H, W) has an edge: a local linear function of it.

    `radius` in pixels is how far it looks, `smoothing` the variance of colour from which on an edge counts.

    >>> edge = torch.cat([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)], -1)
    >>> bool(torch.allclose(guided_filter(edge, edge[:, :1], radius=2), edge[:, :1], atol=0.01))
    True

    Source: He, Sun & Tang 2010, section 3.4 (colour guide).
    """
    mean, cross = _mean(guide, radius), _mean(guide * mask, radius)
    products = _mean((guide[:, :, None] * guide[:, None]).flatten(1, 2), radius)
    variance = products.unflatten(1, (3, 3)) - mean[:, :, None] * mean[:, None]
    variance = variance.permute(0, 3, 4, 1, 2) + smoothing * torch.eye(3).to(variance)
    slope = torch.linalg.solve(variance, (cross - mean * _mean(mask, radius)).permute(0, 2, 3, 1))
    slope = slope.permute(0, 3, 1, 2)
    start = _mean(mask, radius) - (slope * mean).sum(1, keepdim=True)
    return (_mean(slope, radius) * guide).sum(1, keepdim=True) + _mean(start, radius)


def _mean(maps: Tensor, radius: int) -> Tensor:
    """The mean over a square around each position, of what lies inside: down the columns, then along the rows.

    >>> maps = torch.rand(1, 2, 9, 7)
    >>> torch.allclose(_mean(maps, 2), F.avg_pool2d(maps, 5, 1, 2, count_include_pad=False), atol=1e-6)
    True
    """
    size = 2 * radius + 1
    columns = F.avg_pool2d(maps, (size, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, size), stride=1, padding=(0, radius), count_include_pad=False)
