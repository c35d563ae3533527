"""marks.csv, the pages and the guide: right numbers, nothing that runs, and no claim that has gone stale."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import nbformat
import pytest
from marking_fixtures import NBGRADER

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)

from nst_helpers.classroom import personal
from nst_helpers.classroom.__main__ import _parser
from nst_helpers.classroom.collecting import read_roster
from nst_helpers.classroom.gradebook import ByHand
from nst_helpers.classroom.judging import SHARES
from nst_helpers.classroom.pages import histogram, slug_of
from nst_helpers.classroom.questions import LESSONS, read_lesson
from nst_helpers.classroom.reports import _isolation, write_reports
from nst_helpers.classroom.written import WRITTEN, numbers_in

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
GUIDE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
QUESTIONS = read_lesson(NOTEBOOKS, "03")[1]


def result(student: str, *rows: tuple, answers: dict | None = None, accidents: tuple = (), notes: tuple = ()) -> dict:
    keys = ("question", "points", "maximum", "reason", "mistake", "code")
    return {
        "student": student, "rows": [dict(zip(keys, row, strict=True)) for row in rows], "answers": answers or {},
        "accidents": list(accidents), "notes": list(notes), "known_as": student, "isolation": "namespaces",
    }  # fmt: skip


CODE = "def gram_matrix(f):\n    return f < 3"


def row(points: float | None, reason: str = "", mistake: str | None = None, question: str = "gram_matrix") -> tuple:
    return (question, points, 4.0 if question == "written-03" else 3.0, reason, mistake, CODE)


def reports(tmp_path: Path, results: list[dict], **more) -> tuple[list[dict], str, dict[str, str]]:
    options = {"given": {}, "own": False, **more}
    write_reports(tmp_path, tmp_path / "marks.csv", QUESTIONS, results, **options)
    with (tmp_path / "marks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pages = {p.stem: p.read_text("utf-8") for p in (tmp_path / "feedback").glob("*.html")}
    return rows, (tmp_path / "report.html").read_text("utf-8"), pages


def test_the_histogram_counts_everybody_once():
    drawn = histogram([0, 0.05, 0.3, 0.3, 0.999, 1, 1])
    assert "2 with 0 to 10 %, 2 with 30 to 40 %, 3 with 90 to 100 %" in drawn
    heights = [float(h) for h in re.findall(r"<rect [^>]*height=([\d.]+)", drawn)]
    assert heights == [pytest.approx(110 * n / 3, abs=0.1) for n in (2, 0, 0, 2, 0, 0, 0, 0, 0, 3)]


def test_the_commonest_mistake_comes_first_with_its_sentence(tmp_path):
    wrong = row(0.0, "gram_matrix is H * W times too large.", "missing-divisor")
    results = [result(f"s{i}", wrong) for i in range(3)]
    results += [result("t", row(2.25, "it raises for views.", "fragile")), result("u", row(3.0))]
    _, report, pages = reports(tmp_path, results)
    assert report.index("missing-divisor") < report.index("fragile")
    assert "<td class=n>3<td>gram_matrix<br><code>missing-divisor</code>" in report
    assert "gram_matrix is H * W times too large." in pages["s0"]
    assert "All tests passed." in pages["u"]
    assert "class=part" in pages["t"]


def test_an_answer_that_lost_points_stands_beside_its_sentence(tmp_path):
    results = [result("ann", row(0.0, "it compares.", "x")), result("bob", row(3.0))]
    _, _, pages = reports(tmp_path, results)
    assert "<p>It compares.</p><pre>def gram_matrix(f):\n    return f &lt; 3</pre>" in pages["ann"]
    assert "<pre>" not in pages["bob"]


def test_a_roster_shows_who_is_missing_and_who_is_a_stranger(tmp_path):
    path = tmp_path / "students.csv"
    path.write_text(
        "Last name;First name;User name;Email\nLee;Ann;al1;al1@x.org\nBo;Bob;b2;bob@x.org\nCi;Cem;c3;\n", "utf-8"
    )
    roster = read_roster(path)
    assert [called for called, _ in roster] == ["al1", "b2", "c3"]
    results = [result("Ann Lee", row(3.0)), result("BOB", row(3.0)), result("dora", row(3.0))]
    rows, report, _ = reports(tmp_path, results, roster=roster)
    told = {"student": "c3", "question": "total", "points": "", "maximum": "", "reason": "Nothing was handed in."}
    assert rows[-1] == told
    assert "Missing: 1</h2><p>c3</p>" in report
    assert "Not on the roster: dora" in report
    (tmp_path / "list.txt").write_text("ann\nbob\n", "utf-8")
    assert [called for called, _ in read_roster(tmp_path / "list.txt")] == ["ann", "bob"]


def test_the_report_says_who_needs_help_and_what_surrounded_the_code(tmp_path):
    results = [result("ann", row(0.0, "it compares.", "x")), result("bob", row(2.0))]
    _, report, _ = reports(tmp_path, results)
    needs = report.split("Who needs help with what")[1].split("<h2>")[0]
    assert "ann" in needs
    assert "<b>03</b> gram_matrix" in needs
    assert "bob" not in needs
    for mistake, told in (("to-do", "nothing written"), ("not-handed-in", "nothing that could be marked")):
        assert f"<b>03</b> {told}" in reports(tmp_path, [result("ann", row(0.0, "x", mistake))])[1]
    assert "in namespaces of its own" in report
    results[0]["isolation"] = "limits"
    assert "only limits on time, memory" in reports(tmp_path, results)[1]


def test_names_and_answers_can_do_no_harm(tmp_path):
    nasty = "<script>alert(1)</script>"
    results = [
        result(nasty, row(0.0, f"raises {nasty}", "raised"), row(None, question="written-03"),
               answers={"written-03": nasty}, notes=(nasty,)),
        result("=cmd()", row(0.0, "=1+1", "x")),
        result("a/../b", row(3.0)),
    ]  # fmt: skip
    rows, report, pages = reports(tmp_path, results, loose=[nasty])
    for text in (report, *pages.values()):
        assert "<script" not in text
    assert rows[3]["student"] == "'=cmd()"
    assert rows[3]["reason"] == "'=1+1"
    assert len(pages) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feedback", "marks.csv", "report.html"]


def test_slugs_differ_where_names_differ():
    names = ["ann", "Ann Lee", "Ann_Lee", "Ann-Lee", "Zoë", "Zoé", "../x", "x", "", "a" * 30]
    assert len({slug_of(n) for n in names}) == len(names)
    assert all(re.fullmatch(r"[\w.@-]+", slug_of(n)) for n in names)


def test_marks_by_hand_count_and_open_ones_are_open(tmp_path):
    results = [result(s, row(3.0), row(None, "To be read by a person.", question="written-03")) for s in ("a", "b")]
    given = {("a", "written-03"): ByHand(1.5, 0.5, ["Well <b>seen</b>."]), ("b", "gram_matrix"): ByHand(None, 1.0)}
    rows, _, pages = reports(tmp_path, results, given=given)
    assert [(r["question"], r["points"], r["maximum"]) for r in rows] == [
        ("gram_matrix", "3", "3"), ("written-03", "2", "4"), ("total", "5", "7"),
        ("gram_matrix", "4", "3"), ("written-03", "", "4"), ("total", "4", "7"),
    ]  # fmt: skip
    assert rows[1]["reason"] == "Marked by hand. 0.5 extra."
    assert rows[5]["reason"] == "4 points are still to be read by a person."
    assert "5</b> of 7" in pages["a"]
    assert "Well &lt;b&gt;seen&lt;/b&gt;." in pages["a"]
    # What waits for a person does not make a perfect lesson look like less.
    assert "Lesson 03<span>4 / 3, 4 more to be read</span>" in pages["b"]
    assert "4</b> of 3" in pages["b"]
    assert "4 more points are for your written answers" in pages["b"]


def test_quoting_somebody_elses_numbers_is_noticed(tmp_path):
    told = {s: WRITTEN["03"].expected(*personal.values(s)) for s in ("ann", "bob", "cem")}
    mine = {s: sorted(numbers_in(text)) for s, text in told.items()}
    answers = {"ann": f"It is {mine['ann'][0]}.", "bob": f"It is {mine['ann'][0]}.", "cem": "I think so."}
    open_row = row(None, question="written-03")
    results = [result(s, open_row, answers={"written-03": answers[s]}) for s in answers]
    _, report, _ = reports(tmp_path, results, own=True)
    assert "<td class=who>ann<td><p class=answer>" in report  # a name in one line
    assert report.count("quotes the numbers of ann") == 1
    assert report.count("quotes none of them") == 1
    assert all(number in report for numbers in mine.values() for number in numbers)
    assert "written-03: nobody has answered." in reports(tmp_path, [result("dora", row(3.0))])[1]
    _, report, _ = reports(tmp_path, results, own=False)
    assert "quotes" not in report.split("</style>")[1].replace("quotes both", "")


# --- the guide


def lessons() -> dict[str, list[str]]:
    found = {}
    for path in sorted(NOTEBOOKS.glob("0*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        found[path.stem] = [c.source for c in cells if c.cell_type == "markdown"]
    return found


def test_the_guide_answers_every_prediction_as_the_lesson_does():
    asked = 0
    for name, texts in lessons().items():
        for i, text in enumerate(texts):
            for number in re.findall(r"^\*\*Predict (\d\.\d)\*\*", text, re.M):
                answer = next(t for t in texts[i:] if re.search(rf"<summary>.*{number}", t))
                letter = re.search(r"</summary>\s*\**([A-D])\b", answer)[1]
                assert re.search(rf"\b{number} \*\*{letter}\*\*", GUIDE), (name, number, letter)
                asked += 1
    assert asked >= 20
    assert len(re.findall(r"\b\d\.\d \*\*[A-D]\*\*", GUIDE)) == asked


def test_the_guide_has_every_lesson_with_all_that_a_teacher_needs():
    sections = dict(re.findall(r"^## (0\d) [^\n]*\n(.*?)(?=^## |\Z)", GUIDE, re.M | re.S))
    assert sorted(sections) == [f"0{i}" for i in range(8)]
    for lesson, text in sections.items():
        for part in ("**Goal:**", "**Minutes:**", "talk", "**Predict:**", "**Cut:**"):
            assert part in text, (lesson, part)
        mended = re.findall(r"^\| (?!they think|---)[^|]+ \| [^|]+ \|$", text, re.M)
        assert 3 <= len(mended) <= 5, lesson
        assert ("**Written question, 4 points:**" in text) == (lesson in LESSONS), lesson
        title = next(t for name, texts in lessons().items() if name[:2] == lesson for t in texts)
        total = re.search(r"about (\d+) min to read and do", title)[1]
        assert f"{total} in all" in " ".join(text.split()), lesson


def test_the_guides_points_are_those_of_the_lessons():
    for lesson in LESSONS:
        questions = [q for q in read_lesson(NOTEBOOKS, lesson)[1] if not q.written]
        line = next(x for x in GUIDE.splitlines() if x.startswith(f"| {lesson} | `"))
        assert all(f"`{q.symbol}`" in line for q in questions)
        assert int(line.split("|")[3]) == sum(q.points for q in questions)


def test_the_guides_commands_exist_and_its_links_lead_somewhere():
    known = _parser()
    commands = re.findall(r"^(?:\$ )?python -m nst_helpers\.classroom (.*?)(?:\s+#.*)?$", GUIDE, re.M)
    assert len(commands) >= 5
    for command in commands:
        known.parse_args(shlex.split(command))
    for option in re.findall(r"`(--[a-z]+)", GUIDE):
        assert any(option in text for text in (json.dumps(_options(known)), "--no-index")), option
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", GUIDE, re.M)}
    assert {anchor for anchor in re.findall(r"\]\(#([^)]+)\)", GUIDE)} <= headings


def _options(parser) -> list[str]:
    commands = next(a for a in parser._actions if a.choices)
    return [s for p in commands.choices.values() for a in p._actions for s in a.option_strings]


def test_the_guide_says_what_is_deducted_and_what_surrounds_the_code():
    names = {0.75: "3/4", 0.5: "1/2"}
    rows = dict(re.findall(r"^\| `([\w-]+)`: [^|]+ \| (\S+) \|$", GUIDE, re.M))
    assert rows == {fault: names[share] for fault, share in SHARES.items()}
    heads = re.findall(r"^\| `(\w+)` \([^|]+\| [^|]+ \| ([^|]+) \|$", GUIDE, re.M)
    assert [kind for kind, _ in heads] == ["namespaces", "limits"]
    for kind, told in heads:
        assert told in _isolation([{"isolation": kind}])


def test_the_guide_says_what_marking_does_not_protect_against():
    """The attacks that it counts, and those that it calls possible, are in test_attacks.py."""
    text = GUIDE.split("### What this does not protect against")[1].split("## Ways")[0]
    for word in (
        "public solution",
        "rewritten harness",
        "Without namespaces",
        "kernel",
        "docker run",
        "--network none",
    ):
        assert word in text
    assert "not offered" in GUIDE.split("**Gradescope and otter-grader**")[1].split("\n")[0]
