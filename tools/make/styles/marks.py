"""Pictures of many small marks: dots of paint, and hatching in wax crayon."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Array, Paint, axes, blur, follow, light, mix, noise, ramp, rgb, sample, scatter, shift_hue, step
from .scenery import Camera, View, bend, foliage, read, slopes

SHORE = 0.52


def river(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Sails on a river between trees, in evening light from the left."""
    layout = rng.spawn(1)[0]
    height, width = x.shape
    right = width / min(width, height)
    clouds = noise(rng, x, (0.45, 0.10), 3)
    scene = ramp(rgb("4f7fc4 86a9d8 c9b8d6 f4c4ae fbd98c fff0b4"), y / SHORE + 0.10 * clouds - 0.18 * (x / right - 0.3))
    scene = mix(scene, ramp(rgb("c08fb0 f2b08f ffe6b0"), 0.6 - clouds), 0.7 * step(clouds - 0.25, 0.25))

    def mass(lumps: list[tuple[float, float, float]], codes: str, rough: float = 0.16) -> None:
        """Paint leaf masses with a ramp from shade to light."""
        nonlocal scene
        mine, face = foliage(x, y, lumps)
        mine = bend(mine.astype(np.float32), 0.012 * leaf[0], 0.012 * leaf[1])
        face = bend(face, 0.016 * leaf[0], 0.016 * leaf[1])
        scene = mix(scene, ramp(rgb(codes), face + rough * leaf[2]), mine)

    leaf = [noise(rng, x, 0.05, 3), noise(rng, x, 0.05, 3), noise(rng, x, 0.03, 2)]
    hills = step(y - (0.455 + 0.035 * np.sin(6 * x / right + 0.6) + 0.01 * noise(rng, x, 0.06, 2)), 0.004)
    scene = mix(scene, ramp(rgb("8a86c0 6f8fb4 88a8a0"), x / right + 0.2 * leaf[0]), hills)
    bank = []
    for _ in range(110):
        a = layout.uniform(-0.05, 1.05) * right
        tall = 0.035 + 0.05 * (0.5 + 0.5 * math.sin(9 * a + 1)) * layout.random()
        bank.append((a, SHORE - tall * layout.uniform(0, 1), layout.uniform(0.012, 0.03)))
    for k in range(9):
        a, tall = (0.40 + 0.055 * k + 0.02 * layout.normal()) * right, layout.uniform(0.10, 0.20) * (0.6 + 0.08 * k)
        for s in np.linspace(0, 1, 12):
            bank.append(
                (a + 0.004 * layout.normal(), SHORE - tall * s, 0.017 * math.sin(math.pi * (0.15 + 0.8 * s)) + 0.004)
            )
    mass(bank, "23406e 2f6f72 6f9a58 d2b850 f8dc80", 0.25)
    wet = step(y - SHORE, 0.003)
    ripple = noise(rng, x, (0.10, 0.010), 2) * np.clip((y - SHORE) * 4, 0.1, 1)
    depth = np.clip(y - SHORE, 0, 1)
    mirror = bend(scene, 0.05 * ripple, np.where(y > SHORE, 2 * (SHORE - y), 0) + 0.03 * ripple)
    deep = ramp(rgb("6fa8dc 3f78c0 2f4f9c"), depth / 0.35)
    water = mix(mirror * rgb("e8eaf4")[0], deep, np.clip(0.12 + 1.1 * depth + 0.55 * ripple, 0, 0.9))
    scene = mix(scene, water, wet)

    def boat(cx: float, foot: float, size: float, down: bool) -> None:
        """A boat with two sails, or its broken reflection below `foot`."""
        nonlocal scene
        away = x - cx * right + (0.10 * ripple if down else 0)
        up = (y - foot) / (0.8 * size) if down else (foot - y) / size
        room = np.clip(1 - up, 0, 1)
        mast = away - 0.10 * size * up
        main = np.minimum(
            np.minimum(up, 1 - up),
            np.minimum(mast / size, 0.50 * room**0.8 * (1 + 0.25 * np.sin(3 * up)) - mast / size),
        )
        jib = np.minimum(
            np.minimum(up - 0.06, 0.82 - up), np.minimum(-mast / size - 0.05, 0.40 * (0.82 - up) + mast / size)
        )
        cloth = ramp(rgb("a99ad0 efc6bf fff0cc fffdf0"), 0.95 - 1.6 * mast / size + 0.12 * leaf[2])
        scene = mix(scene, cloth, step(np.maximum(main, jib), 0.02) * (0.55 * (ripple > -0.35) if down else 1))
        hull = np.minimum(
            0.45 - 0.8 * np.clip(-up, 0, 1) - np.abs(away / size - 0.08), np.minimum(0.01 - up, up + 0.10)
        )
        if not down:
            scene = mix(scene, ramp(rgb("c8504a 5a2348"), away / size + 0.5), step(hull, 0.02))

    for place in ((0.62, 0.615, 0.24), (0.43, 0.56, 0.11), (0.80, 0.545, 0.075)):
        boat(*place, True)
        boat(*place, False)
    spark = step(ripple - 0.40, 0.15) * np.exp(-(((x - 0.36 * right) / (0.08 + 0.6 * depth)) ** 2)) * wet
    scene = mix(scene, rgb("fff0bc")[0], 0.85 * spark)

    edge = 0.80 - 0.17 * np.exp(-((x / 0.42) ** 2)) + 0.05 * np.sin(3.4 * x / right + 1.4) + 0.012 * leaf[0]
    lawn = step(y - edge, 0.006)
    dapple = (
        noise(rng, x, (0.16, 0.035), 3)
        + 0.9 * np.exp(-(((x / right - 0.95) / 0.35) ** 2))
        - 0.55 * np.exp(-(((y - 0.87) / 0.05) ** 2))
    )
    trunks = ((0.055, 0.845, 0.06, 0.016), (0.20, 0.87, 0.075, -0.012), (0.91, 0.915, 0.05, 0.014))
    for foot, base, *_ in trunks:
        along = x - foot * right
        dapple = dapple + 0.8 * np.exp(-(((y - base - 0.16 * along) / (0.010 + 0.03 * np.abs(along))) ** 2)) * (
            along > 0
        )
    grass = ramp(rgb("ffe6a0 e6cb68 a3b257 528c66 3a6788 454a90"), 0.42 + 0.55 * dapple + 0.10 * leaf[2])
    scene = mix(scene, grass, lawn)
    blooms = step(noise(rng, x, 0.012) - 0.62, 0.1) * lawn * (dapple < 0.3)
    scene = mix(scene, ramp(rgb("e8507a f6c0d0 fff6e0 f29a4a"), 0.5 + 0.5 * leaf[1]), blooms)
    for foot, base, lean, bow in trunks:
        trunk = foot * right + lean * (base - y) + bow * np.sin(9 * (base - y)) - x
        thick = 0.010 + 0.035 * np.exp(-np.clip(base - y, 0, 1) / 0.03) * (y < base) + 0.012 * np.clip(y - 0.4, 0, 1)
        bark = ramp(rgb("2a2450 40305e 8a5a60 f0b070"), 0.5 + 0.5 * trunk / thick + 0.2 * leaf[2])
        scene = mix(scene, bark, step(thick - np.abs(trunk), 0.003) * (y < base + 0.006 * leaf[0]) * (y > 0.12))
    crowns = []
    for cx, cy, rx, ry, count in (
        (0.06, 0.20, 0.20, 0.22, 230),
        (0.24, 0.10, 0.16, 0.12, 130),
        (0.98, 0.20, 0.13, 0.24, 160),
    ):
        for _ in range(count):
            turn, r = layout.uniform(0, 2 * math.pi), layout.random() ** 0.5
            crowns.append(
                (cx * right + rx * r * math.cos(turn), cy + ry * r * math.sin(turn), layout.uniform(0.014, 0.042))
            )
    mass(crowns, "22285e 1f4f74 2a7566 6f9450 d0ae4c ffdf92", 0.30)
    return scene


