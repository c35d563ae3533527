"""What comes out of marking: marks.csv, a page for each student, and a report on the class."""

from __future__ import annotations

import csv
import html
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import personal
from .pages import bar, histogram, page, slug_of
from .questions import Question
from .written import WRITTEN, numbers_in

__all__ = ["write_reports"]


def write_reports(
    folder: Path,
    out: Path,
    questions: Sequence[Question],
    results: Sequence[dict[str, Any]],
    *,
    by_hand: Mapping[tuple[str, str], float],
    own: bool,
    loose: Sequence[str] = (),
) -> None:
    """Write `out` (marks.csv), `folder/feedback/STUDENT.html` and `folder/report.html`: same input, same files."""
    for result in results:
        for row in result["rows"]:
            given = by_hand.get((result["student"], row["question"]))
            if given is not None:
                row["points"], row["reason"] = given, "Marked by hand."
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "question", "points", "maximum", "reason"])
        for result in results:
            for row in result["rows"]:
                points = "" if row["points"] is None else f"{row['points']:g}"
                # A cell that begins with =, +, - or @ would be a formula to a spreadsheet.
                shown = [_harmless(text) for text in (result["student"], row["question"])]
                table.writerow([*shown, points, f"{row['maximum']:g}", _harmless(row["reason"])])
    pages = folder / "feedback"
    pages.mkdir(exist_ok=True)
    by_name = {q.name: q for q in questions}
    for result in results:
        (pages / f"{slug_of(result['student'])}.html").write_text(_feedback(result, by_name), encoding="utf-8")
    (folder / "report.html").write_text(_report(questions, results, own=own, loose=loose), encoding="utf-8")


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _totals(result: dict[str, Any]) -> tuple[float, float, float]:
    """The points, the maximum so far, and what is still to be read by a person."""
    rows = result["rows"]
    done = [row for row in rows if row["points"] is not None]
    open_points = sum(row["maximum"] for row in rows if row["points"] is None)
    return sum(r["points"] for r in done), sum(r["maximum"] for r in done), open_points


def _feedback(result: dict[str, Any], questions: Mapping[str, Question]) -> str:
    points, maximum, waiting = _totals(result)
    lead = f"<p class=score><b>{points:g}</b> of {maximum:g} points</p>{bar(points / maximum if maximum else 0)}"
    if waiting:
        lead += f"<p class=quiet>{waiting:g} more points are for your written answers, which a person reads.</p>"
    cards, lesson = [], ""
    for row in result["rows"]:
        question = questions[row["question"]]
        if question.lesson != lesson:
            lesson = question.lesson
            rows = [r for r in result["rows"] if questions[r["question"]].lesson == lesson]
            got, most = sum(r["points"] or 0 for r in rows), sum(r["maximum"] for r in rows)
            cards.append(f"<h2>Lesson {lesson}<span>{got:g} / {most:g}</span></h2>")
        cards.append(_card(row, question))
    if result["notes"]:
        lines = "".join(f"<li>{html.escape(_sentence(note))}</li>" for note in result["notes"])
        cards.append(f"<h2>About your files</h2><ul class=notes>{lines}</ul>")
    return page(f"Your work, {result['student']}", lead + "".join(cards))


def _card(row: dict[str, Any], question: Question) -> str:
    if row["points"] is None:
        kind, badge, told = "open", f"? / {row['maximum']:g}", "Your answer will be read by a person."
    elif row["points"] == row["maximum"]:
        told = "Marked by a person." if row["reason"] == "Marked by hand." else "All tests passed."
        kind, badge = "right", f"{row['points']:g} / {row['maximum']:g}"
    else:
        kind = "part" if row["points"] else "wrong"
        badge, told = f"{row['points']:g} / {row['maximum']:g}", row["reason"]
    title = html.escape(question.title)
    return f"<section class={kind}><h3>{title}<span>{badge}</span></h3><p>{html.escape(_sentence(told))}</p></section>"


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] if " " in text.split("_")[0] else text


