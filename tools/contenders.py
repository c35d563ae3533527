"""The sides of tools/benchmark.py: each optimises the same loss over the same VGG-19, weights, pictures and layers.

A run is a function (weights, content, style, evaluations, see); `see(image, seconds)` gets the best image a run has at
that second, or the one that was evaluated, and building the model is on nobody's clock.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import time

import torch
from torch import nn
from torch.nn import functional as F

CONTENT_LAYERS, STYLE_LAYERS = ["conv4_2"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
WIDTHS = dict(zip(STYLE_LAYERS, (64, 128, 256, 512, 512), strict=True))
STYLE_WEIGHT = 1e4
SEED = 0
# On a network of random weights L-BFGS gains from a bolder step than 1, which a trained one doesn't need.
LR = 1.5
HISTORY = 30


# The textbook loop: torchvision's layout, loss modules in a Sequential, Gram matrix and mean squared error as in the
# official PyTorch tutorial, L-BFGS with PyTorch's defaults and the clamp inside the closure, float32.


class TextbookNormalization(nn.Module):
    def __init__(self, device):
        super().__init__()
        self.mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(-1, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225], device=device).view(-1, 1, 1)

    def forward(self, image):
        return (image - self.mean) / self.std


class TextbookContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, x):
        self.loss = F.mse_loss(x, self.target)
        return x


def textbook_gram(x):
    a, b, c, d = x.size()
    features = x.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class TextbookStyleLoss(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.target = textbook_gram(features).detach()

    def forward(self, x):
        self.loss = F.mse_loss(textbook_gram(x), self.target)
        return x


def textbook_model(weights, content, style):
    """VGG-19 as torchvision lays it out, with loss modules after the chosen convolutions, trimmed."""
    model, contents, styles = nn.Sequential(TextbookNormalization(content.device)), [], []
    channels = 3
    for block, (width, depth) in enumerate([(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)], 1):
        for i in range(1, depth + 1):
            name = f"conv{block}_{i}"
            conv = nn.Conv2d(channels, width, 3, padding=1).to(content.device)
            conv.load_state_dict({"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]})
            model.append(conv)
            if name in CONTENT_LAYERS:
                contents.append(TextbookContentLoss(model(content)))
                model.append(contents[-1])
            if name in STYLE_LAYERS:
                styles.append(TextbookStyleLoss(model(style)))
                model.append(styles[-1])
            if len(contents) == len(CONTENT_LAYERS) and len(styles) == len(STYLE_LAYERS):
                return model.eval().requires_grad_(False), contents, styles
            model.append(nn.ReLU(inplace=False))
            channels = width
        model.append(nn.MaxPool2d(2, 2))
    raise AssertionError("the layers asked for are not in the network")


def textbook_loss(parts, image):
    model, contents, styles = parts
    model(image)
    return sum(c.loss for c in contents) + STYLE_WEIGHT * sum(s.loss for s in styles)


def textbook_run(weights, content, style, evaluations, see):
    parts = textbook_model(weights, content, style)
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([image])
    done, start = 0, time.perf_counter()
    while done < evaluations:

        def closure():
            nonlocal done
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            loss = textbook_loss(parts, image)
            loss.backward()
            done += 1
            see(image, time.perf_counter() - start)
            return loss

        optimizer.step(closure)


# pystiche, as its own examples drive it: a PerceptualLoss and image_optimization with its default L-BFGS.


class Absent(Exception):
    """A contender that can't run here; the message says why."""


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


def pystiche_run(weights, content, style, evaluations, see):
    _, enc, loss, optim = import_pystiche()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = enc.vgg19_multi_layer_encoder(pretrained=False)
    torch.nn.Module.load_state_dict(network, dict(weights), strict=False)
    network.requires_grad_(False).to(content.device)
    # Its Gram matrix is divided by the pixels alone, the textbook's by the channels too: the weights make up for it.
    shares = [STYLE_WEIGHT / WIDTHS[name] ** 2 for name in STYLE_LAYERS]
    criterion = loss.PerceptualLoss(
        loss.FeatureReconstructionLoss(network.extract_encoder(CONTENT_LAYERS[0])),
        loss.MultiLayerEncodingLoss(
            network,
            STYLE_LAYERS,
            lambda encoder, weight: loss.GramLoss(encoder, normalize=True, score_weight=weight),
            layer_weights=shares,
        ),
    ).to(content.device)
    criterion.set_content_image(content)
    criterion.set_style_image(style)
    start, before = time.perf_counter(), None

    def watched(image):
        nonlocal before
        before = image.detach().clone()
        value = criterion(image)
        see(before, time.perf_counter() - start)
        return value

    optim.image_optimization(content.clone(), watched, num_steps=evaluations, quiet=True)


# This package, with its levers switched on one after the other.


def package_run(weights, content, style, evaluations, see, *, bfloat16, last=True, fused=True, smooth=False):
    from nst_helpers import iterate
    from nst_helpers.encoders import VGG19, Encoder

    with lever("losses", "fused_gram", "gram_matrix", off=not fused), without_channels_last(off=not last):
        steps = iterate(
            content,
            style,
            encoder=Encoder(VGG19, weights=weights),
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            convention="pytorch",
            style_weight=STYLE_WEIGHT,
            tv_weight=0.0,
            lr=LR,
            steps=evaluations,
            precision="bfloat16" if bfloat16 else "float32",
            precondition=smooth,
            history_size=HISTORY if smooth else 10,
            device=content.device,
        )
        start = None
        for step in steps:
            # The first step also builds the model, which the other clocks leave out too.
            start = time.perf_counter() - step.evaluation.seconds / 2 if start is None else start
            see(step.optimisation.best, time.perf_counter() - start)


@contextlib.contextmanager
def lever(module, name, plain, *, off):
    """Put the plain function in the place of the quick one."""
    home = importlib.import_module(f"nst_helpers.{module}")
    quick = getattr(home, name)
    if off:
        setattr(home, name, getattr(home, plain))
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
    "+ preconditioner": lambda *a: package_run(*a, bfloat16=False, smooth=True),
    "bfloat16 alone": lambda *a: package_run(*a, bfloat16=True),
    "+ bfloat16 (all)": lambda *a: package_run(*a, bfloat16=True, smooth=True),
}


def pictures(size, device="cpu"):
    """A photo and a style from data/, (1, 3, size, size)."""
    from nst_helpers import load_sample

    return tuple(load_sample(name, size=(size, size), crop=True).to(device) for name in ("temple", "night_swirls"))


def random_weights():
    from nst_helpers.encoders import VGG19, Encoder

    return dict(Encoder(VGG19, seed=SEED).layers.state_dict())