def pointillism(rng: np.random.Generator, width: int, height: int) -> Array:
    """Dots of pure colour, warm and cool by turns, that follow the form of what they show."""
    place, hand = rng.spawn(2)
    x, y = axes(width, height)
    unit = min(width, height)
    scene = river(place, x, y)
    tint = ((0.10, 0.02, -0.14), (-0.12, 0.0, 0.14), (0.02, 0.10, -0.08), (0.08, -0.08, 0.06), (0, 0, 0), (0, 0, 0))
    canvas = Image.fromarray((np.clip(blur(scene, 0.006 * unit) * 0.8, 0, 1) * 255).astype(np.uint8))
    bump = Image.new("L", canvas.size, 60)
    draw, press = ImageDraw.Draw(canvas), ImageDraw.Draw(bump)
    shape = blur(scene.mean(-1), 0.008 * unit)
    gy, gx = np.gradient(shape)
    angle = np.arctan2(gx, -gy)
    for spacing, size in ((0.0150, 0.0100), (0.0112, 0.0068), (0.0092, 0.0046)):
        for px, py in scatter(hand, width, height, spacing):
            colour = sample(scene, px, py)
            grey = colour.mean()
            vivid = grey + (colour - grey) * 1.15 + 1.25 * np.array(tint[hand.integers(6)]) + hand.normal(0, 0.03)
            fill = tuple(int(255 * c) for c in np.clip(vivid, 0, 1))
            r = size * unit * hand.uniform(0.7, 1.15) * (0.72 + 0.5 * min(max(py, 0), 1))
            lean = float(sample(angle, px, py)) if py < SHORE else float(hand.normal(0, 0.25))
            dx, dy = 0.55 * r * math.cos(lean), 0.55 * r * math.sin(lean)
            thick = int(hand.integers(90, 220))
            for s in (-1, -0.33, 0.33, 1):
                a, b = px * unit + s * dx, py * unit + s * dy
                box = (a - 0.8 * r, b - 0.8 * r, a + 0.8 * r, b + 0.8 * r)
                draw.ellipse(box, fill)
                press.ellipse(box, thick)
    return light(np.asarray(canvas, np.float32) / 255, blur(np.asarray(bump, np.float32) / 255, 0.002 * unit), 0.8)


