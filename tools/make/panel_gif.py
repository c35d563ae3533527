"""Make the picture of the live panel in use: notebooks/images/panel.gif, from screenshots of a real JupyterLab.

    python tools/make/panel_gif.py [--out FILE] [--width 820]

Painting starts, the style weight is turned down and up again, a snapshot is kept, the photo is looked at. Needs a
Chromium, as the browser tests do. As many frames are kept as fit into a megabyte.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from nst_helpers.live.chart import COLOURS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

from jupyter_lab import browse, find_browser, run_all, serve, write_notebook  # noqa: E402

LARGEST = 1_000_000
CELL = """import nst_helpers as nst
session = nst.StyleSession("temple", "night_swirls")
nst.panel(session)"""


class Film:
    """Screenshots of the panel, each with the milliseconds it is shown for."""

    def __init__(self, page: Any) -> None:
        self.page, self.frames = page, []

    def take(self, milliseconds: int = 250, times: int = 1, wait: float = 0.0) -> None:
        for _ in range(times):
            time.sleep(wait)
            shot = self.page.locator(".nst-panel").first.screenshot()
            self.frames.append((Image.open(io.BytesIO(shot)).convert("RGB"), milliseconds))


def act(page: Any) -> list[tuple[Image.Image, int]]:
    """A person at the panel."""
    film, play = Film(page), page.locator(".nst-panel .widget-play button").first
    style = page.locator(".nst-panel .widget-hslider .noUi-handle").nth(1)
    film.take(900)
    play.click()
    film.take(times=8, wait=0.15)
    film.take(times=6, wait=0.6)
    page.click(".nst-panel button:has-text('Snapshot')")
    film.take(500, wait=0.8)
    for key, presses in (("ArrowLeft", 26), ("ArrowLeft", 14)):
        style.focus()
        for i in range(presses):
            page.keyboard.press(key)
            time.sleep(0.05)
            if i % 4 == 3:
                film.take()
    film.take(times=7, wait=0.7)
    page.click(".nst-panel button:has-text('Snapshot')")
    film.take(600, wait=0.8)
    page.locator(".nst-source select").nth(1).select_option("mosaic")
    film.take(times=3, wait=0.5)
    style.focus()
    for i in range(32):
        page.keyboard.press("ArrowRight")
        time.sleep(0.05)
        if i % 5 == 4:
            film.take()
    film.take(times=9, wait=0.7)
    page.click(".nst-panel button:has-text('Snapshot')")
    film.take(900, wait=0.8)
    play.click()
    film.take(2200, wait=0.8)
    return film.frames


def write(frames: list[tuple[Image.Image, int]], path: Path, *, width: int, colours: int = 96) -> int:
    """Frames as a GIF of that width; returns its size in bytes.

    Where a pixel hardly differs from what is on the screen already, the frame is transparent: painted pictures change
    a little everywhere, and would take ten times the space. The controls are kept exact.
    """
    pages = [_page(frame, max(f.height for f, _ in frames), width) for frame, _ in frames]
    # One palette, from the first, a middle and the last frame: a palette of its own for each would flicker.
    sheet = Image.new("RGB", (width, 3 * pages[0].height))
    for i, page in enumerate((pages[0], pages[len(pages) // 2], pages[-1])):
        sheet.paste(page, (0, i * page.height))
    # The panel's own colours are in it exactly, whatever the paintings take of the rest.
    own = [
        ImageColor.getrgb(c) for c in (*COLOURS.values(), "#23272d", "#666d76", "#dfdcd6", "#fbfaf8", "#efede8", "#fff")
    ]
    found = sheet.quantize(colours - len(own), method=Image.Quantize.MEDIANCUT).getpalette()[: 3 * (colours - len(own))]
    table = np.array([*found, *itertools.chain(*own)]).reshape(-1, 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette(table.flatten().tolist())
    painted, screen = [], None
    for page in pages:
        wanted, pixels = np.array(page).astype(int), np.array(page.quantize(palette=palette, dither=Image.Dither.NONE))
        if screen is not None:
            near = np.abs(wanted - screen).max(2)
            close = near <= np.where(_is_painting(near.shape), 30, 6)
            pixels = np.where(close, colours, pixels).astype(np.uint8)
            screen = np.where(close[..., None], screen, table[pixels % colours])
        else:
            screen = table[pixels]
        painted.append(Image.fromarray(pixels, "P"))
        painted[-1].putpalette([*table.flatten().tolist(), 255, 0, 255])
    durations = [milliseconds for _, milliseconds in frames]
    options = {"duration": durations, "loop": 0, "transparency": colours, "disposal": 1, "optimize": False}
    painted[0].save(path, save_all=True, append_images=painted[1:], **options)
    return path.stat().st_size


def _page(frame: Image.Image, height: int, width: int) -> Image.Image:
    paper = Image.new("RGB", (frame.width, height), "white")
    paper.paste(frame, (0, 0))
    return paper.resize((width, round(height * width / frame.width)), Image.Resampling.LANCZOS)


def _is_painting(shape: tuple[int, int]) -> np.ndarray:
    """Where the picture stands on the panel, as shares of its width."""
    rows, columns = np.indices(shape) / shape[1]
    return (columns > 0.02) & (columns < 0.585) & (rows > 0.115) & (rows < 0.495)


def thin(frames: list[tuple[Image.Image, int]], n: int) -> list[tuple[Image.Image, int]]:
    """N of the frames, evenly, the first and the last among them; each is shown for as long as those it stands for."""
    kept = sorted({round(i * (len(frames) - 1) / (n - 1)) for i in range(n)})
    ends = [*kept[1:], len(frames)]
    return [(frames[i][0], sum(d for _, d in frames[i:end])) for i, end in zip(kept, ends, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "notebooks" / "images" / "panel.gif")
    parser.add_argument("--width", type=int, default=820)
    options = parser.parse_args(arguments)
    if find_browser() is None:
        parser.error("no Chromium is installed")
    with tempfile.TemporaryDirectory(prefix="nst-panel-") as name:
        write_notebook(Path(name) / "live.ipynb", CELL)
        with serve(Path(name)) as address, browse(address, "live.ipynb", height=1300) as page:
            run_all(page)
            page.wait_for_function("() => document.querySelector('.nst-stage img').naturalWidth > 0")
            frames = act(page)
    n, size = min(40, len(frames)), LARGEST + 1
    while size > LARGEST and n >= 8:
        kept = thin(frames, n)
        size = write(kept, options.out, width=options.width)
        n = min(n - 1, round(n * LARGEST / size))
    print(f"{options.out.name}: {len(kept)} frames, {options.width} px wide, {size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
