"""The graded assignment: one source, nothing kept twice, and a release that gives nothing away."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
import torch
from marking_fixtures import NBGRADER, newest_version, quick_gradebooks

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)

from nst_helpers.checks.exercises import CHECKS
from nst_helpers.checks.own import OWN_ANSWERS
from nst_helpers.classroom import hidden, personal
from nst_helpers.classroom.__main__ import main
from nst_helpers.classroom.questions import LESSONS, ClassroomError, parse_points, read_lesson, select
from nst_helpers.classroom.solutions import solved
from nst_helpers.classroom.sources import Course, build, make_notebook, nbgrader_api
from nst_helpers.classroom.written import WRITTEN

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    with quick_gradebooks():
        return build(tmp_path_factory.mktemp("course"), lessons=list(LESSONS), students=["ann", "bob"])


@pytest.mark.slow
def test_a_new_gradebook_has_alembics_newest_version_though_alembic_lies_on_no_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    nbgrader_api(tmp_path).gradebook.close()
    with closing(sqlite3.connect(tmp_path / "gradebook.db")) as book:
        assert book.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest_version(),)]


def cells(path: Path) -> list[dict]:
    return nbformat.read(path, as_version=4).cells


def graded(path: Path) -> dict[str, dict]:
    return {c.metadata.nbgrader.grade_id: c for c in cells(path) if "nbgrader" in c.metadata}


def test_every_graded_cell_of_the_lessons_is_asked_and_nothing_else(course):
    """Read the lessons here once more, by nbformat: rebuilding follows them, or this is red."""
    for lesson, name in LESSONS.items():
        theirs = graded(NOTEBOOKS / f"{name}.ipynb")
        ours = graded(course.release / f"{name}.ipynb")
        assert set(ours) == {*theirs, f"written-{lesson}", f"written-{lesson}-text"}
        for grade_id, cell in theirs.items():
            grading, copied = cell.metadata.nbgrader, ours[grade_id].metadata.nbgrader
            assert {k: copied[k] for k in grading} == dict(grading), grade_id
            if grading.solution:
                # The stub as it stands in the lesson, its `raise` aside.
                assert stub(ours[grade_id].source) == stub(cell.source)
            else:
                call = cell.source.strip().removeprefix("nst.")
                assert ours[grade_id].source == f"{call}.require()"
                assert ours[grade_id].metadata.tags == ["raises-exception"]  # "Run All" does not stop at it


def stub(source: str) -> str:
    tree = ast.parse(source)
    raising = [n for n in ast.walk(tree) if isinstance(n, ast.Raise)]
    assert raising, source
    for node in raising:
        node.exc = ast.Name("NotImplementedError")
    return ast.dump(tree)


def test_building_twice_gives_the_same_source(course):
    for lesson, name in LESSONS.items():
        again = make_notebook(*read_lesson(NOTEBOOKS, lesson), own=True)
        assert json.loads((course.source / f"{name}.ipynb").read_text("utf-8")) == again


def test_a_lesson_that_drifts_changes_the_source_or_stops_the_build(tmp_path):
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("images"))
    before = make_notebook(*read_lesson(folder, "03"))
    path = folder / "03_gram.ipynb"
    text = path.read_text("utf-8")
    path.write_text(text.replace("The Gram matrix of each picture in a batch", "THE GRAM MATRIX"), "utf-8")
    after = make_notebook(*read_lesson(folder, "03"))
    assert "THE GRAM MATRIX" not in json.dumps(before)
    assert "THE GRAM MATRIX" in json.dumps(after)
    path.write_text(text.replace("checks.check_gram_matrix(gram_matrix)", "print(gram_matrix)"), "utf-8")
    with pytest.raises(ClassroomError, match="check-3-1 calls no check"):
        read_lesson(folder, "03")


def test_solutions_are_the_packages_own_code(course):
    space: dict = {}
    for name in course.notebooks:
        for cell in cells(course.source / f"{name}.ipynb"):
            if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("grade") and cell.id != "numbers":
                exec(cell.source, space)
    for question in (q for q in course.questions if not q.written):
        function = space[question.symbol]
        assert CHECKS[question.name][0](function), question.name
        assert hidden.inspect(question.name, function)[0] == 1, question.name


def test_a_solution_follows_the_package():
    """Whatever the package's function is, its statements are what stands between the markers."""
    text = "def total_loss(content_loss, style_losses, content_weight, style_weight):\n    raise NotImplementedError"
    lines = solved("total_loss", text).splitlines()
    own = inspect.getsource(CHECKS["total_loss"][1]).strip().splitlines()[-1].strip()
    assert [line.strip() for line in lines[1:]] == ["### BEGIN SOLUTION", own, "### END SOLUTION"]
    with pytest.raises(ClassroomError, match="no line"):
        solved("total_loss", "def total_loss(a, b, c, d):\n    pass")


