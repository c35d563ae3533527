"""What isn't pixels can't refuse a picture: odd metadata change nothing."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from nst_helpers.errors import ImageError
from nst_helpers.images import load_image
from nst_helpers.io.containers import bare_pixels

RGB = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind, **options)
    return file.getvalue()


PNG, JPEG, WEBP, GIF = encoded("PNG"), encoded("JPEG"), encoded("WEBP", lossless=True), encoded("GIF")


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    right = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", right if crc is None else crc)


def with_chunk(part: bytes, *, late: bool) -> bytes:
    at = PNG.index(b"IEND") - 4 if late else 33
    return PNG[:at] + part + PNG[at:]


KNOWN = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"tIME", b"sBIT", b"bKGD"]
NAMES = st.sampled_from(KNOWN) | st.from_regex(rb"[a-z][a-zA-Z][A-Z][a-z]", fullmatch=True).filter(
    lambda name: name not in (b"tRNS", b"acTL", b"fcTL", b"fdAT")
)


@settings(deadline=None)
@given(NAMES, st.binary(max_size=60), st.none() | st.integers(0, 2**32 - 1), st.booleans())
def test_no_ancillary_chunk_of_a_png_changes_or_refuses_it(kind, data, crc, late):
    assert torch.equal(load_image(with_chunk(chunk(kind, data, crc), late=late)), load_image(PNG))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "plain iTXt", "many"])
def test_megabytes_of_text_do_not_refuse_a_png(kind, late):
    text = b"a" * 3_000_000
    parts = {
        "tEXt": chunk(b"tEXt", b"parameters\0" + text),
        "zTXt": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(text)),
        "iTXt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(text)),
        "plain iTXt": chunk(b"iTXt", b"workflow\0\0\0\0\0" + text),
        "many": chunk(b"zTXt", b"p\0\0" + zlib.compress(text[:900_000])) * 90,
    }
    assert torch.equal(load_image(with_chunk(parts[kind], late=late)), load_image(PNG))


def test_a_png_keeps_its_orientation_and_its_profile_beside_unreadable_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded("PNG", exif=exif, icc_profile=SWAPPED)
    text = chunk(b"zTXt", b"p\0\0" + zlib.compress(b"a" * 3_000_000))
    odd = plain[:33] + text + plain[33:]
    assert bare_pixels(odd).about["icc_profile"] == SWAPPED
    assert torch.equal(load_image(odd), load_image(plain))
    assert not torch.equal(load_image(odd), load_image(encoded("PNG", exif=exif)))
    large = plain[:33] + chunk(b"iCCP", b"p\0\0" + zlib.compress(SWAPPED + bytes(2_000_000))) + PNG[33:]
    torch.testing.assert_close(load_image(large), load_image(encoded("PNG", icc_profile=SWAPPED)))


@settings(deadline=None)
@given(
    st.sampled_from([*range(0xE0, 0xF0), 0xFE]),
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"MPF\0", b"Photoshop 3.0\0", b"http://ns.adobe.com/xap/1.0/\0"]
    ),
)
def test_no_application_segment_of_a_jpeg_changes_or_refuses_it(marker, data, start):
    segment = start + data
    if segment[:5] in (b"JFIF\0", b"Adobe"):
        return
    odd = JPEG[:20] + bytes([0xFF, marker]) + (len(segment) + 2).to_bytes(2) + segment + JPEG[20:]
    assert torch.equal(load_image(odd), load_image(JPEG))


@settings(deadline=None)
@given(st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"JUNK"]), st.binary(max_size=60))
def test_no_metadata_of_a_webp_changes_or_refuses_it(kind, data):
    canvas = b"VP8X" + struct.pack("<IB3x", 10, {b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}.get(kind, 0))
    canvas += (56 - 1).to_bytes(3, "little") + (40 - 1).to_bytes(3, "little")
    extra = kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    picture = WEBP[12:]
    body = canvas + (extra + picture if kind == b"ICCP" else picture + extra)
    odd = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    assert torch.equal(load_image(odd), load_image(WEBP))


@settings(deadline=None)
@given(st.sampled_from([0xFE, 0xFF, 0x01, 0x55]), st.lists(st.binary(min_size=1, max_size=60), max_size=3))
def test_no_extension_of_a_gif_changes_or_refuses_it(kind, blocks):
    at = 13 + 3 * 2 ** ((GIF[10] & 7) + 1)
    extension = bytes([0x21, kind]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    assert torch.equal(load_image(GIF[:at] + extension + GIF[at:]), load_image(GIF))


@settings(deadline=None)
@given(st.sampled_from([270, 305, 306, 315, 700, 33723, 34377, 34675, 37724, 50341, 65000]), st.binary(max_size=60))
def test_no_private_tag_of_a_tiff_changes_or_refuses_it(tag, data):
    plain = encoded("TIFF")
    count = struct.unpack_from("<H", plain, (at := struct.unpack_from("<I", plain, 4)[0]))[0]
    entries = [plain[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != tag]
    entries.append(struct.pack("<HHII", tag, 7, max(5, len(data)), len(plain)))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    payload = data.ljust(5, b"\0") + b"\0" * (max(5, len(data)) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    odd = plain[:4] + struct.pack("<I", len(plain) + len(payload)) + plain[8:] + payload + directory
    assert torch.equal(load_image(odd), load_image(plain))


# A JPEG without its end


def photo(height: int = 400, width: int = 300, **options) -> bytes:
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(2).integers(0, 60, (height, width, 3))
    smooth = np.stack([rows * 190 // height, columns * 190 // width, 190 - rows * 190 // height], -1)
    file = io.BytesIO()
    Image.fromarray((smooth + noise).astype(np.uint8)).save(file, "JPEG", **options)
    return file.getvalue()


KINDS = {
    "plain": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 2},
    "optimised": {"optimize": True},
}


def reading(data: bytes) -> tuple[torch.Tensor | None, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = None
        with contextlib.suppress(ImageError):
            image = load_image(data)
    return image, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lacking", [1, 2])
def test_a_jpeg_without_its_end_mark_is_read_with_one_warning(kind, lacking):
    data = photo(**KINDS[kind])
    image, told = reading(data[:-lacking])
    assert torch.equal(image, load_image(data))
    assert len(told) == 1
    assert "breaks off before its end mark; its pixels are all there" in told[0]
    assert reading(data)[1] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.85])
def test_a_jpeg_cut_in_the_middle_is_refused(kind, share):
    data = photo(**KINDS[kind])
    with pytest.raises(ImageError, match="damaged or cut short"):
        load_image(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["plain", "4:4:4", "restarts"])
def test_a_few_missing_rows_are_told(kind):
    data = photo(**KINDS[kind])
    image, told = reading(data[:-12])
    rows = int(told[0].partition("its last ")[2].split()[0])
    assert 0 < rows <= 400 / 16
    torch.testing.assert_close(image[..., :-rows, :], load_image(data)[..., :-rows, :])


def test_what_comes_after_the_end_does_not_matter():
    for data in (JPEG, PNG, WEBP, GIF):
        assert torch.equal(load_image(data + b"\0" * 100), load_image(data))
        assert torch.equal(load_image(data + b"<html>" * 50), load_image(data))


@pytest.mark.parametrize("lacking", [4, 8, 12, 16])
def test_a_png_without_its_end_chunk_is_read(lacking):
    assert torch.equal(load_image(PNG[:-lacking]), load_image(PNG))


def test_text_written_by_pillow_is_no_matter():
    about = PngImagePlugin.PngInfo()
    about.add_text("prompt", "a cat " * 300_000, zip=True)
    assert torch.equal(load_image(encoded("PNG", pnginfo=about)), load_image(PNG))
