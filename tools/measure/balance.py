"""What `balance="gradients"` wins over fixed weights: how much results scatter over six pairs, by convention.

    python tools/measure/balance.py --size 64 --steps 40

Prints first the medians that `USUAL` in nst_helpers/control/balance.py holds: the gradient norms of the default
weights' terms, in those of the content.
"""

from __future__ import annotations

import argparse
import statistics

import torch

import nst_helpers as nst
from nst_helpers.control.balance import USUAL, style_laid_over
from nst_helpers.engine.objective import build_objective

PAIRS = [
    ("temple", "wave"),
    ("otter", "mosaic"),
    ("bridge", "night_swirls"),
    ("dune", "ink_wash"),
    ("portrait", "crayon"),
    ("street", "discs"),
]


def norms(encoder: nst.Encoder, content: torch.Tensor, style: torch.Tensor, convention: str) -> list[float]:
    """The gradient norms of content, style and total variation where balancing measures them."""
    model = build_objective(encoder, content, [style], nst.Settings(convention=convention))
    image = style_laid_over(content, [style], None, None).requires_grad_()
    found = []
    for term in (model.content_loss, model.style_loss, lambda: model.tv_loss.loss):
        model(image)
        found.append(torch.autograd.grad(term(), image)[0].norm().item())
    return found


def medians(rows: list[list[float]]) -> tuple[float, float]:
    style, tv = (statistics.median(row[i] / row[0] for row in rows) for i in (1, 2))
    return style, tv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    encoder = nst.load_encoder("mini")
    pictures = [tuple(nst.load_sample(name, size=given.size) for name in pair) for pair in PAIRS]
    usual = medians([norms(encoder, *pair, "relative") for pair in pictures])
    print(f"usual norms: content 1, style {usual[0]:.3g}, total variation {usual[1]:.3g}; USUAL has {USUAL}")
    for convention in nst.CONVENTIONS:
        style, tv = medians([norms(encoder, *pair, convention) for pair in pictures])
        fixed = {"style_weight": 100 * USUAL.style / style, "tv_weight": 50 * USUAL.tv / tv}
        for name, options in (("fixed", fixed), ("gradients", {"balance": "gradients"})):
            rows = []
            for content, picture in pictures:
                run = {"encoder": encoder, "steps": given.steps, "convention": convention, "device": "cpu", **options}
                judge = nst.build_model(encoder, content, picture)
                judge(nst.stylize(content, picture, **run).image)
                rows.append((judge.content_loss().item(), judge.style_loss().item()))
            scatter = [statistics.stdev(column) / statistics.mean(column) for column in zip(*rows, strict=True)]
            print(f"{convention:9} {name:9} scatter of content {scatter[0]:.2f}, of style {scatter[1]:.2f}")


if __name__ == "__main__":
    main()
