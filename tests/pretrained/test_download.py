"""`fetch` against a local server that breaks off, stalls, refuses, and serves the wrong file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import busy, examples
from faulty_server import serve, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nst_helpers.io.records import read_record
from nst_helpers.pretrained import download
from nst_helpers.pretrained.download import DownloadError, fetch

BODY = os.urandom(300_000)
OTHER = os.urandom(200_000)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", 10.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "weights.pth"


def get(server, target, *, sha256=SHA[:8], progress=False):
    fetch(server.url, target, sha256=sha256, progress=progress)


def names(target):
    return sorted(file.name for file in target.parent.iterdir())


@pytest.mark.parametrize("what", ["ok", "plain", "bare", "chunked", "redirect"])
def test_a_good_server_gives_the_file_and_nothing_else_stays(target, what):
    with serve(BODY, what) as server:
        get(server, target)
    assert target.read_bytes() == BODY
    assert names(target) == ["weights.pth"]


@pytest.mark.parametrize("cut", [1, 100_000, 299_999])
def test_a_break_is_resumed_and_no_byte_is_sent_twice(target, cut):
    with serve(BODY, ("cut", cut)) as server:
        get(server, target)
    assert target.read_bytes() == BODY
    assert [r.range for r in server.log] == [None, f"bytes={cut}-"]
    assert server.sent == len(BODY)


def test_a_later_call_goes_on_from_what_an_earlier_one_kept(target):
    with serve(BODY, *[("cut", 60_000)] * 3) as server:
        with pytest.raises(DownloadError, match=r"after 0\.2 MB of 0\.3 MB, 3 times; 0\.2 MB are kept"):
            get(server, target)
        assert names(target) == ["weights.pth.partial", "weights.pth.partial.json"]
        get(server, target)
    assert target.read_bytes() == BODY
    assert server.sent == len(BODY)


def test_a_range_survives_a_redirect(target):
    with serve(BODY, "redirect", ("cut", 60_000), "redirect") as server:
        get(server, target)
    assert [(r.path.strip("/"), r.sent) for r in server.log if r.sent] == [
        ("elsewhere", 60_000),
        ("elsewhere", 240_000),
    ]


@pytest.mark.parametrize("second", ["plain", "misfit"])
def test_a_server_without_ranges_or_with_wrong_ones_costs_a_fresh_start(target, second):
    with serve(BODY, ("cut", 100_000), second) as server:
        get(server, target)
    assert target.read_bytes() == BODY
    assert len(server.log) == (2 if second == "plain" else 3)


@pytest.mark.parametrize(("first", "second"), [("ok", "ok"), ("bare", "bare"), ("ok", "bare")])
@pytest.mark.parametrize("size", [len(OTHER), 50_000])
def test_two_versions_of_a_file_are_never_glued(target, monkeypatch, first, second, size):
    """The file changes on the server after a break; 50 kB is less than what had come, so a bare server says 416."""
    monkeypatch.setattr(download, "TRIES", 1)
    with serve(BODY, ("cut", 100_000)) as server, pytest.raises(DownloadError):
        get(server, target)
    note = target.with_name("weights.pth.partial.json")
    if first == "bare":
        note.write_text(json.dumps({**read_record(note), "validator": None}), "utf-8")
    monkeypatch.setattr(download, "TRIES", 3)
    new = OTHER[:size]
    with serve(new, second, second) as server:
        note.write_text(json.dumps({**read_record(note), "url": server.url}), "utf-8")
        get(server, target, sha256=hashlib.sha256(new).hexdigest())
    assert target.read_bytes() == new
    assert server.log[0].range == "bytes=100000-"
    assert len(server.log) <= 2


@pytest.mark.parametrize("answer", ["ok", "deaf"])
def test_a_new_version_of_the_same_size_is_told_by_its_etag(target, answer):
    """Also where the server sends the piece without heeding If-Range."""
    new = bytes(reversed(BODY))
    with serve(BODY, ("cut", 100_000)) as server:
        server.plan.append((answer, lambda: setattr(server, "body", new)))
        get(server, target, sha256=hashlib.sha256(new).hexdigest())
    assert target.read_bytes() == new
    assert len(server.log) == (2 if answer == "ok" else 3)


def test_another_address_starts_afresh(target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    with serve(BODY, ("cut", 100_000)) as server, pytest.raises(DownloadError):
        get(server, target)
    with serve(BODY) as server:
        get(server, target)
    assert server.log[0].range is None


def test_a_stalled_server_is_noticed_and_left(target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    began = time.monotonic()
    with serve(BODY, ("stall", 100_000), ("stall", 100_000)) as server:
        get(server, target)
        assert time.monotonic() - began < 5 * busy()
    assert target.read_bytes() == BODY
    assert server.sent == len(BODY)


@pytest.mark.slow
def test_a_server_that_only_stalls_is_given_up_with_the_reason(target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.4)
    with serve(BODY, *[("stall", 0)] * 3) as server, pytest.raises(DownloadError, match=r"sent nothing for 0\.4 s"):
        get(server, target)
    assert len(server.log) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 451])
def test_a_refusal_is_final(target, code):
    with serve(BODY, code) as server, pytest.raises(DownloadError, match=f"answered {code}"):
        get(server, target)
    assert len(server.log) == 1
    assert not target.exists()


@pytest.mark.parametrize("codes", [[500], [503, 429], [502, 408]])
def test_a_passing_trouble_is_tried_again(target, codes):
    with serve(BODY, *codes) as server:
        get(server, target)
    assert len(server.log) == len(codes) + 1
    assert target.read_bytes() == BODY


def test_a_lasting_trouble_ends_after_three_tries(target):
    with serve(BODY, *[500] * 9) as server, pytest.raises(DownloadError, match="500 Internal Server Error, 3 times"):
        get(server, target)
    assert len(server.log) == 3


def test_the_pauses_grow(target, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with serve(BODY, *[500] * 9) as server, pytest.raises(DownloadError):
        get(server, target)
    assert pauses == [0.01, 0.02]


@pytest.mark.parametrize("what", ["ok", "chunked", ("length", len(OTHER) - 7)])
def test_a_wrong_file_is_named_and_removed(target, what):
    with serve(OTHER, what) as server, pytest.raises(DownloadError, match=f"not {SHA[:8]}"):
        get(server, target)
    assert names(target) == []


def test_an_enormous_or_endless_file_is_refused(target, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", 100_000)
    with serve(BODY, ("length", 10**15), "chunked", "endless") as server:
        for _ in range(3):
            with pytest.raises(DownloadError, match="another file, of"):
                get(server, target)
    assert server.log[-1].sent < 40e6
    assert names(target) == []


def test_no_server_is_said_with_its_host(target):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.pth"
        with pytest.raises(DownloadError, match=r"no answer from 127\.0\.0\.1 \(Connection refused\), 3 times$"):
            fetch(url, target, sha256="00", progress=False)


@pytest.mark.parametrize(
    "url", ["", "weights.pth", "file:///etc/hostname", "http://[::1/a", "http://a b/c", "http://h:x/"]
)
def test_no_address_is_said_at_once(target, monkeypatch, url):
    monkeypatch.setenv("no_proxy", "*")  # which would look at the address in our place
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("a wrong address can't get better by waiting"))
    with pytest.raises(DownloadError, match="address"):
        fetch(url, target, sha256="00", progress=False)


def test_a_redirect_to_a_local_file_is_refused(target, tmp_path):
    (tmp_path / "local").write_bytes(BODY)
    with serve(BODY, ("redirect", (tmp_path / "local").as_uri())) as server, pytest.raises(DownloadError, match="302"):
        get(server, target)
    assert not target.exists()


def test_a_redirect_in_a_circle_ends(target):
    with serve(BODY, *["redirect"] * 20) as server, pytest.raises(DownloadError, match="302 Found"):
        get(server, target)
    assert len(server.log) < 15


def test_a_full_disk_is_said_before_the_download(target, monkeypatch):
    usage = type(download.shutil.disk_usage("/"))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with (
        serve(BODY) as server,
        pytest.raises(DownloadError, match=r"too full \(0\.3 MB are needed and 0\.0 MB are free"),
    ):
        get(server, target)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_write_that_fails_is_said_and_goes_on_later(target):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve(BODY) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(DownloadError, match=f"can't be written \\({os.strerror(errno.EFBIG)}\\)"):
                get(server, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        get(server, target)
    assert target.read_bytes() == BODY
    assert server.log[-1].range is not None


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "folder").write_text("a file", "utf-8")
    with serve(BODY) as server, pytest.raises(DownloadError, match=r"folder can't be written"):
        get(server, tmp_path / "folder" / "weights.pth")
    assert not server.log


def test_a_partial_that_is_a_folder_is_said(target):
    target.with_name("weights.pth.partial").mkdir(parents=True)
    with serve(BODY) as server, pytest.raises(DownloadError, match="can't be written"):
        get(server, target)


def test_a_partial_that_is_a_link_is_not_followed(target, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    target.parent.mkdir()
    target.with_name("weights.pth.partial").symlink_to(precious)
    with serve(BODY) as server:
        note = {"url": server.url, "total": len(BODY), "validator": None}
        target.with_name("weights.pth.partial.json").write_text(json.dumps(note), "utf-8")
        get(server, target)
    assert precious.read_bytes() == b"precious"
    assert target.read_bytes() == BODY
    assert not target.is_symlink()


@pytest.mark.parametrize("size", [0, 299_999, 300_000, 300_001, 900_000])
def test_a_partial_full_of_rubbish_never_counts(target, size):
    """Even with a note that fits: a rubbish part can cost a failed call, but not a wrong file, nor a second failure."""
    target.parent.mkdir()
    target.with_name("weights.pth.partial").write_bytes(bytes(size))
    with serve(BODY, "bare", "bare") as server:
        note = {"url": server.url, "total": len(BODY), "validator": None}
        target.with_name("weights.pth.partial.json").write_text(json.dumps(note), "utf-8")
        if size in {299_999, 300_000}:
            with pytest.raises(DownloadError, match="another file came"):
                get(server, target)
            assert names(target) == []
        get(server, target)
    assert target.read_bytes() == BODY


NOTES = [
    "", "null", "[]", "{", "[" * 60_000, "x" * 10**6, '{"url": 1}', '{"total": "300000"}', '{"total": NaN}',
    '{"total": true, "validator": null, "url": "URL"}', '{"total": 300000, "validator": 5, "url": "URL"}',
    '{"total": 300000, "validator": "a\\r\\nX: y", "url": "URL"}', '{"total": 300000, "validator": "ä€", "url": "URL"}',
    '{"total": 1e400, "url": "URL"}', '{"total": -5, "url": "URL"}', "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("note", NOTES, ids=range(len(NOTES)))
def test_a_note_full_of_rubbish_costs_a_fresh_start_at_most(target, note):
    target.parent.mkdir()
    target.with_name("weights.pth.partial").write_bytes(BODY[:1000])
    with serve(BODY) as server:
        text = note.replace("URL", server.url).encode("utf-8", "surrogatepass")
        target.with_name("weights.pth.partial.json").write_bytes(text)
        get(server, target)
    assert target.read_bytes() == BODY


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_has_come(target):
    with serve(BODY, ("stall", 100_000)) as server:
        partial = target.with_name("weights.pth.partial")
        waiting = threading.Event()

        def interrupt():
            # Of what was sent, a last piece may be in the file's buffer still.
            wait_for(lambda: partial.exists() and partial.stat().st_size > 100_000 - io.DEFAULT_BUFFER_SIZE)
            waiting.wait(0.3)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            get(server, target)
        thread.join()
        assert partial.read_bytes() == BODY[:100_000]
        get(server, target)
    assert target.read_bytes() == BODY
    assert server.sent == len(BODY)


def test_progress_goes_to_standard_output_and_only_when_wanted(target, capsys):
    with serve(BODY) as server:
        get(server, target, progress=True)
        shown = capsys.readouterr()
        assert "weights.pth" in shown.out
        assert "300k/300k" in shown.out
        assert shown.err == ""
        get(server, target, progress=False)
    assert capsys.readouterr() == ("", "")


SERVED = st.sampled_from(["ok", "plain", "bare", "chunked", "misfit", "redirect", 403, 500, 416])
FAULTS = st.one_of(SERVED, st.tuples(st.sampled_from(["cut", "length"]), st.integers(0, 3000)))


@given(plan=st.lists(FAULTS, max_size=6))
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_server_does_the_file_is_right_or_not_there(tmp_path, plan):
    body = BODY[:2500]
    target: Path = tmp_path / "weights.pth"
    target.unlink(missing_ok=True)
    with serve(body, *plan) as server:
        with contextlib.suppress(DownloadError):
            get(server, target, sha256=hashlib.sha256(body).hexdigest())
        if not target.exists():
            server.plan.clear()
            get(server, target, sha256=hashlib.sha256(body).hexdigest())
    assert target.read_bytes() == body
    assert [f.name for f in tmp_path.iterdir()] == ["weights.pth"]
