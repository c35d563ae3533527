"""A student's page: the points, and for each answer a sentence and the student's own code beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from .pages import bar, page
from .questions import Question

__all__ = ["feedback", "totals"]


def totals(rows: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """The points, the maximum of what has been marked, and the maximum of what a person has still to read."""
    done = [row for row in rows if row["points"] is not None]
    waiting = sum(row["maximum"] for row in rows if row["points"] is None)
    return sum(r["points"] for r in done), sum(r["maximum"] for r in done), waiting


def feedback(result: dict[str, Any], questions: Mapping[str, Question]) -> str:
    """The page as HTML."""
    points, maximum, waiting = totals(result["rows"])
    lead = f"<p class=score><b>{points:g}</b> of {maximum:g} points</p>{bar(points / maximum if maximum else 0)}"
    if waiting:
        lead += f"<p class=quiet>{waiting:g} more points are for your written answers, which a person reads.</p>"
    cards, lesson = [], ""
    for row in result["rows"]:
        question = questions[row["question"]]
        if question.lesson != lesson:
            lesson = question.lesson
            mine = [r for r in result["rows"] if questions[r["question"]].lesson == lesson]
            got, most, still = totals(mine)
            more = f", {still:g} more to be read" if still else ""
            cards.append(f"<h2>Lesson {lesson}<span>{got:g} / {most:g}{more}</span></h2>")
        cards.append(_card(row, question))
    lines = [*result["accidents"], *result["notes"]]
    if lines:
        items = "".join(f"<li>{html.escape(sentence(line))}</li>" for line in lines)
        cards.append(f"<h2>About your files</h2><ul class=notes>{items}</ul>")
    return page(f"Your work, {result['student']}", lead + "".join(cards))


def _card(row: dict[str, Any], question: Question) -> str:
    if row["points"] is None:
        kind, badge, text = "open", f"? / {row['maximum']:g}", "Your answer will be read by a person."
    elif row["points"] >= row["maximum"]:
        text = row["reason"] or "All tests passed."
        kind, badge = "right", f"{row['points']:g} / {row['maximum']:g}"
    else:
        kind = "part" if row["points"] else "wrong"
        badge, text = f"{row['points']:g} / {row['maximum']:g}", row["reason"]
    parts = [f"<h3>{html.escape(question.title)}<span>{badge}</span></h3><p>{html.escape(sentence(text))}</p>"]
    parts += [f"<p class=comment>{html.escape(comment)}</p>" for comment in row.get("comments", ())]
    if row["code"].strip() and kind in ("part", "wrong"):
        shown = row["code"].strip("\n")
        shown = shown if len(shown) <= 4000 else shown[:4000] + "\n..."
        parts.append(f"<pre>{html.escape(shown)}</pre>")
    return f"<section class={kind}>{''.join(parts)}</section>"


def sentence(text: str) -> str:
    """A line as a sentence: with a capital, unless it begins with a name of code."""
    text = text.strip()
    return text[:1].upper() + text[1:] if " " in text.split("_")[0] else text
