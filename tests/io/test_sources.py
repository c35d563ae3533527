"""Paths as people write them, bytes, open files and uploads become one open file, or one sentence."""

from __future__ import annotations

import io
import os
import unicodedata
from datetime import UTC, datetime
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nst_helpers.errors import ImageError
from nst_helpers.images import check_output, load_image, save_image
from nst_helpers.io.decode import decode
from nst_helpers.io.sources import open_source, shown

RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind)
    return file.getvalue()


PNG = encoded()


def sentence(error: ImageError) -> str:
    text = str(error)
    assert text.isprintable()
    assert text.endswith((".", "?"))
    assert len(text) < 600
    return text


def opening(source) -> str:
    with pytest.raises(ImageError) as caught:
        open_source(source)
    return sentence(caught.value)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "Photo.JPG").write_bytes(b"x")
    assert f"did you mean {shown(tmp_path / 'Photo.JPG')}?" in opening(tmp_path / "photo.jpeg")
    assert "check the name" in opening(str(tmp_path / "castle.png"))
    assert "folder doesn't exist" in opening(tmp_path / "no" / "photo.jpg")
    assert "there is no file" in opening(tmp_path / "Photo.JPG" / "photo.jpg")
    assert "is a folder" in opening(tmp_path)
    assert "web address" in opening("https://example.org/a.jpg")
    assert "can't be opened" in opening(str(tmp_path / ("x" * 300 + ".jpg")))
    assert "can't be opened" in opening("a\0b.jpg")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes on this system")
    os.mkfifo(tmp_path / "pipe.png")
    assert "not an ordinary file" in opening(tmp_path / "pipe.png")


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")

    def denied(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    assert "permissions" in opening(path)


@pytest.mark.parametrize("source", [None, 3, ["a.png"], {"content": 3}, {"a.png": "b"}, (b"", 3), np.zeros((2, 2))])
def test_other_types_are_refused(source):
    assert f"a {type(source).__name__} can't be loaded" in opening(source)


def test_strided_bytes_are_read_and_released_ones_are_told():
    doubled = bytes(b for byte in PNG for b in (byte, 0))
    assert load_image(memoryview(doubled)[::2]).shape == (1, 3, 24, 32)
    released = memoryview(PNG)
    released.release()
    with pytest.raises(ImageError, match="can't be read"):
        load_image(released)


def test_a_download_that_breaks_off_is_told():
    class Response:
        def read(self):
            raise IncompleteRead(b"", 5)

    with pytest.raises(ImageError, match="the open file can't be read"):
        load_image(Response())


def test_a_disk_that_fails_is_told(tmp_path, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, *count):
            raise OSError(5, "Input/output error")

    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(Path, "open", lambda *arguments: Failing())
    with pytest.raises(ImageError, match=r"'.*a.png' can't be read \(Input/output error\)"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "said"), [("", "is empty"), (" ", "is empty"), ("s3://bucket/a.png", "is a web address")]
)
def test_what_can_be_no_path_is_told(name, said):
    for source in (name, Path(name)) if name.strip() else (name,):
        with pytest.raises(ImageError, match=said):
            load_image(source)


def test_open_files(tmp_path):
    data = PNG
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as given:
        given.seek(50)  # as after writing to it
        file, label = open_source(given)
        np.testing.assert_allclose(decode(file, label), RGB / 255.0, atol=1e-7)
        assert not given.closed
    assert "can't be read" in opening(given)
    assert "mode 'rb'" in opening(io.StringIO("words"))
    for source in (data, bytearray(data), memoryview(data), str(tmp_path / "a.png"), tmp_path / "a.png"):
        file, label = open_source(source)
        with file:
            assert decode(file, label).shape == (24, 32, 3)


def loads(source) -> bool:
    return torch.equal(load_image(source), load_image(PNG))


# Paths as they are written


