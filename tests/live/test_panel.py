"""The live panel without a page: moving its clock is the loop, setting a widget's value is a person's hand.

Runs on ipywidgets 7.7.1 too, where test_panel_wire.py calls it.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from types import SimpleNamespace

import ipywidgets as widgets
import pytest
import torch
from conftest import TOY, picture, slow
from PIL import Image

import nst_helpers as nst
from nst_helpers.budget import progress
from nst_helpers.budget.estimate import Estimate
from nst_helpers.encoders import Encoder
from nst_helpers.engine.evaluation import Evaluation
from nst_helpers.live import chart as panel_chart
from nst_helpers.live import view as panel_view
from nst_helpers.live import widgets as panel_widgets
from nst_helpers.live.controls import playing_trait
from nst_helpers.live.panel import Panel, _open
from nst_helpers.live.session import StyleSession
from nst_helpers.live.uploads import uploaded_pictures

LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
OLD = widgets.__version__.startswith("7.")


@pytest.fixture
def session() -> StyleSession:
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "optimizer": "adam", **LAYERS}
    return StyleSession(picture(24, 36, seed=1), picture(28, 28, seed=2), **options)


@pytest.fixture
def panel(session, tmp_path):
    made = nst.panel(session, folder=tmp_path, chunk=0.0)
    yield made
    made.close()


def tick(panel: Panel, times: int = 1) -> None:
    """Moves of the clock, with those that only wait for a step, as on a busy machine."""
    for _ in range(times):
        panel.parts.clock.value += 1
        while panel._steps is not None:
            panel.parts.clock.value += 1


def upload(panel: Panel, role: str, name: str, data: bytes) -> None:
    """What the page sends when a file is chosen."""
    widget = panel.parts.uploads[role]
    if OLD:
        widget.set_trait("value", {name: {"metadata": {"name": name}, "content": data}})
    else:
        file = {"name": name, "type": "image/png", "size": len(data), "content": memoryview(data)}
        widget.value = ({**file, "last_modified": __import__("datetime").datetime(2026, 1, 1)},)


def jpeg_of(image: widgets.Image) -> Image.Image:
    return Image.open(io.BytesIO(image.value)).convert("RGB")


def stored(width: int, height: int, *, mode: str = "RGB", orientation: int = 1, kind: str = "PNG") -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new(mode, (width, height), (200, 60, 20, 128)[: len(mode)]).save(file, kind, exif=exif)
    return file.getvalue()


# The clock is the loop


def test_each_move_of_the_clock_paints_and_shows(panel, session):
    before = panel.parts.picture.value
    tick(panel, 3)
    assert len(session.history) == 3
    assert panel.parts.picture.value != before
    shown, now = jpeg_of(panel.parts.picture), session.image
    assert shown.size == (36, 24)
    pixels = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).view(24, 36, 3).permute(2, 0, 1) / 255
    assert (pixels - now[0]).abs().mean() < 0.04
    assert ">3<" in panel.parts.readout.value


def test_a_knob_turned_between_two_ticks_counts_in_the_next(panel, session):
    tick(panel, 2)
    panel.parts.weights["style_weight"].slider.value = 10.0
    panel.parts.layers["relu1_1"].slider.value = 3.0
    tick(panel)
    e = session.history[-1]
    style = (3 * e.style["relu1_1"] + e.style["relu2_1"] + e.style["relu3_1"]) / 5
    assert e.loss == pytest.approx(e.content["relu2_1"] + 10 * style + 50 * e.tv, rel=1e-3)
    assert "tyle weight 100 to 10" in e.event
    assert session.recipe()["changes"] == [
        {"after": 2, "style_weight": 10.0},
        {"after": 2, "layer_weights": {"relu1_1": 3.0}},
    ]


def test_the_stop_button_of_the_old_clock_is_no_step(panel, session):
    tick(panel, 2)
    panel.parts.clock.value = panel.parts.clock.min
    assert len(session.history) == 2


def test_ticks_that_overlap_are_dropped_and_no_thread_is_left(session, tmp_path, monkeypatch):
    inside, most, real = [0], [0], StyleSession.step

    def slow(self, *args, **options):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        try:
            return real(self, *args, **options)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(StyleSession, "step", slow)
    before, count = threading.active_count(), itertools.count(1)
    panel = nst.panel(session, folder=tmp_path, chunk=0.0)
    page = [threading.Thread(target=lambda: [panel._tick({"new": next(count)}) for _ in range(4)]) for _ in range(3)]
    for thread in page:
        thread.start()
    for thread in page:
        thread.join()
    assert most[0] == 1
    assert 1 <= len(session.history) < 12
    panel.close()
    assert threading.active_count() == before


def held(monkeypatch, method: str) -> Iterator[threading.Event]:
    """The session's method waits for the event: what waits for the method would wait a minute, and then fail."""
    end, real = threading.Event(), getattr(StyleSession, method)

    def late(self, *args, **options):
        assert end.wait(60)
        return real(self, *args, **options)

    monkeypatch.setattr(StyleSession, method, late)
    yield end
    end.set()


