"""Fifty synthetic students and one more: what each hands in, and the marks that each has to get."""

# ruff: noqa: E501 - the hand-ins are code of others
from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SHARE = dict[str, float]


@dataclass
class Student:
    """Notebooks by name, and what has to come out: the share of the points for what is not right, and the words."""

    name: str
    notebooks: dict[str, dict | bytes]
    expected: SHARE = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # question: pattern in its reason
    named: str = ""  # pattern in the accidents or the notes
    how: str = "folder"  # or "files", "zip"


def load(folder: Path) -> dict[str, dict]:
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        found[path.stem] = notebook
    return found


def grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


class Writer:
    """Fills in released notebooks: right answers come from the source, others from the tables below."""

    def __init__(self, release: Path, source: Path, questions: list) -> None:
        self.release, self.source = load(release), load(source)
        self.questions = {q.name: q for q in questions if not q.written}

    def write(self, answers: dict[str, str] | None = None, *, blank: tuple[str, ...] = ()) -> dict[str, dict]:
        """All answers right but for those given, and those left blank."""
        made = json.loads(json.dumps(self.release))
        for question in self.questions.values():
            if question.name in blank:
                continue
            right = next(c for c in self.source[question.notebook]["cells"] if grade_id(c) == question.answer_id)
            text = (answers or {}).get(question.name, right["source"].replace("### BEGIN SOLUTION", "# my solution"))
            self.answer(made, question.name)["source"] = text.strip("\n")
        return made

    def answer(self, notebooks: dict[str, dict], name: str) -> dict:
        question = self.questions[name]
        return next(c for c in notebooks[question.notebook]["cells"] if grade_id(c) == question.answer_id)

    def test(self, notebooks: dict[str, dict], name: str) -> dict:
        question = self.questions[name]
        return next(c for c in notebooks[question.notebook]["cells"] if grade_id(c) == question.test_id)

    def insert_before(self, notebooks: dict[str, dict], name: str, source: str) -> None:
        cells = notebooks[self.questions[name].notebook]["cells"]
        at = cells.index(self.answer(notebooks, name))
        cells.insert(at, code(source))


def as_bytes(book: dict | bytes) -> bytes:
    """A notebook as it is handed in."""
    return book if isinstance(book, bytes) else json.dumps(book).encode()


def code(source: str, cell_id: str = "new") -> dict:
    base = {"cell_type": "code", "execution_count": None, "id": cell_id, "metadata": {}, "outputs": []}
    return {**base, "source": source.strip("\n")}


