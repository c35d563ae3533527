"""Answers that try to get marks, or to do harm, without doing the work: none gets full marks, none reaches anybody else.

Each is tried in namespaces; docs/teaching.md lists what would still work, and what works where there are none.
"""

# ruff: noqa: E501 - cells of others

from __future__ import annotations

import inspect
import json
import os
import time
from pathlib import Path

import psutil
import pytest
from conftest import busy, slow
from marking_fixtures import NBGRADER

if not NBGRADER:
    pytest.skip("nbgrader is not installed", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("marking needs fork", allow_module_level=True)

from nst_helpers import losses
from nst_helpers.classroom.box.server import Limits
from nst_helpers.classroom.boxes import BoxServer
from nst_helpers.classroom.judging import judge_question
from nst_helpers.classroom.questions import Question

pytestmark = pytest.mark.slow  # each builds a course and starts boxes for answers

USUAL = Limits()
TIGHT = Limits(seconds=slow(), memory=1.0, files=64)  # for attacks alone: importing torchvision takes a second
GRAM = Question("gram_matrix", "03", "03_gram", "3.1 · gram_matrix", 3.0, "ex-3-1", "check-3-1", "gram_matrix")
STYLE_LAYER = Question(
    "style_loss_layer", "04", "04_model", "4.2 · StyleLossLayer", 3.0, "ex-4-2", "check-4-2", "StyleLossLayer"
)
PRELUDE = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\nimport nst_helpers as nst\nfrom nst_helpers import checks, conventions"
WRONG = "\ndef gram_matrix(f):\n    return f.flatten(2) @ f.flatten(2).mT"

# What to do; MARKS is a classmate's result, COURSE the folder of the whole package, JUDGE the judge's process.
ATTACKS = {
    "patch the checks": "checks.check_gram_matrix = lambda f: checks.Verdict('gram_matrix')\nchecks.Verdict.__bool__ = lambda s: True" + WRONG,
    "change a tolerance in place": "import gc, types\nfor f in gc.get_objects():\n    if isinstance(f, types.FunctionType) and f.__kwdefaults__ and 'tolerance' in f.__kwdefaults__:\n        f.__kwdefaults__['tolerance'] = 1e9" + WRONG,
    "write into a frozen specification": "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ in ('ExerciseSpec', 'Spec', 'Question', 'Limits'):\n        for name in ('references', 'cases', 'mistakes'):\n            object.__setattr__(o, name, ())" + WRONG,
    "leave a mode open": "from torch.overrides import TorchFunctionMode\nclass Same(TorchFunctionMode):\n    def __torch_function__(self, func, types, args=(), kwargs=None):\n        if getattr(func, '__name__', '') in ('equal', 'allclose', 'isclose', 'all', '__bool__'):\n            return True\n        return func(*args, **(kwargs or {}))\nSame().__enter__()" + WRONG,
    "a tensor that is equal to everything": "class Equal(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, func, types, args=(), kwargs=None):\n        return True if func.__name__ in ('equal', 'allclose', 'all', '__bool__', '__eq__') else super().__torch_function__(func, types, args, kwargs or {})\ndef gram_matrix(f):\n    return (f.flatten(2) @ f.flatten(2).mT).as_subclass(Equal)",
    "an object that says it is a tensor": "class Liar:\n    __class__ = torch.Tensor\n    shape = property(lambda s: (1, 2, 2))\n    def __getattr__(self, name):\n        return lambda *a, **k: True\ndef gram_matrix(f):\n    return Liar()",
    "patch torch": "torch.equal = torch.allclose = lambda *a, **k: True\ntorch.Tensor.all = lambda s, *a: True\ntorch.Tensor.__le__ = lambda a, b: torch.ones_like(a, dtype=torch.bool)" + WRONG,
    "patch Python": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.abs = lambda x: 0" + WRONG,
    "patch the JSON encoder": "import json\nkept = json.dumps\njson.dumps = lambda o, **k: kept({**o, 'share': 1.0, 'passed': True, 'verdict': 'right'} if isinstance(o, dict) else o, **k)" + WRONG,
    "forge a result file": "import json, os\nfor place in ('.', '/tmp', os.path.expanduser('~')):\n    for name in ('result.json', 'judged.json', 'marks.csv'):\n        open(f'{place}/{name}', 'w').write(json.dumps({'verdicts': {'gram_matrix': {'share': 1.0}}}))" + WRONG,
    "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)" + WRONG,
    "kill whoever can be seen": "import os, signal\nfor pid in range(2, 40000):\n    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass" + WRONG,
    "kill the judge by its number": "import os, signal\nos.kill(JUDGE, signal.SIGKILL)" + WRONG,
    "rewrite the marks of a classmate": "import json\nopen(MARKS, 'w').write(json.dumps({'share': 0}))" + WRONG,
    "look for the marks everywhere": "import glob, os, pathlib\nfor place in [*glob.glob('/proc/*/root' + MARKS), *glob.glob('/proc/*/cwd/*marks*'), *glob.glob('/proc/*/fd/*'), *glob.glob(os.path.dirname(MARKS) + '/*'), *pathlib.Path('/tmp').rglob('*marks*.json')]:\n    try:\n        pathlib.Path(place).write_text('{}')\n    except OSError:\n        pass" + WRONG,
    "delete the data": "import shutil, os\nfor place in (os.path.dirname(os.path.dirname(nst.__file__)), nst.samples._data_root()):\n    shutil.rmtree(place)" + WRONG,
    "rewrite the package for the next one": "open(nst.losses.__file__, 'a').write('raise SystemExit')" + WRONG,
    "read the course from the disk": "import glob, os, runpy, sys\nplaces = [COURSE + '/losses.py', *(p + '/nst_helpers/losses.py' for p in sys.path), *glob.glob('/proc/*/root' + COURSE + '/losses.py'), *glob.glob('/proc/*/cwd/nst_helpers/losses.py'), *glob.glob('/*/nst_helpers/losses.py'), *glob.glob('/*/*/nst_helpers/losses.py'), *glob.glob('/*/*/*/nst_helpers/losses.py')]\nfor place in places:\n    try:\n        gram_matrix = runpy.run_path(place)['gram_matrix']\n    except Exception:\n        pass",
    "import it anew": "import importlib, sys\nfor name in [n for n in sys.modules if n.startswith('nst_helpers')]:\n    if '.box' not in name:\n        del sys.modules[name]\nsys.path.insert(0, COURSE.rpartition('/')[0])\nimport nst_helpers\ngram_matrix = importlib.import_module('nst_helpers.losses').gram_matrix",
    "through the checks": "from nst_helpers.checks.mistakes.losses import gram as gram_matrix",
    "by its code": "import types\nown = nst.gram_matrix\ngram_matrix = types.FunctionType(own.__code__, vars(nst.losses), 'mine', own.__defaults__)",
    "by its source": "import inspect\nexec(inspect.getsource(nst.gram_matrix))",
    "by the layer": "def gram_matrix(f):\n    return nst.lessons.StyleLossLayer(f).target",
    "by the accelerated one": "from nst_helpers.accel import gram\ndef gram_matrix(f):\n    return gram.features_and_gram(f)[1]",
    "by garbage": "import gc, types\nfound = [f for f in gc.get_objects() if isinstance(f, types.FunctionType) and 'gram' in f.__name__]\ndef gram_matrix(f):\n    for one in found:\n        try:\n            return one(f)\n        except Exception:\n            pass",
    "by the frames": "import sys\ndef gram_matrix(f):\n    frame = sys._getframe()\n    while frame:\n        for name, value in {**frame.f_globals, **frame.f_locals}.items():\n            if name in ('right', 'references', 'want', 'value', 'spec', 'expected'):\n                return value\n        frame = frame.f_back",
    "forge replies": "import socket, struct, json\nline = socket.socket(fileno=3)\ntext = json.dumps({'value': {'kind': 'plain', 'value': True}, 'share': 1, 'blobs': [], 'changed': [], 'results': [], 'shared': []}).encode()\nfor _ in range(50):\n    line.sendall(struct.pack('>II', len(text), 0) + text)" + WRONG,
    "send noise": "import os\nos.write(3, os.urandom(4096))" + WRONG,
    "promise a long message": "import os\nos.write(3, b'\\xff' * 8)" + WRONG,
    "close the connection": "import os\nos.close(3)" + WRONG,
    "rewrite the harness": "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Harness':\n        send = o.channel.send\n        type(o).answer = lambda s, header, blobs: send({'value': {'kind': 'plain', 'value': True}, 'changed': [], 'results': [], 'shared': []})" + WRONG,
    "answer twice": "import os\ndef gram_matrix(f):\n    os.fork()\n    return f.flatten(2) @ f.flatten(2).mT",
    "fork without end": "import os\nwhile True:\n    os.fork()" + WRONG,
    "fifty children": "import os, time\nfor _ in range(50):\n    if not os.fork():\n        time.sleep(60)\n        os._exit(0)" + WRONG,
    "two gigabytes of files": "for n in range(40):\n    with open(f'file{n}', 'wb') as file:\n        file.write(bytes(50 * 2**20))" + WRONG,
    "a hundred megabytes of output": "for _ in range(100):\n    print('x' * 2**20)" + WRONG,
    "end Python": "import os\nos._exit(0)" + WRONG,
    "threads without end": "import threading, time\nfor _ in range(8):\n    threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)]).start()" + WRONG,
    "ignore signals": "import signal\nfor number in range(1, 60):\n    try:\n        signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
    "raise the limits": "import resource\nfor kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU):\n    try:\n        resource.setrlimit(kind, (resource.RLIM_INFINITY,) * 2)\n    except (ValueError, OSError):\n        pass\nheap = []\nwhile True:\n    heap.append(bytearray(2**26))",
    "the network": "import socket\ntry:\n    socket.create_connection(('127.0.0.1', PORT), timeout=1).sendall(b'here')\nexcept OSError:\n    pass" + WRONG,
    "rights in another namespace": "import ctypes, os\nlibc = ctypes.CDLL(None)\nif libc.unshare(0x10000000) == 0 or libc.mount(b'none', b'/', b'', 32 | 1, None) == 0:\n    open('/usr/owned', 'w')" + WRONG,
    "a tensor without end": "def gram_matrix(f):\n    return torch.ones(1).expand(2**20, 2**20)",
    "a list within itself": "def gram_matrix(f):\n    made = []\n    made.append(made)\n    return made",
    "a class that falls apart": "class Falling(nn.Module):\n    def __getattribute__(self, name):\n        raise MemoryError\ngram_matrix = Falling",
    "a name that breaks messages": "E = type('\\n<b>' * 30, (Exception,), {'__str__': lambda s: 1 / 0})\ndef gram_matrix(f):\n    raise E",
    "wait for the judge to sleep": "import atexit, time\natexit.register(lambda: time.sleep(60))\ndef gram_matrix(f):\n    time.sleep(60)",
}  # fmt: skip

# What the sentence has to say where something happened in a cell.
SAYS = {
    "end Python": "gram_matrix ends Python itself",
    "ignore signals": "did not come to an end",
    "fork without end": "stops with BlockingIOError|starts more than|did not come to an end|more memory",
    "through the checks": "stops with ImportError|needs the package",
    "by its code": "course's own",
    "by the layer": "course's own",
    "by the accelerated one": "course's own",
}


# Sleeping costs no processor time, and by the clock there is three times the limit and more.
SHORT = Limits(seconds=0.4 * slow(), memory=1.0, files=64)


# A classmate's answer, in the question that is judged the quickest.
LADDER = Question(
    "weight_ladder", "06", "06_live_tuning", "6.1 · weight_ladder", 2.0, "ex-6-1", "check-6-1", "weight_ladder"
)
NEXT = "def weight_ladder(first, last, count):\n    return first * (last / first) ** torch.linspace(0, 1, count)"


def judge(server: BoxServer, text: str, question: Question = GRAM, limits: Limits = USUAL) -> dict:
    cells = [{"number": 0, "source": PRELUDE}, {"number": 1, "source": text}]
    return judge_question(server, question, {"cells": cells, "answer": 1, "all": cells}, limits, 5, {})


@pytest.fixture
def boxes(server):
    if os.geteuid() == 0 and not Path("/proc/self/status").exists():
        pytest.skip("the superuser's processes can't be counted here")
    if server.isolation != "namespaces":
        pytest.skip(f"no namespaces here: {server.why}")
    return server


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 40
    assert len(set(ATTACKS.values())) == len(ATTACKS)


@pytest.mark.parametrize("what", ATTACKS)
def test_an_attack_earns_nothing_and_reaches_nobody(boxes, tmp_path, what):
    import re
    import socket

    marks, package = tmp_path / "marks-of-bob.json", Path(__file__).parents[2] / "nst_helpers"
    marks.write_text(json.dumps({"share": 1}), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.01)
        names = {
            "MARKS": repr(str(marks)), "COURSE": repr(str(package)), "JUDGE": str(os.getpid()),
            "PORT": str(listening.getsockname()[1]),
        }  # fmt: skip
        text = re.sub("|".join(names), lambda found: names[found[0]], ATTACKS[what])
        started = time.monotonic()
        verdict = judge(boxes, text, limits=SHORT if "sleep(60)" in text and "fork" not in text else TIGHT)
        assert time.monotonic() - started < 60 * busy()
        with pytest.raises(TimeoutError):
            listening.accept()
    assert verdict["share"] == 0, verdict
    assert len(verdict["sentence"]) > 20
    assert verdict["sentence"].count("\n") == 0
    assert re.search(SAYS.get(what, "."), verdict["sentence"]), verdict
    # Nobody else's files, and nothing of the course, has changed; nothing runs on; the next one gets its marks.
    assert json.loads(marks.read_text("utf-8")) == {"share": 1}
    assert (package.parent / "data" / "images.toml").is_file()
    assert not list(Path("/usr").glob("owned"))
    left = [p for p in psutil.Process(boxes._process.pid).children(recursive=True) if p.status() != "zombie"]
    assert left == []
    following = judge(boxes, NEXT, LADDER)
    assert following["share"] == 1, following


def test_nothing_is_left_for_a_later_question(boxes):
    """The box of the style layer has the code of the Gram matrix; it can't hand it on to that question's box."""
    keep = (
        "import marshal, glob\nfor place in ('/tmp', '/dev/shm', '/tmp/work'):\n"
        "    open(f'{place}/kept', 'wb').write(marshal.dumps(nst.gram_matrix.__code__))\n"
        "import nst_helpers.losses as losses\nprint(losses)\n"
        "class StyleLossLayer(nn.Module):\n"
        "    def __init__(self, target):\n        super().__init__()\n"
        "        self.target = nst.gram_matrix(target).detach()\n"
        "    def forward(self, features):\n"
        "        self.loss = nst.style_loss(nst.gram_matrix(features), self.target)\n        return features"
    )
    assert judge(boxes, keep, STYLE_LAYER)["share"] == 1
    take = (
        "import glob, marshal, types\nkept = glob.glob('/tmp/**/kept', recursive=True) + glob.glob('/dev/shm/kept')\n"
        "if kept:\n    code = marshal.loads(open(kept[0], 'rb').read())\n"
        "    gram_matrix = types.FunctionType(code, vars(nst.losses))"
    )
    verdict = judge(boxes, take)
    assert (verdict["share"], verdict["mistake"]) == (0, "not-defined")


# What docs/teaching.md says would still work: the public solution, others' functions, the package's by a detour, and
# hiding an answer's changes of its arguments.
TORCHVISIONS = (
    "from torchvision.transforms import functional\ndef to_tensor(array):\n    return functional.to_tensor(array)[None]"
)
DETOUR = (
    "from PIL import Image\ndef to_tensor(array):\n"
    "    Image.fromarray(array).save('picture.png')\n    return nst.load_image('picture.png')"
)
PUBLIC = "from torch import Tensor\nfrom nst_helpers.losses import at_least_float32\n" + "\n".join(
    inspect.getsource(part) for part in (losses.gram_matrix, losses.masked_gram_matrix, losses._check_features)
)
HIDING = (
    "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Harness':\n"
    "        type(o)._tell_changes = lambda s, reply, *_: reply.update(changed=[], results=[], shared=[])\n"
)
IN_PLACE = "def to_array(x):\n    return x.detach()[0].clamp_(0, 1).mul_(255).round_().byte().permute(1, 2, 0).numpy()"
TO_TENSOR = Question("to_tensor", "01", "01_images", "1.1 · to_tensor", 2.0, "ex-1-1", "check-1-1", "to_tensor")
TO_ARRAY = Question("to_array", "01", "01_images", "1.2 · to_array", 3.0, "ex-1-2", "check-1-2", "to_array")


def test_what_the_guide_says_would_still_work_does(boxes):
    """Else it would have to be an attack above, and the guide would say too little of what the marking holds."""
    assert judge(boxes, PUBLIC)["share"] == 1
    assert judge(boxes, TORCHVISIONS, TO_TENSOR)["share"] == 1
    assert judge(boxes, DETOUR, TO_TENSOR)["share"] == 1
    assert judge(boxes, IN_PLACE, TO_ARRAY)["share"] == 0.75
    assert judge(boxes, HIDING + IN_PLACE, TO_ARRAY)["share"] == 1
    assert judge(boxes, HIDING + IN_PLACE.replace("255", "256"), TO_ARRAY)["share"] == 0


def test_without_namespaces_accidents_still_cost_their_own_box_only(tmp_path):
    """What remains there: limits, a process group, and an end for everything that was started."""
    with BoxServer("limits") as server:
        assert server.isolation == "limits"
        for what in ("end Python", "fifty children", "two gigabytes of files", "threads without end", "by its code"):
            assert judge(server, ATTACKS[what], limits=TIGHT)["share"] == 0, what
            assert judge(server, NEXT, LADDER)["share"] == 1, what
            assert psutil.Process(server._process.pid).children(recursive=True) == []
        package = str(Path(__file__).parents[2] / "nst_helpers")
        # Not by whichever copy of the course lies somewhere on this machine, and with a word changed, or it is recognised.
        reading = f"import re\nsource = re.sub(r'\\bflat\\b', 'rows', open({package!r} + '/losses.py').read())\n"
        reading += "space = {'__name__': '__main__'}\nexec(source, space)\ngram_matrix = space['gram_matrix']"
        assert judge(server, reading)["share"] == 1  # as docs/teaching.md says
