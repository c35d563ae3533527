"""What comes out of marking: marks.csv, a page for each student, and a report on the class."""

from __future__ import annotations

import csv
import html
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.atomic import write_whole
from . import personal
from .box.server import LIMITS, NAMESPACES
from .collecting import missing
from .feedback import feedback, totals
from .gradebook import ByHand
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
    given: Mapping[tuple[str, str], ByHand],
    own: bool,
    loose: Sequence[str] = (),
    roster: Sequence[tuple[str, set[str]]] = (),
) -> None:
    """Write `out` (marks.csv), `folder/feedback/STUDENT.html` and `folder/report.html`: same input, same files.

    `given` is what people have given in formgrader, `own` whether each student has a seed, `loose` has a sentence for
    each file that is nobody's, and `roster` lists who should have handed in.
    """
    for result in results:
        for row in result["rows"]:
            _take_over(row, given.get((result["student"], row["question"])))
    absent, strangers = missing(roster, [r["student"] for r in results]) if roster else ([], [])
    _write_table(out, results, absent)
    pages = folder / "feedback"
    pages.mkdir(exist_ok=True)
    by_name = {q.name: q for q in questions}
    for result in results:
        write_whole(pages / f"{slug_of(result['student'])}.html", feedback(result, by_name).encode())
    report = _report(questions, results, own=own, loose=loose, absent=absent, strangers=strangers)
    write_whole(folder / "report.html", report.encode())


def _take_over(row: dict[str, Any], given: ByHand | None) -> None:
    """Let a person's points, extra points and comments count."""
    if given is None:
        return
    row["comments"] = given.comments
    if given.points is not None:
        row["points"], row["reason"] = given.points, "Marked by hand."
    if given.extra and row["points"] is not None:
        row["points"] += given.extra
        row["reason"] = f"{row['reason']} {given.extra:g} extra.".strip()


