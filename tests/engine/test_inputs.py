"""Pictures on their way in: what they may be, and one sentence that names the picture for what can't be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY, picture
from PIL import Image

from nst_helpers import (
    ImageError,
    LayerError,
    NSTError,
    StyleSession,
    estimate,
    iterate,
    load_sample,
    save_image,
    stylize,
)
from nst_helpers.encoders import Encoder
from nst_helpers.engine.inputs import read_picture

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu3_1"]}
CONTENT, STYLE = picture(24, 28), picture(20, 36, 1)


def run(content=CONTENT, style=STYLE, **options):
    given = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 2} | LAYERS | options
    return stylize(content, style, **given)


def test_names_and_files_are_read_at_the_size(tmp_path):
    file = save_image(load_sample("wave", size=40), tmp_path / "wave.png")
    named, read = run("temple", "wave", size=24), run(load_sample("temple", size=24), load_sample("wave", size=24))
    assert torch.equal(named.image, read.image)
    for path in (file, str(file)):
        assert run(CONTENT, path).image.shape == CONTENT.shape
    with pytest.raises(ImageError, match="tempel"):
        run("tempel", "wave")


@pytest.mark.parametrize(
    "wrong", [None, [], 3, np.zeros((8, 8, 3)), Image.new("RGB", (8, 8)), {"a": 1}, [None], b"\x89PNG"]
)
def test_what_is_no_picture_gets_one_sentence_that_names_load_image(wrong):
    for arguments in ((wrong, STYLE), (CONTENT, wrong)):
        with pytest.raises(ImageError, match="load_image") as caught:
            run(*arguments)
        assert str(caught.value).startswith(("content", "style"))
        assert "\n" not in str(caught.value)
    with pytest.raises((ImageError, ValueError), match="init"):
        run(init=wrong)


@pytest.mark.parametrize(
    "options",
    [
        *({"encoder": wrong} for wrong in (None, 3, torch.nn.Linear(2, 2), Encoder)),
        *({"device": wrong} for wrong in (True, [], object())),
        *({"callback": wrong} for wrong in (3, "print")),
        *({name: wrong} for name in ("save_to", "checkpoint") for wrong in (3, [], "\0")),
    ],
)
def test_what_is_of_another_kind_gets_one_sentence_before_the_run(options):
    with pytest.raises((NSTError, ValueError)) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


def test_style_pictures_may_come_from_a_generator(tmp_path):
    files = [save_image(picture(24, 24, seed=n), tmp_path / f"a_{n:04d}.png") for n in (1, 2)]
    listed = run(CONTENT, files).image
    assert torch.equal(run(CONTENT, (file for file in files)).image, listed)
    options = {"encoder": Encoder(TOY, seed=1), "steps": 2, "device": "cpu", "precision": "float32", **LAYERS}
    assert len(list(iterate(CONTENT, iter(files), **options))) == 2
    with pytest.raises(ImageError, match="save_to would replace"):
        run(CONTENT, iter(files), save_every=1, save_to=tmp_path / "a.png")


def test_a_callback_that_would_never_run_is_refused():
    async def show(step):
        raise AssertionError("never reached")

    with pytest.raises(ValueError, match="callback is an async function"):
        run(callback=show)


def test_an_encoder_may_be_a_path_object(monkeypatch):
    """Run, estimate and session take what `load_encoder` takes."""
    asked = []
    monkeypatch.setattr("nst_helpers.encoders.read_encoder_file", lambda path: asked.append(path) or 1 / 0)
    for function in (run, estimate, StyleSession):
        with pytest.raises(ZeroDivisionError):
            function(CONTENT, STYLE, encoder=Path("~/my.safetensors"))
    assert asked == [Path("~/my.safetensors").expanduser()] * 3


def test_a_batch_is_refused_by_name():
    two = torch.cat([CONTENT, CONTENT])
    with pytest.raises(ImageError, match=r"content is a batch of 2, expected one picture: take content\[:1\]"):
        run(two)
    with pytest.raises(ImageError, match="style is a batch of 2"):
        run(style=two)
    with pytest.raises(ImageError, match="style 2 is a batch of 2"):
        run(style=[STYLE, two])
    with pytest.raises(ImageError, match="init is a batch of 2"):
        run(init=two)


@pytest.mark.parametrize(
    ("content", "style", "options", "words"),
    [
        ((3, 64), (32, 32), {}, "The content is 64 x 3 pixels, and relu3_1 needs at least 4 x 4"),
        ((32, 32), (2, 64), {}, "The style is 64 x 2 pixels, and relu3_1 needs at least 4 x 4"),
        ((32, 32), [(32, 32), (64, 3)], {}, "The style 2 is 3 x 64 pixels"),
        ((32, 96), (32, 32), {"scales": [3, 32]}, "The content is 9 x 3 pixels at the scale 3"),
        ((32, 32), (12, 64), {"scales": [8, 32]}, "The style is 16 x 3 pixels at the scale 8"),
        ((32, 64), (32, 32), {"size": 3}, "The content is 6 x 3 pixels"),
    ],
)
def test_a_picture_that_is_too_small_is_named_with_the_least_size(content, style, options, words):
    styles = [picture(*s) for s in style] if isinstance(style, list) else picture(*style)
    with pytest.raises(ImageError) as caught:
        run(picture(*content), styles, **options)
    assert str(caught.value).startswith(words)
    assert "take a larger picture or shallower layers" in str(caught.value)


def test_pictures_of_the_least_size_are_painted():
    result = run(picture(4, 64), picture(4, 4))
    assert result.image.shape == (1, 3, 4, 64)
    with pytest.raises(ImageError, match="The content is 64 x 12 pixels, and relu5_1 needs at least 16 x 16"):
        stylize(picture(12, 64), picture(32, 32), steps=1)


def test_a_style_may_be_small_where_its_layers_are_shallow():
    assert run(picture(16, 16), picture(2, 2), style_layers=["relu1_1"], content_layers=["relu3_1"]).history


def test_all_is_checked_before_the_first_step_is_asked_for():
    """`iterate` refuses at the call, and not when somebody first looks at a step."""
    with pytest.raises(ImageError, match="load_image"):
        iterate(None, STYLE)
    with pytest.raises(ValueError, match="lr is 0"):
        iterate(CONTENT, STYLE, lr=0)
    with pytest.raises(LayerError, match="conv9_9"):
        run(style_layers=["conv9_9"])


def test_a_picture_is_not_copied_on_its_way_in():
    assert read_picture(CONTENT, "content").data_ptr() == CONTENT.data_ptr()


def test_each_picture_of_a_run_is_checked_once(monkeypatch):
    """Its values are read for the check, which makes a GPU wait and takes a large picture a while."""
    checked, check = [], torch.aminmax
    monkeypatch.setattr(torch, "aminmax", lambda values, **options: checked.append(values.shape) or check(values))
    content, style = picture(32, 40), picture(24, 36, seed=1)
    for size in (None, 16):
        checked.clear()
        stylize(content, style, encoder=Encoder(TOY, seed=1), steps=2, size=size, device="cpu", **LAYERS)
        assert checked == [content.shape, style.shape]
