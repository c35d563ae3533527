"""Draw the style pictures of the course: `python tools/make/draw_styles.py [NAME ...] [--out data/style]`.

Each picture is a function of a seeded generator in `tools/make/styles`, drawn at twice its size and reduced, so
that edges are smooth. Run `python tools/make/manifest.py` afterwards.

For a poster, `--scale 4 --out FOLDER` draws it four times as large, as a PNG, with strokes as fine as they get.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from styles import ink, linocut, marks, oil, paper, pieces, woodblock

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 240_000
ImageFile.MAXBLOCK = 1 << 22  # Pillow's own buffer is too small for an optimised JPEG this rich in detail


@dataclass(frozen=True)
class Style:
    """One drawn picture: its function, seed and size, and what a reader is told of it."""

    draw: Callable[..., np.ndarray]
    title: str
    alt: str
    seed: int = 1
    width: int = 512
    height: int = 512

    def picture(self, scale: float = 1.0, *, supersample: int = 2) -> Image.Image:
        """The picture at `scale` times its size; the same seed gives the same pixels."""
        size = round(self.width * scale), round(self.height * scale)
        drawn = self.draw(np.random.default_rng(self.seed), *(supersample * side for side in size))
        pixels = (np.clip(drawn, 0, 1) * 255 + 0.5).astype(np.uint8)
        return Image.fromarray(pixels).resize(size, Image.LANCZOS)


STYLES = {
    "night_swirls": Style(
        oil.night_swirls,
        "Eddies of starlight",
        "Thick brush strokes swirl round golden stars in a deep blue sky above green hills and a lake.",
        seed=3,
        width=640,
    ),
    "wave": Style(
        woodblock.wave,
        "Breakers and a coral sun",
        "Striped indigo waves with claws of cream foam curl over before a coral sun, like a woodblock print.",
        width=640,
    ),
    "pointillism": Style(
        marks.pointillism,
        "Sails in the evening",
        "Dots of pure colour make white sails on a lilac river between sunlit trees and a lawn with blue shadows.",
        seed=9,
    ),
    "stained_glass": Style(
        pieces.stained_glass,
        "Sun over the river",
        "Leaded glass glows with a turning sun in orange and yellow over green hills and a blue river.",
    ),
    "mosaic": Style(
        pieces.mosaic,
        "Two fish",
        "Small stones laid along the outlines show two fish that circle in a blue pool with a gold border.",
    ),
    "cutouts": Style(
        paper.cutouts,
        "Sea garden",
        "Coral and sea plants cut from brushed paper crowd below a yellow and red sun on a patchwork of blue and pink.",
        seed=6,
    ),
    "ink_wash": Style(
        ink.ink_wash,
        "Maple above the gorge",
        "Ink peaks fade into mist under a vermilion sun, behind a bent maple with rust red leaves.",
        seed=3,
    ),
    "linocut": Style(
        linocut.linocut,
        "The round tree",
        "Gouges cut through black ink show a round red tree and a radiant sun above red, ochre and green hills.",
    ),
    "crayon": Style(
        marks.crayon,
        "Fields at sundown",
        "Wax crayon stripes a patchwork of violet, red, gold and green fields under a low sun and a burning sky.",
        seed=6,
    ),
    "marbling": Style(
        paper.marbling,
        "Combed marbling",
        "Navy, red, ochre, teal and cream inks are drawn out into fine curls and combed waves.",
        seed=2,
    ),
    "discs": Style(
        oil.discs,
        "Wheels of light",
        "Brushed rings of warm, cool and rose paint turn in overlapping wheels that catch light from the upper left.",
        seed=5,
    ),
}


def save(picture: Image.Image, path: Path) -> None:
    """Save as JPEG with full colour resolution, in the best quality that stays under the limit."""
    for quality in range(92, 60, -2):
        picture.save(path, quality=quality, subsampling=0, optimize=True)
        if path.stat().st_size <= LARGEST:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the style pictures of the course.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(STYLES)} (all by default)")
    parser.add_argument("--out", type=Path, default=ROOT / "data/style", help="the folder to write to")
    parser.add_argument("--scale", type=float, default=1.0, help="how many times as large (1 by default)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(STYLES))
    if arguments.scale <= 0:
        parser.error("--scale needs to be more than 0.")
    if unknown:
        parser.error(f"no style is called {', '.join(unknown)}: choose from {', '.join(STYLES)}.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or STYLES:
        start = time.perf_counter()
        path = arguments.out / f"{name}.{'jpg' if arguments.scale == 1 else 'png'}"
        picture = STYLES[name].picture(arguments.scale)
        save(picture, path) if path.suffix == ".jpg" else picture.save(path)
        print(f"{path}  {path.stat().st_size // 1024} kB  {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
