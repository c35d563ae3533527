"""Scenes to paint from: a landscape seen in perspective, rounded foliage, and pictures bent by a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import Array


def bend(field: Array, dx: Array, dy: Array) -> Array:
    """Read a `(H, W, ...)` field at a distance (short sides) from each pixel, between pixels, the edge outside."""
    height, width = field.shape[:2]
    unit = min(height, width)
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    rows, cols = np.clip(rows + dy * unit, 0, height - 1.001), np.clip(cols + dx * unit, 0, width - 1.001)
    i, j = rows.astype(int), cols.astype(int)
    down, over = rows - i, cols - j
    if field.ndim == 3:
        down, over = down[..., None], over[..., None]
    i1, j1 = np.minimum(i + 1, height - 1), np.minimum(j + 1, width - 1)
    top = field[i, j] * (1 - over) + field[i, j1] * over
    low = field[i1, j] * (1 - over) + field[i1, j1] * over
    return (top * (1 - down) + low * down).astype(np.float32)


def read(table: Array, u: Array, v: Array) -> Array:
    """A table `(M, N)` read between its entries: across at u, down at v, both in [0, 1]."""
    rows, cols = table.shape
    a, b = np.clip(v, 0, 1) * (rows - 1.001), np.clip(u, 0, 1) * (cols - 1.001)
    i, j = a.astype(int), b.astype(int)
    a, b = a - i, b - j
    top = table[i, j] * (1 - b) + table[i, j + 1] * b
    low = table[i + 1, j] * (1 - b) + table[i + 1, j + 1] * b
    return (top * (1 - a) + low * a).astype(np.float32)


@dataclass
class View:
    """What each pixel sees of a landscape: its place on the map, its depth (0 near, 1 far), where there is land."""

    u: Array
    v: Array
    depth: Array
    land: Array


@dataclass(frozen=True)
class Camera:
    """Looks over a height map `(N, N)`, from its row 0 towards its last row.

    `horizon` is where the eye's height is seen (short sides), `eye` the height of the eye and `tall` that of a
    height of 1, in widths of the map; `near` is the distance of the nearest row, in lengths of the map.
    """

    horizon: float
    eye: float
    tall: float
    near: float

    def place(self, u: float, v: float, level: float, right: float) -> tuple[float, float]:
        """Where a point of the map is seen in a picture `right` short sides wide."""
        distance = v + self.near
        x = right / 2 + (u - 0.5) * (self.near + 1) * right / 0.98 / distance
        return x, self.horizon + (self.eye - self.tall * level) / distance

    def look(self, x: Array, y: Array, ground: Array) -> View:
        """What each pixel sees: rows from near to far, each hidden where a nearer one stands higher."""
        rows, cols = x.shape
        unit = min(rows, cols)
        right = cols / unit
        lowest = np.full(cols, 10.0, np.float32)
        seen = View(np.zeros_like(x), np.zeros_like(x), np.ones_like(x), np.zeros_like(x))
        for depth in np.linspace(0, 1, 2 * len(ground)):
            distance = 1 / (1 / self.near + depth * (1 / (self.near + 1) - 1 / self.near))
            v = np.full(cols, distance - self.near, np.float32)
            u = 0.5 + 0.98 * (x[0] - right / 2) * distance / ((self.near + 1) * right)
            level = self.horizon + (self.eye - self.tall * read(ground, u, v)) / distance
            i0, i1 = max(int(level.min() * unit) - 1, 0), min(int(lowest.max() * unit) + 2, rows)
            if i1 > i0:
                part = slice(i0, i1)
                hit = (y[part] >= level) & (y[part] < lowest)
                seen.u[part] = np.where(hit, u, seen.u[part])
                seen.v[part] = np.where(hit, v, seen.v[part])
                seen.depth[part] = np.where(hit, depth, seen.depth[part])
                seen.land[part] = np.maximum(seen.land[part], hit)
            lowest = np.minimum(lowest, level)
        return seen


def slopes(ground: Array, tall: float) -> tuple[Array, Array]:
    """The surface's slope to the right and away from the viewer, on the map."""
    gv, gu = np.gradient(ground * tall * len(ground))
    return gu.astype(np.float32), gv.astype(np.float32)


def foliage(x: Array, y: Array, lumps: Sequence[tuple[float, float, float]]) -> tuple[Array, Array]:
    """Round leaf masses `(x, y, radius)` seen from the front: where they are, and their light from the upper left.

    Both are `(H, W)`; the light is 1 on the lit side, 0 in the shade, and 0 where there is no leaf.
    """
    height, width = x.shape
    unit = min(height, width)
    bulge, face = np.zeros_like(x), np.zeros_like(x)
    for cx, cy, radius in lumps:
        rows = slice(max(int((cy - radius) * unit), 0), max(int((cy + radius) * unit) + 2, 0))
        cols = slice(max(int((cx - radius) * unit), 0), max(int((cx + radius) * unit) + 2, 0))
        dx, dy = (x[rows, cols] - cx) / radius, (y[rows, cols] - cy) / radius
        rise = (1 - dx**2 - dy**2) * radius
        front = rise > bulge[rows, cols]
        bulge[rows, cols] = np.where(front, rise, bulge[rows, cols])
        face[rows, cols] = np.where(front, np.clip(0.5 - 0.45 * dx - 0.35 * dy, 0, 1), face[rows, cols])
    return bulge > 0, face
