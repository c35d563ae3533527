"""A process that has loaded everything and then forks once for each hand-in, so that none pays for `import torch`.

It is talked to in lines of JSON: `{"folder": ...}` comes in on stdin, `{"accident": ...}` goes out on stdout, and in
between `folder/result.json` was written. One hand-in at a time; whatever it leaves running is killed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .questions import Question
from .sandbox import Limits, adopt_orphans, die_with_parent, limit, wait_for

__all__ = ["serve"]


def serve() -> None:
    """Answer requests until stdin ends."""
    adopt_orphans()
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    _load()
    replies.write('{"ready": true}\n')
    replies.flush()
    for line in requests:
        request = json.loads(line)
        limits = Limits(**request["limits"])
        child = os.fork()
        if not child:
            requests.close()
            replies.close()
            _mark(Path(request["folder"]), limits)
        accident = wait_for(child, limits.total, limits.memory)
        replies.write(json.dumps({"accident": accident}) + "\n")
        replies.flush()


def _load() -> None:
    import ipykernel.kernelapp  # noqa: F401
    import matplotlib_inline.backend_inline  # noqa: F401
    import nbgrader.apps  # noqa: F401
    import torch

    from ..checks.closures import CountingSGD
    from . import autograding, judging  # noqa: F401

    torch.set_num_threads(1)
    # The optimisers load a part of torch at their first use, which takes a second.
    parameter = torch.zeros(1, requires_grad=True)
    for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.LBFGS, CountingSGD):
        kind([parameter], lr=0.1)


def _mark(folder: Path, limits: Limits) -> None:
    """In the fork: the second opinion first, which finds the cells that must not be run, and then nbgrader."""
    from .autograding import STUDENT, autograde, start_fork_server
    from .judging import judge_notebook

    code = 1
    try:
        os.setsid()
        die_with_parent()
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        scratch = folder / "scratch"
        scratch.mkdir()
        os.chdir(scratch)
        start_fork_server(folder, limits)
        plan = json.loads((folder / "plan.json").read_text())
        questions = [Question(**q) for q in plan["questions"]]
        result: dict = {"verdicts": {}, "stopped": {}}
        for path in sorted((folder / "submitted" / STUDENT).glob("*/*.ipynb")):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                cell["source"] = "".join(cell["source"])
            asked = [q for q in questions if q.notebook == path.stem]
            judged = judge_notebook(notebook["cells"], asked, limits, plan["seed"])
            result["verdicts"] |= judged["verdicts"]
            result["stopped"][path.stem] = list(judged["stopped"].values())
            for number, reason in judged["stopped"].items():
                notebook["cells"][number]["source"] = f"# Not run again.\nraise RuntimeError({reason!r})"
            if judged["stopped"]:
                path.write_text(json.dumps(notebook), encoding="utf-8")
            (folder / "judged.json").write_text(json.dumps(result))
        if plan["nbgrader"]:
            limit(limits.memory, limits.total)
            result["nbgrader"] = autograde(folder, limits)
        unfinished = folder / "result.part"
        unfinished.write_text(json.dumps(result))
        unfinished.rename(folder / "result.json")
        code = 0
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
    sys.exit(0)
