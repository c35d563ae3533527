"""Make the README's picture of a poster: the whole of it, and a piece in its own pixels.

python tools/make/poster_picture.py POSTER [--out notebooks/images/poster.jpg] [--left 1050] [--top 560]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

HEIGHT, GAP = 480, 8
ROOT = Path(__file__).parents[2]


def composed(poster: Image.Image, left: int, top: int) -> Image.Image:
    """The poster at a height of 480 pixels, and beside it a square of it as it is."""
    whole = poster.resize((round(poster.width * HEIGHT / poster.height), HEIGHT), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (whole.width + GAP + HEIGHT, HEIGHT), "white")
    sheet.paste(whole, (0, 0))
    sheet.paste(poster.crop((left, top, left + HEIGHT, top + HEIGHT)), (whole.width + GAP, 0))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("poster", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "notebooks" / "images" / "poster.jpg")
    parser.add_argument("--left", type=int, default=1050)
    parser.add_argument("--top", type=int, default=560)
    options = parser.parse_args()
    with Image.open(options.poster) as poster:
        composed(poster.convert("RGB"), options.left, options.top).save(options.out, quality=88)


if __name__ == "__main__":
    main()
