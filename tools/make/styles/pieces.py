"""Pictures put together from pieces: stained glass and mosaic."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Array, axes, blur, light, mix, noise, ramp, relief, rgb, sample, step


def stained_glass(rng: np.random.Generator, width: int, height: int) -> Array:
    """Leaded glass lit from behind: a sun over hills and a winding river."""
    x, y = axes(width, height)
    unit = min(width, height)
    right = width / unit
    warp = 0.008 * noise(rng, x, 0.15)
    sx, sy = 0.62 * right, 0.34
    r, turn = np.hypot(x - sx, y - sy) + warp, np.arctan2(y - sy, x - sx)
    sky = [
        rgb("1d3f9a 2a62c4 3f8fd8 6f3fa8"),
        rgb("3f8fd8 58b8d8 7f58c0 2a62c4"),
        rgb("e87a3f f29a4a d8508a f2b45a"),
        rgb("f9c23f fbdc7a f29a3a f7e6a8"),
    ]
    palettes = [
        *sky,
        rgb("e83f24 f2622a d92f2f f98f2f"),
        rgb("1f7a5a 2fa06a 12604f 7fb84a"),
        rgb("3f9f4a 8fc43f 1f8a5f c9d84a"),
        rgb("5a2f8f 8f3f9f 3f2a7a b8509f"),
        rgb("2fb0c0 7fd8d8 1f7fa8 c0f0e8"),
    ]
    region = np.digitize(r, (0.18, 0.33, 0.52))
    region = np.array([3, 2, 1, 0])[region]
    region[r < 0.105 + 0.022 * np.cos(12 * turn)] = 4
    region[y > 0.62 + 0.05 * np.sin(5 * x + 0.4)] = 7
    region[y > 0.70 + 0.07 * np.sin(4 * x + 2.6)] = 5
    region[y > 0.82 + 0.06 * np.sin(5 * x + 0.3)] = 6
    bend = 0.45 * right + 0.17 * np.sin(9 * (y - 0.55)) * (y - 0.3)
    region[(y > 0.66) & (np.abs(x - bend) < 0.02 + 0.28 * (y - 0.62))] = 8

    cell = np.zeros(x.shape, int)
    colours = []
    for k, palette in enumerate(palettes):
        inside = np.flatnonzero(region.ravel() == k)
        if k in (1, 2, 3, 4):
            count, rings = (40, 30, 22, 12)[k - 1], (2.0, 1.6, 1.4, 2.2)[k - 1]
            piece = (np.floor((turn + 0.25 * np.sin(13 * r)) / (2 * math.pi) * count) % count).astype(int)
            piece = piece * 4 + np.floor(r * rings * 9 + 0.5 * (piece % 2)).astype(int) % 4
            names, index = np.unique(piece.ravel()[inside], return_inverse=True)
            total = len(names)
        else:
            total = max(3, round(inside.size / unit**2 * (230, 0, 0, 0, 0, 190, 230, 190, 170)[k]))
            seeds = rng.choice(inside, total, replace=False)
            stretch = 1.0 if k == 0 else 1.7
            gap = np.full(inside.size, 9.0, np.float32)
            index = np.zeros(inside.size, int)
            px, py = x.ravel()[inside], y.ravel()[inside]
            for n, seed in enumerate(seeds):
                d = (px - x.ravel()[seed]) ** 2 + (stretch * (py - y.ravel()[seed])) ** 2
                index = np.where(d < gap, n, index)
                gap = np.minimum(gap, d)
        cell.ravel()[inside] = index + sum(len(c) for c in colours)
        colours.append(
            palette[rng.choice(4, total, p=(0.4, 0.3, 0.18, 0.12))] * rng.uniform(0.7, 1.15, (total, 1))
            + rng.normal(0, 0.035, (total, 3))
        )
    table = np.concatenate(colours)

    def borders(names: Array) -> Array:
        edge = np.zeros(x.shape, np.float32)
        edge[:-1] += names[1:] != names[:-1]
        edge[:, :-1] += names[:, 1:] != names[:, :-1]
        return np.minimum(edge, 1)

    thin, thick = blur(borders(cell), 0.0028 * unit), blur(borders(region), 0.0045 * unit)
    mask = step(np.maximum(thin * 0.0028, thick * 0.0045) * unit - 0.14, 0.05)
    tilt = rng.uniform(0, math.pi, len(table))[cell]
    ripple = [noise(rng, x, (0.12, 0.010), 2), noise(rng, x, (0.010, 0.12), 2), noise(rng, x, 0.02, 2)]
    texture = np.choose((tilt * 3 / math.pi).astype(int).clip(0, 2), ripple)
    lean = 0.16 * np.cos(2 * tilt) * noise(rng, x, 0.1) + 0.16 * np.sin(2 * tilt) * noise(rng, x, 0.1)
    inner = 1 - np.clip(blur(borders(cell), 0.016 * unit) * 9, 0, 1)
    glass = table[cell].astype(np.float32) * (0.74 + 0.42 * inner + 0.16 * texture + lean)[..., None]
    glass = glass + (0.17 * np.clip(texture - 0.35, 0, 1) + 0.05 * noise(rng, x, 0.006))[..., None]
    glass = glass + rgb("ffd9a0")[0] * (0.30 * np.exp(-((r / 0.34) ** 2)) * inner)[..., None]
    metal = rgb("17161b")[0] + 0.16 * np.clip(relief(blur(mask, 0.003 * unit), 0.05 * unit) - 1, -0.1, 1)[..., None]
    picture = mix(np.clip(glass, 0, 1.1), metal, mask)
    return picture + 0.22 * np.clip(blur(picture, 0.02 * unit) - 0.35, 0, 1) * (1 - 0.4 * mask[..., None])


def mosaic(rng: np.random.Generator, width: int, height: int) -> Array:
    """Small stones laid along the outlines of two fish that circle in a whirlpool."""
    x, y = axes(width, height)
    unit = min(width, height)
    cx, cy = 0.5 * width / unit, 0.5
    r, turn = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    whirl = np.sin(3 * turn + 16 * r) + 0.5 * np.sin(5 * turn - 25 * r)
    scene = ramp(rgb("f0e2b0 8fd0c0 2f9fa8 1f6f98 173f78 1a2a5a"), r / 0.62 + 0.07 * whirl)
    foam = step(np.abs(whirl) - 0.95, 0.1)
    scene = mix(scene, mix(rgb("e8f0d8")[0], rgb("4fb8c0")[0], np.clip(r / 0.5, 0, 1)), 0.85 * foam)
    masks = [whirl > 0.95, whirl < -0.95]
    for k, codes in enumerate(("8f1f2a d9402a f28a2a f9c84a fbeec0", "c8301f f2622a fbe6c8 fffbf0 f9d9b0")):
        along = (turn - k * math.pi - 0.35) % (2 * math.pi)
        girth = 0.098 * np.sin(np.clip(along / 2.1, 1e-3, 0.999) * math.pi) ** 0.75 * (1.18 - 0.25 * along)
        tail = np.where((along > 1.85) & (along < 2.62), 0.16 * (along - 1.72), 0)
        middle = 0.285 + 0.012 * np.sin(3 * along)
        fish = np.maximum(girth, tail) - np.abs(r - middle)
        fin = (
            (along > 0.75)
            & (along < 1.35)
            & (np.abs(r - middle - 0.10) < 0.055 * np.sin((along - 0.75) / 0.6 * math.pi))
        )
        scales = 0.5 + 0.5 * np.sin(along * 34 + 5 * np.abs(np.sin((r - middle) * 75)))
        body = ramp(rgb(codes), np.clip((middle - r) / 0.16 + 0.5, 0, 1) * 0.75 + 0.22 * scales)
        scene[fish > 0] = body[fish > 0]
        scene[fin] = rgb("f2a83a d9532a")[k]
        scene[(tail > 0) & (fish > 0)] = ramp(rgb(codes)[1:4], 0.5 + 0.5 * np.sin(60 * (r - middle)))[
            (tail > 0) & (fish > 0)
        ]
        eye = np.hypot(
            x - cx - (middle + 0.022) * np.cos(0.30 + k * math.pi + 0.35),
            y - cy - (middle + 0.022) * np.sin(0.30 + k * math.pi + 0.35),
        )
        scene[eye < 0.022], scene[eye < 0.011] = rgb("fffbe8")[0], rgb("14141c")[0]
        masks += [(fish > 0) | fin, eye < 0.022]
    frame = np.minimum(np.minimum(x, width / unit - x), np.minimum(y, height / unit - y))
    corner = np.hypot(np.minimum(x, width / unit - x), np.minimum(y, height / unit - y))
    sun = corner < 0.19
    scene[sun] = ramp(rgb("c8352a f2a02e fbe08a e8b03c"), corner / 0.19)[sun]
    band = frame < 0.05
    beat = np.sin((x + y) * 36) * np.sin((x - y) * 36) > 0
    scene[band] = np.where(beat[band, None], rgb("a8282a")[0], rgb("f0e2b8")[0])
    scene[(frame > 0.034) & (frame < 0.05)] = rgb("e0ac3c")[0]
    masks += [sun, band]
    flow = sum(
        blur(m.astype(np.float32), reach * unit) * weight
        for m in masks
        for reach, weight in ((0.01, 1), (0.03, 2), (0.09, 3))
    )
    gy, gx = np.gradient(flow)
    angle = np.arctan2(gy, gx)
    edges = sum(np.abs(m - blur(m.astype(np.float32), 0.004 * unit)) for m in masks) > 0.25

    side = 0.0225
    grid = np.mgrid[0 : height / unit : side, 0 : width / unit : side].reshape(2, -1).T[:, ::-1]
    seeds = grid + side / 2 + rng.uniform(-0.2, 0.2, grid.shape) * side

    def claim(scale: int) -> tuple[Array, Array, Array]:
        """Which stone owns each pixel (square distance), and how far ahead of the next stone it is."""
        rows, cols = height // scale, width // scale
        first, second = np.full((rows, cols), 9.0, np.float32), np.full((rows, cols), 9.0, np.float32)
        owner = np.zeros((rows, cols), int)
        reach, size = int(1.7 * side * unit / scale) + 1, unit / scale
        for k, (px, py) in enumerate(seeds):
            i, j = int(py * size), int(px * size)
            window = (slice(max(i - reach, 0), i + reach + 1), slice(max(j - reach, 0), j + reach + 1))
            v, u = np.mgrid[window[0].start : min(i + reach + 1, rows), window[1].start : min(j + reach + 1, cols)]
            if not u.size:
                continue
            dx, dy = (u + 0.5) / size - px, (v + 0.5) / size - py
            c, s = math.cos(tilts[k]), math.sin(tilts[k])
            far = np.maximum(np.abs(c * dx + s * dy), np.abs(c * dy - s * dx))
            a, b = first[window], second[window]
            np.minimum(b, np.maximum(a, far), out=b)
            owner[window] = np.where(far < a, k, owner[window])
            np.minimum(a, far, out=a)
        return owner, first, second - first

    for _ in range(14):
        tilts = [float(sample(angle, *seed)) for seed in seeds]
        owner = claim(4)[0].ravel()
        weight = np.where(edges[::4, ::4].ravel(), 0.02, 1.0)
        mass = np.bincount(owner, weight, len(seeds)) + 1e-9
        centre = [np.bincount(owner, weight * f[::4, ::4].ravel(), len(seeds)) / mass for f in (x, y)]
        seeds = np.where((mass > 0.5)[:, None], np.stack(centre, 1), seeds)
    tilts = [float(sample(angle, *seed)) for seed in seeds]
    owner, _, ahead = claim(1)
    colour = np.array([sample(scene, *seed) for seed in seeds]) * rng.uniform(0.8, 1.14, (len(seeds), 1)) + rng.normal(
        0, 0.03, (len(seeds), 3)
    )
    stone = step(ahead - 0.0042, 0.0014)
    slant = rng.normal(0, 9, (2, len(seeds)))
    facet = (x - seeds[owner, 0]) * slant[0][owner] + (y - seeds[owner, 1]) * slant[1][owner]
    picture = colour[owner].astype(np.float32) * (1 + facet + 0.06 * noise(rng, x, 0.012, 2))[..., None]
    grout = rgb("4a4238")[0] * (1 + 0.15 * noise(rng, x, 0.004, 2))[..., None]
    dome = np.clip(ahead / 0.013, 0, 1) ** 0.6 * stone + facet * 0.5
    return light(mix(grout, picture, stone), blur(dome, 1), 1.1)