def _report(
    questions: Sequence[Question], results: Sequence[dict[str, Any]], *, own: bool, loose: Sequence[str]
) -> str:
    totals = [_totals(result) for result in results]
    shares = [points / maximum for points, maximum, _ in totals if maximum]
    parts = [f"<p class=quiet>{len(results)} hand-ins, {sum(q.points for q in questions):g} points at most.</p>"]
    if shares:
        middle = sorted(points for points, *_ in totals)[len(totals) // 2]
        parts.append(f"<h2>Points</h2>{histogram(shares)}<p class=quiet>The middle one has {middle:g} points.</p>")
    parts.append(_by_question(questions, results))
    parts.append(_mistakes(results))
    parts.append(_accidents(results, loose))
    parts.append(_by_student(results, totals))
    parts.append(_to_read(questions, results, own=own))
    return page("The class", "".join(parts))


def _by_question(questions: Sequence[Question], results: Sequence[dict[str, Any]]) -> str:
    lines = []
    for question in (q for q in questions if not q.written):
        got = [row["points"] for r in results for row in r["rows"] if row["question"] == question.name]
        share = sum(got) / (question.points * len(got)) if got else 0
        full = sum(points == question.points for points in got)
        lines.append(
            f"<tr><td>{html.escape(question.title)}<td class=n>{full} of {len(got)} full<td class=wide>{bar(share)}"
        )
    return f"<h2>Questions</h2><table>{''.join(lines)}</table>"


def _mistakes(results: Sequence[dict[str, Any]]) -> str:
    """The commonest mistakes by their signature, each with one sentence as it was told."""
    counts: Counter[tuple[str, str]] = Counter()
    told: dict[tuple[str, str], str] = {}
    who: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        for row in result["rows"]:
            if row["mistake"] and row["mistake"] not in ("to-do", "not-handed-in", "missing"):
                key = (row["question"], row["mistake"])
                counts[key] += 1
                told.setdefault(key, row["reason"])
                who[key].append(result["student"])
    if not counts:
        return "<h2>Commonest mistakes</h2><p>None.</p>"
    lines = [
        f"<tr><td class=n>{count}<td>{html.escape(key[0])}<br><code>{html.escape(key[1])}</code>"
        f"<td>{html.escape(told[key])}"
        f"<br><span class=quiet>{html.escape(', '.join(who[key][:8]))}{' …' if len(who[key]) > 8 else ''}</span>"
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    ]
    return f"<h2>Commonest mistakes</h2><table>{''.join(lines)}</table>"


def _accidents(results: Sequence[dict[str, Any]], loose: Sequence[str]) -> str:
    lines = [
        f"<tr><td class=who>{html.escape(result['student'])}<td>{html.escape(text)}"
        for result in results
        for text in (*result["accidents"], *result["notes"])
    ]
    lines += [f"<tr><td class='who quiet'>nobody<td>{html.escape(text)}" for text in loose]
    body = f"<table>{''.join(lines)}</table>" if lines else "<p>None.</p>"
    return f"<h2>Accidents and files to look at</h2>{body}"


def _by_student(results: Sequence[dict[str, Any]], totals: Sequence[tuple[float, float, float]]) -> str:
    lines = [
        f"<tr><td><a href='feedback/{slug_of(r['student'])}.html'>{html.escape(r['student'])}</a>"
        f"<td class=n>{points:g} of {maximum:g}<td class=wide>{bar(points / maximum if maximum else 0)}"
        for r, (points, maximum, _) in zip(results, totals, strict=True)
    ]
    return f"<h2>Students</h2><table>{''.join(lines)}</table>"


def _to_read(questions: Sequence[Question], results: Sequence[dict[str, Any]], *, own: bool) -> str:
    """The written answers with the numbers that each student's cell printed for right functions, and the scheme."""
    parts = []
    for question in (q for q in questions if q.written):
        written = WRITTEN[question.lesson]
        scheme = "".join(f"<li>{html.escape(line[2:])}</li>" for line in written.marking(question.points).splitlines())
        expected = {r["student"]: _expected(question, r["student"], own=own) for r in results if _given(r, question)}
        owners = defaultdict(set)
        for student, text in expected.items():
            for number in numbers_in(text):
                owners[number].add(student)
        lines = []
        for result in (r for r in results if _given(r, question)):
            student, answer = result["student"], result["answers"].get(question.name, "")
            hint = f"right numbers: {html.escape(expected[student])}"
            if own:
                cited = numbers_in(answer)
                others = {o for n in cited - numbers_in(expected[student]) for o in owners.get(n, ())} - {student}
                if others:
                    hint += f"<br><b>quotes the numbers of {html.escape(', '.join(sorted(others)))}</b>"
                elif not cited & numbers_in(expected[student]):
                    hint += "<br><b>quotes none of them</b>"
            lines.append(
                f"<tr><td>{html.escape(student)}<td><p class=answer>{html.escape(answer)}</p><small>{hint}</small>"
            )
        body = f"<table>{''.join(lines)}</table>" if lines else "<p>Nobody has answered.</p>"
        asked = html.escape(written.question)
        head = f"<h3>{html.escape(question.title)}, {question.points:g} points</h3><p>{asked}</p><ul>{scheme}</ul>"
        parts.append(f"<details><summary>{question.name}: {len(lines)} to read</summary>{head}{body}</details>")
    return f"<h2>To be read by you</h2>{''.join(parts) or '<p>Nothing.</p>'}"


def _given(result: dict[str, Any], question: Question) -> bool:
    return any(
        row["question"] == question.name and (row["points"] is None or row["reason"] == "Marked by hand.")
        for row in result["rows"]
    )


_known: dict[tuple, str] = {}


def _expected(question: Question, student: str, *, own: bool) -> str:
    drawn = personal.values(student) if own else personal.COMMON
    if (key := (question.lesson, *drawn)) not in _known:
        _known[key] = WRITTEN[question.lesson].expected(*drawn)
    return _known[key]
