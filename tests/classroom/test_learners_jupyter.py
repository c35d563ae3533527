"""A learner's JupyterLab has nothing of nbgrader, though it is installed, until a teacher asks for it."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")
import jupyter_core.paths
from jupyterlab_server.config import get_page_config, write_page_config

ROOT = Path(__file__).parents[2]
NBGRADER = "@jupyter/nbgrader"


def test_jupyterlab_loads_nbgrader_only_where_it_was_enabled(tmp_path, monkeypatch):
    """In an environment as the package's installation leaves it, and after `jupyter labextension enable`."""
    environment, nobody = tmp_path / "environment", tmp_path / "nobody"
    monkeypatch.setattr(jupyter_core.paths, "ENV_CONFIG_PATH", [str(environment / "etc" / "jupyter")])
    monkeypatch.setattr(jupyter_core.paths, "SYSTEM_CONFIG_PATH", [str(nobody)])
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(nobody))
    extensions = [str(Path(sys.prefix) / "share" / "jupyter" / "labextensions")]

    def loaded() -> bool:
        config = get_page_config(extensions)
        assert NBGRADER in [extension["name"] for extension in config["federated_extensions"]]
        return NBGRADER not in config["disabledExtensions"]

    assert loaded()  # as it would be without the file
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in wheel["shared-data"].items():
        (environment / target).parent.mkdir(parents=True)
        shutil.copy(ROOT / source, environment / target)
    assert not loaded()
    write_page_config({"disabledExtensions": {NBGRADER: False}}, level="sys_prefix")  # as the command does
    assert loaded()
