"""The examination of loss layers: they keep a loss, give their input back and hold their target still."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .diagnosis import diagnose
from .known import ExerciseSpec
from .mistakes.layers import CONTENT_LAYER, STYLE_LAYER
from .mistakes.losses import noise
from .values import close, generator, kind_of
from .verdicts import Examination, MistakeFound, Symptom

__all__ = ["CONTENT_LAYER_SYMPTOMS", "STYLE_LAYER_SYMPTOMS", "examine_content_layer", "examine_style_layer"]

_SYMPTOMS: tuple[Symptom, ...] = (
    ("missing the required .forward. function", "no-forward", "has no forward method: define forward(self, features)."),
    (
        r"before Module.__init__\(\) call|has no attribute '_(modules|buffers|parameters|\w+_hooks)'",
        "super-forgotten",
        "doesn't set up its Module: call super().__init__() first in __init__.",
    ),
    (
        "backward through the graph a second time",
        "target-not-detached",
        "keeps the target's graph: store target.detach(), since the target is a constant.",
    ),
)
_SIZES_DIFFER = (
    "must match the size of tensor b|is different to the input size|must match the existing size|like with like"
)
CONTENT_LAYER_SYMPTOMS: tuple[Symptom, ...] = (
    *_SYMPTOMS,
    (
        _SIZES_DIFFER,
        "shapes-differ",
        "compares things of different shapes: compare the features themselves with the target, and no Gram matrices.",
    ),
)
STYLE_LAYER_SYMPTOMS: tuple[Symptom, ...] = (
    *_SYMPTOMS,
    (
        _SIZES_DIFFER,
        "gram-forgotten",
        "compares features of different sizes: compare their Gram matrices, which have one size.",
    ),
)
_RETURN_FEATURES = "so the next layer gets nothing to work on: end forward with `return features`."
_CUT = "has a loss that is cut off from the features: compute it without .detach(), .item(), .data or no_grad."
_TARGET_GRAPH = "keeps the target's gradient: store target.detach(), since the target is a constant."
_Pair = tuple[Tensor, Tensor]


def examine_content_layer(examination: Examination) -> None:
    """A class whose layers keep the relative distance to a target and give their input back."""
    g = generator(4)
    batches = [(noise(g, 3, 2, 4, 5), noise(g, 1, 2, 4, 5)), (noise(g, 2, 3, 3, 3), noise(g, 2, 3, 3, 3))]
    about = ["a batch of 3 with one target of shape (1, C, h, w)", "a map of 3 x 3 positions"]
    _examine_layer(examination, CONTENT_LAYER, list(zip(about, batches, strict=True)))


def examine_style_layer(examination: Examination) -> None:
    """A class whose layers keep the relative distance of Gram matrices and give their input back."""
    g = generator(4)
    special = [
        ("a batch of 3 images with one style picture", (noise(g, 3, 2, 4, 5), noise(g, 1, 2, 6, 3))),
        ("a style picture of the image's own size", (noise(g, 1, 3, 4, 5), noise(g, 1, 3, 4, 5))),
    ]
    _examine_layer(examination, STYLE_LAYER, special, target_once=True)


def _examine_layer(
    examination: Examination, spec: ExerciseSpec, special: list[tuple[str, _Pair]], *, target_once: bool = False
) -> None:
    examination.require(
        not isinstance(examination.function, nn.Module),
        "not-a-class",
        "is a layer already: hand over the class itself, without calling it.",
    )
    pairs = spec.cases(generator())
    losses = []
    for x, target in pairs:
        layer = _build_layer(examination, target, spec)
        losses.append(_forward(examination, layer, x))
    fitting = _fitting(spec.references, pairs, losses)
    if not fitting:
        raise _explain_loss(examination, spec, pairs, losses)
    examination.checks += len(pairs)
    for about, (x, target) in special:
        loss = _forward(examination, _build_layer(examination, target, spec), x, about=about)
        fitting = _fitting(fitting, [(x, target)], [loss])
        sentence = f"keeps another loss for {about}: treat every image of a batch alike, and take the mean."
        examination.require(bool(fitting), "special-case", sentence)
    x, target = pairs[0]
    _check_calls_that_follow(examination, x, target, losses[0])
    _check_modes(examination, spec, x, target, losses[0])
    _check_two_layers(examination, spec, pairs[0], losses[0])
    _check_gradients(examination, spec, x, target, fitting[0])
    _check_target_is_constant(examination, x, target)
    if target_once:
        _check_target_is_kept(examination, x, target)


def _build_layer(examination: Examination, target: Tensor, spec: ExerciseSpec) -> Any:
    """A new layer, which is a Module."""
    layer = examination.call_on_copies((target,), spec.arguments[1:])
    is_module = isinstance(layer, nn.Module)
    examination.require(is_module, "not-a-module", "is not an nn.Module: write `class ...(nn.Module)`.")
    return layer


def _forward(examination: Examination, layer: nn.Module, x: Tensor, *, about: str = "") -> Tensor:
    """Send features through a layer, check that they come out as they were, and return a copy of the layer's loss."""
    require = examination.require
    given = x.clone()
    out = examination.call(given, names=("features",), function=layer, about=about)
    loss: Any = getattr(layer, "loss", None)
    require(torch.equal(given, x), "in-place", "changes the features in place: leave what came as it was.")
    require(out is not None, "returns-nothing", f"returns nothing, {_RETURN_FEATURES}")
    require(isinstance(out, Tensor), "wrong-type", f"returns {kind_of(out)}, {_RETURN_FEATURES}")
    require(out is not loss and out.numel() > 1, "returns-loss", f"returns its loss, {_RETURN_FEATURES}")
    same = out.shape == x.shape and torch.equal(out, x)
    require(same, "changes-features", f"returns other features than came, {_RETURN_FEATURES}")
    require(loss is not None, "no-loss", "keeps no loss after a call: set self.loss in forward.")
    sentence = "keeps its loss as a Python number: keep the tensor, without .item()."
    require(isinstance(loss, Tensor), "python-number", sentence)
    sentence = f"keeps a loss of shape {tuple(loss.shape)}: it has to be one number."
    require(loss.numel() == 1, "not-a-scalar", sentence)
    return loss.detach().clone().reshape(())


