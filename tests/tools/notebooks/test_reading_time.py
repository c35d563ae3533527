"""Words, lines and minutes of a lesson, against counts by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import reading_time as tool  # noqa: E402


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One two-part word, isn't it?", 5),
        ('![a cat](data:image/jpeg;base64,AAAA/BBB+CC== "cat.jpg") follows', 3),
        ("The sum $\\sum_i x_i^2$ and\n\n$$a + b$$\n\nno more", 5),
        ('Run `nst.show_solution("gram_matrix")` now', 3),
        ("<details><summary>Hint 1</summary>\n\nThink.\n\n</details>", 3),
        ("| a | 2.5 |\n|---|---|", 2),
    ],
)
def test_words_are_what_is_read(text, count):
    assert tool.words_of(text) == count


def test_minutes_are_reading_code_and_exercises():
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell("word " * 900),  # 5 min
        v4.new_code_cell("x = 1\n\n" * 45, id="a"),  # 45 lines that are not empty: 3 min
        v4.new_code_cell("ignored = 1\n" * 450, id="setup"),
        v4.new_markdown_cell("### Exercise 3.1 · gram_matrix ★★☆ · 12 min · 3 points"),
    ]
    found = tool.reading_time(v4.new_notebook(cells=cells))
    assert (found.cells, found.code_lines, found.exercise_minutes, found.minutes) == (4, 45, 12, 20)


def test_every_lesson_is_counted():
    assert list(tool.all_lessons()) == sorted(path.stem for path in (ROOT / "notebooks").glob("0*.ipynb"))
