"""What comes back: folders, files, archives of an LMS, and notebooks that somebody has been at."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import class_of_fifty as fifty
import pytest
from marking_fixtures import NBGRADER

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)

from nst_helpers.classroom import preparing
from nst_helpers.classroom.collecting import collect
from nst_helpers.classroom.matching import lesson_of, mend
from nst_helpers.classroom.questions import ClassroomError
from nst_helpers.classroom.reading import read_notebook

NOTEBOOK = b'{"cells": [{"cell_type": "code", "source": "x"}]}'


def lessons_of(course):
    released = preparing.released_notebooks(course.release, course.notebooks)
    return preparing._lessons(released, course.questions)


@pytest.fixture(scope="module")
def gram(course):
    return next(lesson for lesson in lessons_of(course) if lesson.name == "03_gram")


def files(tmp_path, *names: str):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(NOTEBOOK)
    return tmp_path


def zipped(entries: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return packed.getvalue()


def found(place) -> dict[str, list[str]]:
    return {h.student: sorted(h.files) for h in collect(place)[0]}


LAYOUTS = {
    "folders": (
        ["ann/03_gram.ipynb", "bob/x/01_images.ipynb"],
        {"ann": ["03_gram.ipynb"], "bob": ["x/01_images.ipynb"]},
    ),
    "files": (
        ["ann_03_gram.ipynb", "01_images-bob.ipynb", "cem.ipynb", "ann - 01_images (2).ipynb"],
        {
            "ann": ["ann - 01_images (2).ipynb", "ann_03_gram.ipynb"],
            "bob": ["01_images-bob.ipynb"],
            "cem": ["cem.ipynb"],
        },
    ),
    "Moodle": (
        ["Ann Lee_12_assignsubmission_file_/a.ipynb", "Bob_13_assignsubmission_file_/a.ipynb"],
        {"Ann Lee": ["a.ipynb"], "Bob": ["a.ipynb"]},
    ),
    "two of one name": (
        ["Ann Lee_12_assignsubmission_file_/a.ipynb", "Ann Lee_13_assignsubmission_file_/a.ipynb"],
        {"Ann Lee 12": ["a.ipynb"], "Ann Lee 13": ["a.ipynb"]},
    ),
    "Canvas": (
        ["leeann_123_456_03_gram.ipynb", "leeann_LATE_123_457_01_images-1.ipynb"],
        {"leeann": ["01_images-1.ipynb", "03_gram.ipynb"]},
    ),
    "nbgrader": (
        ["ann/nst/03_gram.ipynb", "ann/nst/timestamp.txt"],
        {"ann": ["nst/03_gram.ipynb"]},
    ),
    "rubbish": (
        ["ann/03_gram.ipynb", "__MACOSX/ann/._03_gram.ipynb", "ann/.ipynb_checkpoints/03_gram.ipynb", ".DS_Store"],
        {"ann": ["03_gram.ipynb"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hand_ins_are_found(tmp_path, layout):
    names, expected = LAYOUTS[layout]
    assert found(files(tmp_path, *names)) == expected


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "rubbish"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "zip of one folder"])
def test_archives_are_like_folders(tmp_path, layout, kind):
    names, expected = LAYOUTS[layout]
    top = "all of them/" if "folder" in kind and all("/" in n for n in names) else ""
    place = tmp_path / f"all of them.{kind.split()[0]}"
    if kind.startswith("zip"):
        place.write_bytes(zipped({top + name: NOTEBOOK for name in names}))
    else:
        with tarfile.open(place, "w:gz") as archive:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(NOTEBOOK)
                archive.addfile(entry, io.BytesIO(NOTEBOOK))
    assert found(place) == expected


def test_a_students_own_archive_and_a_broken_one(tmp_path):
    (tmp_path / "ann.zip").write_bytes(zipped({"mine/03_gram.ipynb": NOTEBOOK, "../../evil.ipynb": NOTEBOOK}))
    (tmp_path / "bob.zip").write_bytes(b"PK not an archive")
    hand_ins, notes = collect(tmp_path)
    ann, bob = hand_ins
    assert sorted(ann.files) == ["ann.zip/../../evil.ipynb", "ann.zip/mine/03_gram.ipynb"]  # names only
    assert bob.files == {}
    assert "broken archive" in bob.notes[0]
    assert notes == []
    assert sorted(p.name for p in tmp_path.parent.iterdir() if p.name == "evil.ipynb") == []


def test_a_file_without_a_name_is_nobodys_and_said_so(tmp_path):
    hand_ins, notes = collect(files(tmp_path, "03_gram.ipynb", "ann/03_gram.ipynb"))
    assert [h.student for h in hand_ins] == ["ann"]
    assert len(notes) == 1
    assert notes[0].startswith("03_gram.ipynb: whose is it?")


@pytest.mark.parametrize(
    ("make", "words"), [(None, "nothing at"), ("empty", "no hand-ins"), ("file", "neither a folder")]
)
def test_nothing_to_mark_is_one_sentence(tmp_path, make, words):
    place = tmp_path / "place"
    if make == "empty":
        place.mkdir()
    elif make:
        place.write_text("x", "utf-8")
    with pytest.raises(ClassroomError, match=words):
        collect(place)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00\xff\xfe", b"[]", b"{}", b'{"cells": []}', b'{"cells": [3]}', b"%PDF"]
)
def test_broken_files_are_told_in_words(content):
    with pytest.raises(ValueError, match=r"broken|holds no cells"):
        read_notebook(content)


def test_odd_but_readable_files_are_read():
    assert read_notebook(b"\xef\xbb\xbf" + NOTEBOOK)[0]["cells"][0]["source"] == "x"
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["a\n", "b"]}]}], "nbformat": 3}
    assert read_notebook(json.dumps(old).encode())[0]["cells"][0]["source"] == "a\nb"
    odd = {"cells": [{"cell_type": "heading", "source": None, "metadata": 3}], "metadata": []}
    assert read_notebook(json.dumps(odd).encode())[0]["cells"][0]["cell_type"] == "markdown"


# --- matching


def mended(gram, notebook: dict, **more):
    return mend(read_notebook(json.dumps(notebook).encode())[0], gram)


def source_of(result, grade_id: str) -> str:
    return next(c["source"] for c in result.notebook["cells"] if fifty.grade_id(c) == grade_id)


@pytest.fixture
def books(writer):
    return writer.write(fifty.UNUSUAL["einsum"])


def test_an_untouched_file_is_itself(gram, books):
    result = mended(gram, books["03_gram"])
    assert result.notes == result.missing == []
    assert set(result.tests.values()) == {"kept"}
    assert "einsum" in source_of(result, "ex-3-1")
    # Nothing but what is run: the numbers that the written question asks about are left out.
    assert [c["id"] for c in result.notebook["cells"] if c["cell_type"] == "code"] == [
        "prelude", "personal", "stub-1", "check-1", "stub-2", "check-2",
    ]  # fmt: skip


def test_colabs_version_gives_the_same_notebook(gram, books):
    plain, back = mended(gram, books["03_gram"]), mended(gram, fifty.colab(books["03_gram"]))
    assert back.notebook == plain.notebook
    assert back.tests == plain.tests
    assert "3 answers were found by content" in back.notes[0]


def test_tests_that_were_changed_or_deleted_are_put_back(gram, writer, books):
    released = source_of(mended(gram, books["03_gram"]), "check-3-1")
    writer.test(books, "gram_matrix")["source"] = "checks.check_gram_matrix(nst.gram_matrix)"
    books["03_gram"]["cells"].remove(writer.test(books, "style_loss"))
    result = mended(gram, books["03_gram"])
    assert result.tests == {"check-3-1": "changed", "check-3-2": "deleted"}
    assert source_of(result, "check-3-1") == released


def test_a_test_that_was_only_laid_out_anew_counts_as_kept(gram, writer, books):
    cell = writer.test(books, "gram_matrix")
    cell["source"] = "# my notes\n" + cell["source"].replace("(", "( ") + "   \n"
    assert set(mended(gram, books["03_gram"]).tests.values()) == {"kept"}


def test_answers_that_moved_are_found_and_the_last_one_counts(gram, writer):
    books = writer.write(blank=("gram_matrix",))
    cells = books["03_gram"]["cells"]
    at = cells.index(writer.answer(books, "gram_matrix"))
    cells.insert(at, fifty.code("def gram_matrix(features):\n    return 1"))
    cells.insert(at + 2, fifty.code("def gram_matrix(features):\n    return 2"))
    cells.append(fifty.code("gram_matrix = checks.checkpoint(gram_matrix)"))
    assert source_of(mended(gram, books["03_gram"]), "ex-3-1").endswith("return 2")


def test_an_answer_that_is_gone_is_missed(gram, writer, books):
    books["03_gram"]["cells"].remove(writer.answer(books, "gram_matrix"))
    result = mended(gram, books["03_gram"])
    assert result.missing == ["gram_matrix"]
    assert result.notes == ["there is no answer to 'gram_matrix' in it."]


def test_only_the_cells_that_an_answer_needs_are_kept(gram, writer, books):
    for text in ("b = 3\na = b", "unused = 1 / 0", "!pip install x\nimport sys\nc = sys.maxsize", "%%bash\nrm -rf x"):
        writer.insert_before(books, "gram_matrix", text)
    writer.answer(books, "gram_matrix")["source"] = "def gram_matrix(f):\n    return a * c * f"
    result = mended(gram, books["03_gram"])
    added = [c["source"] for c in result.notebook["cells"] if c["id"].startswith("added")]
    assert added == ["b = 3\na = b", "import sys\nc = sys.maxsize"]
    assert result.notes == ["2 added cells were kept, which the answers need."]


@pytest.mark.parametrize(
    "text",
    [
        "nst.checks.check_gram_matrix = print",
        "import nst_helpers\nnst_helpers.checks.Verdict.require = print",
        "setattr(checks, 'check_gram_matrix', print)",
        "torch.allclose = lambda *a: True",
        "exec('import os')",
    ],
)
def test_cells_that_meddle_are_kept_too_for_the_report(gram, writer, books, text):
    writer.insert_before(books, "gram_matrix", text)
    result = mended(gram, books["03_gram"])
    assert [c["source"] for c in result.notebook["cells"] if c["id"].startswith("added")] == [text]


def test_written_answers_are_found(gram, writer, books):
    cell = next(c for c in books["03_gram"]["cells"] if c["id"] == "written")
    cell["source"] = "Because of the sum."
    assert source_of(mended(gram, books["03_gram"]), "written-03") == "Because of the sum."
    assert source_of(mended(gram, fifty.colab(books["03_gram"])), "written-03") == "Because of the sum."


def test_a_file_is_known_by_its_content_and_else_by_its_name(course, writer, books):
    lessons = lessons_of(course)

    def known(name, notebook):
        lesson = lesson_of(name, read_notebook(json.dumps(notebook).encode())[0], lessons)
        return lesson and lesson.name

    assert known("homework.ipynb", books["03_gram"]) == "03_gram"
    assert known("03_gram.ipynb", books["01_images"]) == "01_images"
    assert known("01_images.ipynb", fifty.colab(books["03_gram"])) == "03_gram"
    assert known("01_images.ipynb", {"cells": [fifty.code("x = 1")]}) == "01_images"
    assert known("diary.ipynb", {"cells": [fifty.code("x = 1")]}) is None