def tops(sources) -> set[str]:
    """The names that cells set at their top level."""
    nodes = [node for source in sources for node in ast.parse(source).body]
    made = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    targets = [t for node in nodes if isinstance(node, ast.Assign) for target in node.targets for t in ast.walk(target)]
    return made | {t.id for t in targets if isinstance(t, ast.Name)}


@pytest.mark.parametrize("name", LESSONS.values())
def test_the_release_leans_on_nothing_that_stayed_in_the_lesson(course, name):
    lesson, release = (
        [(c.cell_type, c.source) for c in cells(folder / f"{name}.ipynb")] for folder in (NOTEBOOKS, course.release)
    )
    lesson_code = [s for kind, s in lesson if kind == "code" and not s.lstrip().startswith(("%", "!"))]
    code = [s for kind, s in release if kind == "code"]
    arguments = {
        a.arg for s in code for node in ast.walk(ast.parse(s)) if isinstance(node, ast.arguments) for a in node.args
    }
    gone = tops(lesson_code) - tops(code) - arguments
    told = [source for kind, source in release if kind == "markdown"]
    told += [doc for s in code for doc in re.findall(r'"""(.*?)"""', s, re.S)]
    assert gone
    assert len(told) > 5
    for text in told:
        assert not re.search(r"\btraps?\b|[Ss]ection \d|of the table|things above|such a closure|have been using", text)
        called = {n for n in re.findall(r"\b(\w+)\(|`(\w+)`", text) for n in n if n}
        given = {n for group in re.findall(r"\b\w+\(([\w, ]+)\)", text) for n in re.split(r"\W+", group)}
        assert not gone & (called | given) - {"image", "loss_function"}, text  # as the examples call what comes


def test_each_exercise_names_its_lesson_and_links_it_once_that_is_published(course):
    for path in course.release.glob("*.ipynb"):
        texts = [c.source for c in cells(path) if c.id.startswith("text-")]
        assert texts
        assert all(text.endswith(f"`notebooks/{path.name}` of the course, leads up to this.") for text in texts)
    lesson, questions = read_lesson(NOTEBOOKS, "03")
    for cell in lesson:
        cell["source"] = cell["source"].replace("YOUR_ACCOUNT", "ann")
    texts = [c["source"] for c in make_notebook(lesson, questions)["cells"] if c["id"].startswith("text-")]
    address = "https://github.com/ann/nst-notebooks/blob/v"
    assert all(f"[Lesson 03]({address}" in text and "/notebooks/03_gram.ipynb)" in text for text in texts)


def test_an_exercise_whose_text_has_changed_stops_the_build():
    lesson, questions = read_lesson(NOTEBOOKS, "01")
    for cell in lesson:
        cell["source"] = cell["source"].replace("Avoid both traps.", "Avoid the traps.")
    with pytest.raises(ClassroomError, match="no longer says 'Avoid both traps.' in the exercise to_array"):
        make_notebook(lesson, questions)
    lesson, questions = read_lesson(NOTEBOOKS, "02")
    for cell in lesson:
        cell["source"] = cell["source"].replace("P_tiny = ", "Q_tiny = ")
    with pytest.raises(ClassroomError, match="no longer defines P_tiny"):
        make_notebook(lesson, questions)


@pytest.mark.parametrize("name", LESSONS.values())
@pytest.mark.parametrize("wrong", ["not written", "wrong"])
def test_an_answer_that_is_not_right_costs_the_written_question_nothing(course, name, wrong, capsys):
    """Run all, as JupyterLab does: a test that fails is passed over, and the numbers come out right."""
    space: dict = {"get_ipython": None}
    asked = {q.answer_id: q.symbol for q in course.questions}
    student = course.root / "personal" / "ann" / "nst" / f"{name}.ipynb"
    for cell in (c for c in cells(student) if c.cell_type == "code"):
        grading = cell.metadata.get("nbgrader", {})
        if grading.get("solution") and wrong == "wrong":
            space[asked[grading.grade_id]] = lambda *arguments: torch.zeros(())
            continue
        capsys.readouterr()
        try:
            exec(cell.source, space)
        except AssertionError:
            assert "raises-exception" in cell.metadata.tags
    told = capsys.readouterr().out.strip()
    assert cell.id == "numbers"
    assert told == WRITTEN[name[:2]].expected(*personal.values("ann"))


def test_a_solution_keeps_the_defaults_of_what_the_exercise_does_not_have():
    text = "def gram_matrix(maps):\n    raise NotImplementedError"
    lines = [line.strip() for line in solved("gram_matrix", text).splitlines()]
    at = lines.index("features = maps")
    assert lines[at + 1] == "mask = None"
    space = {"torch": torch}
    exec("\n".join(solved("gram_matrix", text).splitlines()), space)
    assert CHECKS["gram_matrix"][0](space["gram_matrix"])