def until(condition, panel: Panel) -> None:
    """Let the page's messages go on until the condition holds, or half a minute is over."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        echo(panel)


@pytest.fixture
def slow_steps(session, monkeypatch):
    """Steps that take as long as the test says, as with a large network."""
    yield from held(monkeypatch, "step")


@pytest.mark.slow
def test_a_slow_step_holds_up_neither_a_pause_nor_itself(slow_steps, panel, session):
    """The page sends its last number together with the news that it has paused: no step begins after that."""
    clock = panel.parts.clock
    setattr(clock, playing_trait(clock), True)
    for _ in range(3):
        clock.value += 1
    with clock.hold_trait_notifications():
        clock.value += 1
        setattr(clock, playing_trait(clock), False)
    assert ">paused<" in panel.parts.head.value
    assert panel.status.startswith("Paused")
    assert session.history == []
    slow_steps.set()
    until(lambda: session.history, panel)
    for _ in range(8):
        echo(panel)
    assert len(session.history) == 1  # the one that was under way
    assert panel.status.startswith("Paused: step 1,")
    assert ">1<" in panel.parts.readout.value


@pytest.fixture
def slow_evaluations(session, monkeypatch):
    """Evaluations that take as long as the test says; meanwhile nothing can be changed."""
    yield from held(monkeypatch, "_evaluate")


def test_no_control_waits_for_a_slow_evaluation(slow_evaluations, panel, session):
    """A dragged slider, a layer, a snapshot: each is answered at once, and counts when the step is done."""
    clock, parts = panel.parts.clock, panel.parts
    setattr(clock, playing_trait(clock), True)
    clock.value += 1
    for value in (90.0, 80.0, 70.0, 60.0):
        parts.weights["style_weight"].number.value = value
    assert panel.status == "Style weight: as soon as the step that is under way is done."
    parts.layers["relu1_1"].number.value = 2.0
    parts.layers["relu2_1"].number.value = 3.0
    parts.snapshot.click()
    parts.step.click()
    assert panel.status == "A step is under way already."
    assert (session.settings.style_weight, session.snapshots, session.history) == (100, [], [])
    setattr(clock, playing_trait(clock), False)
    assert session.history == []
    slow_evaluations.set()
    until(lambda: session.snapshots, panel)
    assert session.snapshots[0].step == len(session.history) == 1
    turned = {"after": 1, "style_weight": 60.0, "layer_weights": {"relu1_1": 2.0, "relu2_1": 3.0}}
    assert session.recipe()["changes"] == [turned]
    assert parts.weights["style_weight"].value == 60
    assert panel.status.startswith("Snapshot 1 kept at step 1")


@pytest.mark.slow
def test_a_single_slow_step_is_shown_when_it_is_done(slow_evaluations, panel, session):
    panel.parts.step.click()
    assert panel.status == "One step is under way."
    slow_evaluations.set()
    until(lambda: panel.status != "One step is under way.", panel)
    assert panel.status.startswith("One step: step 1, ")


@pytest.mark.slow
def test_what_waited_for_a_slow_step_and_is_refused_is_told(slow_evaluations, panel, session):
    panel.parts.step.click()
    panel.parts.weights["style_weight"].number.value = -5.0
    panel.parts.weights["content_weight"].number.value = 3.0
    slow_evaluations.set()
    until(lambda: session.history, panel)
    echo(panel)
    assert "The style weight is -5" in panel.status
    assert panel.parts.weights["style_weight"].value == 100


def test_a_pause_is_told_and_brings_everything_up_to_date(panel, session):
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
    assert panel.running
    assert ">painting<" in panel.parts.head.value
    tick(panel, 5)
    panel.pause()
    assert ">paused<" in panel.parts.head.value
    assert panel.status == f"Paused: step 5, {panel.status.partition('step 5, ')[2]}"
    assert "step 5" not in panel.parts.chart.value
    assert f"content {session.losses['content']:.3g}" in panel.parts.chart.value


# The other controls


def test_buttons_step_reset_snapshot_undo(panel, session):
    parts = panel.parts
    parts.undo.click()
    assert "no snapshot yet" in panel.status
    tick(panel, 2)
    parts.snapshot.click()
    kept = session.image
    parts.weights["content_weight"].number.value = 10.0
    parts.step.click()
    assert len(session.history) == 3
    parts.undo.click()
    assert torch.equal(session.image, kept)
    assert parts.weights["content_weight"].value == 1.0
    assert len(session.history) == 2
    parts.init.value = "noise"
    parts.reset.click()
    assert session.history == []
    assert session.recipe()["start"]["init"] == "noise"
    assert session.settings.content_weight == 1.0


def test_a_snapshot_from_code_or_of_another_panel_stands_in_the_gallery_too(panel, session):
    tick(panel)
    session.snapshot()
    tick(panel)
    assert len(panel.parts.cards) == 1
    other = Panel(session, target=None, folder=panel.folder, chunk=0.0)
    other._snapshot(None)
    tick(panel)
    other.close()
    assert len(panel.parts.cards) == len(panel.parts.strip.children) == 2
    panel._undo(None)
    assert panel.status.startswith("Back to snapshot 2")


def test_large_weights_are_told_as_a_person_types_them(panel, session):
    panel.parts.weights["style_weight"].number.value = 1000
    assert panel.status.startswith("Style weight 100 to 1000")
    panel.parts.weights["style_weight"].number.value = 12345.678
    assert panel.status.startswith("Style weight 1000 to 12346")
    panel._snapshot(None)
    assert "1:12346:50<br>" in panel.parts.cards[0].value


def test_the_gallery_shows_every_snapshot_each_with_its_weights_and_way_back(panel, session):
    parts = panel.parts
    assert parts.gallery.layout.display == "none"
    for i in range(9):
        parts.weights["style_weight"].number.value = 10.0 + i
        parts.step.click()
        parts.snapshot.click()
    assert len(parts.cards) == len(parts.strip.children) == 9
    assert parts.gallery.layout.display == ""
    for i, card in enumerate(parts.cards):
        assert f"1:{10 + i}:50" in card.value
        assert re.search(r'alt="snapshot \d: step \d', card.value)
    again = nst.panel(session, chunk=0.0)
    assert [card.value for card in again.parts.cards] == [card.value for card in parts.cards]
    again.parts.strip.children[3].children[1].click()
    assert session.settings.style_weight == 13
    assert again.parts.weights["style_weight"].value == 13


def test_a_number_is_taken_exactly_and_zero_is_off(panel, session):
    """The slider has stops; the box has none."""
    style, layer, lr = panel.parts.weights["style_weight"], panel.parts.layers["relu1_1"], panel.parts.lr
    for control, name, value in ((style, "style_weight", 5.0), (style, "style_weight", 0.37), (lr, "lr", 0.0001)):
        control.number.value = value
        assert getattr(session.settings, name) == value
        assert control.number.value == value
    assert style.slider.label == "1"
    layer.number.value = 0.3
    assert session.settings.layer_weights["relu1_1"] == 0.3
    for name in ("content_weight", "style_weight"):
        panel.parts.weights[name].number.value = 0.0
        assert panel.parts.weights[name].slider.label == "off"
    assert session.settings.weights == nst.Weights(0, 0, 50)
    panel.parts.weights["tv_weight"].number.value = 0.0
    assert "nothing would be optimised" in panel.status
    assert panel.parts.weights["tv_weight"].value == 50
    style.slider.value = style.stops[1]
    assert (style.number.value, session.settings.style_weight) == (1.0, 1.0)
    before = session.settings
    style.number.value = -5.0
    assert "The style weight is -5" in panel.status
    assert (style.number.value, session.settings) == (1.0, before)


def test_every_widget_has_a_title_that_says_something(panel):
    for widget in panel.parts.all:
        if widget.has_trait("tooltip"):
            assert widget.tooltip is not None


def test_optimiser_size_and_pictures(panel, session):
    parts = panel.parts
    parts.optimizer.value = "lbfgs"
    assert (session.settings.optimizer, session.settings.lr, parts.lr.value) == ("lbfgs", 1.0, 1.0)
    parts.size.value = 96
    assert session.image.shape[-2:] == (96, 144)
    session.set(size=100)  # from code, and none of those on offer
    panel.pull()
    assert parts.size.options[-1] == ("100 px", 100)
    parts.size.value = 96
    parts.choices["style"].value = "mosaic"
    assert session.pictures[1].name == "mosaic"
    assert "style picture: mosaic" in parts.thumbs["style"].value
    assert panel.status == "Style style to mosaic; L-BFGS starts afresh."
    parts.choices["content"].value = "cat"
    assert "<span>cat</span> × <span>mosaic</span>" in parts.head.value  # each cut by itself where it is long
    assert jpeg_of(parts.photo).size == (144, 96)
    parts.choices["content"].value = "content"
    assert torch.equal(session.pictures[0].image, picture(24, 36, seed=1))


@pytest.fixture
def slow_encoders(monkeypatch):
    """`load_encoder` waits for the event, and then gives a network or raises the error."""
    come, errors = threading.Event(), []

    def load(name, **_):
        assert come.wait(60)
        if errors:
            raise errors[0]
        return Encoder(TOY, seed=7)

    monkeypatch.setattr("nst_helpers.live.sources.load_encoder", load)
    yield come, errors
    come.set()


def test_an_encoder_is_loaded_while_the_painting_goes_on(panel, session, slow_encoders):
    come, _ = slow_encoders
    panel.parts.encoder.value = "vgg19"
    assert panel.status == "Loading the encoder vgg19; until it has come, toy goes on."
    tick(panel, 3)
    panel.parts.weights["style_weight"].number.value = 7.0
    tick(panel)
    assert (len(session.history), session.settings.encoder, session.settings.style_weight) == (4, "toy", 7)
    assert panel.parts.encoder.value == "vgg19"
    come.set()
    panel._tasks[0][0].wait(60)
    tick(panel)
    assert session.settings.encoder == "vgg19"
    assert panel.status.startswith("Encoder toy to vgg19")


def test_an_encoder_that_is_no_longer_wanted_is_not_taken(panel, session, slow_encoders):
    come, _ = slow_encoders
    panel.parts.encoder.value = "vgg19"
    panel.parts.encoder.value = "toy"
    come.set()
    panel._tasks[0][0].wait(60)
    for _ in range(3):
        echo(panel)
    assert (session.settings.encoder, panel.parts.encoder.value) == ("toy", "toy")


def test_an_encoder_that_cannot_be_had_is_a_sentence_that_stays_until_it_is_dismissed(panel, session, slow_encoders):
    come, errors = slow_encoders
    errors.append(nst.WeightsError("The weights of vgg19 can't be had: put them there."))
    panel.parts.encoder.value = "vgg19"
    come.set()
    panel._tasks[0][0].wait(60)
    echo(panel)  # in a pause the page's echo goes on with it
    assert panel.status == "The weights of vgg19 can't be had: put them there."
    assert panel.parts.encoder.value == "toy"
    tick(panel)
    panel.parts.weights["style_weight"].number.value = 7.0
    assert len(session.history) == 1
    assert "can&#x27;t be had" in panel.parts.alert_text.value
    assert panel.parts.alert.layout.display == ""
    panel.parts.dismiss.click()
    assert panel.parts.alert.layout.display == "none"


def test_ones_own_pictures_upright_and_on_white(panel, session):
    upload(panel, "content", "holiday.png", stored(40, 30, mode="RGBA", orientation=6))
    assert session.content.shape[-2:] == (32, 24)
    assert session.content[0, :, 5, 5].tolist() == pytest.approx([0.89, 0.62, 0.54], abs=0.02)
    assert panel.parts.choices["content"].value == "holiday"
    upload(panel, "style", "mosaic.png", stored(30, 30))
    assert panel.parts.choices["style"].value == "mosaic (yours)"
    tick(panel, 2)
    assert len(session.history) == 2


def test_a_file_that_is_no_picture_is_the_loaders_sentence_and_the_panel_lives(panel, session):
    upload(panel, "content", "letter.jpg", b"Dear Sir or Madam")
    assert "'letter.jpg'" in panel.status
    assert "bytes" not in panel.status
    assert "nst-bad" in panel.parts.alert_text.value
    assert len(panel.parts.uploads["content"].value) == 0
    tick(panel)
    assert len(session.history) == 1
    upload(panel, "content", "letter.jpg", stored(30, 30))
    assert session.pictures[0].name == "letter"


def test_all_layers_at_zero_is_refused_in_words_and_the_fader_goes_back(panel, session):
    for fader in panel.parts.layers.values():
        fader.slider.value = 0.0
    assert "All style layers" in panel.status
    assert [fader.value for fader in panel.parts.layers.values()] == [0.0, 0.0, 1.0]
    assert [fader.slider.value for fader in panel.parts.layers.values()] == [0.0, 0.0, 1.0]


def test_a_value_beyond_a_sliders_end_stays_the_sessions(panel, session):
    session.set(content_weight=1e4, tv_weight=33.0, layer_weights={"relu2_1": 9.0})
    panel.pull()
    content = panel.parts.weights["content_weight"]
    assert (content.slider.value, content.number.value) == (100, 1e4)
    assert session.settings.weights == nst.Weights(1e4, 100, 33)
    assert session.settings.layer_weights["relu2_1"] == 9
    panel.parts.weights["style_weight"].number.value = 5.0
    assert session.settings.weights == nst.Weights(1e4, 5, 33)


def test_compare_is_a_class_and_the_photo_lies_ready(panel):
    assert jpeg_of(panel.parts.photo).size == (36, 24)
    panel.parts.compare.value = True
    assert "nst-compare" in panel.parts.stage._dom_classes
    panel.parts.compare.value = False
    assert "nst-compare" not in panel.parts.stage._dom_classes


def test_picture_and_recipe_are_saved_without_overwriting(panel, session, tmp_path):
    tick(panel, 3)
    panel.parts.save_picture.click()
    panel.parts.save_picture.click()
    panel.parts.save_recipe.click()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "content_style_0003-2.png",
        "content_style_0003.json",
        "content_style_0003.png",
    ]
    assert (nst.load_image(tmp_path / "content_style_0003.png") - session.image).abs().max() <= 0.5 / 255 + 1e-6
    assert 'download="content_style_0003.json"' in panel.parts.status.value
    pictures = [p.image for p in session.pictures]
    again = nst.replay(tmp_path / "content_style_0003.json", pictures=pictures, encoder=Encoder(TOY, seed=1))
    assert torch.equal(again.image, session.image)


# What it says


def test_it_says_when_the_target_is_reached_and_each_snapshot_knows(session, tmp_path):
    losses = [session.step()[0] and session.losses for _ in range(12)]
    limits = {"content": max(e["content"] for e in losses) * 1.01, "style": losses[7]["style"] * 1.0001}
    first = next(e["step"] for e in losses if all(e[k] < v for k, v in limits.items()))
    assert first > 1
    session.reset()
    panel = nst.panel(session, target=limits, folder=tmp_path, chunk=0.0)
    for _ in range(first - 1):
        tick(panel)
        assert not panel.reached()
    panel.parts.snapshot.click()
    assert "Target reached" not in panel.status
    tick(panel)
    assert panel.reached()
    assert panel.status.startswith(f"Target reached at step {first}: ")
    assert "nst-good" in panel.parts.status.value
    panel.parts.snapshot.click()
    assert ["★" in card.value for card in panel.parts.cards[:2]] == [False, True]
    assert panel.parts.readout.value.count("✓ under") == 2
    panel.target = {"content": 1e6, "style": 1e6}  # under it for good: said once, and not at every tick
    panel.say("Quiet.")
    tick(panel, 2)
    assert panel.status == "Quiet."
    with pytest.raises(ValueError, match="limits above 0"):
        nst.panel(session, target={"tv": 1.0})


def test_a_fault_is_told_and_stops_the_clock_not_the_kernel(panel, session, monkeypatch):
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)

    def broken(self, *a, **k):
        raise RuntimeError("out of paint <b>")

    with monkeypatch.context() as patch:
        patch.setattr(StyleSession, "step", broken)
        tick(panel)
    assert panel.status == "Stopped by a fault in the program: RuntimeError: out of paint <b>"
    assert "&lt;b&gt;" in panel.parts.alert_text.value
    assert not panel.running
    tick(panel)
    assert len(session.history) == 1


def test_an_interrupt_loses_nothing(panel, session, monkeypatch):
    tick(panel, 2)
    before = session.image

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nst_helpers.engine.optimisation.Optimisation.step", stop)
        tick(panel)
    assert "nothing is lost" in panel.status
    assert torch.equal(session.image, before)


def test_a_page_that_is_opened_again_shows_a_pause_for_nothing_moves_the_clock_there(panel):
    clock = panel.parts.clock
    setattr(clock, playing_trait(clock), True)
    tick(panel, 2)
    clock.get_state("value")
    assert panel.running  # as for each message while it paints
    assert clock.get_state()[playing_trait(clock)] is False  # what a page asks for that knows nothing of it
    assert not panel.running
    assert panel.status.startswith("Paused: step ")
    assert "paused" in panel.parts.head.value
    setattr(clock, playing_trait(clock), True)
    assert "painting" in panel.parts.head.value


def test_the_guard_speaks_in_the_panel(panel, session):
    tick(panel, 2)
    with torch.no_grad():
        session._painting.run.image.fill_(float("nan"))
    tick(panel)
    assert panel.status.startswith("Guarded: the loss became nan")


def test_files_of_one_name_for_both_roles_are_not_mixed_up(panel, session):
    upload(panel, "content", "mine.png", stored(40, 30))
    upload(panel, "style", "mine.png", stored(26, 26))
    content, style = session.pictures
    panel.parts.choices["content"].value = "temple"
    panel.parts.choices["style"].value = "wave"
    panel.parts.choices["content"].value = "mine"
    panel.parts.choices["style"].value = "mine"
    assert [picture.sha256 for picture in session.pictures] == [content.sha256, style.sha256]


def test_a_number_that_is_refused_is_named_as_beside_its_slider(panel, session):
    panel.parts.lr.number.value = -1
    assert panel.status == "The step size is -1, expected a number above 0."
    panel.parts.weights["style_weight"].number.value = -2.5
    assert panel.status == "The style weight is -2.5, expected a number of 0 or more."
    assert (panel.parts.lr.value, panel.parts.weights["style_weight"].value) == (session.settings.lr, 100)


@pytest.mark.skipif(OLD, reason="ipywidgets 7 has no link from an upload")
def test_a_file_too_large_for_a_message_is_told_of_before_the_server_cuts_it(panel):
    links = [part for part in panel.parts.announcements if isinstance(part, widgets.widget_link.DirectionalLink)]
    for upload in (*panel.parts.uploads.values(), panel.parts.second_upload):
        link = next(link for link in links if link.source == (upload, "value"))
        setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
        announced, file = link.target[0], {"name": "camera.jpg", "type": "image/jpeg", "content": {}}
        announced.set_state({"value": [{**file, "size": 9_000_000}]})  # as the page sends it
        assert panel.running
        announced.set_state({"value": [{**file, "size": 14_000_000}]})
        assert panel.status.startswith(
            "'camera.jpg' has 14 MB, and a notebook server takes 10 MB at once: save it smaller"
        )
        assert not panel.running
        panel.parts.dismiss.click()


def test_names_of_files_cannot_smuggle_markup(panel):
    upload(panel, "content", "<img src=x onerror=alert(1)>.png", stored(30, 30))
    for html in (panel.parts.head, panel.parts.status, panel.parts.thumbs["content"]):
        assert "<img src=x" not in html.value


# What it will take


def echo(panel: Panel) -> None:
    """What the page does when the kernel sets `step`, by the link between the two."""
    panel.parts.echo.value = panel.parts.echo.step


def outlook(panel: Panel) -> str:
    return re.search('<span class="nst-ahead">(.*?)</span>', panel.parts.head.value)[1]


@pytest.fixture
def measured(monkeypatch):
    """A calibration of three pieces and an estimate of 0.06 s and 340 MB; notes what was asked for."""
    asked = []

    def calibrating(settings):
        asked.append(settings)
        yield from range(3)

    def estimate(content, style, settings):
        return Estimate(12.0, ((200, 0.06),), settings.size * 10 * 2**20, 0, 0)

    monkeypatch.setattr(panel_view, "calibrating", calibrating)
    monkeypatch.setattr(panel_view, "estimate", estimate)
    return asked


@pytest.fixture
def clock(monkeypatch):
    """The pace's clock, to be set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_estimate_comes_piece_by_piece_when_the_page_is_there(measured, panel, session):
    session.set(size=34)
    panel.pull()
    assert measured == []  # nothing is measured before the panel is shown
    for _ in range(3):
        assert outlook(panel) == ""
        echo(panel)
    echo(panel)
    assert outlook(panel) == "200 steps: about 12 s and 340 MB on this machine"
    before = panel.parts.echo.step
    for weight in (3.0, 4.0, 5.0):  # a slider's move asks for no new measurement
        panel.parts.weights["style_weight"].number.value = weight
        tick(panel)
        echo(panel)
    panel.parts.snapshot.click()
    panel.parts.undo.click()
    echo(panel)
    assert (len(measured), panel.parts.echo.step) == (1, before)
    assert outlook(panel) == "200 steps: about 12 s and 340 MB on this machine"
    assert measured[0].encoder is session.run_settings(steps=1).encoder
    assert measured[0].style_layers == tuple(LAYERS["style_layers"])