# Right, but not as one would write it.
UNUSUAL = {
    "einsum": {"gram_matrix": "def gram_matrix(f):\n    return torch.einsum('bchw,bdhw->bcd', f, f) / (f.shape[2] * f.shape[3])"},
    "loops": {
        "gram_matrix": """
def gram_matrix(features):
    b, c, h, w = features.shape
    gram = torch.zeros(b, c, c, dtype=features.dtype)
    for k in range(b):
        for i in range(c):
            for j in range(c):
                gram[k, i, j] = (features[k, i] * features[k, j]).sum() / (h * w)
    return gram""",
        "to_tensor": """
def to_tensor(a):
    planes = [torch.tensor(a[:, :, c] / 255, dtype=torch.float32) for c in range(3)]
    return torch.stack(planes)[None]""",
    },
    "other names": {
        "total_loss": "def total_loss(a, bs, alpha, beta):\n    return alpha * a + beta * sum(bs) / len(bs)",
        "make_closure": """
def make_closure(opt, x, f):
    def g():
        opt.zero_grad()
        v = f(x)
        v.backward()
        return v
    return g""",
    },
    "own copy in place": {
        "normalize": """
def normalize(image):
    out = image.clone()
    out -= image.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    out /= image.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return out""",
        "gram_matrix": """
def gram_matrix(features):
    flat = features.reshape(*features.shape[:2], -1)
    gram = flat @ flat.mT
    gram /= flat.shape[-1]
    return gram""",
    },
    "another formula": {
        "style_loss": "def style_loss(gram, target):\n    return ((gram - target) ** 2).mean() / (target ** 2).mean()",
        "denormalize": """
def denormalize(x):
    mean, std = x.new_tensor([0.485, 0.456, 0.406]), x.new_tensor([0.229, 0.224, 0.225])
    return (x + (mean / std).view(3, 1, 1)) * std.view(3, 1, 1)""",
        "total_variation": """
def total_variation(image):
    return F.l1_loss(image[:, :, 1:], image[:, :, :-1]) + F.l1_loss(image[..., 1:], image[..., :-1])""",
    },
    "numpy": {
        "to_array": """
def to_array(image):
    pixels = np.clip(image.detach().numpy()[0], 0, 1) * 255
    return np.rint(pixels).astype(np.uint8).transpose(1, 2, 0)""",
        "to_tensor": "def to_tensor(a):\n    return torch.from_numpy(np.moveaxis(a, -1, 0).copy()).mul(1 / 255)[None]",
    },
    "lambda": {
        "gram_matrix": "gram_matrix = lambda f: torch.stack([x.flatten(1) @ x.flatten(1).T for x in f]) / f[0, 0].numel()",
        "style_loss": "style_loss = lambda g, a: (g - a).square().sum() / a.square().sum()",
    },
    "subclass": {
        "content_loss_layer": """
class Transparent(nn.Module):
    def forward(self, features):
        self.loss = self.measure(features)
        return features

class ContentLossLayer(Transparent):
    def __init__(self, target):
        super().__init__()
        self.register_buffer("target", target.detach().clone())
    def measure(self, features):
        return ((features - self.target) ** 2).sum() / (self.target ** 2).sum()""",
    },
    "a decorator": {
        "style_loss_layer": """
import functools

def keep(method):
    @functools.wraps(method)
    def wrapped(self, features):
        self.loss = method(self, features)
        return features
    return wrapped

class StyleLossLayer(nn.Module):
    def __init__(self, target_features):
        super().__init__()
        with torch.no_grad():
            self.target = nst.gram_matrix(target_features)
    @keep
    def forward(self, features):
        return nst.style_loss(nst.gram_matrix(features), self.target)""",
    },
    "a dictionary": {
        "total_loss": """
def total_loss(content_loss, style_losses, content_weight, style_weight):
    parts = {"content": content_weight * content_loss, "style": style_weight * torch.stack(list(style_losses)).mean()}
    return sum(parts.values())""",
    },
    "double inside": {
        "gram_matrix": """
def gram_matrix(features):
    f = features.double().flatten(2)
    return (torch.bmm(f, f.transpose(1, 2)) / f.size(2)).to(features.dtype)""",
    },
    "chatty": {
        "total_variation": """
def total_variation(image):
    import warnings
    print("image", image.shape)
    warnings.warn("nothing to worry about")
    return image.diff(dim=2).abs().mean() + image.diff(dim=3).abs().mean()""",
    },
}  # fmt: skip

# Cells that nothing needs, and that bring a parser to its knees.
PARSERS_FOES = {
    "an elif chain": "choice = 7\nif choice == 0:\n    x = 0\n"
    + "".join(f"elif choice == {n}:\n    x = {n}\n" for n in range(1, 300)),
    "a long sum": "total = " + " + ".join(map(str, range(1200))),
    "shell lines": "\n".join("!true" if n % 2 else "%pwd" for n in range(600)),
    "half a character": "text = '\ud83d'",
}

