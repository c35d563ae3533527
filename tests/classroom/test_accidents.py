"""What people really hand in: odd texts, encodings, endings, names of an LMS, large files; and a fuzzer."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import class_of_fifty as fifty
import pytest
from conftest import slow
from marking_fixtures import NBGRADER

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)

from nst_helpers.classroom import preparing
from nst_helpers.classroom.collecting import collect, missing, read_roster
from nst_helpers.classroom.questions import ClassroomError
from nst_helpers.classroom.reading import read_notebook, slim
from nst_helpers.classroom.reports import write_reports
from nst_helpers.classroom.results import make_result

pytestmark = pytest.mark.slow  # each builds a course and starts boxes for answers

NOTEBOOK = b'{"cells": [{"cell_type": "code", "source": "x"}]}'


@pytest.fixture(scope="module")
def plan(course) -> dict:
    return {
        "questions": [q.to_json() for q in course.questions],
        "released": preparing.released_notebooks(course.release, course.notebooks),
        "personal": True,
    }


def prepared(plan, content: bytes, name: str = "03_gram.ipynb") -> dict:
    found = preparing.prepare_hand_in("ann", {name: (content, 0.0)}, plan)
    json.dumps(found, ensure_ascii=False).encode()  # as it goes to the other process and to the disk
    return found


# --- texts


@pytest.mark.parametrize("what", fifty.PARSERS_FOES)
def test_a_text_that_a_parser_fears_costs_nobody_anything(plan, writer, what):
    books = writer.write(
        {"gram_matrix": f"{fifty.PARSERS_FOES[what]}\n{fifty.UNUSUAL['einsum']['gram_matrix'].strip()}"}
    )
    writer.insert_before(books, "gram_matrix", fifty.PARSERS_FOES[what])
    started = time.process_time()
    found = prepared(plan, fifty.as_bytes(books["03_gram"]))
    assert time.process_time() - started < 10 * slow()
    mended = found["mended"]["03_gram"]
    assert mended["missing"] == []
    assert "einsum" in mended["answers"]["gram_matrix"]


def test_cells_of_many_shell_lines_are_read_at_once(plan):
    """IPython's own reading takes seconds a cell, and each cell is read more than once."""
    notebook = {"cells": [fifty.code(f"a = {n}\n{fifty.PARSERS_FOES['shell lines']}") for n in range(20)]}
    started = time.process_time()
    prepared(plan, fifty.as_bytes(notebook))
    assert time.process_time() - started < 3 * slow()


@pytest.mark.parametrize("kernelspec", ["python3", 3, None, [], {"name": 3}, {"name": "\ud800"}])
def test_a_kernel_that_is_named_oddly(plan, writer, kernelspec):
    book = writer.write()["03_gram"]
    book["metadata"]["kernelspec"] = kernelspec
    assert prepared(plan, fifty.as_bytes(book))["mended"]["03_gram"]["missing"] == []


# --- files