def patchwork(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array, Array, View]:
    """Ploughed fields and hedges under a low sun: their colours, the way of the furrows, a number for each thing."""
    land, layout = rng.spawn(2)
    height, width = x.shape
    unit = min(width, height)
    right = width / unit
    u, v = axes(384, 384)
    ground = 0.5 * noise(land, u, 0.45) + 0.25 * noise(land, u, 0.2) + 0.9 * v**2 * (0.6 + 0.4 * noise(land, u, 0.35))
    camera = Camera(horizon=0.33, eye=0.215, tall=0.17, near=0.13)
    seen = camera.look(x, y, ground)
    across, away = (read(f, seen.u, seen.v) for f in slopes(ground, camera.tall))
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
    furrow = np.sin(rows * 210) * np.exp(-1.6 * seen.depth)
    tone = 0.20 + 0.95 * lit + 0.36 * furrow + 0.12 * noise(rng, x, 0.06, 2)
    scene = np.zeros((*x.shape, 3), np.float32)
    for k, palette in enumerate(palettes):
        mine = kind[cell] == k
        scene[mine] = ramp(palette, tone[mine])
    hedge = step(0.0045 * (1.2 - seen.depth) - (next_gap - gap) / 2, 0.002)
    scene = mix(scene, rgb("2c1f4f")[0], 0.8 * hedge)
    haze = np.clip(1.5 * seen.depth - 0.95, 0, 0.5)
    scene = mix(scene, ramp(rgb("f3b25f c98a8f 7a78a8"), x / right), haze)
    gy, gx = np.gradient(blur(np.where(seen.land > 0, rows, 0), 1))
    angle = np.arctan2(gx, -gy).astype(np.float32)
    region = cell + 1

    sx, sy = 0.20 * right, camera.horizon - 0.085
    glow = np.hypot((x - sx) * 0.8, y - sy)
    clouds = noise(rng, x, (0.50, 0.09), 3) + 0.35 * noise(rng, x, (0.12, 0.04), 2)
    sky = ramp(rgb("fff0b0 fbd06a f2a05a d9808a 8f7fb4 4f83b8 2f6aa8 27508f"), glow * 1.15 + 0.06 * clouds)
    bank = step(clouds - 0.28 + 0.35 * np.abs(y - 0.2), 0.22)
    under = np.clip(blur(clouds, 0.02 * unit) - clouds + 0.55, 0, 1)
    sky = mix(sky, ramp(rgb("4a3f80 a8587f f2a070 fff0bc"), 1.25 * under - 0.55 * glow), 0.85 * bank)
    disc = np.hypot(x - sx, y - sy) < 0.048
    sky[disc] = rgb("ffe690")[0]
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
            trees.append((b, a, float(read(ground, np.array(a), np.array(b))), layout.uniform(0.7, 1.3)))
    for b, a, level, size in sorted(trees, reverse=True):
        px, py = camera.place(a, b, level, right)
        r = 0.0135 * size / (b + camera.near)
        if not (-0.1 < px < right + 0.1 and py < 1.05):
            continue
        cast = np.exp(
            -((np.clip(np.abs(x - px - 2.0 * r) / (2.6 * r), 0, 9)) ** 4) - ((y - py - 0.16 * r) / (0.22 * r)) ** 2
        )
        scene = mix(scene, scene * rgb("4a3f86")[0] * 1.2, 0.75 * cast * (seen.land > 0.5))
        lumps = [
            (px + r * layout.normal(0, 0.55), py - r * layout.triangular(0.1, 0.9, 2.0), r * layout.uniform(0.25, 0.5))
            for _ in range(12)
        ]
        mine, face = foliage(x, y, lumps)
        leaf = ramp(rgb("2a2350 2b4a58 4f7a45 b0a840 f5d060"), face + ruffle)
        scene[mine] = mix(leaf, scene, float(np.clip(0.9 * (b - 0.37), 0, 0.5)))[mine]
        region[mine] = 100 + len(trees)
        angle[mine] = 1.2
    return scene, angle, region, seen


