"""A real JupyterLab in a headless Chromium, for the tools and the browser tests that drive the live panel.

with serve(folder) as address, browse(address, "name.ipynb") as page:
    run_all(page)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
KERNEL_IS = """s => { const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const k = w && w.sessionContext && w.sessionContext.session && w.sessionContext.session.kernel;
  return k && k.status == s }"""


def find_browser() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def write_notebook(path: Path, *cells: str) -> Path:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, path)
    return path


@contextlib.contextmanager
def serve(folder: Path, *, opens: str | None = None, **env: str) -> Iterator[str]:
    """JupyterLab over a folder, on a free port of this machine alone; yields its address with a token.

    With `opens` it is started as a person does it, with the name of a notebook in the folder.
    """
    token, own = secrets.token_hex(16), folder / ".jupyter"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [str(folder / opens)] if opens else [f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    places = {f"JUPYTER_{name}": str(own / name.lower()) for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")}
    places["JUPYTERLAB_SETTINGS_DIR"] = str(own / "settings")
    places["JUPYTERLAB_WORKSPACES_DIR"] = str(own / "workspaces")
    quiet = own / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True, exist_ok=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}', "utf-8")
    learners = own / "config_dir" / "labconfig" / "page_config.json"  # who have no nbgrader
    learners.parent.mkdir(parents=True, exist_ok=True)
    learners.write_text('{"disabledExtensions": {"@jupyter/nbgrader": true}}', "utf-8")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with (own / "log.txt").open("w", encoding="utf-8") as log:
        env = os.environ | places | {"PYTHONPATH": paths} | env
        for _ in range(3):  # another program may take the port before the server does
            port = free_port()
            server = subprocess.Popen(
                [*command, f"--ServerApp.port={port}"], cwd=folder, env=env, stdout=log, stderr=log
            )
            try:
                if answers(f"http://127.0.0.1:{port}/api?token={token}", server):
                    yield f"http://127.0.0.1:{port}/lab/tree/{{name}}?token={token}&reset"
                    return
                if server.poll() is None:
                    break
            finally:
                server.terminate()
                server.wait(60)
        said = (own / "log.txt").read_text("utf-8", "replace")[-2000:]
        raise RuntimeError(f"JupyterLab did not start: {said}")


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(address: str, server: subprocess.Popen[bytes], *, seconds: float = 300) -> bool:
    """Wait until the server answers, for so long at most; False once it has ended. No proxy is asked."""
    opener, end = urllib.request.build_opener(urllib.request.ProxyHandler({})), time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            opener.open(address, timeout=10).close()
            return True
        time.sleep(0.25)
    return False


@contextlib.contextmanager
def browse(address: str, name: str, *, width: int = 1000, height: int = 1080, scale: float = 1) -> Iterator[Any]:
    """A page with that notebook open and its kernel idle; `page.said` collects errors of the browser's console."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        # Chromium's socket lies in the temporary folder, and the path of a socket has a hundred characters at most.
        env = os.environ | ({"TMPDIR": "/tmp"} if len(os.fsencode(tempfile.gettempdir())) > 60 else {})
        browser = play.chromium.launch(executable_path=find_browser(), args=[*root, *QUIET], env=env)
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        page.set_default_timeout(90_000)  # on a busy machine everything takes its time
        page.said = []
        page.on("console", lambda m: page.said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.said.append(str(e)))
        page.goto(address.format(name=name))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.wait_for_function(KERNEL_IS, arg="idle", timeout=90_000)
        with contextlib.suppress(Exception):
            page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        yield page
        browser.close()


def run_all(page: Any, *, wait: str = ".nst-panel .widget-play", timeout: float = 120) -> None:
    """Run all cells, and wait for what they show."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_selector(wait, timeout=timeout * 1000)
