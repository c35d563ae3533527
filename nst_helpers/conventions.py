"""Why one repository says 1e6 and another 1e3: published settings, and what a style weight of one is worth in another.

All of the systems listed here take the mean squared difference as content loss. Their style losses differ by constants
alone. With C channels, M = h * w positions, D = sum (F F^T / M - S S^T / M)^2 and activations s times as large as
those of an ImageNet-normalised input, one layer's style loss is `style_factor(C) * D`.

Activations grow with the input in this way only for one and the same network, and biases left out of account. The
systems load different weight files (`weights`); between those, the activations' sizes would have to be measured, and a
conversion holds for the formulas and the input range alone. docs/conventions.md says more.
"""

from __future__ import annotations

from dataclasses import dataclass

from .encoders import IMAGENET_STD

__all__ = ["PUBLISHED", "SCALE_255", "PublishedWeights", "convert_style_weight"]

# Inputs of 0-255 minus the mean are 255 times the mean of ImageNet's standard deviations larger than normalised ones.
SCALE_255 = 255 * sum(IMAGENET_STD) / 3


@dataclass(frozen=True)
class PublishedWeights:
    """One published choice of weights, and of the constants they go with.

    `input_scale` says how large the network's activations are (1 for ImageNet-normalised input; biases are left out of
    account). `gram_divisor` is "HW" or "CHW", `reduction` over the Gram matrix's entries "mean" or "sum",
    `layer_weight` "1" or "1/C^2", `layers` says whether the style layers are added up or averaged, and `weights` where
    the network's weights come from.
    """

    title: str
    content_weight: float
    style_weight: float
    input_scale: float
    gram_divisor: str
    reduction: str
    layer_weight: str
    layers: str
    weights: str
    source: str

    @property
    def ratio(self) -> float:
        """The style weight for a content weight of 1."""
        return self.style_weight / self.content_weight

    def style_factor(self, channels: int) -> float:
        """What D is multiplied by in one layer's style loss, for activations of the same size.

        >>> round(1 / PUBLISHED["pytorch_tutorial"].style_factor(64) ** 0.25, 6)
        64.0
        """
        factor = self.input_scale**4
        if self.gram_divisor == "CHW":
            factor /= channels**2
        if self.reduction == "mean":
            factor /= channels**2
        if self.layer_weight == "1/C^2":
            factor /= channels**2
        return factor


PUBLISHED = {
    "pytorch_tutorial": PublishedWeights(
        "PyTorch tutorial", 1, 1e6, 1.0, "CHW", "mean", "1", "sum", "torchvision",
        "pytorch/tutorials, advanced_source/neural_style_tutorial.py",
    ),
    "gatys_notebook": PublishedWeights(
        "Gatys' notebook", 1, 1e3, SCALE_255, "HW", "mean", "1/C^2", "sum", "vgg_conv.pth",
        "leongatys/PytorchNeuralStyleTransfer, NeuralStyleTransfer.ipynb",
    ),
    "gordicaleksa": PublishedWeights(
        "pytorch-neural-style-transfer", 1e5, 3e4, SCALE_255, "CHW", "sum", "1", "mean", "torchvision",
        "gordicaleksa/pytorch-neural-style-transfer, neural_style_transfer.py",
    ),
    "neural_style_pt": PublishedWeights(
        "neural-style-pt", 5, 1e2, SCALE_255, "CHW", "mean", "1", "sum", "vgg19-d01eb7cb.pth",
        "ProGamerGov/neural-style-pt, neural_style.py",
    ),
    "d2l": PublishedWeights(
        "Dive into Deep Learning", 1, 1e4, 1.0, "CHW", "mean", "1", "sum", "torchvision",
        "d2l-ai/d2l-en, chapter_computer-vision/neural-style.md",
    ),
}  # fmt: skip


def convert_style_weight(
    weight: float, source: str | PublishedWeights, target: str | PublishedWeights, channels: int
) -> float:
    """The style weight in `target` that has the effect of `weight` in `source`, for one layer of C channels.

    Both go with a content weight of 1: the two total losses then have gradients of the same direction. `source` and
    `target` are names in `PUBLISHED`. With activations s times as large the style loss grows by s^4 and the content
    loss by s^2, so s^2 remains. Right for one network in both, without biases: systems that load other weights have
    activations of another size, which no constant tells.

    Raises ValueError for a name that is not in `PUBLISHED`.

    >>> round(convert_style_weight(1e3, "gatys_notebook", "pytorch_tutorial", 64) / 1e6, 1)
    3.3
    >>> round(convert_style_weight(1.0, "gordicaleksa", "neural_style_pt", 64))
    4096
    """
    a, b = get_published(source), get_published(target)
    worth = weight * a.style_factor(channels) / a.input_scale**2
    return worth / (b.style_factor(channels) / b.input_scale**2)


def get_published(name: str | PublishedWeights) -> PublishedWeights:
    """The published setting of that name; raises ValueError with the names there are."""
    if isinstance(name, PublishedWeights):
        return name
    if name not in PUBLISHED:
        hint = (
            " ('relative' divides by the pictures' own norms, so no constant converts it)" if name == "relative" else ""
        )
        raise ValueError(f"There is no published setting {name!r}{hint}: use one of {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]
