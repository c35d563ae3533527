"""A woodblock print: indigo breakers under a coral sun."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .canvas import Array, axes, bezier, byte, mix, noise, ramp, rgb, step

Points = NDArray[np.float64]


def wave(rng: np.random.Generator, width: int, height: int) -> Array:
    """A woodblock print in indigo and cream: striped breakers, claws of foam, a coral sun."""
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    indigo, deep, mid, pale, mist, cream, coral = rgb("16264f 24437f 3f6fa6 8db4c8 c9d8cf f3e9d0 d9644a")
    grain = noise(rng, x + 0, (0.9, 0.012)) + 0.5 * noise(rng, x, (0.5, 0.006))

    sky = ramp(rgb("2f5a8f 7fa5b8 d8d9c2 f1e2c0 f2cfa5 efb78f"), y / 0.62)
    sky = mix(
        sky, cream, 0.8 * step(np.sin(15 * y + 1.6 * np.sin(3 * x) + 0.8 * noise(rng, x, (0.5, 0.1))) - 0.72, 0.1)
    )
    disc = np.hypot(x - 0.66 * right, y - 0.25) - 0.135
    sky = mix(sky, coral, step(-disc, 0.002) * (0.86 + 0.14 * grain))
    canvas = Image.fromarray((np.clip(sky + 0.018 * grain[..., None], 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)

    def px(points: Points) -> list[tuple[float, float]]:
        return [(float(a) * unit, float(b) * unit) for a, b in points]

    def line(points: Points, colour: Array, thick: float) -> None:
        draw.line(px(points), byte(colour), max(1, round(thick * unit)), joint="curve")

    def swell(level: float, amplitude: float, pitch: float, phase: float) -> None:
        across = np.linspace(-0.02, right + 0.02, 120)
        crest = level - amplitude * np.abs(np.sin(across * pitch + phase)) ** 1.4
        cycle = (cream, deep, mid, pale, indigo, mid, mist, deep)
        for k in range(26):
            lift = crest * (1 - k / 26) + (level + 0.06) * (k / 26) + 0.0115 * k
            edge = np.stack([across, lift + 0.002 * np.sin(31 * across + k)], 1)
            draw.polygon([*px(edge), (width, height + 9), (0, height + 9)], byte(cycle[k % 8] + rng.normal(0, 0.02)))
            line(edge, indigo, 0.0022 if k else 0.005)

    def foam(start: Points, forward: Points, size: float) -> None:
        blobs = []
        for (sx, sy), (tx, ty) in zip(start, forward, strict=True):
            blobs.append((sx, sy, size * rng.uniform(0.035, 0.055)))
            for _ in range(3):
                heading = math.atan2(ty, tx) + rng.normal(-0.5 * turn, 0.5)
                a, b, r = sx, sy, size * rng.uniform(0.022, 0.032)
                for _ in range(int(rng.integers(4, 9))):
                    a, b = a + math.cos(heading) * r * 1.1, b + math.sin(heading) * r * 1.1
                    heading += 0.27 * turn
                    r *= 0.86
                    blobs.append((a, b, r))
                    if rng.random() < 0.25:
                        side = heading - 1.1 * turn
                        blobs += [
                            (a + math.cos(side) * r * q, b + math.sin(side) * r * q, r * (1 - 0.2 * q))
                            for q in (1, 1.8)
                        ]
        for extra, colour in ((0.0045, indigo), (0.0, cream)):
            for a, b, r in blobs:
                draw.ellipse(
                    [(a - r - extra) * unit, (b - r - extra) * unit, (a + r + extra) * unit, (b + r + extra) * unit],
                    byte(colour),
                )
        for a, b, r in blobs[::2]:
            box = [(a - r * 0.6) * unit, (b - r * 0.6) * unit, (a + r * 0.6) * unit, (b + r * 0.6) * unit]
            draw.arc(
                box,
                int(rng.integers(0, 360)),
                int(rng.integers(380, 520)),
                byte(rng.choice([pale, mid])),
                max(1, int(0.0026 * unit)),
            )

    def breaker(cx: float, base: float, size: float) -> None:
        shape = np.array([size * turn, -size])
        place = np.array([cx, base])
        outer = np.vstack(
            [
                bezier((-1.5, -0.25), (-0.75, 0.0), (-0.45, 1.0), (0.12, 1.02)),
                bezier((0.12, 1.02), (0.5, 1.03), (0.78, 0.86), (0.66, 0.6)),
            ]
        )
        inner = np.vstack(
            [
                bezier((1.5, -0.25), (0.6, -0.12), (-0.15, 0.12), (0.06, 0.52)),
                bezier((0.06, 0.52), (0.2, 0.76), (0.5, 0.85), (0.66, 0.6)),
            ]
        )
        outer, inner = outer * shape + place, inner * shape + place
        cuts = np.cumsum(rng.uniform(0.5, 1.5, 22))
        cuts = np.concatenate([[0], cuts / cuts[-1]])
        cycle = (pale, deep, indigo, mid, cream, deep, mid, pale, indigo, cream)
        for k in range(22):
            near, far = (outer * (1 - s) + inner * s for s in cuts[k : k + 2])
            draw.polygon(px(np.vstack([near, far[::-1]])), byte(cycle[k % 10] + rng.normal(0, 0.015)))
        for s in cuts:
            line(outer * (1 - s) + inner * s, indigo, 0.005 if s in (0, 1) else 0.0024)
        for curve, first in ((outer, 15), (inner, 33)):
            along = np.gradient(curve, axis=0)
            along /= np.hypot(*along.T)[:, None] + 1e-9
            foam(curve[first:], along[first:], size)
        for _ in range(70):
            a, b = outer[rng.integers(18, 48)] + size * rng.normal(0, 0.17, 2) + [0.1 * size * turn, -0.06 * size]
            r = rng.uniform(0.0025, 0.0075)
            draw.ellipse([(a - r) * unit, (b - r) * unit, (a + r) * unit, (b + r) * unit], byte(cream), byte(deep), 2)

    turn = 1
    swell(0.60, 0.035, 9, 0.3)
    swell(0.68, 0.055, 6.5, 1.1)
    turn = -1
    breaker(right * 0.93, 0.80, 0.34)
    swell(0.80, 0.06, 5, 0.2)
    turn = 1
    breaker(right * 0.28, 0.90, 0.74)
    swell(0.93, 0.07, 4.4, 1.9)
    turn = -1
    breaker(right * 0.80, 1.06, 0.36)
    turn = 1
    breaker(right * 0.14, 1.10, 0.26)
    picture = np.asarray(canvas, np.float32) / 255
    rough = 0.0022 * unit * np.stack([noise(rng, x, 0.02), noise(rng, x, 0.02)])
    rows = np.clip(y * unit + rough[0], 0, height - 1).astype(int)
    cols = np.clip(x * unit + rough[1], 0, width - 1).astype(int)
    picture = picture[rows, cols]
    mottle = 0.05 * noise(rng, x, 0.03, 3) + 0.025 * grain + 0.02 * noise(rng, x, 0.003)
    picture = picture + (mottle * (0.6 + 0.8 * (1 - picture.mean(-1))))[..., None]
    return mix(picture, picture * rgb("f6e6c4")[0], 0.5)