def test_the_release_gives_nothing_away(course):
    for path in course.release.glob("*.ipynb"):
        text = path.read_text("utf-8")
        for secret in ("BEGIN SOLUTION", "HIDDEN TESTS", "hidden.prove", "point: ", "points: "):
            assert secret not in text, (path.name, secret)
        for answer in WRITTEN[path.stem[:2]].answer.split(". "):
            assert answer not in text
        for cell in cells(path):
            assert cell.get("outputs", []) == []
            # Nothing graded needs a front-end, a download or a graphics card.
            assert not any(word in cell.source for word in ("widgets", "panel(", "vgg19", "cuda", "stylize("))
    for path in course.source.glob("*.ipynb"):
        assert "HIDDEN TESTS" in path.read_text("utf-8")


def test_every_question_has_hidden_tests_and_a_guard():
    assert set(hidden.HIDDEN) == set(CHECKS) == set(OWN_ANSWERS)
    assert set(WRITTEN) == set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_scheme_of_a_written_question_adds_up(lesson):
    written = WRITTEN[lesson]
    shares = [float(line.split()[1]) for line in written.marking(6).splitlines()]
    assert sum(shares) == 6
    assert len(written.expected(*personal.values("ann"))) > 5


@pytest.mark.slow
def test_lessons_and_points_are_chosen(tmp_path):
    with quick_gradebooks():
        course = build(tmp_path / "c", lessons="03", points=parse_points("gram_matrix=5, written-03=6.5"))
    assert {q.name: q.points for q in course.questions} == {"gram_matrix": 5, "style_loss": 2, "written-03": 6.5}
    assert [p.name for p in course.release.glob("*")] == ["03_gram.ipynb"]
    assert graded(course.source / "03_gram.ipynb")["check-3-1"].metadata.nbgrader.points == 5
    assert "points=5," in graded(course.source / "03_gram.ipynb")["check-3-1"].source
    assert "#### " not in (course.release / "03_gram.ipynb").read_text("utf-8")
    assert "· 5 points" in (course.release / "03_gram.ipynb").read_text("utf-8")


def test_each_student_has_a_seed_and_a_pair_and_the_checks_still_hold(course):
    drawn = {name: personal.values(name) for name in (f"s{i}" for i in range(40))}
    assert len({d[0] for d in drawn.values()}) == 40
    assert len({d[1:] for d in drawn.values()}) > 10
    numbers = {WRITTEN["03"].expected(*personal.values(name)) for name in ("ann", "bob", "cem")}
    assert len(numbers) == 3
    for student in ("ann", "bob"):
        paths = sorted((course.root / "personal" / student / "nst").glob("*.ipynb"))
        assert [p.stem for p in paths] == course.notebooks
        cell = next(c for c in cells(paths[0]) if c.id == "personal")
        space = {"personal": personal}
        exec(cell.source, space)
        assert (space["SEED"], space["CONTENT"], space["STYLE"]) == personal.values(student)
    for name, (_, own) in CHECKS.items():
        for seed in (personal.values("ann")[0], 7, 123_456):
            assert hidden.inspect(name, own, seed=seed)[0] == 1, (name, seed)


def test_nbgrader_itself_accepts_the_notebooks(course):
    from nbgrader.nbgraderformat import SCHEMA_VERSION, MetadataValidator

    assert SCHEMA_VERSION == 3
    for folder in (course.source, course.release):
        for path in folder.glob("*.ipynb"):
            nb = nbformat.read(path, as_version=4)
            nbformat.validate(nb)
            for cell in nb.cells:
                MetadataValidator().validate_cell(cell)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lessons", "08"], "There is no graded lesson 08"),
        (["--lessons", ""], "There is no graded lesson named"),
        (["--points", "gram=3"], "'gram', which is not among the questions"),
        (["--points", "gram_matrix"], "takes name=number pairs"),
        (["--points", "gram_matrix=0"], "takes name=number pairs"),
        (["--personal", "nobody.txt"], "There is no file nobody.txt"),
        (["--notebooks", "nowhere"], "There are no lessons in nowhere"),
    ],
)
def test_bad_options_get_one_sentence(tmp_path, capsys, arguments, words):
    assert main(["build", str(tmp_path / "c"), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_a_course_is_not_overwritten_unasked(course, capsys):
    assert main(["build", str(course.root)]) == 2
    assert "holds a course already" in capsys.readouterr().err
    with pytest.raises(ClassroomError, match="is not a course folder"):
        Course(course.root / "release")


def test_lessons_may_be_written_in_many_ways():
    assert select("3, 01") == select(["01_images", "03"]) == ["01", "03"]
    assert select(None) == ["01", "03", "04", "05"]