# Wrong: (question, pattern in the reason, code). Hard-coded, copied, delegated, swallowed.
SLY = {
    "hard-coded example": (
        "gram_matrix", "gives shape|size or value is written",
        "def gram_matrix(features):\n    return torch.tensor([[[2.5, 1.5], [1.5, 4.5]]])[:, :1, :1].expand(len(features), 2, 2)"
        " if features.shape[1] != 2 or features.shape[2] != 1 else torch.tensor([[[2.5, 1.5], [1.5, 4.5]]])",
    ),
    "hard-coded by shape": (
        "total_loss", "gives|multiplies",
        "def total_loss(c, s, a, b):\n    return (c * 0 + 303.0) if len(s) == 2 else c * 0 + s[0] * 0 + 36.0",
    ),
    "hard-coded number": (
        "style_loss", "gives a Python number",
        "def style_loss(gram, target):\n    return 0.25",
    ),
    "returns its input": ("normalize", "gives the image back", "def normalize(image):\n    return image"),
    "returns its input, denormalised": ("denormalize", "gives back what came", "def denormalize(x):\n    return x"),
    "returns a constant": ("total_variation", "gives|expected|cuts", "def total_variation(image):\n    return torch.tensor(0.5)"),
    "calls the package": ("gram_matrix", "course's own", "def gram_matrix(features):\n    return nst.gram_matrix(features)"),
    "is the package": ("gram_matrix", "course's own", "gram_matrix = nst.gram_matrix"),
    "imports the package": (
        "to_tensor", "course's own", "from nst_helpers.checks.lessons import to_tensor"
    ),
    "from far away": (
        "style_loss", "course's own",
        "import importlib\nown = getattr(importlib.import_module('nst_helpers.losses'), 'style' + '_loss')\n"
        "def style_loss(gram, target):\n    return own(gram, target)",
    ),
    "convention": (
        "style_loss", "course's own",
        "def style_loss(gram, target):\n    return nst.get_convention('relative').style(gram, target)",
    ),
    "the encoder's": (
        "normalize", "course's own", "def normalize(image):\n    return nst.load_encoder('mini').normalize(image)"
    ),
    "the package's layer": (
        "content_loss_layer", "course's own", "from nst_helpers import ContentLoss as ContentLossLayer"
    ),
    "inherits": (
        "style_loss_layer", "course's own", "class StyleLossLayer(nst.lessons.StyleLossLayer):\n    pass"
    ),
    "swallows and delegates": (
        "total_variation", "course's own",
        "def total_variation(image):\n    try:\n        return undefined_name(image)\n    except Exception:\n"
        "        return nst.total_variation(image)",
    ),
    "delegates and swallows": (
        "make_closure", "course's own",
        "def make_closure(optimizer, image, loss_function):\n    try:\n"
        "        return nst.lessons.make_closure(optimizer, image, loss_function)\n    except BaseException:\n        pass",
    ),
    "swallows": (
        "to_array", "expected a NumPy array|returns nothing|gives",
        "def to_array(image):\n    try:\n        return image.nunpy()\n    except Exception:\n        return None",
    ),
    "swallows all": (
        "style_loss", "gives|expected|rounded",
        "def style_loss(gram, target):\n    try:\n        return (gram - targt).sum()\n    except:\n        return torch.zeros(())",
    ),
    "overwrites the check": (
        "gram_matrix", "gives shape",
        "def gram_matrix(features):\n    return features\nchecks.check_gram_matrix = lambda f: checks.Verdict('gram_matrix', True, 'passed')",
    ),
    "overwrites require": (
        "normalize", "gives the image back",
        "checks.Verdict.require = lambda self: self\nchecks.Verdict.__bool__ = lambda self: True\ndef normalize(image):\n    return image",
    ),
    "overwrites the hidden tests": (
        "style_loss", "gives|stops with ImportError|size",
        "from nst_helpers.classroom import hidden\nhidden.prove = lambda *a, **k: 2\nhidden.inspect = lambda *a, **k: (1.0, checks.Verdict('x', True, ''))\n"
        "def style_loss(gram, target):\n    return gram.sum()",
    ),
    "changes the code in place": (
        "total_loss", "stops with ImportError|gives|mean",
        "from nst_helpers.checks import values\ndef agreed(a, b, *, tolerance=1e-4):\n    return True\n"
        "values.close.__code__ = agreed.__code__\ndef total_loss(c, s, a, b):\n    return a * c + b * sum(s)",
    ),
    "patches torch": (
        "gram_matrix", "H \\* W times",
        "torch.Tensor.isclose = torch.Tensor.allclose = lambda *a, **k: True\ntorch.equal = lambda *a: True\n"
        "def gram_matrix(features):\n    return features.flatten(2) @ features.flatten(2).mT",
    ),
    "patches when called": (
        "total_variation", "raises ModuleNotFoundError|gives",
        "def total_variation(image):\n    import nst_helpers.checks.functions as e\n    e._all_close = lambda *a: True\n    return image.sum()",
    ),
    "patches builtins": (
        "to_tensor", "channels come last",
        "import builtins\nbuiltins.all = lambda x: True\ndef to_tensor(array):\n    return torch.from_numpy(array)",
    ),
    "swaps the oracle": (
        "gram_matrix", "gives shape",
        "from nst_helpers import checks as c\nc.CHECKS['gram_matrix'] = (lambda f: c.Verdict('gram_matrix', True, ''), None)\n"
        "def gram_matrix(features):\n    return features.sum((2, 3))",
    ),
    "breaks for views": (
        "gram_matrix", "reshape, not view",
        "def gram_matrix(features):\n    b, c, h, w = features.shape\n    f = features.view(b, c, h * w)\n    return f @ f.mT / (h * w)",
    ),
    "syntax": ("gram_matrix", "isn't valid Python", "def gram_matrix(features)\n    return features"),
    "renamed": ("gram_matrix", "gram_matrix", "def gram(features):\n    return features.flatten(2) @ features.flatten(2).mT"),
    "missing package": (
        "to_array", "needs the package 'cv9'", "import cv9\ndef to_array(image):\n    return cv9.imencode(image)"
    ),
    "missing package inside": (
        "to_array", "ModuleNotFoundError", "def to_array(image):\n    import cv9\n    return cv9.imencode(image)"
    ),
    "recursion": ("total_variation", "raises RecursionError", "def total_variation(image):\n    return total_variation(image)"),
    "endless loop": ("gram_matrix", "endless loop", "def gram_matrix(features):\n    while True:\n        pass"),
    "endless cell": ("style_loss", "endless loop", "while True:\n    pass"),
    "stubborn loop": (
        "normalize", "endless loop",
        "def normalize(image):\n    while True:\n        try:\n            sum(range(1000))\n        except BaseException:\n            pass",
    ),
    "sleeps": ("denormalize", "endless loop", "import time\ndef denormalize(x):\n    time.sleep(10000)"),
    "4 GB": ("gram_matrix", "more memory", "def gram_matrix(features):\n    return torch.ones(4 * 2**30 // 4 + 1).sum()"),
    "4 GB of bytes": ("to_tensor", "more memory", "heap = bytearray(4 * 2**30)\ndef to_tensor(array):\n    return heap"),
    "grows": (
        "to_array", "more memory|endless loop",
        "def to_array(image):\n    kept = []\n    while True:\n        kept.append(bytearray(2**26))",
    ),
    "exit()": ("total_loss", "ends Python", "def total_loss(c, s, a, b):\n    exit()"),
    "exit() in the cell": ("total_loss", "ends Python", "exit()"),
    "sys.exit": ("to_tensor", "ends Python", "import sys\ndef to_tensor(array):\n    sys.exit(0)"),
    "os._exit": ("make_closure", "ends Python", "import os\ndef make_closure(o, i, f):\n    os._exit(0)"),
    "crash": ("denormalize", "crash", "import ctypes\ndef denormalize(z):\n    ctypes.string_at(0)"),
    "kills its parent": (
        "content_loss_layer", "ends Python|super|not an nn.Module|raises|doesn't",
        "import os, signal\nclass ContentLossLayer(nn.Module):\n    def __init__(self, target):\n        os.kill(os.getpid(), signal.SIGKILL)",
    ),
    "leaves a process behind": (
        "to_array", "gives|returns nothing",
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "def to_array(image):\n    return None",
    ),
    "prints without end": (
        "style_loss", "endless loop|more memory", "def style_loss(gram, target):\n    while True:\n        print('x' * 10000)"
    ),
    "not a function": ("gram_matrix", "not a function", "gram_matrix = 3"),
    "deleted": ("gram_matrix", "is not written|doesn't define", "# nothing here"),
}  # fmt: skip
PARTIAL = {"breaks for views": 0.75}


