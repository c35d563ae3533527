"""What all the drawn styles share: noise, colour, relief, and a brush that leaves bristle marks.

A picture is a float32 array `(H, W, 3)` in [0, 1]. Positions are in units of the short side, so that the same
seed gives the same composition at every size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]


def rgb(codes: str) -> Array:
    """Hex colours such as `"f6c945 16306e"` as an `(N, 3)` array in [0, 1]."""
    return np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in codes.split()], np.float32) / 255


def axes(width: int, height: int) -> tuple[Array, Array]:
    """The x and y of every pixel centre, `(H, W)` each, with the short side as the unit."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return (x + 0.5) / min(width, height), (y + 0.5) / min(width, height)


def noise(rng: np.random.Generator, like: Array, cell: float | tuple[float, float], octaves: int = 1) -> Array:
    """Smooth noise in about [-1, 1], `(H, W)`; `cell` (x, y) is the size of a bump in short sides."""
    height, width = like.shape[:2]
    unit = min(height, width)
    cx, cy = (cell, cell) if isinstance(cell, int | float) else cell
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        nx, ny = width / unit / cx * 2**octave, height / unit / cy * 2**octave
        lattice = rng.uniform(-1, 1, (math.ceil(ny) + 2, math.ceil(nx) + 2)).astype(np.float32)
        box = (0.5, 0.5, 0.5 + nx, 0.5 + ny)
        total += np.asarray(Image.fromarray(lattice).resize((width, height), Image.BICUBIC, box)) / 2**octave
    return total


def blur(field: Array, radius: float) -> Array:
    """Three box blurs, close to a Gaussian; `radius` in pixels. `(H, W)` or `(H, W, 3)`."""
    reach = max(1, round(radius))
    out = field.astype(np.float64)
    for axis in (0, 1):
        for _ in range(3):
            pad = [(0, 0)] * out.ndim
            pad[axis] = (reach + 1, reach)
            total = np.cumsum(np.pad(out, pad, mode="edge"), axis=axis)
            length = out.shape[axis]
            ahead = np.take(total, range(2 * reach + 1, 2 * reach + 1 + length), axis=axis)
            out = (ahead - np.take(total, range(length), axis=axis)) / (2 * reach + 1)
    return out.astype(np.float32)


