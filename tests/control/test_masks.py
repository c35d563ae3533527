"""Masks from files and for pictures, and parts found by features."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import noise, picture
from PIL import Image

import nst_helpers as nst
from nst_helpers.control.find import guided_filter, kmeans, merged
from nst_helpers.control.masks import check_mask, load_alpha, resize_mask
from nst_helpers.errors import ImageError, MaskError


def png(array, mode):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, dtype=np.uint8), mode).save(file, "PNG")
    return file.getvalue()


def test_white_is_the_region_and_grey_is_partly():
    mask = nst.load_mask(png([[0, 255], [51, 204]], "L"))
    torch.testing.assert_close(mask, torch.tensor([[[[0.0, 1.0], [0.2, 0.8]]]]), atol=1e-6, rtol=0)


def test_maps_and_filters_do_not_feel_the_default_type():
    photo, mask = picture(24, 24), noise(1, 1, 24, 24)
    expected = nst.detail_map(photo), guided_filter(photo, mask)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = nst.detail_map(photo), guided_filter(photo, mask)
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True))


def test_alpha_is_taken_where_there_is_some():
    """A black cut-out on nothing is the region itself; an all opaque picture counts by its light."""
    cut = np.zeros((2, 2, 4))
    cut[0, 0, 3] = 255
    assert nst.load_mask(png(cut, "RGBA")).flatten().tolist() == [1, 0, 0, 0]
    opaque = np.full((2, 2, 4), 255)
    opaque[0, 0, :3] = 0
    assert nst.load_mask(png(opaque, "RGBA")).flatten().tolist() == [0, 1, 1, 1]
    assert load_alpha(png(opaque, "RGBA")) is None


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_mask_has_the_size_that_its_photo_has(mode):
    mask = np.zeros((30, 41, 4) if mode == "RGBA" else (30, 41))
    mask[:10] = 255
    photo = nst.load_image(png(np.zeros((30, 41, 3)), "RGB"), size=17)
    found = nst.load_mask(png(mask, mode), size=17)
    assert found.shape[-2:] == photo.shape[-2:]
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_a_file_that_is_no_picture_gets_the_sentence_of_pictures():
    with pytest.raises(ImageError, match="is not a picture"):
        nst.load_mask(b"nothing")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(1, 3, 8, 8), r"^mask is \(1, 3, 8, 8\), torch.float32, expected floating point numbers"),
        (torch.ones(1, 1, 8, 8).bool(), "torch.bool, expected floating"),
        ([1, 2], "^mask is a list"),
        (torch.full((1, 1, 8, 8), 1.5), r"^mask ranges from 1.5 to 1.5, expected \[0, 1\]"),
        (torch.full((1, 1, 8, 8), float("nan")), "^mask ranges from nan"),
        (torch.zeros(1, 1, 8, 8), "^mask is black all over"),
        (torch.ones(1, 1, 8, 16), "^mask is 16 x 8 pixels and its picture 8 x 8"),
    ],
)
def test_what_is_no_mask_gets_one_sentence(mask, words):
    with pytest.raises(MaskError, match=words) as caught:
        check_mask(mask, like=picture(8, 8))
    assert "\n" not in str(caught.value)


def test_a_mask_may_have_any_size_of_the_pictures_proportions():
    for size in ((60, 80), (30, 40), (15, 20), (31, 41)):
        check_mask(torch.ones(1, 1, *size), like=picture(30, 40))
    half = torch.zeros(1, 1, 60, 80)
    half[..., :40] = 1
    small = resize_mask(half, like=picture(30, 40))
    assert small.shape == (1, 1, 30, 40)
    assert small[..., :18].min() > 0.99
    assert small[..., 22:].max() < 0.01


def scene(height=48, width=64):
    """Blue above, a fine green texture below: two parts that nobody would cut in another way."""
    image = torch.zeros(1, 3, height, width)
    image[:, 2, : height // 2] = 0.8
    image[:, 1, height // 2 :] = noise(1, height - height // 2, width)[0]
    return image


def test_the_parts_of_a_plain_scene_are_found():
    sky, ground = nst.find_regions(scene(), 2)
    assert sky[..., :20, :].mean() > 0.95
    assert ground[..., 28:, :].mean() > 0.95
    torch.testing.assert_close(sky + ground, torch.ones_like(sky))


def test_parts_sum_up_to_one_come_from_the_top_and_repeat():
    content = nst.load_sample("temple", size=64)
    masks = nst.find_regions(content, 3)
    torch.testing.assert_close(sum(masks), torch.ones(1, 1, *content.shape[-2:]))
    rows = torch.linspace(0, 1, content.shape[-2]).view(1, 1, -1, 1)
    heights = [((mask * rows).sum() / mask.sum()).item() for mask in masks]
    assert heights == sorted(heights)
    assert all(torch.equal(a, b) for a, b in zip(masks, nst.find_regions(content, 3), strict=True))


# Of each photo, places that a person would put into one part, as shares of its width and height; part by part.
NAMED = {
    "temple": [[(0.7, 0.15), (0.12, 0.2), (0.68, 0.45)], [(0.35, 0.45), (0.92, 0.6), (0.5, 0.92)]],
    "dune": [[(0.3, 0.2), (0.9, 0.5)], [(0.4, 0.7), (0.7, 0.85)]],
    "otter": [[(0.7, 0.2), (0.2, 0.15), (0.6, 0.55)], [(0.3, 0.88), (0.85, 0.92)]],
    "cat": [[(0.5, 0.5), (0.3, 0.6), (0.55, 0.15)], [(0.92, 0.72), (0.03, 0.2)]],
    "colosseum": [[(0.9, 0.3), (0.88, 0.7)], [(0.3, 0.6), (0.5, 0.3)]],
    "portrait": [[(0.1, 0.15), (0.88, 0.2)], [(0.45, 0.45), (0.45, 0.7)]],
    "street": [[(0.3, 0.2), (0.7, 0.3)], [(0.3, 0.8), (0.08, 0.6)]],
    "bridge": [[(0.85, 0.15)], [(0.15, 0.5), (0.8, 0.68)], [(0.36, 0.3), (0.35, 0.67)]],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_the_parts_of_the_courses_photos_are_those_a_person_would_name(name):
    photo = nst.load_sample(name, size=192)
    masks = nst.find_regions(photo, len(NAMED[name]))
    for mask, places in zip(masks, NAMED[name], strict=True):
        for x, y in places:
            at = mask[0, 0, int(y * mask.shape[-2]), int(x * mask.shape[-1])]
            assert at > 0.5, (x, y)


def test_a_long_picture_is_seen_in_larger_pieces():
    """All pairs of places are compared, so that their number is bounded, whatever the picture's shape."""
    left, right = nst.find_regions(torch.cat([torch.zeros(1, 3, 24, 400), noise(1, 3, 24, 400)], -1), 2)
    assert left.shape == (1, 1, 24, 800)
    low, high = sorted([left[..., :350].mean().item(), left[..., 450:].mean().item()])
    assert low < 0.05
    assert high > 0.95
    torch.testing.assert_close(left + right, torch.ones_like(left))


