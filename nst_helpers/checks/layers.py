"""The examination of loss layers: they keep a loss, give their input back and hold their target still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .mistakes.losses import gram, loss_mistakes, raw_gram, relative, relative_each
from .verdicts import Examination, Mistake, MistakeFound, close, generator, kind_of

__all__ = ["LAYER_SYMPTOMS", "examine_content_layer", "examine_style_layer"]

LAYER_SYMPTOMS = (
    ("missing the required .forward. function", "no-forward", "has no forward method: define forward(self, features)."),
    (
        r"before Module.__init__\(\) call|has no attribute '_(modules|buffers|parameters|\w+_hooks)'",
        "super-forgotten",
        "doesn't set up its Module: call super().__init__() first in __init__.",
    ),
    (
        "must match the size of tensor b|is different to the input size|must match the existing size|like with like",
        "gram-forgotten",
        "compares features of different sizes: compare their Gram matrices, which have one size.",
    ),
    (
        "backward through the graph a second time",
        "target-not-detached",
        "keeps the target's graph: store target.detach(), since the target is a constant.",
    ),
)
_RETURN_FEATURES = "so the next layer gets nothing to work on: end forward with `return features`."


def examine_content_layer(examination: Examination) -> None:
    """A class whose layers keep the relative distance to a target and give their input back."""
    g = generator()
    pairs = [tuple(torch.randn(s, generator=g) + 0.4 for _ in "xt") for s in ((2, 3, 4, 5), (2, 2, 5, 3))]
    _examine_layer(examination, pairs, (relative_each, relative), loss_mistakes("features", "target"))


def examine_style_layer(examination: Examination) -> None:
    """A class whose layers keep the relative distance of Gram matrices and give their input back."""
    g = generator()
    shapes = (((2, 3, 4, 5), (2, 3, 7, 2)), ((2, 2, 5, 3), (2, 2, 3, 8)))
    pairs = [tuple(torch.randn(s, generator=g) + 0.4 for s in pair) for pair in shapes]

    def through(gram_of: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor]) -> Callable:
        return lambda x, t: loss(gram_of(x), gram_of(t))

    def folded(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1).flatten(1)
        return flat @ flat.T / flat.shape[1]

    def relabelled(x: Tensor) -> Tensor:
        columns = x.reshape(x.shape[0], -1, x.shape[1])
        return columns.mT @ columns / columns.shape[1]

    references = tuple(through(gram, loss) for loss in (relative_each, relative))
    mistakes = (
        Mistake(
            "missing-divisor",
            "compares Gram matrices that were not divided by H * W, so pictures of different sizes don't compare.",
            *(through(raw_gram, loss) for loss in (relative_each, relative)),
        ),
        Mistake(
            "batch-folded",
            "folds the batch into the channels in its Gram matrix: keep B as an axis of its own.",
            through(folded, relative),
        ),
        Mistake(
            "reshape-not-transpose",
            "mixes channels and positions in its Gram matrix: swap the axes with transpose(1, 2).",
            *(through(relabelled, loss) for loss in (relative_each, relative)),
        ),
        *(
            Mistake(s.code, s.sentence, *(through(gram, formula) for formula in s.formulas))
            for s in loss_mistakes("gram", "target")
        ),
    )
    _examine_layer(examination, pairs, references, mistakes)
    _check_target_is_kept(examination, *pairs[0])


def _examine_layer(
    examination: Examination, pairs: list[tuple], references: tuple, mistakes: tuple[Mistake, ...]
) -> None:
    examination.require(
        not isinstance(examination.function, nn.Module),
        "not-a-class",
        "is a layer already: hand over the class itself, without calling it.",
    )
    losses = []
    for x, target in pairs:
        layer = examination.call_on_copies((target,), ("target",))
        examination.require(
            isinstance(layer, nn.Module), "not-a-module", "is not an nn.Module: write `class ...(nn.Module)`."
        )
        losses.append(_forward(examination, layer, x))
    right = next((o for o in references if _fits(o, pairs, losses)), None)
    if right is None:
        raise _diagnose_loss(pairs, losses, mistakes)
    examination.checks += len(pairs)

    x, target = pairs[0]
    layer = examination.call(target.clone())
    first, second = _forward(examination, layer, x * 2), _forward(examination, layer, x)
    examination.require(
        not close(second, first + losses[0]),
        "loss-adds-up",
        "adds each call's loss to the last one: set self.loss anew.",
    )
    examination.require(
        close(second, losses[0]), "loss-stale", "keeps an earlier call's loss: compute self.loss in forward."
    )

    moving = x.clone().requires_grad_()
    out = examination.call(moving, function=layer)
    examination.require(
        out.requires_grad, "output-detached", "gives back features without their gradient: return the input itself."
    )
    detached = "has a loss that is cut off from the features: compute it without .detach(), .item(), .data or no_grad."
    examination.require(layer.loss.requires_grad, "detached", detached)
    gradient = torch.autograd.grad(layer.loss, moving, allow_unused=True)[0]
    exact = x.double().requires_grad_()
    want = torch.autograd.grad(right(exact, target.double()), exact)[0]
    examination.require(gradient is not None and close(gradient, want, tolerance=1e-3), "detached", detached)

    constant = "keeps the target's gradient: store target.detach(), since the target is a constant."
    source = target.clone().requires_grad_()
    layer = examination.call(source * 1.0)
    learned = [p for p in layer.parameters() if p.requires_grad]
    examination.require(
        not learned, "target-is-parameter", "makes the target a parameter that could be trained: store it detached."
    )
    examination.call(x.clone(), function=layer)
    reached = layer.loss.requires_grad and torch.autograd.grad(layer.loss, source, allow_unused=True)[0] is not None
    examination.require(not reached, "target-not-detached", constant)


def _forward(examination: Examination, layer: nn.Module, x: Tensor) -> Tensor:
    """Send features through a layer, check that they come out as they were, and return the layer's loss."""
    given = x.clone()
    out = examination.call(given, names=("features",), function=layer)
    loss: Any = getattr(layer, "loss", None)
    examination.require(torch.equal(given, x), "in-place", "changes the features in place: leave what came as it was.")
    examination.require(out is not None, "returns-nothing", f"returns nothing, {_RETURN_FEATURES}")
    examination.require(isinstance(out, Tensor), "wrong-type", f"returns {kind_of(out)}, {_RETURN_FEATURES}")
    examination.require(out is not loss and out.numel() > 1, "returns-loss", f"returns its loss, {_RETURN_FEATURES}")
    same = out.shape == x.shape and torch.equal(out, x)
    examination.require(same, "changes-features", f"returns other features than came, {_RETURN_FEATURES}")
    examination.require(loss is not None, "no-loss", "keeps no loss after a call: set self.loss in forward.")
    examination.require(
        isinstance(loss, Tensor),
        "python-number",
        "keeps its loss as a Python number: keep the tensor, without .item().",
    )
    examination.require(
        loss.numel() == 1, "not-a-scalar", f"keeps a loss of shape {tuple(loss.shape)}: it has to be one number."
    )
    return loss.detach().reshape(())


