"""The pictures at the heads of the lessons, and larger ones beside what they paint, in notebooks/images/.

    python tools/make/lesson_pictures.py          all of them
    python tools/make/lesson_pictures.py 01 02    those of some lessons

The recipe of each picture is the function that makes it. Most use the full-width network, `hed` (the README says how to
get it), and all more pixels and steps than the lessons, which takes minutes on a CPU.
Afterwards `python tools/notebooks/run_notebooks.py --setup` puts the pictures into the lessons.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import nst_helpers as nst

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
BYTES = 150_000
GAP = 6  # white pixels between two pictures of a strip
PART = 236  # pixels: three of them and two gaps are as wide as a lesson shows its first picture
SIDE_07 = 341  # pixels of the short side of lesson 07's pictures: the long one has 511
PICTURES: dict[str, Callable[[], Tensor]] = {}


def picture(name: str) -> Callable[[Callable[[], Tensor]], Callable[[], Tensor]]:
    """Register a function that makes the picture of this file name, (1, 3, H, W) in [0, 1]."""

    def register(make: Callable[[], Tensor]) -> Callable[[], Tensor]:
        PICTURES[name] = make
        return make

    return register


def strip(images: Sequence[Tensor]) -> Tensor:
    """Images (1, 3, H, W) of one height beside each other on white."""
    white = torch.ones(1, 3, images[0].shape[-2], GAP)
    return torch.cat([part for image in images for part in (white, image)][1:], dim=-1)


def save(image: Tensor, path: Path) -> int:
    """Write a JPEG of the best quality that keeps it under 150 kB; returns its bytes.

    Raises ValueError if even quality 60 does not.
    """
    array = nst.lessons.to_array(image)
    for quality in (92, 88, 84, 80, 75, 70, 65, 60):
        Image.fromarray(array).save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size < BYTES:
            return path.stat().st_size
    raise ValueError(f"{path.name} has {path.stat().st_size // 1000} kB: make it smaller.")


def descend(image: Tensor, loss: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """The image after that many steps of Adam at a learning rate of 0.03, clamped after each."""
    image = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(image).backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


def below(images: Sequence[Tensor]) -> Tensor:
    """Images (1, 3, H, W) of one width below each other on white."""
    white = torch.ones(1, 3, GAP, images[0].shape[-1])
    return torch.cat([part for image in images for part in (white, image)][1:], dim=-2)


@functools.cache
def window() -> Tensor:
    """Lesson 00's own pair at 341 x 511 px, by `hed` from coarse to fine."""
    photo, brush = nst.load_sample("temple", size=341), nst.load_sample("stained_glass", size=512)
    options = {"scales": [176, 341], "steps": [70, 40], "style_weight": 40.0, "tv_weight": 20.0}
    return nst.stylize(photo, brush, encoder="hed", precision="float32", device="cpu", **options).image


@picture("00_quickstart.jpg")
def lesson_00() -> Tensor:
    """The photo, the middle of the window in the photo's shape, and the result."""
    content, style = nst.load_sample("temple", size=214), nst.load_sample("stained_glass", size=512)
    size = content.shape[-2:]
    return strip([content, nst.resize(style, size, crop=True), nst.resize(window(), size)])


picture("00_window.jpg")(window)


@picture("01_noise_to_photo.jpg")
def lesson_01() -> Tensor:
    """Noise on its way to a photo, which it becomes by the mean squared error, and the photo under another loss."""
    height, width = 184, PART
    photo = nst.load_sample("otter", size=(height, width), crop=True)
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))
    row = [descend(noise, lambda image: F.mse_loss(image, photo), steps) for steps in (7, 80)]
    large = nst.load_sample("otter", size=(2 * height, 2 * width), crop=True)
    style = nst.load_sample("stained_glass", size=512)
    painted = nst.stylize(large, style, encoder="hed", steps=120, precision="float32", device="cpu").image
    return strip([*row, nst.resize(painted, (height, width))])


@picture("02_what_layers_keep.jpg")
def lesson_02() -> Tensor:
    """A cat's face, and what a middle and a deep layer keep of it: faint noise brought to the same features."""
    photo = nst.load_sample("cat", size=320, crop=True)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    row = [photo]
    for layer in ("relu3_1", "relu4_2"):
        options = {"content_layers": [layer], "style_layers": [], "tv_weight": 3.0, "steps": 150, "device": "cpu"}
        init = 0.5 + 0.03 * noise
        row.append(nst.stylize(photo, photo, init=init, encoder="hed", precision="float32", **options).image)
    return strip([nst.resize(image, PART) for image in row])


