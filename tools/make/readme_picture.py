"""Make the README's picture: photo, style and result of three pairs, by the defaults.

python tools/make/readme_picture.py [--out notebooks/images/readme.jpg] [--steps 200]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import nst_helpers as nst  # noqa: E402

PAIRS = [("temple", "night_swirls"), ("cat", "mosaic"), ("coffee", "stained_glass")]
SIZE, GAP = (256, 320), 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "notebooks" / "images" / "readme.jpg")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    rows = []
    for content_name, style_name in PAIRS:
        content = nst.load_sample(content_name, size=SIZE, crop=True)
        style = nst.load_sample(style_name, size=SIZE, crop=True)
        result = nst.stylize(content, style, steps=options.steps)
        gap = torch.ones(1, 3, SIZE[0], GAP)
        rows.append(torch.cat([content, gap, style, gap, result.image], 3))
        rows.append(torch.ones(1, 3, GAP, rows[0].shape[3]))
        print(f"{content_name} as {style_name}: {result.seconds:.0f} s, loss {result.loss:.3g}")
    nst.save_image(torch.cat(rows[:-1], 2), options.out, quality=88, parents=True)


if __name__ == "__main__":
    main()