def crayon(rng: np.random.Generator, width: int, height: int) -> Array:
    """Wax crayon on plum paper: a patchwork of fields under a low sun, hedges with long shadows."""
    place, hand = rng.spawn(2)
    x, y = axes(width, height)
    scene, angle, region, seen = patchwork(place, x, y)
    tooth = 0.6 * noise(rng, x, 0.0045, 2) + 0.3 * noise(rng, x, (0.02, 0.004))
    paint = Paint(mix(0.62 * scene, rgb("6a2f52")[0], 0.35), hand, tooth=tooth + 0.36)
    for spacing, breadth, reach, turn, spread in (
        (0.0170, 0.0210, 0.100, 0.0, 0.05), (0.0130, 0.0135, 0.075, 0.22, 0.08), (0.0115, 0.0085, 0.055, -0.08, 0.10)
    ):  # fmt: skip
        for px, py in scatter(hand, width, height, spacing):
            home = int(sample(region, px, py))
            deep = float(sample(seen.depth, px, py)) if home > 0 else 0.0
            tree = home > 100
            scale = hand.uniform(0.6, 1.15) * (1 - 0.5 * deep) * (0.75 if tree else 0.85 if home > 0 else 1)
            colour = sample(scene, px, py) * hand.choice((0.76, 0.96, 1.10, 1.28)) + hand.normal(0, 0.022, 3)
            colour = shift_hue(colour, float(hand.normal(0, 0.17)))
            lean = turn * (home < 1) + float(hand.normal(0, 0.7 if tree else spread))
            path = follow(angle, px, py, reach * scale * (0.25 if tree else 1), 5)
            c, s = math.cos(lean), math.sin(lean)
            path = (path - path[0]) @ np.array([[c, s], [-s, c]]) + path[0]
            kept = [int(sample(region, *p)) == home for p in path]
            path = path[: max(2, kept.index(False))] if False in kept else path
            paint.stroke(
                path, breadth * scale, colour, second=colour * 0.78, streak=0.7, opacity=0.94, taper=0.06, bristles=6
            )
    return light(paint.rgb, paint.height * 0.5 + tooth * 0.25, 0.34)
