"""The mini encoder in the package: its file, its card, and what it was cut to be."""

from __future__ import annotations

import hashlib
import json
import re
import time

import torch
from conftest import slow
from safetensors import safe_open
from safetensors.torch import load_file

from nst_helpers import load_encoder
from nst_helpers.encoders import MINI_FILE
from nst_helpers.samples import list_samples, load_sample

CARD = MINI_FILE.with_name("README.md")


def test_file_is_small_and_float16():
    assert MINI_FILE.stat().st_size <= 6_000_000
    weights = load_file(MINI_FILE)
    assert {w.dtype for w in weights.values()} == {torch.float16}
    assert all(w.isfinite().all() for w in weights.values())


def test_file_tells_where_it_comes_from():
    with safe_open(MINI_FILE, framework="pt") as file:
        metadata = file.metadata()
    assert {"spec", "teacher", "licence", "seed", "method", "channels"} <= set(metadata)
    spec, channels = json.loads(metadata["spec"]), json.loads(metadata["channels"])
    assert spec["name"] == "mini"
    assert spec["pool"] == "avg"
    assert not spec["closes"]
    mini = load_encoder("mini")
    widths = {n: mini.layers[n].out_channels for n in mini.architecture.conv_names}
    assert {n: len(c) for n, c in channels.items()} == widths
    assert all(len(set(c)) == len(c) for c in channels.values())


def test_has_the_layer_names_of_its_teacher():
    from nst_helpers.encoders import HED

    names = load_encoder("mini").layer_names
    assert names == HED.layer_names[: HED.layer_names.index("relu5_1") + 1]


def test_loads_in_a_tenth_of_a_second():
    times = []
    for _ in range(5):
        start = time.process_time()
        load_encoder("mini")
        times.append(time.process_time() - start)
    assert min(times) < 0.1 * slow()


def test_mean_activations_are_about_one():
    mini = load_encoder("mini")
    names = [n for n in mini.layer_names if n.startswith("relu")]
    means = {n: [] for n in names}
    for sample in list_samples("content"):
        for name, x in mini(load_sample(sample, size=192), names).items():
            means[name].append(x.mean().item())
    for name, values in means.items():
        assert 0.5 < sum(values) / len(values) < 2, name


def test_card_agrees_with_the_file():
    text = CARD.read_text(encoding="utf-8")
    mini = load_encoder("mini")
    assert hashlib.sha256(MINI_FILE.read_bytes()).hexdigest() in text
    assert f"{sum(p.numel() for p in mini.parameters()):,}" in text
    rows = dict(re.findall(r"^\| (conv\d_\d) \| (\d+) \|", text, re.MULTILINE))
    assert rows == {n: str(mini.layers[n].out_channels) for n in mini.architecture.conv_names}
    assert CARD.with_name("mini_sheet.jpg").stat().st_size <= 250_000
