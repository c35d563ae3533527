"""Brush and ink on warm paper."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Array, Paint, axes, bezier, light, mix, noise, rgb, step


def ink_wash(rng: np.random.Generator, width: int, height: int) -> Array:
    """Ink on warm paper: ranges in mist, pines on rocks, a vermilion sun."""
    x, y = axes(width, height)
    right = width / min(width, height)
    fibre = noise(rng, x, (0.05, 0.004)) + noise(rng, x, (0.004, 0.04)) + noise(rng, x, 0.004)
    paper = rgb("ecdfc2")[0] * (1 + 0.022 * fibre + 0.05 * noise(rng, x, 0.35, 2))[..., None]
    bleed = 0.006 * noise(rng, x, 0.018, 3)
    sun = np.hypot(x - 0.70 * right, y - 0.2) - 0.085 + bleed
    red = step(-sun, 0.006) * (0.75 + 0.25 * noise(rng, x, 0.03, 2)) + 0.25 * np.exp(-((sun / 0.02) ** 2))
    picture = paper * (1 - np.clip(red, 0, 1)[..., None] * (1 - rgb("cf4427")[0]))
    wash = 0.10 * np.clip(noise(rng, x, (0.6, 0.12), 3) + 0.1, 0, 1) + 0.10 * np.clip(0.3 - y, 0, 1)
    picture = picture * np.exp(-wash[..., None] * rgb("c0a890")[0] * 2.0)

    paint = Paint(picture, rng, tooth=0.5 + 0.45 * noise(rng, x, 0.004, 2))
    across = np.linspace(-0.05, right + 0.05, 600)
    for _ in range(46):  # wind and cloud: a broad brush, nearly dry
        sx, sy, reach = rng.uniform(-0.1, right), rng.beta(1.2, 2) * 0.5, rng.uniform(0.15, 0.45)
        path = bezier(
            (sx, sy), (sx + 0.3 * reach, sy - 0.05), (sx + 0.7 * reach, sy + 0.06), (sx + reach, sy - 0.01), count=10
        )
        tone = rgb("4a5058 8a7a62 5f6f7a")[rng.integers(3)]
        paint.stroke(
            path,
            rng.uniform(0.008, 0.045),
            tone,
            dry=rng.uniform(0.5, 1.0),
            opacity=rng.uniform(0.12, 0.42),
            taper=0.4,
            bristles=16,
        )
    picture = paint.rgb.copy()

    def crests(level: float, tall: float, peaks: int, rough: float) -> Array:
        line = np.full_like(across, level)
        for _ in range(peaks):
            cx, w, h = rng.uniform(-0.05, right), rng.uniform(0.05, 0.16), tall * rng.uniform(0.4, 1)
            line = np.minimum(line, level - h * np.exp(-(np.abs((across - cx) / w) ** 1.5)))
        for k in range(1, 8):
            line += rough / k * np.sin(across * 17 * k + rng.uniform(0, 6))
        return line

    for layer, (level, tall, peaks, dark) in enumerate(
        ((0.46, 0.29, 5, 0.5), (0.62, 0.32, 5, 0.9), (0.80, 0.30, 4, 1.5), (1.0, 0.24, 4, 2.6))
    ):
        line = crests(level, tall, peaks, 0.006 + 0.002 * layer)
        top = np.interp(x[0], across, line)
        below = y - top + bleed
        tint = rgb("6f8fa0 56707a 6a6650 2a2a2c")[layer]
        density = step(below, 0.003) * (
            np.exp(-np.clip(below, 0, 2) / (0.085 + 0.025 * layer)) * (0.8 + 0.35 * noise(rng, x, 0.05, 3)) + 0.05
        )
        density += 0.35 * np.exp(-((below / 0.004) ** 2))
        veil = step(below, 0.003) * np.clip(0.25 + below / 0.16, 0, 0.97)
        paint.rgb = mix(paint.rgb, picture * 1.02, veil) * np.exp(-(density * dark)[..., None] * (1.15 - tint))
        for _ in range((160, 320, 460, 420)[layer]):
            sx = rng.uniform(-0.02, right + 0.02)
            ridge = float(np.interp(sx, across, line))
            slope = float(np.interp(sx + 0.02, across, line) - np.interp(sx - 0.02, across, line)) / 0.04
            sy = ridge + abs(rng.normal(0, 0.055 + 0.015 * layer))
            reach = rng.uniform(0.03, 0.10)
            fall = math.copysign(math.atan2(1, 0.25), slope) if abs(slope) > 0.25 else 0.4
            heading = fall if fall > 0 else math.pi + fall
            path = [
                (sx + reach * s * math.cos(heading + 0.5 * s), sy + reach * s * math.sin(heading + 0.5 * s))
                for s in np.linspace(0, 1, 6)
            ]
            ink = 0.12 + 0.3 * rng.random() * (3 - layer) / 3
            paint.stroke(
                path,
                rng.uniform(0.006, 0.024),
                np.full(3, ink, np.float32) + rgb("00040a")[0],
                dry=rng.uniform(0.4, 1.0),
                opacity=float(np.clip(0.35 + 0.2 * layer, 0, 0.9) * np.exp(-(sy - ridge) / 0.15)),
                taper=0.5,
                bristles=12,
            )

    def pine(foot: tuple[float, float], tall: float, lean: float) -> None:
        spine = bezier(
            foot,
            (foot[0] + lean, foot[1] - 0.4 * tall),
            (foot[0] - lean, foot[1] - 0.7 * tall),
            (foot[0] + 0.6 * lean, foot[1] - tall),
            count=10,
        )
        paint.stroke(
            spine,
            0.05 * tall + 0.004,
            rgb("17161a")[0],
            second=rgb("8a7a62")[0],
            streak=0.9,
            dry=0.55,
            taper=0.3,
            bristles=14,
        )
        for s in np.linspace(0.35, 1, 9):
            bx, by = spine[int(s * 9)]
            side = rng.choice([-1, 1])
            span = tall * rng.uniform(0.18, 0.36) * (1.25 - 0.6 * s)
            tip = (bx + side * span, by - span * rng.uniform(-0.05, 0.3))
            paint.stroke(
                [(bx, by), ((bx + tip[0]) / 2, (by + tip[1]) / 2 + 0.1 * span), tip],
                0.02 * tall + 0.003,
                rgb("1a191c")[0],
                taper=0.6,
            )
            for _ in range(13):
                q = rng.uniform(0.3, 1.1)
                cx, cy = bx + (tip[0] - bx) * q, by + (tip[1] - by) * q - rng.uniform(0, 0.05) * tall
                hue = rgb("1a2420 16181c 2f4038")[rng.integers(3)]
                for spread in np.linspace(-2.9, -0.25, 9):
                    reach = 0.075 * tall * rng.uniform(0.7, 1.2)
                    end = (cx + reach * math.cos(spread), cy + reach * math.sin(spread))
                    paint.stroke([(cx, cy), end], 0.0034, hue, opacity=0.85, taper=0.6, bristles=3)

    for foot, tall, lean in (
        ((0.16 * right, 0.93), 0.46, 0.06),
        ((0.27 * right, 0.96), 0.30, -0.05),
        ((0.86 * right, 0.97), 0.33, -0.07),
        ((0.55 * right, 0.78), 0.12, 0.02),
        ((0.62 * right, 0.79), 0.09, -0.01),
    ):
        pine(foot, tall, lean)
    for k in range(6):
        bx, by, wing = right * (0.36 + 0.05 * k), 0.20 + 0.03 * abs(k - 2) + rng.normal(0, 0.008), 0.017
        for side in (-1, 1):
            paint.stroke(
                [(bx, by), (bx + side * wing * 0.5, by - 0.7 * wing), (bx + side * wing, by - 0.2 * wing)],
                0.004,
                rgb("222226")[0],
                taper=0.5,
            )
    for _ in range(150):  # drops shaken off the brush fall in clusters, along the way it moved
        sx, sy = right * rng.random(), rng.random()
        if rng.random() < 0.6:
            sx, sy = right * (0.30 + 0.2 * rng.normal()), 0.60 + 0.16 * rng.normal()
        r = min(rng.exponential(0.0012) + 0.0006, 0.005)
        paint.stroke(
            [(sx, sy), (sx + 2.5 * r, sy - 1.2 * r)],
            2 * r,
            rgb("26262a")[0],
            opacity=rng.uniform(0.4, 0.9),
            taper=0.5,
            bristles=2,
        )
    sx, sy = 0.93 * right, 0.065
    for k in range(5):  # a red seal, cut with a few strokes
        paint.stroke(
            [(sx - 0.019, sy - 0.024 + 0.012 * k), (sx + 0.019, sy - 0.024 + 0.012 * k)],
            0.016,
            rgb("b8301f")[0],
            taper=0.0,
        )
    for a, b, c, d in (
        (-1, -1.6, 1, -1.6),
        (0, -1.6, 0, 0),
        (-1, -0.4, 1, -0.4),
        (-1, 0.6, -0.2, 1.7),
        (0.1, 0.5, 0.2, 1.8),
        (1, 0.5, 0.9, 1.7),
    ):
        paint.stroke(
            [(sx + 0.013 * a, sy + 0.014 * b), (sx + 0.013 * c, sy + 0.014 * d)], 0.0045, rgb("ecdfc2")[0], taper=0.1
        )
    return light(paint.rgb, fibre, 0.02)
