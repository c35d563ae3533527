"""A file that is no picture is called what it is."""

from __future__ import annotations

import io
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from nst_helpers.errors import ImageError
from nst_helpers.images import load_image
from nst_helpers.io.recognise import what_it_is


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image({"photo.jpg": data})
    text = str(caught.value)
    assert text.startswith("the uploaded 'photo.jpg' ")
    assert text.isprintable()
    assert text.endswith(".")
    assert ": " in text  # what to do
    return text


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "words")
    return file.getvalue()


def saved(save, what) -> bytes:
    save(what, file := io.BytesIO())
    return file.getvalue()


def media(brand: bytes) -> bytes:
    return b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0" + brand + b"miaf" + bytes(60)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Photo</title>", "web page (HTML)"),
        (b"\xef\xbb\xbf  \n<!doctype HTML><html>", "web page (HTML)"),
        (b"<!-- page -->\n<html>", "web page (HTML)"),
        ("<html>".encode("utf-16") + "<body>é</body>".encode("utf-16-le") * 9, "web page (HTML)"),
        (POINTER.encode(), "Git LFS pointer"),
        (b"../../.git/annex/objects/Xq/4v/SHA256E-s31.jpg\n", "git-annex pointer"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG drawing"),
        (b"<svg width='9'></svg>", "SVG drawing"),
        (b'{"error": "not found", "status": 404}', "text that begins with '{\"error\""),
        ("Nur ein paar Wörter über ein Bild".encode(), "text that begins with 'Nur ein"),
        (b"data:image/jpeg;base64,/9j/4AAQSkZJRg==", "data URL"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (zipped(), "ZIP archive"),
        (saved(torch.save, torch.zeros(3)), "file of torch.save"),
        (saved(lambda array, file: np.save(file, array), np.zeros(3)), "NumPy array"),
        (saved(lambda image, file: image.save(file, "PPM"), Image.new("RGB", (4, 4))), "of a kind that is read here"),
        (b"8BPS\0\1" + bytes(30), "Photoshop document"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "JPEG 2000"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60), "companion file of macOS"),
        (media(b"isom"), "a video"),
        (media(b"qt  "), "a video"),
        (media(b"crx "), "raw file (CR3)"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "a sound"),
        (bytes(500), "nothing but zeros"),
    ],
)  # fmt: skip
def test_what_comes_under_a_pictures_name_is_named(data, expected):
    assert expected in refused(data)


@given(st.text(min_size=20, alphabet=st.characters(categories=("L", "N", "P", "Zs"))))
def test_text_of_any_language_is_called_a_text(words):
    told = what_it_is(io.BytesIO(words.encode()))
    assert told is None or "not a picture but" in told or "JPEG" in told
    if words.strip() and words[0].isalpha() and words.isascii() and not words.startswith(("MZ", "PK", "Rar")):
        assert "a text that begins" in refused(words.encode())


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_get_one_sentence(data):
    try:
        load_image({"photo.jpg": data})
    except ImageError:
        refused(data)


def tiff(photometric: int, bits: int, kind: int, values: np.ndarray, channels: int = 1) -> bytes:
    """An uncompressed little-endian TIFF of one row."""
    data, width = values.tobytes(), values.size // channels
    extra = struct.pack(f"<{channels}H", *[bits] * channels) if channels > 2 else b""
    at = 8 + 2 + 12 * 10 + 4
    tags = [
        (256, width), (257, 1), (258, at if extra else bits), (259, 1), (262, photometric), (273, at + len(extra)),
        (277, channels), (278, 1), (279, len(data)), (339, kind),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, value in tags:
        count = channels if tag == 258 else 1
        long = tag in (273, 279) or count > 1
        directory += struct.pack("<HHI", tag, 4 if long and count == 1 else 3, count)
        directory += struct.pack("<I", value) if long else struct.pack("<HH", value, 0)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + extra + data


DEEP = {
    "16": (16, 1, np.array([0, 1000, 32768, 65535], "<u2"), [0, 1000 / 65535, 32768 / 65535, 1]),
    "8": (8, 1, np.array([0, 10, 128, 255], "u1"), [0, 10 / 255, 128 / 255, 1]),
    "float": (32, 3, np.array([0, 0.25, 0.5, 1], "<f4"), [0, 0.25, 0.5, 1]),
}


@pytest.mark.parametrize("white", ["one", "zero"])
@pytest.mark.parametrize("kind", DEEP)
def test_a_tiff_whose_zero_is_white_is_not_inverted(kind, white):
    bits, sample, values, expected = DEEP[kind]
    grey = np.array(expected)
    image = load_image(tiff(0 if white == "zero" else 1, bits, sample, values))
    np.testing.assert_allclose(image[0, 1, 0], 1 - grey if white == "zero" else grey, atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "sample", "values", "expected"),
    [
        (32, 1, np.array([0, 65535, 1000, 5], "<u4"), [0, 1, 1000 / 65535, 5 / 65535]),
        (32, 1, np.array([0, 2**31, 2**32 - 1], "<u4"), [0, 2**31 / (2**32 - 1), 1]),
        (32, 2, np.array([-10, 0, 10], "<i4"), [0, 0.5, 1]),
        (32, 3, np.array([0, 51, 255], "<f4"), [0, 0.2, 1]),
        (16, 2, np.array([-100, 0, 100], "<i2"), [0, 0.5, 1]),
    ],
)
def test_32_bit_and_signed_tiffs_are_read_right(bits, sample, values, expected):
    np.testing.assert_allclose(load_image(tiff(1, bits, sample, values))[0, 2, 0], expected, atol=1e-6)