def test_what_changes_the_cost_is_estimated_anew(measured, panel, session):
    for _ in range(4):
        echo(panel)
    for name, value in (("size", 96), ("optimizer", "lbfgs")):
        getattr(panel.parts, name).value = value
        assert outlook(panel) == ""
        for _ in range(4):
            echo(panel)
        assert outlook(panel) == "200 steps: about 12 s and 960 MB on this machine"
    assert [(s.size, s.optimizer) for s in measured] == [(24, "adam"), (96, "adam"), (96, "lbfgs")]


def test_what_is_left_is_told_by_the_measured_pace(measured, panel, session, clock):
    for _ in range(4):
        echo(panel)
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
    assert outlook(panel) == "about 12 s left to step 200"
    for _ in range(41):
        clock[0] += 0.25  # of each step; the estimate said 0.06
        tick(panel)
    panel.show()
    assert outlook(panel) == "about 40 s left to step 200"  # 159 steps of 0.25 s
    panel.pause()
    assert outlook(panel) == "200 steps: about 50 s and 240 MB on this machine"
    clock[0] += 1000  # a pause is no slow step
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
    tick(panel)
    panel.show()
    assert outlook(panel) == "about 40 s left to step 200"
    panel.parts.size.value = 96
    assert outlook(panel) == ""  # another kind of step: neither estimated nor measured yet


