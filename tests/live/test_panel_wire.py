"""The live panel over the wire: a front-end of forty lines that speaks Jupyter's protocol with a real kernel.

Google Colab drops every update that does not belong to a message of the page still being worked on. So each update is
held against the message it names as its parent: that one has to be busy. Runs on the installed versions and on Colab's.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import busy
from jupyter_client.manager import KernelManager
from test_colab import FOREIGN, build_environment, lend

pytestmark = pytest.mark.slow  # starts kernels; test_panel.py has the same panel without a page

ROOT = Path(__file__).parents[2]
START = """
import torch, nst_helpers as nst
torch.set_num_threads(1)
session = nst.StyleSession("temple", "wave", size=64, precision="float32")
shown = nst.panel(session, chunk=0.02)
shown
"""


class Page:
    """A front-end: holds the widgets' state as sent, answers nothing, and notes updates that come out of turn."""

    def __init__(self, python: str | Path, folder: Path, env: dict[str, str]) -> None:
        self.kernel = KernelManager()
        self.kernel.kernel_spec.argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.kernel.start_kernel(cwd=str(folder), env=env)
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.models: dict[str, dict[str, Any]] = {}
        self.busy: dict[str, bool] = {}
        self.updates: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self.stray: list[tuple[str, list[str]]] = []
        self.said: list[str] = []
        self.shown: list[dict[str, Any]] = []

    def close(self) -> None:
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=True)

    def listen(self, until: str, timeout: float = 300) -> None:
        """Take in what the kernel says until it has done with that message."""
        end = time.monotonic() + timeout
        while self.busy.get(until, True):
            self.take(end - time.monotonic())

    def take(self, timeout: float) -> None:
        message = self.client.get_iopub_msg(timeout=max(timeout, 0.01))
        parent, content = message["parent_header"].get("msg_id"), message["content"]
        match message["msg_type"]:
            case "status":
                self.busy[parent] = content["execution_state"] == "busy"
            case "comm_open":
                self.models[content["comm_id"]] = dict(content["data"]["state"])
            case "comm_msg" if content["data"].get("method") == "update":
                state = dict(content["data"]["state"])
                paths = content["data"].get("buffer_paths", [])
                state |= {path[0]: bytes(b) for path, b in zip(paths, message["buffers"], strict=True)}
                self.models.setdefault(content["comm_id"], {}).update(state)
                self.updates.setdefault(parent, []).append((content["comm_id"], state))
                if not self.busy.get(parent):
                    self.stray.append((parent, list(state)))
            case "stream" | "error":
                self.said.append(content.get("text") or f"{content['ename']}: {content['evalue']}")
            case "execute_result" | "display_data":
                self.shown.append(content["data"])

    def run(self, code: str) -> None:
        self.listen(self.client.execute(code))

    def post(self, comm: str, data: dict[str, Any], *, subshell: str | None = None) -> str:
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        if subshell:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def set(self, comm: str, subshell: str | None = None, **state: Any) -> str:
        return self.post(comm, {"method": "update", "state": state, "buffer_paths": []}, subshell=subshell)

    def click(self, text: str) -> str:
        comm = self.find(_model_name="ButtonModel", description=text)
        return self.post(comm, {"method": "custom", "content": {"event": "click"}})

    def find(self, **wanted: Any) -> str:
        found = [c for c, state in self.models.items() if all(state.get(k) == v for k, v in wanted.items())]
        assert found, wanted
        return found[-1]

    def value(self, code: str) -> Any:
        before = len(self.said)
        self.run(f"import json; print(json.dumps({code}))")
        text = "".join(self.said[before:])  # a line may come in pieces
        del self.said[before:]
        return json.loads(text)


def start(python: str | Path, folder: Path, **env: str) -> Page:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    page = Page(python, folder, kept | {"PYTHONPATH": str(ROOT), "NST_CACHE": str(folder / "cache")} | env)
    page.run(START)
    assert page.said == []
    return page


@pytest.fixture(scope="module")
def colab_python(tmp_path_factory) -> Path:
    """A Python with Colab's kernel packages and this environment's torch, pytest and hypothesis."""
    python = build_environment(tmp_path_factory.mktemp("pins") / "venv")
    lend({"pytest", "pytest-benchmark"} & installed(), next(python.parents[1].glob("lib/python*/site-packages")))
    return python