def _fitting(references: tuple[Callable, ...], pairs: list[_Pair], losses: list[Tensor]) -> tuple[Callable, ...]:
    """The references that give all of these losses."""

    def fits(reference: Callable) -> bool:
        exact = [reference(x.double(), t.double()) for x, t in pairs]
        return all(close(loss, value, floor=1e-6) for loss, value in zip(losses, exact, strict=True))

    return tuple(reference for reference in references if fits(reference))


def _explain_loss(
    examination: Examination, spec: ExerciseSpec, pairs: list[_Pair], losses: list[Tensor]
) -> MistakeFound:
    x, target = pairs[0]
    again = _forward(examination, _build_layer(examination, target, spec), x)
    if not close(again, losses[0]):
        sentence = "has another loss at every call with the same features: leave dropout and other randomness out."
        return MistakeFound("not-repeatable", sentence)
    if not any(losses):
        sentence = "has a loss of 0 for any features: compare them with the target, not with themselves."
        return MistakeFound("loss-zero", sentence)

    def loss_of(x: Tensor, target: Tensor) -> Tensor:
        return _forward(examination, _build_layer(examination, target, spec), x)

    found = diagnose(dataclasses.replace(spec, example=()), pairs, losses, loss_of)
    if found.code == "wrong-values":
        found.sentence = "keeps another loss than the sum of squared differences over the sum of squared targets."
        return found
    return MistakeFound(found.code, f"has a wrong loss: it {found.sentence}")