def test_matched_parts_mean_the_same_in_both_pictures():
    here, there = nst.match_regions(scene(), scene().flip(-2), 2)
    assert here[0][..., :20, :].mean() > 0.95
    assert there[0][..., 28:, :].mean() > 0.95


@pytest.mark.parametrize("k", [1, 9, 2.5, True, "3"])
def test_a_number_of_parts_that_makes_no_sense_gets_one_sentence(k):
    with pytest.raises(MaskError, match=f"^k is {k!r}, expected a whole number of parts from 2 to 8"):
        nst.find_regions(scene(), k)


def test_a_number_of_parts_and_a_seed_may_be_of_any_make():
    masks = nst.find_regions(scene(), 2, seed=1)
    for k, seed in ((np.int64(2), np.int64(1)), (2.0, torch.tensor(1))):
        assert all(torch.equal(a, b) for a, b in zip(masks, nst.find_regions(scene(), k, seed=seed), strict=True))
    for seed in (None, "1", 1.5, 2**64):
        with pytest.raises(ValueError, match="^seed is "):
            nst.find_regions(scene(), 2, seed=seed)


def test_a_flat_picture_has_one_part_at_most():
    masks = nst.find_regions(torch.full((1, 3, 40, 40), 0.5), 2)
    torch.testing.assert_close(sum(masks), torch.ones(1, 1, 40, 40))


def test_k_means_finds_the_best_groups_of_a_few_rows():
    """Against trying every way to put six rows into three groups."""
    rows = torch.cat([noise(2, 2, seed=n) * 0.4 + n for n in range(3)])

    def cost(groups):
        parts = [rows[groups == g] for g in range(3)]
        return sum(((p - p.mean(0)) ** 2).sum().item() for p in parts if len(p))

    best = min(cost(torch.tensor([n // 3**i % 3 for i in range(6)])) for n in range(3**6))
    assert cost(kmeans(rows, 3)) == pytest.approx(best, rel=1e-5)


def test_groups_are_merged_where_that_costs_least():
    """Against the cost of each pair, by its definition."""
    rows, groups = noise(30, 3), torch.arange(30) % 5

    def cost(labels):
        parts = [rows[labels == g] for g in labels.unique()]
        return sum(((p - p.mean(0)) ** 2).sum().item() for p in parts)

    pairs = [torch.where(groups == b, a, groups) for a in range(5) for b in range(a)]
    found = merged(rows, groups, 4)
    assert len(found.unique()) == 4
    assert cost(found) == pytest.approx(min(map(cost, pairs)), rel=1e-5)


def test_the_guided_filter_is_its_own_linear_model():
    """Whatever is a linear function of the guide comes out as it is; what has nothing to do with it is smoothed."""
    guide = noise(1, 3, 24, 30)
    linear = (guide * torch.tensor([0.5, 0.3, 0.1]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(guided_filter(guide, linear, radius=3, smoothing=1e-6), linear, atol=1e-3, rtol=0)
    other = noise(1, 1, 24, 30, seed=9)
    flat = torch.full((1, 3, 24, 30), 0.5)
    smoothed = guided_filter(flat, other, radius=3)
    assert smoothed.std() < other.std() / 3
    assert smoothed.mean().item() == pytest.approx(other.mean().item(), abs=0.02)


@pytest.mark.parametrize("size", [0, -1, 1.5, "16", True, (16,), (0, 4), float("nan")])
def test_a_size_that_is_none_is_told(size):
    with pytest.raises(ImageError, match="size is"):
        nst.load_mask("no such file.png", size=size)


@pytest.mark.parametrize("size", [np.int64(4), 4.0, torch.tensor(4), (4, np.int8(8))])
def test_a_size_may_be_a_number_of_any_make(size):
    file = io.BytesIO()
    Image.new("L", (16, 8), 255).save(file, "PNG")
    assert nst.load_mask(file, size=size).shape == (1, 1, 4, 8)
