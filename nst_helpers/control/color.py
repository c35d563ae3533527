"""Colour as a choice: a style picture in the photo's colours, or the painting's light with the photo's colour.

The space behind it is Oklab (B. Ottosson, 2020): L is how light the eye sees a colour, a and b say which colour and how
strong. Greys have a = b = 0 there, equal steps look about equal, and the three are nearly uncorrelated in photos, so
one can be exchanged without the others. In RGB, or in the YIQ of television, a change of brightness changes the colour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ImageError
from ..images import check_picture

__all__ = ["METHODS", "from_oklab", "keep_color", "match_color", "to_oklab"]

METHODS = ("mean", "covariance", "histogram")

# Linear RGB to the eye's three cones and back, and the cones' cube roots to L, a and b and back (Ottosson 2020).
_RGB_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_CONES_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# A style that is all grey has no variance in its colours: none is made up from rounding.
_SMALLEST_SHARE = 1e-7
_HALVINGS = 14


def match_color(style: Tensor, *, to: Tensor, method: str = "covariance") -> Tensor:
    """The style picture (1, 3, H, W) in [0, 1] in the colours of `to`, which may have another size.

    "mean" gives each channel the mean and deviation of the photo's, "covariance" also how the channels go together,
    and "histogram" the distribution of the photo's L, a and b. All end clamped to [0, 1]. A style with fewer colours
    than the photo, a grey one at worst, keeps to those it has: what doesn't vary can't be stretched.

    Raises ImageError for what is not a picture, ValueError for an unknown method.

    >>> grey, red = torch.full((1, 3, 4, 4), 0.5), torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    >>> match_color(grey, to=red)[0, :, 0, 0].round(decimals=2).tolist() == red[0, :, 0, 0].tolist()
    True

    Source: Gatys et al. 2016 (arXiv:1606.05897), section 5; the roots are symmetric, as its "image analogies" variant.
    """
    check_picture(style, name="style")
    check_picture(to, name="to")
    if method not in METHODS:
        raise ValueError(f"The method {method!r} is unknown: use one of {', '.join(METHODS)}.")
    if method == "histogram":
        changed = from_oklab(_with_distribution(to_oklab(style), to_oklab(to)))
    else:
        changed = _with_moments(_in_double(style), _in_double(to), together=method == "covariance")
    return changed.to(style).clamp(0, 1)


def keep_color(image: Tensor, content: Tensor) -> Tensor:
    """The light of `image` with the colour of `content`, both (1, 3, H, W) in [0, 1] and of one size.

    L is the image's, a and b are the content's. Where a screen can't show that colour so light or so dark, the colour
    gets weaker, and never the light another one.

    Raises ImageError for what is not a picture, or for two sizes.

    >>> photo = torch.rand(1, 3, 4, 4)
    >>> bool(torch.allclose(keep_color(photo, photo), photo, atol=1e-5))
    True

    Source: Gatys et al. 2016 (arXiv:1606.05897), section 5, "luminance-only transfer", in another space.
    """
    check_picture(image, name="image")
    check_picture(content, name="content")
    if image.shape != content.shape:
        raise ImageError(
            f"keep_color takes two pictures of one size, but {image.shape[-1]} x {image.shape[-2]} and "
            f"{content.shape[-1]} x {content.shape[-2]} pixels came: resize the content first."
        )
    light, color = to_oklab(image)[:, :1], to_oklab(content)[:, 1:]
    mixed = torch.cat([light, color], 1).flatten(2)
    # Where it doesn't fit, bisection finds for each pixel the strongest share of the colour that lies within [0, 1].
    over = ~_fits(from_oklab(mixed[..., None]))[0, 0, :, 0]
    light, color = (part[..., over, None] for part in mixed.split([1, 2], 1))
    low, high = torch.zeros_like(light), torch.ones_like(light)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = _fits(from_oklab(torch.cat([light, middle * color], 1)))
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    mixed[:, 1:, over] = (low * color)[..., 0]
    return from_oklab(mixed.view_as(image)).to(image).clamp(0, 1)


def to_oklab(image: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] to L, a and b, in float64: L in [0, 1], a and b within 0.4 of 0.

    >>> to_oklab(torch.ones(1, 3, 1, 1)).flatten().round(decimals=3).abs().tolist()
    [1.0, 0.0, 0.0]

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    image = _in_double(image)
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp_min(0) + 0.055) / 1.055) ** 2.4)
    cones = _mixed(linear, _RGB_TO_CONES)
    return _mixed(cones.sign() * cones.abs().pow(1 / 3), _CONES_TO_LAB)


def from_oklab(lab: Tensor) -> Tensor:
    """L, a and b (B, 3, H, W) to sRGB in float64, not clamped: a colour no screen can show lies outside [0, 1].

    >>> color = torch.rand(1, 3, 2, 2)
    >>> bool(torch.allclose(from_oklab(to_oklab(color)).float(), color, atol=1e-6))
    True
    """
    lab = _in_double(lab)
    linear = _mixed(_mixed(lab, _CONES_TO_LAB, inverse=True) ** 3, _RGB_TO_CONES, inverse=True)
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, curved)


def _in_double(image: Tensor) -> Tensor:
    """The image in float64; on the CPU, where the device has no float64 (Apple's)."""
    return (image.cpu() if image.device.type == "mps" else image).double()


def _mixed(image: Tensor, matrix: tuple[tuple[float, ...], ...], *, inverse: bool = False) -> Tensor:
    """Each pixel's three numbers times the matrix."""
    weights = torch.tensor(matrix, dtype=image.dtype, device=image.device)
    return torch.einsum("ij,bjhw->bihw", weights.inverse() if inverse else weights, image)


def _with_moments(style: Tensor, to: Tensor, *, together: bool) -> Tensor:
    """The style with the mean of `to`, and its covariance or its channels' deviations alone."""
    (mean, spread), (new_mean, new_spread) = _moments(style), _moments(to)
    if not together:
        spread, new_spread = spread.diag().diag(), new_spread.diag().diag()
    matrix = _power(new_spread, 0.5) @ _power(spread, -0.5)
    pixels = matrix @ (style.flatten(2)[0] - mean) + new_mean
    return pixels.view_as(style)


def _moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour (3, 1) and the covariance (3, 3) of a picture."""
    pixels = image.flatten(2)[0]
    mean = pixels.mean(1, keepdim=True)
    return mean, (pixels - mean) @ (pixels - mean).T / pixels.shape[1]


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix, symmetric too; a direction without variance stays without."""
    values, vectors = torch.linalg.eigh(matrix)
    there = values > _SMALLEST_SHARE * values.max().clamp_min(_SMALLEST_SHARE)
    powers = torch.where(there, values.clamp_min(torch.finfo(values.dtype).tiny) ** exponent, 0.0)
    return vectors * powers @ vectors.T


def _with_distribution(style: Tensor, to: Tensor) -> Tensor:
    """Each channel's values carried to where the other's lie, in their order; equal values stay equal."""
    channels = []
    for values, others in zip(style[0].flatten(1), to[0].flatten(1), strict=True):
        ordered, target = values.sort().values, others.sort().values
        # The share of values below, with half of those that are equal: the middle of its place in the order.
        below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
        place = (below + upto).double() / 2 / len(ordered) * len(target) - 0.5
        place = place.clamp(0, len(target) - 1)
        left = place.floor().long()
        right = (left + 1).clamp_max(len(target) - 1)
        channels.append(torch.lerp(target[left], target[right], place - left))
    return torch.stack(channels).view_as(style)


def _fits(image: Tensor) -> Tensor:
    """Which pixels lie within [0, 1] up to rounding, (B, 1, H, W)."""
    return ((image > -1e-6) & (image < 1 + 1e-6)).all(1, keepdim=True)
