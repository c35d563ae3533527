"""Picture files of every kind become the pixels they stand for; damaged ones become one sentence."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from nst_helpers.errors import ImageError
from nst_helpers.io.decode import MAX_PIXELS, decode

ROWS, COLUMNS = np.mgrid[:24, :32]
RGB = np.stack([COLUMNS * 8, ROWS * 10, 255 - ROWS * 5 - COLUMNS * 3], -1).astype(np.uint8)
GREY = (COLUMNS * 8).astype(np.uint8)
ALPHA = (ROWS * 11).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    array = decode(io.BytesIO(data), "the picture")
    assert array.dtype == np.float32
    assert array.min() >= 0
    assert array.max() <= 1
    return array


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(io.BytesIO(data), "'photo'")
    return sentence(caught.value)


def sentence(error: ImageError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    assert len(text) < 500
    return text


def png(width, height, depth, colour, data=b"", *chunks) -> bytes:
    """A PNG file from its parts; `data` is one unfiltered row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + data)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    rgb = np.stack([rgb] * 3, -1) if rgb.ndim == 2 else rgb
    mixed = rgb.astype(np.float64) * alpha[..., None] + 255.0 * (255 - alpha.astype(np.float64))[..., None]
    return mixed / 255**2


# Colours and modes


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_rgb_is_read_exactly_from_lossless_files(kind):
    data = encode(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_allclose(read(data), RGB / 255.0, atol=1e-7)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_rgb_is_read_closely_from_lossy_files(kind):
    assert np.abs(read(encode(Image.fromarray(RGB), kind, quality=95)) - RGB / 255.0).mean() < 0.02


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_is_repeated_over_the_channels(kind):
    np.testing.assert_allclose(read(encode(Image.fromarray(GREY), kind)), np.stack([GREY] * 3, -1) / 255.0, atol=1e-7)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit(kind):
    bits = (ROWS + COLUMNS) % 3 == 0
    np.testing.assert_array_equal(read(encode(Image.fromarray(bits), kind)), np.stack([bits] * 3, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_a_palette_is_looked_up(kind):
    picture = Image.fromarray((COLUMNS % 3).astype(np.uint8)).convert("P")
    colours = np.array([[200, 10, 20], [30, 180, 40], [50, 60, 220]], np.uint8)
    picture.putpalette(colours.tobytes() + bytes(759))
    np.testing.assert_allclose(read(encode(picture, kind)), colours[COLUMNS % 3] / 255.0, atol=1e-7)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk(kind):
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (255, 255, 0, 0)]
    colours = [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0), (0, 0, 1)]
    for ink, colour in zip(inks, colours, strict=True):
        array = read(encode(Image.new("CMYK", (8, 8), ink), kind))
        np.testing.assert_allclose(array, np.broadcast_to(np.float32(colour), (8, 8, 3)), atol=0.02)


def test_lab_and_ycbcr_tiff():
    lab = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (255, 128, 128)])
    np.testing.assert_allclose(read(encode(lab, "TIFF")), np.ones((4, 4, 3)), atol=0.02)
    ycbcr = encode(Image.fromarray(RGB).convert("YCbCr"), "TIFF", compression="tiff_deflate")
    np.testing.assert_allclose(read(ycbcr), RGB / 255.0, atol=0.02)


