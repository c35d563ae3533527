"""Linux namespaces around a process: a read-only system, small temporary folders, and nobody else to see or signal.

`begin` is called once, in a process with one thread; what is forked from it calls `enter`, and what is forked from that
calls `settle`. The superuser makes the namespaces directly, and the box then becomes a user that nothing belongs to;
everybody else needs user namespaces (Linux 5.12 or newer, and a system that lets people make them). Where something
fails they raise OSError, and the caller goes on with limits alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import site
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["begin", "enter", "readable_places", "settle"]

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_DETACH, _RECURSIVE, _AT_FDCWD, _MOUNT_SETATTR = 2, 0x8000, -100, 442
_NO_NEW_PRIVS, _CAPBSET_DROP = 38, 24
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl")
_FIRST_NOBODY = 2**30
_DEVICES = ("null", "zero", "full", "random", "urandom")


def readable_places(package: str) -> list[str]:
    """The folders that Python needs: its own, and those with packages, but none where `package` is being developed."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()}
    found |= {path for path in sys.path if path and not (Path(path) / package).is_dir()}
    found |= {path for path in sys.path if "site-packages" in path or "dist-packages" in path}
    found |= {str(Path(path).resolve()) for path in found}
    kept = sorted(path for path in found if Path(path).is_dir() and path != "/")
    return [path for path in kept if not any(path.startswith(f"{other}/") for other in (*kept, *_SYSTEM))]


def begin(*, new_user: bool) -> None:
    """Go into a network, a host name and message queues of one's own, by way of a new user namespace if asked to."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _check(libc.unshare(_NEWNET | _NEWIPC | _NEWUTS | (_NEWUSER if new_user else 0)), "unshare")
    if new_user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"1000 {user} 1")
        Path("/proc/self/gid_map").write_text(f"1000 {group} 1")
        # None within this one, so that nobody gets rights back that have been dropped.
        with contextlib.suppress(OSError):
            Path("/proc/sys/user/max_user_namespaces").write_text("0")


def enter(root: Path, visible: Sequence[tuple[str, str]], *, megabytes: int) -> None:
    """Put a new file system together at `root`, an empty folder, which nobody outside sees.

    Beside the system's programs, `visible` lists (folder outside, its name inside), all read-only; /tmp is empty,
    writable and `megabytes` large. The next fork is the first process of a new process namespace; it calls `settle`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_NEWNS | _NEWPID), "unshare")
    _mount(libc, "none", "/", "", _REC | _PRIVATE)
    _mount(libc, "tmpfs", str(root), "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for place, size in (("tmp", megabytes), ("dev/shm", min(megabytes, 64))):
        (root / place).mkdir(parents=True, exist_ok=True)
        _mount(libc, "tmpfs", str(root / place), "tmpfs", _NOSUID | _NODEV, f"size={size}m,nr_inodes=20k,mode=1777")
    for outside, inside in (*((place, place) for place in _SYSTEM), *visible):
        _bind(libc, Path(outside), root / inside.lstrip("/"))
    for name in _DEVICES:
        _bind(libc, Path("/dev") / name, root / "dev" / name, read_only=False)
    (root / "proc").mkdir()


def settle(root: Path, number: int) -> None:
    """In the first process of the new namespace: make the new file system the only one, and give up every right.

    `number` is another one for each box.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Needs a process of the new namespace. Some containers hide parts of /proc and forbid this; then there is none.
    libc.mount(b"proc", str(root / "proc").encode(), b"proc", _NOSUID | _NODEV, None)
    os.chdir(root)
    _check(libc.pivot_root(b".", b"."), "pivot_root")
    _check(libc.umount2(b".", _DETACH), "umount2")
    os.chdir("/tmp")
    _read_only(libc, "/", recursive=False)
    for capability in range(64):
        libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    if not os.getuid():
        # Nobody's number, and another one for each box: the kernel counts processes by it.
        nobody = _FIRST_NOBODY + number % 2**20
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
    _check(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check(libc.capset(version, none), "capset")


def _bind(libc: ctypes.CDLL, outside: Path, inside: Path, *, read_only: bool = True) -> None:
    if not outside.exists():
        return
    if outside.is_symlink() and not inside.exists():  # /bin is a link to /usr/bin on many systems
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.symlink_to(outside.readlink())
        return
    if outside.is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch()
    _mount(libc, str(outside), str(inside), "", _BIND | _REC)
    if read_only:
        _read_only(libc, str(inside))


def _read_only(libc: ctypes.CDLL, place: str, *, recursive: bool = True) -> None:
    wanted = (ctypes.c_uint64 * 4)(0x1 | 0x2, 0, 0, 0)  # read-only, no set-uid programs
    flags = _RECURSIVE if recursive else 0
    called = libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, place.encode(), flags, wanted, ctypes.sizeof(wanted))
    _check(called, "mount_setattr")


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    given = [text.encode() for text in (source, target, kind)]
    _check(libc.mount(*given, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
