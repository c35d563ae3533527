"""Remake data/content from the wheels that ship the photos.

    pip download --no-deps -d wheels scikit-image==0.26.0 scikit-learn==1.9.1
    python tools/make/fetch_content.py wheels
    python tools/make/manifest.py

The wheels are read as zip files; nothing is installed and nothing else is downloaded.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SHORT_SIDE = 512


@dataclass(frozen=True)
class Photo:
    """One photo: where it lies in a wheel, and what is known of it."""

    wheel: str
    member: str
    title: str
    author: str
    year: int
    licence: str
    origin: str
    alt: str
    change: str = "saved again as JPEG"

    @property
    def source(self) -> str:
        """Where the photo came from and what was changed."""
        package, version = self.wheel.split("-")
        return f"{self.origin}; {self.member} in {package.replace('_', '-')} {version}; {self.change}"


SKIMAGE = "scikit_image-0.26.0"
PHOTOS = {
    "temple": Photo(
        wheel="scikit_learn-1.9.1",
        member="sklearn/datasets/images/china.jpg",
        title="Temple roofs",
        author="danielbuechele",
        year=2011,
        licence="CC-BY-2.0",
        origin="https://www.flickr.com/photos/danielbuechele/6061409035/",
        alt="A red Chinese pavilion with four tiers of curved roofs stands among trees above a lake.",
    ),
    "cat": Photo(
        wheel=SKIMAGE,
        member="skimage/data/chelsea.png",
        title="Chelsea the cat",
        author="Stefan van der Walt",
        year=2013,
        licence="CC0-1.0",
        origin="by the photographer",
        alt="The face of a ginger tabby cat with green eyes fills the picture.",
    ),
    "coffee": Photo(
        wheel=SKIMAGE,
        member="skimage/data/coffee.png",
        title="Coffee cup",
        author="Rachel Michetti, courtesy of Pikolo Espresso Bar",
        year=2013,
        licence="CC0-1.0",
        origin="by the photographer",
        alt="An espresso stands in a red cup on a red saucer, with a spoon, on a wooden table.",
    ),
    "astronaut": Photo(
        wheel=SKIMAGE,
        member="skimage/data/astronaut.png",
        title="Eileen Collins, astronaut",
        author="NASA",
        year=2014,
        licence="public domain",
        origin="NASA Great Images, https://flic.kr/p/r9qvLn",
        alt="The astronaut Eileen Collins smiles in an orange flight suit, with a flag and a model shuttle behind her.",
    ),
    "galaxies": Photo(
        wheel=SKIMAGE,
        member="skimage/data/hubble_deep_field.jpg",
        title="Hubble eXtreme Deep Field",
        author="NASA, Hubble Space Telescope",
        year=2012,
        licence="public domain",
        origin="http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        alt="Hundreds of galaxies, blue, white and orange, are scattered like sparks on a black sky.",
        change="reduced and saved again as JPEG",
    ),
}


def fetch(name: str, wheels: Path, out: Path) -> Path:
    """Take one photo out of its wheel, reduce it and save it as JPEG.

    Raises:
        FileNotFoundError: its wheel is not in the folder.
    """
    photo = PHOTOS[name]
    found = sorted(wheels.glob(f"{photo.wheel}-*.whl"))
    if not found:
        raise FileNotFoundError(f"no {photo.wheel}-*.whl in {wheels}: download it as this file's first lines say.")
    with zipfile.ZipFile(found[0]) as archive:
        picture = Image.open(io.BytesIO(archive.read(photo.member))).convert("RGB")
    scale = SHORT_SIDE / min(picture.size)
    if scale < 1:
        picture = picture.resize([round(side * scale) for side in picture.size], Image.LANCZOS)
    path = out / f"{name}.jpg"
    picture.save(path, quality=92, optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Remake data/content from the wheels that ship the photos.")
    parser.add_argument("wheels", type=Path, help="the folder with the downloaded wheels")
    parser.add_argument("--out", type=Path, default=ROOT / "data/content")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        path = fetch(name, arguments.wheels, arguments.out)
        print(f"{path}  {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
