"""Brush and ink on warm paper."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Array, Paint, axes, bezier, blur, follow, noise, rgb, sample, scatter, step
from .scenery import Camera, bend, read, slopes


def peaks(rng: np.random.Generator, side: int) -> Array:
    """A height map of steep, folded peaks on either side of an open valley. `(side, side)`."""
    u, v = axes(side, side)
    base = np.zeros_like(u)
    bow = 0.025 * noise(rng, u, 0.1, 3), 0.025 * noise(rng, u, 0.1, 3)
    for _ in range(90):
        a, b = rng.uniform(-0.05, 1.05), rng.uniform(0.0, 1)
        aside = abs(a - 0.52 - 0.13 * math.sin(6 * b)) / (0.13 + 0.13 * b)
        if aside < 0.6 + 0.4 * rng.random():
            continue
        reach = rng.uniform(0.04, 0.10) * (0.5 + 0.75 * b)
        away = np.hypot(u - a + bow[0], v - b + bow[1]) / reach
        tall = rng.uniform(0.35, 1) * (0.16 + 0.95 * b) * min(1, 0.35 + 0.5 * aside)
        base = np.maximum(base, tall * np.exp(-(away**1.35)))
    fold = np.zeros_like(u)
    for cell, weight in ((0.10, 0.5), (0.045, 0.3), (0.022, 0.16), (0.011, 0.07)):
        fold += weight * (1 - 2 * np.abs(noise(rng, u, cell)))
    return base * (0.72 + 0.55 * fold) + 0.02 * noise(rng, u, 0.08, 3)


def maple(paint: Paint, rng: np.random.Generator, right: float) -> None:
    """A bent tree that reaches in from the right: branches first, then leaves about their tips."""
    tips: list[tuple[float, float, float]] = []

    def grow(px: float, py: float, came: float, way: float, reach: float, thick: float) -> None:
        lead = (px + 0.4 * reach * math.cos(came), py + 0.4 * reach * math.sin(came))
        way += rng.normal(0, 0.16)
        end = (lead[0] + 0.6 * reach * math.cos(way), lead[1] + 0.6 * reach * math.sin(way))
        knee = (lead[0] + rng.normal(0, 0.07) * reach, lead[1] + rng.normal(0, 0.07) * reach)
        path = bezier((px, py), lead, knee, end, count=9)
        bark = rgb("6b5a48")[0]
        dry = 0.3 if thick > 0.008 else 0.1
        paint.stroke(path, thick, rgb("15151a")[0], second=bark, streak=0.7, dry=dry, taper=0.12, bristles=12)
        if thick < 0.006:
            tips.extend((*point, way) for point in (path[4], path[8]))
        if thick < 0.0024:
            return
        for side in rng.permutation([-1, 1])[: 2 if rng.random() < 0.9 else 1]:
            turn = way + side * rng.uniform(0.2, 0.7)
            grow(*end, way, turn, reach * rng.uniform(0.68, 0.9), thick * rng.uniform(0.6, 0.78))

    for foot, way, thick in ((0.80, math.pi + 0.35, 0.036), (0.60, math.pi + 0.1, 0.021)):
        grow(right + 0.02, foot, way, way, 0.19, thick)
    hues = rgb("e39a48 dd6f33 cc4a2b a8321f 7d2f20 3a2624 1d1c20")  # from the lit side of a spray to its shade
    for px, py, way in tips:
        for _ in range(int(rng.integers(5, 11))):
            aside, below = rng.normal(0, 0.022), rng.normal(0, 0.016)
            a, b = px + aside, py + below
            hue = hues[int(np.clip(2.6 + 50 * aside + 75 * below + rng.normal(0, 1.2), 0, 6))]
            lean, reach = way + rng.normal(0, 0.9), rng.uniform(0.006, 0.015)
            leaf = [(a, b), (a + reach * math.cos(lean), b + reach * math.sin(lean))]
            paint.stroke(leaf, rng.uniform(0.004, 0.009), hue, taper=0.6, opacity=rng.uniform(0.55, 0.95), bristles=4)


def ink_wash(rng: np.random.Generator, width: int, height: int) -> Array:
    """Ink on warm paper: folded peaks in mist, a maple over the gorge, a vermilion sun."""
    land, tree, brush = rng.spawn(3)
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    fibre = noise(rng, x, (0.05, 0.004)) + noise(rng, x, (0.004, 0.04)) + noise(rng, x, 0.004)
    tooth = noise(rng, x, 0.0045, 2)
    paper = rgb("efe1c3")[0] * (1 + 0.018 * fibre + 0.03 * noise(rng, x, 0.35, 2))[..., None]
    wet = [noise(rng, x, 0.05, 4), noise(rng, x, 0.05, 4)]

    ground = peaks(land, 512)
    camera = Camera(horizon=0.33, eye=0.40, tall=0.62, near=0.30)
    seen = camera.look(x, y, ground)
    across, away = (read(f, seen.u, seen.v) for f in slopes(ground, camera.tall))
    steep = np.hypot(across, away)
    lit = (0.75 + across - 0.35 * away) / np.sqrt(1 + steep**2)
    level = read(ground, seen.u, seen.v)
    far = np.clip(seen.depth - 0.2, 0, 1)
    mist = seen.land * np.exp(-1.2 * far) * step(level - 0.05 - 0.13 * seen.depth + 0.035 * wet[0], 0.13)
    shade = np.clip(1.05 - lit, 0, 1.7)

    jump = np.zeros_like(x)
    jump[1:] = np.clip(seen.depth[:-1] - seen.depth[1:] - 0.015, 0, 0.1) * 10
    ridge = np.clip(blur(jump, 0.0012 * unit) * 7, 0, 1) * np.clip(0.6 + 0.9 * wet[1], 0, 1)
    body = bend(shade * mist, 0.008 * wet[0], 0.008 * wet[1])
    body = 0.6 * body + 0.4 * blur(body, 0.008 * unit)
    pool = np.clip(body - blur(body, 0.010 * unit), 0, 1)
    grain = 1 + 0.15 * tooth * np.clip(body * 3, 0, 1) + 0.25 * wet[1]
    cool = (0.95 * body**1.25 + 0.8 * pool) * grain + 0.7 * ridge * mist
    warm = bend(np.clip(lit - 0.2, 0, 1) * mist * np.clip(1.3 * steep, 0, 1), 0.010 * wet[1], 0.010 * wet[0])
    sky = np.clip(0.55 * noise(rng, x, (0.55, 0.10), 3) + 0.30 - 0.5 * y + 0.2 * wet[0], 0, 1) * (1 - seen.land)
    sky = 0.9 * bend(sky, 0.02 * wet[0], 0.02 * wet[1]) + 1.5 * np.clip(sky - blur(sky, 0.02 * unit), 0, 1)
    river = np.clip(noise(rng, x, (0.5, 0.02), 2) + 0.5 * noise(rng, x, (0.16, 0.008)) - 0.35, 0, 1) * (1 - mist)
    river = river * np.clip((y - 0.5) * 2.5, 0, 1)

    def stain(density: Array, tint: str, strength: float) -> None:
        nonlocal picture
        picture = picture * np.exp(-density[..., None] * strength * (1.05 - rgb(tint)[0]))

    picture = paper
    stain(sky * grain, "7f93a3", 0.75)
    stain(river * grain, "6f8a96", 0.95)
    sun = np.hypot(x - 0.585 * right, y - 0.185) - 0.082 + 0.004 * wet[1]
    red = step(-sun, 0.004) * (0.80 + 0.22 * wet[0]) + 0.35 * np.exp(-((sun / 0.006) ** 2))
    stain((red + 0.20 * np.exp(-np.clip(sun, 0, 1) / 0.07)) * (1 - seen.land), "dc5330", 1.55)
    stain(warm * grain, "c98d4e", 1.0)
    stain(cool * far, "3f5f7f", 2.3)
    stain(cool * (1 - far), "3a3634", 1.5)

    fall = np.arctan2(0.35 + steep**2, -across).astype(np.float32)
    paint = Paint(picture, brush, tooth=0.45 + 0.45 * tooth)
    for spacing, breadth, length in ((0.015, 0.014, 0.06), (0.009, 0.0075, 0.042), (0.0066, 0.0040, 0.026)):
        for px, py in scatter(rng, width, height, spacing):
            dark = float(sample(body, px, py))
            if rng.random() > 1.1 * dark - 0.25:
                continue
            path = follow(fall, px, py, length * rng.uniform(0.5, 1.2) * (0.5 + dark), 6)
            paint.stroke(
                path,
                breadth * rng.uniform(0.6, 1.3),
                rgb("20242c 2b2a2b 33291f")[rng.integers(3)],
                dry=rng.uniform(0.3, 0.9),
                opacity=float(np.clip(0.75 * dark - 0.1, 0.08, 0.7)),
                taper=0.5,
                bristles=10,
            )

    paint.tooth = 0.75 + 0.3 * tooth
    maple(paint, tree, right)
    return np.clip(
        paint.rgb * (1 + 0.05 * tooth * (1 - paint.rgb.mean(-1)))[..., None] + 0.006 * fibre[..., None], 0, 1
    )
