"""Progress: what a check found is remembered on this computer, whatever state its file is in."""

from __future__ import annotations

import json
import stat

import pytest
from conftest import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nst_helpers as nst
from nst_helpers import checks, losses
from nst_helpers.checks import progress as module


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_PROGRESS", str(tmp_path / "new" / "progress.json"))
    return tmp_path / "new" / "progress.json"


def test_an_answer_that_a_check_found_right_is_done_and_stays_done(file):
    def wrong(features):
        return losses.gram_matrix(features) * 2

    def unwritten(features):
        raise NotImplementedError

    def state():
        return nst.progress().lessons["03_gram"]["gram_matrix"]

    def right(features):
        flat = features.flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[-1]

    seen = [state()]
    for answer in (unwritten, wrong, right, wrong, unwritten):
        checks.check_gram_matrix(answer)
        seen.append(state())
    assert seen == ["to do", "to do", "not yet", "done", "done", "done"]
    assert json.loads(file.read_text("utf-8")) == {"gram_matrix": "done"}
    assert nst.progress().done == 1
    assert str(file) in repr(nst.progress())


def test_off_keeps_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_PROGRESS", "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    checks.check_gram_matrix(lambda features: features)
    assert list(tmp_path.rglob("*")) == []
    assert "NST_PROGRESS is off" in repr(nst.progress())


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"null", b'{"gram_matrix": 3}', b"[" * 100_000])))
def test_a_damaged_file_is_an_empty_one(file, content):
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    assert nst.progress().done == 0
    checks.check_gram_matrix(lambda features: features)
    assert nst.progress().lessons["03_gram"]["gram_matrix"] == "not yet"
    file.unlink()


def test_a_folder_that_cant_be_written_costs_no_verdict(file, monkeypatch):
    file.parent.mkdir()
    file.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)

    def refuse(*a, **k):
        raise OSError("read-only")

    monkeypatch.setattr(module, "write_whole", refuse)
    assert checks.check_gram_matrix(lambda features: features).mistake
    file.parent.chmod(0o700)


def test_the_exercises_are_those_that_have_a_check():
    """All but the conversion of style weights, which no lesson asks for."""
    asked = [name for names in module.EXERCISES.values() for name in names]
    assert asked == [name for name in checks.CHECKS if name != "convert_style_weight"]