def test_painting_goes_before_measuring_which_is_made_up_for_in_a_pause(measured, panel, session, clock):
    echo(panel)
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
    for _ in range(8):
        echo(panel)
        clock[0] += 0.25
        tick(panel)
    panel.show()
    assert panel.estimate is None
    assert outlook(panel) == "about 50 s left to step 200"  # by the pace alone: 192 steps of 0.25 s
    panel.pause()
    assert outlook(panel) == ""
    for _ in range(3):
        echo(panel)
    assert outlook(panel) == "200 steps: about 50 s and 240 MB on this machine"
    assert len(measured) == 1


def test_after_two_hundred_steps_the_next_two_hundred_count(measured, panel, session):
    for _ in range(4):
        echo(panel)
    setattr(panel.parts.clock, playing_trait(panel.parts.clock), True)
    session.step(199)
    panel.show()
    assert outlook(panel) == "about 1 s left to step 200"
    session.step(1)
    panel.show()
    assert outlook(panel) == "about 12 s left to step 400"


@pytest.mark.parametrize("error", [RuntimeError("no"), nst.NSTError("no"), KeyboardInterrupt()])
def test_an_estimate_that_cannot_be_had_is_left_out(panel, session, monkeypatch, error):
    def broken(settings):
        yield
        raise error

    monkeypatch.setattr(panel_view, "calibrating", broken)
    before = panel.status
    for _ in range(4):
        echo(panel)
    tick(panel, 2)
    assert outlook(panel) == ""
    assert panel.status == before
    assert len(session.history) == 2