# Transparency


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_on_white(kind):
    data = encode(Image.fromarray(np.dstack([RGB, ALPHA])), kind, **({"exact": True} if kind == "WEBP" else {}))
    np.testing.assert_allclose(read(data), on_white(RGB, ALPHA), atol=0.12 if kind == "WEBP" else 1e-6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_is_laid_on_white(kind):
    picture = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    np.testing.assert_allclose(read(encode(picture, kind)), on_white(GREY, ALPHA), atol=1e-6)


def test_palette_with_alpha_is_laid_on_white():
    palette = Image.fromarray(RGB).quantize(8)
    layered = palette.convert("PA")
    layered.putalpha(Image.fromarray(ALPHA))
    data = encode(layered, "TIFF")
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "PA"
    np.testing.assert_allclose(read(data), on_white(np.asarray(palette.convert("RGB")), ALPHA), atol=1e-6)


TWO = struct.pack(">HH", 1000, 60000)
PLTE = (b"PLTE", bytes([10, 20, 30, 40, 50, 60]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 8, 0, bytes([10, 20]), (b"tRNS", b"\0\x0a")), [[255] * 3, [20] * 3]),
        (png(2, 1, 8, 2, bytes(range(6)), (b"tRNS", struct.pack(">3H", 3, 4, 5))), [[0, 1, 2], [255] * 3]),
        (png(2, 1, 1, 0, bytes([0b01000000]), (b"tRNS", b"\0\0")), [[255] * 3, [255] * 3]),
        (png(2, 1, 16, 0, TWO, (b"tRNS", TWO[:2])), [[255] * 3, [60000 / 257] * 3]),
        (png(2, 1, 8, 3, bytes([0, 1]), PLTE, (b"tRNS", b"\0")), [[255] * 3, [40, 50, 60]]),
        (png(2, 1, 8, 3, bytes([0, 1]), PLTE, (b"tRNS", b"\x33")), [[206, 208, 210], [40, 50, 60]]),
    ],
    ids=["L", "RGB", "1", "I;16", "P one index", "P alpha table"],
)
def test_a_transparent_colour_becomes_white(data, expected):
    np.testing.assert_allclose(read(data)[0] * 255, expected, atol=1e-3)


def test_gif_shows_its_first_frame_with_the_transparent_parts_white():
    first, second = (Image.fromarray((COLUMNS % 2 + shift).astype(np.uint8)).convert("P") for shift in (0, 2))
    colours = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 255], [0, 0, 0]], np.uint8)
    for frame in (first, second):
        frame.putpalette(colours.tobytes() + bytes(756))
    data = encode(first, "GIF", save_all=True, append_images=[second], transparency=1)
    expected = np.where((COLUMNS % 2 == 1)[..., None], 255, colours[0]) / 255.0
    np.testing.assert_allclose(read(data), expected, atol=1e-7)


# More than 8 bits


DEEP = (COLUMNS * 2000 + ROWS * 100).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF"])
def test_sixteen_bit_grey_keeps_its_range_and_its_depth(kind):
    picture = Image.fromarray(DEEP)
    if kind == "big-endian TIFF":
        picture = Image.frombytes("I;16B", (32, 24), DEEP.astype(">u2").tobytes())
    array = read(encode(picture, kind.split()[-1]))
    np.testing.assert_allclose(array, np.stack([DEEP] * 3, -1) / 65535, atol=1e-7)


def test_sixteen_bit_rgb_keeps_its_range():
    row = np.array([0, 1000, 20000, 40000, 60000, 65535], np.uint16)
    np.testing.assert_allclose(read(png(2, 1, 16, 2, row.astype(">u2").tobytes())).ravel(), row / 65535, atol=1 / 255)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.25, 1]]), [0, 0.25, 1]),
        (np.float32([[0, 51, 255]]), [0, 0.2, 1]),
        (np.float32([[0, 6553.5, 60000]]), [0, 0.1, 60000 / 65535]),
        (np.float32([[-1, 0, 3]]), [0, 0.25, 1]),
        (np.float32([[-7, -7, -7]]), [0, 0, 0]),
        (np.int32([[0, 200, 65535]]), [0, 200 / 65535, 1]),
        (np.int32([[-100_000, 0, 100_000]]), [0, 0.5, 1]),
    ],
)
def test_floats_and_32_bit_integers_are_scaled_to_their_likely_white(values, expected):
    np.testing.assert_allclose(read(encode(Image.fromarray(values), "TIFF"))[0, :, 1], expected, atol=1e-6)


def test_float_pixels_that_are_not_finite_are_refused():
    assert "not finite" in refusal(encode(Image.fromarray(np.float32([[0, np.nan]])), "TIFF"))


# EXIF orientation

