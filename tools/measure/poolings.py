"""Is average pooling better than maximum pooling? `python tools/measure/poolings.py`: a few minutes on a CPU.

One network, `hed`, with either pooling paints the same pairs; then each of the two measures both pictures, by the loss
that it optimised itself.
"""

from __future__ import annotations

import argparse

import torch

import nst_helpers as nst

PAIRS = (("dune", "night_swirls"), ("portrait", "wave"))


def losses(content: str, style: str, *, size: int, steps: int) -> dict[tuple[str, str], float]:
    """The loss of each pooling's picture, by each judge: {(painter, judge): loss}."""
    photo, painting = (nst.load_sample(name, size=size) for name in (content, style))
    networks = {pool: nst.load_encoder("hed", pool=pool) for pool in ("avg", "max")}
    settings = {"steps": steps, "precision": "float32", "device": "cpu"}
    painted = {pool: nst.stylize(photo, painting, encoder=net, **settings).image for pool, net in networks.items()}
    found = {}
    for judge, network in networks.items():
        model = nst.build_model(network, photo, painting)
        for painter, picture in painted.items():
            with torch.no_grad():
                model(picture)
                found[painter, judge] = model.total_loss().item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=192, help="short side in pixels (default 192)")
    parser.add_argument("--steps", type=int, default=80, help="evaluations (default 80)")
    options = parser.parse_args()
    for content, style in PAIRS:
        found = losses(content, style, size=options.size, steps=options.steps)
        print(f"{content} + {style}", flush=True)
        for (painter, judge), loss in found.items():
            times = loss / found[judge, judge]
            print(f"  painted with {painter}, judged by {judge}: {loss:.2f}, {times:.2f} times the judge's own")


if __name__ == "__main__":
    main()