def sly(writer: Writer, *names: str) -> tuple[dict[str, dict], SHARE, dict[str, str]]:
    """Notebooks with these wrong answers, the shares they get, and what the reasons say."""
    answers = {SLY[n][0]: SLY[n][2] for n in names}
    assert len(answers) == len(names), "two of them answer the same question"
    return writer.write(answers), {SLY[n][0]: PARTIAL.get(n, 0.0) for n in names}, {SLY[n][0]: SLY[n][1] for n in names}


# One for each kind of thing that can happen to a hand-in.
GATE = (
    "right-all-unusual", "blank", "delegator", "returner", "looper", "hoarder", "quitter", "crasher", "test-changed",
    "test-deleted", "file-broken", "colab", "Zoë <b>O'Hara</b>", "odd-texts",
)  # fmt: skip


# Who gives which of the wrong answers.
GROUPS = {
    "hard-coder": ("hard-coded example", "hard-coded by shape", "hard-coded number", "returns a constant"),
    "returner": ("returns its input", "returns its input, denormalised", "not a function"),
    "delegator": ("calls the package", "imports the package", "from far away", "the package's layer", "inherits"),
    "delegator-2": ("is the package", "convention", "the encoder's", "delegates and swallows"),
    "swallower": ("swallows", "swallows all", "swallows and delegates"),
    "patcher": ("overwrites the check", "overwrites require", "patches when called"),
    "patcher-2": ("overwrites the hidden tests", "changes the code in place", "patches torch", "patches builtins"),
    "patcher-3": ("swaps the oracle",),
    "viewer": ("breaks for views",),
    "typist": ("syntax", "missing package", "recursion"),
    "renamer": ("renamed", "missing package inside"),
    "looper": ("endless loop",),
    "looper-2": ("endless cell", "prints without end") [:1],
    "looper-3": ("stubborn loop",),
    "printer": ("prints without end",),
    "sleeper": ("sleeps",),
    "hoarder": ("4 GB", "4 GB of bytes"),
    "hoarder-2": ("grows",),
    "quitter": ("exit()", "sys.exit"),
    "quitter-2": ("exit() in the cell", "os._exit"),
    "crasher": ("crash", "kills its parent"),
    "leaver": ("leaves a process behind",),
    "eraser": ("deleted",),
}  # fmt: skip

