"""Control over the result from the command line: each option arrives, and each wrong file gets one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import nst_helpers as nst
from nst_helpers.__main__ import main

SMALL = ["--size", "32", "--steps", "3", "--quiet", "--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2"]
PYTHON = {"size": 32, "steps": 3, "style_layers": ["relu1_1", "relu2_1"], "content_layers": ["relu2_2"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    half = np.zeros((32, 48), np.uint8)
    half[:, :24] = 255
    Image.fromarray(half).save("left.png")
    Image.fromarray(255 - half).save("right.png")
    photo = np.asarray(Image.fromarray((nst.load_sample("temple", size=32)[0].permute(1, 2, 0) * 255).byte().numpy()))
    Image.fromarray(np.dstack([photo, half[:, : photo.shape[1]]])).save("cut_out.png")
    return tmp_path


def painted(*words: str) -> torch.Tensor:
    assert main(["temple", *words, "-o", "out.png", *SMALL]) == 0
    return nst.load_image("out.png")


def same(found: torch.Tensor, style, **options) -> None:
    expected = nst.stylize("temple", style, **PYTHON | options).image
    torch.testing.assert_close(found, expected, atol=1.01 / 255, rtol=0)


def test_masks_are_read_one_for_each_style(folder):
    masks = [nst.load_mask(name) for name in ("left.png", "right.png")]
    same(painted("wave", "mosaic", "--mask", "left.png", "--mask=right.png"), ["wave", "mosaic"], masks=masks)
    found = painted("wave", "mosaic", "--style-mix", "1,0", "--mask", "left.png", "--mask", "right.png")
    same(found, ["wave", "mosaic"], masks=masks, style_mix=[1, 0])


def test_a_style_mask_and_a_content_map_are_read(folder):
    mask = nst.load_mask("left.png")
    found = painted("temple", "--mask", "left.png", "--style-mask", "right.png", "--content-map", "right.png")
    right = nst.load_mask("right.png")
    same(found, "temple", masks=[mask], style_masks=[right], content_map=right)
    same(painted("wave", "--mask", "left.png", "--style-mask", "all"), "wave", masks=[mask])


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--color", "luminance"], {"color": "luminance"}),
        (["--color", "content"], {"color": "content"}),
        (["--style-size", "0.75"], {"style_size": 0.75}),
        (["--balance", "gradients"], {"balance": "gradients"}),
        (["--layer-weights", "coarse"], {"layer_weights": "coarse"}),
        (["--layer-weights", "relu1_1=3"], {"layer_weights": {"relu1_1": 3}}),
        (["--pool", "max"], {"encoder": nst.load_encoder("mini", pool="max")}),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else "",
)
def test_an_option_does_what_it_does_in_python(folder, words, options):
    same(painted("wave", *words), "wave", **options)


def test_a_run_may_start_from_a_picture(folder):
    found = painted("wave", "--init", "cut_out.png")
    same(found, "wave", init=nst.load_image("cut_out.png"))


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_the_photos_transparency_is_kept(folder, ending):
    assert main(["cut_out.png", "wave", "-o", f"out.{ending}", "--keep-alpha", *SMALL]) == 0
    with Image.open(f"out.{ending}") as found:
        alpha = np.asarray(found.convert("RGBA").getchannel("A"))
    assert found.mode == "RGBA"
    assert alpha[:, :20].min() == 255
    assert alpha[:, 28:].max() == 0


def test_pictures_on_the_way_keep_the_transparency_at_every_scale(folder):
    steps = ["--scales", "16,32", "--steps", "1,1", "--save-every", "1", "--keep-alpha", *SMALL[4:]]
    assert main(["cut_out.png", "wave", "-o", "out.png", *steps]) == 0
    for name, width in (("out_0001.png", 24), ("out_0002.png", 48)):
        with Image.open(name) as found:
            assert (found.mode, found.width) == ("RGBA", width)
            alpha = np.asarray(found.getchannel("A"))
        assert alpha[:, : width // 2 - 2].min() == 255
        assert alpha[:, width // 2 + 2 :].max() == 0


def test_a_photo_without_transparency_has_none_after(folder):
    assert main(["temple", "wave", "-o", "out.png", "--keep-alpha", *SMALL]) == 0
    with Image.open("out.png") as found:
        assert found.mode == "RGB"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mask", "none.png"], "there is no file 'none.png'"),
        (["--mask", "left.png", "--mask", "right.png"], "number of masks is 2, that of style pictures 1"),
        (["--style-mask", "left.png"], "There are style_masks and no masks"),
        (["--content-map", "none.png"], "there is no file 'none.png'"),
        (["--init", "none.png"], "'none.png' is neither a file nor one of the package's own pictures"),
        (["--init", "nosie"], "--init is 'nosie', which is unknown: use one of content, style, noise"),
        (["--pool", "min"], "--pool is 'min', which is unknown: use one of max, avg"),
        (["--color", "blue"], "--color is 'blue', which is unknown: use one of style, content, luminance"),
        (["--style-size", "0"], "--style-size is 0, expected a number above 0"),
        (["--layer-weights", "bold"], "--layer-weights is 'bold', expected"),
        (["--keep-alpha", "-o", "out.jpg"], "--keep-alpha needs an OUT that ends in .png or .webp"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_used_gets_one_sentence_and_exit_code_2(folder, capsys, words, said):
    try:
        code = main(["temple", "wave", "-o", "out.png", *words, *SMALL])
    except SystemExit as left:
        code = left.code
    assert code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (folder / "out.png").exists()


def test_saving_transparency_refuses_what_it_can_not_hold(folder):
    image = torch.rand(1, 3, 4, 6)
    with pytest.raises(nst.ImageError, match="JPEG, which has no transparency"):
        nst.save_image(image, "a.jpg", alpha=torch.ones(1, 1, 4, 6))
    with pytest.raises(nst.ImageError, match=r"^alpha has shape \(1, 1, 4, 4\)"):
        nst.save_image(image, "a.png", alpha=torch.ones(1, 1, 4, 4))
