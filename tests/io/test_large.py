"""Pictures of many megapixels load in little memory, the same as small ones do."""

from __future__ import annotations

import io
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import run_forked
from PIL import Image, features

from nst_helpers.control.masks import load_mask, resize_mask
from nst_helpers.errors import ImageError
from nst_helpers.images import load_image, resize
from nst_helpers.io import colours, decode

EXIF = 0x0112


def large_jpeg(width: int, height: int) -> bytes:
    """A colour JPEG of any height: one row of blocks, encoded once and repeated between restart marks."""
    columns = np.arange(width)
    row = np.stack([columns * 255 // width, columns // 8 % 256, 255 - columns * 255 // width], -1).astype(np.uint8)
    file = io.BytesIO()
    strip = Image.fromarray(np.broadcast_to(row, (16, width, 3)))
    strip.save(file, "JPEG", quality=90, restart_marker_rows=1, subsampling="4:2:0")
    data = file.getvalue()
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])
    header = data[: frame + 5] + height.to_bytes(2) + data[frame + 7 : start]
    blocks = data[start:-2]
    rows = -(-height // 16)
    return header + b"".join(blocks + bytes([0xFF, 0xD0 + i % 8]) for i in range(rows - 1)) + blocks + b"\xff\xd9"


def test_the_repeated_strip_is_a_sound_jpeg():
    data = large_jpeg(640, 480)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.size == (640, 480)
        rows = np.asarray(picture)
    assert np.array_equal(rows[0], rows[479])
    assert rows.std() > 20


MEASURE = """
import sys
from pathlib import Path
from nst_helpers.accel.allocator import release_memory
from nst_helpers.images import load_image

def memory(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024

load_image(sys.argv[1], size=16)  # what the first picture loads stays
for path in sys.argv[2:]:
    release_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    image = load_image(path, size=256)
    print(memory("VmHWM") - before, *image.shape[-2:], image.std().item())
"""


# Megabytes for a megapixel, as docs/images.md has it: what decoders take that can't decode a large picture smaller.
BESIDES = 40
PER_MEGAPIXEL = {
    "plain.jpg": 1, "progressive.jpg": 4, "full colour.jpg": 8,
    "a.png": 8, "a.tif": 8, "a.bmp": 8, "a.gif": 5, "a.avif": 12, "a.webp": 18,
}  # fmt: skip
KINDS = [name for name in PER_MEGAPIXEL if not name.endswith(".avif") or features.check("avif")]
# Width, height, and the megabytes that it may take; a PNG is decoded whole.
LARGE = {"wide.jpg": (20000, 3000, 100), "200 megapixels.jpg": (16320, 12240, 100), "large.png": (8000, 6000, 300)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, list[float]]:
    """For each file what loading it takes, the picture's height and width, and its contrast; one process loads all."""
    if sys.platform != "linux":
        pytest.skip("the peak is read from /proc")
    folder = tmp_path_factory.mktemp("large")
    Image.new("RGB", (40, 30), "gold").save(folder / "small.jpg")
    for name, (width, height, _) in LARGE.items():
        if name.endswith(".jpg"):
            (folder / name).write_bytes(large_jpeg(width, height))
        else:
            Image.new("RGB", (width, height), "gold").save(folder / name, compress_level=1)
    options = {
        "progressive.jpg": {"progressive": True},
        "full colour.jpg": {"progressive": True, "subsampling": 0},
        "a.png": {"compress_level": 1},
        "a.webp": {"method": 0},
        "a.avif": {"speed": 10},
    }
    picture = Image.new("RGB", (4000, 3000), "gold")
    for name in KINDS:
        picture.save(folder / name, **options.get(name, {}))
    names = [*LARGE, *KINDS]
    out = run_forked(MEASURE, str(folder / "small.jpg"), *(str(folder / name) for name in names))
    return {name: [*map(float, line.split())] for name, line in zip(names, out.splitlines(), strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_photo_loads_within_300_megabytes(measured, name):
    width, height, most = LARGE[name]
    peak, *shape, contrast = measured[name]
    assert shape == [round(side * 256 / min(width, height)) for side in (height, width)]
    assert peak < most
    assert contrast > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_each_kind_takes_is_what_the_page_says(measured, name):
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text("utf-8")
    assert (measured[name][0] - BESIDES) / 12 < PER_MEGAPIXEL[name]
    assert f"| {PER_MEGAPIXEL[name]} MB |" in page


def scene(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows / 40) * np.cos(columns / 55)
    return np.stack([128 + 100 * waves, columns * 255 / width, rows * 255 / height], -1).astype(np.uint8)


@pytest.fixture
def small_counts_as_large(monkeypatch):
    monkeypatch.setattr(decode, "SCALED_ABOVE", 1000)
    monkeypatch.setattr(colours, "BAND_PIXELS", 3000)


def as_file(picture: Image.Image, kind: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file


PICTURES = {
    "RGB": (lambda a: Image.fromarray(a), "PNG"),
    "RGBA": (lambda a: Image.fromarray(np.dstack([a, a[..., :1]])), "PNG"),
    "L": (lambda a: Image.fromarray(a[..., 0]), "PNG"),
    "LA": (lambda a: Image.merge("LA", [*map(Image.fromarray, np.moveaxis(a[..., :2], 2, 0))]), "PNG"),
    "P": (lambda a: Image.fromarray(a).quantize(16), "GIF"),
    "I;16": (lambda a: Image.fromarray(a[..., 0].astype(np.uint16) * 257), "PNG"),
    "F": (lambda a: Image.fromarray(a[..., 0].astype(np.float32) - 300), "TIFF"),
    "I": (lambda a: Image.fromarray(a[..., 0].astype(np.int32) * 1000), "TIFF"),
    "CMYK": (lambda a: Image.fromarray(a).convert("CMYK"), "TIFF"),
    "1": (lambda a: Image.fromarray(a[..., 0] > 128), "PNG"),
}


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("crop", [False, True])
def test_scaling_in_bands_is_scaling_at_once(small_counts_as_large, orientation, crop):
    exif = Image.Exif()
    exif[EXIF] = orientation
    file = as_file(Image.fromarray(scene(180, 220)), "PNG", exif=exif)
    for size in (40, (30, 77), 9):
        expected = resize(load_image(file), size, crop=crop)
        torch.testing.assert_close(load_image(file, size=size, crop=crop), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", PICTURES)
def test_every_mode_is_the_same_in_bands(small_counts_as_large, mode, monkeypatch):
    make, kind = PICTURES[mode]
    picture = make(scene(150, 130))
    assert picture.mode == mode
    file = as_file(picture, kind)
    banded = load_image(file)
    torch.testing.assert_close(load_image(file, size=50), resize(banded, 50), rtol=0, atol=1e-5)
    monkeypatch.setattr(colours, "BAND_PIXELS", 1 << 20)
    assert torch.equal(banded, load_image(file))


def test_a_picture_that_is_to_grow_is_as_it_was(small_counts_as_large):
    file = as_file(Image.fromarray(scene(60, 90)), "PNG")
    for size in (60, 100, (200, 30), (61, 10)):
        torch.testing.assert_close(load_image(file, size=size), resize(load_image(file), size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [40, (50, 70), 130])
def test_a_jpeg_decoded_small_looks_like_one_scaled_down(small_counts_as_large, orientation, size):
    exif = Image.Exif()
    exif[EXIF] = orientation
    file = as_file(Image.fromarray(scene(480, 640)), "JPEG", quality=95, exif=exif)
    expected = resize(load_image(file), size)
    drafted = load_image(file, size=size)
    assert drafted.shape == expected.shape
    assert (drafted - expected).abs().max() < 0.03


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_bomb_is_refused_from_its_header_at_any_size(kind, monkeypatch):
    from test_decode import bomb

    monkeypatch.delattr(Image.core, "new")
    for side in (20000, 60000):
        begin = time.process_time()
        with pytest.raises(ImageError, match=r"has more than (64|256) megapixels: scale it down"):
            load_image(bomb(kind, side), size=256)
        assert time.process_time() - begin < 0.5


def test_a_large_jpeg_without_a_size_is_told_to_ask_for_one():
    data = large_jpeg(12000, 9000)
    with pytest.raises(ImageError, match=r"12000 x 9000 pixels\) has more than 64 megapixels: ask for a smaller size"):
        load_image(data)
    with pytest.raises(ImageError, match="more than 64 megapixels"):
        load_image(data, size=7500)


def test_a_mask_is_decoded_at_its_size_too(small_counts_as_large, monkeypatch):
    file = as_file(Image.fromarray(scene(240, 320)), "JPEG")
    whole = load_mask(file)
    monkeypatch.setattr(decode, "MAX_PIXELS", 50_000)
    with pytest.raises(ImageError, match="ask for a smaller size"):
        load_mask(file)
    torch.testing.assert_close(
        load_mask(file, size=24), resize_mask(whole, like=torch.rand(1, 3, 24, 32)), rtol=0, atol=0.1
    )


def test_a_jpeg_that_pillow_has_opened_is_left_at_its_size(small_counts_as_large):
    file = as_file(Image.fromarray(scene(240, 320)), "JPEG")
    with Image.open(file) as opened:
        image = load_image(opened, size=24)
        assert opened.size == (320, 240)
    torch.testing.assert_close(image, resize(load_image(file), 24), rtol=0, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(large_jpeg(12000, 9000)))
    with opened, pytest.raises(ImageError, match="more than 64 megapixels: scale it down with its method resize"):
        load_image(opened, size=24)
