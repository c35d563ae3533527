"""Learners have no nbgrader: whoever asks for the classroom kit without it is told how to get it, in one sentence."""

from __future__ import annotations

import os
import sys

import pytest

from nst_helpers.classroom.__main__ import main


@pytest.mark.parametrize("command", [["build"], pytest.param(["mark", "hand-ins"], id="mark")])
def test_each_command_says_how_to_get_it(command, tmp_path, monkeypatch, capsys):
    if command[0] == "mark" and not hasattr(os, "fork"):
        pytest.skip("marking needs fork")
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    assert main([command[0], str(tmp_path / "course"), *command[1:]]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--group classroom" in said
    assert "pip install nbgrader" in said
    assert list(tmp_path.iterdir()) == []
