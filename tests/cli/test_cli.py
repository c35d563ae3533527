"""The command line as a person meets it: a process of its own, exit codes, one sentence, and what is left on disk."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
from conftest import noise, picture
from forked import FORKED

from nst_helpers import load_image, save_image
from nst_helpers.__main__ import main, program


@pytest.fixture
def files(tmp_path):
    save_image(picture(48, 60), tmp_path / "photo.png")
    save_image(picture(40, 40, 1), tmp_path / "painting.jpg")
    return tmp_path


def arguments(folder, *more, size="32", steps="3"):
    return [str(folder / "photo.png"), str(folder / "painting.jpg"), "-o", str(folder / "out.png"), "--size", size,
            "--steps", steps, "--device", "cpu", "--precision", "float32", *more]  # fmt: skip


def test_a_picture_and_a_closing_line(files, capsys):
    assert main(arguments(files, "--history", str(files / "h.json"))) == 0
    assert load_image(files / "out.png").shape == (1, 3, 32, 40)
    assert len(json.loads((files / "h.json").read_text("utf-8"))) == 3
    said = capsys.readouterr().out
    assert "40 x 32, 3 steps in" in said
    assert "style" in said.splitlines()[-1]
    assert not list(files.glob("*.checkpoint"))
    assert main(arguments(files, steps="1")) == 0
    assert "40 x 32, 1 step in" in capsys.readouterr().out


def test_a_package_that_cannot_be_loaded_is_told_in_a_sentence(files, capsys, monkeypatch):
    """PyTorch is missing, or finds no room under `ulimit -v`."""
    monkeypatch.setitem(sys.modules, "nst_helpers.cli.paint", None)
    assert main(arguments(files)) == 2
    said = capsys.readouterr().err
    assert said.startswith("nst_helpers: a package that is needed can't be loaded (")
    assert said.count("\n") == 1


def test_each_scale_has_its_own_number_of_steps(files, capsys):
    history = files / "h.json"
    more = ["--scales", "16", "32", "--history-size", "3", "--history", str(history)]
    assert main(arguments(files, *more, steps="4,2")) == 0
    assert [record["size"][0] for record in json.loads(history.read_text("utf-8"))] == [16] * 4 + [32] * 2
    assert "6 steps in" in capsys.readouterr().out
    assert main(arguments(files, "--scales", "16", "32", steps="4,2,1")) == 2
    assert "doesn't fit 2 scale(s)" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_file(files):
    contents = []
    for _ in range(2):
        assert main(arguments(files, "--init", "noise", "--seed", "5", "--optimizer", "adam", "--quiet")) == 0
        contents.append((files / "out.png").read_bytes())
    assert contents[0] == contents[1]


def bad(files):
    (files / "notes.txt").write_text("no picture", "utf-8")
    (files / "fake.jpg").write_text("no picture either", "utf-8")
    (files / "empty.png").write_bytes(b"")
    (files / "cut.jpg").write_bytes((files / "painting.jpg").read_bytes()[:400])
    photo, out = str(files / "photo.png"), str(files / "out.png")
    return {
        "missing": ["none.jpg", photo, "-o", out],
        "folder": [str(files), photo, "-o", out],
        "text": [str(files / "notes.txt"), photo, "-o", out],
        "fake": [photo, str(files / "fake.jpg"), "-o", out],
        "empty": [photo, str(files / "empty.png"), "-o", out],
        "truncated": [photo, str(files / "cut.jpg"), "-o", out],
        "extension": [photo, photo, "-o", str(files / "out.xyz")],
        "no_folder": [photo, photo, "-o", str(files / "new" / "out.png")],
        "out_is_a_folder": [photo, photo, "-o", str(files)],
        "too_small": [photo, photo, "-o", out, "--size", "8"],
        "encoder": [photo, photo, "-o", out, "--encoder", "vgg16"],
        "device": [photo, photo, "-o", out, "--device", "toaster"],
        "history": [photo, photo, "-o", out, "--history", str(files / "new" / "h.json")],
    }


CASES = "missing folder text fake empty truncated extension no_folder out_is_a_folder too_small encoder device"


@pytest.mark.parametrize("case", [*CASES.split(), "history"])
def test_bad_input_gets_one_sentence_and_writes_nothing(files, capsys, case):
    words = bad(files)[case]
    before = sorted(p.name for p in files.rglob("*"))
    assert main([*words, "--steps", "2", "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("nst_helpers: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert sorted(p.name for p in files.rglob("*")) == before


def test_resume_of_another_run_is_refused(files, capsys):
    (files / "out.png.checkpoint").write_bytes(b"junk")
    assert main(arguments(files, "--resume")) == 2
    assert "not a checkpoint" in capsys.readouterr().err


def test_names_of_the_packages_own_pictures(tmp_path, capsys):
    assert main(["--list-samples"]) == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    content, style = (next(name for kind, name in listed if kind == k) for k in ("content", "style"))
    out = tmp_path / "out.webp"
    assert main([content, style, "-o", str(out), "--size", "32", "--steps", "2", "--device", "cpu"]) == 0
    assert min(load_image(out).shape[-2:]) == 32


def test_several_styles_and_scales(files):
    words = arguments(files, "--scales", "16", "32", steps="4")
    assert main([words[0], words[1], words[0], *words[2:]]) == 0
    assert load_image(files / "out.png").shape == (1, 3, 32, 40)


def test_a_tiny_noise_picture_is_handled(tmp_path):
    save_image(noise(1, 3, 17, 19), tmp_path / "photo.png")
    save_image(noise(1, 3, 64, 16), tmp_path / "painting.jpg")
    assert main(arguments(tmp_path, size="16")) == 0


def test_what_it_will_take_is_said_first(files, capsys):
    assert main(arguments(files)) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"This will take about [\d.]+ s and [\d.]+ MB of the [\d.]+ .B free\.", first)
    assert main(arguments(files, "--quiet")) == 0
    assert "will take" not in capsys.readouterr().out


def run_in_terminal(words, terminal) -> None:
    number = terminal.detach()
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.close(number)
    sys.argv[1:] = words
    program()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_a_terminal_shows_what_is_left(files):
    """After each step but the last, whichever tqdm draws; the last one may be drawn twice and has nothing left."""
    import fcntl
    import pty
    import struct
    import termios
    from multiprocessing.reduction import DupFd

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    words = arguments(files, "--scales", "32", "64", steps="60")
    process = FORKED.Process(target=run_in_terminal, args=(words, DupFd(slave)))
    process.start()
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += (piece := os.read(master, 4096))
        except OSError:  # Linux says so that the other end is closed
            break
        if not piece:
            break
    os.close(master)
    process.join(60)
    assert process.exitcode == 0
    lines = [line for line in re.split(r"[\r\n]+", shown.decode()) if "/60 [" in line]
    left = [
        re.search(r"(\d+)/60 \[[\d:]+, about (\d+) s left, loss [\d.]+\]", line)
        for line in lines[1:]
        if "60/60" not in line
    ]
    assert left
    assert all(left)
    assert re.search(r"60/60 \[[\d:]+, loss [\d.]+\]", lines[-1])


def test_a_size_that_fits(files):
    assert main(arguments(files, size="fit", steps="1")) == 0
    assert load_image(files / "out.png").shape == (1, 3, 48, 60)


def test_a_run_too_large_is_refused_in_one_sentence(files, capsys, monkeypatch):
    monkeypatch.setattr("nst_helpers.budget.estimate.memory_available", lambda device: 200 * 2**20)
    assert main(arguments(files, size="4000")) == 2
    said = capsys.readouterr().err
    assert "largest short side that fits" in said
    assert said.count("\n") == 1
    assert not (files / "out.png").exists()