def step(field: Array, softness: float) -> Array:
    """0 below zero, 1 above, smooth over `softness` on either side."""
    t = np.clip(field / (2 * softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, amount: Array | float) -> Array:
    """`a` where amount is 0, `b` where it is 1; an `(H, W)` amount is spread over the colours."""
    amount = np.asarray(amount, np.float32)
    return a + (b - a) * (amount[..., None] if amount.ndim else amount)


def ramp(colours: Array, position: Array) -> Array:
    """Colours `(N, 3)` read as a gradient at `position` in [0, 1]."""
    at = np.clip(position, 0, 1) * (len(colours) - 1)
    low = np.minimum(at.astype(int), len(colours) - 2)
    return mix(colours[low], colours[low + 1], (at - low).astype(np.float32))


def shift_hue(colour: Array, angle: float | Array) -> Array:
    """Turn colours `(..., 3)` about the grey axis; `angle` in radians."""
    angle = np.asarray(angle, np.float32)[..., None]
    grey = colour.mean(-1, keepdims=True)
    side = (np.roll(colour, -1, -1) - np.roll(colour, 1, -1)) / math.sqrt(3)
    return grey + (colour - grey) * np.cos(angle) + side * np.sin(angle)


def relief(height: Array, strength: float) -> Array:
    """How much light a surface gets from the upper left: 1 where it is flat. `(H, W)`."""
    gy, gx = np.gradient(height)
    slope = (gx + 1.3 * gy) * strength
    return 1 + np.clip(slope, -0.45, 0.35)


def light(picture: Array, height: Array, strength: float) -> Array:
    """The picture lit from the upper left, with a little shine on the ridges."""
    shade = relief(height, strength)
    return picture * np.minimum(shade, 1.25)[..., None] + 0.35 * np.maximum(shade - 1.18, 0)[..., None]


def sample(field: Array, x: float, y: float) -> Array:
    """The value of a `(H, W, ...)` field at a position in short sides, the edge value outside."""
    height, width = field.shape[:2]
    unit = min(height, width)
    return field[min(max(int(y * unit), 0), height - 1), min(max(int(x * unit), 0), width - 1)]


def follow(angle: Array, x: float, y: float, length: float, steps: int) -> NDArray[np.float64]:
    """The path of a stroke that follows a field of directions from `(x, y)`. `(steps + 1, 2)`."""
    path = [(x, y)]
    heading = float(sample(angle, x, y))
    for _ in range(steps):
        turn = math.remainder(float(sample(angle, x, y)) - heading, math.pi)  # a line has no front and back
        heading += turn
        x, y = x + math.cos(heading) * length / steps, y + math.sin(heading) * length / steps
        path.append((x, y))
    return np.array(path)


def bezier(*points: tuple[float, float], count: int = 24) -> NDArray[np.float64]:
    """A Bezier curve through the ends and towards the points between them. `(count, 2)`."""
    t = np.linspace(0, 1, count)[:, None, None]
    level = np.broadcast_to(np.array(points, float), (count, len(points), 2))
    while level.shape[1] > 1:
        level = level[:, :-1] * (1 - t) + level[:, 1:] * t
    return level[:, 0]


def byte(colour: Array) -> tuple[int, ...]:
    """A colour as Pillow wants it."""
    return tuple(int(v) for v in np.clip(colour, 0, 1) * 255)


class Paint:
    """A canvas of thick paint: its colours `(H, W, 3)` and its thickness `(H, W)`, built stroke by stroke."""

    def __init__(self, ground: Array, rng: np.random.Generator, tooth: Array | None = None) -> None:
        self.rgb = ground.astype(np.float32).copy()
        self.height = np.zeros(ground.shape[:2], np.float32)
        self.unit = min(ground.shape[:2])
        self.rng = rng
        self.tooth = tooth

    def stroke(
        self,
        path: Sequence[Sequence[float]] | NDArray[np.float64],
        width: float,
        colour: Array,
        *,
        second: Array | None = None,
        streak: float = 0.5,
        dry: float = 0.0,
        taper: float = 0.25,
        opacity: float = 1.0,
        bristles: int = 9,
    ) -> None:
        """Drag a brush of `width` along `path` (both in short sides).

        The bristles carry `colour` and `second` side by side, `streak` is how far they differ, `dry` how soon the
        paint runs out, `taper` how much of either end is pointed. With a paper `tooth` the paint catches on the
        grain's tops alone.
        """
        points = np.asarray(path, np.float32) * self.unit
        half = max(width * self.unit / 2, 0.6)
        rows, cols = self.height.shape
        x0, y0 = np.maximum(np.floor(points.min(0) - half - 1), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(points.max(0) + half + 2), (cols, rows)).astype(int)
        profile = self.rng.random(bristles).astype(np.float32)
        second_profile = self.rng.random(bristles).astype(np.float32)
        if x1 <= x0 or y1 <= y0:
            return
        start, along = points[:-1], np.diff(points, axis=0)
        squared = np.maximum((along**2).sum(1), 1e-6)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)[..., None]
        dx, dy = x - start[:, 0], y - start[:, 1]
        t = np.clip((dx * along[:, 0] + dy * along[:, 1]) / squared, 0, 1)
        distance = (dx - t * along[:, 0]) ** 2 + (dy - t * along[:, 1]) ** 2
        nearest = distance.argmin(-1)[..., None]
        distance = np.sqrt(np.take_along_axis(distance, nearest, -1)[..., 0])
        side = np.sign(np.take_along_axis(dx * along[:, 1] - dy * along[:, 0], nearest, -1)[..., 0])
        u = (nearest + np.take_along_axis(t, nearest, -1))[..., 0] / len(along)
        v = side * distance / half

        reach = half * (1 - (1 - np.clip(np.minimum(u, 1 - u) / max(taper, 1e-3), 0, 1)) ** 2 * min(1, taper * 3))
        alpha = np.clip(reach - distance + 0.5, 0, 1)
        hair = np.clip((v + 1) / 2, 0, 1) * (bristles - 1)
        low = np.minimum(hair.astype(int), bristles - 2)
        ridge = profile[low] + (profile[low + 1] - profile[low]) * (hair - low)
        blend = second_profile[low] + (second_profile[low + 1] - second_profile[low]) * (hair - low)
        if dry:
            alpha = alpha * np.clip((ridge - dry * u * 1.25 + 0.2) * 5, 0, 1)
        if self.tooth is not None:
            alpha = alpha * np.clip((self.tooth[y0:y1, x0:x1] + 0.45 * ridge) * 4, 0, 1)
        alpha = (alpha * opacity)[..., None]

        colour = np.clip(colour, 0, 1).astype(np.float32)
        other = colour if second is None else np.clip(second, 0, 1).astype(np.float32)
        paint = colour + (other - colour) * (blend * streak)[..., None]
        patch = self.rgb[y0:y1, x0:x1]
        patch += (paint - patch) * alpha
        body = np.sqrt(np.clip(1 - v * v, 0, 1)) * 0.6 + ridge * 0.6
        patch = self.height[y0:y1, x0:x1]
        patch += (body - patch) * alpha[..., 0]


def scatter(rng: np.random.Generator, width: int, height: int, spacing: float) -> NDArray[np.float64]:
    """Points in random order that cover the picture evenly, `spacing` apart (short sides). `(N, 2)`."""
    unit = min(width, height)
    nx, ny = math.ceil(width / unit / spacing) + 1, math.ceil(height / unit / spacing) + 1
    gx, gy = np.meshgrid(np.arange(nx), np.arange(ny))
    points = np.stack([gx.ravel(), gy.ravel()], 1) + rng.uniform(-0.5, 0.5, (nx * ny, 2))
    return rng.permutation(points) * spacing
