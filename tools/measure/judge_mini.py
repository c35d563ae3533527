"""Judge a mini encoder by the network it was cut from: `python tools/measure/judge_mini.py --help`.

Both optimise the same picture; then the teacher measures the style distance per layer that each has left. With L0 the
distance of the content photo, Lt the one left by optimising on the teacher itself and L the one left by the mini,

    closure = log(L0 / L) / log(L0 / Lt)

averaged over the style layers and the pairs: 1 is as good as the teacher itself, 0 as good as doing nothing. Everything
is measured in float32 with the package's own functions; the content photo is the start of every run.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from nst_helpers import gram_matrix, load_encoder, load_image, prepare, style_loss, stylize
from nst_helpers.encoders import Encoder
from nst_helpers.engine import optimisation
from nst_helpers.errors import NSTError
from nst_helpers.model import STYLE_LAYERS, build_model
from nst_helpers.samples import list_samples, sample_info

CONTENTS = ("tubingen.png", "golden_gate.jpg")
STYLES = ("vg_starry_night.jpg", "candy.jpg", "wave_crop.jpg", "vg_wheat_field_cropped.jpg")
# A kept picture belongs to the optimiser that made it.
RULES = hashlib.sha256(inspect.getsource(optimisation).encode()).hexdigest()
HELD_OUT = 100  # make_mini leaves the last 100 photos of its folder alone


def closure(start: Mapping[str, float], left: Mapping[str, float], best: Mapping[str, float]) -> dict[str, float]:
    """Closure per layer from three sets of style distances: the photo's, the mini's and the teacher's.

    >>> closure({"a": 1.0}, {"a": 0.1}, {"a": 0.01})
    {'a': 0.5}
    """
    return {name: math.log(start[name] / left[name]) / math.log(start[name] / best[name]) for name in start}


def style_distances(teacher: Encoder, image: Tensor, style: Tensor) -> dict[str, float]:
    """The teacher's relative style distance per layer between two images (1, 3, H, W)."""
    with torch.no_grad():
        ours, target = (teacher(x, STYLE_LAYERS) for x in (image, style))
        return {n: style_loss(gram_matrix(ours[n]), gram_matrix(target[n])).item() for n in STYLE_LAYERS}


def fingerprint(*parts: object) -> str:
    """A short hash of tensors, encoders and plain values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Encoder):
            digest.update(f"{part.architecture.blocks} {part.pool} {part.architecture.pool_scale}".encode())
            part = list(part.state_dict().values())
        for item in part if isinstance(part, list) else [part]:
            digest.update(item.contiguous().numpy().tobytes() if isinstance(item, Tensor) else repr(item).encode())
    return digest.hexdigest()[:16]


def optimise(
    encoder: Encoder, content: Tensor, style: Tensor, *, steps: int, style_weight: float, cache: Path | None = None
) -> Tensor:
    """The picture that the encoder makes; kept in `cache`, since the teacher's takes half a minute."""
    key = fingerprint(encoder, content, style, steps, style_weight, RULES) if cache else ""
    if cache and (file := cache / f"{key}.safetensors").is_file():
        return load_file(file)["image"]
    options = {"steps": steps, "style_weight": style_weight, "content_weight": 1.0, "tv_weight": 0.0}
    image = stylize(content, style, encoder=encoder, precision="float32", device="cpu", **options).image
    if cache:
        cache.mkdir(parents=True, exist_ok=True)
        save_file({"image": image.contiguous()}, file)
    return image


def speeds(mini: Encoder, teacher: Encoder, content: Tensor, style: Tensor, *, rounds: int) -> dict[str, dict]:
    """Evaluations per second of both, in turn so that other work on the machine slows both alike."""
    table: dict[str, dict] = {}
    for precision in ("float32", "auto"):
        runs = {}
        for name, encoder in (("mini", mini), ("teacher", teacher)):
            model = build_model(prepare(encoder, device="cpu", precision=precision), content, style)
            runs[name] = optimisation.Optimisation(model, content, content_weight=1.0, style_weight=50.0, tv_weight=0.0)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 1):
            for name, run in runs.items():
                begin = time.perf_counter()
                for _ in range(many := 6 if name == "mini" else 2):
                    run.step()
                if turn:  # the first turn warms up
                    seconds[name].append((time.perf_counter() - begin) / many)
        each = {name: 1 / statistics.median(times) for name, times in seconds.items()}
        ratios = [t / m for m, t in zip(seconds["mini"], seconds["teacher"], strict=True)]
        table[precision] = {
            **each,
            "ratio": statistics.median(ratios),
            "best": min(seconds["teacher"]) / min(seconds["mini"]),
        }
    return table


def judge(
    mini: Encoder,
    teacher: Encoder,
    pairs: Sequence[tuple[str, Tensor, str, Tensor]],
    *,
    steps: int = 150,
    style_weight: float = 50.0,
    cache: Path | None = None,
    show: bool = False,
) -> list[dict]:
    """One row per pair: the names, closure per layer and in the mean, the distances, and the pictures."""
    rows = []
    for content_name, content, style_name, style in tqdm(pairs, disable=not show):
        options = {"steps": steps, "style_weight": style_weight, "cache": cache}
        theirs = optimise(teacher, content, style, **options)
        ours = optimise(mini, content, style, **options)
        start, left, best = (style_distances(teacher, x, style) for x in (content, ours, theirs))
        layers = closure(start, left, best)
        rows.append(
            {
                "content": content_name,
                "style": style_name,
                "closure": statistics.fmean(layers.values()),
                "layers": layers,
                "distances": {"photo": start, "mini": left, "teacher": best},
                "pictures": (content, style, theirs, ours),
            }
        )
    return rows


