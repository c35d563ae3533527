"""Paper: cut and pinned, and marbled."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Array, axes, blur, light, mix, noise, rgb, sample, scatter, step


def cutouts(rng: np.random.Generator, width: int, height: int) -> Array:
    """Leaves, stars and waves cut from painted paper and pinned one over another."""
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    colours = rgb("1a4fa8 e63a2c f8b826 1a8f62 f7f0de ee86a8 5b2d88 1a1a22 35a4cf f5dd6a f2742e 10376e")

    def sheet(colour: Array) -> Array:
        """Gouache brushed on paper: streaks one way, thin and thick."""
        tilt = rng.uniform(-0.5, 0.5) + rng.choice([0, math.pi / 2])
        along, over = x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)
        bars = noise(rng, x, (0.5, 0.005) if abs(tilt) < 0.8 else (0.005, 0.5), 2)
        wavy = 0.25 * np.sin(over * 130 + 3 * np.sin(along * 5) + 6 * bars) + bars * (0.6 + 0.6 * noise(rng, x, 0.15))
        return colour * (1 + 0.085 * wavy + 0.05 * noise(rng, x, 0.12, 2))[..., None] + 0.02 * wavy[..., None]

    picture = np.zeros((*x.shape, 3), np.float32)
    height_map = np.zeros_like(x)

    def lay(mask: Array, colour: Array, drop: float = 0.006) -> None:
        """Pin a piece on top: its shadow below and to the right, its lit edge above."""
        nonlocal picture, height_map
        offset = int(drop * unit) + 1
        shadow = blur(np.roll(mask, (offset, offset), (0, 1)), drop * unit)
        picture = picture * (1 - 0.5 * np.clip(shadow - mask, 0, 1))[..., None]
        picture = mix(picture, sheet(colour), mask)
        height_map = height_map * (1 - mask) + mask * (height_map.max() + 0.02)

    def soft(draw_into: Image.Image, radius: float) -> Array:
        return step(blur(np.asarray(draw_into, np.float32) / 255, radius * unit) - 0.5, 0.06)

    def disc(draw: ImageDraw.ImageDraw, a: float, b: float, r: float) -> None:
        draw.ellipse([(a - r) * unit, (b - r) * unit, (a + r) * unit, (b + r) * unit], 255)

    def frond(a: float, b: float, size: float, heading: float, pairs: int) -> Array:
        image = Image.new("L", (width, height))
        draw = ImageDraw.Draw(image)
        bend = rng.normal(0, 0.25)
        for s in np.linspace(-0.5, 0.5, 60):
            way = heading + bend * s
            px, py = a + size * s * math.cos(way), b + size * s * math.sin(way)
            disc(draw, px, py, size * (0.045 - 0.03 * s))
        for k in range(pairs):
            s = -0.42 + 0.9 * k / pairs
            way = heading + bend * s
            px, py = a + size * s * math.cos(way), b + size * s * math.sin(way)
            reach = size * (0.40 - 0.42 * abs(s + 0.06)) * rng.uniform(0.85, 1.15)
            for side in (-1, 1):
                for q in np.linspace(0, 1, 30):
                    turn = way + side * (1.2 - 0.35 * q)
                    disc(
                        draw,
                        px + reach * q * math.cos(turn),
                        py + reach * q * math.sin(turn),
                        size * (0.026 + 0.018 * q * q),
                    )
        return soft(image, 0.006)

    def burst(a: float, b: float, size: float, points: int) -> Array:
        swing = np.linspace(0, 2 * math.pi, points * 2, endpoint=False) + rng.uniform(0, 1)
        radius = np.where(np.arange(points * 2) % 2, 0.42, 1.0) * size * rng.uniform(0.85, 1.1, points * 2)
        image = Image.new("L", (width, height))
        ImageDraw.Draw(image).polygon(
            [
                (float((a + r * math.cos(t)) * unit), float((b + r * math.sin(t)) * unit))
                for r, t in zip(radius, swing, strict=True)
            ],
            255,
        )
        return soft(image, 0.003)

    def bloom(a: float, b: float, size: float, petals: int) -> Array:
        r, turn = np.hypot(x - a, y - b) / size, np.arctan2(y - b, x - a) + rng.uniform(0, 6)
        petal = 0.62 + 0.38 * np.abs(np.sin(turn * petals / 2)) ** 0.7
        return step(petal - r, 0.012) * step(r - 0.2 - 0.05 * np.sin(turn * petals), 0.012)

    def ripple(a: float, b: float, length: float, heading: float) -> Array:
        along = (x - a) * math.cos(heading) + (y - b) * math.sin(heading)
        over = (y - b) * math.cos(heading) - (x - a) * math.sin(heading) - 0.032 * np.sin(along * 36)
        return step(0.021 * np.clip(1.2 - np.abs(along) / length * 1.4, 0, 1) - np.abs(over), 0.0015) * (
            np.abs(along) < length
        )

    columns = np.array([0, 0.24, 0.47, 0.76, 1.0]) * right
    tones = rng.permutation([0, 4, 2, 8, 1, 3, 5, 4, 6, 2, 0, 10, 7, 9, 4, 8])
    for i in range(4):
        rows = np.concatenate([[0], np.sort(0.25 * np.arange(1, 4) + rng.uniform(-0.07, 0.07, 3)), [1]])
        for j in range(4):
            skew = 0.02 * rng.normal()
            left, up = x - columns[i] + skew * (y - 0.5), y - rows[j] + skew * (x - 0.5)
            box = np.minimum(
                np.minimum(left, columns[i + 1] - columns[i] - left + 0.03),
                np.minimum(up, rows[j + 1] - rows[j] - up + 0.03),
            )
            lay(step(box + 0.012, 0.001), colours[tones[4 * i + j]], 0.004)
    for k in range(34):
        a, b = right * ((k * 0.618 + 0.1) % 1), (k * 0.382 + 0.137 * k) % 1
        under = sample(picture, a, b)
        choice = max(rng.permutation(12)[:5], key=lambda c: float(np.abs(colours[c] - under).sum()))
        kind = k % 5
        if kind in (0, 1):
            piece = frond(a, b, rng.uniform(0.2, 0.4), rng.uniform(0, 2 * math.pi), int(rng.integers(4, 6)))
        elif kind == 2:
            piece = burst(a, b, rng.uniform(0.05, 0.1), int(rng.integers(6, 11)))
        elif kind == 3:
            piece = bloom(a, b, rng.uniform(0.07, 0.13), int(rng.integers(5, 9)))
        else:
            piece = ripple(a, b, rng.uniform(0.1, 0.2), rng.uniform(0, math.pi))
        lay(piece, colours[choice])
    return light(picture, blur(height_map, 1.5), 1.3) + 0.015 * noise(rng, x, 0.003)[..., None]


def marbling(rng: np.random.Generator, width: int, height: int) -> Array:
    """Marbled paper: drops of colour on a bath, drawn out with a stylus and a comb.

    Every move has an exact inverse, so each pixel is traced back to the drop it came from
    (Lu, Jaffer, Jin, Zhao and Mao, Mathematical Marbling, 2012).
    """
    x, y = axes(width, height)
    right = width / min(width, height)
    inks = rgb("16324f b3202c f0e4c8 d99a2b 1f7a78 f7f1e0 4f1f3f e8663c 6fb0b8 0f1a2a")
    moves: list[tuple] = []
    for cx, cy in scatter(rng, width, height, 0.14):
        order = rng.permutation(10)
        for ring in range(int(rng.integers(3, 6))):
            moves.append(
                ("drop", cx + rng.normal(0, 0.004), cy + rng.normal(0, 0.004), rng.uniform(0.035, 0.07), order[ring])
            )
    for _ in range(110):
        moves.append(
            (
                "drop",
                rng.uniform(0, right),
                rng.uniform(0, 1),
                rng.uniform(0.008, 0.024),
                int(rng.choice([5, 5, 2, 3, 9, 8])),
            )
        )
    moves += [("comb", 0.0, 0.25, 0.11), ("comb", 0.0, 0.125, -0.06), ("comb", math.pi / 2, 0.062, 0.055)]
    for cx, cy, radius, turn in (
        (0.27, 0.30, 0.17, 2.6),
        (0.74, 0.62, 0.21, -3.0),
        (0.78, 0.16, 0.11, -2.2),
        (0.22, 0.80, 0.13, 2.4),
        (0.5, 0.46, 0.07, 2.5),
    ):
        moves.append(("whirl", cx * right, cy, radius, turn))
    px, py = x.astype(np.float64), y.astype(np.float64)
    ink = np.full(x.shape, 0)
    open_water = np.ones(x.shape, bool)
    rim = np.full(x.shape, 1.0)
    for kind, *move in reversed(moves):
        if kind == "drop":
            cx, cy, radius, colour = move
            dx, dy = px - cx, py - cy
            squared = dx * dx + dy * dy
            hit = open_water & (squared < radius * radius)
            ink[hit] = colour
            rim[hit] = 1 - squared[hit] / radius**2
            open_water &= ~hit
            shrink = np.sqrt(np.clip(1 - radius * radius / np.maximum(squared, 1e-12), 0, 1))
            px, py = cx + dx * shrink, cy + dy * shrink
        elif kind == "comb":
            heading, pitch, pull = move
            over = py * math.cos(heading) - px * math.sin(heading)
            gap = np.abs((over / pitch + 0.5) % 1 - 0.5) * pitch
            slide = pull * 0.5 ** (gap / (0.22 * pitch))
            px, py = px - slide * math.cos(heading), py - slide * math.sin(heading)
        else:
            cx, cy, radius, turn = move
            dx, dy = px - cx, py - cy
            spin = -turn * np.exp(-(dx * dx + dy * dy) / (radius * radius))
            px, py = cx + dx * np.cos(spin) - dy * np.sin(spin), cy + dx * np.sin(spin) + dy * np.cos(spin)
    shade = 0.86 + 0.2 * np.clip(rim, 0, 1) ** 0.5
    grain = 0.045 * noise(rng, x, 0.004, 2) + 0.05 * noise(rng, x, 0.06, 3)
    return inks[ink] * (shade + grain)[..., None].astype(np.float32) + 0.01
