"""What `balance="gradients"` wins over fixed weights: how much results scatter over six pairs, sizes and encoders.

    python tools/measure/balance.py --encoders mini hed --sizes 48 96 --conventions relative gatys

Prints for fixed weights and for balanced ones the scatter of the final distances, which are read by the convention
`relative`: the standard deviation of their logarithms, so 0.1 is about a tenth. A share is a part of the way: the
style's of its distance at the start, the content's of the distance that the style picture has from the photo.
`USUAL` in nst_helpers/control/balance.py is chosen so that the medians of the style's shares are near each other.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics

from torch import Tensor

import nst_helpers as nst

PAIRS = [
    ("temple", "wave"),
    ("otter", "mosaic"),
    ("bridge", "night_swirls"),
    ("dune", "ink_wash"),
    ("portrait", "crayon"),
    ("street", "discs"),
]


def pictures(size: int) -> list[tuple[Tensor, ...]]:
    return [tuple(nst.load_sample(name, size=size) for name in pair) for pair in PAIRS]


def distances(encoder: nst.Encoder, photo: Tensor, style: Tensor, **options: object) -> tuple[float, ...]:
    """The content's distance and its share of the way, and the style's, for the result of a run."""
    image = nst.stylize(photo, style, encoder=encoder, device="cpu", **options).image
    judge = nst.build_model(encoder, photo, style)

    def read(picture: Tensor) -> tuple[float, float]:
        judge(picture)
        return judge.content_loss().item(), judge.style_loss().item()

    (content, left), (_, start) = read(image), read(photo)
    whole, _ = read(nst.resize(style, (photo.shape[-2], photo.shape[-1]), crop=True))
    return content, content / whole, left, left / start


def scatter(rows: list[tuple[float, ...]]) -> str:
    spread = [statistics.stdev(map(math.log, column)) for column in zip(*rows, strict=True)]
    shares = [statistics.median(column) for column in zip(*rows, strict=True)]
    return "content {:.2f}, its share {:.2f}; style {:.2f}, its share {:.2f}".format(*spread) + (
        f"; medians of the shares {shares[1]:.2f} and {shares[3]:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mini"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64])
    parser.add_argument("--conventions", nargs="+", default=["relative"])
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    for balance in ("weights", "gradients"):
        rows = []
        for name, size, convention in itertools.product(given.encoders, given.sizes, given.conventions):
            encoder, options = nst.load_encoder(name), {"convention": convention, "balance": balance}
            found = [distances(encoder, *pair, steps=given.steps, **options) for pair in pictures(size)]
            print(f"{balance:9} {name:5} {size:4} px {convention:8}: {scatter(found)}", flush=True)
            rows += found
        print(f"{balance:9} all {len(rows)} runs: {scatter(rows)}", flush=True)


if __name__ == "__main__":
    main()
