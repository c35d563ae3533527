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
    first = session(**ALL["masks"])
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
    assert painted.set(style_mix=[0, 1]).startswith("style mix (1.0, 0.0) to (0.0, 1.0)")
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


def test_masks_that_do_not_fit_a_new_photo_change_nothing():
    painted = session(**ALL["masks"])
    painted.step()
    before = painted.image
    with pytest.raises(MaskError, match="mask 1 is 40 x 32 pixels and its picture 32 x 32"):
        painted.set(content=picture(32, 32, seed=5))
    assert torch.equal(painted.image, before)
    with pytest.raises(MaskError, match="There are 1 style pictures and 2 masks"):
        session(masks=MASKS)
    with pytest.raises(TypeError, match="unexpected keyword argument 'mask'"):
        session(mask=LEFT)


@pytest.mark.parametrize("options", [{"masks": MASKS, "style": [STYLE, OTHER]}, {}], ids=["masks", "none"])
def test_a_mix_of_another_length_is_refused_in_one_sentence(options):
    with pytest.raises(ValueError, match=r"style pictures and the mix .* came: give each picture one weight"):
        nst.stylize(CONTENT, **{"style": STYLE, **options}, encoder=Encoder(TOY, seed=1), style_mix=[1, 2, 3], **LAYERS)
