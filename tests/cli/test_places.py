"""Where pictures are looked for, and where results may go: told in one sentence before any work is done."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import picture
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_helpers import load_sample, save_image
from nst_helpers.__main__ import main
from nst_helpers.cli import paint as painting
from nst_helpers.cli.places import load_source, pixels_of, try_to_write
from nst_helpers.errors import NSTError


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_image(picture(48, 60), "photo.png")
    return tmp_path


@pytest.fixture
def no_run(monkeypatch):
    """No step is made and no encoder loaded before the sentence."""

    def never(*args, **options):
        raise AssertionError("work was done first")

    monkeypatch.setattr(painting, "load_encoder", never)
    monkeypatch.setattr(painting, "Run", never)


def refused(words: list[str], capsys, folder: Path) -> str:
    before = sorted(folder.rglob("*"))
    assert main([*words, "--steps", "2"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("nst_helpers: ")
    assert said.count("\n") == 1
    assert len(said) < 600
    assert sorted(folder.rglob("*")) == before
    return said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tempel", "temple"),
        ("Wave", "wave"),
        ("phtoo.png", "photo.png"),
        ("photo.jpg", "photo.png"),
        ("photo", "photo.png"),
        ("temple.jpg", "temple"),
    ],
)
def test_a_slip_is_answered_with_the_name_that_was_meant(here, no_run, capsys, name, meant):
    assert f"did you mean {meant}?" in refused([name, "cat", "-o", "out.png"], capsys, here)
    assert f"did you mean {meant}?" in refused(["cat", name, "-o", "out.png"], capsys, here)


def test_a_missing_folder_is_answered_in_the_words_of_a_shell(here, no_run, capsys):
    said = refused(["temple", "wave", "-o", "no/such/out.png"], capsys, here)
    assert "doesn't exist: make it first." in said
    assert "save_image" not in said
    assert "parents" not in said


def test_a_name_like_no_other_is_only_told_to_be_missing(here, no_run, capsys):
    said = refused(["qqqqqq.png", "cat", "-o", "out.png"], capsys, here)
    assert "qqqqqq.png" in said
    assert "did you mean" not in said


def test_the_sample_wins_over_a_folder_of_its_name_and_that_is_said(here):
    (here / "temple").mkdir()
    image, said = load_source("temple", 32)
    assert torch.equal(image, load_sample("temple", size=32))
    assert "temple" in said
    assert "folder" in said
    assert load_source("cat", 32)[1] == ""


def test_a_file_of_a_samples_name_wins_over_the_sample(here):
    shutil.copy("photo.png", "temple")
    assert load_source("temple", 24)[0].shape == (1, 3, 24, 30)


def test_a_picture_in_the_home_folder(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    assert load_source("~/photo.png", 24)[0].shape == (1, 3, 24, 30)


LONG = "x" * 5000
PLACES = {
    "history_is_a_folder": (["-o", "out.png", "--history", "."], "--history"),
    "history_in_no_folder": (["-o", "out.png", "--history", "new/h.json"], "--history"),
    "history_is_the_output": (["-o", "out.png", "--history", "./out.png"], "--history"),
    "output_is_the_photo": (["-o", "photo.png"], "--output"),
    "output_in_no_folder": (["-o", "new/out.png"], "out.png"),
    "output_is_a_folder": (["-o", "folder.png"], "folder.png"),
    "long_output": (["-o", f"{LONG}.png"], "xxx"),
    "output_as_long_as_a_name_can_be": (["-o", f"{'x' * 251}.png"], "checkpoint"),
    "long_history": (["-o", "out.png", "--history", LONG], "--history"),
    "checkpoint_is_a_folder": (["-o", "taken.png"], "taken.png.checkpoint"),
    "long_content": ([LONG, "-o", "out.png"], "xxx"),
    "long_style": (["cat", LONG, "-o", "out.png"], "xxx"),
    "history_is_the_photo": (["-o", "out.png", "--history", "photo.png"], "--history"),
    "history_is_the_checkpoint": (["-o", "out.png", "--history", "out.png.checkpoint"], "--history"),
    "output_is_the_mask": (["-o", "mask.png", "--mask", "mask.png"], "--output"),
    "output_is_the_map": (["-o", "mask.png", "--content-map", "./mask.png"], "--output"),
    "output_is_the_init": (["-o", "mask.png", "--init", "mask.png"], "--output"),
    "history_is_the_mask": (["-o", "out.png", "--mask", "'mask.png'", "--history", "mask.png"], "--history"),
    "a_picture_on_the_way_is_read": (["mask_0002.png", "-o", "mask.png", "--save-every", "1"], "--save-every"),
    "checkpoint_is_the_photo": (["p.png.checkpoint", "-o", "p.png"], "checkpoint"),
    "checkpoint_is_another_file": (["-o", "mine.png"], "mine.png.checkpoint"),
    "an_ending_alone": (["-o", ".png"], "an ending without a name"),
    "two_lines": (["a\nb.png", "-o", "out.png"], r"'a\nb.png'"),
    "two_lines_of_history": (["-o", "out.png", "--history", "no\nfolder/h"], r"no\nfolder"),
    "web": (["https://example.org/a.jpg", "-o", "out.png"], "is a web address"),
    "broken_link": (["link.png", "-o", "out.png"], "is a link to 'gone.png', which isn't there"),
    "no_user": (["~nobody-of-this-name/p.png", "-o", "out.png"], "nobody-of-this-name"),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_place_that_can_t_be_used_is_told_before_the_run(here, no_run, capsys, case):
    (here / "folder.png").mkdir()
    (here / "taken.png.checkpoint").mkdir()
    (here / "link.png").symlink_to("gone.png")
    (here / "mine.png.checkpoint").write_text("my notes", "utf-8")
    for name in ("mask.png", "mask_0002.png", "p.png.checkpoint"):
        shutil.copy("photo.png", name)
    words, named = PLACES[case]
    pictures = ["photo.png", "cat"] if words[0] == "-o" else ["cat"] * (2 - words.index("-o"))
    assert named in refused([*words, *pictures], capsys, here)


@pytest.mark.parametrize("words", [["-o", "closed/out.png"], ["-o", "out.png", "--history", "closed/h.json"]])
def test_a_folder_that_can_t_be_written_is_told_before_the_run(here, no_run, capsys, monkeypatch, words):
    closed = here / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # the superuser is refused nowhere
        plain = Path.open

        def refuse(self, *args, **options):
            if self.absolute().parent == closed:
                raise PermissionError(13, "Permission denied")
            return plain(self, *args, **options)

        monkeypatch.setattr(Path, "open", refuse)
    said = refused([*words, "cat", "wave"], capsys, here)
    assert f"'{words[-1]}' can't be written (Permission denied)" in said


def test_a_write_that_fails_is_told_in_a_sentence_and_leaves_nothing(here, monkeypatch):
    def full(self, *args, **options):
        raise OSError(28, "No space left on device")

    before = sorted(here.iterdir())
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(NSTError, match=r"^--output: 'out.png' can't be written \(No space left on device\)"):
        try_to_write(Path("out.png"), "--output")
    assert sorted(here.iterdir()) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=300))
@example("\0/0")
def test_no_name_of_a_picture_is_a_traceback(here, name):
    with contextlib.suppress(NSTError):
        assert load_source(name, 8)[0].shape[1] == 3


@pytest.mark.parametrize("source", ["~/photo.png", "'photo.png'", "file:photo.png", "$HOME/photo.png"])
def test_a_photo_by_another_of_its_names_is_not_written_over(here, no_run, monkeypatch, capsys, source):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    assert "--output" in refused([source, "cat", "-o", "photo.png"], capsys, here)
    assert pixels_of(source) == (60, 48)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_photo_with_broken_exif_is_painted_and_saved(here, capsys, ending):
    for number, exif in enumerate(
        (b"Exif\0\0nonsense", b"nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 30)
    ):
        Image.new("RGB", (60, 48), "gold").save(name := f"{number}.{ending}", exif=exif)
        assert main([name, "photo.png", "-o", "out.png", "--size", "24", "--steps", "1", "--precision", "float32"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "scaled down from 60 x 48" in said.out
        Path("out.png").unlink()


def test_a_history_in_the_home_folder(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    small = ["--size", "24", "--steps", "1", "--precision", "float32"]
    assert main(["photo.png", "photo.png", "-o", "out.png", "--history=~/h.json", *small]) == 0
    assert Path("h.json").is_file()


def test_a_photo_that_is_scaled_down_is_told_with_a_way_out(here, capsys):
    Image.new("RGB", (400, 300), "gold").save("large.jpg", exif=_turned())
    assert pixels_of("large.jpg") == (300, 400)
    assert pixels_of("temple") is None
    assert main(["large.jpg", "wave", "-o", "out.png", "--size", "24", "--steps", "1", "--precision", "float32"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert "out.png: 24 x 32, 1 step in" in said
    assert "scaled down from 300 x 400: --size fit" in said
    assert main(["photo.png", "wave", "-o", "out.png", "--size", "48", "--steps", "1", "--precision", "float32"]) == 0
    assert "scaled down" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_size_of_a_turned_photo_is_that_of_the_picture(here, ending):
    Image.new("RGB", (60, 48), "gold").save(name := f"turned.{ending}", exif=_turned())
    assert pixels_of(name) == tuple(reversed(load_source(name, None)[0].shape[-2:])) == (48, 60)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_a_picture_that_can_t_be_saved_at_the_end_is_saved_elsewhere(here, capsys, monkeypatch):
    """The folder goes while the picture is being painted."""
    Path("there").mkdir()
    words = ["photo.png", "photo.png", "-o", "there/out.png", "--size", "24", "--steps", "2", "--precision", "float32"]
    finish = painting.Run.finish

    def lost(*args):
        result = finish(*args)
        shutil.rmtree("there")
        return result

    monkeypatch.setattr(painting.Run, "finish", lost)
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.err.startswith("nst_helpers: 'there/out.png' could not be written")
    elsewhere = Path(re.search(r"saved as '([^']+)'", said.err)[1])
    assert elsewhere.is_file()
    assert str(elsewhere) in said.out.splitlines()[-1]
    shutil.rmtree(elsewhere.parent)


def test_a_checkpoint_that_fits_nowhere_costs_no_picture(here, capsys, monkeypatch):
    """The state of a large picture takes gigabytes, the picture itself some megabytes."""

    def stop(*about):
        raise KeyboardInterrupt

    def full(path, data, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(painting, "_following", lambda *about: stop)
    monkeypatch.setattr("nst_helpers.engine.checkpoints.write_whole", full)
    words = ["photo.png", "photo.png", "-o", "out.png", "--size", "24", "--steps", "9", "--precision", "float32"]
    assert main(words) == 130
    assert "can't be resumed later" in capsys.readouterr().err
    assert Path("out.png").is_file()


def test_the_state_is_saved_once_at_the_end(here, capsys, monkeypatch):
    def stop(*about):
        raise KeyboardInterrupt

    saved = []
    monkeypatch.setattr(painting, "_following", lambda *about: stop)
    monkeypatch.setattr("nst_helpers.engine.outputs.write_checkpoint", lambda path, content: saved.append(path))
    words = ["photo.png", "photo.png", "-o", "out.png", "--size", "24", "--steps", "9", "--precision", "float32"]
    for more in ([], ["--save-every", "5"]):
        assert main([*words, *more]) == 130
        assert [path.name for path in saved] == ["out.png.checkpoint"]
        saved.clear()


@pytest.mark.parametrize("device", ["meta", "toaster", "cuda:99", "", "cpu:x"])
def test_a_device_that_can_t_be_used_is_told_in_a_sentence(here, capsys, device):
    assert "device" in refused(["photo.png", "photo.png", "-o", "out.png", "--device", device], capsys, here)


def test_the_encoder_is_loaded_once(here, monkeypatch, capsys):
    import nst_helpers.encoders as encoders

    loaded, load = [], encoders.Encoder.__init__
    monkeypatch.setattr(encoders.Encoder, "__init__", lambda self, *a, **k: (loaded.append(1), load(self, *a, **k))[1])
    assert main(["photo.png", "photo.png", "-o", "out.png", "--size", "24", "--steps", "1", "--device", "cpu"]) == 0
    assert len(loaded) == 1
    assert "will take" in capsys.readouterr().out
    assert sys.modules["nst_helpers.encoders"] is encoders
