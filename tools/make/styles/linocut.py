"""A linocut: gouges through black ink over a few flat colours."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Array, axes, bezier, blur, follow, mix, noise, ramp, rgb, sample, scatter, step


def linocut(rng: np.random.Generator, width: int, height: int) -> Array:
    """Gouges cut through black ink over ochre, red and teal: a spiral tree on furrowed hills."""
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    sun = np.hypot(x - 0.30, y - 0.30)
    crown = np.hypot((x - 0.68) * 1.05, y - 0.36) - 0.215 - 0.018 * np.sin(9 * np.arctan2(y - 0.36, x - 0.68))
    lean = 0.68 + 0.03 * np.sin(7 * y)
    trunk = np.abs(x - lean) - 0.022 - 0.10 * np.clip(y - 0.66, 0, 1) ** 1.5
    trunk = np.where((y > 0.42) & (y < 0.86), trunk, 1)
    ground = ramp(rgb("5fb0a8 9ccab0 f0dba6 f2b45a"), y / 0.55)
    tone = 0.50 + 0.2 * np.sin(30 * sun) * (sun > 0.15)
    angle = np.arctan2(y - 0.30, x - 0.30) + math.pi / 2 * (np.sin(30 * sun) > 0.1)
    ground = mix(ground, rgb("f2a02e")[0], step(0.15 - sun, 0.002))
    tone = np.where(sun < 0.135, 0.95, np.where(sun < 0.15, 0.0, tone))
    angle = np.where(sun < 0.15, np.arctan2(y - 0.30, x - 0.30), angle)
    hues = rgb("2f8f86 d9532f e8a83c 3f7f5a c23a32")
    for row in range(5):
        level = 0.55 + 0.095 * row
        edge = y - (level + 0.06 * np.sin((3 + 0.9 * row) * x + 2.4 * row) + 0.01 * np.sin(17 * x))
        inside = edge > 0
        ground[inside] = hues[row]
        swing = (x - (0.9 if row % 2 else 0.1)) * (1.4 if row % 2 else 1.2)
        angle = np.where(
            inside, np.arctan2(0.9 + 0 * x, swing) if row in (1, 3) else 0.6 * np.sin(5 * x + row) - 0.1, angle
        )
        tone = np.where(inside, 0.35 + 0.4 * (row % 2) + 0.3 * np.sin(60 * edge), tone)
        tone = np.where(inside & (edge < 0.010), 0.0, tone)
    leaf = crown < 0
    ground[leaf] = rgb("e2c255")[0]
    ground[leaf & (noise(rng, x, 0.09) > 0.25)] = rgb("d9532f")[0]
    around = np.arctan2(y - 0.36, x - 0.68)
    spiral = np.sin(around * 2 + np.hypot(x - 0.68, y - 0.36) * 62)
    angle = np.where(leaf, around + math.pi / 2 - 0.35, angle)
    tone = np.where(leaf, 0.48 + 0.42 * spiral, tone)
    tone = np.where(np.abs(crown) < 0.008, 0.0, tone)
    wood = trunk < 0
    ground[wood] = rgb("f0dba6")[0]
    angle = np.where(wood, 1.5 + 0.9 * np.clip(y - 0.66, 0, 1) * np.sign(x - lean), angle)
    tone = np.where(wood, 0.15 + 0.55 * (x < lean), tone)

    key = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(key)
    taken = np.zeros((int(height / unit * 512) + 2, int(right * 512) + 2), bool)
    for px, py in np.concatenate([scatter(rng, width, height, 0.0085) for _ in range(5)]):
        value = float(np.clip(sample(tone, px, py) + rng.normal(0, 0.04), 0, 1))
        path = follow(angle, px, py, rng.uniform(0.05, 0.11), 12)
        spots = np.clip((path * 512).astype(int), 0, (taken.shape[1] - 1, taken.shape[0] - 1))
        met = taken[spots[:, 1], spots[:, 0]] | [float(sample(tone, *p)) < 0.1 for p in path]
        path = path[: np.argmax(met)] if met.any() else path
        if value < 0.1 or len(path) < 4:
            continue
        for i, j in spots[: len(path)]:
            taken[max(j - 2, 0) : j + 3, max(i - 2, 0) : i + 3] = True
        side = np.gradient(path, axis=0)[:, ::-1] * (-1, 1)
        side /= np.hypot(*side.T)[:, None] + 1e-9
        half = (0.0013 + 0.0033 * value) * np.sin(np.linspace(0.25, math.pi, len(path)))[:, None] ** 0.6
        outline = np.vstack([path + side * half, (path - side * half)[::-1]]) * unit
        draw.polygon([tuple(p) for p in outline], 0)
    for k in range(7):
        bx, by, wing = 0.08 + 0.11 * k + rng.normal(0, 0.03), 0.08 + 0.05 * math.sin(3 * k), 0.028
        bird = bezier((bx - wing, by - 0.3 * wing), (bx - 0.3 * wing, by - wing), (bx, by + 0.2 * wing), count=9)
        bird = np.vstack(
            [bird, bezier((bx, by + 0.2 * wing), (bx + 0.3 * wing, by - wing), (bx + wing, by - 0.3 * wing), count=9)]
        )
        draw.line([tuple(p * unit) for p in bird], 0, max(1, int(0.009 * unit)), joint="curve")
        draw.line([tuple(p * unit) for p in bird], 255, max(1, int(0.006 * unit)), joint="curve")
    ink = step(blur(np.asarray(key, np.float32) / 255, 1) - 0.5 + 0.12 * noise(rng, x, 0.006, 2), 0.2)
    salt = step(noise(rng, x, 0.004, 2) + 0.25 * noise(rng, x, 0.08) - 1.02, 0.15)
    ground = np.roll(ground, (int(0.003 * unit), int(-0.004 * unit)), (0, 1))
    ground = ground + (0.05 * noise(rng, x, 0.006, 2) + 0.03 * noise(rng, x, 0.1))[..., None]
    black = rgb("1b1a20")[0] + 0.03 * noise(rng, x, 0.012, 2)[..., None]
    return mix(ground, black, np.clip(ink - 0.6 * salt, 0, 1))