def installed() -> set[str]:
    return {d.name for d in importlib.metadata.distributions()}


@pytest.fixture(scope="module", params=["installed", "colab"])
def page(request, tmp_path_factory) -> Iterator[Page]:
    python = sys.executable if request.param == "installed" else request.getfixturevalue("colab_python")
    page = start(python, tmp_path_factory.mktemp("page"))
    yield page
    page.close()


def test_the_panel_is_shown_with_a_picture_for_pages_without_a_kernel(page):
    panel, still = page.shown
    assert panel["text/plain"] == still["text/plain"] == "Live panel: temple in the manner of wave, no step yet."
    assert "<img src=" in still["text/html"]
    model = panel["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert "nst-panel" in page.models[model]["_dom_classes"]


def test_the_estimate_comes_in_answers_to_the_pages_own_echo(page):
    """The page copies the link's source to its target, which is a message; the kernel's answer asks for the next."""
    echo = page.find(_model_name="IntTextModel")
    link = page.models[page.find(_model_name="DirectionalLinkModel", source=[f"IPY_MODEL_{echo}", "step"])]
    assert link["target"] == [f"IPY_MODEL_{echo}", "value"]
    page.stray.clear()
    head, seen, waits = page.find(_dom_classes=["nst-head"]), -1, []
    while page.models[echo]["step"] != seen:
        seen, start = page.models[echo]["step"], time.monotonic()
        page.listen(page.set(echo, value=seen))
        waits.append(time.monotonic() - start)
    assert "on this machine" in page.models[head]["value"]
    assert page.stray == []
    assert len(waits) < 40
    assert max(waits) < 0.5 * busy()  # so long does a knob wait at most


def test_every_message_is_answered_inside_its_own_request(page):
    """The Colab property: two dozen ticks with sliders between them, and not one update out of turn."""
    clock, slider = page.find(_model_name="PlayModel"), page.find(description="style, exact value")
    picture = page.find(_model_name="ImageModel", _dom_classes=[])
    page.stray.clear()
    answered = turned = 0
    for i in range(1, 25):
        tick = page.set(clock, value=i)
        page.listen(tick)
        sent = {comm for comm, _ in page.updates.get(tick, [])}
        answered += picture in sent
        if i % 4 == 0:
            move = page.set(slider, value=10.0 + i)
            page.listen(move)
            words = [s["value"] for _, s in page.updates.get(move, []) if "tyle weight" in str(s.get("value"))]
            turned += len(words) == 1
    assert (answered, turned) == (24, 6)
    for name in ("Step", "Snapshot", "Undo", "Reset"):
        click = page.click(name)
        page.listen(click)
        assert page.updates[click]
    assert page.stray == []
    assert page.said == []


def test_regions_come_in_answers_to_the_page_and_hold_up_no_message(page):
    """They are looked for in a thread, and taken over in one of the page's own messages."""
    clock, picture = page.find(_model_name="PlayModel"), page.find(_dom_classes=["nst-map-picture"])
    page.stray.clear()
    page.listen(page.set(page.find(description="second style"), index=1))
    page.listen(page.click("Find regions"))
    waits, number = [], 500
    while not page.models[picture].get("value") and len(waits) < 300:
        start, number = time.monotonic(), number + 1
        page.listen(page.set(clock, value=number))
        waits.append(time.monotonic() - start)
    assert page.models[picture]["value"][:2] == b"\xff\xd8"
    assert sorted(waits)[len(waits) // 2] < 1.5 * busy()
    region = page.find(description="Region 1: wave")
    page.listen(page.post(region, {"method": "custom", "content": {"event": "click"}}))
    assert page.models[region]["description"] == "Region 1: night_swirls"
    page.listen(page.click("No regions"))
    assert page.value("session.control.masks") is None
    page.listen(page.set(page.find(description="second style"), index=0))
    assert page.stray == []
    assert page.said == []


def test_a_slider_counts_within_half_a_second_of_its_message(page):
    clock, slider = page.find(_model_name="PlayModel"), page.find(description="content, exact value")
    page.run("shown.chunk = 0.1")
    page.listen(page.click("Reset"))
    waits = []
    for i in range(8):
        weight = 2.0 + i
        tick = page.set(clock, value=1000 + 10 * i)  # the page's clock goes on while the slider is moved
        sent = time.monotonic()
        move, after = page.set(slider, value=weight), page.set(clock, value=1001 + 10 * i)
        for message in (tick, move, after):
            page.listen(message)
        waits.append(time.monotonic() - sent)
        change = page.value("session.recipe()['changes'][-1]")
        assert change["content_weight"] == weight
        event = page.value(f"[e.event for e in session.history if e.step == {change['after'] + 1}]")
        assert "ontent weight" in event[0]
    # From the message to the end of the chunk that used it, and two chunks of 0.1 s are in it.
    assert sorted(waits)[len(waits) // 2] < 0.5 * busy()
    page.run("shown.chunk = 0.02")


def test_a_pause_stops_the_painting(page):
    clock = page.find(_model_name="PlayModel")
    trait = "playing" if "playing" in page.models[clock] else "_playing"
    page.listen(page.set(clock, **{trait: True}))
    for i in range(3):
        page.listen(page.set(clock, value=2000 + i))
    sent = time.monotonic()
    tick, pause = page.set(clock, value=2010), page.set(clock, **{trait: False})
    page.listen(tick)
    page.listen(pause)
    assert time.monotonic() - sent < busy()
    before = page.value("len(session.history)")
    time.sleep(0.3)
    assert page.value("len(session.history)") == before
    assert any(">paused<" in str(s.get("value")) for _, s in page.updates[pause])


def test_messages_on_two_threads_neither_overlap_nor_get_lost(page):
    """ipykernel 7 takes widgets' messages on a second shell, whose thread runs beside the first's."""
    about = page.client.kernel_info(reply=True, timeout=60)["content"]
    if "kernel subshells" not in about.get("supported_features", ()):
        pytest.skip("this kernel has one shell alone")
    page.client.control_channel.send(page.client.session.msg("create_subshell_request", {}))
    other = page.client.control_channel.get_msg(timeout=60)["content"]["subshell_id"]
    page.run(
        "inside, most = 0, 0\n"
        "real = session.step\n"
        "def step(*a, **k):\n"
        "    global inside, most\n"
        "    inside += 1; most = max(most, inside)\n"
        "    try: return real(*a, **k)\n"
        "    finally: inside -= 1\n"
        "session.step = step\n"
        "_ = session.reset('content')"
    )
    clock, slider = page.find(_model_name="PlayModel"), page.find(description="style, exact value")
    sent = []
    for i in range(30):
        sent.append(page.set(clock, value=3000 + i, subshell=other if i % 3 else None))
        sent.append(page.set(slider, value=20.0 + i, subshell=None if i % 3 else other))
    for message in sent:
        page.listen(message)
    assert page.value("most") == 1
    noted = [c["style_weight"] for c in page.value("session.recipe()['changes']") if "style_weight" in c]
    assert set(noted) == {20.0 + i for i in range(30)}
    assert page.value("session.settings.style_weight") == noted[-1]
    assert page.stray == []
    page.run("del session.step")


def test_running_the_cell_again_stops_the_old_panel(page):
    clock = page.find(_model_name="PlayModel")
    page.run("shown = nst.panel(session, chunk=0.0)\nshown")
    new = page.find(_model_name="PlayModel")
    assert new != clock
    before = page.value("len(session.history)")
    page.listen(page.set(clock, value=7))
    assert page.value("len(session.history)") == before
    page.listen(page.set(new, value=7))
    assert page.value("len(session.history)") == before + 1


def test_a_stray_update_is_seen(page):
    """What the tests above look for is found where it happens: an update from a thread, after its request."""
    page.stray.clear()
    page.run(
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), setattr(shown.parts.status, 'value', 'late'))).start()"
    )
    end = time.monotonic() + 10
    while not page.stray and time.monotonic() < end:
        try:
            page.take(1)
        except queue.Empty:
            continue
    assert page.stray
    page.stray.clear()


def test_the_panels_own_tests_pass_with_colabs_versions(colab_python):
    """test_panel.py and test_handles.py with ipywidgets 7.7.1; of the tests with slow steps, two stand for the rest."""
    command = [
        str(colab_python),
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-k",
        "not slow or no_control_waits or slow_step_holds_up",
        "tests/live/test_panel.py",
        "tests/live/test_handles.py",
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    site = next(colab_python.parents[1].glob("lib/python*/site-packages"))
    assert [d.version for d in importlib.metadata.distributions(name="ipywidgets", path=[str(site)])] == ["7.7.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
