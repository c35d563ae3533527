"""The soak in short, and what the tools around the panel compute."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import busy
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools" / part) for part in ("notebooks", "measure", "make")]

import jupyter_lab  # noqa: E402
import panel as measure_panel  # noqa: E402
import panel_gif  # noqa: E402

# The page says "painting" before the kernel has made a step; on a busy machine, long before.
LATE = """import sys, time
import nst_helpers.live.panel
Panel = sys.modules["nst_helpers.live.panel"].Panel
tick, heard = Panel._tick, []
def late(self, change):
    heard.append(time.monotonic())
    if heard[-1] > heard[0] + 1:
        tick(self, change)
Panel._tick = late
"""


@pytest.mark.slow
@pytest.mark.skipif(jupyter_lab.find_browser() is None, reason="no Chromium is installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_short_soak_loses_nothing_overlaps_nothing_and_does_not_grow(lab, tmp_path, capsys, monkeypatch):
    """Times are held loosely: other work may keep the machine busy. The first step is late, and no press is lost."""
    brief = measure_panel.CELL.replace("seconds=4", "seconds=0.5")
    assert brief != measure_panel.CELL
    monkeypatch.setattr(measure_panel, "CELL", LATE + brief)
    out = tmp_path / "figures.json"
    arguments = ["--minutes", "0.07", "--moves", "5", "--size", "96", "--json", str(out)]
    assert measure_panel.main(arguments, server=lab) == 0
    figures = json.loads(out.read_text("utf-8"))
    assert figures["slider moves"] >= 4
    assert figures["lost values"] == 0
    assert figures["most steps at once"] == 1
    assert figures["console errors"] == 0
    assert figures["kernel memory growth MB"] < 50
    assert figures["key press to a step with the new value, median s"] < 1.5 * busy()
    assert figures["pause: last step ended after s"] < 2 * busy()
    assert figures["evaluations a second"] > 0.3 * figures["evaluations a second, session alone"]
    assert "evaluations a second" in capsys.readouterr().out


def test_a_latency_is_from_the_press_to_the_first_step_with_another_weight():
    made = [(1.0, 100.0, 1), (1.2, 100.0, 1), (1.5, 112.0, 1), (1.7, 112.0, 1), (2.4, 126.0, 1)]
    waits, lost = measure_panel.latencies([1.1, 2.0], made)
    assert waits == pytest.approx([0.4, 0.4])
    assert lost == 0
    assert measure_panel.latencies([1.1, 2.0, 2.3], made)[1] == 1


def test_a_panel_that_makes_no_step_is_told_of(tmp_path):
    (tmp_path / "steps.txt").write_text("", "utf-8")
    with pytest.raises(TimeoutError, match="no step"):
        measure_panel.first_step(tmp_path, patience=0.1)
    (tmp_path / "steps.txt").write_text("1.5 100 1\n", "utf-8")
    measure_panel.first_step(tmp_path, patience=0.1)


def test_thinned_frames_last_as_long_as_all_of_them():
    frames = [(Image.new("RGB", (8, 8), (i, 0, 0)), 100 + i) for i in range(9)]
    for n in (2, 4, 9):
        kept = panel_gif.thin(frames, n)
        assert len(kept) == n
        assert sum(d for _, d in kept) == sum(d for _, d in frames)
        assert (kept[0][0], kept[-1][0]) == (frames[0][0], frames[-1][0])


def test_a_gif_shows_its_frames(tmp_path):
    """Different heights on one paper, near colours left as they are, each frame for its time."""
    frames = [(Image.new("RGB", (80, h), colour), 300) for h, colour in ((60, "gold"), (90, "teal"), (90, "gold"))]
    size = panel_gif.write(frames, tmp_path / "film.gif", width=40)
    assert size == (tmp_path / "film.gif").stat().st_size < 5000
    seen = []
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size) == (3, (40, 45))
        for i in range(3):
            film.seek(i)
            seen.append(film.convert("RGB").getpixel((20, 15)))
            assert film.info["duration"] == 300
    assert seen == [pytest.approx(c, abs=8) for c in ((255, 215, 0), (0, 128, 128), (255, 215, 0))]
