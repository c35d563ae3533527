"""The judge: a process that marks one hand-in after the other, each answer of it in a box.

It is talked to in lines of JSON: a hand-in on stdin, what came of it on stdout. No code of a student's runs in it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from typing import Any

import torch

from .box.server import Limits
from .boxes import BoxServer
from .judging import judge_question
from .preparing import prepare_hand_in
from .questions import ClassroomError, Question

__all__ = ["judge_hand_in", "main"]


def main(isolation: str, parent: int) -> None:
    """Answer requests until stdin ends or the process `parent` is gone."""
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        server = BoxServer(isolation)
    except ClassroomError as error:
        reply({"failed": str(error)})
        return
    except OSError as error:  # a full disk, above all
        reply(
            {"failed": f"{error.strerror} ({error.filename}): nothing is lost, run the same command when it is mended."}
        )
        return
    torch.set_num_threads(1)
    making = threading.Lock()

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        making.acquire()  # and never released: who misses the closed server must not make a new one
        server.close()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    reply({"isolation": server.isolation, "why": server.why})
    try:
        for line in requests:
            request = json.loads(line)
            try:
                reply(judge_hand_in(server, request))
            except ConnectionError:  # a hand-in without namespaces around it has ended the process; make a new one
                with making:
                    server.close()
                    server = BoxServer(isolation)
                reply({"accident": "ended"})
    finally:
        with making:
            server.close()


def judge_hand_in(server: BoxServer, request: dict[str, Any]) -> dict[str, Any]:
    """Prepare a hand-in and judge its answers.

    The request has the `student`, the `files` (name: base64 and time), the course's `plan` and the `limits`; the
    result has what `prepare_hand_in` gives, `verdicts` by question, the cells' `errors` by lesson, and the `accident`
    of the whole, if there was one.
    """
    files = {name: (base64.b64decode(text), when) for name, (text, when) in request["files"].items()}
    found = prepare_hand_in(request["student"], files, request["plan"])
    limits, verdicts, accident = Limits(**request["limits"]), {}, None
    errors: dict[str, dict[int, str]] = {}
    deadline = time.monotonic() + limits.total
    for lesson, mended in found["mended"].items():
        stopped: dict[int, str] = {}
        errors[lesson] = {}
        for question in (Question(**q) for q in request["plan"]["questions"]):
            if question.notebook != lesson or question.name not in mended["runs"]:
                continue
            if time.monotonic() > deadline:
                accident = "time"
                break
            run = mended["runs"][question.name]
            verdict = judge_question(server, question, run, limits, found["seed"], stopped)
            errors[lesson] |= {number: text for number, text in verdict.pop("errors").items() if number > 0}
            verdicts[question.name] = verdict
        errors[lesson] |= {number: text for number, text in stopped.items() if number > 0}
    for mended in found["mended"].values():
        del mended["runs"]
    return {**found, "verdicts": verdicts, "errors": errors, "accident": accident, "isolation": server.isolation}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