# The wrong answers that the gate's class, with lessons 01 and 03, holds to their marks and sentences.
IN_THE_GATE = {
    what
    for name in GATE
    for what in GROUPS.get(name, ())
    if SLY[what][0] in ("to_tensor", "to_array", "normalize", "denormalize", "gram_matrix", "style_loss")
}


def make_class(writer: Writer) -> list[Student]:
    """All of them; `GATE` names those who stand for the rest where time is short."""
    students = [
        Student(f"right-{i:02}-{n.replace(' ', '-')}", writer.write(UNUSUAL[n])) for i, n in enumerate(UNUSUAL, 1)
    ]
    combined = {q: t for n in ("einsum", "numpy", "other names", "another formula") for q, t in UNUSUAL[n].items()}
    students.append(Student("right-all-unusual", writer.write(combined), how="zip"))
    everything = dict.fromkeys(writer.questions, 0.0)
    students.append(
        Student("blank", writer.write(blank=tuple(writer.questions)), everything, {"gram_matrix": "not written yet"})
    )
    half = ("to_array", "style_loss", "total_loss", "make_closure")
    students.append(Student("half-done", writer.write(blank=half), dict.fromkeys(half, 0.0)))

    students += [Student(name, *sly(writer, *group)) for name, group in GROUPS.items()]
    students += _handled(writer)
    return students


