"""Colours, a second style and regions of the live panel in a real JupyterLab, by keys and by clicks on the photo."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import busy
from PIL import Image
from test_panel_browser import LAYOUT, ROOT, button, jupyter_lab, panel_page, recipe, running, step, wait_status, widen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jupyter_lab.find_browser() is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

CELL = """import nst_helpers as nst
session = nst.StyleSession("temple", "night_swirls", size=96)
nst.panel(session)"""
SHARE = "e => ['--x', '--y'].map(name => parseFloat(getComputedStyle(e).getPropertyValue(name)) / 100)"


@pytest.fixture(scope="module")
def folder(lab) -> Path:
    (lab.folder / "handles").mkdir()
    return lab.folder / "handles"


@pytest.fixture(scope="module")
def page(lab, folder) -> Iterator[Any]:
    with panel_page(lab, folder, CELL, height=1800) as page:
        yield page


def legend(page: Any) -> list[str]:
    return [" ".join(line.split()) for line in page.locator(".nst-legend li").all_inner_texts()]


def wait_legend(page: Any, number: int, name: str) -> None:
    page.wait_for_function(
        "([n, t]) => document.querySelectorAll('.nst-legend li')[n - 1]?.innerText.includes(t)", arg=[number, name]
    )


def middle(page: Any, number: int) -> tuple[float, float]:
    """Where in the window the number of a region stands."""
    box = page.locator(".nst-map").bounding_box()
    x, y = page.locator(f".nst-region-{number}").evaluate(SHARE)
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_the_handles_are_folded_away_and_open_by_a_key(page):
    summary = page.locator(".nst-fold summary")
    assert not page.locator(".nst-handles-body").is_visible()
    assert page.locator(".nst-handles").bounding_box()["height"] < 45
    summary.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".nst-handles-body", state="visible")


def test_the_colour_switch_is_turned_by_keys_and_by_clicks_while_it_paints(page):
    running(page, True)
    page.locator(".nst-segments input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    wait_status(page, "Color style to content")
    page.wait_for_function("() => document.querySelector('.nst-note').innerText.startsWith('Photo')")
    page.locator(".nst-segments .widget-radio-box label").nth(2).click()
    wait_status(page, "Color content to luminance")
    assert "light only" in page.inner_text(".nst-now-on")
    running(page, False)


def test_a_second_style_is_mixed_in_by_keys_and_by_an_exact_number(page, folder):
    page.locator(".nst-second select").select_option("mosaic")
    wait_status(page, "Second style none to mosaic")
    page.locator(".nst-mix .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    wait_status(page, "Style mix 0.5:0.5 to 0.45:0.55")
    box = page.locator(".nst-mix input")
    box.fill("33")
    box.press("Enter")
    wait_status(page, "to 0.67:0.33")
    assert page.inner_text(".nst-ends em") == "67 : 33"
    assert recipe(page, folder)["changes"][-1]["style_mix"] == [0.67, 0.33]


def test_a_second_style_of_ones_own_is_taken_and_a_sample_again(page):
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    with page.expect_file_chooser() as chosen:
        page.locator(".nst-second .widget-upload").click()
    chosen.value.set_files({"name": "stripes.png", "mimeType": "image/png", "buffer": file.getvalue()})
    wait_status(page, "Second style mosaic to stripes")
    page.wait_for_function("() => document.querySelector('.nst-second select').selectedOptions[0].text == 'stripes'")
    page.locator(".nst-second select").select_option("mosaic")
    wait_status(page, "Second style stripes to mosaic")
    assert page.inner_text(".nst-ends em") == "67 : 33"


def test_regions_are_found_while_it_paints_and_other_knobs_are_heard(page):
    running(page, True)
    button(page, "Find regions")
    page.wait_for_function("() => document.querySelector('.nst-status').innerText.includes('Looking for 3 parts')")
    start = time.monotonic()
    page.locator(".nst-knobs .noUi-handle").nth(1).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelectorAll('.nst-knobs .nst-number input')[1].value == '112'")
    assert time.monotonic() - start < 5 * busy()
    page.wait_for_selector(".nst-map", state="visible")
    wait_legend(page, 3, "night_swirls")
    assert legend(page) == ["1 night_swirls", "2 mosaic", "3 night_swirls"]
    running(page, False)


def test_a_click_on_the_photo_turns_the_region_that_is_there_and_no_other(page, folder):
    page.locator(".nst-map").scroll_into_view_if_needed()
    for number, name in ((1, "mosaic"), (2, "the photo as it is"), (3, "mosaic")):
        others = [line for n, line in enumerate(legend(page), 1) if n != number]
        x, y = middle(page, number)
        page.mouse.click(x, y)
        wait_legend(page, number, name)
        assert [line for n, line in enumerate(legend(page), 1) if n != number] == others
    # The whole photo is covered, and what a point belongs to is what the masks say.
    box = page.locator(".nst-map").bounding_box()
    hit = page.evaluate(
        """b => { const found = []; for (let i = 0; i < 20; i++) for (let j = 0; j < 20; j++)
          found.push(document.elementFromPoint(b.x + (i + .5) / 20 * b.width, b.y + (j + .5) / 20 * b.height).className)
          return found }""",
        box,
    )
    shares = [sum(f"nst-region-{n}" in name for name in hit) / 400 for n in (1, 2, 3)]
    assert sum(shares) > 0.98
    assert min(shares) > 0.1
    made = recipe(page, folder)
    assert any(change.get("masks") for change in made["changes"])
    assert made["masks"]


def test_a_region_is_turned_by_enter_and_by_space_and_says_what_it_takes(page):
    region = page.locator(".nst-region-1")
    assert region.get_attribute("title").startswith("Region 1 takes mosaic")
    page.locator(".nst-regions button:has-text('No regions')").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className").find("nst-region-1") >= 0
    assert region.inner_text() == "Region 1: mosaic"  # what a screen reader says; the page shows the number
    page.keyboard.press("Enter")
    wait_legend(page, 1, "the photo as it is")
    page.keyboard.press("Space")
    wait_legend(page, 1, "night_swirls")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className").find("nst-region-2") >= 0


@pytest.mark.parametrize("width", [500, 700, 900, 1100, 1400])
def test_the_open_handles_look_designed_at_any_width(page, width):
    window, panel = page.viewport_size, page.locator(".nst-panel").first
    widen(page, width, height=2400)
    found = page.evaluate(LAYOUT.split("\n", 1)[1])
    wide = page.locator(".nst-map").bounding_box()["width"]
    panel.screenshot(path=ROOT / "runs" / f"panel_handles_{width}.png")
    page.set_viewport_size(window)
    assert found["width"] == pytest.approx(width, abs=2)
    assert (found["outside"], found["cut"], found["overlaps"]) == ([], [], [])
    assert wide >= 280


def test_a_snapshot_tells_of_its_regions_and_brings_them_back(page):
    button(page, "Snapshot")
    wait_status(page, "Snapshot 1 kept")
    assert "in regions: " in page.inner_text(".nst-card figcaption")
    before = legend(page)
    button(page, "No regions")
    page.wait_for_selector(".nst-map", state="hidden")
    wait_status(page, "Regions gone")
    assert page.inner_text(".nst-ends em") == "67 : 33"
    button(page, "Undo")
    page.wait_for_selector(".nst-map", state="visible")
    page.wait_for_function("n => document.querySelectorAll('.nst-legend li').length == n", arg=len(before))
    assert legend(page) == before


def test_what_was_painted_replays_to_the_pixel_and_needs_no_mask(page, folder):
    at = step(page)
    button(page, "Step")
    page.wait_for_function("n => Number(document.querySelector('.nst-value').innerText) > n", arg=at)
    made = recipe(page, folder)
    (folder / "last.json").write_text(json.dumps(made), "utf-8")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.keyboard.press("Enter")
    page.keyboard.type("import torch; again = nst.replay('last.json', pictures=session.snapshots[0].own_pictures)")
    page.keyboard.press("Enter")
    page.keyboard.type('print("same:", torch.equal(again.image, session.image))')
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.body.innerText.match(/same: (True|False)/)", timeout=60_000)
    assert re.search("same: True", page.inner_text("body"))


def test_nothing_was_said_in_the_console(page):
    assert page.said == []


def test_after_a_restart_of_the_kernel_the_handles_are_out_of_reach(page):
    page.evaluate("() => { window.jupyterapp.commands.execute('kernelmenu:restart') }")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_selector(".nst-panel.jupyter-widgets-disconnected")
    reachable = "() => getComputedStyle(document.querySelector('.nst-handles-body')).pointerEvents"
    assert page.evaluate(reachable) == "none"
    marked = """() => [...document.querySelectorAll('.nst-handles .jupyter-widgets-disconnected')].filter(
        e => getComputedStyle(e, '::before').display != 'none').map(e => e.className)"""
    assert page.evaluate(marked) == []
    page.locator(".nst-panel").first.screenshot(path=ROOT / "runs" / "panel_handles_restarted.png")
    page.wait_for_function(jupyter_lab.KERNEL_IS, arg="idle")  # a server waits long for a kernel that is starting
