"""Thick paint: eddies of starlight, and wheels of colour."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Array, Paint, axes, blur, follow, light, mix, noise, ramp, rgb, sample, scatter, step


def night_swirls(rng: np.random.Generator, width: int, height: int) -> Array:
    """Thick paint: eddies of starlight above a dark ridge and a lake."""
    x, y = axes(width, height)
    right = width / min(width, height)
    eddies = [
        (0.16, 0.17, 0.10, 1), (0.55, 0.27, 0.17, -1), (0.86, 0.13, 0.09, 1), (0.83, 0.42, 0.09, 1),
        (0.30, 0.45, 0.07, -1), (0.05, 0.43, 0.06, 1), (0.36, 0.06, 0.05, -1), (0.99, 0.30, 0.05, -1)
    ]  # fmt: skip
    stream = -y * 0.9 + 0.09 * np.sin(5 * x + 1) + 0.03 * noise(rng, x, 0.3)
    glow = np.zeros_like(x)
    for cx, cy, radius, turn in eddies:
        gap = (x / right - cx) ** 2 * right**2 + (y - cy) ** 2
        stream += turn * 4.2 * radius * np.exp(-gap / (1.45 * radius) ** 2)
        ring = 0.66 + 0.34 * np.cos(2 * math.pi * np.sqrt(gap) / (radius * 0.5))
        glow = np.maximum(glow, np.exp(-gap / (0.9 * radius) ** 2) * ring * 1.2)
    gy, gx = np.gradient(stream)
    angle = np.arctan2(-gx, gy)

    night = rgb("0d1640 16306e 1d3f8f 2f66b3 5a9bc9 9fcbd4 2a57a6 122659")
    scene = ramp(night, (stream * 3.1 + 0.08 * noise(rng, x, 0.06)) % 1)
    scene = mix(scene, rgb("3f9c9a")[0], 0.5 * step(noise(rng, x, 0.22) - 0.45, 0.3))
    scene = mix(scene, ramp(rgb("d9822b f2b632 f9dc6a fff6d2"), glow), step(glow - 0.24, 0.12))

    ridge = 0.68 + 0.05 * np.sin(5.1 * x + 0.6) + 0.035 * np.sin(11 * x) + 0.012 * noise(rng, x, 0.05)
    land = step(y - ridge, 0.004)
    hills = ramp(rgb("0e2433 17454a 2f6b57 7a8f4e"), 0.45 + 0.5 * np.sin(26 * (y - ridge) + 9 * x))
    scene = mix(scene, hills, land)
    angle = np.where(land > 0.5, np.arctan(0.35 * np.cos(5.1 * x + 0.6) + 0.5 * np.cos(14 * x + 20 * y)), angle)
    shore = 0.80 + 0.012 * np.sin(8 * x + 2)
    lake = step(y - shore, 0.004)
    water = ramp(night, (0.35 + 3.1 * y + 0.25 * noise(rng, x, (0.25, 0.02))) % 1)
    for cx, _, radius, _ in eddies:
        path = np.exp(-(((x - cx * right) / (radius * 0.55)) ** 2)) * (0.55 + 0.45 * noise(rng, x, (0.2, 0.018)))
        water = mix(water, ramp(rgb("e8932f fbe184"), path), np.clip(path * 1.3, 0, 0.95))
    scene = mix(scene, water, lake)
    angle = np.where(lake > 0.5, 0.1 * np.sin(20 * x + 35 * y), angle)

    paint = Paint(scene * 0.55, rng)
    for spacing, breadth, length, calm in (
        (0.018, 0.026, 0.10, 0.7),
        (0.0145, 0.0165, 0.075, 0.9),
        (0.0165, 0.0115, 0.055, 1.05),
    ):
        for px, py in scatter(rng, width, height, spacing):
            colour = sample(scene, px, py)
            tone = rng.normal(0, 0.085) + rng.normal(0, 0.03, 3)
            second = colour * rng.choice([0.62, 1.25]) + 0.05 * rng.normal(size=3)
            reach = length * rng.uniform(0.6, 1.25) * (0.55 if py > 0.7 else 1)
            path = follow(angle, px, py, reach, 7)
            thick = breadth * rng.uniform(0.75, 1.2)
            paint.stroke(path, thick, colour * calm + tone, second=second, streak=0.8, dry=0.35)
    for _ in range(34):
        px, lean = rng.uniform(0, right), rng.normal(0, 0.05)
        tall = rng.uniform(0.06, 0.24) * (0.4 + 0.6 * abs(px / right - 0.45) * 2)
        path = [(px + lean * s * s, 1.02 - tall * s) for s in np.linspace(0, 1, 7)]
        paint.stroke(path, 0.014, rgb("0a1a1f")[0], second=rgb("3f6b3c")[0], streak=0.8, taper=0.6)
    return light(paint.rgb, paint.height, 0.55)


def discs(rng: np.random.Generator, width: int, height: int) -> Array:
    """Wheels of contrasting colour, cut into rings and sectors and brushed round and round."""
    x, y = axes(width, height)
    right = width / min(width, height)
    palette = rgb("d8322a f2762a f9c22e f6ecd2 7fb84a 1f8f6f 2fa8c0 2457a8 3a2f86 8f3f9a e87a9a 1c2340")
    piece = np.zeros(x.shape, int)
    angle = np.full_like(x, 0.8) + 0.3 * noise(rng, x, 0.3)
    shade = np.zeros_like(x)
    tables = []

    def paint_in(mask: Array, names: Array, dark: Array, heading: Array, bright: float) -> None:
        """Give every ring sector under the mask a colour far from its neighbour's."""
        found, index = np.unique(names[mask], return_inverse=True)
        hue = (found * 5 + found // 64 * 3 + rng.integers(0, 3, len(found)) + rng.integers(12)) % 12
        piece[mask] = index + sum(len(t) for t in tables)
        tables.append(np.clip(palette[hue] * bright + rng.normal(0, 0.03, (len(found), 3)), 0, 1))
        shade[mask], angle[mask] = dark[mask], heading[mask]

    cuts = [
        ((x - right * rng.random()) * math.sin(t) - (y - rng.random()) * math.cos(t))
        for t in (0.5, 1.3, 2.1, 2.7, 0.9, 1.8)
    ]
    names = sum((cut > 0).astype(int) << k for k, cut in enumerate(cuts))
    paint_in(x > -1, names, np.exp(-np.abs(cuts[0]) / 0.12) + np.exp(-np.abs(cuts[3]) / 0.1), angle.copy(), 0.92)
    wheels = [
        (0.30, 0.34, 0.40),
        (0.80, 0.72, 0.36),
        (0.88, 0.20, 0.25),
        (0.16, 0.84, 0.26),
        (0.53, 0.60, 0.17),
        (0.56, 0.10, 0.13),
        (0.50, 0.93, 0.12),
        (0.06, 0.50, 0.10),
    ]
    for cx, cy, size in wheels:
        r = np.hypot(x - cx * right, y - cy) + 0.003 * noise(rng, x, 0.08)
        turn = np.arctan2(y - cy, x - cx * right)
        ring = np.floor(np.clip(r / size, 0, 0.999) ** 0.85 * (3 + round(size * 11))).astype(int)
        sectors = 4 + 2 * (size > 0.2)
        part = (turn + rng.uniform(0, 6) + 0.35 * ring * (size < 0.3)) % (2 * math.pi) / (2 * math.pi) * sectors
        sector = np.floor(part).astype(int)
        paint_in(r < size, ring * 64 + sector, np.exp(-(part % 1) / 0.22) * 0.8, turn + math.pi / 2, 1.0)
    table = np.concatenate(tables).astype(np.float32)
    edge = np.zeros_like(x)
    edge[1:] += piece[1:] != piece[:-1]
    edge[:, 1:] += piece[:, 1:] != piece[:, :-1]
    scene = table[piece] * (1.1 - 0.5 * np.clip(shade, 0, 1))[..., None]
    angle = np.arctan2(np.sin(angle), np.cos(angle))

    paint = Paint(np.clip(scene * 0.85, 0, 1), rng)
    for spacing, breadth, length in ((0.017, 0.024, 0.07), (0.012, 0.014, 0.05), (0.011, 0.009, 0.036)):
        for px, py in scatter(rng, width, height, spacing):
            colour = sample(scene, px, py) + rng.normal(0, 0.04) + rng.normal(0, 0.025, 3)
            path = follow(angle, px, py, length * rng.uniform(0.6, 1.2), 5)
            home = [sample(piece, *p) == sample(piece, px, py) for p in path]
            path = path[: max(2, home.index(False))] if False in home else path
            second = colour * rng.choice([0.72, 1.2])
            paint.stroke(
                path, breadth * rng.uniform(0.7, 1.15), colour, second=second, streak=0.9, dry=0.25, taper=0.12
            )
    seam = np.clip(blur(edge, 0.0018 * min(width, height)) * 2.6 - 0.35, 0, 1) * (
        0.25 + 0.3 * np.clip(noise(rng, x, 0.1), 0, 1)
    )
    return light(mix(paint.rgb, rgb("17141c")[0], seam), paint.height, 0.4)
