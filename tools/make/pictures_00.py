"""Draw the picture at the head of lesson 00, the lesson's own pair with more pixels and steps.

python tools/make/pictures_00.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import nst_helpers as nst

IMAGE = Path(__file__).resolve().parents[2] / "notebooks" / "images" / "00_quickstart.jpg"
SIZE, STEPS, WIDTH = 256, 150, 320


def main() -> None:
    content = nst.load_sample("temple", size=SIZE)
    style = nst.load_sample("stained_glass", size=2 * SIZE)
    result = nst.stylize(content, style, steps=STEPS, precision="float32", device="cpu").image
    size = (round(WIDTH * content.shape[-2] / content.shape[-1]), WIDTH)
    # The middle of the window, in the shape of the photo.
    row = [content, nst.resize(style, content.shape[-2:], crop=True), result]
    strip = Image.new("RGB", (3 * WIDTH + 12, size[0]), "white")
    for i, image in enumerate(row):
        array = nst.lessons.to_array(nst.resize(image, size))
        strip.paste(Image.fromarray(array), (i * (WIDTH + 6), 0))
    strip.save(IMAGE, quality=85, optimize=True)


if __name__ == "__main__":
    main()
