"""The panel's handles for colours, a second style and regions, without a page; clicks are calls of the buttons."""

from __future__ import annotations

import json
import re
import threading

import pytest
import torch
from conftest import TOY, noise, picture
from test_panel import LAYERS, echo, jpeg_of, slow_evaluations, stored, tick, until  # noqa: F401

import nst_helpers as nst
from nst_helpers.encoders import Encoder
from nst_helpers.live import handles as panel_handles
from nst_helpers.live import uploads
from nst_helpers.live.control import stored_masks
from nst_helpers.live.panel import Panel
from nst_helpers.live.region_map import PHOTO, Regions, clip_paths, deepest_point, found_regions, map_picture, outline
from nst_helpers.live.session import StyleSession

SIZE = (24, 36)
PARTS = tuple(
    torch.zeros(1, 1, *SIZE).index_fill_(-1, torch.arange(12 * n, 12 * n + 12), 1.0) for n in range(3)
)  # thirds, from left to right


@pytest.fixture
def session() -> StyleSession:
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "optimizer": "adam", **LAYERS}
    return StyleSession(picture(*SIZE, seed=1), picture(28, 28, seed=2), **options)


@pytest.fixture
def panel(session, tmp_path):
    made = nst.panel(session, folder=tmp_path, chunk=0.0)
    yield made
    made.close()


@pytest.fixture
def finder(monkeypatch):
    """`found_regions` waits for the event, and gives thirds; notes what it was asked for."""
    come, asked = threading.Event(), []

    def found(content, k):
        asked.append((tuple(content.shape), k))
        assert come.wait(60)
        return PARTS

    monkeypatch.setattr(panel_handles, "found_regions", found)
    found.come, found.asked = come, asked
    yield found
    come.set()


def find(panel: Panel, finder) -> None:
    """Press the button, and let the page's messages go on until the regions are there."""
    finder.come.set()
    panel.parts.find.click()
    until(lambda: not panel._tasks, panel)
    assert panel.handles.regions is not None


def replayed(session: StyleSession) -> torch.Tensor:
    pictures = {p.sha256: p for p in session.snapshot().own_pictures}
    recipe = json.loads(json.dumps(session.recipe()))
    return nst.replay(recipe, pictures=pictures.values(), encoder=Encoder(TOY, seed=1), device="cpu").image


# Colours


def test_the_colour_switch_counts_from_the_next_step_and_is_in_the_recipe(panel, session):
    tick(panel, 2)
    panel.parts.color.value = "luminance"
    assert panel.status == "Color style to luminance."
    assert "light and dark" in panel.parts.color_note.value
    assert ">light only<" in panel.parts.now.value
    torch.testing.assert_close(nst.keep_color(session.image, session.content), session.image, atol=1e-4, rtol=0)
    shown = torch.frombuffer(bytearray(jpeg_of(panel.parts.picture).tobytes()), dtype=torch.uint8).view(*SIZE, 3) / 255
    assert (shown - session.image[0].permute(1, 2, 0)).abs().mean() < 0.03
    tick(panel)
    panel.parts.snapshot.click()
    assert "light only" in panel.parts.cards[0].value
    panel.parts.color.value = "content"
    tick(panel)
    panel.parts.snapshot.click()
    assert "photo&#x27;s colours" in panel.parts.cards[1].value
    assert [c["color"] for c in session.recipe()["changes"] if "color" in c] == ["luminance", "content"]
    assert torch.equal(replayed(session), session.image)
    panel.parts.strip.children[0].children[1].click()
    assert (session.settings.color, panel.parts.color.value) == ("luminance", "luminance")


def test_a_colour_set_from_code_is_shown_and_sets_nothing(panel, session):
    session.set(color="content")
    tick(panel)
    assert panel.parts.color.value == "content"
    assert [c["color"] for c in session.recipe()["changes"]] == ["content"]


# The second style