@pytest.mark.parametrize("write", ["~/p.png", "~/a folder/../p.png", '"~/p.png"', " ~/p.png\n"])
def test_a_path_in_the_home_folder(tmp_path, monkeypatch, write):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a folder").mkdir()
    (tmp_path / "p.png").write_bytes(PNG)
    assert loads(write)
    assert save_image(load_image(PNG), "~/q.png") == tmp_path / "q.png"
    assert shown(tmp_path / "r.png") in opening("~/r.png")
    assert "did you mean" in opening("~/P.PNG") or loads("~/P.PNG")  # some file systems take both for one


def test_a_path_with_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_PICTURES", str(tmp_path))
    (tmp_path / "p.png").write_bytes(PNG)
    (tmp_path / "$NST_PICTURES.png").write_bytes(PNG)
    assert loads("$NST_PICTURES/p.png")
    assert loads(tmp_path / "$NST_PICTURES.png")


def test_what_has_no_pixels_or_is_an_array_is_explained():
    with pytest.raises(ImageError, match="nothing in it"):
        load_image(Image.new("RGB", (0, 4)))
    with pytest.raises(ImageError, match="PIL.Image.fromarray"):
        load_image(RGB)


def test_a_file_whose_name_begins_with_a_tilde_is_found_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~p.png").write_bytes(PNG)
    assert loads("~p.png")
    assert "there is no file" in opening("~nobody-of-this-name/p.png")


@pytest.mark.parametrize("mark", ['"', "'", " ", ""])
def test_a_path_copied_with_its_quotes_or_as_an_address(tmp_path, mark):
    file = tmp_path / "my photo.png"
    file.write_bytes(PNG)
    assert loads(f"{mark}{file}{mark}")
    assert loads(file.as_uri())


@given(
    name=st.sampled_from(["Café Zoë", "façade", "한글", "Ångström", "Tiếng Việt", "が"]),
    written=st.sampled_from(["NFC", "NFD"]),
    stored=st.sampled_from(["NFC", "NFD"]),
)
def test_a_name_in_another_unicode_form_is_found(tmp_path_factory, name, written, stored):
    folder = tmp_path_factory.mktemp("names") / unicodedata.normalize(stored, f"{name} folder")
    folder.mkdir()
    (folder / unicodedata.normalize(stored, f"{name}.png")).write_bytes(PNG)
    asked = folder.parent / unicodedata.normalize(written, f"{name} folder/{name}.png")
    assert loads(asked)
    assert loads(str(asked))


def test_a_screenshot_with_its_narrow_space_is_found_by_a_plain_one(tmp_path):
    (tmp_path / "Screenshot at 3.00.00\u202fPM.png").write_bytes(PNG)
    assert loads(tmp_path / "Screenshot at 3.00.00 PM.png")
    (tmp_path / "Screenshot at 3.00.00\u00a0PM.png").write_bytes(PNG)
    assert "did you mean" in opening(tmp_path / "Screenshot at 3.00.00 PM.png")  # two, and none of them for sure


@pytest.mark.parametrize("written", [f"C:{escape}ode\\photo.jpg" for escape in "\a\b\t\n\v\f\r\1"])
def test_a_lost_backslash_is_shown_and_explained(written):
    text = opening(written)
    assert 'r"' in text
    first = next(c for c in written if c < " ")
    assert first not in text
    assert "there is no file" in text


def test_the_temple_of_windows():
    text = opening("C:\temple.jpg")
    assert "there is no file 'C:\\temple.jpg'" in text
    assert 'r"C:\\temple.jpg"' in text


@given(st.text(st.characters(codec=None), max_size=400))
def test_any_text_is_a_file_or_one_sentence(name):
    sentence_or_file = "sentence"
    try:
        file, _ = open_source(f"/no such folder/{name}")
        file.close()
        sentence_or_file = "file"
    except ImageError as error:
        sentence(error)
    assert sentence_or_file == "sentence"
    assert shown(name).isprintable()
    assert len(shown(name)) <= 300


