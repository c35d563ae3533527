"""How long each lesson takes: words, cells and minutes, counted from the notebook itself.

    python tools/notebooks/reading_time.py      a table of all lessons

Minutes are words / 180 for reading, lines of code / 15 for reading and running them, and the minutes that the titles of
the exercises state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WORDS_A_MINUTE, LINES_A_MINUTE = 180, 15
# What is no prose: embedded pictures, addresses, HTML and formulas.
NO_PROSE = re.compile(r"data:image/\S+|\]\([^)]*\)|<[^>]+>|\$\$.+?\$\$|\$[^$\n]+\$", re.S)
CODE_SPAN = re.compile(r"`[^`\n]+`")  # counts as one word
EXERCISE = re.compile(r"^#{2,4} Exercise [^\n]*?(\d+) min", re.M)


@dataclass(frozen=True)
class ReadingTime:
    """What a lesson asks for."""

    words: int
    cells: int
    code_lines: int
    exercise_minutes: int

    @property
    def minutes(self) -> int:
        """Minutes to read and do, to the next five."""
        exact = self.words / WORDS_A_MINUTE + self.code_lines / LINES_A_MINUTE + self.exercise_minutes
        return 5 * max(1, round(exact / 5))


def words_of(text: str) -> int:
    """The words of a Markdown text.

    >>> words_of("A *Gram* matrix, `gram_matrix(x)`, has $C$ rows; see [lesson 3](03_gram.ipynb).")
    9
    """
    return len(re.findall(r"[^\W_]+(?:[-’'.][^\W_]+)*", NO_PROSE.sub(" ", CODE_SPAN.sub(" code ", text))))


def reading_time(notebook: NotebookNode) -> ReadingTime:
    """Count a lesson."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.get("id") != "setup"]
    return ReadingTime(
        words=sum(map(words_of, prose)),
        cells=len(notebook.cells),
        code_lines=sum(bool(line.strip()) for source in code for line in source.splitlines()),
        exercise_minutes=sum(int(minutes) for text in prose for minutes in EXERCISE.findall(text)),
    )


def all_lessons() -> dict[str, ReadingTime]:
    """Every lesson by its name."""
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return {path.stem: reading_time(nbformat.read(path, as_version=4)) for path in paths}


def main() -> None:
    lessons = all_lessons()
    print(f"{'lesson':18} {'words':>7} {'cells':>6} {'code lines':>11} {'exercises':>10} {'minutes':>8}")
    for name, it in lessons.items():
        print(f"{name:18} {it.words:7} {it.cells:6} {it.code_lines:11} {it.exercise_minutes:6} min {it.minutes:8}")
    whole = [sum(getattr(it, key) for it in lessons.values()) for key in ("words", "cells", "code_lines", "minutes")]
    print(f"{'together':18} {whole[0]:7} {whole[1]:6} {whole[2]:11} {'':10} {whole[3]:8}")


if __name__ == "__main__":
    main()