def _fits(formula: Callable, pairs: list[tuple], losses: list[Tensor]) -> bool:
    return all(close(loss, formula(x.double(), t.double())) for (x, t), loss in zip(pairs, losses, strict=True))


def _diagnose_loss(pairs: list[tuple], losses: list[Tensor], mistakes: tuple[Mistake, ...]) -> MistakeFound:
    for mistake in mistakes:
        if mistake.fits(pairs, losses):
            return MistakeFound(mistake.code, f"has a wrong loss: it {mistake.sentence}")
    if not any(losses):
        return MistakeFound(
            "loss-zero", "has a loss of 0 for any features: compare them with the target, not with themselves."
        )
    return MistakeFound(
        "wrong-values", "keeps another loss than the sum of squared differences over the sum of squared targets."
    )


class _Watch(TorchFunctionMode):
    """Notes whether any operation is given a tensor of so many entries."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.seen = count, False

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        flat = [b for a in args for b in (a if isinstance(a, (list, tuple)) else (a,))]
        self.seen |= any(isinstance(a, Tensor) and a.numel() == self.count for a in flat)
        return func(*args, **(kwargs or {}))


def _check_target_is_kept(examination: Examination, x: Tensor, target: Tensor) -> None:
    """A style layer that still works on the style's features in forward computes its target at every call."""
    layer = examination.call(target.clone())
    with _Watch(target.numel()) as watch:
        examination.call(x.clone(), function=layer)
    examination.require(
        not watch.seen,
        "target-every-call",
        "computes the target's Gram matrix at every call: compute it once, in __init__.",
    )