def test_the_true_estimate_is_shown_and_takes_no_long_breath(panel, session):
    """Toy encoder, nothing patched: each message is answered soon, and the sentence is that of `estimate`.

    The faster the machine, the more messages it takes to fill the time that is measured for.
    """
    breaths = []
    while not panel.estimate and sum(breaths) < 30 * slow():
        start = time.process_time()
        echo(panel)
        breaths.append(time.process_time() - start)
    told = nst.estimate(*(p.image for p in session.pictures), session.run_settings(steps=200))
    memory = f"{told.run_bytes / 2**20:.0f} MB"
    assert re.fullmatch(rf"200 steps: about [\d.]+ s and {memory} on this machine", outlook(panel))
    assert max(breaths) < 0.4 * slow()
    assert len(panel.parts.head.value) < 500


# One panel at a time, and nothing left behind


def test_a_new_panel_closes_the_old_one_with_all_its_widgets(session, tmp_path):
    alive = widgets.Widget.widgets if OLD else widgets.widget._instances
    nst.panel(session, folder=tmp_path).close()
    before = len(alive)
    first = nst.panel(session, folder=tmp_path, chunk=0.0)
    one = len(alive)
    for _ in range(5):
        latest = nst.panel(session, folder=tmp_path, chunk=0.0)
    assert len(alive) == one > before
    assert first.closed
    assert _open == [latest]
    first._tick({"new": 5})
    assert session.history == []
    latest.close()
    assert len(alive) == before


