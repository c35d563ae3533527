"""Control over the result in sessions and recipes: the same pictures as runs, changes on the way, replays."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from conftest import TOY, noise, picture

import nst_helpers as nst
from nst_helpers import RecipeError, StyleSession, keep_color, replay
from nst_helpers.encoders import Encoder
from nst_helpers.errors import MaskError

CONTENT, STYLE, OTHER = picture(), picture(36, 36, seed=1), picture(24, 44, seed=2)
LAYERS = {"content_layers": ["relu3_1"], "style_layers": ["relu1_1", "relu2_1"]}
LEFT = torch.zeros(1, 1, 32, 40)
LEFT[..., :20] = 1
MASKS = [LEFT, 1 - LEFT]
PART = noise(1, 1, 36, 36)


def session(style=STYLE, **options) -> StyleSession:
    return StyleSession(CONTENT, style, encoder=Encoder(TOY, seed=1), device="cpu", **LAYERS, **options)


def run(style=STYLE, **options) -> torch.Tensor:
    """The last image of a run at the session's size."""
    given = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "size": 32, "steps": 3, **LAYERS, **options}
    return list(nst.iterate(CONTENT, style, **given))[-1].image


ALL = {
    "masks": {"style": [STYLE, OTHER], "masks": MASKS},
    "style masks": {"style": [STYLE, OTHER], "masks": MASKS, "style_masks": [PART, None]},
    "mix": {"style": [STYLE, OTHER], "style_mix": [3, 1]},
    "map": {"content_map": LEFT + 0.1},
    "balance": {"balance": "gradients"},
    "size": {"style_size": 0.75},
    "colour": {"color": "content"},
    "light": {"color": "luminance"},
    "words": {"layer_weights": "coarse"},
}


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_a_session_paints_what_a_run_paints(options):
    found = session(**options)
    found.step(3)
    torch.testing.assert_close(found.image, run(**options), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_a_recipe_is_replayed_to_the_pixel(options):
    first = session(**options)
    first.step(2)
    first.set(style_weight=30)
    first.step(2)
    recipe = json.loads(json.dumps(first.recipe()))
    pictures = [CONTENT, STYLE, *([OTHER] if "style" in options else [])]
    masks = [LEFT, 1 - LEFT, PART, LEFT + 0.1]
    again = replay(recipe, pictures=pictures, masks=masks, encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(again.image, first.image)
    assert again.recipe() == first.recipe()


def test_a_recipe_without_its_mask_is_refused_in_one_sentence():
    soft = [noise(1, 1, 32, 40), LEFT]  # more levels than 8 bits have
    first = session([STYLE, OTHER], masks=soft)
    with pytest.raises(RecipeError, match=r"one of its masks \(40 x 32 pixels, hash \w{8}\) is not among those given"):
        replay(first.recipe(), pictures=[CONTENT, STYLE, OTHER], masks=[LEFT], encoder=Encoder(TOY, seed=1))


@pytest.mark.parametrize(
    "change",
    [
        {"masks": []}, {"masks": [None]}, {"masks": 3}, {"masks": [{"sha256": "x", "height": 3, "width": 3}]},
        {"others": [{}]}, {"balance": "best"}, {"style_size": -1}, {"unknown": 1}, 5,
    ],
    ids=str,
)  # fmt: skip
def test_an_edited_control_is_refused_in_one_sentence(change):
    recipe = copy.deepcopy(session().recipe())
    recipe["control"] = change
    with pytest.raises(RecipeError, match=r"^The recipe can't be replayed: .*control") as refused:
        replay(recipe, pictures=[CONTENT, STYLE], encoder=Encoder(TOY, seed=1))
    assert "\n" not in str(refused.value)


def test_the_colour_may_change_on_the_way_without_a_restart():
    painted = session()
    painted.step(2)
    plain = painted.image
    assert painted.set(color="luminance") == "color style to luminance"
    torch.testing.assert_close(painted.image, keep_color(plain, CONTENT))
    painted.step(2)
    painted.set(color="style")
    undisturbed = session()
    undisturbed.step(4)
    assert torch.equal(painted.image, undisturbed.image)
    assert "L-BFGS starts afresh" in painted.set(color="content")
    painted.step()


def test_the_mix_may_change_on_the_way():
    painted = session([STYLE, OTHER], style_mix=[1, 0])
    painted.step(2)
    before = painted.image
    assert painted.set(style_mix=[0, 1]).startswith("style mix 1:0 to 0:1")
    torch.testing.assert_close(painted.image, before)
    alone = session(OTHER)
    for name, layer in painted.model.style_losses.items():
        torch.testing.assert_close(layer.target, alone.model.style_losses[name].target)
    with pytest.raises(ValueError, match="2 style pictures and the mix"):
        painted.set(style_mix=[1, 2, 3])
    assert painted.settings.style_mix == (0.0, 1.0)


def test_a_snapshot_in_the_photos_colours_is_restored_as_it_was_painted():
    painted = session(color="luminance")
    painted.step(3)
    kept, canvas = painted.snapshot(), painted._painting.run.image.detach().clone()
    painted.step(2)
    painted.restore(kept)
    torch.testing.assert_close(painted.image, kept.image)
    torch.testing.assert_close(painted._painting.run.image.detach(), canvas)


def test_the_callers_masks_may_change_afterwards():
    mask, weights = MASKS[0].clone(), noise(1, 1, 32, 40, seed=9)
    made = session([STYLE, OTHER], masks=[mask, MASKS[1]], content_map=weights)
    kept = weights.clone()
    mask.mul_(0.5)
    weights.mul_(0.5)
    made.set(size=20)
    made.step(2)
    toy = Encoder(TOY, seed=1)
    walked = replay(made.recipe(), pictures=[CONTENT, STYLE, OTHER], encoder=toy, masks=[kept], device="cpu")
    assert torch.equal(walked.image, made.image)


def test_masks_that_do_not_fit_a_new_photo_change_nothing():
    painted = session(**ALL["masks"])
    painted.step()
    before = painted.image
    with pytest.raises(MaskError, match="mask 1 is 40 x 32 pixels and its picture 32 x 32"):
        painted.set(content=picture(32, 32, seed=5))
    assert torch.equal(painted.image, before)
    with pytest.raises(MaskError, match="number of masks is 2, that of style pictures 1"):
        session(masks=MASKS)
    with pytest.raises(TypeError, match="no option mask"):
        session(mask=LEFT)


@pytest.mark.parametrize("options", [{"masks": MASKS, "style": [STYLE, OTHER]}, {}], ids=["masks", "none"])
def test_a_mix_of_another_length_is_refused_in_one_sentence(options):
    with pytest.raises(ValueError, match=r"style pictures and the mix .* came: give each picture one weight"):
        nst.stylize(CONTENT, **{"style": STYLE, **options}, encoder=Encoder(TOY, seed=1), style_mix=[1, 2, 3], **LAYERS)


# Styles and masks that change on the way


def grams(painted: StyleSession) -> dict[str, torch.Tensor]:
    return {name: layer.target for name, layer in painted.model.style_losses.items()}


def test_styles_and_masks_may_come_and_go_on_the_way_and_the_picture_stays():
    painted = session()
    painted.step(2)
    before = painted.image
    assert painted.set(style=[STYLE, OTHER], masks=MASKS).startswith("second style none to style; regions set")
    assert torch.equal(painted.image, before)
    assert [picture.image.shape[-1] for picture in painted.styles] == [36, 44]
    from_the_start = session([STYLE, OTHER], masks=MASKS)
    torch.testing.assert_close(grams(painted), grams(from_the_start))
    painted.step()
    assert painted.set(masks=[MASKS[1], MASKS[0]]).startswith("regions changed")
    assert painted.set(style=[STYLE], masks=None).startswith("second style style to none; regions gone")
    torch.testing.assert_close(grams(painted), grams(session()))
    assert painted.set(masks=None) == ""


def test_a_style_that_paints_nowhere_takes_no_part():
    painted = session([STYLE, OTHER], masks=[None, LEFT])
    alone = session(OTHER, masks=[LEFT])
    torch.testing.assert_close(grams(painted), grams(alone))
    painted.step(3), alone.step(3)
    assert torch.equal(painted.image, alone.image)
    assert [picture.name for picture in painted.styles] == ["style", "style"]
    with pytest.raises(MaskError, match="No style paints anywhere"):
        painted.set(masks=[None, None])
    with pytest.raises(MaskError, match="number of masks is 3, that of style pictures 2"):
        painted.set(masks=[None, LEFT, LEFT])


def test_a_mix_does_not_outlive_the_number_of_its_styles():
    painted = session([STYLE, OTHER], style_mix=[3, 1])
    painted.set(style=[STYLE])
    assert painted.settings.style_mix is None
    painted.set(style=OTHER)  # one picture takes the first's place alone
    assert len(painted.styles) == 1
    with pytest.raises(nst.ImageError, match="style is an empty list"):
        painted.set(style=[])


def changed_on_the_way() -> StyleSession:
    """Every change of styles and masks that a person may make, with steps between them."""
    painted = session()
    painted.step(2)
    painted.set(style=[STYLE, OTHER], style_mix=[1, 3])
    painted.step()
    painted.set(masks=MASKS, style_mix=None, color="luminance")
    painted.step(2)
    painted.set(masks=[None, LEFT])
    painted.step()
    painted.set(style=[OTHER, STYLE], masks=None, color="content")
    painted.step()
    return painted


def test_changes_of_styles_and_masks_are_replayed_to_the_pixel_and_the_masks_need_not_be_given():
    painted = changed_on_the_way()
    recipe = json.loads(json.dumps(painted.recipe()))
    again = replay(recipe, pictures=[CONTENT, STYLE, OTHER], encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(again.image, painted.image)
    assert again.recipe() == painted.recipe()
    assert len(recipe["masks"]) == 2  # each once
    kept = painted.snapshot()
    again = replay(kept.recipe, pictures=kept.own_pictures, encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(again.image, kept.image)


def test_a_snapshot_brings_its_styles_and_masks_back():
    painted = session()
    painted.set(style=[STYLE, OTHER], masks=[None, LEFT])
    painted.step(2)
    kept = painted.snapshot()
    painted.set(style=[STYLE], masks=None)
    painted.step()
    painted.restore(kept)
    assert torch.equal(painted.image, kept.image)
    assert (len(painted.styles), painted.control.masks[0]) == (2, None)
    painted.reset()
    painted.step()
    recipe = painted.recipe()
    assert recipe["changes"] == []
    again = replay(recipe, pictures=[CONTENT, STYLE, OTHER], encoder=Encoder(TOY, seed=1), device="cpu")
    assert torch.equal(again.image, painted.image)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("masks", 3), ("masks", [4]), ("masks", ["x"]), ("masks", ["aGVsbG8="]),
        ("others", None), ("others", 5), ("others", [{}]), ("others", [{"sha256": "0" * 64, "height": 1, "width": 1}]),
        ("change", []), ("change", [None]), ("change", [{}]),
    ],
    ids=str,
)  # fmt: skip
def test_edited_styles_and_masks_are_refused_in_one_sentence(place, value):
    recipe = changed_on_the_way().recipe()
    if place == "masks":
        recipe["masks"] = value
    else:
        change = next(c for c in recipe["changes"] if "others" in c and "masks" in c)
        change["masks" if place == "change" else place] = value
    with pytest.raises(RecipeError, match=r"^The recipe can't be replayed: .*(masks|others)") as refused:
        replay(recipe, pictures=[CONTENT, STYLE, OTHER], encoder=Encoder(TOY, seed=1))
    assert "\n" not in str(refused.value)
