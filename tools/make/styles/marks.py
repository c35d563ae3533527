"""Pictures of many small marks: dots of paint, and hatching in wax crayon."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Array, Paint, axes, blur, follow, light, mix, noise, ramp, rgb, sample, scatter, shift_hue, step
from .scenery import look, read, slopes


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
    """Wax crayon on plum paper: a patchwork of fields under a low sun, hedges with long shadows."""
    land, layout, hand = rng.spawn(3)
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    u, v = axes(384, 384)
    ground = 0.5 * noise(land, u, 0.45) + 0.25 * noise(land, u, 0.2) + 0.9 * v**2 * (0.6 + 0.4 * noise(land, u, 0.35))
    tall, horizon, eye, near = 0.17, 0.33, 0.215, 0.13
    seen = look(x, y, ground, horizon=horizon, eye=eye, tall=tall, near=near)
    across, away = (read(f, seen.u, seen.v) for f in slopes(ground, tall))
    lit = (0.40 + 1.5 * across - 0.35 * away) / np.sqrt(1 + across**2 + away**2)

    fields = layout.uniform(0, 1, (70, 2))
    turn = layout.uniform(0, math.pi, 70)
    cell, gap, next_gap = np.zeros(x.shape, int), np.full(x.shape, 9.0, np.float32), np.full(x.shape, 9.0, np.float32)
    bow = 0.012 * np.sin(17 * seen.v + 5 * seen.u)
    for k, (a, b) in enumerate(fields):
        far = np.hypot(seen.u + bow - a, (seen.v - b) * 0.8)
        next_gap = np.minimum(next_gap, np.maximum(gap, far))
        cell, gap = np.where(far < gap, k, cell), np.minimum(gap, far)
    rows = np.cos(turn)[cell] * seen.u + np.sin(turn)[cell] * seen.v
    palettes = [rgb(codes) for codes in (
        "5a2f5e b0602e f0a32c ffd75a", "17385a 1f7a52 6fb03a e0d84a", "4f1f5a b0304a ee5a34 ffae52",
        "1c3f70 2a8f86 8fcf7a f4ec92", "5f2f66 c8742c f7b93a fff09a", "33297a 6f55b0 c07fb8 ffc09a",
    )]  # fmt: skip
    kind = layout.permutation(np.arange(70) % 6)
    furrow = np.sin(rows * 300) * np.exp(-1.6 * seen.depth)
    tone = 0.20 + 0.95 * lit + 0.30 * furrow + 0.10 * noise(rng, x, 0.06, 2)
    scene = np.zeros((*x.shape, 3), np.float32)
    for k, palette in enumerate(palettes):
        mine = kind[cell] == k
        scene[mine] = ramp(palette, tone[mine])
    haze = np.clip(1.5 * seen.depth - 0.95, 0, 0.5)
    scene = mix(scene, ramp(rgb("f3b25f c98a8f 7a78a8"), x / right), haze)
    gy, gx = np.gradient(blur(np.where(seen.land > 0, rows, 0), 1))
    angle = np.arctan2(gx, -gy).astype(np.float32)
    region = cell + 1

    sx, sy = 0.20 * right, horizon - 0.085
    glow = np.hypot((x - sx) * 0.8, y - sy)
    clouds = noise(rng, x, (0.50, 0.09), 3) + 0.35 * noise(rng, x, (0.12, 0.04), 2)
    sky = ramp(rgb("fff0b0 fbd06a f2a05a d9808a 8f7fb4 4f83b8 2f6aa8 27508f"), glow * 1.15 + 0.06 * clouds)
    bank = step(clouds - 0.28 + 0.35 * np.abs(y - 0.2), 0.22)
    under = np.clip(blur(clouds, 0.02 * unit) - clouds + 0.55, 0, 1)
    sky = mix(sky, ramp(rgb("6a5a94 b0708f f0a878 ffe6ae"), 1.25 * under - 0.55 * glow), 0.85 * bank)
    disc = np.hypot(x - sx, y - sy) < 0.048
    sky[disc] = rgb("fff2b4")[0]
    above = seen.land < 0.5
    disc &= above
    scene[above] = sky[above]
    region[above] = 0
    stream = y + 0.5 * x * (y - 0.5) + 0.05 * clouds + 0.13 * np.exp(-((glow / 0.16) ** 2))
    gy, gx = np.gradient(stream)
    angle = np.where(above, np.arctan2(-gx, gy), angle).astype(np.float32)
    angle[disc], region[disc] = (np.arctan2(y - sy, x - sx) + math.pi / 2)[disc], -1

    ruffle = 0.22 * noise(rng, x, 0.014, 2)
    trees = []
    for _ in range(330):
        a, b = layout.uniform(0.02, 0.98), layout.uniform(0.03, 0.95) ** 1.3
        order = np.sort(np.hypot(fields[:, 0] - a, (fields[:, 1] - b) * 0.8))
        if order[1] - order[0] < 0.03:
            trees.append((b + near, a, float(read(ground, np.array(a), np.array(b))), layout.uniform(0.7, 1.3)))
    for distance, a, level, size in sorted(trees, reverse=True):
        px = (a - 0.5) * (near + 1) * right / 0.98 / distance + right / 2
        py = horizon + (eye - tall * level) / distance
        r = 0.0135 * size / distance
        if not (-0.1 < px < right + 0.1 and py < 1.05):
            continue
        cast = np.exp(-((np.clip(np.abs(x - px - 2.0 * r) / (2.6 * r), 0, 9)) ** 4) - ((y - py - 0.16 * r) / (0.22 * r)) ** 2)
        scene = mix(scene, scene * rgb("4a3f86")[0] * 1.2, 0.75 * cast * (seen.land > 0.5))
        lumps = [
            (px + r * layout.normal(0, 0.55), py - r * layout.triangular(0.1, 0.9, 2.0), r * layout.uniform(0.25, 0.5))
            for _ in range(12)
        ]
        crown, face = np.full_like(x, -1), np.zeros_like(x)
        i0, i1 = (int(np.clip(q * unit, 0, height)) for q in (py - 3 * r, py + r))
        j0, j1 = (int(np.clip(q * unit, 0, width)) for q in (px - 3 * r, px + 3 * r))
        box = (slice(i0, i1), slice(j0, j1))
        for cx, cy, size in lumps:
            dx, dy = (x[box] - cx) / size, (y[box] - cy) / size
            inside = 1 - dx**2 - dy**2
            front = inside > crown[box]
            crown[box] = np.where(front, inside, crown[box])
            face[box] = np.where(front, 0.5 - 0.55 * dx - 0.30 * dy, face[box])
        mine = crown > 0
        leaf = ramp(rgb("2a2350 2b4a58 4f7a45 b0a840 f5d060"), face + ruffle)
        scene[mine] = mix(leaf, scene, float(np.clip(0.9 * (distance - 0.5), 0, 0.5)))[mine]
        region[mine] = 100 + len(trees)
        angle[mine] = 1.2

    tooth = 0.6 * noise(rng, x, 0.0045, 2) + 0.3 * noise(rng, x, (0.02, 0.004))
    paint = Paint(mix(0.62 * scene, rgb("6a2f52")[0], 0.35), hand, tooth=tooth + 0.36)
    for spacing, breadth, reach, turn, spread in (
        (0.0140, 0.0150, 0.080, 0.0, 0.05), (0.0100, 0.0092, 0.055, 0.22, 0.08), (0.0082, 0.0062, 0.038, -0.08, 0.10)
    ):  # fmt: skip
        for px, py in scatter(hand, width, height, spacing):
            home = int(sample(region, px, py))
            deep = float(sample(seen.depth, px, py)) if home > 0 else 0.0
            tree = home > 100
            scale = hand.uniform(0.6, 1.15) * (1 - 0.5 * deep) * (0.8 if home > 0 else 1)
            colour = sample(scene, px, py) * hand.choice((0.88, 1.0, 1.0, 1.12)) + hand.normal(0, 0.022, 3)
            colour = shift_hue(colour, float(hand.normal(0, 0.13)))
            lean = turn * (home < 1) + float(hand.normal(0, 0.7 if tree else spread))
            path = follow(angle, px, py, reach * scale * (0.3 if tree else 1), 5)
            c, s = math.cos(lean), math.sin(lean)
            path = (path - path[0]) @ np.array([[c, s], [-s, c]]) + path[0]
            kept = [int(sample(region, *p)) == home for p in path]
            path = path[: max(2, kept.index(False))] if False in kept else path
            paint.stroke(path, breadth * scale, colour, second=colour * 0.85, streak=0.6, opacity=0.92, taper=0.06, bristles=6)
    return light(paint.rgb, paint.height * 0.5 + tooth * 0.25, 0.34)
