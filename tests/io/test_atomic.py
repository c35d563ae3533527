"""A file that is replaced keeps who may read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nst_helpers.io.atomic import check_writable, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
@pytest.mark.parametrize("before", [0o600, 0o640, 0o644, 0o664, 0o755, 0o444, 0o400])
def test_overwriting_keeps_the_mode(tmp_path, before, umask):
    path = tmp_path / "private.png"
    path.write_bytes(b"old")
    path.chmod(before)
    usual = os.umask(umask)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(usual)
    assert path.read_bytes() == b"new"
    assert mode(path) == before


@posix
def test_the_mode_is_that_of_a_links_target(tmp_path):
    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert mode(tmp_path / "private") == 0o600
    write_whole(tmp_path / "link", b"newer", through_links=False)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "private").read_bytes() == b"new"


@posix
def test_nobody_else_can_open_the_new_content_while_it_is_written(tmp_path, monkeypatch):
    path, seen = tmp_path / "private", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    real = Path.replace

    def look(self, target):
        seen.append(mode(self))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write_whole(path, b"new")
    assert seen == [0o600]


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path):
    path = tmp_path / "theirs"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    write_whole(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@posix
def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for write in (check_writable, lambda path: write_whole(path, b"new")):
        with pytest.raises(OSError, match="a device or a pipe"):
            write(path)
    assert path.is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_is_probed_without_a_trace(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    check_writable(tmp_path / "a.png")
    check_writable(tmp_path / "b.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"
    for bad in (tmp_path / "no" / "b.png", tmp_path / "a.png" / "b.png", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            check_writable(bad)