def _check_calls_that_follow(examination: Examination, x: Tensor, target: Tensor, loss: Tensor) -> None:
    require = examination.require
    given = target.clone()
    layer = examination.call(given)
    first = _forward(examination, layer, x * 2)
    kept: Any = layer.loss
    second = _forward(examination, layer, x)
    adds_up = close(second, first + loss)
    require(not adds_up, "loss-adds-up", "adds each call's loss to the last one: set self.loss anew.")
    stale = close(second, first)
    require(not stale, "loss-stale", "keeps an earlier call's loss: compute self.loss in forward.")
    moves = "has another loss when the same features come again: let the target stay what it was in __init__."
    require(close(second, loss), "target-moves", moves)
    shared = "overwrites the loss of an earlier call: set self.loss to a new tensor at each."
    require(close(kept.detach().reshape(()), first), "shared-memory", shared)
    require(torch.equal(given, target), "target-changed", "changes the target in place: leave it as it came.")


def _check_modes(examination: Examination, spec: ExerciseSpec, x: Tensor, target: Tensor, loss: Tensor) -> None:
    layer = _build_layer(examination, target, spec).eval()
    trained = "in eval mode, in which the network runs here: compute the loss whatever self.training says."
    examination.call(x.clone(), names=("features",), function=layer)
    kept = getattr(layer, "loss", None)
    examination.require(kept is not None, "eval-mode", f"keeps no loss {trained}")
    again = _forward(examination, layer, x)
    examination.require(close(again, loss), "eval-mode", f"has another loss {trained}")


def _check_two_layers(examination: Examination, spec: ExerciseSpec, pair: _Pair, loss: Tensor) -> None:
    x, target = pair
    first = _build_layer(examination, target, spec)
    second = _build_layer(examination, target * 0.5 + 1, spec)
    sentence = "is changed by a second layer: keep the target in self, not in the class or in a global name."
    examination.require(close(_forward(examination, first, x), loss), "shared-between-layers", sentence)
    kept = first.loss.detach().clone().reshape(())
    _forward(examination, second, x * 2)
    examination.require(close(first.loss.reshape(()), kept), "shared-between-layers", sentence)


def _check_gradients(
    examination: Examination, spec: ExerciseSpec, x: Tensor, target: Tensor, reference: Callable
) -> None:
    require = examination.require
    for features in (x, target):
        layer = _build_layer(examination, target, spec)
        moving = features.clone().requires_grad_()
        out = examination.call(moving, function=layer)
        sentence = "calls backward() in forward: keep the loss, and leave backward() to the one who trains."
        require(moving.grad is None, "backward-inside", sentence)
        sentence = "gives back features without their gradient: return the input itself."
        require(out.requires_grad, "output-detached", sentence)
        require(layer.loss.requires_grad, "detached", _CUT)
        gradient = torch.autograd.grad(layer.loss, moving, allow_unused=True)[0]
        require(gradient is not None, "detached", _CUT)
        sentence = "has a gradient that is not a number where the features equal the target: leave square roots out."
        require(bool(gradient.isfinite().all()), "gradient-not-finite", sentence)
        exact = features.double().requires_grad_()
        wanted = torch.autograd.grad(reference(exact, target.double()), exact)[0]
        require(close(gradient, wanted, tolerance=1e-3, floor=1e-6), "detached", _CUT)


def _check_target_is_constant(examination: Examination, x: Tensor, target: Tensor) -> None:
    for copied in (lambda t: t * 1.0, lambda t: t):
        source = target.clone().requires_grad_()
        layer = examination.call(copied(source))
        learned = [p for p in layer.parameters() if p.requires_grad]
        sentence = "makes the target a parameter that could be trained: store it detached."
        examination.require(not learned, "target-is-parameter", sentence)
        examination.call(x.clone(), function=layer)
        reached = layer.loss.requires_grad and torch.autograd.grad(layer.loss, source, allow_unused=True)[0] is not None
        examination.require(not reached, "target-not-detached", _TARGET_GRAPH)


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
    """A style layer that still works on the style's features in forward computes its target too late."""
    layer = examination.call(target.clone())
    with _Watch(target.numel()) as watch:
        examination.call(x.clone(), function=layer)
    sentence = "computes the target's Gram matrix in forward: compute it once, in __init__."
    examination.require(not watch.seen, "target-every-call", sentence)
