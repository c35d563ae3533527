"""Thick paint: eddies of starlight, and wheels of light."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Array, Paint, axes, follow, light, mix, noise, ramp, rgb, sample, scatter, step


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
    """Overlapping wheels of light, warm against cool, bright towards the upper left and brushed round and round."""
    layout, hand = rng.spawn(2)
    x, y = axes(width, height)
    right = width / min(width, height)
    warm = rgb("2a0f2e 6f1a36 c0352f ea7a2c f8b840 fdeaa8")
    cool = rgb("0b1436 16357a 2268a8 3fa0b4 8fd0bc e8f2d0")
    rose = rgb("1f1440 4a2a80 8f3f98 d0688f f0a8a0 fdf0d8")
    drift = noise(rng, x, 0.4, 2)
    glow = 0.95 - 0.42 * np.hypot(x / right - 0.1, y - 0.05) + 0.16 * drift
    shaft = np.sin(9 * (x * 0.55 - y) + 2 * drift)
    scene = mix(ramp(cool, glow * 0.75 + 0.12 * shaft), ramp(rose, glow * 0.85), step(shaft - 0.1, 0.5) * 0.7)
    angle = np.full_like(x, 0.95) + 0.35 * drift

    wheels = [(0.34, 0.36, 0.36), (0.86, 0.80, 0.34), (0.90, 0.18, 0.24), (0.12, 0.86, 0.27), (0.56, 0.70, 0.20)]
    while len(wheels) < 19:
        cx, cy, size = layout.uniform(0, 1), layout.uniform(0, 1), layout.uniform(0.035, 0.13)
        if all(math.hypot((cx - a) * right, cy - b) > 0.55 * (size + c) or size < 0.4 * c for a, b, c in wheels):
            wheels.append((cx, cy, size))
    for k, (cx, cy, size) in enumerate(wheels):
        dx, dy = x - cx * right, y - cy
        wobble = 1 + 0.03 * noise(rng, x, 0.15, 2)
        r, turn = np.hypot(dx, dy) / size * wobble, np.arctan2(dy, dx)
        rings = 3 + round(13 * size)
        at = np.clip(r, 0, 1) ** 0.9 * rings
        ring, inner = np.floor(at), at % 1
        split = layout.uniform(0, 2 * math.pi)
        half = step(np.sin((turn - split) * (1 + (k % 3 == 0)) + 0.25 * ring), 0.06)
        facing = 0.5 + 0.5 * np.cos(turn + 2.3)
        phase = layout.uniform(0, 6)
        bright = 0.26 + 0.42 * facing * np.clip(0.25 + r, 0, 1) + 0.30 * np.exp(-((r / 0.30) ** 2))
        bright = bright + 0.17 * np.sin(2.4 * ring + phase) - 0.20 * inner**3 + 0.10 * glow
        bands = [ramp(colours, bright) for colours in (warm, cool, rose)]
        choice = ((ring + k) % 3).astype(int)[..., None]
        disc = mix(np.choose(choice, bands), np.choose((choice + 1) % 3, bands), half)
        veil = step(1 - r, 0.02 / (size * 10)) * (0.90 - 0.25 * step(noise(rng, x, 0.25) - 0.2, 0.2))
        under = np.exp(-((np.clip(np.hypot(dx - 0.05 * size, dy - 0.07 * size) / size - 0.9, 0, 9) / 0.12) ** 2))
        scene = scene * (1 - 0.22 * under * (1 - step(1 - r, 0.02)))[..., None]
        scene = mix(scene, disc, veil)
        angle = np.where(r < 1.06, turn + math.pi / 2, angle)

    paint = Paint(np.clip(scene * 0.7, 0, 1), hand)
    for spacing, breadth, length in ((0.0150, 0.0220, 0.085), (0.0115, 0.0130, 0.060), (0.0100, 0.0078, 0.042)):
        for px, py in scatter(hand, width, height, spacing):
            colour = sample(scene, px, py) * hand.choice([0.90, 1.0, 1.08]) + hand.normal(0, 0.022, 3)
            path = follow(angle, px, py, length * hand.uniform(0.5, 1.2), 6)
            second = colour * hand.choice([0.70, 1.22]) + hand.normal(0, 0.03, 3)
            paint.stroke(path, breadth * hand.uniform(0.7, 1.2), colour, second=second, streak=0.8, dry=0.3, taper=0.2)
    return light(paint.rgb, paint.height, 0.5)
