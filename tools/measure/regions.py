"""What regions cost: evaluations with masks beside evaluations without, in pairs, so that the machine's moods cancel.

python tools/measure/regions.py --size 256 --regions 2 --encoder mini
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import nst_helpers as nst
from nst_helpers.accel.devices import prepare
from nst_helpers.engine.objective import build_objective


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--regions", type=int, default=2)
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tile", type=int, default=None)
    parser.add_argument("--pairs", type=int, default=15)
    given = parser.parse_args()
    encoder = prepare(nst.load_encoder(given.encoder), device="cpu", precision=given.precision)
    content = nst.load_sample("temple", size=given.size)
    styles = [nst.load_sample(name, size=given.size) for name in ("wave", "mosaic", "night_swirls", "crayon")]
    settings = nst.Settings(encoder=encoder, tile=given.tile, device="cpu")
    masks = nst.find_regions(content, given.regions)
    one = build_objective(encoder, content, styles[:1], settings)
    options = {"encoder": encoder, "tile": given.tile, "device": "cpu"}
    several = build_objective(encoder, content, styles[: given.regions], nst.Settings(masks=masks, **options))
    image = content.to(encoder.dtype).clone().requires_grad_()
    times: list[list[float]] = [[], []]
    # With one thread the processor's own time is counted: it knows nothing of what else the machine does.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for number in range(given.pairs + 3):
        for place, model in enumerate((one, several)):
            start = clock()
            image.grad = None
            model(image)
            model.total_loss().backward()
            if number >= 3:
                times[place].append(clock() - start)
    ratios = sorted(b / a for a, b in zip(*times, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(
        f"{given.encoder}, {given.size} px, tile {given.tile}, {torch.get_num_threads()} thread(s): "
        f"{1000 * statistics.median(times[0]):.1f} ms without, {1000 * statistics.median(times[1]):.1f} ms with "
        f"{given.regions} regions: {statistics.median(ratios):.2f} times (half of the pairs {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main()
