"""The textbook loop: torchvision's layout, loss modules in a Sequential, Gram matrix and mean squared error as in the
official PyTorch tutorial, L-BFGS with PyTorch's defaults and the clamp inside the closure, float32.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

CONTENT_LAYERS, STYLE_LAYERS = ["conv4_2"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
WIDTHS = dict(zip(STYLE_LAYERS, (64, 128, 256, 512, 512), strict=True))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TextbookNormalization(nn.Module):
    def __init__(self, device):
        super().__init__()
        self.mean = torch.tensor(MEAN, device=device).view(-1, 1, 1)
        self.std = torch.tensor(STD, device=device).view(-1, 1, 1)

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


def textbook_model(network, content, style):
    """The VGG as torchvision lays it out, with loss modules after the chosen convolutions, trimmed."""
    model, contents, styles = nn.Sequential(TextbookNormalization(content.device)), [], []
    channels = 3
    for block, (width, depth) in enumerate(zip(WIDTHS.values(), network.depths, strict=True), 1):
        for i in range(1, depth + 1):
            name = f"conv{block}_{i}"
            conv = nn.Conv2d(channels, width, 3, padding=1).to(content.device)
            conv.load_state_dict({k: network.weights[f"{name}.{k}"] for k in ("weight", "bias")})
            model.append(conv)
            if name in CONTENT_LAYERS:
                contents.append(TextbookContentLoss(model(content)))
                model.append(contents[-1])
            if name in STYLE_LAYERS:
                styles.append(TextbookStyleLoss(model(style)))
                model.append(styles[-1])
            if len(contents) == len(CONTENT_LAYERS) and len(styles) == len(STYLE_LAYERS):
                return model.eval().requires_grad_(False), contents, styles, network.style_weight
            model.append(nn.ReLU(inplace=False))
            channels = width
        model.append(nn.MaxPool2d(2, 2))
    raise AssertionError("the layers asked for are not in the network")


def textbook_loss(parts, image):
    model, contents, styles, style_weight = parts
    model(image)
    return sum(c.loss for c in contents) + style_weight * sum(s.loss for s in styles)


def textbook_loop(parts, content, evaluations, see):
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([image])
    done = 0

    def closure():
        nonlocal done
        with torch.no_grad():
            image.clamp_(0, 1)
        optimizer.zero_grad()
        loss = textbook_loss(parts, image)
        loss.backward()
        done += 1
        see(image)
        return loss

    while done < evaluations:
        optimizer.step(closure)