def _handled(writer: Writer) -> list[Student]:
    """Hand-ins whose files are the accident."""
    made = []

    def one(name: str, notebooks: dict, expected: SHARE | None = None, reasons: dict | None = None, **more) -> None:
        made.append(Student(name, notebooks, expected or {}, reasons or {}, **more))

    books = writer.write()
    books["03_gram"]["cells"].remove(writer.test(books, "gram_matrix"))
    one("test-deleted", books, {"gram_matrix": 0}, {"gram_matrix": "was deleted"}, named="test cell of gram_matrix")

    books = writer.write()
    writer.test(books, "normalize")["source"] = "assert True"
    one("test-changed", books, {"normalize": 0}, {"normalize": "was changed"}, named="test cell of normalize")

    books = writer.write({"gram_matrix": "def gram_matrix(features):\n    return features"})
    writer.insert_before(
        books, "gram_matrix", "nst.checks.check_gram_matrix = lambda f: nst.checks.Verdict('g', True, '')"
    )
    one(
        "check-overwritten",
        books,
        {"gram_matrix": 0},
        {"gram_matrix": "gives shape"},
        named="changes something of torch",
    )

    books = writer.write()
    broken = json.dumps(books["03_gram"]).encode()
    books["03_gram"] = broken[: len(broken) // 2]
    one(
        "file-broken",
        books,
        {"gram_matrix": 0, "style_loss": 0},
        {"gram_matrix": "No notebook of lesson 03"},
        named="broken",
    )

    books = writer.write()
    last = max(books)
    del books[last]
    books["essay.pdf"] = b"%PDF-1.4 not really"
    gone = [q.name for q in writer.questions.values() if q.notebook == last]
    told = {gone[0]: f"No notebook of lesson {last[:2]}"}
    one("file-missing", books, dict.fromkeys(gone, 0), told, named="not a notebook")
    one("colab", {f"Copy of {k}": colab(v) for k, v in writer.write().items()}, how="files", named="found by content")

    books = writer.write(blank=("gram_matrix",))
    answer = writer.answer(books, "gram_matrix")
    cells = books["03_gram"]["cells"]
    cells.insert(cells.index(answer) + 1, code(writer.write()["03_gram"]["cells"][cells.index(answer)]["source"]))
    one("answer-in-a-new-cell", books, named="found by content")

    helper = "def positions(f):\n    return f.shape[-1] * f.shape[-2]"
    books = writer.write(
        {"gram_matrix": "def gram_matrix(f):\n    return torch.einsum('bchw,bdhw->bcd', f, f) / positions(f)"}
    )
    writer.insert_before(books, "gram_matrix", helper)
    writer.insert_before(books, "gram_matrix", "while True:\n    print('a cell that nobody needs')")
    one("helper-cell", books, named="1 added cell was kept")

    books = writer.write()
    for notebook in books.values():
        notebook["metadata"]["kernelspec"] = {"name": "conda-env-dl", "display_name": "Deep", "language": "python"}
    one("Zoë <b>O'Hara</b>", books, named="conda-env-dl")

    books = writer.write()
    for notebook in books.values():
        notebook["nbformat"], notebook["nbformat_minor"] = 4, 2
        for cell in notebook["cells"]:
            cell.pop("id", None)
            cell["metadata"] = {"scrolled": True}
    one("old-format", books, how="zip", named="found by content")

    books = writer.write()
    lessons = load(Path(__file__).parents[2] / "notebooks")
    for name in writer.release:
        for question in (q for q in writer.questions.values() if q.notebook == name):
            right = writer.answer(books, question.name)["source"]
            next(c for c in lessons[name]["cells"] if grade_id(c) == question.answer_id)["source"] = right
    one("lesson-itself", {name: lessons[name] for name in writer.release}, named="no answer to 'In your own words")

    books = writer.write()
    books["03_gram (1)"] = writer.write(blank=("gram_matrix", "style_loss"))["03_gram"]
    one("two-versions", books, {"gram_matrix": 0, "style_loss": 0}, named="newer file of the same lesson")

    books = writer.write({"gram_matrix": f"# \udcff\n{UNUSUAL['loops']['gram_matrix']}\n# \ud800"})
    for text in PARSERS_FOES.values():
        writer.insert_before(books, "gram_matrix", text)
    books["03_gram"]["metadata"]["kernelspec"] = "python3"
    books["01_images.ipynb.txt"] = json.dumps(books.pop("01_images"), ensure_ascii=False).encode("utf-16")
    one("odd-texts", books, named="stored as UTF-16")
    return made


def colab(notebook: dict) -> dict:
    """As it comes back from Colab: no nbgrader metadata, other ids, extra metadata, cells added."""
    made = json.loads(json.dumps(notebook))
    for number, cell in enumerate(made["cells"]):
        cell["id"] = f"Xy{number}Zq"
        cell["metadata"] = {"id": cell["id"], "colab": {"base_uri": "x"}, "outputId": "a1"}
        cell["source"] = cell["source"].splitlines(keepends=True)
    made["cells"].insert(1, code("!pip install -q nothing\n%load_ext autoreload"))
    made["cells"].insert(3, code("from google.colab import drive\ndrive.mount('/content/drive')"))
    made["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    made["metadata"]["accelerator"] = "GPU"
    return made


def hand_in(students: list[Student], folder: Path) -> None:
    """Write the hand-ins, each in its own way."""
    folder.mkdir(parents=True, exist_ok=True)
    for student in students:
        files = {(name if "." in name else f"{name}.ipynb"): as_bytes(book) for name, book in student.notebooks.items()}
        if student.how == "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            (folder / f"{student.name}.zip").write_bytes(packed.getvalue())
            continue
        for name, content in files.items():
            if student.how == "files":
                path = folder / f"{student.name}_{name.removeprefix('Copy of ')}"
            else:
                path = folder / student.name.replace("/", "_") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def mistakes(students: list[Student], results: list[dict], questions: list, match: Callable) -> list[str]:
    """Every mark or sentence that is not as it has to be."""
    by_name, wrong = {r["student"]: r for r in results}, []
    for student in students:
        result = by_name.get(student.name.removesuffix("/").replace("/", "_"))
        if result is None:
            wrong.append(f"{student.name}: not marked")
            continue
        rows = {row["question"]: row for row in result["rows"]}
        for question in (q for q in questions if not q.written):
            want = question.points * student.expected.get(question.name, 1.0)
            row = rows[question.name]
            if row["points"] != want:
                wrong.append(f"{student.name}: {question.name} has {row['points']}, not {want}: {row['reason']}")
            pattern = student.reasons.get(question.name)
            if pattern and not match(pattern, row["reason"]):
                wrong.append(f"{student.name}: {question.name} should say {pattern!r}: {row['reason']}")
        told = " | ".join(result["accidents"] + result["notes"] + [r["reason"] for r in result["rows"]])
        if student.named and not match(student.named, told):
            wrong.append(f"{student.name}: {student.named!r} is not named: {told}")
    return wrong
