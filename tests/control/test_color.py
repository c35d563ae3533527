"""Colour: what was asked to be equal is equal, what was to be kept is kept, and greys stay grey."""

from __future__ import annotations

import pytest
import torch
from conftest import noise, picture

import nst_helpers as nst
from nst_helpers import ImageError, load_sample
from nst_helpers.control.color import METHODS, _with_moments, from_oklab, keep_color, match_color, to_oklab

# From the paper's own table: sRGB's corners in Oklab, to the digits printed there.
KNOWN = {
    (1.0, 1.0, 1.0): (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (0.628, 0.225, 0.126),
    (0.0, 1.0, 0.0): (0.866, -0.234, 0.179),
    (0.0, 0.0, 1.0): (0.452, -0.032, -0.312),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
}


def covariance(image):
    return torch.cov(image[0].flatten(1).double(), correction=0)


def soft(seed):
    """A picture whose colours stay away from 0 and 1, so that no clamp has a part."""
    return 0.4 + 0.2 * picture(30, 40, seed)


@pytest.mark.parametrize("rgb", KNOWN, ids=str)
def test_oklab_has_the_published_values(rgb):
    found = to_oklab(torch.tensor(rgb).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor(KNOWN[rgb], dtype=torch.float64), atol=6e-4, rtol=0)


def test_there_and_back_is_the_same_picture():
    image = torch.cat([noise(1, 3, 40, 50), load_sample("temple", size=40)[..., :50]], -1)
    torch.testing.assert_close(from_oklab(to_oklab(image)).float(), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_covariance_gives_the_mean_and_covariance_of_the_photo(seed):
    style, photo = soft(seed), soft(seed + 10)[..., :23]
    changed = match_color(style, to=photo)
    torch.testing.assert_close(changed.mean((2, 3)), photo.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance(changed), covariance(photo), atol=1e-6, rtol=1e-4)


def test_before_the_clamp_it_holds_for_any_picture():
    style, photo = noise(1, 3, 20, 20).double(), load_sample("temple", size=32).double()
    changed = _with_moments(style, photo, together=True)
    torch.testing.assert_close(covariance(changed), covariance(photo), atol=1e-8, rtol=1e-6)
    assert changed.min() < 0 or changed.max() > 1


def test_mean_gives_each_channel_its_mean_and_deviation_and_nothing_more():
    style, photo = soft(1), soft(2)
    changed = match_color(style, to=photo, method="mean")
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(
            statistic(changed[0].flatten(1), 1), statistic(photo[0].flatten(1), 1), atol=1e-4, rtol=1e-3
        )
    assert (covariance(changed) - covariance(photo)).abs().max() > 1e-4


def test_histogram_gives_the_distribution_of_lightness_and_colour_and_keeps_the_order():
    style, photo = soft(3), soft(4)
    before, after, wanted = (
        to_oklab(x)[0].flatten(1) for x in (style, match_color(style, to=photo, method="histogram"), photo)
    )
    torch.testing.assert_close(after.sort(1).values, wanted.sort(1).values, atol=2e-3, rtol=0)
    order = before[0].argsort()
    assert (after[0][order].diff() >= -1e-6).all()


def test_equal_values_stay_equal():
    """A flat area must not become a gradient, whichever way its pixels are sorted."""
    style = torch.full((1, 3, 8, 8), 0.5)
    style[..., 4:] = 0.7
    changed = match_color(style, to=noise(1, 3, 16, 16), method="histogram")
    for part in (changed[..., :4], changed[..., 4:]):
        assert part.flatten(2).std(2).max() < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_matched_to_itself_is_itself(method):
    image = soft(5)
    torch.testing.assert_close(match_color(image, to=image, method=method), image, atol=2e-3, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_flat_style_has_no_colours_to_stretch(method, grey):
    changed = match_color(torch.full((1, 3, 6, 6), grey), to=soft(6), method=method)
    assert changed.isfinite().all()
    assert changed.flatten(2).std(2).max() < 1e-6


def test_a_grey_photo_makes_a_grey_style():
    photo = soft(7).mean(1, keepdim=True).expand(1, 3, 30, 40)
    changed = match_color(soft(8), to=photo)
    assert changed.std(1).max() < 1e-4


def test_keep_color_takes_the_light_of_one_and_the_colour_of_the_other():
    image, content = soft(1), soft(2)
    kept = to_oklab(keep_color(image, content))
    torch.testing.assert_close(kept[:, :1], to_oklab(image)[:, :1], atol=1e-5, rtol=0)
    torch.testing.assert_close(kept[:, 1:], to_oklab(content)[:, 1:], atol=1e-5, rtol=0)


def test_where_the_colour_cant_be_shown_it_gets_weaker_and_the_light_stays():
    image, content = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    kept = keep_color(image, content)
    assert kept.min() >= 0
    assert kept.max() <= 1
    light, color = to_oklab(kept)[:, :1], to_oklab(kept)[:, 1:]
    torch.testing.assert_close(light, to_oklab(image)[:, :1], atol=1e-4, rtol=0)
    wanted = to_oklab(content)[:, 1:]
    assert (color.norm(dim=1) <= wanted.norm(dim=1) + 1e-4).all()
    strong = color.norm(dim=1) > 0.02  # the hue of a grey is rounding
    same_hue = torch.cosine_similarity(color, wanted, dim=1)[strong]
    assert same_hue.min() > 0.999


def test_greys_stay_grey():
    grey = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    assert keep_color(noise(1, 3, 8, 8), grey).std(1).max() < 1e-5
    torch.testing.assert_close(keep_color(grey, noise(1, 3, 8, 8).mean(1, keepdim=True).expand(1, 3, 8, 8)), grey)


def test_what_is_no_pair_of_pictures_gets_one_sentence():
    one = noise(1, 3, 8, 8)
    with pytest.raises(ImageError, match="one size, but 8 x 8 and 9 x 8 pixels"):
        keep_color(one, noise(1, 3, 8, 9))
    with pytest.raises(ImageError, match="batch of 2"):
        match_color(noise(2, 3, 8, 8), to=one)
    with pytest.raises(ImageError):
        match_color("wave", to=one)
    with pytest.raises(ValueError, match="mean, covariance, histogram"):
        match_color(one, to=one, method="cholesky")


def test_the_package_offers_both():
    assert nst.match_color is match_color
    assert nst.keep_color is keep_color
