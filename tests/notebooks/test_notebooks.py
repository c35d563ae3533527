"""The lessons as files: every rule about them, and for every rule a notebook that breaks it."""

from __future__ import annotations

import base64
import copy
import functools
import io
import itertools
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image
from stored_pictures import pictures_of

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
sys.path.insert(0, str(ROOT / "tools" / "notebooks"))

import notebook_setup  # noqa: E402
import run_notebooks  # noqa: E402

LESSONS = (
    "00_quickstart", "01_images", "02_content", "03_gram", "04_model", "05_optimizers", "06_live_tuning", "07_control",
)  # fmt: skip
THERE = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

NOTEBOOK_BYTES, PICTURE_BYTES = 1_000_000, 150_000
CELL_COLUMNS = 88
# Colab's own folder is the one absolute path that a lesson may name.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~<-])/(?!content/)(?:[\w.+@~-]+/)+[\w.+@~-]+|~/[\w.+@-]+/|\b[A-Z]:\\+(?:Users|Windows|Program)|file://"
)
COLOUR = re.compile(r"\x1b\[[\d;]*m")


# What the rules look at


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def words(source: str) -> str:
    """A cell's source without the bytes of embedded pictures, in which any word may turn up."""
    return notebook_setup.DATA_URI.sub("data:", source)


def markdown(nb: NotebookNode) -> str:
    return words("\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown"))


def prose(text: str) -> str:
    """Markdown without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.S))


def headings(nb: NotebookNode) -> list[tuple[int, str]]:
    text = re.sub(r"```.*?```", "", markdown(nb), flags=re.S)
    return [(len(marks), title) for marks, title in re.findall(r"^(#{1,6}) +(.+?) *$", text, re.M)]


def output_texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield from (output.evalue, *output.traceback)
        else:
            texts = (value for kind, value in output.data.items() if kind.startswith("text/"))
            yield from (re.sub(r"data:image/\w+;base64,[\w+/=]+", "data:", text) for text in texts)


def linked(text: str) -> list[str]:
    """Targets of a Markdown text's links and pictures, without anchors; of an embedded picture its file."""
    text = re.sub(r"\]\(data: \"([^\"]+)\"\)", r"](images/\1)", text)
    found = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(text)) + re.findall(
        r"<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)", text
    )
    return [target.partition("#")[0] for target in found]


def name_of(cell: NotebookNode) -> str:
    return f"cell {cell.id}"


# The rules: each takes a notebook and its name and returns what is wrong with it