@picture("03_texture.jpg")
def lesson_03() -> Tensor:
    """The middles of two style pictures, and beside each what its Gram matrices at three layers made of noise."""
    side = 175
    noise = torch.rand(1, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    start = nst.resize(noise, (side, side))
    row = []
    for name, size in (("mosaic", 400), ("marbling", 320)):
        edge = (size - side) // 2
        style = nst.load_sample(name, size=size, crop=True)[..., edge : edge + side, edge : edge + side]
        layers = {"content_layers": [], "style_layers": nst.STYLE_LAYERS[:3]}
        options = {"init": start, "tv_weight": 3.0, "steps": 200, "precision": "float32", "device": "cpu"}
        row += [style, nst.stylize(start, style, encoder="hed", **layers, **options).image]
    return strip(row)


@picture("04_weights.jpg")
def lesson_04() -> Tensor:
    """A photo, and what rising style weights make of it, two above two; total variation keeps its share."""
    side, encoder = 224, nst.load_encoder("hed")
    content = nst.load_sample("colosseum", size=side, crop=True)
    style = nst.load_sample("wave", size=400)
    shown = [content]
    for weight in (0.03, 1.0, 30.0):
        options = {"style_weight": weight, "tv_weight": 2 * weight, "scales": [112, side], "steps": [60, 30]}
        shown.append(nst.stylize(content, style, encoder=encoder, device="cpu", precision="float32", **options).image)
    return below([strip(shown[:2]), strip(shown[2:])])


@picture("05_race.jpg")
def lesson_05() -> Tensor:
    """A photo, and L-BFGS after 5, 20 and 80 evaluations, two above two: no race, whose end the lesson asks for."""
    photo, style = (nst.load_sample(name, size=224) for name in ("colosseum", "night_swirls"))
    steps = nst.iterate(photo, style, encoder="hed", steps=80, style_weight=50.0, device="cpu", precision="float32")
    shown = [photo, *(step.image for step in steps if step.evaluation.step in (5, 20, 80))]
    return below([strip(shown[:2]), strip(shown[2:])])


@picture("06_otter.jpg")
def lesson_06() -> Tensor:
    """The photo, the style and what `mini` makes of them with one set of weights: of others, the lesson asks."""
    content, style = nst.load_sample("otter", size=256), nst.load_sample("cutouts", size=512)
    options = {"style_weight": 10.0, "tv_weight": 50.0, "steps": 60}
    result = nst.stylize(content, style, encoder="mini", device="cpu", precision="float32", **options).image
    return strip([content, nst.resize(style, content.shape[-2:], crop=True), result])


@picture("06_wall.jpg")
def wall() -> Tensor:
    """Four photos in four styles, two above and two below, each in its own size and weights of style and smoothness."""
    above = strip([_hung("coffee", "linocut", 520, 40.0, 30.0), _hung("astronaut", "mosaic", 320, 30.0, 15.0)])
    under = strip([_hung("portrait", "cutouts", 520, 6.0, 30.0), _hung("dune", "pointillism", 480, 20.0, 20.0)])
    width = above.shape[-1]
    return below([above, nst.resize(under, (round(under.shape[-2] * width / under.shape[-1]), width))])


def _hung(content: str, style: str, style_size: int, style_weight: float, tv_weight: float) -> Tensor:
    """A photo painted by mini from coarse to fine, a minute on a CPU, and brought to a height of 320 px."""
    photo, brush = nst.load_sample(content, size=320), nst.load_sample(style, size=style_size)
    options = {"scales": [160, 320], "steps": [50, 30], "style_weight": style_weight, "tv_weight": tv_weight}
    image = nst.stylize(photo, brush, encoder="mini", precision="float32", device="cpu", **options).image
    return nst.resize(image, (320, round(image.shape[-1] * 320 / image.shape[-2])))


@functools.cache
def wish(*names: str, sky_alone: bool = False, across: bool = False) -> Tensor:
    """The pagoda painted by `hed` in one style, or in two: sky and ground, or from left to right."""
    photo, styles = nst.load_sample("temple", size=SIDE_07), [nst.load_sample(name, size=448) for name in names]
    masks = parts() if len(names) == 2 else [parts()[0]] if sky_alone else None
    if across:
        ramp = torch.linspace(0, 1, photo.shape[-1]).expand_as(photo[:, :1])
        masks = [1 - ramp, ramp]
    options = {"style_weight": 40.0, "tv_weight": 20.0, "scales": (176, SIDE_07), "steps": (70, 40), "device": "cpu"}
    return nst.stylize(photo, styles, encoder="hed", precision="float32", masks=masks, **options).image


def parts() -> list[Tensor]:
    """The pagoda's sky, with the lake, and all the rest."""
    return nst.find_regions(nst.load_sample("temple", size=SIDE_07), 2)


@functools.cache
def sky_alone() -> Tensor:
    """The sky painted, and the photo put back everywhere else."""
    sky, ground = parts()
    return sky * wish("night_swirls", sky_alone=True) + ground * nst.load_sample("temple", size=SIDE_07)


@picture("07_sky.jpg")
def lesson_07_sky() -> Tensor:
    """A photo, the mask of its sky, and the sky painted alone."""
    photo = nst.load_sample("temple", size=SIDE_07)
    return strip([nst.resize(image, 192) for image in (photo, parts()[0].expand_as(photo), sky_alone())])


@picture("07_wishes.jpg")
def lesson_07() -> Tensor:
    """Four wishes: the photo's colours, the sky alone, mosaic below it, one style that turns into another."""
    photo = nst.load_sample("temple", size=SIDE_07)
    upper = [nst.keep_color(wish("night_swirls"), photo), sky_alone()]
    lower = [wish("night_swirls", "mosaic"), wish("night_swirls", "linocut", across=True)]
    return below([strip(row) for row in (upper, lower)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", metavar="NN", help="a lesson's two digits; all if none is given")
    wanted = tuple(parser.parse_args().lessons)
    names = [name for name in PICTURES if name.startswith(wanted or ("",))]
    if not names:
        parser.error(f"there is no picture for {', '.join(wanted)}: there are {', '.join(PICTURES)}.")
    for name in names:
        start = time.perf_counter()
        size = save(PICTURES[name](), IMAGES / name)
        print(f"{name}: {size // 1000} kB, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
