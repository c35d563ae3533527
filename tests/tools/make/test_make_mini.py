"""The tool that cuts the mini encoder from a pretrained VGG."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nst_helpers import gram_matrix, style_loss
from nst_helpers.encoders import Architecture, Encoder

sys.path.insert(0, str(Path(__file__).parents[3] / "tools" / "make"))

import make_mini


def toy_teacher(*, blocks=((12, 10), (14, 8)), ranks=(5, 4, 6, 4), seed=0):
    """A network whose layers are copies: channel c is a multiple of channel c modulo the rank."""
    g = torch.Generator().manual_seed(seed)
    spec = Architecture("toy", blocks, pool="avg", pool_scale=1.3, final_pool=False)
    teacher = Encoder(spec, seed=seed)
    for name, rank in zip(spec.conv_names, ranks, strict=True):
        layer = teacher.layers[name]
        source = torch.arange(layer.out_channels) % rank
        factor = torch.rand(layer.out_channels, generator=g) + 0.5
        layer.weight.data = layer.weight[source] * factor.view(-1, 1, 1, 1)
        layer.bias.data = (layer.bias[source] + 0.05 * source) * factor
    return teacher


def toy_images(count=6, size=24, seed=1):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("blocks", [((12,), (14,)), ((12, 10), (14, 8))])
def test_cut_at_the_true_rank_is_exact(blocks):
    ranks = (5, 4, 6, 4) if len(blocks[0]) == 2 else (5, 6)
    teacher = toy_teacher(blocks=blocks, ranks=ranks)
    rest = iter(ranks)
    widths = [[next(rest) for _ in ws] for ws in blocks]
    mini, picks = make_mini.cut(teacher, widths, toy_images(), per=200)
    unseen = toy_images(2, 32, seed=9)
    for name in teacher.architecture.conv_names:
        relu = name.replace("conv", "relu")
        theirs = teacher(unseen, [relu])[relu][:, picks[name]]
        assert (mini(unseen, [relu])[relu] - theirs).norm() < 1e-4 * theirs.norm(), name


def test_cut_below_the_rank_is_not_exact_and_more_channels_do_better():
    teacher, images = toy_teacher(ranks=(12, 10, 14, 8)), toy_images()
    errors = []
    for widths in ([[3, 3], [4, 4]], [[8, 8], [10, 7]]):
        mini, _ = make_mini.cut(teacher, widths, images, per=200)
        sums = make_mini.moments(teacher, mini, list(images.split(1)))
        errors.append(make_mini.map_errors(sums, make_mini.fit_maps(sums))["relu2_2"])
    assert errors[0] > 1.5 * errors[1] > 1e-4


def test_cuts_blocks_of_four_and_ends_at_conv5_1():
    blocks = ((4,) * 2, (4,) * 2, (5,) * 4, (5,) * 4, (6,) * 4)
    teacher = Encoder(Architecture("toy", blocks, pool="avg"))
    widths = [ws[:1] if b == 4 else ws for b, ws in enumerate(blocks)]
    mini, picks = make_mini.cut(teacher, widths, toy_images(8, 64), per=100)
    assert mini.layer_names == teacher.layer_names[: teacher.layer_names.index("relu5_1") + 1]
    assert all(len(picks[n]) == w for n, w in make_mini.widths_of(mini.architecture).items())
    # All channels are kept, so the mini is the teacher, its channels in another order at most.
    image = toy_images(1, 64, seed=5)
    ours, theirs = (e(image, ["relu3_4"])["relu3_4"] for e in (mini, teacher))
    torch.testing.assert_close(ours, theirs[:, picks["conv3_4"]], rtol=1e-2, atol=1e-2)


def test_same_seed_same_file_and_an_interrupted_run_goes_on(tmp_path):
    teacher, images = toy_teacher(), toy_images()
    photos = list(toy_images(3, 20, seed=4).split(1))
    widths = [[5, 4], [6, 4]]

    def written(name, **options):
        mini, _ = make_mini.make(teacher, widths, images, photos, per=100, **options)
        return make_mini.write(mini, tmp_path / name, {}).read_bytes()

    whole = written("whole.safetensors")
    assert written("again.safetensors") == whole
    assert written("other.safetensors", seed=1) != whole

    def stop(line):
        lines.append(line)
        if line.startswith("conv2_1"):
            raise KeyboardInterrupt

    lines: list[str] = []
    checkpoint = tmp_path / "work.safetensors"
    with pytest.raises(KeyboardInterrupt):
        written("broken.safetensors", checkpoint=checkpoint, log=stop)
    assert "conv2_1.weight" in load_file(checkpoint)
    assert "conv2_2.weight" not in load_file(checkpoint)
    resumed: list[str] = []
    assert written("resumed.safetensors", checkpoint=checkpoint, log=resumed.append) == whole
    assert [line for line in resumed if "refitted" in line] == ["conv2_2 refitted"]


def test_scaling_a_layer_leaves_relative_losses_as_they_are():
    encoder = Encoder(Architecture("toy", ((6, 5), (7,)), pool="avg", pool_scale=1.7, final_pool=False), seed=3)
    images = list(toy_images(4, 20).split(1))
    names = ["relu1_1", "relu1_2", "relu2_1"]

    def losses():
        a, b = (encoder(x, names) for x in images[:2])
        return [style_loss(gram_matrix(a[n]), gram_matrix(b[n])).item() for n in names]

    before = losses()
    make_mini.scale_channels(encoder, make_mini.unit_scales(encoder, images))
    assert losses() == pytest.approx(before, rel=1e-5)
    means = [torch.stack([encoder(x, [n])[n].mean() for x in images]).mean().item() for n in names]
    assert means == pytest.approx([1, 1, 1], rel=1e-5)


def test_channel_scales_are_undone_by_the_next_layer():
    encoder = Encoder(Architecture("toy", ((6, 5), (7,)), pool="avg", pool_scale=1.7, final_pool=False), seed=3)
    image, g = toy_images(1), torch.Generator().manual_seed(0)
    before = encoder(image, encoder.layer_names)
    scales = {n: torch.rand(w, generator=g) + 0.5 for n, w in make_mini.widths_of(encoder.architecture).items()}
    make_mini.scale_channels(encoder, scales)
    after = encoder(image, encoder.layer_names)
    for name in ("relu1_1", "relu1_2", "relu2_1"):
        scale = scales[name.replace("relu", "conv")].view(1, -1, 1, 1)
        torch.testing.assert_close(after[name], before[name] * scale)


def test_input_of_unit_size_gives_the_same_features():
    spec = Architecture("toy", ((6,),), mean=(0.5, 0.4, 0.3), std=(1 / 255,) * 3, pool="avg", final_pool=False)
    encoder, image = Encoder(spec), toy_images(1)
    folded = make_mini.with_std(encoder)
    assert folded.architecture.std != spec.std
    torch.testing.assert_close(folded(image, ["relu1_1"]), encoder(image, ["relu1_1"]), rtol=1e-4, atol=1e-3)


def test_channel_scales_find_the_copies():
    # The teacher has channel 0 four times over and channel 1 once: their losses differ by 4 and 1.
    rows = torch.rand(30, 2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    grams = rows @ rows.transpose(1, 2) / 50
    mapping = torch.tensor([[1.0, 1, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.float64)
    scales = make_mini.channel_scales(grams, mapping)
    assert (scales[0] / scales[1]).item() == pytest.approx(2.0, rel=0.02)


def test_pick_takes_no_copy():
    base = torch.rand(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = torch.cat([base, base * 2, base * 0.5], 1)
    chosen = make_mini.pick(data.T @ data, torch.eye(12), 4)
    assert sorted(c % 4 for c in chosen) == [0, 1, 2, 3]


def test_refit_counts_nothing_below_zero():
    g = torch.Generator().manual_seed(0)
    seen = torch.cat([torch.rand(400, 6, generator=g), torch.ones(400, 1)], 1)
    truth = torch.randn(7, 3, generator=g)
    wanted = seen @ truth
    spoilt = torch.where(wanted > 0, wanted, wanted * 5 - 1)  # another network below zero, the same after ReLU
    error = []
    for rounds in (1, 200):
        filters, bias = make_mini.refit(seen, spoilt, rounds=rounds)
        got = seen.double() @ torch.cat([filters, bias[None]])
        error.append((got.relu() - wanted.relu()).norm() / wanted.relu().norm())
    assert error[1] < 0.1 * error[0]


def test_widths_belong_to_the_teacher():
    from nst_helpers.encoders import HED, VGG19

    assert [len(ws) for ws in make_mini.blocks_of(VGG19, None)] == [2, 2, 4, 4, 1]
    assert make_mini.blocks_of(HED, range(1, 12)) == ((1, 2), (3, 4), (5, 6, 7), (8, 9, 10), (11,))
    with pytest.raises(ValueError, match="12 widths came, but hed has 11"):
        make_mini.blocks_of(HED, range(1, 13))