ENCODINGS = {
    "utf-8": "", "utf-8-sig": "", "utf-16": "UTF-16", "utf-16-le": "UTF-16-LE", "utf-16-be": "UTF-16-BE",
    "utf-32": "UTF-32", "cp1252": "Windows-1252",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_notebooks_are_read_in_any_usual_encoding(plan, writer, encoding):
    book = writer.write({"gram_matrix": f"# é, ß\n{fifty.UNUSUAL['einsum']['gram_matrix'].strip()}"})["03_gram"]
    for cell in book["cells"]:
        cell["source"] = cell["source"].encode("cp1252", "ignore").decode("cp1252")
    found = prepared(plan, json.dumps(book, ensure_ascii=False).encode(encoding))
    assert found["mended"]["03_gram"]["answers"]["gram_matrix"].startswith("# é, ß\n")
    told = [note for note in found["notes"] if "stored as" in note]
    named = ENCODINGS[encoding]
    assert told == (
        [f"03_gram.ipynb: its text is stored as {named}, not as UTF-8, and was read as such."] if named else []
    )


@pytest.mark.parametrize("name", ["03_gram.ipynb.txt", "03_gram.ipynb.json", "03_gram.json", "03_gram", "gram.IPYNB"])
def test_a_notebook_is_known_in_spite_of_its_ending(plan, writer, name):
    content = fifty.as_bytes(writer.write()["03_gram"])
    assert list(prepared(plan, content, name)["mended"]) == ["03_gram"]


def test_a_notebook_of_many_megabytes_is_read_in_little_memory(plan, writer, tmp_path):
    book = writer.write()["03_gram"]
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "iVBORw0KGgo=" * 2**20}}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "text": ['"outputs": [ \\ " ] }\n'] * 3}]
    book["cells"][-4]["outputs"] = [picture, picture]
    content = fifty.as_bytes(book)
    assert len(content) > 24e6
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "03_gram.ipynb").write_bytes(content)
    del book, picture
    tracemalloc.start()
    (hand_in,), _ = collect(tmp_path)
    prepared(plan, hand_in.files["03_gram.ipynb"][0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * len(content)
    assert len(hand_in.files["03_gram.ipynb"][0]) < 1e5
    stripped = json.loads(content)
    for cell in stripped["cells"]:
        if "outputs" in cell:
            cell["outputs"] = []
    assert json.loads(slim(content)) == stripped


# --- names

NAMES = {
    "Blackboard, the newest attempt": (
        ["ps1_alice_attempt_2026-11-20-10-00-00_03_gram.ipynb", "ps1_alice_attempt_2026-11-22-09-30-00_03_gram.ipynb",
         "ps1_alice_attempt_2026-11-22-09-30-00.txt"],
        {"alice": ["03_gram.ipynb"]},
    ),
    "Brightspace": (
        ["15202-7 - Ann Lee - Nov 20, 2026 905 PM - 03_gram.ipynb",
         "15203-7 - Bob - November 21, 2026 1012 AM/03_gram.ipynb"],
        {"Ann Lee": ["03_gram.ipynb"], "Bob": ["03_gram.ipynb"]},
    ),
    "Moodle": (["Zoë Lee_12_assignsubmission_file_/03_gram.ipynb"], {"Zoë Lee": ["03_gram.ipynb"]}),
    "Canvas": (["leeann_LATE_123_457_Copy of 03_gram-1.ipynb"], {"leeann": ["Copy of 03_gram-1.ipynb"]}),
    "a copy from Colab": (
        ["ann/Copy of 03_gram.ipynb", "bob_Copy of 03_gram.ipynb", "Copy of 03_gram (1) c.ipynb"],
        {"ann": ["Copy of 03_gram.ipynb"], "bob": ["bob_Copy of 03_gram.ipynb"], "c": ["Copy of 03_gram (1) c.ipynb"]},
    ),
    "parentheses and plus signs": (
        ["03_gram+ann.ipynb", "03_gram (bob).ipynb", "cem+03_gram (2).ipynb", "03_gram (3)-dora.ipynb.txt"],
        {"ann": ["03_gram+ann.ipynb"], "bob": ["03_gram (bob).ipynb"], "cem": ["cem+03_gram (2).ipynb"],
         "dora": ["03_gram (3)-dora.ipynb.txt"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_names_as_an_lms_makes_them(tmp_path, what):
    names, expected = NAMES[what]
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(NOTEBOOK.replace(b"x", str(number).encode()))
    hand_ins, notes = collect(tmp_path)
    assert {h.student: sorted(h.files) for h in hand_ins} == expected
    assert notes == []


def test_the_newest_attempt_counts(tmp_path):
    for day, text in ((22, b"new"), (20, b"old")):
        path = tmp_path / f"ps1_alice_attempt_2026-11-{day}-10-00-00_03_gram.ipynb"
        path.write_bytes(NOTEBOOK.replace(b"x", text))
    (alice,), _ = collect(tmp_path)
    assert b"new" in alice.files["03_gram.ipynb"][0]


ROSTERS = {
    "a list": ("ann\nbob\ncem\n", ["ann", "bob", "cem"]),
    "with headings": ("name,id\nAnn Lee,ann\nBob Bo,bob\n", ["ann", "bob"]),
    "semicolons, a byte order mark": ("\ufeffVorname;Last name;Login\nAnn;Lee;ann\n", ["ann"]),
    "empty lines and cells": ("user\n\nann\n ,\nbob\n", ["ann", "bob"]),
}


@pytest.mark.parametrize("what", ROSTERS)
def test_rosters_as_people_export_them(tmp_path, what):
    text, called = ROSTERS[what]
    (tmp_path / "students.csv").write_text(text, encoding="utf-8")
    roster = read_roster(tmp_path / "students.csv")
    assert [name for name, _ in roster] == called
    assert missing(roster, ["ANN"]) == (called[1:], [])


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00", None])
def test_a_roster_that_cant_be_read_is_one_sentence(tmp_path, content):
    path = tmp_path / "students.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClassroomError, match=r"names nobody|can't be read"):
        read_roster(path)


def test_a_full_temporary_folder_is_one_sentence_of_the_judges(tmp_path):
    """What a killed judge has left there is removed first, and nothing is left behind."""
    abandoned = tmp_path / "nst-students-abandoned" / "package"
    abandoned.mkdir(parents=True)
    (abandoned.parent / "in_use").touch()
    program = (
        "import errno, os\nfrom nst_helpers.classroom import boxes, judge\n"
        "def full(folder): raise OSError(errno.ENOSPC, 'No space left on device', str(folder))\n"
        "boxes.write_package = full\njudge.main('auto', os.getppid())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONWARNINGS": "ignore", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert json.loads(run.stdout)["failed"].startswith("No space left on device (")
    assert list(tmp_path.iterdir()) == []
    assert run.stderr == ""


# --- the fuzzer

FUZZED = 250

ODD = (
    None, True, 0, -1, 1e308, 10**30, "", "x", [], {}, [[]], {"": None}, "\ud83d", "\0", "\r\n", "\ufeff", "a" * 5000,
    [None], ["a", 3], {"nbgrader": 3}, {"nbgrader": {"grade_id": []}}, {"nbgrader": {"grade_id": "ex-3-1"}},
)  # fmt: skip
TEXTS = (
    "def gram_matrix(f):\n    return f", "def gram_matrix(", "gram_matrix = 3", "%%bash\nls", "%%", "!", "%", "?",
    "gram_matrix?", "(" * 300, "[" * 2000, "x = " + "-" * 3000 + "1", "lambda: " * 200 + "0", "'''", '"""\\', "\\",
    "\t x", "await x", "\x0c", "é = 1", "if 1:\n" + "\n".join(" " * n + "if 1:" for n in range(1, 110)),
    "f'{f\"{1}\"}'", "raise NotImplementedError", "class", "#" * 9, "STUDENT = " + "[" * 500, "STUDENT = 'bob'",
    "STUDENT = 1e999", "checks.check_gram_matrix(gram_matrix)", "\u202e", "\ud800",
)  # fmt: skip


def places(node: object, found: list | None = None) -> list[tuple]:
    """Every place in a tree of lists and dictionaries: what holds it, and its key."""
    found = [] if found is None else found
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        found.append((node, key))
        if isinstance(value, (dict, list)) and len(found) < 400:
            places(value, found)
    return found


def spoilt(draw: random.Random, book: dict) -> bytes:
    """A notebook that something has happened to: its structure, its metadata, its texts, its encoding or its bytes."""
    made = copy.deepcopy(book)
    for _ in range(draw.choice((1, 1, 2, 5))):
        holder, key = draw.choice(places(made))
        what = draw.randrange(6)
        if what == 0:
            holder[key] = draw.choice(ODD)
        elif what == 1:
            del holder[key]
        elif what == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif what == 3 and isinstance(made.get("cells"), list):
            made["cells"].insert(draw.randrange(len(made["cells"]) + 1), fifty.code(draw.choice(TEXTS)))
        elif isinstance(holder, dict) and "source" in holder and isinstance(holder["source"], str):
            at = draw.randrange(len(holder["source"]) + 1)
            holder["source"] = holder["source"][:at] + draw.choice(TEXTS) + holder["source"][at:]
        else:
            holder[key] = draw.choice(TEXTS)
        if not isinstance(made, dict) or not made:
            break
    content = json.dumps(made, ensure_ascii=draw.random() < 0.5).encode(
        draw.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig", "utf-16-be")), "surrogatepass"
    )
    what = draw.randrange(8)
    if what == 0:
        content = content[: draw.randrange(len(content))]
    elif what == 1:
        at = draw.randrange(len(content))
        content = content[:at] + bytes(draw.randrange(256) for _ in range(3)) + content[at + 2 :]
    return content


def test_no_notebook_stops_the_marking(plan, course, writer, tmp_path):
    """The same ones each time: a number in a failure's message is the one to try alone."""
    books = [writer.write(fifty.UNUSUAL["einsum"])["03_gram"], fifty.colab(writer.write()["01_images"])]
    results, read = [], 0
    for number in range(FUZZED):
        draw = random.Random(number)
        content = spoilt(draw, draw.choice(books))
        try:
            found = prepared(plan, content, draw.choice(("03_gram.ipynb", "x.txt", "01_images.json")))
            read += bool(found["mended"])
            raw = {**found, "verdicts": {}, "errors": {}, "accident": None, "isolation": ""}
            results.append(make_result(course, f"s{number}", (), json.loads(json.dumps(raw)), lenient=False))
            json.dumps(results[-1], ensure_ascii=False).encode()
            assert reads_or_says_why(content)
        except Exception as error:
            raise AssertionError(f"notebook {number}: {type(error).__name__}: {error}") from error
    write_reports(tmp_path, tmp_path / "marks.csv", course.questions, results[:40], given={}, own=False)
    assert FUZZED * 0.5 < read < FUZZED  # most are marked, and some can't be


def reads_or_says_why(content: bytes) -> bool:
    """Reading alone either works or says in words what is wrong."""
    try:
        return bool(read_notebook(content))
    except ValueError as error:
        return str(error) in ("it is broken, or not a notebook (.ipynb)", "it holds no cells")