def test_a_second_style_is_off_at_first_and_its_mix_is_a_slider(panel, session):
    assert panel.parts.second.value == ""
    assert panel.parts.mix_box.layout.display == "none"
    tick(panel)
    panel.parts.second.value = "mosaic"
    assert panel.status.startswith("Second style none to mosaic; style mix none to 0.5:0.5")
    assert panel.parts.mix_box.layout.display == ""
    assert "second style: mosaic" in panel.parts.second_thumb.value
    panel.parts.mix.slider.value = 80.0
    assert session.settings.style_mix == (0.2, 0.8)
    assert "<em>20 : 80</em>" in panel.parts.mix_ends.value
    assert ">80 % mosaic<" in panel.parts.now.value
    assert "style + mosaic" in panel.parts.head.value
    tick(panel)
    pictures = [session.pictures[1].image, nst.load_sample("mosaic")]
    same = StyleSession(session.content, pictures, encoder=Encoder(TOY, seed=1), style_mix=[2, 8], **LAYERS)
    for name, layer in same.model.style_losses.items():
        torch.testing.assert_close(layer.target, session.model.style_losses[name].target)
    assert torch.equal(replayed(session), session.image)
    panel.parts.mix.number.value = 130.0
    assert panel.status == "The mix is 130, expected 0 to 100: the per cent of the second style."
    assert (panel.parts.mix.value, session.settings.style_mix) == (80, (0.2, 0.8))
    panel.parts.second.value = ""
    assert (len(session.styles), session.settings.style_mix) == (1, None)
    assert (panel.parts.mix_box.layout.display, panel.parts.now.value) == ("none", "")


def test_ones_own_second_style_is_mixed_kept_and_found_again(panel, session, monkeypatch):
    monkeypatch.setattr(uploads, "uploaded", lambda widget: [("mosaic.png", stored(30, 30))])
    panel.parts.second_upload.notify_change({"name": "value", "type": "change", "owner": None, "new": (), "old": ()})
    assert panel.parts.second.value == "mosaic (yours)"
    tick(panel)
    panel.parts.snapshot.click()
    assert torch.equal(replayed(session), session.image)
    panel.parts.second.value = "wave"
    panel.parts.second.value = "mosaic (yours)"
    assert session.styles[1].image.shape[-1] == 30
    panel.parts.second.value = ""
    panel.parts.undo.click()
    assert panel.parts.second.value == "mosaic (yours)"


def test_a_file_that_is_no_picture_leaves_the_second_style_as_it_is(panel, session, monkeypatch):
    monkeypatch.setattr(uploads, "uploaded", lambda widget: [("letter.jpg", b"Dear Sir or Madam")])
    panel.parts.second_upload.notify_change({"name": "value", "type": "change", "owner": None, "new": (), "old": ()})
    assert "'letter.jpg'" in panel.status
    assert len(session.styles) == 1


# Regions


def test_regions_are_found_while_the_painting_goes_on(panel, session, finder):
    panel.parts.parts_of_photo.value = 4
    panel.parts.find.click()
    assert panel.status == "Looking for 4 parts in content; the painting goes on."
    assert panel.parts.find.disabled
    tick(panel, 3)
    panel.parts.weights["style_weight"].number.value = 7.0
    assert (len(session.history), session.settings.style_weight, session.control.masks) == (3, 7, None)
    finder.come.set()
    panel._tasks[0][0].wait(60)
    tick(panel)
    assert panel.status == "3 regions found: click one, and another style paints there, or none."
    assert not panel.parts.find.disabled
    assert finder.asked == [((1, 3, *SIZE), 4)]
    assert [b.layout.display for b in panel.parts.region_buttons] == ["", "", "", "none"]
    assert torch.equal(session.control.masks[0], sum(PARTS))


def test_a_click_on_a_region_says_which_style_paints_there_and_the_photo_may_stay(panel, session, finder):
    panel.parts.second.value = "mosaic"
    find(panel, finder)
    first, second, third = panel.parts.region_buttons[:3]
    assert [b.description for b in (first, second, third)] == [
        "Region 1: style",
        "Region 2: mosaic",
        "Region 3: style",
    ]
    assert "in regions: style and mosaic" in panel.parts.now.value
    before = panel.parts.map.value
    third.click()
    assert third.description == "Region 3: mosaic"
    assert panel.parts.map.value != before
    assert panel.status.startswith("Regions changed")
    for mask, expected in zip(session.control.masks, (PARTS[0], PARTS[1] + PARTS[2]), strict=True):
        assert torch.equal(mask, expected)
    third.click()
    assert third.description == "Region 3: the photo as it is"
    assert torch.equal(session.control.masks[1], PARTS[1])
    third.click()
    assert third.description == "Region 3: style"
    tick(panel, 2)
    assert torch.equal(replayed(session), session.image)