@pytest.mark.parametrize("name", ["x" * 300, "y" * 5000, "z/" * 3000 + "out", "é" * 200])
def test_very_long_names_get_one_sentence(tmp_path, name):
    assert len(opening(tmp_path / f"{name}.png")) < 600
    for call in (check_output, lambda path: save_image(load_image(PNG), path)):
        with pytest.raises(ImageError, match="can't be written|doesn't exist") as caught:
            call(tmp_path / f"{name}.png")
        sentence(caught.value)
    with pytest.raises(ImageError) as caught:
        save_image(load_image(PNG), tmp_path / f"{name}.png", parents=True)
    sentence(caught.value)
    with pytest.raises(ImageError, match="the uploaded") as caught:
        load_image({f"{name}.png": b"x"})
    sentence(caught.value)


# Uploads

CONTENTS = st.sampled_from([PNG, memoryview(PNG), bytearray(PNG)])


class Widget:
    def __init__(self, value):
        self.value = value


def widgets_8(name, content):
    return (
        {
            "name": name,
            "type": "image/png",
            "size": len(content),
            "content": content,
            "last_modified": datetime.now(UTC),
        },
    )


def widgets_7(name, content):
    return {name: {"metadata": {"name": name, "type": "image/png", "size": 1, "lastModified": 0}, "content": content}}


def colab(name, content):
    return {name: content}


@given(st.sampled_from([widgets_8, widgets_7, colab]), CONTENTS, st.booleans(), st.booleans())
def test_the_single_picture_of_an_upload_is_loaded(shape, content, whole_widget, one_entry):
    value = shape("my photo.png", content)
    if one_entry:
        value = value[0] if isinstance(value, tuple) else value["my photo.png"]
    assert loads(Widget(value) if whole_widget and not one_entry else value)


@pytest.mark.parametrize("shape", [widgets_8, widgets_7, colab])
def test_an_upload_of_none_or_several_is_explained(shape):
    empty = shape("a.png", PNG)
    assert "holds no file" in opening(type(empty)())
    one, two = shape("a.png", PNG), shape("b.png", PNG)
    both = one + two if isinstance(one, tuple) else one | two
    text = opening(both)
    assert "2 files" in text
    assert "b.png" in text or "file 2" in text
    damaged = shape("bad name\n.png", b"x")
    with pytest.raises(ImageError, match=r"the uploaded 'bad name\\n.png'") as caught:
        load_image(damaged)
    sentence(caught.value)


def test_the_real_upload_widget_is_understood():
    import ipywidgets

    if int(ipywidgets.__version__.partition(".")[0]) < 8:
        pytest.skip("its value is set by the browser alone")
    uploader = ipywidgets.FileUpload()
    assert "holds no file" in opening(uploader.value)
    uploader.set_trait("value", widgets_8("a.png", memoryview(PNG)))
    assert loads(uploader)
    assert loads(uploader.value)
    assert loads(uploader.value[0])
    assert loads(uploader.value[0]["content"])


def test_a_picture_of_pillow_is_taken():
    with Image.open(io.BytesIO(PNG)) as opened:
        assert loads(opened)
    assert torch.equal(load_image(Image.fromarray(RGB), size=12), load_image(PNG, size=12))
    grey = Image.fromarray(RGB[..., 0])
    assert torch.equal(load_image(grey)[0, 1], torch.from_numpy(RGB[..., 0]) / 255)


@pytest.mark.skipif(os.name != "posix", reason="modes and root are those of POSIX")
def test_an_output_is_probed_by_writing(tmp_path, monkeypatch):
    assert check_output(tmp_path / "a.png") == tmp_path / "a.png"
    assert list(tmp_path.iterdir()) == []

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"can't be written \(Permission denied\)"):
        check_output(tmp_path / "a.png")


def test_a_samples_name_is_answered_with_the_way_to_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="there is no file 'temple' .* use load_sample for a picture of the course"):
        load_image("temple")
