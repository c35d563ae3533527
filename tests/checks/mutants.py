"""Wrong answers to the exercises, at least two spellings of each mistake, and right answers in unusual clothes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nst_helpers import conventions, losses
from nst_helpers.checks import lessons

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
WRONG: list[tuple[str, str, object]] = []
RIGHT: list[tuple[str, object]] = []


def wrong(name: str, mistake: str, *functions):
    WRONG.extend((name, mistake, f) for f in functions)


def right(name: str, *functions):
    RIGHT.extend((name, f) for f in functions)


def mutant(name: str, mistake: str):
    def keep(function):
        wrong(name, mistake, function)
        return function

    return keep


def unusual(name: str):
    def keep(function):
        right(name, function)
        return function

    return keep


def unwritten(*args):
    raise NotImplementedError("exercise 1.1")


def unwritten_bare(*args):
    raise NotImplementedError


# --- gram_matrix


def flat(x):
    return x.flatten(2)


def bmm(x):
    return flat(x) @ flat(x).mT


def n(x):
    return x.shape[2] * x.shape[3]


@mutant("gram_matrix", "batch-folded")
def tutorial_gram(x):
    b, c, h, w = x.size()
    features = x.view(b * c, h * w)
    return torch.mm(features, features.t()).div(b * c * h * w)


wrong("gram_matrix", "batch-folded", lambda x: x.flatten(0, 1).flatten(1) @ x.flatten(0, 1).flatten(1).T / n(x))
wrong(
    "gram_matrix",
    "batch-lost",
    lambda x: x.reshape(x.shape[1], -1) @ x.reshape(x.shape[1], -1).T / n(x),
    lambda x: torch.einsum("bchw,bdhw->cd", x, x) / n(x),
    lambda x: flat(x)[0] @ flat(x)[0].T / n(x),
    lambda x: (bmm(x) / n(x)).mean(0),
)
wrong(
    "gram_matrix",
    "over-space",
    lambda x: flat(x).mT @ flat(x) / n(x),
    lambda x: torch.einsum("bcn,bcm->bnm", flat(x), flat(x)),
    lambda x: flat(x)[0].T @ flat(x)[0],
)
wrong(
    "gram_matrix",
    "not-flattened",
    lambda x: x @ x.transpose(2, 3),
    lambda x: x.transpose(2, 3) @ x / n(x),
)
wrong("gram_matrix", "missing-divisor", bmm, lambda x: torch.einsum("bchw,bdhw->bcd", x, x))
wrong(
    "gram_matrix",
    "divided-by-channels",
    lambda x: bmm(x) / x[0].numel(),
    lambda x: bmm(x) / (x.shape[1] * n(x)),
    lambda x: (flat(x) / x[0].numel() ** 0.5) @ (flat(x) / x[0].numel() ** 0.5).mT,
)
wrong(
    "gram_matrix",
    "divided-twice",
    lambda x: bmm(x) / n(x) / n(x),
    lambda x: (flat(x) / n(x)) @ (flat(x) / n(x)).mT,
)
wrong("gram_matrix", "divided-by-batch", lambda x: bmm(x) / x.numel(), lambda x: bmm(x) / (len(x) * n(x)))
wrong(
    "gram_matrix",
    "wrong-divisor",
    lambda x: bmm(x) / x.shape[1],
    lambda x: bmm(x) / x.shape[-1],
    lambda x: bmm(x) / (n(x) - 1),
)


@mutant("gram_matrix", "reshape-not-transpose")
def view_instead_of_transpose(x):
    b, c, h, w = x.shape
    return torch.bmm(x.view(b, c, h * w), x.view(b, h * w, c)) / (h * w)


@mutant("gram_matrix", "reshape-not-transpose")
def columns_by_view(x):
    columns = x.view(x.shape[0], -1, x.shape[1])
    return columns.transpose(1, 2) @ columns / columns.shape[1]


wrong(
    "gram_matrix",
    "reshape-not-transpose",
    lambda x: torch.einsum("bnc,bnd->bcd", x.reshape(len(x), -1, x.shape[1]), x.reshape(len(x), -1, x.shape[1])),
    lambda x: bmm(x.permute(0, 2, 3, 1).reshape(x.shape)) / n(x),
)
wrong(
    "gram_matrix",
    "detached",
    lambda x: bmm(x.detach()) / n(x),
    lambda x: bmm(x.data) / n(x),
    lambda x: flat(x) @ flat(x).detach().mT / n(x),
    lambda x: torch.tensor((bmm(x) / n(x)).tolist()),
    torch.no_grad()(lambda x: bmm(x) / n(x)),
)


@mutant("gram_matrix", "in-place")
def divided_in_place(x):
    x /= n(x) ** 0.5
    return bmm(x)


@mutant("gram_matrix", "in-place")
def zeroed_afterwards(x):
    gram = bmm(x) / n(x)
    x.zero_()
    return gram


@mutant("gram_matrix", "in-place")
def squeezed_in_place(x):
    gram = bmm(x) / n(x)
    x.unsqueeze_(0)
    return gram


wrong(
    "gram_matrix",
    "centred",
    lambda x: bmm(x - x.mean((2, 3), keepdim=True)) / n(x),
    lambda x: torch.stack([torch.cov(f) for f in flat(x)]),
)
wrong(
    "gram_matrix",
    "unit-channels",
    lambda x: bmm(F.normalize(flat(x), dim=2)[..., None]),
    lambda x: bmm(x / x.norm(dim=(2, 3), keepdim=True)) / n(x),
)
wrong("gram_matrix", "wrong-dtype", lambda x: (bmm(x) / n(x)).double(), lambda x: bmm(x.double()) / n(x))
wrong("gram_matrix", "returns-nothing", lambda x: None, lambda x: print(bmm(x)))
wrong("gram_matrix", "wrong-type", lambda x: (bmm(x) / n(x)).detach().numpy(), lambda x: (bmm(x) / n(x)).tolist())
wrong("gram_matrix", "wrong-shape", lambda x: x, lambda x: (bmm(x) / n(x)).unsqueeze(1))
wrong("gram_matrix", "wrong-factor", lambda x: bmm(x) / n(x) * 2, lambda x: bmm(x) / n(x) / 3)
wrong("gram_matrix", "wrong-sign", lambda x: -bmm(x) / n(x), lambda x: flat(-x) @ flat(x).mT / n(x))
wrong(
    "gram_matrix",
    "wrong-values",
    lambda x: bmm(x).abs() / n(x) + 1,
    lambda x: bmm(x).sin() / n(x),
)
wrong("gram_matrix", "wrong-divisor", lambda x: bmm(x) / 2, lambda x: bmm(x) / 4096)
wrong(
    "gram_matrix",
    "constant",
    lambda x: torch.zeros(len(x), x.shape[1], x.shape[1]),
    lambda x: torch.ones(len(x), x.shape[1], x.shape[1]),
)
wrong("gram_matrix", "not-finite", lambda x: bmm(x) / 0, lambda x: bmm(x).log() * float("nan"))
wrong("gram_matrix", "not-a-function", torch.zeros(2), 3, None)


@mutant("gram_matrix", "raised")
def wrong_view(x):
    return x.view(7, 11)


@mutant("gram_matrix", "raised")
def leaves_python(x):
    raise SystemExit("bye")


@mutant("gram_matrix", "raised")
def not_implemented_by_torch(x):
    raise NotImplementedError("\"addmm\" not implemented for 'Half'")


@mutant("gram_matrix", "to-do")
def stub(x):
    raise NotImplementedError("exercise 3.1")


@mutant("gram_matrix", "to-do")
def bare_stub(x):
    raise NotImplementedError


wrong("gram_matrix", "raised", lambda: None, lambda x, y: bmm(x))


@unusual("gram_matrix")
def by_loops(x):
    b, c, h, w = x.shape
    gram = torch.zeros(b, c, c)
    for k in range(b):
        for i in range(c):
            for j in range(c):
                gram[k, i, j] = (x[k, i] * x[k, j]).sum() / (h * w)
    return gram


@unusual("gram_matrix")
def chatty(x):
    print("shape", x.shape)
    b, c, h, w = x.size()
    features = x.view(b, c, h * w)
    return features.bmm(features.transpose(1, 2)).div_(h * w)


right(
    "gram_matrix",
    lambda x: torch.einsum("bchw,bdhw->bcd", x, x) / (x.shape[2] * x.shape[3]),
    lambda x: (bmm(x.double()) / n(x)).float(),
    lambda x: (flat(x)[:, :, None] * flat(x)[:, None]).mean(-1),
    lambda x: torch.stack([f.flatten(1) @ f.flatten(1).T for f in x]) / n(x),
    lambda x: x.reshape(len(x), x.shape[1], -1) @ x.reshape(len(x), x.shape[1], -1).permute(0, 2, 1) / x[0, 0].numel(),
)

# --- content_loss and style_loss

for name in ("content_loss", "style_loss"):
    wrong(name, "missing-divisor", lambda f, p: ((f - p) ** 2).sum(), lambda f, p: F.mse_loss(f, p, reduction="sum"))
    wrong(name, "missing-divisor", lambda f, p: (f - p).square().sum() / len(f))
    wrong(name, "not-relative", lambda f, p: ((f - p) ** 2).mean(), F.mse_loss)
    wrong(
        name,
        "mean-instead-of-sum",
        lambda f, p: ((f - p) ** 2).mean() / (p**2).sum(),
        lambda f, p: F.mse_loss(f, p) / p.square().sum(),
    )
    wrong(
        name,
        "sum-instead-of-mean",
        lambda f, p: ((f - p) ** 2).sum() / (p**2).mean(),
        lambda f, p: F.mse_loss(f, p, reduction="sum") / p.square().mean(),
    )
    wrong(
        name,
        "wrong-denominator",
        lambda f, p: ((f - p) ** 2).sum() / (f**2).sum(),
        lambda f, p: F.mse_loss(f, p) / (f * f).mean(),
    )
    wrong(name, "root-taken", lambda f, p: (f - p).norm() / p.norm(), lambda f, p: torch.dist(f, p))
    wrong(
        name,
        "divisor-not-squared",
        lambda f, p: ((f - p) ** 2).sum() / p.norm(),
        lambda f, p: ((f - p) ** 2).sum() / p.sum(),
    )
    wrong(
        name,
        "squared-after-sum",
        lambda f, p: (f - p).sum() ** 2 / (p**2).sum(),
        lambda f, p: ((f - p) ** 2).sum() / p.sum() ** 2,
    )
    wrong(name, "not-squared", lambda f, p: (f - p).abs().sum() / p.abs().sum(), F.l1_loss)
    wrong(name, "precedence", lambda f, p: (f - p**2).sum() / (p**2).sum(), lambda f, p: torch.sum(f - p**2))
    wrong(
        name,
        "halved",
        lambda f, p: 0.5 * ((f - p) ** 2).sum() / (p**2).sum(),
        lambda f, p: losses.content_loss(f, p) / 2,
    )
    wrong(
        name,
        "divided-twice",
        lambda f, p: ((f - p) ** 2).sum() / (p**2).sum() ** 2,
        lambda f, p: F.mse_loss(f, p, reduction="sum") / p.square().sum().square(),
    )
    wrong(
        name,
        "python-number",
        lambda f, p: losses.content_loss(f, p).item(),
        lambda f, p: float(losses.content_loss(f, p)),
    )
    wrong(name, "python-number", lambda f, p: losses.content_loss(f, p).detach().numpy()[()])
    wrong(
        name,
        "detached",
        lambda f, p: losses.content_loss(f.detach(), p),
        lambda f, p: torch.tensor(losses.content_loss(f, p).item()),
    )
    wrong(
        name,
        "in-place",
        lambda f, p: losses.content_loss(f, p) + 0 * f.sub_(p).sum(),
        lambda f, p: F.mse_loss(f, p, reduction="sum") / p.pow_(2).sum(),
    )
    wrong(name, "to-do", unwritten, unwritten_bare)
    right(
        name,
        lambda f, p: ((f - p) ** 2).sum() / (p**2).sum(),
        lambda f, p: ((f - p) ** 2).mean() / (p**2).mean(),
        lambda f, p: (((f - p) ** 2).flatten(1).sum(1) / (p**2).flatten(1).sum(1)).mean(),
        lambda f, p: ((f - p).double() ** 2).sum().div((p.double() ** 2).sum()).float(),
        lambda f, p: ((f - p).norm() / p.norm()) ** 2,
        lambda f, p: (F.mse_loss(f, p) / F.mse_loss(p, torch.zeros_like(p))).reshape(1),
    )
wrong(
    "content_loss",
    "batch-summed",
    lambda f, p: losses.content_loss(f, p) * len(f),
    lambda f, p: sum(((a - b) ** 2).sum() / (b**2).sum() for a, b in zip(f, p, strict=True)),
)
wrong(
    "content_loss",
    "first-image-only",
    lambda f, p: losses.content_loss(f[:1], p[:1]),
    lambda f, p: ((f - p) ** 2)[0].sum() / (p**2)[0].sum(),
)
wrong(
    "content_loss",
    "not-a-scalar",
    lambda f, p: ((f - p) ** 2).flatten(1).sum(1) / (p**2).flatten(1).sum(1),
    lambda f, p: (f - p) ** 2 / p**2,
)
wrong(
    "style_loss",
    "not-a-scalar",
    lambda g, a: (g - a) ** 2 / a**2,
    lambda g, a: ((g - a) ** 2).sum(1) / (a**2).sum(1),
)
wrong(
    "style_loss",
    "gram-twice",
    lambda g, a: losses.style_loss(g @ g.mT, a @ a.mT),
    lambda g, a: losses.style_loss(torch.bmm(g, g), torch.bmm(a, a)),
)

# --- total_variation


def dy(x):
    return x[..., 1:, :] - x[..., :-1, :]


def dx(x):
    return x[..., 1:] - x[..., :-1]


wrong(
    "total_variation",
    "sum-instead-of-mean",
    lambda x: dy(x).abs().sum() + dx(x).abs().sum(),
    lambda x: (dy(x).abs().sum() + dx(x).abs().sum()) / len(x),
)
wrong("total_variation", "one-direction", lambda x: dy(x).abs().mean(), lambda x: dx(x).abs().mean())
wrong(
    "total_variation",
    "squared",
    lambda x: dy(x).square().mean() + dx(x).square().mean(),
    lambda x: (dy(x) ** 2).sum() + (dx(x) ** 2).sum(),
)
wrong(
    "total_variation",
    "sign-kept",
    lambda x: dy(x).mean() + dx(x).mean(),
    lambda x: dy(x).mean().abs() + dx(x).mean().abs(),
)
wrong(
    "total_variation",
    "wrapped-around",
    lambda x: (x - x.roll(1, 2)).abs().mean() + (x - x.roll(1, 3)).abs().mean(),
    lambda x: (x.roll(-1, 2) - x).abs().mean() + (x.roll(-1, 3) - x).abs().mean(),
)
wrong(
    "total_variation",
    "wrong-divisor",
    lambda x: (dy(x).abs().sum() + dx(x).abs().sum()) / x.numel(),
    lambda x: dy(x).abs().sum().div(x.numel()) + dx(x).abs().sum().div(x.numel()),
)
wrong(
    "total_variation",
    "one-mean",
    lambda x: torch.cat([dy(x).flatten(), dx(x).flatten()]).abs().mean(),
    lambda x: (dy(x).abs().sum() + dx(x).abs().sum()) / (dy(x).numel() + dx(x).numel()),
)
wrong(
    "total_variation",
    "halved",
    lambda x: 0.5 * (dy(x).abs().mean() + dx(x).abs().mean()),
    lambda x: torch.stack([dy(x).abs().mean(), dx(x).abs().mean()]).mean(),
)
wrong(
    "total_variation",
    "wrong-axes",
    lambda x: (x[:, 1:] - x[:, :-1]).abs().mean() + dy(x).abs().mean(),
    lambda x: x.diff(dim=0).abs().mean() + x.diff(dim=1).abs().mean(),
)
wrong(
    "total_variation",
    "detached",
    lambda x: losses.total_variation(x.detach()),
    lambda x: losses.total_variation(x.data),
)
wrong(
    "total_variation",
    "python-number",
    lambda x: losses.total_variation(x).item(),
    lambda x: float(losses.total_variation(x)),
)
wrong(
    "total_variation",
    "not-a-scalar",
    lambda x: dy(x).abs().mean((1, 2, 3)) + dx(x).abs().mean((1, 2, 3)),
    lambda x: dy(x).abs(),
)
right(
    "total_variation",
    lambda x: x.diff(dim=2).abs().mean() + x.diff(dim=-1).abs().mean(),
    lambda x: F.l1_loss(x[:, :, 1:], x[:, :, :-1]) + F.l1_loss(x[..., 1:], x[..., :-1]),
    lambda x: (x[:, :, :-1] - x[:, :, 1:]).abs().mean() + torch.mean(torch.abs(dx(x))),
)

# --- total_loss


def mean(s):
    return sum(s) / len(s)


wrong(
    "total_loss",
    "sum-instead-of-mean",
    lambda c, s, a, b: a * c + b * sum(s),
    lambda c, s, a, b: a * c + b * torch.stack(s).sum(),
)
wrong(
    "total_loss",
    "weights-swapped",
    lambda c, s, a, b: b * c + a * mean(s),
    lambda c, s, a, b: lessons.total_loss(c, s, b, a),
)
wrong(
    "total_loss",
    "weight-forgotten",
    lambda c, s, a, b: c + mean(s),
    lambda c, s, a, b: c + b * mean(s),
    lambda c, s, a, b: a * c + mean(s),
)
wrong("total_loss", "weight-on-both", lambda c, s, a, b: b * (c + mean(s)), lambda c, s, a, b: (a * c + mean(s)) * b)
wrong("total_loss", "loss-forgotten", lambda c, s, a, b: b * mean(s), lambda c, s, a, b: a * c)
wrong("total_loss", "one-layer-only", lambda c, s, a, b: a * c + b * s[-1], lambda c, s, a, b: a * c + b * s[0])
wrong(
    "total_loss",
    "divided-twice",
    lambda c, s, a, b: a * c + b * mean(s) / len(s),
    lambda c, s, a, b: a * c + b * torch.stack([x / len(s) for x in s]).mean(),
)
wrong(
    "total_loss",
    "halved",
    lambda c, s, a, b: (a * c + b * mean(s)) / 2,
    lambda c, s, a, b: torch.stack([a * c, b * mean(s)]).mean(),
)
wrong(
    "total_loss",
    "detached",
    lambda c, s, a, b: a * c + b * mean(s).item(),
    lambda c, s, a, b: a * c + b * torch.tensor(s).mean(),
    lambda c, s, a, b: a * c.detach() + b * mean(s),
)
wrong(
    "total_loss",
    "python-number",
    lambda c, s, a, b: lessons.total_loss(c, s, a, b).item(),
    lambda c, s, a, b: float(a * c + b * mean(s)),
)
wrong(
    "total_loss",
    "in-place",
    lambda c, s, a, b: a * c + b * (s.pop() + sum(s)) / (len(s) + 1),
    lambda c, s, a, b: c.mul_(a) + b * mean(s),
)
wrong("total_loss", "returns-nothing", lambda c, s, a, b: None, lambda c, s, a, b: print(a * c))


@unusual("total_loss")
def in_a_loop(content_loss, style_losses, content_weight, style_weight):
    total = content_weight * content_loss
    for loss in style_losses:
        total = total + style_weight / len(style_losses) * loss
    return total


right(
    "total_loss",
    lambda c, s, a, b: c.mul(a).add(torch.stack(s).mean(), alpha=b),
    lambda c, s, a, b: (a * c.double() + b * sum(x.double() for x in s) / len(s)).to(c.dtype),
)

# --- to_tensor


def chw(a):
    return torch.from_numpy(a).permute(2, 0, 1)[None]


wrong(
    "to_tensor",
    "channels-last",
    lambda a: torch.from_numpy(a)[None].float() / 255,
    lambda a: torch.tensor(a / 255).float(),
)
wrong(
    "to_tensor",
    "no-batch",
    lambda a: chw(a)[0].float() / 255,
    lambda a: torch.tensor(a.transpose(2, 0, 1) / 255).float(),
)
wrong("to_tensor", "sides-swapped", lambda a: chw(a).mT.float() / 255, lambda a: torch.tensor(a.T.copy())[None] / 255)
wrong(
    "to_tensor",
    "not-divided",
    lambda a: chw(a).float(),
    lambda a: torch.tensor(a.transpose(2, 0, 1)[None], dtype=torch.float32),
    chw,
)
wrong("to_tensor", "divided-twice", lambda a: chw(a).float() / 255 / 255, lambda a: chw(a / 255.0).float().div(255))
wrong("to_tensor", "bgr", lambda a: chw(a).flip(1).float() / 255, lambda a: chw(a[..., ::-1].copy()).float() / 255)
wrong(
    "to_tensor",
    "integer-division",
    lambda a: (chw(a) // 255).float(),
    lambda a: torch.tensor(a // 255).permute(2, 0, 1)[None].float(),
)
wrong("to_tensor", "wrong-divisor", lambda a: chw(a).float() / 256, lambda a: chw(a) / 256.0)
wrong(
    "to_tensor",
    "reshape-not-transpose",
    lambda a: torch.from_numpy(a).reshape(1, 3, *a.shape[:2]).float() / 255,
    lambda a: torch.tensor(a).view(3, *a.shape[:2])[None] / 255,
)
wrong(
    "to_tensor", "wrong-dtype", lambda a: chw(a).double() / 255, lambda a: torch.tensor(a / 255).permute(2, 0, 1)[None]
)
wrong(
    "to_tensor",
    "rescaled",
    lambda a: (chw(a).float() - a.min()) / float(a.max() - a.min()),
    lambda a: chw(a).float() / int(a.max()),
)
wrong("to_tensor", "normalised-too", lambda a: chw(a).float() / 127.5 - 1, lambda a: (chw(a) / 255 - MEAN) / STD)
wrong("to_tensor", "wrong-type", lambda a: a.transpose(2, 0, 1)[None] / 255, lambda a: a.tolist())


@mutant("to_tensor", "in-place")
def array_in_place(a):
    a //= 1
    a[:] = a[::-1]
    return chw(a).float() / 255


@mutant("to_tensor", "in-place")
def divided_array_in_place(a):
    a /= 255
    return chw(a)


right(
    "to_tensor",
    lambda a: chw(a) / 255,
    lambda a: torch.tensor(a.transpose(2, 0, 1).astype(np.float32) / 255).unsqueeze(0),
    lambda a: torch.stack([torch.tensor(a[:, :, c] / 255, dtype=torch.float32) for c in range(3)])[None],
    lambda a: torch.from_numpy(np.moveaxis(a, -1, 0).copy()).mul(1 / 255)[None],
)

# --- to_array


def hwc(x):
    return x.detach()[0].permute(1, 2, 0)


def rounded(x):
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


wrong("to_array", "channels-first", lambda x: rounded(x.detach()[0]).numpy(), lambda x: rounded(x.detach()).numpy())
wrong(
    "to_array",
    "batch-kept",
    lambda x: rounded(x.detach()).permute(0, 2, 3, 1).numpy(),
    lambda x: rounded(hwc(x)).numpy()[None],
)
wrong(
    "to_array",
    "sides-swapped",
    lambda x: rounded(x.detach()[0]).permute(2, 1, 0).numpy(),
    lambda x: rounded(x.detach()[0]).numpy().T,
)
wrong(
    "to_array",
    "truncated",
    lambda x: (hwc(x).clamp(0, 1) * 255).to(torch.uint8).numpy(),
    lambda x: (hwc(x).clamp(0, 1).numpy() * 255).astype(np.uint8),
)
wrong(
    "to_array",
    "not-clamped",
    lambda x: (hwc(x) * 255).round().int().numpy().astype(np.uint8),
    lambda x: (hwc(x) * 255).round().long().remainder(256).byte().numpy(),
)
wrong(
    "to_array",
    "not-multiplied",
    lambda x: hwc(x).clamp(0, 1).byte().numpy(),
    lambda x: hwc(x).clamp(0, 1).round().to(torch.uint8).numpy(),
)
wrong(
    "to_array",
    "multiplied-twice",
    lambda x: (hwc(x) * 255 * 255).clamp(0, 255).round().byte().numpy(),
    lambda x: ((hwc(x).clamp(0, 1) * 255).round() * 255).clamp(0, 255).byte().numpy(),
)
wrong(
    "to_array",
    "wrong-factor",
    lambda x: (hwc(x) * 256).clamp(0, 255).byte().numpy(),
    lambda x: (hwc(x) * 256).round().clamp(0, 255).byte().numpy(),
)
wrong("to_array", "bgr", lambda x: rounded(hwc(x)).flip(2).numpy(), lambda x: rounded(hwc(x)).numpy()[..., ::-1])
wrong(
    "to_array",
    "reshape-not-transpose",
    lambda x: rounded(x.detach()).reshape(*x.shape[2:], 3).numpy(),
    lambda x: np.reshape(rounded(x.detach()).numpy(), (*x.shape[2:], 3)),
)
wrong(
    "to_array",
    "rescaled",
    lambda x: ((hwc(x) - x.min()) / (x.max() - x.min()) * 255).round().byte().numpy(),
    lambda x: ((hwc(x) - x.min()).div(x.max() - x.min()).mul(255)).byte().numpy(),
)
wrong(
    "to_array", "wrong-dtype", lambda x: rounded(hwc(x)).float().numpy(), lambda x: rounded(hwc(x)).numpy().astype(int)
)
wrong("to_array", "wrong-type", lambda x: rounded(hwc(x)), lambda x: rounded(hwc(x)).tolist())
wrong(
    "to_array",
    "in-place",
    lambda x: rounded(hwc(x.clamp_(0, 1))).numpy(),
    lambda x: x.mul_(255).round_().clamp_(0, 255)[0].permute(1, 2, 0).byte().numpy(),
)
wrong(
    "to_array",
    "needs-detach",
    lambda x: rounded(x[0].permute(1, 2, 0).mul(1.0)).numpy() if not x.requires_grad else x.numpy(),
    lambda x: (x.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy().astype(np.uint8),
)
right(
    "to_array",
    lambda x: np.rint(np.clip(x.detach().numpy()[0], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0),
    lambda x: (hwc(x) * 255 + 0.5).clamp(0, 255).byte().numpy(),
    lambda x: np.asarray(rounded(hwc(x).cpu().double())),
)

# --- normalize, denormalize

wrong("normalize", "missing-normalisation", lambda x: x, lambda x: x.clone())
wrong(
    "normalize",
    "normalised-twice",
    lambda x: ((x - MEAN) / STD - MEAN) / STD,
    lambda x: lessons.normalize(lessons.normalize(x)),
)
wrong("normalize", "std-forgotten", lambda x: x - MEAN, lambda x: x - MEAN.expand(len(x), 3, 1, 1))
wrong("normalize", "mean-forgotten", lambda x: x / STD, lambda x: x.div(STD))
wrong("normalize", "wrong-order", lambda x: x - MEAN / STD, lambda x: x / STD - MEAN)
wrong("normalize", "wrong-direction", lambda x: x * STD + MEAN, lambda x: (x - MEAN) * STD, lambda x: (x + MEAN) / STD)
wrong("normalize", "swapped", lambda x: (x - STD) / MEAN, lambda x: x.sub(STD).div(MEAN))
wrong(
    "normalize",
    "bgr",
    lambda x: (x - MEAN.flip(0)) / STD.flip(0),
    lambda x: lessons.normalize(x).flip(1),
    lambda x: lessons.normalize(x[:, [2, 1, 0]]),
)
wrong(
    "normalize",
    "own-statistics",
    lambda x: (x - x.mean()) / x.std(),
    lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
)
wrong("normalize", "other-statistics", lambda x: (x - 0.5) / 0.5, lambda x: (x - 0.45) / 0.226)
wrong("normalize", "scaled-255", lambda x: x * 255 - MEAN * 255, lambda x: (255 * x - MEAN) / STD, lambda x: 255 * x)
wrong("normalize", "clamped", lambda x: lessons.normalize(x).clamp(0, 1), lambda x: ((x - MEAN) / STD).clamp(-1, 1))
wrong("normalize", "in-place", lambda x: x.sub_(MEAN).div_(STD), lambda x: lessons.normalize(x) + 0 * x.mul_(2))
wrong(
    "normalize",
    "not-broadcast",
    lambda x: (x - MEAN.flatten()) / STD.flatten(),
    lambda x: x - torch.tensor([0.485, 0.456, 0.406]),
)
wrong("normalize", "detached", lambda x: lessons.normalize(x.detach()), lambda x: (x.data - MEAN) / STD)
wrong("normalize", "wrong-dtype", lambda x: (x.double() - MEAN) / STD, lambda x: (x - MEAN.double()) / STD.double())
right(
    "normalize",
    lambda x: torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1),
    lambda x: ((x.permute(0, 2, 3, 1) - MEAN.flatten()) / STD.flatten()).permute(0, 3, 1, 2),
    lambda x: x / STD - MEAN / STD,
)
wrong("denormalize", "missing-denormalisation", lambda x: x, lambda x: x + 0)
wrong(
    "denormalize",
    "denormalised-twice",
    lambda x: (x * STD + MEAN) * STD + MEAN,
    lambda x: lessons.denormalize(lessons.denormalize(x)),
)
wrong("denormalize", "std-forgotten", lambda x: x + MEAN, lambda x: MEAN + x)
wrong("denormalize", "mean-forgotten", lambda x: x * STD, lambda x: x.mul(STD))
wrong("denormalize", "wrong-order", lambda x: (x + MEAN) * STD, lambda x: x.add(MEAN).mul(STD))
wrong("denormalize", "wrong-direction", lambda x: (x - MEAN) / STD, lambda x: x.sub(MEAN).div(STD))
wrong("denormalize", "mean-subtracted", lambda x: x * STD - MEAN, lambda x: x.mul(STD).sub(MEAN))
wrong("denormalize", "std-divided", lambda x: x / STD + MEAN, lambda x: MEAN + x.div(STD))
wrong("denormalize", "swapped", lambda x: x * MEAN + STD, lambda x: STD + MEAN * x)
wrong("denormalize", "bgr", lambda x: x * STD.flip(0) + MEAN.flip(0), lambda x: lessons.denormalize(x).flip(1))
wrong("denormalize", "clamped", lambda x: lessons.denormalize(x).clamp(0, 1), lambda x: (x * STD + MEAN).clip(0, 1))
wrong("denormalize", "other-statistics", lambda x: (x + 1) / 2, lambda x: x * 0.226 + 0.45)
wrong("denormalize", "scaled-255", lambda x: lessons.denormalize(x) * 255, lambda x: (x * STD + MEAN) * 255)
wrong("denormalize", "in-place", lambda x: x.mul_(STD).add_(MEAN), lambda x: x.mul_(STD) + MEAN)
wrong("denormalize", "detached", lambda x: lessons.denormalize(x).detach(), lambda x: lessons.denormalize(x.data))
right(
    "denormalize",
    lambda x: torch.addcmul(MEAN, x, STD),
    lambda x: (x + MEAN / STD) * STD,
    lambda x: torch.stack([x[:, i] * STD[i, 0, 0] + MEAN[i, 0, 0] for i in range(3)], 1),
)

# --- receptive_field


def walk(conv=2, pool=1, grow=2, start=1, relu=0, early=False, drop=0):
    def receptive_field(names):
        field, step = start, 1
        for name in names[: len(names) - drop]:
            if name.startswith("conv"):
                field += conv * step
            elif name.startswith("pool"):
                step *= grow if early else 1
                field += pool * step
                step *= 1 if early else grow
            else:
                field += relu * step
        return field

    return receptive_field


wrong(
    "receptive_field",
    "stride-forgotten",
    walk(grow=1),
    walk(grow=1, pool=0),
    lambda names: 1 + 2 * sum("conv" in x for x in names),
)
wrong(
    "receptive_field",
    "pool-forgotten",
    walk(pool=0),
    lambda names: 1 + sum(2 * 2 ** sum("pool" in y for y in names[:i]) for i, x in enumerate(names) if "conv" in x),
)
wrong("receptive_field", "kernel-whole", walk(conv=3), walk(conv=3, pool=2))
wrong("receptive_field", "one-side-only", walk(conv=1), lambda names: (walk(conv=1))(list(names)))
wrong("receptive_field", "pool-too-wide", walk(early=True), walk(pool=2))
wrong("receptive_field", "wrong-start", walk(start=0), walk(start=3))
wrong("receptive_field", "relu-counted", walk(relu=2), walk(relu=1))
wrong("receptive_field", "last-layer-forgotten", walk(drop=1), lambda names: lessons.receptive_field(names[:-1]))
wrong(
    "receptive_field",
    "area",
    lambda names: lessons.receptive_field(names) ** 2,
    lambda names: walk()(names) * walk()(names),
)


@mutant("receptive_field", "field-doubled")
def doubles_the_field(names):
    field = 1
    for name in names:
        if "conv" in name:
            field += 2
        if "pool" in name:
            field *= 2
    return field


wrong("receptive_field", "field-doubled", lambda names: doubles_the_field(list(names)))
wrong("receptive_field", "constant", lambda names: 10, lambda names: 8.0)
wrong("receptive_field", "count", lambda names: len(names), lambda names: sum("conv" in x for x in names))
wrong("receptive_field", "wrong-type", str, lambda names: (walk()(names),) * 2)
wrong("receptive_field", "returns-nothing", print, lambda names: None)
wrong(
    "receptive_field",
    "in-place",
    lambda names: walk()([names.pop(0) for _ in range(len(names))]),
    lambda names: names.reverse() or 1,
)
right("receptive_field", walk(), lambda names: np.int64(walk()(names)), lambda names: torch.tensor(walk()(names)))


@unusual("receptive_field")
def backwards(names):
    width = 1
    for name in reversed(names):
        width = width + 2 if name[:4] == "conv" else 2 * width if name[:4] == "pool" else width
    return width


# --- convert_style_weight


def powers(scale=2, divisor=2, reduction=2, layer=2):
    def factor(s, c):
        power = (
            divisor * (s.gram_divisor == "CHW") + reduction * (s.reduction == "mean") + layer * (s.layer_weight != "1")
        )
        return s.input_scale**scale / c**power

    def convert(weight, source, target, channels):
        a, b = conventions.PUBLISHED[source], conventions.PUBLISHED[target]
        return weight * factor(a, channels) / factor(b, channels)

    return convert


wrong("convert_style_weight", "unchanged", lambda w, a, b, c: w, lambda weight, source, target, channels: 1.0 * weight)
wrong(
    "convert_style_weight",
    "inverted",
    lambda w, a, b, c: powers()(w, b, a, c),
    lambda w, a, b, c: w / powers()(1, a, b, c),
)
wrong("convert_style_weight", "scale-forgotten", powers(scale=0), lambda w, a, b, c: powers(scale=0)(w, a, b, c))
wrong("convert_style_weight", "scale-power", powers(scale=4), powers(scale=1))
wrong(
    "convert_style_weight",
    "reduction-forgotten",
    powers(reduction=0),
    lambda w, a, b, c: powers(reduction=0)(w, a, b, c),
)
wrong("convert_style_weight", "divisor-forgotten", powers(divisor=0), lambda w, a, b, c: powers(divisor=0)(w, a, b, c))
wrong("convert_style_weight", "layer-weight-forgotten", powers(layer=0), lambda w, a, b, c: powers(layer=0)(w, a, b, c))
wrong("convert_style_weight", "channel-power", powers(divisor=1), powers(layer=1))
wrong(
    "convert_style_weight", "raised", lambda w, a, b, c: w * a.input_scale, lambda w, a, b, c: conventions.PUBLISHED[w]
)
right(
    "convert_style_weight",
    powers(),
    lambda w, a, b, c: torch.tensor(powers()(w, a, b, c)),
    lambda w, a, b, c: np.float64(w) / powers()(1.0, b, a, c),
)

# --- layers


def layer(
    loss=losses.content_loss,
    prepare=lambda t: t.detach(),
    measure=lambda f: f,
    out=lambda self, f: f,
    at_call=lambda t: t,
):
    """A class of loss layers with a part or two exchanged."""

    class Layer(nn.Module):
        def __init__(self, target):
            super().__init__()
            self.target = prepare(target)

        def forward(self, features):
            self.loss = loss(measure(features), at_call(self.target))
            return out(self, features)

    return Layer


def style(**parts):
    return layer(**{"prepare": lambda t: losses.gram_matrix(t).detach(), "measure": losses.gram_matrix, **parts})


def slotted(base):
    class Layer(base):
        def forward(self, features):
            out = base.forward(self, features)
            features.mul_(2)
            return out

    return Layer


class NoLoss(nn.Module):
    def __init__(self, target):
        super().__init__()

    def forward(self, features):
        return features


class NoSuper(nn.Module):
    def __init__(self, target):
        self.register_buffer("target", target)


class NoForward(nn.Module):
    def __init__(self, target):
        super().__init__()

    def foward(self, features):
        return features


class Stub(nn.Module):
    def __init__(self, target):
        super().__init__()
        raise NotImplementedError("exercise 4.1")


class LateStub(NoLoss):
    def forward(self, features):
        raise NotImplementedError


def memory(base, how):
    class Layer(base):
        def forward(self, features):
            before = getattr(self, "loss", None)
            base.forward(self, features)
            self.loss = how(before, self.loss)
            return features

    return Layer


for name, make in (("content_loss_layer", layer), ("style_loss_layer", style)):
    wrong(name, "returns-loss", make(out=lambda self, f: self.loss), make(out=lambda self, f: self.loss * 1.0))
    wrong(name, "returns-nothing", make(out=lambda self, f: None), make(out=lambda self, f: setattr(self, "done", 1)))
    wrong(name, "changes-features", make(out=lambda self, f: f * 2), make(out=lambda self, f: f.flatten(1)))
    wrong(name, "wrong-type", make(out=lambda self, f: (f, self.loss)), make(out=lambda self, f: [f]))
    wrong(name, "output-detached", make(out=lambda self, f: f.detach()), make(out=lambda self, f: f.data))
    wrong(name, "in-place", slotted(make()), make(out=lambda self, f: f.add_(1)))
    wrong(
        name,
        "python-number",
        make(loss=lambda f, t: losses.content_loss(f, t).item()),
        make(loss=lambda f, t: float(losses.content_loss(f, t))),
    )
    wrong(
        name,
        "detached",
        make(loss=lambda f, t: losses.content_loss(f.detach(), t)),
        make(loss=lambda f, t: losses.content_loss(f, t).data),
    )
    wrong(name, "not-relative", make(loss=F.mse_loss), make(loss=lambda f, t: (f - t).square().mean()))
    wrong(
        name,
        "halved",
        make(loss=lambda f, t: losses.content_loss(f, t) / 2),
        make(loss=lambda f, t: 0.5 * ((f - t) ** 2).sum() / (t**2).sum()),
    )
    wrong(
        name,
        "loss-zero",
        make(loss=lambda f, t: losses.content_loss(f, f)),
        make(loss=lambda f, t: 0 * losses.content_loss(f, t)),
    )
    wrong(
        name,
        "loss-adds-up",
        memory(make(), lambda a, b: b if a is None else a + b),
        memory(make(), lambda a, b: (a or 0) + b),
    )
    wrong(
        name,
        "loss-stale",
        memory(make(), lambda a, b: b if a is None else a),
        memory(make(), lambda a, b: a if isinstance(a, torch.Tensor) else b),
    )
    wrong(name, "no-loss", NoLoss, type("Quiet", (NoLoss,), {"forward": lambda self, features: features}))
    wrong(
        name,
        "super-forgotten",
        NoSuper,
        type("Bare", (nn.Module,), {"__init__": lambda self, t: setattr(self, "inner", nn.ReLU())}),
    )
    wrong(
        name,
        "no-forward",
        NoForward,
        type("Call", (nn.Module,), {"__init__": lambda self, t: nn.Module.__init__(self)}),
    )
    wrong(name, "to-do", Stub, LateStub)
    wrong(name, "not-a-class", make()(torch.rand(1, 2, 3, 4)), nn.ReLU())
    wrong(
        name,
        "not-a-module",
        lambda target: lambda features: features,
        type("Plain", (), {"__init__": lambda self, t: None}),
    )
    wrong(name, "not-a-function", 3, "ContentLossLayer")
    wrong(
        name,
        "not-a-scalar",
        make(loss=lambda f, t: (f - t) ** 2),
        make(loss=lambda f, t: (f - t).square().sum(-1)),
    )

wrong("content_loss_layer", "target-not-detached", layer(prepare=lambda t: t), layer(prepare=lambda t: t.clone()))
wrong(
    "content_loss_layer",
    "target-is-parameter",
    layer(prepare=nn.Parameter),
    layer(prepare=lambda t: nn.Parameter(t.detach() * 1)),
)
wrong(
    "style_loss_layer",
    "target-not-detached",
    style(prepare=losses.gram_matrix),
    style(prepare=lambda t: t, at_call=losses.gram_matrix),
)
wrong(
    "style_loss_layer",
    "target-is-parameter",
    style(prepare=lambda t: nn.Parameter(losses.gram_matrix(t))),
    style(prepare=lambda t: nn.Parameter(losses.gram_matrix(t).detach())),
)
wrong(
    "style_loss_layer",
    "target-every-call",
    style(prepare=lambda t: t.detach(), at_call=losses.gram_matrix),
    style(prepare=lambda t: t.detach().clone(), at_call=lambda t: losses.gram_matrix(t).detach()),
    style(prepare=lambda t: t, at_call=lambda t: torch.einsum("bchw,bdhw->bcd", t.detach(), t.detach()) / n(t)),
)
wrong("style_loss_layer", "gram-forgotten", layer(), layer(loss=F.mse_loss))
wrong(
    "style_loss_layer",
    "missing-divisor",
    style(prepare=lambda t: bmm(t).detach(), measure=bmm),
    style(prepare=lambda t: torch.einsum("bchw,bdhw->bcd", t, t).detach(), measure=bmm),
)
wrong(
    "style_loss_layer",
    "raised",
    style(
        prepare=lambda t: tutorial_gram(t).detach(),
        measure=tutorial_gram,
        loss=lambda f, t: ((f - t) ** 2).sum() / (t**2).sum(),
    ),
    style(
        prepare=lambda t: tutorial_gram(t).detach(),
        measure=tutorial_gram,
        loss=lambda f, t: ((f - t) ** 2).mean() / (t**2).mean(),
    ),
)
wrong(
    "style_loss_layer",
    "reshape-not-transpose",
    style(prepare=lambda t: columns_by_view(t).detach(), measure=columns_by_view),
    style(
        prepare=lambda t: columns_by_view(t.data),
        measure=columns_by_view,
        loss=lambda f, t: ((f - t) ** 2).sum() / (t**2).sum(),
    ),
)
right(
    "content_loss_layer",
    layer(),
    layer(prepare=lambda t: t.detach().clone()),
    layer(prepare=lambda t: t, at_call=lambda t: t.detach()),
    type("Buffered", (layer(prepare=lambda t: t.detach().clone()),), {}),
)
right(
    "content_loss_layer",
    layer(out=lambda self, f: f.clone()),
    layer(prepare=lambda t: nn.Buffer(t.detach())),
    layer(loss=lambda f, t: ((f - t) ** 2).sum() / (t**2).sum()),
)
right(
    "style_loss_layer",
    style(),
    style(prepare=torch.no_grad()(losses.gram_matrix)),
    style(measure=by_loops),
    style(prepare=lambda t: losses.gram_matrix(t.detach())),
)
# A Gram matrix divided by C as well gives the same relative loss.
right(
    "style_loss_layer",
    style(
        prepare=lambda t: losses.gram_matrix(t).detach() / t.shape[1],
        measure=lambda f: losses.gram_matrix(f) / f.shape[1],
    ),
)

# --- make_closure


def closure(before=None, zero="start", loss=lambda fn, x: fn(x), backward=True, after=None, give=lambda v: v):
    """A function that makes closures, with a part or two exchanged."""

    def make_closure(optimizer, image, loss_function):
        def run():
            if before:
                before(optimizer, image)
            if zero == "start":
                optimizer.zero_grad()
            value = loss(loss_function, image)
            if backward:
                value.backward()
            if zero == "end":
                optimizer.zero_grad()
            if after:
                after(optimizer, image)
            return give(value)

        return run

    return make_closure


def clamp(optimizer, image):
    with torch.no_grad():
        image.clamp_(0, 1)


def clamp_data(optimizer, image):
    image.data.clamp_(0, 1)


def replace_data(optimizer, image):
    image.data = image.data.clamp(0, 1)


def outside(optimizer, image, loss_function, keep=False):
    loss = loss_function(image)

    def run():
        optimizer.zero_grad()
        loss.backward(retain_graph=keep)
        return loss

    return run


def zero_once(optimizer, image, loss_function):
    optimizer.zero_grad()

    def run():
        loss = loss_function(image)
        loss.backward()
        return loss

    return run


def steps_itself(optimizer, image, loss_function):
    def run():
        optimizer.zero_grad()
        optimizer.step(run)

    return run


wrong(
    "make_closure",
    "clamp-inside",
    closure(before=clamp),
    closure(before=clamp_data),
    closure(after=replace_data),
    closure(after=clamp),
)
wrong(
    "make_closure",
    "clamps-copy",
    closure(loss=lambda fn, x: fn(x.clamp(0, 1))),
    closure(loss=lambda fn, x: fn(x.clip(min=0).clip(max=1))),
)
wrong("make_closure", "zero-grad-forgotten", closure(zero=""), zero_once)
wrong("make_closure", "closure-returns-nothing", closure(give=lambda v: None), closure(give=print))
wrong("make_closure", "backward-forgotten", closure(backward=False), closure(zero="", backward=False))
wrong("make_closure", "zeroed-too-late", closure(zero="end"), closure(after=lambda o, x: x.grad.zero_()))
wrong("make_closure", "step-inside", closure(after=lambda o, x: o.step()), steps_itself)
wrong(
    "make_closure", "in-place", closure(before=lambda o, x: x.data.add_(1)), closure(before=lambda o, x: x.clamp_(0, 1))
)
wrong("make_closure", "python-number", closure(give=lambda v: v.item()), closure(give=float))
wrong("make_closure", "loss-outside", outside, lambda o, x, f: outside(o, x, f, keep=True))
wrong(
    "make_closure",
    "evaluates-twice",
    closure(loss=lambda fn, x: (fn(x) + fn(x)) / 2),
    closure(loss=lambda fn, x: fn(x) + 0 * fn(x)),
)
wrong(
    "make_closure",
    "detached",
    closure(loss=lambda fn, x: fn(x.detach())),
    closure(loss=torch.no_grad()(lambda fn, x: fn(x))),
)
wrong("make_closure", "wrong-values", closure(give=lambda v: v * 2), closure(loss=lambda fn, x: fn(x * 0.5)))
wrong(
    "make_closure",
    "wrong-gradient",
    closure(after=lambda o, x: x.grad.mul_(2)),
    closure(after=lambda o, x: x.grad.sign_()),
)
wrong("make_closure", "closure-called", lambda o, x, f: closure()(o, x, f)(), lambda o, x, f: f(x))
wrong("make_closure", "returns-nothing", lambda o, x, f: None, lambda o, x, f: print(f))
wrong(
    "make_closure",
    "grad-is-none",
    closure(zero="", before=lambda o, x: x.grad.zero_()),
    closure(zero="", before=lambda o, x: x.grad.data.zero_() if x.grad is not None else x.grad.zero_()),
)
wrong("make_closure", "to-do", unwritten, unwritten_bare)
right(
    "make_closure",
    closure(),
    closure(zero="", before=lambda o, x: setattr(x, "grad", None)),
    closure(before=lambda o, x: print("evaluation")),
    closure(give=lambda v: v.detach()),
    closure(zero="", before=lambda o, x: o.zero_grad(set_to_none=False)),
)


# --- match_color


def spread(pixels, n=None):
    centred = pixels - pixels.mean(1, keepdim=True)
    return centred @ centred.T / (n or pixels.shape[1])


def root(matrix, exponent=0.5):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**exponent) @ vectors.T


def inverse(matrix):
    return root(matrix, -0.5)


def flipped_root(matrix, exponent=0.5):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors.T @ torch.diag(values**exponent) @ vectors


def matching(
    moments=spread, up=root, down=inverse, join=lambda up, down: up @ down,
    to_pixels=lambda image: image[0].flatten(1), minus=lambda s, c: s, plus=lambda s, c: c, before=None, after=None,
):  # fmt: skip
    """`match_color` with one part of it changed."""

    def match_color(style, content):
        pixels, others = to_pixels(style), to_pixels(content)
        means = pixels.mean(1, keepdim=True), others.mean(1, keepdim=True)
        centred = pixels - minus(*means)
        centred = before(centred) if before else centred
        image = (join(up(moments(others)), down(moments(pixels))) @ centred + plus(*means)).reshape(style.shape)
        return after(image) if after else image

    return match_color


def by_deviations(style, content):
    axes = (2, 3)
    scale = content.std(axes, keepdim=True, correction=0) / style.std(axes, keepdim=True, correction=0)
    return (style - style.mean(axes, keepdim=True)) * scale + content.mean(axes, keepdim=True)


def clamp(image):
    return image.clamp(0, 1)


wrong("match_color", "std-per-channel", by_deviations, matching(moments=lambda p: torch.diag(torch.diag(spread(p)))))
wrong(
    "match_color",
    "transposed-root",
    matching(up=flipped_root, down=lambda m: flipped_root(m, -0.5)),
    matching(up=flipped_root),
    matching(down=lambda m: flipped_root(m, -0.5)),
)
wrong(
    "match_color",
    "wrong-order",
    matching(join=lambda up, down: down @ up),
    matching(join=lambda up, down: (up @ down).T),
)
wrong(
    "match_color",
    "no-root",
    matching(up=lambda m: m, down=torch.inverse),
    matching(up=lambda m: m),
    matching(down=torch.inverse),
)
wrong(
    "match_color",
    "root-by-entries",
    matching(up=torch.sqrt, down=lambda m: m**-0.5),
    matching(up=torch.sqrt, down=lambda m: m.sqrt().inverse()),
)
wrong("match_color", "not-whitened", matching(down=lambda m: torch.eye(3)), matching(join=lambda up, down: up))
wrong("match_color", "only-whitened", matching(up=lambda m: torch.eye(3)), matching(join=lambda up, down: down))
wrong(
    "match_color", "swapped", matching(up=inverse, down=root), matching(join=lambda up, down: (down @ up).inverse().T)
)
wrong(
    "match_color",
    "mean-only",
    matching(join=lambda up, down: torch.eye(3)),
    lambda s, c: s - s.mean((2, 3), keepdim=True) + c.mean((2, 3), keepdim=True),
)
wrong(
    "match_color",
    "not-centred",
    matching(moments=lambda p: p @ p.T / p.shape[1]),
    matching(moments=lambda p: torch.einsum("in,jn->ij", p, p) / p[0].numel()),
)
wrong(
    "match_color",
    "missing-divisor",
    matching(moments=lambda p: spread(p, 1)),
    matching(moments=lambda p: spread(p) * p.shape[1]),
)
wrong("match_color", "mean-not-subtracted", matching(minus=lambda s, c: 0), matching(minus=lambda s, c: 0 * s))
wrong("match_color", "wrong-mean", matching(plus=lambda s, c: s), matching(minus=lambda s, c: c))
wrong("match_color", "mean-not-added", matching(plus=lambda s, c: 0), matching(plus=lambda s, c: 0 * c))
wrong("match_color", "grey-mean", matching(plus=lambda s, c: c.mean()), matching(plus=lambda s, c: c.mean().view(1, 1)))
wrong(
    "match_color",
    "clamped-before",
    matching(before=clamp),
    matching(before=lambda x: x.clamp_min(0).clamp_max(1)),
)
wrong("match_color", "clamped", matching(after=clamp), matching(after=lambda x: torch.sigmoid(x * 0) * 0 + clamp(x)))
wrong(
    "match_color",
    "stretched",
    matching(after=lambda x: (x - x.min()) / (x.max() - x.min())),
    matching(after=lambda x: (x - x.amin()) / (x.amax() - x.amin())),
)


@mutant("match_color", "reshape-not-transpose")
def colours_in_rows(style, content):
    pixels, others = style.reshape(-1, 3).T, content.reshape(-1, 3).T
    mean, other = pixels.mean(1, keepdim=True), others.mean(1, keepdim=True)
    matched = root(spread(others)) @ inverse(spread(pixels)) @ (pixels - mean) + other
    return matched.T.reshape(style.shape)


@mutant("match_color", "reshape-not-transpose")
def colours_by_view(style, content):
    rows, others = style.view(style[0, 0].numel(), 3), content.view(content[0, 0].numel(), 3)
    matrix = root(spread(others.T)) @ inverse(spread(rows.T))
    return ((rows - rows.mean(0)) @ matrix.T + others.mean(0)).view(style.shape)


wrong(
    "match_color",
    "not-flattened",
    matching(to_pixels=lambda image: image[0].flatten(1).T),
    lambda s, c: root(spread(c[0].flatten(1))) @ s[0].flatten(1).T,
)
wrong("match_color", "in-place", lambda s, c: matching()(s.mul_(2).div_(2).add_(1e-3), c), lambda s, c: s.copy_(s * 0))
wrong("match_color", "returns-nothing", lambda s, c: None, lambda s, c: print("matched"))
wrong("match_color", "to-do", unwritten, unwritten_bare)
right(
    "match_color",
    matching(),
    matching(moments=torch.cov),
    matching(up=torch.linalg.cholesky, down=lambda m: torch.linalg.cholesky(m).inverse()),
    lambda s, c: (
        torch.einsum(
            "ij,bjhw->bihw",
            root(spread(c[0].flatten(1))) @ inverse(spread(s[0].flatten(1))),
            s - s.mean((2, 3), keepdim=True),
        )
        + c.mean((2, 3), keepdim=True)
    ),
)


# --- masked_gram


def shrunk(mask, x):
    return F.adaptive_avg_pool2d(mask, x.shape[-2:])


def regional(shrink=shrunk, once=lambda m: m, twice=torch.ones_like, divisor=lambda m, mask, x: m.sum()):
    """`masked_gram` with one part of it changed."""

    def masked_gram(x, mask):
        m = shrink(mask, x)
        return flat(x * once(m)) @ flat(x * twice(m)).mT / divisor(m, mask, x)

    return masked_gram


wrong(
    "masked_gram",
    "divided-by-positions",
    regional(divisor=lambda m, mask, x: n(x)),
    lambda x, m: bmm(x * shrunk(m, x).sqrt()) / n(x),
)
wrong(
    "masked_gram",
    "mask-twice",
    regional(twice=lambda m: m),
    regional(twice=lambda m: m, divisor=lambda m, mask, x: m.square().sum()),
    lambda x, m: bmm(x * shrunk(m, x)) / shrunk(m, x).sum(),
)
wrong(
    "masked_gram",
    "mask-not-shrunk",
    regional(shrink=lambda mask, x: mask),
    lambda x, m: torch.einsum("bcn,bdn->bcd", flat(x) * flat(m), flat(x)) / m.sum(),
)
wrong(
    "masked_gram",
    "mask-sampled",
    regional(shrink=lambda mask, x: F.interpolate(mask, size=x.shape[-2:])),
    lambda x, m: regional(
        shrink=lambda mask, x: mask[..., :: m.shape[-1] // x.shape[-1], :: m.shape[-1] // x.shape[-1]]
    )(x, m),
    regional(shrink=lambda mask, x: F.interpolate(mask, size=x.shape[-2:], mode="bilinear")),
)
wrong(
    "masked_gram",
    "mask-cropped",
    regional(shrink=lambda mask, x: mask[..., : x.shape[2], : x.shape[3]]),
    regional(shrink=lambda mask, x: mask[:, :, 0 : x.size(2), 0 : x.size(3)]),
)
wrong(
    "masked_gram",
    "mask-grown",
    regional(shrink=lambda mask, x: F.adaptive_max_pool2d(mask, x.shape[-2:])),
    regional(shrink=lambda mask, x: F.max_pool2d(mask, mask.shape[-1] // x.shape[-1])),
)
wrong("masked_gram", "mask-inverted", regional(shrink=lambda m, x: 1 - shrunk(m, x)), lambda x, m: regional()(x, 1 - m))
wrong(
    "masked_gram",
    "mask-made-hard",
    regional(shrink=lambda m, x: (shrunk(m, x) > 0.5).float()),
    regional(shrink=lambda m, x: shrunk(m, x).round()),
)
wrong("masked_gram", "mask-ignored", lambda x, m: bmm(x) / n(x), lambda x, m: regional()(x, torch.ones_like(m)))
wrong(
    "masked_gram",
    "missing-divisor",
    regional(divisor=lambda m, mask, x: 1),
    lambda x, m: torch.einsum("bchw,bdhw->bcd", x * shrunk(m, x), x),
)
wrong(
    "masked_gram",
    "divided-by-large-mask",
    regional(divisor=lambda m, mask, x: mask.sum()),
    lambda x, m: bmm(x * shrunk(m, x).sqrt()) / m.sum(),
)
wrong(
    "masked_gram",
    "divided-twice",
    regional(divisor=lambda m, mask, x: m.sum() * n(x)),
    lambda x, m: regional()(x, m) / n(x),
)
wrong(
    "masked_gram",
    "divided-by-channels-too",
    regional(divisor=lambda m, mask, x: m.sum() * x.shape[1]),
    lambda x, m: regional()(x, m) / x.size(1),
)
wrong(
    "masked_gram",
    "divided-by-count",
    regional(divisor=lambda m, mask, x: (m > 0).sum()),
    regional(divisor=lambda m, mask, x: m.count_nonzero()),
)
wrong(
    "masked_gram",
    "divided-by-mean",
    regional(divisor=lambda m, mask, x: m.mean()),
    lambda x, m: bmm(x * shrunk(m, x).sqrt()) / shrunk(m, x).mean(),
)
wrong(
    "masked_gram",
    "batch-folded",
    lambda x, m: (x * shrunk(m, x)).flatten(0, 1).flatten(1) @ x.flatten(0, 1).flatten(1).T / shrunk(m, x).sum(),
    lambda x, m: (x * shrunk(m, x)).flatten(0, 1).flatten(1) @ x.flatten(0, 1).flatten(1).T,
)
wrong("masked_gram", "batch-lost", lambda x, m: regional()(x, m)[0], lambda x, m: regional()(x, m).sum(0))
wrong(
    "masked_gram",
    "over-space",
    lambda x, m: flat(x * shrunk(m, x)).mT @ flat(x) / shrunk(m, x).sum(),
    lambda x, m: flat(x).mT @ flat(x * shrunk(m, x)),
)
wrong(
    "masked_gram",
    "not-flattened",
    lambda x, m: (x * shrunk(m, x)) @ x.mT / shrunk(m, x).sum(),
    lambda x, m: (x * shrunk(m, x)).mT @ x,
)
wrong(
    "masked_gram",
    "diagonal-only",
    lambda x, m: (x * x * shrunk(m, x)).sum((2, 3)) / shrunk(m, x).sum(),
    lambda x, m: (x * x * shrunk(m, x)).mean((2, 3)),
)
wrong(
    "masked_gram",
    "transposed-all",
    lambda x, m: torch.bmm(flat(x * shrunk(m, x)), flat(x)),
    lambda x, m: flat(x * shrunk(m, x)) @ flat(x),
)
wrong(
    "masked_gram",
    "detached",
    lambda x, m: regional()(x.detach(), m),
    lambda x, m: regional()(x, m).detach(),
)
wrong("masked_gram", "in-place", lambda x, m: bmm(x.mul_(shrunk(m, x))), lambda x, m: regional()(x, m.mul_(0.5)))
wrong("masked_gram", "to-do", unwritten, unwritten_bare)
right(
    "masked_gram",
    regional(),
    regional(once=torch.sqrt, twice=torch.sqrt),
    regional(shrink=lambda mask, x: F.avg_pool2d(mask, max(1, mask.shape[-1] // x.shape[-1]))),
    regional(shrink=lambda mask, x: F.interpolate(mask, size=x.shape[-2:], mode="area")),
    lambda x, m: torch.einsum("bchw,bdhw,hw->bcd", x, x, shrunk(m, x)[0, 0] / shrunk(m, x).sum()),
)


# --- pixel_distance


def apart(compare=lambda a, b: a - b, size=torch.abs, gather=torch.mean):
    return lambda picture, photo: gather(size(compare(picture, photo)))


wrong("pixel_distance", "signs-kept", lambda a, b: (a - b).mean(), lambda a, b: b.mean() - a.mean())
wrong("pixel_distance", "abs-last", lambda a, b: (a - b).mean().abs(), lambda a, b: abs(a.mean() - b.mean()))
wrong("pixel_distance", "sum", apart(gather=torch.sum), lambda a, b: F.l1_loss(a, b, reduction="sum"))
wrong("pixel_distance", "squared", apart(size=torch.square), lambda a, b: F.mse_loss(a, b))
wrong("pixel_distance", "root", lambda a, b: F.mse_loss(a, b).sqrt(), lambda a, b: torch.dist(a, b))
wrong("pixel_distance", "largest", apart(gather=torch.max), lambda a, b: (a - b).abs().flatten().sort().values[-1])
wrong("pixel_distance", "smallest", apart(gather=torch.min), lambda a, b: float((a - b).abs().amin()))
wrong("pixel_distance", "median", apart(gather=torch.median), lambda a, b: (a - b).abs().flatten().median().item())
wrong("pixel_distance", "one-side", apart(size=torch.relu), lambda a, b: (torch.maximum(a, b) - a).mean())
wrong("pixel_distance", "added", apart(compare=torch.add), lambda a, b: a.mean() + b.mean())
wrong("pixel_distance", "multiplied", apart(compare=torch.mul), lambda a, b: (a * b).mean())
wrong("pixel_distance", "photo-forgotten", lambda a, b: a.mean(), lambda a, b: a.abs().mean())
wrong("pixel_distance", "picture-forgotten", lambda a, b: b.mean(), lambda a, b: b.abs().mean())
wrong("pixel_distance", "relative", lambda a, b: apart()(a, b) / b.mean(), lambda a, b: ((a - b) / b).abs().mean())
wrong("pixel_distance", "differing-share", lambda a, b: (a != b).float().mean(), lambda a, b: (a != b).sum())
wrong("pixel_distance", "spread", lambda a, b: (a - b).abs().std(), lambda a, b: (a - b).abs().var().sqrt())
wrong("pixel_distance", "halved", lambda a, b: apart()(a, b) / 2, apart(compare=lambda a, b: (a - b) / 2))
wrong("pixel_distance", "percent", lambda a, b: 100 * apart()(a, b), apart(compare=lambda a, b: 100 * a - 100 * b))
wrong("pixel_distance", "times-255", lambda a, b: 255 * apart()(a, b), apart(compare=lambda a, b: 255 * a - 255 * b))
wrong("pixel_distance", "likeness", lambda a, b: 1 - apart()(a, b), apart(gather=lambda x: (1 - x).mean()))
wrong("pixel_distance", "wrong-type", lambda a, b: (a - b).abs(), lambda a, b: (a - b).abs().mean((2, 3)))
wrong("pixel_distance", "returns-nothing", lambda a, b: None, lambda a, b: print(end=""))
wrong("pixel_distance", "in-place", lambda a, b: a.sub_(b).abs().mean(), lambda a, b: b.sub_(a).abs_().mean())
wrong("pixel_distance", "to-do", unwritten, unwritten_bare)
right(
    "pixel_distance",
    apart(),
    lambda a, b: F.l1_loss(a, b),
    lambda a, b: abs(b - a).mean().item(),
    lambda a, b: float((a - b).abs().sum()) / a.numel(),
    lambda a, b: ((a - b) ** 2).sqrt().mean(),
    lambda a, b: np.abs(a.numpy() - b.numpy()).mean(),
    lambda a, b: (torch.maximum(a, b) - torch.minimum(a, b)).mean(),
    lambda a, b: torch.where(a > b, a - b, b - a).mean(),
)


# --- blend


def mixture(first=lambda s: 1 - s, second=lambda s: s, after=lambda x: x):
    return lambda photo, painted, share: after(photo * first(share) + painted * second(share))


wrong("blend", "swapped", mixture(lambda s: s, lambda s: 1 - s), lambda a, b, s: torch.lerp(b, a, float(s)))
wrong("blend", "photo-whole", mixture(lambda s: 1), lambda a, b, s: a + s * b)
wrong("blend", "painting-whole", mixture(second=lambda s: 1), lambda a, b, s: (1 - s) * a + b)
wrong("blend", "share-forgotten", lambda a, b, s: a + b, lambda a, b, s: (a + b) / 2)
wrong("blend", "one-share", mixture(lambda s: s), lambda a, b, s: s * (a + b))
wrong("blend", "photo-forgotten", lambda a, b, s: s * b, mixture(lambda s: 0))
wrong("blend", "painting-forgotten", lambda a, b, s: (1 - s) * a, lambda a, b, s: a - s * a)
wrong("blend", "percent", mixture(lambda s: 1 - s / 100, lambda s: s / 100), lambda a, b, s: a + s / 100 * (b - a))
wrong("blend", "subtracted", lambda a, b, s: (1 - s) * a - s * b, lambda a, b, s: s * b - (1 - s) * a)
wrong("blend", "multiplied", lambda a, b, s: (1 - s) * a * s * b, lambda a, b, s: ((1 - s) * a) * (s * b))
wrong("blend", "lighter", lambda a, b, s: torch.maximum((1 - s) * a, s * b), lambda a, b, s: ((1 - s) * a).max(s * b))
wrong("blend", "halved", mixture(after=lambda x: x / 2), mixture(lambda s: (1 - s) / 2, lambda s: s / 2))
wrong("blend", "rounded", mixture(after=torch.round), lambda a, b, s: (a + s * (b - a)).round())
wrong("blend", "times-255", mixture(after=lambda x: 255 * x), lambda a, b, s: 255 * (a + s * (b - a)))
wrong("blend", "returns-nothing", lambda a, b, s: None, lambda a, b, s: print(end=""))
wrong("blend", "in-place", lambda a, b, s: a.mul_(1 - s).add_(s * b), lambda a, b, s: b.mul_(s).add_((1 - s) * a))
wrong("blend", "detached", lambda a, b, s: (a + s * (b - a)).detach(), lambda a, b, s: a.data + s * (b - a).data)
right(
    "blend",
    mixture(),
    lambda a, b, s: a + s * (b - a),
    lambda a, b, s: torch.lerp(a, b, float(s)),
    lambda a, b, s: b - (1 - s) * (b - a),
)


# --- weight_ladder


def rungs(count=lambda n: n, power=lambda i, n: i / (n - 1), value=lambda a, b, t: a * (b / a) ** t):
    return lambda a, b, n: torch.tensor([value(a, b, power(i, n)) for i in range(count(n))])


wrong("weight_ladder", "equal-differences", torch.linspace, rungs(value=lambda a, b, t: (1 - t) * a + t * b))
wrong(
    "weight_ladder",
    "too-soon",
    rungs(power=lambda i, n: i / n),
    lambda a, b, n: torch.tensor([a * (b / a) ** (1 / n) ** 1 * 0 + a * ((b / a) ** (1 / n)) ** i for i in range(n)]),
)
wrong(
    "weight_ladder",
    "first-left-out",
    rungs(power=lambda i, n: (i + 1) / n),
    lambda a, b, n: a * (b / a) ** (torch.arange(1, n + 1) / n),
)
wrong(
    "weight_ladder",
    "ends-left-out",
    rungs(power=lambda i, n: (i + 1) / (n + 1)),
    lambda a, b, n: a * (b / a) ** torch.linspace(0, 1, n + 2)[1:-1],
)
wrong(
    "weight_ladder",
    "one-missing",
    rungs(lambda n: n - 1),
    lambda a, b, n: lessons.weight_ladder(a, b, n)[:-1],
)
wrong(
    "weight_ladder",
    "one-too-many",
    rungs(lambda n: n + 1, lambda i, n: i / n),
    lambda a, b, n: a * (b / a) ** torch.linspace(0, 1, n + 1),
)
wrong("weight_ladder", "reversed", lambda a, b, n: rungs()(b, a, n), lambda a, b, n: rungs()(a, b, n).flip(0))
wrong(
    "weight_ladder",
    "no-root",
    rungs(power=lambda i, n: i),
    lambda a, b, n: a * (b / a) ** torch.arange(float(n)),
)
wrong(
    "weight_ladder",
    "starts-at-one",
    rungs(value=lambda a, b, t: (b / a) ** t),
    lambda a, b, n: (b / a) ** torch.linspace(0, 1, n),
)
wrong(
    "weight_ladder",
    "factor-of-last",
    rungs(value=lambda a, b, t: a * b**t),
    lambda a, b, n: a * b ** torch.linspace(0, 1, n),
)
wrong(
    "weight_ladder",
    "squares",
    rungs(value=lambda a, b, t: a + (b - a) * t * t),
    lambda a, b, n: a + (b - a) * torch.linspace(0, 1, n).square(),
)
wrong("weight_ladder", "rounded", lambda a, b, n: rungs()(a, b, n).round(), lambda a, b, n: rungs()(a, b, n).floor())
wrong(
    "weight_ladder",
    "exponents",
    lambda a, b, n: rungs()(a, b, n).log10(),
    lambda a, b, n: rungs()(a, b, n).log(),
)
wrong(
    "weight_ladder",
    "cumulative",
    lambda a, b, n: rungs()(a, b, n).cumsum(0),
    lambda a, b, n: torch.stack([rungs()(a, b, n)[: i + 1].sum() for i in range(n)]),
)
wrong("weight_ladder", "wrong-type", lambda a, b, n: rungs()(a, b, n).tolist(), lambda a, b, n: tuple(range(n)))
wrong("weight_ladder", "returns-nothing", lambda a, b, n: None, lambda a, b, n: print(end=""))
wrong("weight_ladder", "python-number", lambda a, b, n: (b / a) ** (1 / (n - 1)), lambda a, b, n: float(b))
wrong(
    "weight_ladder",
    "wrong-dtype",
    lambda a, b, n: rungs()(a, b, n).double(),
    lambda a, b, n: torch.from_numpy(np.geomspace(a, b, n)),
)
right(
    "weight_ladder",
    rungs(),
    lambda a, b, n: a * (b / a) ** torch.linspace(0, 1, n),
    lambda a, b, n: torch.tensor(np.geomspace(a, b, n), dtype=torch.float32),
    lambda a, b, n: torch.linspace(float(np.log(a)), float(np.log(b)), n).exp(),
)


# --- best_trades


def front(beats=None, keep=lambda beaten: ~beaten):
    """`best_trades` for all pairs at once; `beats` takes columns and rows (n, 1, 2) and (1, n, 2)."""
    beats = beats or (lambda p, q: (p <= q).all(-1) & (p < q).any(-1))
    return lambda points: keep(beats(points[:, None], points[None]).any(0))


def one_by_one(others):
    def best_trades(points):
        stays = []
        for i, q in enumerate(points):
            rows = others(points, i)
            stays.append(not ((rows <= q).all(1) & (rows < q).any(1)).any())
        return torch.tensor(stays)

    return best_trades


wrong("best_trades", "content-alone", front(lambda p, q: p[..., 0] < q[..., 0]), lambda x: x[:, 0] == x[:, 0].min())
wrong("best_trades", "style-alone", front(lambda p, q: p[..., 1] < q[..., 1]), lambda x: x[:, 1] == x[:, 1].min())
wrong("best_trades", "larger-is-better", front(lambda p, q: (p >= q).all(-1) & (p > q).any(-1)), lambda x: front()(-x))
wrong("best_trades", "beaten-kept", front(keep=lambda beaten: beaten), lambda x: ~front()(x))
wrong("best_trades", "earlier-rows-only", one_by_one(lambda x, i: x[:i]), one_by_one(lambda x, i: x[: i + 1]))
wrong("best_trades", "later-rows-only", one_by_one(lambda x, i: x[i:]), one_by_one(lambda x, i: x[i + 1 :]))
wrong(
    "best_trades",
    "neighbours-only",
    one_by_one(lambda x, i: x[max(i - 1, 0) : i + 2]),
    one_by_one(lambda x, i: torch.stack([x[max(i - 1, 0)], x[min(i + 1, len(x) - 1)]])),
)
wrong("best_trades", "smallest-sum", lambda x: x.sum(1) <= x.sum(1).min(), lambda x: x.mean(1) == x.mean(1).min())
wrong("best_trades", "nothing-kept", front(lambda p, q: (p <= q).all(-1)), front(lambda p, q: (p < q).any(-1)))
wrong("best_trades", "all-kept", lambda x: x[:, 0] > 0, front(lambda p, q: (p < q).all(-1) & (p > q).any(-1)))
wrong("best_trades", "wrong-type", lambda x: front()(x).tolist(), lambda x: list(front()(x)))
wrong("best_trades", "returns-nothing", lambda x: None, lambda x: print(end=""))
wrong("best_trades", "rows-instead-of-answers", lambda x: x[front()(x)], lambda x: torch.stack(list(x[front()(x)])))
wrong("best_trades", "answers-in-columns", lambda x: front()(x)[:, None], lambda x: (x[:, None] <= x).all(-1))
wrong("best_trades", "wrong-dtype", lambda x: front()(x).float(), lambda x: front()(x).int())
wrong(
    "best_trades",
    "special-case",
    front(lambda p, q: (p < q).all(-1)),
    lambda x: front()(x) & torch.tensor([not (x[:i] == q).all(1).any() for i, q in enumerate(x)]),
)
right(
    "best_trades",
    front(),
    one_by_one(lambda x, i: x),
    one_by_one(lambda x, i: x.flip(0)),
    one_by_one(lambda x, i: torch.cat([x[:i], x[i + 1 :]])),
)