def _write_table(out: Path, results: Sequence[dict[str, Any]], absent: Sequence[str]) -> None:
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(["student", "question", "points", "maximum", "reason"])
    for result in results:
        for row in result["rows"]:
            points = "" if row["points"] is None else f"{row['points']:g}"
            # A cell that begins with =, +, - or @ would be a formula to a spreadsheet.
            shown = [_harmless(text) for text in (result["student"], row["question"])]
            table.writerow([*shown, points, f"{row['maximum']:g}", _harmless(row["reason"])])
        reached, most, waiting = totals(result["rows"])
        remark = f"{waiting:g} points are still to be read by a person." if waiting else ""
        table.writerow([_harmless(result["student"]), "total", f"{reached:g}", f"{most + waiting:g}", remark])
    for student in absent:
        table.writerow([_harmless(student), "total", "", "", "Nothing was handed in."])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, file.getvalue().encode())


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _report(
    questions: Sequence[Question],
    results: Sequence[dict[str, Any]],
    *,
    own: bool,
    loose: Sequence[str],
    absent: Sequence[str],
    strangers: Sequence[str],
) -> str:
    sums = [totals(result["rows"]) for result in results]
    shares = [points / maximum for points, maximum, _ in sums if maximum]
    most = sum(q.points for q in questions)
    parts = [f"<p class=quiet>{len(results)} hand-ins, {most:g} points at most. {_isolation(results)}</p>"]
    if absent:
        parts.append(f"<h2>Missing: {len(absent)}</h2><p>{html.escape(', '.join(absent))}</p>")
    if strangers:
        parts.append(f"<p class=quiet>Not on the roster: {html.escape(', '.join(strangers))}</p>")
    if shares:
        middle = sorted(points for points, *_ in sums)[len(sums) // 2]
        parts.append(f"<h2>Points</h2>{histogram(shares)}<p class=quiet>The middle one has {middle:g} points.</p>")
    parts += [_help(questions, results), _by_question(questions, results), _mistakes(results)]
    parts += [_by_student(results, sums), _to_read(questions, results, own=own), _accidents(results, loose)]
    return page("The class", "".join(parts))


def _isolation(results: Sequence[dict[str, Any]]) -> str:
    """What was in force around the students' code."""
    kinds = {result["isolation"] for result in results} - {""}
    if kinds == {NAMESPACES}:
        return "Each answer ran in namespaces of its own: no network, nobody else's files or processes, all read-only."
    if LIMITS in kinds:
        some = "some" if NAMESPACES in kinds else "the"
        return (
            f"For {some} answers there were only limits on time, memory and the size of files: this system lets nobody "
            "make namespaces, so a determined program could have read files of yours and sent signals to your programs."
        )
    return ""


def _help(questions: Sequence[Question], results: Sequence[dict[str, Any]]) -> str:
    """Who needs help, with what: those with less than half of a lesson's code."""
    lines = []
    for result in results:
        weak = []
        for lesson in sorted({q.lesson for q in questions}):
            names = {q.name for q in questions if q.lesson == lesson and not q.written}
            rows = [row for row in result["rows"] if row["question"] in names]
            points, most, _ = totals(rows)
            if most and points < most / 2:
                kinds = {row["mistake"] for row in rows}
                wrong = [row["question"] for row in rows if row["points"] == 0]
                undone = "nothing written" if kinds <= {"to-do", "missing"} else ", ".join(wrong)
                what = "nothing that could be marked" if kinds == {"not-handed-in"} else undone
                weak.append(f"<b>{lesson}</b> {html.escape(what)}")
        if weak:
            name = html.escape(result["student"])
            link = f"<a href='feedback/{slug_of(result['student'])}.html'>{name}</a>"
            lines.append(f"<tr><td class=who>{link}<td>{' · '.join(weak)}")
    body = f"<table>{''.join(lines)}</table>" if lines else "<p>Nobody: all have half of every lesson or more.</p>"
    return f"<h2>Who needs help with what</h2>{body}"


def _by_question(questions: Sequence[Question], results: Sequence[dict[str, Any]]) -> str:
    lines = []
    for question in (q for q in questions if not q.written):
        got = [row["points"] or 0.0 for r in results for row in r["rows"] if row["question"] == question.name]
        share = sum(got) / (question.points * len(got)) if got else 0
        full = sum(points >= question.points for points in got)
        lines.append(
            f"<tr><td>{html.escape(question.title)}<td class=n>{full} of {len(got)} full<td class=wide>{bar(share)}"
        )
    return f"<h2>Questions</h2><table>{''.join(lines)}</table>"


def _mistakes(results: Sequence[dict[str, Any]]) -> str:
    """The commonest mistakes by their signature, each with one sentence as it was told."""
    counts: Counter[tuple[str, str]] = Counter()
    sentences: dict[tuple[str, str], str] = {}
    who: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        for row in result["rows"]:
            if row["mistake"] and row["mistake"] not in ("to-do", "not-handed-in", "missing"):
                key = (row["question"], row["mistake"])
                counts[key] += 1
                sentences.setdefault(key, row["reason"])
                who[key].append(result["student"])
    if not counts:
        return "<h2>Commonest mistakes</h2><p>None.</p>"
    lines = [
        f"<tr><td class=n>{count}<td>{html.escape(key[0])}<br><code>{html.escape(key[1])}</code>"
        f"<td>{html.escape(sentences[key])}"
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


def _by_student(results: Sequence[dict[str, Any]], sums: Sequence[tuple[float, float, float]]) -> str:
    lines = [
        f"<tr><td><a href='feedback/{slug_of(r['student'])}.html'>{html.escape(r['student'])}</a>"
        f"<td class=n>{points:g} of {maximum:g}<td class=wide>{bar(points / maximum if maximum else 0)}"
        for r, (points, maximum, _) in zip(results, sums, strict=True)
    ]
    return f"<h2>Students</h2><table>{''.join(lines)}</table>"


def _to_read(questions: Sequence[Question], results: Sequence[dict[str, Any]], *, own: bool) -> str:
    """The written answers with the numbers that each student's cell printed for right functions, and the scheme."""
    parts = []
    for question in (q for q in questions if q.written):
        written = WRITTEN[question.lesson]
        scheme = "".join(f"<li>{html.escape(line[2:])}</li>" for line in written.marking(question.points).splitlines())
        expected = {r["student"]: _expected(question, r["known_as"], own=own) for r in results if _given(r, question)}
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
                f"<tr><td class=who>{html.escape(student)}"
                f"<td><p class=answer>{html.escape(answer)}</p><small>{hint}</small>"
            )
        if not lines:
            parts.append(f"<p class=quiet>{question.name}: nobody has answered.</p>")
            continue
        body = f"<table>{''.join(lines)}</table>"
        asked = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(written.question))
        head = f"<h3>{html.escape(question.title)}, {question.points:g} points</h3><p>{asked}</p><ul>{scheme}</ul>"
        parts.append(f"<details><summary>{question.name}: {len(lines)} to read</summary>{head}{body}</details>")
    return f"<h2>To be read by you</h2>{''.join(parts) or '<p>Nothing.</p>'}"


def _given(result: dict[str, Any], question: Question) -> bool:
    return any(
        row["question"] == question.name and (row["points"] is None or row["reason"].startswith("Marked by hand."))
        for row in result["rows"]
    )


_known: dict[tuple, str] = {}


def _expected(question: Question, student: str, *, own: bool) -> str:
    drawn = personal.values(student) if own else personal.COMMON
    if (key := (question.lesson, *drawn)) not in _known:
        _known[key] = WRITTEN[question.lesson].expected(*drawn)
    return _known[key]