def test_where_no_style_paints_the_photo_stays(panel, session, finder):
    find(panel, finder)
    panel.parts.region_buttons[2].click()
    assert panel.parts.region_buttons[2].description == "Region 3: the photo as it is"
    session.set(tv_weight=0.0, optimizer="lbfgs")
    tick(panel, 4)
    moved = (session.image - session.content).abs().mean((0, 1, 2))
    assert moved[:8].mean() > 5 * moved[-8:].mean()


def test_one_region_at_least_takes_a_style(panel, session, finder):
    find(panel, finder)
    for button in panel.parts.region_buttons[:2]:
        button.click()
    panel.parts.region_buttons[2].click()
    assert panel.status.startswith("One region at least has to take a style")
    assert torch.equal(session.control.masks[0], PARTS[2])
    panel.parts.second.value = "mosaic"
    panel.parts.region_buttons[2].click()
    assert session.control.masks[0] is None  # the first style paints nowhere
    tick(panel)
    assert panel.parts.region_buttons[2].description == "Region 3: mosaic"
    assert torch.equal(replayed(session), session.image)


def test_no_regions_is_the_way_back_and_the_mix_is_as_it_was(panel, session, finder):
    panel.parts.second.value = "mosaic"
    panel.parts.mix.slider.value = 20.0
    find(panel, finder)
    assert panel.parts.mix.slider.disabled
    assert "The regions say where" in panel.parts.mix_ends.value
    assert session.settings.style_mix is None
    assert panel.parts.map_box.layout.display == panel.parts.no_regions.layout.display == ""
    panel.parts.no_regions.click()
    assert (session.control.masks, session.settings.style_mix) == (None, (0.8, 0.2))
    assert panel.parts.map_box.layout.display == panel.parts.no_regions.layout.display == "none"
    assert not panel.parts.mix.slider.disabled
    assert panel.parts.mix.value == 20


def test_regions_outlive_snapshots_resets_and_other_sizes_but_no_other_photo(panel, session, finder):
    panel.parts.second.value = "mosaic"
    find(panel, finder)
    panel.parts.region_buttons[0].click()
    tick(panel)
    panel.parts.snapshot.click()
    assert "in regions: style and mosaic" in panel.parts.cards[0].value
    said = [button.description for button in panel.parts.region_buttons[:3]]
    panel.parts.no_regions.click()
    panel.parts.second.value = ""
    panel.parts.undo.click()
    assert [button.description for button in panel.parts.region_buttons[:3]] == said
    assert panel.parts.map_box.layout.display == ""
    panel.parts.reset.click()
    panel.parts.size.value = 96
    tick(panel)
    assert session.image.shape[-2:] == (96, 144)
    assert torch.equal(replayed(session), session.image)
    panel.parts.choices["content"].value = "cat"
    assert (session.control.masks, panel.handles.regions) == (None, None)
    assert panel.status.startswith("Content content to cat")
    assert session.settings.style_mix == (0.5, 0.5)


def test_regions_that_come_after_another_photo_are_not_taken(panel, session, finder):
    panel.parts.find.click()
    panel.parts.choices["content"].value = "cat"
    finder.come.set()
    panel._tasks[0][0].wait(60)
    tick(panel)
    assert (session.control.masks, panel.parts.find.disabled) == (None, False)
    assert panel.status.startswith("The parts of content were found too late")


def test_regions_that_cannot_be_found_are_a_sentence(panel, session, monkeypatch):
    def broken(content, k):
        raise nst.WeightsError("The weights of mini can't be read.")

    monkeypatch.setattr(panel_handles, "found_regions", broken)
    panel.parts.find.click()
    panel._tasks[0][0].wait(60)
    tick(panel)
    assert panel.status == "The weights of mini can't be read."
    assert not panel.parts.find.disabled


@pytest.mark.slow
def test_a_click_in_a_slow_step_waits_and_two_clicks_both_count(slow_evaluations, panel, session, finder):  # noqa: F811
    panel.parts.second.value = "mosaic"
    find(panel, finder)
    panel.parts.step.click()
    panel.parts.region_buttons[0].click()
    panel.parts.region_buttons[1].click()
    assert "as soon as the step that is under way is done" in panel.status
    slow_evaluations.set()
    until(lambda: session.history and not panel._later, panel)
    for mask, expected in zip(session.control.masks, (PARTS[2], PARTS[0]), strict=True):
        assert torch.equal(mask, expected)
    assert panel.parts.region_buttons[1].description == "Region 2: the photo as it is"


