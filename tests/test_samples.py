"""The course's own pictures are found wherever the package is, and described by images.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from nst_helpers import samples
from nst_helpers.errors import ImageError
from nst_helpers.images import load_image

ENTRY = """
[[image]]
name = "{name}"
file = "{kind}/{name}.png"
kind = "{kind}"
title = "A {name}"
year = 1889
"""


def fill(root: Path) -> Path:
    """A folder of samples: one photo, two styles."""
    entries = [("castle", "content", "grey"), ("wave", "style", "navy"), ("mosaic", "style", "gold")]
    for name, kind, colour in entries:
        (root / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(root / kind / f"{name}.png")
    (root / "images.toml").write_text("".join(ENTRY.format(name=n, kind=k) for n, k, _ in entries), "utf-8")
    return root


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = fill(tmp_path / "data")
    monkeypatch.setattr(samples, "_data_root", lambda: root)
    return root


def refused(call, *args, **options) -> str:
    with pytest.raises(ImageError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_samples_are_listed_by_kind(root):
    assert samples.list_samples() == ["castle", "wave", "mosaic"]
    assert samples.list_samples("content") == ["castle"]
    assert samples.list_samples("style") == ["wave", "mosaic"]
    assert "'content', 'style'" in refused(samples.list_samples, "styles")


def test_a_sample_is_described(root):
    info = samples.sample_info("wave")
    assert info["title"] == "A wave"
    assert info["year"] == 1889
    assert info["path"] == root / "style" / "wave.png"


def test_a_sample_is_loaded_like_its_file(root):
    path = root / "style" / "wave.png"
    assert torch.equal(samples.load_sample("wave"), load_image(path))
    assert torch.equal(samples.load_sample("wave", size=9, crop=True), load_image(path, size=9, crop=True))
    assert "size is" in refused(samples.load_sample, "wave", size=0)


@pytest.mark.parametrize("call", [samples.sample_info, samples.load_sample])
def test_an_unknown_name_lists_the_names(root, call):
    text = refused(call, "mosaics")
    assert "did you mean 'mosaic'" in text
    assert all(name in text for name in samples.list_samples())
    assert "castle, wave, mosaic" in refused(call, "xyz")
    assert "castle" in refused(call, None)


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_samples_are_found_from_any_folder(tmp_path, monkeypatch, place):
    package = tmp_path / "site" / "nst_helpers"
    expected = fill((package if place == "wheel" else package.parent) / "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(samples, "__file__", str(package / "samples.py"))
    assert samples.sample_info("castle")["path"] == expected / "content" / "castle.png"


def test_an_installed_package_takes_no_other_folder_called_data(tmp_path, monkeypatch):
    package = tmp_path / "nst_helpers"
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(samples, "__file__", str(package / "samples.py"))
    assert "install nst-helpers again" in refused(samples.list_samples)
    fill(tmp_path / "data")
    fill(package / "data")
    assert samples._data_root() == package / "data"


def test_every_picture_of_the_course_loads_at_the_size_it_states(monkeypatch, tmp_path):
    try:
        names = samples.list_samples()
    except ImageError:
        pytest.skip("the course's pictures are not here")
    monkeypatch.chdir(tmp_path)
    assert names
    assert len(set(names)) == len(names)
    assert sorted(samples.list_samples("content") + samples.list_samples("style")) == sorted(names)
    for name in names:
        info = samples.sample_info(name)
        assert info["path"].stem == name
        assert samples.load_sample(name).shape == (1, 3, info["height"], info["width"])