def test_no_widget_is_made_while_it_runs(panel):
    alive = widgets.Widget.widgets if OLD else widgets.widget._instances
    before = len(alive)
    tick(panel, 3)
    panel.parts.choices["style"].value = "mosaic"
    panel.parts.weights["style_weight"].number.value = 3.0
    assert len(alive) == before
    panel.parts.snapshot.click()
    card = len(alive) - before
    panel.parts.undo.click()
    panel.parts.snapshot.click()
    assert len(alive) - before == 2 * card  # a card's own, and no more
    panel.close()
    assert len(alive) < before


class Output:
    """Stands in for a cell's outputs: keeps what is displayed, by its identity where it has one."""

    def __init__(self, monkeypatch):
        self.shown: list[dict[str, str]] = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, bundle, *, raw, display_id=False):
        self.shown.append(bundle)
        return self if display_id else None

    def update(self, bundle, *, raw):
        self.shown[-1] = bundle


def picture_in(html: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1])))


def test_below_the_widgets_there_is_a_still_picture_that_keeps_up(panel, session, monkeypatch):
    output = Output(monkeypatch)
    panel._ipython_display_()
    widgets_, still = output.shown
    assert widgets_["text/plain"] == still["text/plain"] == "Live panel: content in the manner of style, no step yet."
    assert "text/html" not in widgets_
    assert picture_in(still["text/html"]).size == (360 + 12 + 240, 240)
    assert "run the cell again" in still["text/html"]
    assert 'alt="Live panel: content in the manner of style' in still["text/html"]
    panel.parts.step.click()
    still = output.shown[-1]
    assert "step 1, content distance" in still["text/plain"]
    assert picture_in(still["text/html"]).size == (2 * 372 + 240, 240)