def test_12_bits_are_divided_by_their_own_white():
    packed = np.array([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00], "u1")  # 0, 4095, 2048, 0
    data = bytearray(tiff(1, 12, 1, packed))
    width = data.index(struct.pack("<HHI", 256, 3, 1)) + 8
    data[width : width + 2] = struct.pack("<H", 4)
    np.testing.assert_allclose(load_image(bytes(data))[0, 0, 0], [0, 1, 2048 / 4095, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "bits", "sample", "dtype", "channels", "told"),
    [
        (1, 64, 3, "<f8", 1, "1 64-bit floating point sample"),
        (1, 16, 3, "<f2", 1, "1 16-bit floating point sample"),
        (2, 32, 3, "<f4", 3, "3 32-bit floating point samples"),
        (2, 32, 1, "<u4", 3, "3 32-bit unsigned integer samples"),
    ],
)
def test_a_tiff_that_pillow_cannot_read_is_described(photometric, bits, sample, dtype, channels, told):
    text = refused(tiff(photometric, bits, sample, np.arange(12).astype(dtype), channels))
    assert f"a TIFF with {told} a pixel in a layout that can't be read" in text
    assert "8 bits a channel" in text


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("mode", ["I;16", "I;16B", "F", "L", "1"])
def test_white_as_zero_in_every_mode_and_compression(mode, compression):
    ramp = np.linspace(0, 1, 24).reshape(4, 6)
    made = {
        "I;16": lambda: Image.fromarray(np.round(ramp * 65535).astype(np.uint16)),
        "I;16B": lambda: Image.frombytes("I;16B", (6, 4), np.round(ramp * 65535).astype(">u2").tobytes()),
        "F": lambda: Image.fromarray(ramp.astype(np.float32)),
        "L": lambda: Image.fromarray(np.round(ramp * 255).astype(np.uint8)),
        "1": lambda: Image.fromarray(ramp > 0.5),
    }[mode]()
    if mode == "I;16B":
        compression = None  # Pillow writes no compressed big-endian TIFF
    files = {zero: io.BytesIO() for zero in (0, 1)}
    for photometric, file in files.items():
        made.save(file, "TIFF", compression=compression, tiffinfo={262: photometric})
    white_is_zero, black_is_zero = (load_image(file) for file in files.values())
    np.testing.assert_allclose(black_is_zero[0, 0], ramp > 0.5 if mode == "1" else ramp, atol=0.5 / 255)
    if mode in ("1", "L"):  # Pillow inverts these as it writes them
        assert torch.equal(white_is_zero, black_is_zero)
    else:
        torch.testing.assert_close(white_is_zero, 1 - black_is_zero)


@pytest.mark.parametrize(
    ("bits", "sample", "values", "grey"),
    [
        (32, 1, np.array([0, 65535, 13107], "<u4"), [0, 1, 0.2]),
        (32, 2, np.array([-10, 10, 0], "<i4"), [0, 1, 0.5]),
        (16, 2, np.array([-100, 100, 0], "<i2"), [0, 1, 0.5]),
        (16, 1, np.array([0, 65535, 13107], "<u2"), [0, 1, 0.2]),
        (32, 3, np.array([0, 1, 0.2], "<f4"), [0, 1, 0.2]),
    ],
)
def test_zero_is_white_for_samples_that_pillow_knows_only_the_other_way_round(bits, sample, values, grey):
    np.testing.assert_allclose(load_image(tiff(0, bits, sample, values))[0, 0, 0], 1 - np.array(grey), atol=1e-6)
    np.testing.assert_allclose(load_image(tiff(1, bits, sample, values))[0, 0, 0], grey, atol=1e-6)


def test_a_raw_picture_is_not_its_thumbnail():
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "gold").save(file, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "raw picture (DNG)" in refused(file.getvalue())


def test_float_pixels_that_are_not_finite_are_told():
    assert "not finite" in refused(tiff(1, 32, 3, np.array([0, np.inf], "<f4")))


RGB = np.kron(np.random.default_rng(3).integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("orientation", [1, 6])
def test_avif_is_read_where_pillow_can(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.avif", quality=95, exif=exif)
    expected = np.rot90(RGB, -1) if orientation == 6 else RGB
    image = load_image(tmp_path / "a.avif")[0].permute(1, 2, 0).numpy()
    assert image.shape == expected.shape
    assert np.abs(image - expected / 255).mean() < 0.03
    data = (tmp_path / "a.avif").read_bytes()
    assert "damaged or cut short" in refused(data[: len(data) // 2])


def test_avif_without_a_decoder_says_what_it_is(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    text = refused(media(b"avif"))
    assert "an AVIF picture" in text
    assert "install a newer Pillow" in text


def test_heic_without_its_package_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for brand in (b"heic", b"mif1", b"heix"):
        text = refused(media(brand))
        assert "a HEIC picture" in text
        assert "pillow-heif" in text


def test_heic_is_read_with_its_package(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(RGB)).save(tmp_path / "a.heic", quality=95)
    image = load_image(tmp_path / "a.heic")[0].permute(1, 2, 0).numpy()
    assert np.abs(image - RGB / 255).mean() < 0.03