Rule = Callable[[NotebookNode, str], list[str]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


@rule
def is_a_valid_notebook(nb, name):
    ids = [cell.get("id") for cell in nb.cells]
    wrong = ["a cell has no id, or that of another"] if len({*ids, None}) <= len(ids) else []
    try:
        if not wrong:  # nbformat would only warn of these
            nbformat.validate(copy.deepcopy(nb))
    except nbformat.ValidationError as error:
        wrong.append(str(error).splitlines()[0])
    if (nb.nbformat, nb.nbformat_minor) != (4, 5):
        wrong.append(f"format {nb.nbformat}.{nb.nbformat_minor}, not 4.5")
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        wrong.append("the kernel is not called python3")
    return wrong


@rule
def was_run_from_top_to_bottom(nb, name):
    counts = [cell.execution_count for cell in code_cells(nb)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"counts {counts}"]


@rule
def has_no_untagged_error(nb, name):
    wrong = []
    for cell in code_cells(nb):
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            wrong.append(f"{name_of(cell)} ends in {errors[0]}")
        if not errors and "raises-exception" in tags(cell):
            wrong.append(f"{name_of(cell)} is tagged raises-exception and raises nothing")
    return wrong


@rule
def has_its_outputs_compared(nb, name):
    """nbval skips no cell, and at most a quarter of them may print what differs from run to run."""
    cells = code_cells(nb)
    wrong = [f"{name_of(cell)} is skipped" for cell in cells if {"nbval-skip", "skip-execution"} & set(tags(cell))]
    wrong += [f"{name_of(cell)} has a comment for nbval: use a tag" for cell in cells if "NBVAL_" in cell.source]
    ignored = [name_of(cell) for cell in cells if "nbval-ignore-output" in tags(cell)]
    if len(ignored) > len(cells) / 4:
        wrong.append(f"{len(ignored)} of {len(cells)} cells have the tag nbval-ignore-output, more than a quarter")
    return wrong


@rule
def has_the_first_line_and_the_setup_cell(nb, name):
    wrong = []
    if nb.cells[0].source.splitlines()[:1] != [notebook_setup.colab_line(name)]:
        wrong.append("the first line is not the one about Colab")
    if len(nb.cells) < 2 or nb.cells[1].source != notebook_setup.SETUP or nb.cells[1].cell_type != "code":
        wrong.append("the second cell is not the setup cell")
    if sum("google.colab" in cell.source and "git" in cell.source for cell in code_cells(nb)) > 1:
        wrong.append("there are two setup cells")
    return wrong


@rule
def names_no_absolute_path(nb, name):
    wrong = []
    for cell in nb.cells:
        texts = map(words, [cell.source, *(output_texts(cell) if cell.cell_type == "code" else [])])
        wrong += [f"{name_of(cell)}: {m[0]}" for text in texts for m in ABSOLUTE_PATH.finditer(COLOUR.sub(" ", text))]
    return wrong


@rule
def keeps_no_widget_state(nb, name):
    wrong = sorted({"widgets"} & set(nb.metadata))
    for cell in code_cells(nb):
        wrong += [f"{name_of(cell)}: {kind}" for o in cell.outputs for kind in o.get("data", {}) if "widget" in kind]
    return wrong


@rule
def keeps_only_metadata_with_a_meaning(nb, name):
    wrong = sorted(set(nb.metadata) - {"kernelspec", "language_info"})
    for cell in nb.cells:
        folded = run_notebooks.folding(cell)
        kept = {k: v for k, v in cell.metadata.items() if k not in run_notebooks.KEPT_METADATA}
        wrong += [f"{name_of(cell)}: {key}" for key in kept.keys() | folded.keys() if kept.get(key) != folded.get(key)]
    return wrong


@rule
def gives_no_answer_away_while_folded(nb, name):
    """Of a folded output, JupyterLab shows the first line of its first text, and of a picture what it says."""
    wrong = []
    for cell in code_cells(nb):
        if run_notebooks.folding(cell) == run_notebooks.FOLDED_OUTPUT:
            shown = (text for text in output_texts(cell) if not text.startswith("<"))
            first = next(shown, "").split("\n")[0]
            if re.search(r"\d|✓|✗|True|False", re.sub(r"\b(?:conv|relu)\d_\d", "", first)):
                wrong.append(f"{name_of(cell)} shows {first!r}")
    return wrong


@rule
def writes_nothing_to_stderr(nb, name):
    return [f"{name_of(c)}: {o.text}" for c in code_cells(nb) for o in c.outputs if o.get("name") == "stderr"]


@rule
def has_short_cells(nb, name):
    wrong, sizes = [], []
    for cell in code_cells(nb):
        lines = cell.source.splitlines()
        sizes.append(len(lines))
        if len(lines) > 25:
            wrong.append(f"{name_of(cell)} has {len(lines)} lines, more than 25")
        elif not lines:
            wrong.append(f"{name_of(cell)} is empty")
        wrong += [f"{name_of(cell)} is {len(line)} columns wide" for line in lines if len(line) > CELL_COLUMNS]
    if sizes and statistics.median(sizes) > 6:
        wrong.append(f"the median cell has {statistics.median(sizes)} lines, more than 6")
    # The setup cell is the same everywhere, and nobody has to read it.
    long = sum(len(c.source.splitlines()) > 15 for c in code_cells(nb) if not notebook_setup.is_setup(c.source))
    if long > len(sizes) / 10:
        wrong.append(f"{long} of {len(sizes)} cells have over 15 lines, more than a tenth")
    return wrong


@rule
def has_prose_between_the_code(nb, name):
    run, wrong = 0, []
    for cell in nb.cells:
        run = run + 1 if cell.cell_type == "code" else 0
        if run == 4:
            wrong.append(f"{name_of(cell)} is the fourth code cell in a row")
    return wrong


@rule
def links_to_what_exists(nb, name):
    """Relative links go to other lessons: JupyterLab's server ends at this folder, and Colab opens nothing else."""
    wrong = []
    for target in linked(markdown(nb)):
        if re.match(r"https?:|mailto:|data:|attachment:|$", target):
            continue
        if not (NOTEBOOKS / target).exists():
            wrong.append(f"there is no {target}")
        elif not re.fullmatch(r"\w+\.ipynb|images/[\w.-]+", target):
            wrong.append(f"{target} is no lesson beside this one")
    return wrong


@rule
def shows_no_picture_from_the_web(nb, name):
    """Without a network there would be an empty frame."""
    return re.findall(r"!\[[^]]*\]\((https?:[^)]*)\)", markdown(nb))


@rule
def says_what_a_picture_shows(nb, name):
    """Every picture, static or drawn, has an alternative text where screen readers look for it."""
    wrong = [f"{target} has no alt text" for target in re.findall(r"!\[\s*\]\(([^)]*)\)", markdown(nb))]
    for cell in code_cells(nb):
        silent = sum(not picture.alt.strip() for output in cell.outputs for picture in pictures_of(output))
        if silent:
            wrong.append(f"{name_of(cell)} draws {silent} picture(s) and does not say what they show")
    return wrong


def is_of_its_file(text: str, path: Path) -> bool:
    """Whether a text's embedded picture is that of the file; true of a lost file, for which there is another rule."""
    return not path.exists() or notebook_setup.embed_header(text, path.parent) == text


@rule
def embeds_its_pictures(nb, name):
    """Colab shows a notebook without the files beside it, so text holds its pictures: the header, and one more."""
    wrong, limits = [], (notebook_setup.HEADER_BYTES, notebook_setup.LATER_BYTES)
    found = [(i, cell.source) for i, cell in enumerate(nb.cells) if re.search(r"data:[\w/+.-]+;base64,", cell.source)]
    if not found or found[0][0] != 0 or len(found) > 2:
        wrong.append(f"data URIs in cells {[i for i, _ in found]}, expected the first and one more at most")
    for i, source in found:
        embedded = list(notebook_setup.HEADER.finditer(source))
        if len(re.findall(r"data:[\w/+.-]+;base64,", source)) != 1 or len(embedded) != 1 or not embedded[0][4]:
            wrong.append(f"cell {i} needs one JPEG with a title that names its file")
        elif (size := len(base64.b64decode(embedded[0][3]))) > (limit := limits[bool(i)]):
            wrong.append(f"the picture of cell {i} has {size // 1000} kB, more than {limit // 1000}")
        elif not is_of_its_file(source, NOTEBOOKS / "images" / embedded[0][4]):
            wrong.append(
                f"cell {i} isn't that of {embedded[0][4]}: run `python tools/notebooks/run_notebooks.py --setup`"
            )
    beside = re.findall(r"!\[[^]]*\]\((?!https?:|data:)([^)\s]+)", markdown(nb))
    return wrong + [f"Colab would not show {target}" for target in beside]


@rule
def is_small(nb, name):
    wrong = []
    size = len(nbformat.writes(nb).encode())
    if size >= NOTEBOOK_BYTES:
        wrong.append(f"{size // 1000} kB, not under {NOTEBOOK_BYTES // 1000}")
    pictures = {
        name_of(cell): len(picture.data)
        for cell in code_cells(nb)
        for output in cell.outputs
        for picture in pictures_of(output)
    }
    files = [NOTEBOOKS / target for target in linked(markdown(nb)) if re.search(r"\.(png|jpe?g|gif|webp)$", target)]
    pictures |= {path.name: path.stat().st_size for path in files if path.is_file()}
    return wrong + [f"{where}: a picture of {n // 1000} kB" for where, n in pictures.items() if n >= PICTURE_BYTES]


@rule
def avoids_words_that_belittle(nb, name):
    return re.findall(r"\b(?:simply|obviously|just)\b", prose(markdown(nb)), re.I)


@rule
def has_headings_in_order(nb, name):
    levels = [level for level, _ in headings(nb)]
    wrong = []
    if levels[:1] != [1] or levels.count(1) != 1 or not re.search(r"^# ", nb.cells[0].source, re.M):
        wrong.append("the first cell has to hold the one heading of level 1")
    wrong += [f"from level {a} to {b}" for a, b in itertools.pairwise(levels) if b > a + 1]
    return wrong


@rule
def opens_as_a_lesson(nb, name):
    first = words(nb.cells[0].source)
    wanted = {
        "a title that is a question": r"^# .*\?\s*$",
        "a picture": r"!\[[^]]+\]\(data:[^)]+\)",
        "goals: By the end you can": r"By the end you can",
        "what you need: You need": r"You need",
        "measured minutes: Time: … min": r"Time:.*\d+ min",
    }
    wrong = [f"the first cell lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, first, re.M)]
    goals = re.findall(r"^\s*(?:[-*]|\d\.) ", first.partition("By the end you can")[2].partition("You need")[0], re.M)
    if not 3 <= len(goals) <= 5:
        wrong.append(f"{len(goals)} goals, not three to five")
    return wrong


@rule
def has_one_config_cell(nb, name):
    names = ("SEED", "DEVICE", "SIZE", "STEPS", "ENCODER")
    found = [c for c in code_cells(nb) if all(re.search(rf"^{n}\b.*=", c.source, re.M) for n in names)]
    if len(found) != 1:
        return [f"{len(found)} cells set {', '.join(names)}, expected one"]
    return [] if re.search(r'^ENCODER = "mini"', found[0].source, re.M) else ['the config cell has no ENCODER = "mini"']


@rule
def asks_for_two_predictions(nb, name):
    """Two boxes at least, each with options, then code, then a folded answer."""
    wrong, boxes = [], []
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown" and (number := re.match(r"\W*Predict (\d+\.\d+)", cell.source)):
            boxes.append((i, number[1]))
    if len(boxes) < 2:
        wrong.append(f"{len(boxes)} Predict boxes, expected two")
    ends = [i for i, _ in boxes[1:]] + [len(nb.cells)]
    for (start, number), end in zip(boxes, ends, strict=True):
        if number.split(".")[0] != str(int(name[:2])):
            wrong.append(f"Predict {number} is not of lesson {int(name[:2])}")
        if not all(re.search(rf"\b{letter}\b", nb.cells[start].source) for letter in "AB"):
            wrong.append(f"Predict {number} has no options A and B")
        kinds = [c.cell_type if c.cell_type == "code" else "<details" in c.source for c in nb.cells[start + 1 : end]]
        if "code" not in kinds or True not in kinds[kinds.index("code") :]:
            wrong.append(f"Predict {number} has no folded answer after its code")
    return wrong


NBGRADER_KEYS = {"schema_version", "grade", "locked", "solution", "task", "grade_id", "points", "checksum", "cell_type"}


@rule
def has_two_exercises(nb, name):
    titles = [title for _, title in headings(nb) if title.startswith("Exercise ")]
    wrong = [] if len(titles) >= 2 else [f"{len(titles)} exercises, expected two"]
    wrong += [f"'{title}' does not say how many minutes" for title in titles if not re.search(r"\d+ min", title)]
    return wrong


@rule
def has_exercises_that_nbgrader_can_grade(nb, name):
    """Schema 3, unique ids, and two to four solutions, each followed by its check."""
    graded = [(cell, cell.metadata.nbgrader) for cell in nb.cells if "nbgrader" in cell.metadata]
    wrong = []
    for cell, data in graded:
        if data.get("schema_version") != 3 or not {"grade", "locked", "solution", "grade_id"} <= set(data):
            wrong.append(f"{name_of(cell)} is not of schema 3")
        if set(data) - NBGRADER_KEYS:
            wrong.append(f"{name_of(cell)} has keys that schema 3 does not know")
        if not re.fullmatch(r"[\w-]+", str(data.get("grade_id", "")), re.A):
            wrong.append(f"{name_of(cell)} has the grade_id {data.get('grade_id')!r}")
        if data.get("grade") and not data.get("points", 0) > 0:
            wrong.append(f"{name_of(cell)} gives no points")
        if data.get("grade") and not data.get("solution") and not data.get("locked"):
            wrong.append(f"{name_of(cell)} is a check that a learner could edit")
    ids = [data.get("grade_id") for _, data in graded]
    if len(set(ids)) != len(ids):
        wrong.append("two cells have the same grade_id")
    kinds = [
        "solution" if data.get("solution") else "check"
        for cell, data in graded
        if cell.cell_type == "code" and (data.get("solution") or data.get("grade"))
    ]
    if kinds != ["solution", "check"] * (len(kinds) // 2):
        wrong.append(f"solutions and checks do not alternate: {kinds}")
    if not 2 <= kinds.count("solution") <= 4:
        wrong.append(f"{kinds.count('solution')} exercises for nbgrader, expected two to four")
    return wrong


@rule
def closes_as_a_lesson(nb, name):
    """The goals mirrored, five recall questions with folded answers, and what to read."""
    text, wrong = markdown(nb), []
    if "You can now" not in text:
        wrong.append("no 'You can now' at the end")
    sections = re.split(r"^#{2,3} +", text, flags=re.M)
    recall = [s for s in sections if re.match(r".*\b(?:recall|questions)\b", s.splitlines()[0] if s else "", re.I)]
    answers = sum(len(re.findall(r"<summary>", section)) for section in recall)
    if answers < 5:
        wrong.append(f"{answers} folded answers under a heading with 'recall' or 'questions' in it, expected five")
    if not re.search(r"https?://(?:www\.)?(?:arxiv\.org|doi\.org)/", text):
        wrong.append("nothing to read: no arXiv or DOI link")
    if text.count("<details") != text.count("</details>") or text.count("<summary>") != text.count("</summary>"):
        wrong.append("a folded block is not closed")
    return wrong


# The lessons that are there


@functools.cache
def stored(name: str) -> NotebookNode:
    """A lesson as it is stored; no rule changes it."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", THERE)
@pytest.mark.parametrize("check", RULES)
def test_lesson(name, check):
    assert RULES[check](stored(name), name) == []


def test_the_lessons_are_these():
    assert tuple(THERE) == LESSONS


def test_the_setup_tag_is_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"v{version}" == notebook_setup.TAG


def test_threads_are_told_to_spin_shortly_before_a_lesson_imports_pytorch():
    """The library reads it once, when PyTorch loads it: a lesson beside another busy process was ten times slower."""
    code = notebook_setup.SETUP + "\nprint('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "PASSIVE"]


def test_the_readme_lists_every_lesson_and_its_way_to_colab(tmp_path):
    """As the tool would write it: a live link, or none before the course is published."""
    page = tmp_path / "README.md"
    page.write_bytes((ROOT / "README.md").read_bytes())
    assert not notebook_setup.write_links(page)
    rows = notebook_setup.LESSON_ROW.findall(page.read_text(encoding="utf-8"))
    assert tuple(name for _, name, _ in rows) == LESSONS
    assert bool(notebook_setup.COLAB_LINK.search(page.read_text(encoding="utf-8"))) == notebook_setup.published()


# A good lesson, and for every rule what breaks it


def md(text: str, cell_id: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=cell_id)


def code(text: str, cell_id: str, *outputs: dict, **metadata) -> NotebookNode:
    made = nbformat.v4.new_code_cell(
        text, id=cell_id, outputs=list(map(nbformat.from_dict, outputs)), metadata=metadata
    )
    made.metadata.update(run_notebooks.folding(made))
    return made


def printed(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def drawn(size: int = 100, said: str = "A blue square.") -> dict:
    page = f'<img src="data:image/png;base64,{base64.b64encode(bytes(size)).decode()}" alt="{said}">'
    return {"output_type": "display_data", "data": {"text/html": page, "text/plain": said}, "metadata": {}}


def bare() -> dict:
    """A picture as matplotlib itself shows one."""
    data = {"image/png": base64.b64encode(bytes(100)).decode(), "text/plain": "<Figure size 640x480 with 1 Axes>"}
    return {"output_type": "display_data", "data": data, "metadata": {"image/png": {"alt": "A blue square."}}}


def result(text: str) -> dict:
    return {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": None}


def failed(ename: str = "ValueError") -> dict:
    return {"output_type": "error", "ename": ename, "evalue": "so", "traceback": ["so"]}


def exercise(number: int) -> list[NotebookNode]:
    keys = {"schema_version": 3, "locked": False, "grade": False, "solution": True, "grade_id": f"ex-3-{number}"}
    check = keys | {"grade": True, "solution": False, "locked": True, "grade_id": f"check-3-{number}", "points": 2}
    return [
        md(f"## Exercise 3.{number} · gram ★☆☆ · 5 min · 2 points", f"ex-{number}"),
        code("def gram(features): ...", f"stub-{number}", nbgrader=keys),
        code("check_gram(gram)", f"check-{number}", printed("to do"), nbgrader=check),
    ]


def good_lesson() -> NotebookNode:
    """The least that keeps all rules."""
    cells = [
        md(
            notebook_setup.colab_line("03_gram") + "\n# What is it?\n\n![A picture of it](images/it.jpg)\n\n"
            "By the end you can\n- do\n- say\n- see\n\nYou need Python.\n\nTime: about 5 min",
            "title",
        ),
        code(notebook_setup.SETUP, "setup"),
        code('SEED = 0\nDEVICE = "cpu"\nSIZE = 96\nSTEPS = 5\nENCODER = "mini"', "config"),
        md("**Predict 3.1** Is it\n\n- A: more\n- B: less", "predict-1"),
        code("print('It is')\nprint(12.5)", "reveal-1", printed("It is\n12.5\n")),
        md("<details><summary>Answer 3.1</summary>\n\nA.\n\n</details>", "answer-1"),
        md("**Predict 3.2** Is it\n\n- A: red\n- B: blue", "predict-2"),
        code("show(figure)", "reveal-2", drawn()),
        md("<details><summary>Answer 3.2</summary>\n\nB.\n\n</details>", "answer-2"),
        *exercise(1),
        *exercise(2),
        md("## You can now\n\ndo it; read on in [the next](04_model.ipynb).", "now"),
        md(
            "## Five questions to recall\n\n"
            + "\n".join(f"<details><summary>{i}. Why?</summary>\n\nSo.\n\n</details>\n" for i in range(1, 6)),
            "recall",
        ),
        md("### To read\n\n[Gatys et al. 2016](https://doi.org/10.1109/CVPR.2016.265)", "read"),
    ]
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for count, cell in enumerate(code_cells(nb), 1):
        cell.execution_count = count
    return nb


def picture(path: Path, *, grey: int = 90) -> None:
    Image.new("RGB", (30, 20), (grey, grey, grey)).save(path)


def large(nb: NotebookNode) -> None:
    """The header picture as a JPEG of more than 50 kB, marked as made from its file."""
    noise = Image.effect_noise((600, 400), 90)
    old = base64.b64decode(notebook_setup.DATA_URI.search(nb.cells[0].source)[1])
    noise.save(file := io.BytesIO(), "JPEG", quality=95, comment=Image.open(io.BytesIO(old)).info["comment"])
    data = base64.b64encode(file.getvalue()).decode()
    nb.cells[0].source = notebook_setup.DATA_URI.sub(f"data:image/jpeg;base64,{data}", nb.cells[0].source)


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A good lesson beside its picture and the next one."""
    monkeypatch.setattr(sys.modules[__name__], "NOTEBOOKS", tmp_path)
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images" / "it.jpg")
    (tmp_path / "04_model.ipynb").touch()
    nb = good_lesson()
    nb.cells[0].source = notebook_setup.embed_header(nb.cells[0].source, tmp_path / "images")
    return nb


def cell(nb: NotebookNode, cell_id: str) -> NotebookNode:
    return next(c for c in nb.cells if c.id == cell_id)


def edit(cell_id: str, old: str, new: str) -> Callable[[NotebookNode], None]:
    def spoil(nb: NotebookNode) -> None:
        assert old in cell(nb, cell_id).source
        cell(nb, cell_id).source = cell(nb, cell_id).source.replace(old, new)

    return spoil


def put(cell_id: str, *outputs: dict, source: str | None = None) -> Callable[[NotebookNode], None]:
    def spoil(nb: NotebookNode) -> None:
        cell(nb, cell_id).outputs = list(map(nbformat.from_dict, outputs))
        if source is not None:
            cell(nb, cell_id).source = source

    return spoil


def drop(cell_id: str) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.cells.remove(cell(nb, cell_id))


def insert(after: str, *new: NotebookNode) -> Callable[[NotebookNode], None]:
    def spoil(nb: NotebookNode) -> None:
        at = nb.cells.index(cell(nb, after)) + 1
        nb.cells[at:at] = copy.deepcopy(new)

    return spoil


def tag(label: str, *cell_ids: str) -> Callable[[NotebookNode], None]:
    return lambda nb: [cell(nb, cell_id).metadata.update(tags=[label]) for cell_id in cell_ids]


def grading(cell_id: str, **changes) -> Callable[[NotebookNode], None]:
    return lambda nb: cell(nb, cell_id).metadata.nbgrader.update(changes)


def strip(nb: NotebookNode) -> None:
    for c in code_cells(nb):
        c.outputs, c.execution_count = [], None


def every(size: int) -> Callable[[NotebookNode], None]:
    def spoil(nb: NotebookNode) -> None:
        for c in code_cells(nb):
            c.source = "\n".join(["x = 1"] * size)

    return spoil


LONG = "\n".join(["x = 1"] * 26)
SPOILERS: dict[tuple[str, str], Callable[[NotebookNode], None]] = {
    ("is_a_valid_notebook", "two cells of one id"): lambda nb: nb.cells[0].update(id="setup"),
    ("is_a_valid_notebook", "no id"): lambda nb: nb.cells[3].pop("id"),
    ("is_a_valid_notebook", "format 4.4"): lambda nb: nb.update(nbformat_minor=4),
    ("is_a_valid_notebook", "another kernel"): lambda nb: nb.metadata.kernelspec.update(name="nst"),
    ("was_run_from_top_to_bottom", "stripped"): strip,
    ("was_run_from_top_to_bottom", "run twice"): lambda nb: cell(nb, "reveal-2").update(execution_count=17),
    ("was_run_from_top_to_bottom", "two cells swapped"): lambda nb: nb.cells.insert(4, nb.cells.pop(7)),
    ("has_no_untagged_error", "an error"): put("reveal-1", failed()),
    ("has_no_untagged_error", "a tag without an error"): tag("raises-exception", "reveal-1"),
    ("has_its_outputs_compared", "a skipped cell"): tag("nbval-skip", "reveal-1"),
    ("has_its_outputs_compared", "a comment"): edit("reveal-1", "print", "# NBVAL_IGNORE_OUTPUT\nprint"),
    ("has_its_outputs_compared", "three of eight ignored"): tag("nbval-ignore-output", "reveal-1", "reveal-2", "setup"),
    ("has_the_first_line_and_the_setup_cell", "another first line"): edit(
        "title", notebook_setup.colab_line("03_gram"), f"[Open in Colab]({notebook_setup.colab_link('04_model')})"
    ),
    ("has_the_first_line_and_the_setup_cell", "no first line"): edit("title", notebook_setup.colab_line("03_gram"), ""),
    ("has_the_first_line_and_the_setup_cell", "a space in the setup"): edit("setup", "import os\n", "import os \n"),
    ("has_the_first_line_and_the_setup_cell", "no setup"): drop("setup"),
    ("names_no_absolute_path", "in code"): edit("reveal-1", "12.5", "open('/home/ann/x.png')"),
    ("names_no_absolute_path", "in an output"): put("reveal-1", printed("saved to /tmp/abc/x.png")),
    ("names_no_absolute_path", "in a coloured traceback"): put(
        "reveal-1", failed() | {"traceback": ["File \x1b[32m/opt/lib/x.py\x1b[0m"]}
    ),
    ("names_no_absolute_path", "in prose"): edit("now", "do it", "look into C:\\Users\\ann"),
    ("names_no_absolute_path", "a home"): put("reveal-1", printed("in ~/course/x.png")),
    ("keeps_no_widget_state", "state"): lambda nb: nb.metadata.update(widgets={}),
    ("keeps_no_widget_state", "a view"): put(
        "reveal-1", {"output_type": "display_data", "data": {run_notebooks.WIDGET_VIEW: {}}, "metadata": {}}
    ),
    ("keeps_only_metadata_with_a_meaning", "Colab's"): lambda nb: nb.metadata.update(colab={"provenance": []}),
    ("keeps_only_metadata_with_a_meaning", "a cell's"): lambda nb: nb.cells[0].metadata.update(collapsed=True),
    ("keeps_only_metadata_with_a_meaning", "an answer laid open"): lambda nb: cell(nb, "reveal-1").metadata.clear(),
    ("keeps_only_metadata_with_a_meaning", "an open setup cell"): lambda nb: cell(nb, "setup").metadata.pop("jupyter"),
    ("gives_no_answer_away_while_folded", "a number"): put("reveal-1", printed("12.5\n")),
    ("gives_no_answer_away_while_folded", "what a picture says"): put("reveal-2", drawn(said="It is 3 times as blue.")),
    ("gives_no_answer_away_while_folded", "a claim"): put("reveal-2", printed("✓ it is blue [1 > 0]\n"), drawn()),
    ("writes_nothing_to_stderr", "a warning"): put("reveal-1", printed("UserWarning: old", "stderr")),
    ("has_short_cells", "26 lines"): put("reveal-1", source=LONG),
    ("has_short_cells", "two of nine over 15"): lambda nb: [
        put(name, source="x = 1\n" * 16)(nb) for name in ("reveal-1", "reveal-2")
    ],
    ("has_short_cells", "seven lines each"): every(7),
    ("has_short_cells", "too wide"): put("reveal-1", source="x = '" + "a" * 90 + "'"),
    ("has_short_cells", "empty"): put("reveal-1", source=""),
    ("has_prose_between_the_code", "four cells"): insert("config", code("1", "a"), code("2", "b")),
    ("links_to_what_exists", "a dead link"): edit("now", "04_model.ipynb", "04_models.ipynb"),
    ("links_to_what_exists", "a way out of the folder"): edit("now", "04_model.ipynb", "../notebooks"),
    ("links_to_what_exists", "a page that Colab can't open"): edit("now", "04_model.ipynb", "images"),
    ("links_to_what_exists", "a lost picture"): edit("title", '"it.jpg"', '"lost.jpg"'),
    ("embeds_its_pictures", "a linked one"): lambda nb: nb.cells[0].update(source=good_lesson().cells[0].source),
    ("embeds_its_pictures", "a second of another kind"): edit("now", "do it", "![x](data:image/png;base64,AAAA)"),
    ("embeds_its_pictures", "two more"): lambda nb: [
        cell(nb, name).update(source=cell(nb, name).source + "\n\n" + nb.cells[0].source) for name in ("now", "read")
    ],
    ("embeds_its_pictures", "one beside it"): edit("now", "do it", "![x](images/it.jpg)"),
    ("embeds_its_pictures", "no title"): edit("title", ' "it.jpg"', ""),
    ("embeds_its_pictures", "an old one"): lambda nb: picture(NOTEBOOKS / "images" / "it.jpg", grey=91),
    ("embeds_its_pictures", "51 kB"): large,
    ("shows_no_picture_from_the_web", "hot link"): edit("now", "do it", "![it](https://example.org/it.jpg)"),
    ("says_what_a_picture_shows", "a bare picture"): put("reveal-2", bare()),
    ("says_what_a_picture_shows", "a silent one of two"): put("reveal-2", drawn(), drawn(said="")),
    ("says_what_a_picture_shows", "no alt text"): edit("title", "A picture of it", ""),
    ("is_small", "a large picture"): put("reveal-2", drawn(150_000)),
    ("is_small", "a large file beside it"): lambda nb: (NOTEBOOKS / "images" / "it.jpg").write_bytes(bytes(150_000)),
    ("is_small", "a large notebook"): put("reveal-1", printed("a" * 1_000_000)),
    ("avoids_words_that_belittle", "just"): edit("now", "do it", "Just do it"),
    ("avoids_words_that_belittle", "simply"): edit("now", "do it", "simply do it"),
    ("avoids_words_that_belittle", "obviously"): edit("now", "do it", "do it, obviously"),
    ("has_headings_in_order", "no level 1"): edit("title", "# What", "## What"),
    ("has_headings_in_order", "two of level 1"): edit("now", "## You", "# You"),
    ("has_headings_in_order", "a level left out"): edit("ex-1", "## Ex", "### Ex"),
    ("opens_as_a_lesson", "no question"): edit("title", "it?", "it."),
    ("opens_as_a_lesson", "no picture"): edit("title", "![A picture of it](", "["),
    ("opens_as_a_lesson", "two goals"): edit("title", "- do\n", ""),
    ("opens_as_a_lesson", "no time"): edit("title", "5 min", "a while"),
    ("opens_as_a_lesson", "no needs"): edit("title", "You need", "With"),
    ("has_one_config_cell", "none"): edit("config", "STEPS", "COUNT"),
    ("has_one_config_cell", "two"): insert("config", code(good_lesson().cells[2].source, "config-2")),
    ("has_one_config_cell", "another encoder"): edit("config", '"mini"', '"vgg19"'),
    ("asks_for_two_predictions", "one"): drop("predict-2"),
    ("asks_for_two_predictions", "no options"): edit("predict-1", "B:", "or"),
    ("asks_for_two_predictions", "no answer"): drop("answer-1"),
    ("asks_for_two_predictions", "the answer before the code"): lambda nb: nb.cells.insert(4, nb.cells.pop(5)),
    ("asks_for_two_predictions", "another lesson's number"): edit("predict-1", "3.1", "4.1"),
    ("has_two_exercises", "one"): edit("ex-2", "Exercise", "Task"),
    ("has_two_exercises", "no minutes"): edit("ex-2", "5 min", ""),
    ("has_exercises_that_nbgrader_can_grade", "schema 2"): grading("stub-1", schema_version=2),
    ("has_exercises_that_nbgrader_can_grade", "one id twice"): grading("stub-2", grade_id="ex-3-1"),
    ("has_exercises_that_nbgrader_can_grade", "a space in an id"): grading("stub-2", grade_id="ex 3"),
    ("has_exercises_that_nbgrader_can_grade", "an unknown key"): grading("stub-2", minutes=3),
    ("has_exercises_that_nbgrader_can_grade", "no points"): grading("check-1", points=0),
    ("has_exercises_that_nbgrader_can_grade", "an open check"): grading("check-1", locked=False),
    ("has_exercises_that_nbgrader_can_grade", "a lost check"): drop("check-1"),
    ("has_exercises_that_nbgrader_can_grade", "one exercise"): lambda nb: [drop(n)(nb) for n in ("stub-1", "check-1")],
    ("closes_as_a_lesson", "no goals"): edit("now", "You can now", "The end"),
    ("closes_as_a_lesson", "four questions"): edit("recall", "<summary>5", "<b>5"),
    ("closes_as_a_lesson", "an open block"): edit("answer-1", "</details>", ""),
    ("closes_as_a_lesson", "nothing to read"): edit("read", "https://doi.org/", "https://example.org/"),
}


@pytest.mark.parametrize("check", RULES)
def test_a_good_lesson_keeps_the_rule(lesson, check):
    assert RULES[check](lesson, "03_gram") == []


@pytest.mark.parametrize(("check", "how"), SPOILERS, ids=lambda part: part.replace(" ", "-"))
def test_the_rule_sees_a_lesson_spoilt_by(lesson, check, how):
    SPOILERS[check, how](lesson)
    assert RULES[check](lesson, "03_gram") != []


def test_every_rule_has_a_lesson_that_breaks_it():
    assert {check for check, _ in SPOILERS} == set(RULES)


# nbval, with the settings of a plain `pytest`


def test_a_plain_pytest_runs_tests_doctests_and_lessons():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests", "nst_helpers", "notebooks"]
    assert {"--doctest-modules", "--nbval", "--nbval-current-env"} <= set(options["addopts"].split())


@pytest.mark.slow
def test_nbval_fails_on_a_changed_digit_and_on_nothing_that_may_change(tmp_path):
    """Each cell of one notebook, and whether its stored output has to pass."""
    ran, raised = "nbval-ignore-output", "raises-exception"
    cases = [
        ("the same", code("print('loss 12.5')", "c0", printed("loss 12.5\n")), True),
        ("a changed digit", code("print('loss 12.5')", "c1", printed("loss 12.4\n")), False),
        ("a changed result", code("[3, 128]", "c2", result("[3, 129]")), False),
        ("other seconds", code("print('12 steps took 3.1 s')", "c3", printed("12 steps took 17.25 s\n")), True),
        ("other steps", code("print('12 steps took 3.1 s')", "c4", printed("13 steps took 3.1 s\n")), False),
        ("another folder", code("print('in /a/b/c.png')", "c5", printed("in PATH\n")), True),
        ("another version", code("print('torch 2.9.1+cpu')", "c6", printed("torch 2.11.0\n")), True),
        ("a lost output", code("print('loss 12.5')", "c7"), False),
        ("an output more", code("pass", "c8", printed("loss 12.5\n")), False),
        ("tagged", code("print(1)", "c9", printed("2\n"), tags=[ran]), True),
        ("an error", code("1 / 0", "c10", failed("ZeroDivisionError")), False),
        (
            "the error meant",
            code("raise ValueError('so')", "c11", failed(), tags=[raised]),
            True,
        ),
        ("another error", code("raise KeyError('so')", "c12", failed(), tags=[raised]), False),
    ]
    nb = nbformat.v4.new_notebook(cells=[c for _, c, _ in cases])
    for count, c in enumerate(nb.cells, 1):
        c.execution_count = count
    nbformat.write(nb, tmp_path / "mutants.ipynb")
    plain = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-n", "0", "-p", "no:cacheprovider"]
    out = subprocess.run([*plain, str(tmp_path / "mutants.ipynb")], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 1, out.stdout + out.stderr
    bad = {int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", out.stdout, re.M)}
    assert [what for i, (what, _, _) in enumerate(cases) if i in bad] == [what for what, _, good in cases if not good]


def sanitised(text: str) -> str:
    from nbval.plugin import get_sanitize_patterns

    for pattern, new in get_sanitize_patterns((ROOT / "tests" / "nbval.cfg").read_text("utf-8")):
        text = re.sub(pattern, new, text)
    return text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("took 3 s", "took 12.75 s"),
        ("1.5 seconds for it", "22 seconds for it"),
        ("8ms", "11.2ms"),
        ("saved /home/ann/out.png", "saved /tmp/x_1/y-2/out.png"),
        (r"saved C:\Users\ann\out.png", r"saved D:\My files\out.png"),
        ("torch 2.11.0+cu128", "torch 2.6.0"),
        ("Python 3.13.15, numpy 2.1.3", "Python 3.11.7, numpy 2.4.6"),
    ],
)
def test_seconds_paths_and_versions_are_blanked(one, other):
    assert sanitised(one) == sanitised(other)


@pytest.mark.parametrize(
    "text",
    [
        "style loss 0.034, content loss 12.5",
        "right: gram_matrix passed 7 checks",
        "torch.Size([1, 3, 128, 160])",
        "tensor([[1.5000, 2.]], dtype=torch.float64)",
        "relu4_2 keeps 31 % after 200 steps, 3.5x less, 8 samples",
        "L-BFGS wins 5 of 6; conv5_1: 92 pixels; 3/4/5; 1e-05",
        "version 2 of torch, 25 styles, 12 min, 4 max",
    ],
)
def test_no_other_digit_is_blanked(text):
    for i in (i for i, letter in enumerate(text) if letter.isdigit()):
        changed = text[:i] + str((int(text[i]) + 1) % 10) + text[i + 1 :]
        assert sanitised(changed) != sanitised(text), changed


@pytest.mark.parametrize("name", THERE)
def test_little_of_a_lesson_is_blanked(name):
    """A pattern that matches half a lesson's numbers would leave little to compare. (A claim compares its own.)"""
    digits = blanked = 0
    for c in code_cells(stored(name)):
        for output in c.outputs:
            texts = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k == "text/plain")]
            texts = [re.sub(r"^✓ .*$", "", text, flags=re.M) for text in texts]
            digits += sum(letter.isdigit() for text in texts for letter in text)
            blanked += sum(letter.isdigit() for text in texts for letter in text) - sum(
                letter.isdigit() for text in texts for letter in sanitised(text)
            )
    assert blanked <= 0.1 * digits