def test_a_stored_picture_is_brought_up_to_date_now_and_then_while_it_paints(panel, session, monkeypatch):
    output = Output(monkeypatch)
    panel._ipython_display_()
    clock = panel.parts.clock
    setattr(clock, playing_trait(clock), True)
    monkeypatch.setattr(panel_view, "STILL_EVERY", 1000)
    tick(panel, 3)
    assert "no step yet" in output.shown[-1]["text/plain"]
    monkeypatch.setattr(panel_view, "STILL_EVERY", 0)
    tick(panel)
    assert "step 4," in output.shown[-1]["text/plain"]


def test_a_panel_in_another_cell_makes_the_first_pause_and_say_so(session, tmp_path, monkeypatch):
    cells = iter(["one", "two", "two"])
    monkeypatch.setattr("nst_helpers.live.panel.running_cell", lambda: next(cells))
    first = nst.panel(session, folder=tmp_path, chunk=0.0)
    setattr(first.parts.clock, playing_trait(first.parts.clock), True)
    second = nst.panel(session, folder=tmp_path, chunk=0.0)
    assert not first.closed
    assert not first.running
    assert first.status == "Paused, because another panel was opened: press play to go on with this one."
    second.parts.weights["style_weight"].number.value = 7.0
    tick(first)
    assert len(session.history) == 1
    assert first.parts.weights["style_weight"].value == 7  # both show the same session
    third = nst.panel(session, folder=tmp_path, chunk=0.0)
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    for shown in (first, third):
        shown.close()