# The sides of the upright picture where the stored first row and first column belong (EXIF 2.3, 4.6.4).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    stored = np.kron(np.array([[0, 90, 160], [250, 50, 200]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.stack([stored] * 3, -1)), kind, exif=exif)
    expected = stored
    if SIDES[orientation][0] in ("left", "right"):
        expected = expected.T
    if "right" in SIDES[orientation]:
        expected = expected[:, ::-1]
    if "bottom" in SIDES[orientation]:
        expected = expected[::-1]
    array = read(data)
    assert array.shape[:2] == expected.shape
    assert np.abs(array[..., 0] - expected / 255.0).mean() < 0.02


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\1"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_keep_a_picture_from_loading(kind, exif):
    picture = Image.fromarray(RGB)
    np.testing.assert_array_equal(read(encode(picture, kind, exif=exif)), read(encode(picture, kind)))


# ICC profiles


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged."""
    return SRGB.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def linear_grey_profile() -> bytes:
    """A minimal grey ICC profile (version 2.1) whose values are proportional to light."""
    d50 = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = [
        (b"wtpt", b"XYZ \0\0\0\0" + d50),
        (b"kTRC", b"curv\0\0\0\0\0\0\0\0"),
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79)),
        (b"cprt", b"text\0\0\0\0none\0"),
    ]
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(
        ">I4sI4s4s4s12x4s4s24x", size, b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ", b"acsp", b"\0" * 4
    )
    header = header[:68] + d50
    return header.ljust(128, b"\0") + table + body


def to_srgb(light: np.ndarray) -> np.ndarray:
    """The sRGB transfer function (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_icc_profile_is_converted_to_srgb(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(RGB), kind, icc_profile=swapped_profile(), **options)
    np.testing.assert_allclose(read(data), RGB[..., ::-1] / 255.0, atol=1.5 / 255)


def test_an_icc_profile_counts_for_palettes_and_under_alpha_too():
    palette = Image.fromarray(RGB).quantize(8)
    expected = np.asarray(palette.convert("RGB"))[..., ::-1] / 255.0
    np.testing.assert_allclose(read(encode(palette, "PNG", icc_profile=swapped_profile())), expected, atol=1.5 / 255)
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
    np.testing.assert_allclose(
        read(encode(rgba, "PNG", icc_profile=swapped_profile())),
        on_white(RGB[..., ::-1], ALPHA),
        atol=1.5 / 255,
    )


def test_a_grey_profile_is_converted_at_every_depth():
    profile = linear_grey_profile()
    light = GREY / 255.0
    for picture in (Image.fromarray(GREY), Image.fromarray((GREY * 257.0).astype(np.uint16))):
        array = read(encode(picture, "PNG", icc_profile=profile))
        np.testing.assert_allclose(array[..., 0], to_srgb(light), atol=2 / 255)
    layered = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    expected = on_white(to_srgb(light) * 255, ALPHA)
    np.testing.assert_allclose(read(encode(layered, "PNG", icc_profile=profile)), expected, atol=2 / 255)


@pytest.mark.parametrize(
    ("picture", "profile"),
    [
        (Image.fromarray(RGB), b"garbage"),
        (Image.fromarray(RGB), SRGB[:200]),
        (Image.fromarray(RGB), linear_grey_profile()),
        (Image.fromarray(GREY), b"garbage"),
        (Image.fromarray(DEEP), b"garbage"),
        (Image.fromarray(RGB).convert("CMYK"), swapped_profile()),
    ],
    ids=["garbage", "cut", "grey for RGB", "grey garbage", "deep garbage", "RGB for CMYK"],
)
def test_a_profile_that_does_not_work_is_passed_over(picture, profile):
    with_profile = read(encode(picture, "TIFF", icc_profile=profile))
    np.testing.assert_allclose(
        with_profile, read(encode(picture, "TIFF")), atol=1e-7 + 0.5 / 255 * (picture.mode == "I;16")
    )


# Refusals


def bomb(kind: str, side: int) -> bytes:
    """The header of a square picture of `side` pixels, and next to nothing behind it."""
    if kind == "PNG":
        return png(side, side, 8, 2)
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", side, side) + encode(Image.new("P", (1, 1)), "GIF")[10:]
    if kind == "BMP":
        return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    if kind == "WebP":  # two small frames on a huge canvas
        frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
        data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
        assert data[12:16] == b"VP8X"
        return data[:24] + (side - 1).to_bytes(3, "little") * 2 + data[30:]
    if kind == "JPEG":
        data = encode(Image.new("L", (8, 8)), "JPEG")
        frame = data.index(b"\xff\xc0")
        return data[: frame + 5] + struct.pack(">HH", side, side) + data[frame + 9 :]
    data = bytearray(encode(Image.new("L", (300, 301)), "TIFF"))
    for tag, value in ((256, 300), (257, 301)):
        at = data.index(struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", value))
        data[at + 8 : at + 12] = struct.pack("<I", side)
    return bytes(data)


@pytest.mark.parametrize("side", [8001, 12000, 20000])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WebP", "JPEG", "TIFF"])
def test_a_bomb_is_refused_from_its_header(kind, side, monkeypatch):
    side = min(side, 16383) if kind == "WebP" else side  # its largest
    data, limit, filters = bomb(kind, side), Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    monkeypatch.delattr(Image.core, "new")  # no pixel can be laid out
    begin = time.process_time()
    assert "more than 64 megapixels" in refusal(data)
    assert time.process_time() - begin < 0.5
    assert limit == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == filters


def test_the_largest_size_passes_the_check_of_the_header():
    assert MAX_PIXELS == 8000 * 8000
    assert "megapixels" not in refusal(png(8000, 8000, 1, 0))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"just some words\n" * 20, "not a picture"),
        (bytes(1000), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "HEIC"),
        (encode(Image.fromarray(RGB), "JPEG")[:20], "not a picture"),
        (encode(Image.fromarray(RGB), "JPEG")[:-200], "cut short"),
        (encode(Image.fromarray(RGB), "PNG")[:-40], "cut short"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(data, expected):
    text = refusal(data)
    assert expected in text
    assert "'photo'" in text


def test_a_jpeg_whose_end_is_zeros_is_as_one_that_lacks_it():
    """A copy that gets its full length first and then breaks off is full of zeros, which a decoder takes for pixels."""
    whole = encode(Image.fromarray(RGB), "JPEG")
    with pytest.raises(ImageError, match="its end is missing"):
        read(whole[: len(whole) // 2] + b"\0" * (len(whole) // 2))
    with pytest.warns(UserWarning, match="its pixels are all there"):
        assert np.array_equal(read(whole[:-2] + b"\0" * 100), read(whole))
    for more in (b"", b"a trailer of the camera"):
        assert np.array_equal(read(whole + more + b"\0" * 100), read(whole))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_never_shown_in_part(kind):
    data = encode(Image.fromarray(RGB).quantize(16) if kind == "GIF" else Image.fromarray(RGB), kind)
    whole, refused = read(data), 0
    for end in range(1, len(data), max(1, len(data) // 150)):
        try:
            np.testing.assert_array_equal(read(data[:end]), whole)
        except ImageError as error:
            sentence(error)
            refused += 1
    assert refused > 80


FUZZED = {
    "JPEG": encode(Image.fromarray(RGB), "JPEG", icc_profile=SRGB),
    "PNG": encode(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG", icc_profile=SRGB),
    "WEBP": encode(Image.fromarray(RGB), "WEBP"),
    "GIF": encode(Image.fromarray(RGB).quantize(16), "GIF", transparency=3),
    "BMP": encode(Image.fromarray(RGB), "BMP"),
    "TIFF": encode(Image.fromarray(DEEP), "TIFF"),
    "TIFF deflate": encode(Image.fromarray(RGB), "TIFF", compression="tiff_deflate"),
}


@pytest.mark.parametrize("kind", FUZZED)
def test_flipped_bytes_give_a_picture_or_a_sentence(kind, capfd):
    random = np.random.default_rng(len(kind))
    for _ in range(60):
        data = bytearray(FUZZED[kind])
        for at in random.integers(0, [len(data), min(len(data), 150)]):
            data[at] = random.integers(256)
        try:
            read(bytes(data))
        except ImageError as error:
            sentence(error)
    capfd.readouterr()  # libtiff complains to the terminal by itself
