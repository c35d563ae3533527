"""What a bug report says of a machine."""

from __future__ import annotations

import importlib.metadata
import re

import torch

from nst_helpers import __version__
from nst_helpers.__main__ import main


def test_versions_processor_devices_and_threads_are_told(capsys):
    assert main(["--info"]) == 0
    told = dict(re.fullmatch(r"([\w ]+): +(.+)", line).groups() for line in capsys.readouterr().out.splitlines())
    assert told["nst_helpers"] == __version__
    assert told["torch"] == importlib.metadata.version("torch")
    assert told["devices"].split(", ")[0] == "cpu"
    assert ("cuda" in told["devices"]) == torch.cuda.is_available()
    assert told["threads"].split(", ")[0] == str(torch.get_num_threads())
    assert {"python", "system", "processor", "cores", "memory", "pillow", "jupyterlab"} <= told.keys()
    assert not re.search(r"[/\\]\w+[/\\]", "".join(told.values()))  # no path, so nobody's name