# The chart


def evaluations(n: int, **values: float) -> list[Evaluation]:
    c, s, t = values.get("content", 0.5), values.get("style", 0.05), values.get("tv", 0.01)
    rest = {"seconds": 0.0, "lr": 1.0, "size": (8, 8)}
    return [
        Evaluation(i, 1.0, {"a": c}, {"b": s}, t, **rest, event="turned" if i == 3 else "") for i in range(1, n + 1)
    ]


def heights(svg: str) -> list[float]:
    lines = [e for e in ET.fromstring(svg).iter() if e.tag == "polyline"]
    return [float(line.get("points").split()[-1].split(",")[1]) for line in lines]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 500, 20_000])
def test_the_chart_is_sound_xml_of_bounded_size_and_quick(n):
    history = evaluations(n)
    start = time.process_time()
    svg = panel_chart.draw_chart(history, {"content": 0.4})
    assert time.process_time() - start < 0.5
    assert len(svg) < 20_000
    drawn = ET.fromstring(svg)
    assert len([e for e in drawn.iter() if e.tag == "polyline"]) == (3 if n else 0)
    assert drawn.get("role") == "img"
    assert ("content 0.5, style 0.05" in drawn.get("aria-label")) == (n > 0)
    assert [e.get("class") for e in drawn.iter()].count("nst-tick") == (n >= 3)


def test_the_chart_is_logarithmic_and_tells_lines_apart_without_colour():
    content, style, tv = heights(panel_chart.draw_chart(evaluations(5, content=1.0, style=0.1, tv=0.01)))
    assert style - content == pytest.approx(tv - style, abs=0.2)
    assert content < style < tv
    assert len(set(panel_chart.DASHES.values())) == 3
    svg = panel_chart.draw_chart(evaluations(5, content=0.1, style=0.1, tv=0.1))
    at = sorted(float(e.get("y")) for e in ET.fromstring(svg).iter("text") if e.get("class") == "nst-name")
    assert min(b - a for a, b in itertools.pairwise(at)) >= 12


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 1e-30, 1e30])
def test_the_chart_draws_what_has_a_logarithm_within_its_frame(value):
    drawn = list(ET.fromstring(panel_chart.draw_chart(evaluations(4, content=value))).iter("polyline"))
    assert len(drawn) == (3 if math.isfinite(value) and value > panel_chart.FLOOR else 2)
    for line in drawn:
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= panel_chart.WIDTH
            assert 0 <= y <= panel_chart.HEIGHT


def test_the_colours_of_the_sheet_are_those_of_the_chart():
    css = panel_widgets.CSS.read_text("utf-8")
    for name, colour in panel_chart.COLOURS.items():
        assert f"--{name}:{colour}" in css


@pytest.mark.parametrize("name", ["a\nb.png", "x" * 5000 + ".png", ""])
def test_an_upload_that_is_no_picture_is_named_in_one_short_sentence(name):
    upload = SimpleNamespace(value=({"name": name, "content": b"no picture"},))
    with pytest.raises(nst.ImageError) as caught:
        uploaded_pictures(upload)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
