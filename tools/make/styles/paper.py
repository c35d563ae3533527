"""Paper: cut and pinned, and marbled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .canvas import Array, axes, blur, light, mix, noise, ramp, rgb, sample, scatter, step
from .scenery import read

Points = NDArray[np.float64]


def cutouts(rng: np.random.Generator, width: int, height: int) -> Array:
    """Sea plants, a sun and scraps cut from brushed paper, laid one over another in raking light."""
    layout = rng.spawn(1)[0]
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    pairs = [rgb(codes) for codes in (
        "183690 2f74d4", "cf3a2c f47a40", "e8931c fbd452", "0f5f58 35a878", "ead9b8 fff8e6", "d8708f f8b8b4",
        "3f1f68 7d4ea6", "1a1830 35305a", "1f86ac 74d0d0", "7f9e30 cdd458", "9a1f44 dc4a60", "0c1c54 22489a",
    )]  # fmt: skip

    def brushed(tilt: float) -> tuple[Array, Array]:
        """Streaks of a broad brush across the paper, and where its paint is thin."""
        along, over = x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)
        wave = over + 0.03 * np.sin(4 * along + 9 * tilt) + 0.012 * noise(rng, x, 0.2, 2)
        hairs = [read(rng.uniform(-1, 1, (n, 12)), along / 3 + 0.5, wave / 3 + 0.5) for n in (130, 380, 1100)]
        streak = 0.5 * hairs[0] + 0.35 * hairs[1] + 0.3 * hairs[2]
        return streak * (0.7 + 0.5 * noise(rng, x, 0.12, 2)), noise(rng, x, 0.16, 3)

    papers = [brushed(t) for t in (0.35, 1.25, 2.2, 2.85)]
    picture = np.zeros((*x.shape, 3), np.float32)
    relief_map = np.zeros_like(x)
    lying = np.full(x.shape, 11)  # the number of the paper on top

    def lay(points: Points, pair: int) -> None:
        """Cut a shape from a sheet and lay it down: a narrow shadow, a lifted edge, brushed paint."""
        streak, thin = papers[layout.integers(4)]
        shift = layout.random(2)
        low, high = points.min(0) - 0.03, points.max(0) + 0.03
        i0, i1 = (int(np.clip(v * unit, 0, height)) for v in (low[1], high[1]))
        j0, j1 = (int(np.clip(v * unit, 0, width)) for v in (low[0], high[0]))
        if i1 <= i0 or j1 <= j0:
            return
        box = (slice(i0, i1), slice(j0, j1))
        image = Image.new("L", (j1 - j0, i1 - i0))
        ImageDraw.Draw(image).polygon([(float(a * unit - j0), float(b * unit - i0)) for a, b in points], 255)
        mask = np.asarray(image, np.float32) / 255
        drop = max(1, round(0.0032 * unit))
        moved = np.pad(mask, ((drop, 0), (drop, 0)))[: mask.shape[0], : mask.shape[1]]
        shadow = np.clip(blur(moved, 0.0028 * unit) - mask, 0, 1)
        di, dj = int(shift[0] * (height - i1 + i0)), int(shift[1] * (width - j1 + j0))
        cut = (slice(di, di + i1 - i0), slice(dj, dj + j1 - j0))
        colour = ramp(pairs[pair], 0.5 + 0.65 * streak[cut] + 0.40 * thin[cut]) * (1 + 0.10 * streak[cut])[..., None]
        dry = step(streak[cut] * thin[cut] - 0.34, 0.12)
        colour = mix(colour, 0.6 * colour + 0.4 * rgb("f6ead0")[0], 0.7 * dry)
        picture[box] = mix(picture[box] * (1 - 0.55 * shadow)[..., None], colour, mask)
        lying[box] = np.where(mask > 0.5, pair, lying[box])
        swell = 0.55 * blur(mask, 0.003 * unit) + 0.45 * blur(mask, 0.012 * unit)
        relief_map[box] = relief_map[box] * (1 - mask) + mask * (swell + 0.05 * streak[cut])

    def snip(corners: Sequence[Sequence[float] | Points], rounds: int = 3) -> Points:
        """Round off a polygon's corners as scissors do."""
        points = np.array(corners, float)
        for _ in range(rounds):
            ahead = np.roll(points, -1, 0)
            points = np.stack([0.76 * points + 0.24 * ahead, 0.24 * points + 0.76 * ahead], 1).reshape(-1, 2)
        return points

    def plant(a: float, b: float, size: float, heading: float, fingers: int) -> Points:
        """A sea plant: a bent spine with fingers of uneven length on both sides."""
        bow = layout.normal(0, 0.7)
        sides: list[list[Points]] = [[], []]
        spine = [(a, b)]
        steps = 40
        for k in range(steps):
            way = heading + bow * (k / steps - 0.5)
            spine.append((spine[-1][0] + size / steps * math.cos(way), spine[-1][1] + size / steps * math.sin(way)))
        for side, sign in ((0, -1), (1, 1)):
            for k in range(fingers):
                s = (k + 0.55 + layout.uniform(-0.12, 0.12)) / fingers
                px, py = spine[int(s * 0.92 * steps)]
                way = heading + bow * (s - 0.5)
                turn = way + sign * (1.25 - 0.75 * s) + layout.normal(0, 0.12)
                reach = size * (0.36 * math.sin(math.pi * (0.18 + 0.74 * s)) + 0.05) * layout.uniform(0.75, 1.2)
                thick = size * 0.30 / fingers * layout.uniform(0.8, 1.15)
                out, over = (
                    np.array([math.cos(turn), math.sin(turn)]),
                    np.array([-math.sin(turn), math.cos(turn)]) * sign,
                )
                along = 0.9 * thick * np.array([math.cos(way), math.sin(way)])
                root = np.array([px, py]) + sign * 0.035 * size * np.array([-math.sin(way), math.cos(way)])
                hook = layout.normal(0, 0.15) * reach * over
                base, end = np.array([px, py]) + 0.75 * reach * out, np.array([px, py]) + reach * out + hook
                sides[side] += [
                    root - along, base + thick * over, end + 0.7 * thick * over,
                    end - 0.7 * thick * over, base - thick * over, root + along,
                ]  # fmt: skip
        return snip([(a, b), *sides[0], spine[-1], *reversed(sides[1])])

    def pebble(a: float, b: float, size: float, corners: int, uneven: float) -> Points:
        turn = np.linspace(0, 2 * math.pi, corners, endpoint=False) + layout.uniform(0, 6)
        r = size * layout.uniform(1 - uneven, 1 + uneven, corners)
        return snip([(a + q * math.cos(t), b + q * math.sin(t)) for q, t in zip(r, turn, strict=True)], 2)

    def star(a: float, b: float, size: float, points: int) -> Points:
        turn = np.linspace(0, 2 * math.pi, 2 * points, endpoint=False) + layout.uniform(0, 6)
        r = np.where(np.arange(2 * points) % 2, 0.45, 1.0) * size * layout.uniform(0.82, 1.18, 2 * points)
        return snip([(a + q * math.cos(t), b + q * math.sin(t)) for q, t in zip(r, turn, strict=True)], 2)

    def against(a: float, b: float, choices: tuple[int, ...]) -> int:
        """The paper that stands out most from what lies there, among a few drawn from the choices."""
        spots = [(a + da, b + db) for da in (-0.008, 0, 0.008) for db in (-0.008, 0, 0.008)]
        there = np.mean([pairs[int(sample(lying, *spot))].mean(0) for spot in spots], 0)
        few = layout.permutation(choices)[:3]
        return int(max(few, key=lambda c: float(np.abs(pairs[c].mean(0) - there).sum())))

    sx, sy = 0.29 * right, 0.25
    lay(np.array([(-0.1, -0.1), (right + 0.1, -0.1), (right + 0.1, 1.1), (-0.1, 1.1)]), 11)
    bands = ((2, 4, 5, 2), (8, 0, 3, 8, 0), (11, 6, 0, 3, 11))  # papers of the ground from the sun outwards
    rows, cols = (0, 0.24, 0.52, 0.77, 1.0), (0, 0.30, 0.62, 1.0)
    for i in range(4):
        for j in range(3):
            corners = [
                (cols[c] * right + layout.normal(0, 0.03), rows[r] + layout.normal(0, 0.03))
                for r, c in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j))
            ]
            far = math.hypot(np.mean([c[0] for c in corners]) - sx, np.mean([c[1] for c in corners]) - sy)
            band = bands[0 if far < 0.26 else 1 if far < 0.62 else 2]
            lay(snip(corners, 0), int(band[(i + 2 * j) % len(band)]))
    warm, cool, pale = (1, 2, 5, 10, 5, 1), (8, 3, 9, 0, 4, 6, 11), (4, 2, 8, 5)
    for count, size, fingers in ((7, 0.52, 6), (12, 0.30, 5), (15, 0.17, 4)):
        for k in range(count):
            a, b = right * ((k * 0.618 + 3.7 * size) % 1), (k / count + layout.uniform(-0.12, 0.12)) % 1
            gap = math.hypot(a - sx, b - sy)
            if gap < 0.24 + 0.25 * size:
                a, b = right - a * 0.5, 1 - b * 0.5
            heading = math.atan2(sy - b, sx - a) + layout.normal(0, 0.45)
            papers_here = warm if layout.random() < 0.6 else cool
            foot = (a - 0.5 * size * math.cos(heading), b - 0.5 * size * math.sin(heading))
            lay(plant(*foot, size, heading, fingers), against(a, b, papers_here))
        if size > 0.5:
            lay(pebble(sx, sy, 0.185, 24, 0.05), 2)
            lay(star(sx, sy, 0.150, 15), 1)
            lay(pebble(sx, sy, 0.072, 13, 0.08), 10)
            lay(pebble(sx - 0.008, sy - 0.006, 0.045, 9, 0.12), 4)
    for _ in range(46):
        a, b, size = layout.uniform(0, right), layout.uniform(0, 1), layout.uniform(0.006, 0.018)
        shape = pebble(a, b, size, int(layout.integers(3, 7)), 0.35)
        lay(shape, against(a, b, pale))
    fibre = 0.5 * noise(rng, x, 0.004, 2) + 0.3 * noise(rng, x, (0.03, 0.003))
    return light(picture * (1 + 0.025 * fibre)[..., None], relief_map + 0.012 * fibre, 1.5)


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
