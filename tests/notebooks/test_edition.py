"""The suite as a whole: short enough to finish, predictions that can't be guessed by their letter, terms before use."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from stored_pictures import pictures_of

from nst_helpers import list_samples
from nst_helpers.classroom import texts

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

from notebook_setup import DATA_URI  # noqa: E402
from reading_time import all_lessons, words_of  # noqa: E402

LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(NOTEBOOKS.glob("0[0-7]_*.ipynb"))}
TIMES = all_lessons()
EXTRA = "07_control"  # comes on top of the seven
MOST_WORDS, MOST_CELLS, MOST_MINUTES = 17_000, 480, 280
MOST_EXTRA_CELLS, MOST_EXTRA_MINUTES = 70, 45
SHORTEST_SIDE = 160
# Each is explained, in bold, in the cell of its first use or in one before it.
TERMS = (
    "tensor", "channel", "batch", "layer", "feature map", "encoder", "convolution", "ReLU", "pooling",
    "receptive field", "content loss", "Gram matrix", "style loss", "style weight", "total variation", "loss layer",
    "closure", "evaluation", "learning rate", "L-BFGS", "Adam", "session", "snapshot", "recipe",
)  # fmt: skip


def prose(name: str) -> list[str]:
    """A lesson's Markdown cells after its title, without links' addresses, folds' marks and code."""
    cells = [cell.source for cell in LESSONS[name].cells[1:] if cell.cell_type == "markdown"]
    return [re.sub(r"\]\([^)]*\)|<[^>]+>|`[^`\n]*`|\$\$.+?\$\$|\$[^$\n]+\$", " ", text, flags=re.S) for text in cells]


def test_the_seven_lessons_can_be_finished():
    seven = [time for name, time in TIMES.items() if name != EXTRA]
    assert len(seven) == 7
    assert sum(time.words for time in seven) <= MOST_WORDS
    assert sum(time.cells for time in seven) <= MOST_CELLS
    assert sum(time.minutes for time in seven) <= MOST_MINUTES


def test_so_can_the_one_on_top():
    assert TIMES[EXTRA].cells <= MOST_EXTRA_CELLS
    assert TIMES[EXTRA].minutes <= MOST_EXTRA_MINUTES


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_and_the_readme_say_how_long_it_takes(name):
    minutes = TIMES[name].minutes
    assert re.search(rf"^Time: about {minutes} min\b", LESSONS[name].cells[0].source, re.M)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith("|") and f"notebooks/{name}.ipynb)" in line]
    assert f"| {minutes} |" in row


def right_letters() -> list[str]:
    return [m for name in LESSONS for text in prose(name) for m in re.findall(r"^\*\*([A-D])\.\*\*", text, re.M)]


def test_no_letter_is_a_good_guess():
    counts = Counter(right_letters())
    assert sum(counts.values()) >= 14
    assert set("ABC") <= set(counts)
    assert max(counts.values()) <= 0.42 * sum(counts.values())
    assert min(counts[letter] for letter in "ABC") >= 0.22 * sum(counts.values())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_where_it_first_appears(term):
    words = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", 0 if term[0].isupper() else re.I)
    for name in LESSONS:
        for text in prose(name):
            if words.search(text):
                assert re.search(rf"\*\*{words.pattern}\*\*", text, words.flags), f"{name}: {text[:80]!r}"
                return
    raise AssertionError(f"{term} appears in no lesson")


@pytest.mark.parametrize("name", LESSONS)
def test_nothing_is_shown_too_small(name):
    """Pictures of pictures: every photo-like output, stored as a JPEG, and those in the text have room for panels."""
    small = []
    for cell in LESSONS[name].cells:
        for found in DATA_URI.finditer(cell.source):
            size = Image.open(io.BytesIO(base64.b64decode(found[1]))).size
            small += [(cell.id, size)] if min(size) < SHORTEST_SIDE else []
        for output in cell.get("outputs", []):
            for picture in pictures_of(output):
                size = Image.open(io.BytesIO(picture.data)).size
                small += [(cell.id, size)] if picture.kind == "jpeg" and min(size) < SHORTEST_SIDE else []
    assert small == []


def test_the_first_picture_has_the_prettier_setting():
    """The style at double size: large strokes, where its own size made the first picture busy."""
    first = next(cell.source for cell in LESSONS["00_quickstart"].cells if "nst.stylize(" in cell.source)
    assert re.search(
        r"content = nst.load_sample\(.+, size=SIZE\)\nstyle = nst.load_sample\(.+, size=2 \* SIZE\)", first
    )


def test_stored_pictures_are_light():
    heavy = {p.name: p.stat().st_size for p in (NOTEBOOKS / "images").glob("0*.jpg") if p.stat().st_size > 150_000}
    assert heavy == {}


def test_claims_show_their_numbers():
    claims = [
        line for nb in LESSONS.values() for c in nb.cells for line in c.source.splitlines() if "nst.claim(" in line
    ]
    assert len(claims) >= 30


# Where each photo and each style is seen as a result: lesson, cell, and what the cell calls it.
RESULTS = {
    "temple": ("00_quickstart", "first", "temple"),
    "cat": ("02_content", "two-pictures", "cat"),
    "coffee": ("06_live_tuning", "wall", "coffee"),
    "astronaut": ("06_live_tuning", "wall", "astronaut"),
    "portrait": ("06_live_tuning", "wall", "portrait"),
    "street": ("07_control", "stroke", "street"),
    "colosseum": ("05_optimizers", "hand-model", "Colosseum"),
    "dune": ("00_quickstart", "pair", "dune"),
    "otter": ("01_images", "paint-picture", "otter"),
    "bridge": ("07_control", "mend", "bridge"),
    "night_swirls": ("00_quickstart", "mine", "night_swirls"),
    "wave": ("04_model", "ladder", "wave"),
    "pointillism": ("06_live_tuning", "wall", "pointillism"),
    "stained_glass": ("00_quickstart", "first", "stained_glass"),
    "mosaic": ("06_live_tuning", "wall", "mosaic"),
    "cutouts": ("00_quickstart", "pair", "cutouts"),
    "ink_wash": ("04_model", "wall", "ink_wash"),
    "linocut": ("06_live_tuning", "wall", "lino"),
    "crayon": ("07_control", "open", "crayon"),
    "marbling": ("06_live_tuning", "ex-6-2", "marbling"),
    "discs": ("07_control", "mend", "discs"),
}


@pytest.mark.parametrize("name", list_samples("content") + list_samples("style"))
def test_every_picture_of_the_course_becomes_a_result(name):
    lesson, where, called = RESULTS[name]
    (cell,) = [cell for cell in LESSONS[lesson].cells if cell.id == where]
    assert re.search(rf"\b{called}\b", cell.source)
    drawn = [picture for output in cell.get("outputs", []) for picture in pictures_of(output)]
    assert drawn or "](data:image/jpeg" in cell.source


def test_the_classroom_kit_finds_the_sentences_that_it_replaces():
    """The build stops at a lost one, and takes a minute to get there."""
    said = "\n".join(cell.source for nb in LESSONS.values() for cell in nb.cells if cell.cell_type == "markdown")
    lost = {name: old for name, pairs in texts._INSTEAD.items() for old, _ in pairs if old not in said}
    assert lost == {}


def test_the_counter_counts():
    """The oracle: a text whose words were counted by hand."""
    assert words_of("Seven short words are in this line.") == 7
