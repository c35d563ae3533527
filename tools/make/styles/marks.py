"""Pictures of many small marks: dots of paint, and hatching in wax crayon."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Array, Paint, axes, bezier, blur, light, mix, noise, ramp, rgb, sample, scatter, shift_hue, step


def pointillism(rng: np.random.Generator, width: int, height: int) -> Array:
    """Dots of pure colour: trees and sails by a river in evening light."""
    x, y = axes(width, height)
    sky = ramp(rgb("5f86c9 8fb0dc d6c3d8 f7d2a4 fbe08c"), y / 0.5 + 0.06 * noise(rng, x, (0.3, 0.06)))
    sun = np.hypot(x - 0.66, y - 0.36)
    scene = mix(sky, rgb("fff3b0")[0], np.exp(-((sun / 0.12) ** 2)))
    far = step(y - (0.45 + 0.03 * np.sin(7 * x) + 0.012 * noise(rng, x, 0.05)), 0.004)
    scene = mix(scene, ramp(rgb("7b74b8 6b9a8c"), x), far)
    water = ramp(rgb("f3cf8e 88b3d1 3f78b5 2b4f94"), (y - 0.5) / 0.32 + 0.12 * noise(rng, x, (0.2, 0.015)))
    shine = np.exp(-(((x - 0.66) / (0.04 + 0.25 * np.clip(y - 0.5, 0, 1))) ** 2))
    scene = mix(scene, mix(water, rgb("ffdf8a")[0], 0.8 * shine), step(y - 0.5, 0.003))
    for cx, base, size, hue in (
        (0.47, 0.60, 0.15, "fffbe8"),
        (0.83, 0.55, 0.09, "fbe6c4"),
        (0.60, 0.53, 0.06, "f3c8a0"),
    ):
        up = (base - y) / size
        sail = (up > 0) & (up < 1) & (x - cx > -0.05 * size) & (x - cx < 0.5 * size * (1 - up))
        jib = (up > 0.05) & (up < 0.8) & (x - cx < -0.08 * size) & (x - cx > -0.33 * size * (1 - up / 0.8))
        scene[sail | jib] = rgb(hue)[0] - 0.12 * np.clip(up[sail | jib, None], 0, 1) * rgb("204000")[0]
        hull = (np.abs(x - cx - 0.08 * size) < 0.42 * size) & (y > base) & (y < base + 0.09 * size)
        scene[hull] = rgb("8c2f2a")[0]
        mirror = (np.abs(x - cx - 0.1 * size) < 0.2 * size) & (y > base + 0.1 * size) & (y < base + 0.8 * size)
        scene[mirror] = 0.55 * scene[mirror] + 0.45 * rgb(hue)[0]
    bank = step(y - (0.80 - 0.16 * np.exp(-((x / 0.35) ** 2)) + 0.05 * np.sin(4 * x + 1)), 0.004)
    grass = ramp(rgb("e9d95b a9c94a 4f9a4a 2a6a54 2d4a75"), 0.5 + 0.5 * noise(rng, x, (0.3, 0.06), 2))
    scene = mix(scene, grass, bank)
    leaf = noise(rng, x, 0.07, 3)
    for cx, cy, rx, ry in ((0.10, 0.28, 0.24, 0.23), (0.26, 0.16, 0.17, 0.14), (0.97, 0.30, 0.15, 0.21)):
        inside = 1 - np.hypot((x - cx) / rx, (y - cy) / ry) + 0.22 * leaf
        side = (x - cx) / rx * 0.5 - (y - cy) / ry * 0.45 + 0.5 * leaf
        crown = ramp(rgb("1f3f63 24605a 3f8f4c 9cbf3f f2cf4a"), 0.42 + 0.5 * side)
        trunk = step(0.014 - np.abs(x - cx - 0.02 * np.sin(9 * y)), 0.003) * (y > cy) * (y < cy + 0.52)
        scene = mix(scene, rgb("4a2f4f")[0], trunk)
        scene = mix(scene, crown, step(inside, 0.02))

    scale = min(width, height)
    canvas = Image.fromarray((np.clip(blur(scene, 6) * 0.6 + 0.36, 0, 1) * 255).astype(np.uint8))
    bump = Image.new("L", canvas.size, 60)
    draw, press = ImageDraw.Draw(canvas), ImageDraw.Draw(bump)
    shifts = (0.0, 0.0, 0.55, -0.55, 1.0, math.pi)
    for spacing, size in ((0.0145, 0.0118), (0.0117, 0.0092), (0.0117, 0.0073)):
        for px, py in scatter(rng, width, height, spacing):
            colour = sample(scene, px + rng.normal(0, 0.004), py + rng.normal(0, 0.004))
            grey = colour.mean()
            colour = shift_hue(grey + (colour - grey) * 1.35, shifts[rng.integers(6)]) + rng.normal(0, 0.07)
            fill = tuple(int(255 * c) for c in np.clip(colour, 0, 1))
            r = size * scale * rng.uniform(0.75, 1.15)
            box = (px * scale - r, py * scale - r, px * scale + r, py * scale + r)
            draw.ellipse(box, fill)
            press.ellipse(box, int(rng.integers(90, 220)))
    return light(np.asarray(canvas, np.float32) / 255, blur(np.asarray(bump, np.float32) / 255, 2), 0.7)


def crayon(rng: np.random.Generator, width: int, height: int) -> Array:
    """Wax crayon hatched on rough paper: a hill town under a hot sun."""
    x, y = axes(width, height)
    region = np.zeros(x.shape, int)
    palettes = [rgb("2f8fd0 6cc0e8 3a62c4 8fd3d0"), rgb("f6a821 f9d13c ef6f2f fbe57a")]
    slants = [0.35, 0.0]
    angle = np.full_like(x, 0.35) + 0.3 * noise(rng, x, 0.4)

    def area(mask: Array, codes: str, slant: float) -> None:
        palettes.append(rgb(codes))
        slants.append(slant)
        region[mask] = len(palettes) - 1
        angle[mask] = slant

    sun = np.hypot(x - 0.73, y - 0.2)
    region[sun < 0.24 + 0.03 * np.sin(14 * np.arctan2(y - 0.2, x - 0.73))] = 1
    rays = sun < 0.3
    angle[rays] = (np.arctan2(y - 0.2, x - 0.73) + math.pi / 2 * (sun < 0.12))[rays]
    area(sun < 0.11, "e8402a f2702c f9a03c d92f4a", 0.8)
    for row, (level, codes) in enumerate((
        (0.44, "7f5fb8 b07fc8 4f58b0 d88fb8"), (0.58, "2f9f5a 7fc04a 1f7a6a c9d84a"),
        (0.80, "e0552f f0903a c03a5a f6c04a")
    )):  # fmt: skip
        edge = level + 0.055 * np.sin((4 + row) * x + 2.2 * row) + 0.02 * np.sin(13 * x + row)
        area(y > edge, codes, (-0.5, 0.55, -0.25)[row])
    walls = ("f6e7c0 f2c9a0 f9f0dd e8b890", "e8a0a8 f6c8b8 d8788f f9ded0", "f2cf5a f9e59a e0a83a fbf0c8")
    for k in range(13):
        cx, foot = (k + 0.5) / 13 + rng.normal(0, 0.012), 0.66 + 0.1 * math.sin(4 * k) + rng.uniform(-0.02, 0.06)
        w, h = rng.uniform(0.045, 0.075), rng.uniform(0.09, 0.19)
        area((np.abs(x - cx) < w) & (y < foot) & (y > foot - h), walls[k % 3], 1.4)
        roof = (y < foot - h + 0.004) & (y > foot - h - 0.07 + 0.07 * np.abs(x - cx) / w)
        area(roof & (np.abs(x - cx) < w * 1.15), "c8352a e0552f 9a2440 f07a3a", -0.8)
        for side in (-0.45, 0.45):
            pane = (np.abs(x - cx - side * w) < w * 0.2) & (np.abs(y - foot + h * 0.6) < h * 0.13)
            area(pane, "24407f 2f6fb0 1a2a5a 3f90c0", 1.5)
    for k in range(11):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0.80, 0.98), rng.uniform(0.02, 0.05)
        area(
            np.hypot(x - cx, (y - cy) * 0.9) < r,
            ("1f6a4a 4fa04a 12503f 8fc04a", "5a3f9a 8f6fc8 3f2f7a c08fd0")[k % 2],
            2.2,
        )

    tooth = 0.6 * noise(rng, x, 0.0045, 2) + 0.3 * noise(rng, x, (0.02, 0.004))
    paint = Paint(np.ones((*x.shape, 3), np.float32) * rgb("f7f1e3")[0], rng, tooth=tooth + 0.34)
    for turn, spacing, breadth in ((0.0, 0.0135, 0.013), (1.15, 0.017, 0.011), (-0.25, 0.015, 0.009)):
        for px, py in scatter(rng, width, height, spacing):
            k = int(sample(region, px, py))
            colour = palettes[k][rng.choice(4, p=(0.4, 0.3, 0.18, 0.12))] + rng.normal(0, 0.02, 3)
            tilt = float(sample(angle, px, py)) + turn + rng.normal(0, 0.09)
            for reach in (0.075, 0.04, 0.02):
                reach = reach * rng.uniform(0.7, 1.1)
                ends = [(px + s * reach * math.cos(tilt), py + s * reach * math.sin(tilt)) for s in (-0.5, 0.5)]
                if all(int(sample(region, *end)) == k for end in ends):
                    break
            bow = rng.normal(0, 0.08) * reach
            pull = (px - 2 * bow * math.sin(tilt), py + 2 * bow * math.cos(tilt))
            path = bezier(ends[0], pull, ends[1], count=4)
            paint.stroke(path, breadth * rng.uniform(0.7, 1.2), colour, opacity=0.88, taper=0.05, bristles=5)
    return light(paint.rgb, paint.height * 0.5 + tooth * 0.25, 0.3)