def test_a_session_with_masks_from_code_shows_them_as_its_regions(session, tmp_path):
    styles = [picture(28, 28, seed=2), picture(28, 28, seed=3)]
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", **LAYERS}
    masked = StyleSession(picture(*SIZE, seed=1), styles, masks=[PARTS[0], PARTS[1] + PARTS[2]], **options)
    shown = nst.panel(masked, folder=tmp_path, chunk=0.0)
    assert [button.description for button in shown.parts.region_buttons[:2]] == ["Region 1: style", "Region 2: style"]
    assert shown.handles.regions.choices == (0, 1)
    shown.parts.no_regions.click()
    assert masked.control.masks is None
    shown.close()


def test_what_two_dropdowns_cannot_show_is_left_to_code(tmp_path):
    styles = [picture(28, 28, seed=n) for n in (2, 3, 4)]
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", **LAYERS}
    shown = nst.panel(StyleSession(picture(*SIZE, seed=1), styles, **options), folder=tmp_path, chunk=0.0)
    assert shown.parts.second.disabled
    assert shown.parts.find.disabled
    assert ">3 styles<" in shown.parts.now.value
    tick(shown)
    shown.close()


# The map


def test_found_regions_are_whole_levels_that_fill_the_photo_and_fit_a_recipe():
    parts = found_regions(torch.cat([torch.zeros(1, 3, 32, 96), noise(1, 3, 32, 96)], 2), 2)
    levels = torch.cat(parts) * 255
    assert torch.equal(levels, levels.round())
    assert torch.equal(levels.sum(0), torch.full((1, 64, 96), 255.0))
    assert parts[0][..., :24, :].mean() > 0.9
    assert len(stored_masks(Regions(parts, (0, 0)).masks_for(1))) == 1


def test_the_clip_paths_tile_the_photo():
    """Painted by area: each pixel belongs to one region's path, and the number stands inside of it."""
    regions = Regions(PARTS, (0, 1, PHOTO))
    html = clip_paths(regions, SIZE, "map-x")
    paths = re.findall(r'id="map-x-(\d)".*?d="([^"]+)"', html)
    assert [number for number, _ in paths] == ["1", "2", "3"]
    painted = torch.zeros(SIZE)
    for number, path in paths:
        for left, top, width, height in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path):
            x, y = int(left), int(top)
            painted[y : y + int(height), x : x + int(width)] += int(number)
    assert torch.equal(painted, sum(n * part[0, 0] for n, part in enumerate(PARTS, 1)))
    assert re.findall(r"--x:([\d.]+)%", html) == ["15.3", "48.6", "81.9"]


def test_an_outline_has_holes_and_several_pieces():
    ring = torch.ones(3, 3, dtype=torch.bool)
    ring[1, 1] = False
    assert outline(ring) == "M0 0h3v1h-3zM0 1h1v1h-1zM2 1h1v1h-1zM0 2h3v1h-3z"
    assert outline(torch.zeros(2, 2, dtype=torch.bool)) == ""


def test_the_number_of_a_region_that_bends_stands_inside_of_it():
    horseshoe = torch.ones(30, 40, dtype=torch.bool)
    horseshoe[:22, 10:30] = False
    x, y = deepest_point(horseshoe)
    assert horseshoe[int(y * 30), int(x * 40)]
    assert deepest_point(torch.zeros(4, 4, dtype=torch.bool)) == (0.5, 0.5)


def test_the_map_shows_the_styles_where_they_paint_and_the_photo_where_none_does():
    photo, red, blue = torch.zeros(1, 3, *SIZE), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    red[:, 0], blue[:, 2] = 1, 1
    shown = map_picture(photo, Regions(PARTS, (0, 1, PHOTO)), [red, blue])
    middles = [shown[0, :, 12, x].tolist() for x in (5, 17, 29)]
    assert [[round(value, 2) for value in middle] for middle in middles] == [[0.42, 0, 0], [0, 0, 0.42], [0, 0, 0]]
    assert (shown[0, :, 12, 11] > 0.7).all()  # a light line between the parts
