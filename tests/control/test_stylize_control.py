"""Colour, regions, stroke size and maps through whole runs: results, pictures on the way, checkpoints, estimates."""

from __future__ import annotations

import pytest
import torch
from conftest import TOY, noise, picture

import nst_helpers as nst
from nst_helpers import keep_color, match_color
from nst_helpers.encoders import Encoder
from nst_helpers.engine.checkpoints import CheckpointError
from nst_helpers.errors import MaskError

CONTENT, STYLE, OTHER = picture(), picture(36, 36, seed=1), picture(24, 44, seed=2)
OPTIONS = {
    "encoder": Encoder(TOY, seed=1), "device": "cpu", "steps": 4,
    "content_layers": ["relu3_1"], "style_layers": ["relu1_1", "relu2_1"],
}  # fmt: skip


def halves(height=32, width=40):
    left = torch.zeros(1, 1, height, width)
    left[..., : width // 2] = 1
    return [left, 1 - left]


def run(content=CONTENT, style=STYLE, **options):
    return nst.stylize(content, style, **OPTIONS | options)


def test_content_is_a_run_with_the_style_matched_before():
    found, expected = run(color="content"), run(style=match_color(STYLE, to=CONTENT))
    assert torch.equal(found.image, expected.image)
    assert not torch.equal(found.image, run().image)


def test_luminance_is_the_same_run_with_the_photos_colours_on_every_picture_handed_out(tmp_path):
    plain, seen, saved = run(), [], tmp_path / "out.png"
    found = run(
        color="luminance", callback=lambda step: seen.append((step.image, step.best)), save_every=2, save_to=saved
    )
    assert [e.loss for e in found.history] == [e.loss for e in plain.history]
    torch.testing.assert_close(found.image, keep_color(plain.image, CONTENT))
    torch.testing.assert_close(seen[-1][1], found.image)
    raw = [step.image for step in nst.iterate(CONTENT, STYLE, **OPTIONS)]
    for (image, _), before in zip(seen, raw, strict=True):
        torch.testing.assert_close(image, keep_color(before, CONTENT))
    (on_disk,) = tmp_path.glob("out*2.png")
    torch.testing.assert_close(nst.load_image(on_disk), seen[1][0], atol=1 / 255, rtol=0)


def test_luminance_goes_with_scales():
    found = run(color="luminance", scales=[16, 32])
    torch.testing.assert_close(found.image, keep_color(run(scales=[16, 32]).image, CONTENT))


@pytest.mark.parametrize("options", [{"color": "luminance"}, {"color": "content"}, {"masks": halves()[:1]}])
def test_a_run_that_goes_on_ends_in_the_same_picture(options, tmp_path):
    whole = run(**options)
    file = tmp_path / "state"
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    first = run(**options, callback=stop, checkpoint=file)
    assert first.stopped == "interrupted"
    rest = run(**options, checkpoint=file, resume=True)
    assert torch.equal(rest.image, whole.image)


def test_a_run_with_another_mask_does_not_go_on(tmp_path):
    left, right = halves()
    run(masks=[left], checkpoint=tmp_path / "state")
    with pytest.raises(CheckpointError, match="different: masks"):
        run(masks=[right], checkpoint=tmp_path / "state", resume=True)


def test_a_region_without_a_style_is_left_as_it_was():
    """With the photo as the first image nothing but the style changes it: beyond the network's reach it stays."""
    content = picture(32, 96)
    mask = torch.zeros(1, 1, 32, 96)
    mask[..., :32] = 1
    found = run(content, masks=[mask], tv_weight=0, content_layers=["relu1_1"], style_layers=["relu1_1"]).image
    assert (found - content)[..., :32].abs().mean() > 0.01
    torch.testing.assert_close(found[..., 40:], content[..., 40:], atol=1e-6, rtol=0)


def test_between_scales_the_photos_detail_comes_back_where_no_style_pulls():
    """Fine noise is gone at the coarse scale; in the region without a style it is there again in the end."""
    content = noise(1, 3, 32, 96, seed=8)
    mask = torch.zeros(1, 1, 32, 96)
    mask[..., :32] = 1
    layers = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"]}
    for options in ({"masks": [mask]}, {"style": [STYLE, OTHER], "masks": [mask, 1 - mask], "style_mix": [1, 0]}):
        found = run(content, **options, tv_weight=0, scales=[8, 32], **layers).image
        torch.testing.assert_close(found[..., 44:], content[..., 44:], atol=1e-5, rtol=0)
    from_noise = run(content, masks=[mask], tv_weight=0, scales=[8, 32], init="noise", **layers).image
    assert (from_noise - content)[..., 44:].abs().mean() > 0.05


@pytest.mark.parametrize("options", [{}, {"scales": [16, 32]}, {"size": 20}, {"tile": 32}, {"precision": "bfloat16"}])
def test_each_style_comes_nearer_in_its_own_region(options):
    """By an oracle of the test's own: the Gram matrix of what is cut out of the picture by hand."""
    if options.get("precision") == "bfloat16":
        options = options | {"encoder": "mini"}
    masks = halves()
    found = run(style=[STYLE, OTHER], masks=masks, steps=12, style_weight=1e3, **options).image
    swapped = run(style=[OTHER, STYLE], masks=masks, steps=12, style_weight=1e3, **options).image
    encoder = Encoder(TOY, seed=1)

    def distance(image, style):
        ours, theirs = (nst.gram_matrix(encoder(x, ["relu2_1"])["relu2_1"]) for x in (image, style))
        return nst.style_loss(ours, theirs).item()

    cut = found.shape[-1] // 2
    assert distance(found[..., :cut], STYLE) < distance(swapped[..., :cut], STYLE)
    assert distance(found[..., cut:], OTHER) < distance(swapped[..., cut:], OTHER)


def test_masks_of_the_photos_proportions_are_scaled_with_it():
    big = halves(64, 80)
    small = run(style=[STYLE, OTHER], masks=halves())
    assert (run(style=[STYLE, OTHER], masks=big).image - small.image).abs().mean() < 2e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masks": halves()}, "number of masks is 2, that of style pictures 1"),
        ({"masks": [torch.ones(1, 1, 30, 30)]}, "mask 1 is 30 x 30 pixels and its picture 40 x 32"),
        ({"masks": [torch.ones(1, 1, 32, 40)], "style_masks": [torch.ones(1, 1, 9, 90)]}, "style mask 1 is 90 x 9"),
        ({"style_masks": [None]}, "There are style_masks and no masks"),
        ({"content_map": torch.ones(1, 1, 9, 90)}, "content_map is 90 x 9 pixels"),
        ({"content_map": -torch.ones(1, 1, 32, 40)}, "content_map ranges from -1 to -1"),
    ],
)
def test_what_does_not_fit_gets_one_sentence_before_any_work(options, words):
    with pytest.raises(MaskError, match=words) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


def test_masks_may_come_as_a_stack():
    stack = torch.cat(halves())
    assert torch.equal(run(style=[STYLE, OTHER], masks=stack).image, run(style=[STYLE, OTHER], masks=halves()).image)


def test_style_size_scales_the_style_in_units_of_the_photo():
    found = run(style_size=0.75)
    assert torch.equal(found.image, run(style=nst.resize(STYLE, 24)).image)


def test_style_masks_go_with_the_style_where_it_is_scaled():
    part = noise(1, 1, 36, 36)
    found = run(masks=[torch.ones(1, 1, 32, 40)], style_masks=[part], style_size=0.5, scales=[16, 32], steps=2)
    assert found.image.shape == CONTENT.shape


def test_an_estimate_counts_the_regions():
    masks = halves(256, 320)
    plain = nst.estimate((256, 320), (256, 256), **OPTIONS)
    regions = nst.estimate((256, 320), [(256, 256), (256, 256)], masks=masks, **OPTIONS)
    assert regions.run_bytes > plain.run_bytes
    assert regions.seconds > 0
