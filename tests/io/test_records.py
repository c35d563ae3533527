"""The one reader of the package's own JSON files gives a dictionary or nothing, whatever stands in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import TOY
from hypothesis import given
from hypothesis import strategies as st

from nst_helpers.accel import devices
from nst_helpers.encoders import Encoder
from nst_helpers.io import records
from nst_helpers.io.records import read_record

JUNK = [b"", b"[]", b"null", b"3", b'"a"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"\0" * 64]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_was_written_is_read(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("records") / "a.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert read_record(path) == record


@given(st.binary(max_size=60) | st.sampled_from(JUNK) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_anything_else_is_nothing(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("records") / "a.json"
    path.write_bytes(data)
    found = read_record(path)
    assert isinstance(found, dict)
    if data in JUNK:
        assert found == {}


def test_what_cannot_be_read_is_nothing(tmp_path, monkeypatch):
    assert read_record(tmp_path / "none.json") == {}
    assert read_record(tmp_path) == {}
    assert read_record(tmp_path / ("x" * 5000)) == {}
    assert read_record(tmp_path / "a\0b") == {}
    (tmp_path / "large.json").write_text('{"a": 1}', "utf-8")
    monkeypatch.setattr(records, "LARGEST_RECORD", 4)
    assert read_record(tmp_path / "large.json") == {}


@pytest.mark.parametrize("data", JUNK)
def test_a_measured_precision_is_measured_again_where_its_file_is_none(tmp_path, monkeypatch, data):
    monkeypatch.setenv("NST_CACHE", str(tmp_path))
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    monkeypatch.setattr(devices, "_measure", lambda key, encoder: True)
    (tmp_path / "precision.json").write_bytes(data)
    encoder = Encoder(TOY, seed=1)
    assert devices.choose_precision(encoder, torch.device("cpu")) == torch.bfloat16
    assert list(read_record(tmp_path / "precision.json").values()) == [True]


def test_there_is_one_reader_of_the_packages_own_files():
    """Another one would need all of the above again. The classroom reads files of other programs."""
    package = Path(records.__file__).parents[1]
    others = [path for path in package.rglob("*.py") if path.parts[-2] not in ("classroom", "box")]
    reads = re.compile(r"json\.loads?\([^)]*(read_text|read_bytes|open)\(|json\.load\(")
    assert [path.name for path in others if reads.search(path.read_text("utf-8"))] == ["records.py"]
