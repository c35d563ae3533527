"""Files reduced to what holds their pixels, so that nothing else in them can refuse a picture."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

__all__ = ["Bare", "bare_pixels"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_LARGEST_PROFILE = 1 << 24
_PHOTOMETRIC, _SHORT = 262, 3  # a tag of TIFF, and its type


class Bare(NamedTuple):
    """A file without its metadata, but for those that say how its pixels are meant: they are as in Pillow's `info`."""

    data: bytes
    about: dict[str, Any]


def bare_pixels(data: bytes) -> Bare | None:
    """The file with nothing but pixels in it; None for other kinds of files.

    A TIFF whose zero is white becomes one whose zero is black, and "white_is_zero" says so: Pillow reads few of them.

    >>> bare_pixels(b"BM") is None
    True
    """
    if data.startswith(_PNG):
        return _bare_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _bare_jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) > 13:
        return _bare_gif(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _black_is_zero(data)
    return None


def _about(exif: bytes | None, icc_profile: bytes | None) -> dict[str, Any]:
    return {key: value for key, value in (("exif", exif), ("icc_profile", icc_profile)) if value}


def _bare_png(data: bytes) -> Bare:
    parts, exif, profile, at = [_PNG], None, None, len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if kind in _PNG_PIXELS:
            parts.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
        elif kind == b"iCCP":
            profile = _inflated(chunk[8:-4].partition(b"\0")[2][1:])
        at += 12 + length
        if kind == b"IEND":
            break
    return Bare(b"".join(parts), _about(exif, profile))


def _inflated(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_PROFILE)
    except zlib.error:
        return None


def _bare_jpeg(data: bytes) -> Bare:
    """The segments before the first scan, without comments and without application data but for JFIF's and Adobe's."""
    parts, exif, profile, at = [data[:2]], None, b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9 or marker == 0x01:
            break
        segment = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
        if segment[4:10] == b"Exif\0\0" and exif is None:
            exif = segment[4:]
        elif segment[4:16] == b"ICC_PROFILE\0":
            profile += segment[18:]
        about_colours = segment[4:9] in (b"JFIF\0", b"Adobe")
        if about_colours or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(segment)
        at += len(segment)
    return Bare(b"".join(parts) + data[at:], _about(exif, profile))


def _bare_gif(data: bytes) -> Bare:
    """Extensions before the first picture are dropped, but for the one that tells the transparent colour."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    parts = [data[:at]]
    while data[at : at + 1] == b"!":
        end = at + 2
        while end < len(data) and data[end]:
            end += 1 + data[end]
        if data[at + 1 : at + 3] == b"\xf9\4":
            parts.append(data[at : end + 1])
        at = end + 1
    return Bare(b"".join(parts) + data[at:], {})


def _black_is_zero(data: bytes) -> Bare | None:
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}HHIH", data, entry) == (_PHOTOMETRIC, _SHORT, 1, 0):
                return Bare(
                    data[: entry + 8] + struct.pack(f"{order}H", 1) + data[entry + 10 :], {"white_is_zero": True}
                )
    except struct.error:
        pass
    return None