def sheet(rows: Sequence[dict], path: Path, *, height: int = 192) -> Path:
    """Save photo, style, the teacher's picture and the mini's side by side, a row per pair."""
    font, gap, label = ImageFont.load_default(13), 4, 20
    lines = []
    for row in rows:
        tiles = []
        for image in row["pictures"]:
            pixels = (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            tile = Image.fromarray(pixels)
            tiles.append(tile.resize((round(tile.width * height / tile.height), height), Image.Resampling.LANCZOS))
        lines.append((row, tiles))
    columns = [max(tiles[i].width for _, tiles in lines) for i in range(4)]
    canvas = Image.new("RGB", (sum(columns) + gap * 3, len(lines) * (height + label)), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (row, tiles) in enumerate(lines):
        y, x = index * (height + label), 0
        titles = (Path(row["content"]).stem, Path(row["style"]).stem, "teacher", f"mini, closure {row['closure']:.2f}")
        for tile, title, width in zip(tiles, titles, columns, strict=True):
            canvas.paste(tile, (x, y + label))
            draw.text((x + 2, y + 3), title, fill="black", font=font)
            x += width + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, quality=85)
    return path


def held_out_pairs(photos: Path | None) -> list[tuple[Path, Path]]:
    """Pictures that took no part in the making: the course's own and, given their folder, photos left out of it."""
    contents, styles = ([sample_info(n)["path"] for n in list_samples(kind)] for kind in ("content", "style"))
    if photos is not None:
        contents += sorted(photos.glob("*.jpg"))[-HELD_OUT :: HELD_OUT // 2]
    return [(contents[i % len(contents)], style) for i, style in enumerate(styles)]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--mini", default="mini", help="the encoder to judge: its name or a .safetensors file")
    p.add_argument("--teacher", default="hed", help="the encoder that judges: hed, vgg19 or a .safetensors file")
    p.add_argument("--pictures", type=Path, default=Path(), help="folder of the contents and styles")
    p.add_argument("--contents", nargs="+", default=CONTENTS, metavar="FILE")
    p.add_argument("--styles", nargs="+", default=STYLES, metavar="FILE")
    p.add_argument("--held-out", action="store_true", help="judge on the course's own pictures instead")
    p.add_argument(
        "--photos", type=Path, help=f"with --held-out: the folder whose last {HELD_OUT} photos were left out"
    )
    p.add_argument("--pairs", type=int, help="with --held-out: only the first so many")
    p.add_argument("--size", type=int, default=192, help="short side in pixels")
    p.add_argument("--steps", type=int, default=150)
    p.add_argument("--style-weight", type=float, default=50.0)
    p.add_argument("--rounds", type=int, default=8, help="turns of the speed measurement; 0 leaves it out")
    p.add_argument("--cache", type=Path, default=Path("runs/judge"), help="where finished pictures are kept")
    p.add_argument("--sheet", type=Path, help="save the pictures side by side")
    p.add_argument("--sheet-height", type=int, default=192, help="height of a picture on the sheet")
    p.add_argument("--json", type=Path, help="save all numbers")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        mini, teacher = load_encoder(args.mini), load_encoder(args.teacher)
        if args.held_out:
            paths = held_out_pairs(args.photos)[: args.pairs]
        else:
            paths = [(args.pictures / c, args.pictures / s) for c in args.contents for s in args.styles]
        pairs = [(c.name, load_image(c, size=args.size), s.name, load_image(s, size=args.size)) for c, s in paths]
    except NSTError as error:
        print(error)
        return 2
    report: dict = {"size": args.size, "steps": args.steps, "style_weight": args.style_weight}
    rows = judge(mini, teacher, pairs, steps=args.steps, style_weight=args.style_weight, cache=args.cache, show=True)
    print(f"{'pair':44} closure  " + " ".join(n.removeprefix("relu") + " " for n in STYLE_LAYERS))
    for row in rows:
        layers = " ".join(f"{v:.2f}" for v in row["layers"].values())
        print(f"{Path(row['content']).stem + ' x ' + Path(row['style']).stem:44} {row['closure']:7.3f}  {layers}")
    values = [row["closure"] for row in rows]
    report |= {"mean": statistics.fmean(values), "least": min(values)}
    print(f"mean {report['mean']:.3f}, least {report['least']:.3f}")
    if args.rounds:
        report["speed"] = speeds(mini, teacher, pairs[0][1], pairs[0][3], rounds=args.rounds)
        for precision, s in report["speed"].items():
            print(f"{precision}: mini {s['mini']:.1f}/s, teacher {s['teacher']:.1f}/s, ratio {s['ratio']:.2f}")
    if args.sheet:
        print(sheet(rows, args.sheet, height=args.sheet_height))
    if args.json:
        report["pairs"] = [{k: v for k, v in row.items() if k != "pictures"} for row in rows]
        args.json.write_text(json.dumps(report, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
