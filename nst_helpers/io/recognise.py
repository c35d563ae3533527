"""What a file is that can't be read as a picture: told from its first bytes, with what to do about it."""

from __future__ import annotations

import contextlib
import re
from typing import IO

from PIL import Image, features

__all__ = ["HEIC_BRANDS", "what_it_is"]

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")

_HEAD = 1024  # bytes that are looked at

_EXPORT = "export it as PNG or JPEG"
# The first bytes of files that come under a picture's name: what they are, and what to do.
_SIGNATURES = {
    b"version https://git-lfs": ("a Git LFS pointer, which only names the picture", "run `git lfs pull`"),
    b"%PDF": ("a PDF document", "export the page or the picture in it as PNG or JPEG"),
    b"%!PS": ("a PostScript drawing", _EXPORT),
    b"PK\x03\x04": ("a ZIP archive or an office document", "unpack it and load the picture in it"),
    b"\x1f\x8b": ("a gzip archive", "unpack it and load the picture in it"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it and load the picture in it"),
    b"Rar!": ("a RAR archive", "unpack it and load the picture in it"),
    b"\x93NUMPY": ("a NumPy array", "load it with numpy.load, and give PIL.Image.fromarray of its bytes"),
    b"8BPS": ("a Photoshop document", _EXPORT),
    b"gimp xcf": ("a GIMP document", _EXPORT),
    b"\xff\x0a": ("a JPEG XL picture", _EXPORT),
    b"\0\0\0\x0cJXL ": ("a JPEG XL picture", _EXPORT),
    b"\0\0\0\x0cjP  ": ("a JPEG 2000 picture", _EXPORT),
    b"\xff\x4f\xff\x51": ("a JPEG 2000 picture", _EXPORT),
    b"\0\0\1\0": ("an icon (ICO)", _EXPORT),
    b"FUJIFILMCCD-RAW": ("a camera's raw picture", _EXPORT),
    b"RIFF": ("a sound or a video (RIFF)", "take one frame out of a video as PNG or JPEG"),
    b"OggS": ("a sound or a video (Ogg)", "take one frame out of a video as PNG or JPEG"),
    b"ID3": ("a sound (MP3)", "check the name"),
    b"\x1a\x45\xdf\xa3": ("a video (Matroska or WebM)", "take one frame out of it as PNG or JPEG"),
    b"\0\5\x16\7": ("a companion file of macOS, without pixels", "load the file whose name doesn't begin with '._'"),
    b"bplist00": ("a property list, such as iCloud's placeholder", "open the picture once, so that it is downloaded"),
    b"\x7fELF": ("a program", "check the name"),
    b"MZ": ("a program", "check the name"),
}
_SAMPLE_FORMATS = {1: "unsigned integer", 2: "signed integer", 3: "floating point", 5: "complex", 6: "complex"}


def what_it_is(file: IO[bytes]) -> str | None:
    """A clause that names the file's kind and the remedy; None where its first bytes say nothing.

    >>> import io
    >>> what_it_is(io.BytesIO(b"%PDF-1.7"))
    'is not a picture but a PDF document: export the page or the picture in it as PNG or JPEG'
    """
    file.seek(0)
    head = file.read(_HEAD)
    if head.startswith(b"PK") and b"/data.pkl" in head:
        return "is not a picture but a file of torch.save: load it with torch.load, and give the tensor in it"
    for signature, (kind, remedy) in _SIGNATURES.items():
        if head.startswith(signature):
            return f"is {'' if kind.endswith('picture') else 'not a picture but '}{kind}: {remedy}"
    if head[4:8] == b"ftyp":
        return _what_media(head)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _what_tiff(file)
    if not head.strip(b"\0"):
        return "is not a picture, since it holds nothing but zeros: its download or copy failed, so fetch it again"
    return _what_text(head)


def _what_media(head: bytes) -> str:
    """AVIF, HEIC and videos share a container, and tell themselves apart by their brands."""
    brands = head[8:12] + head[16:64]
    damaged = "picture that is damaged or cut short: fetch or export it again"
    if b"avif" in brands or b"avis" in brands:
        unread = f"picture, which this Pillow can't read: install a newer Pillow, or {_EXPORT}"
        return f"is an AVIF {damaged if features.check('avif') else unread}"
    if any(brand in brands for brand in HEIC_BRANDS):
        unread = f"picture: install the package pillow-heif, or {_EXPORT}"
        return f"is a HEIC {damaged if 'HEIF' in Image.OPEN else unread}"
    if b"crx " in brands:
        return f"is a camera's raw file (CR3): {_EXPORT}"
    return "is not a picture but a video: take one frame out of it as PNG or JPEG"


def _what_tiff(file: IO[bytes]) -> str | None:
    """What samples a TIFF has that Pillow can't read."""
    with contextlib.suppress(Exception):  # a damaged directory says nothing
        from PIL import TiffImagePlugin

        file.seek(0)
        header = file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header + (file.read(8) if header[2] == 43 else b""))
        file.seek(tags.next)
        tags.load(file)
        bits, kind = tags.get(258, (1,)), tags.get(339, (1,))
        kinds = f"{bits[0]}-bit {_SAMPLE_FORMATS.get(kind[0], 'unknown')} sample{'' if len(bits) == 1 else 's'}"
        return (
            f"is a TIFF with {len(bits)} {kinds} a pixel in a layout that can't be read, or it is damaged: "
            "export it with 8 bits a channel, as PNG"
        )
    return None


def _what_text(head: bytes) -> str | None:
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = head.decode("utf-16" if wide else "utf-8-sig", "ignore")
    begin = text.lstrip().lower()
    if re.match(r"<(!doctype\s+html|html|head|body|script|meta|!--)", begin):
        return (
            "is not a picture but a web page (HTML) saved under a picture's name: "
            "open it in a browser and save the picture itself"
        )
    if "<svg" in begin:
        return f"is not a picture but an SVG drawing, which has no pixels: {_EXPORT}"
    if "/annex/objects/" in begin:
        return "is not a picture but a git-annex pointer, which only names the picture: run `git annex get`"
    if begin.startswith("data:image/"):
        return "is not a picture but a data URL: decode its base64 part and load the bytes"
    if begin.startswith("<?xml") or re.match(r"<[a-z]+[\s>]", begin):
        return "is not a picture but an XML text, most often a server's answer: fetch the picture again"
    readable = sum(c.isprintable() or c in "\t\r\n" for c in text)
    if readable < 0.95 * len(text) or len(text) < 0.5 * len(head) / (2 if wide else 1):
        return None
    words = " ".join(text.split())
    return f"is not a picture but a text that begins with {words[:40]!r}: fetch the picture again"
