"""A captured evaluation is the plain one; here the recordings are stubs that do their work again when replayed."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
import torch
from conftest import noise, picture

from nst_helpers import StyleSession, build_model, stylize
from nst_helpers.accel import graphs
from nst_helpers.accel.accelerate import accelerate
from nst_helpers.accel.graphs import CapturedModel
from nst_helpers.budget import memory
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.engine import objective

TOY = Architecture("toy", ((8,), (12,)))
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}


@pytest.fixture
def recordings(monkeypatch):
    """What was recorded, by the order of the passes; a replay is noted too."""
    told: list[str] = []

    def capture(work, pool):
        told.append(f"record {work.__name__}")
        passes, losses_of = work.__self__, work.__self__.losses_of
        work()

        def replay():
            told.append(f"replay {work.__name__}")
            passes.losses_of = losses_of
            work()

        return replay

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "warm_up", lambda work: work())
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    return told


def models(**options):
    pictures = noise(1, 3, 20, 24), noise(1, 3, 16, 16, seed=1)
    return [accelerate(build_model(Encoder(TOY, seed=3), *pictures, **LAYERS, **options)) for _ in range(2)]


def evaluate(model, image, **weights):
    image = image.clone().requires_grad_()
    model(image)
    loss = model.total_loss(**weights)
    loss.backward()
    return loss.detach(), image.grad


@pytest.mark.parametrize("convention", ["relative", "gatys", "pytorch"])
def test_losses_and_gradients_are_the_plain_models_whatever_the_image_and_the_weights(convention, recordings):
    plain, captured = models(convention=convention)
    captured = CapturedModel(captured)
    for seed, weights in enumerate([{}, {"style_weight": 3.0}, {"tv_weight": 0.0}, {"content_weight": 0.0}]):
        image = noise(1, 3, 20, 24, seed=seed)
        for one, two in zip(evaluate(plain, image, **weights), evaluate(captured, image, **weights), strict=True):
            torch.testing.assert_close(two, one)
        assert {n: layer.loss.item() for n, layer in captured.style_losses.items()} == pytest.approx(
            {n: layer.loss.item() for n, layer in plain.style_losses.items()}
        )
    captured.style_losses["relu1_1"].weight = plain.style_losses["relu1_1"].weight = 0.2
    torch.testing.assert_close(evaluate(captured, image)[1], evaluate(plain, image)[1])
    assert recordings[:2] == ["record _forward", "record _backward"]
    assert recordings[2:] == ["replay _forward", "replay _backward"] * 5


def test_what_was_read_before_stays_as_it_was(recordings):
    captured = CapturedModel(models()[0])
    first, gradient = evaluate(captured, noise(1, 3, 20, 24))
    kept = first.clone(), gradient.clone()
    evaluate(captured, noise(1, 3, 20, 24, seed=5))
    assert torch.equal(first, kept[0])
    assert torch.equal(gradient, kept[1])


def test_another_size_is_recorded_anew(recordings):
    texture = {"content_layers": [], "style_layers": ["relu1_1"]}
    plain = build_model(Encoder(TOY, seed=3), None, noise(1, 3, 16, 16), **texture)
    captured = CapturedModel(plain)
    for size in ((16, 16), (24, 20), (24, 20)):
        evaluate(captured, noise(1, 3, *size))
    assert recordings.count("record _forward") == 2


def test_routines_are_the_deterministic_ones_while_recording_alone(recordings, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: seen.append(torch.backends.cudnn.deterministic))
    evaluate(CapturedModel(models()[0]), noise(1, 3, 20, 24))
    assert seen == [True]
    assert torch.backends.cudnn.deterministic is False


def test_a_device_that_will_not_record_is_told_each_operation(recordings, monkeypatch):
    def refuse(work, pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, captured = models()
    captured = CapturedModel(captured)
    monkeypatch.setattr(graphs, "capture", refuse)
    image = noise(1, 3, 20, 24)
    torch.testing.assert_close(evaluate(captured, image)[1], evaluate(plain, image)[1])
    assert "not permitted" in captured.refusal


def test_memory_that_a_recording_alone_has_not_is_no_reason_to_stop(recordings, monkeypatch):
    def full(work, pool):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    plain, captured = models()
    captured = CapturedModel(captured)
    monkeypatch.setattr(graphs, "capture", full)
    image = noise(1, 3, 20, 24)
    torch.testing.assert_close(evaluate(captured, image)[1], evaluate(plain, image)[1])


def test_memory_that_the_evaluation_itself_has_not_is_told(recordings, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    captured = CapturedModel(models()[0])
    monkeypatch.setattr(captured.model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(captured, noise(1, 3, 20, 24))


def test_a_recording_begins_from_a_leaf_that_the_warm_up_has_not_touched(recordings, monkeypatch):
    """A leaf belongs to the stream that it was used on first, and PyTorch warns of another's gradient."""
    leaves = []
    capture = graphs.capture

    def noted(work, pool):
        leaves.append(work.__self__.image)
        return capture(work, pool)

    monkeypatch.setattr(graphs, "capture", noted)
    monkeypatch.setattr(graphs, "warm_up", lambda work: (leaves.append(work.__self__.image), work()))
    evaluate(CapturedModel(models()[0]), noise(1, 3, 20, 24))
    warm, first, second = leaves
    assert first is second is not warm
    assert torch.equal(first, warm)


def test_nothing_of_a_captured_model_stays_when_it_is_let_go_of(recordings, monkeypatch):
    """Each run's recordings would stay on the GPU: the loss leads to them, where the collector can't look."""
    monkeypatch.setattr(graphs, "capture", lambda work, pool: work() or (lambda: None))
    captured = CapturedModel(models()[0])
    image = noise(1, 3, 20, 24).requires_grad_()
    captured(image)
    captured.total_loss().backward()
    kept = [weakref.ref(part) for part in (captured, captured.model, captured.passes, *captured.layers)]
    del captured, image
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)


@contextlib.contextmanager
def always_captured(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(objective, "accelerate", lambda model: CapturedModel(accelerate(model)))
        yield


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_whole_run_is_the_same(optimizer, recordings, monkeypatch):
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 6, **LAYERS}
    pictures = picture(24, 28), picture(20, 20, seed=1)
    plain = stylize(*pictures, optimizer=optimizer, scales=[12, 24], **options)
    with always_captured(monkeypatch):
        captured = stylize(*pictures, optimizer=optimizer, scales=[12, 24], **options)
    assert recordings.count("record _forward") == 2
    assert [e.loss for e in captured.history] == pytest.approx([e.loss for e in plain.history], rel=1e-5)
    torch.testing.assert_close(captured.image, plain.image, atol=1e-4, rtol=0)


def test_a_live_session_goes_on_through_changes(recordings, monkeypatch):
    def walk():
        session = StyleSession(picture(24, 28), picture(20, 20, seed=1), encoder=Encoder(TOY, seed=1), device="cpu",
                               precision="float32", size=24, **LAYERS)  # fmt: skip
        session.step(3)
        session.set(style_weight=7.0, layer_weights={"relu1_1": 0.3})
        session.step(2)
        session.set(size=16)
        session.step(2)
        return session

    plain = walk()
    with always_captured(monkeypatch):
        captured = walk()
    assert [e.loss for e in captured.history] == pytest.approx([e.loss for e in plain.history], rel=1e-5)
    assert recordings.count("record _forward") == 2


def test_nothing_is_recorded_where_memory_is_short(recordings, monkeypatch):
    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 2, **LAYERS}
    seen = []
    plain = objective.build_objective

    def noted(encoder, content, styles, settings, size=None):
        seen.append(settings.compiled)
        return plain(encoder, content, styles, settings, size)

    monkeypatch.setattr("nst_helpers.optimize.build_objective", noted)
    for room in (True, False):
        monkeypatch.setattr("nst_helpers.optimize.has_room_to_record", lambda need, device, room=room: room)
        stylize(picture(24, 28), picture(20, 20, seed=1), **options)
    assert seen == [True, False]


@pytest.mark.parametrize(("free", "room"), [(149, False), (150, True)])
def test_a_recording_needs_half_as_much_memory_again_on_a_gpu(free, room, monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda device: free)
    assert memory.has_room_to_record(100, torch.device("cuda")) is room


def test_only_an_untiled_evaluation_on_a_gpu_is_captured():
    encoder, image = Encoder(TOY, seed=1), picture(40, 40)
    for settings in ({}, {"compiled": False}, {"tile": 32}):
        chosen = objective.Settings(device="cpu", **LAYERS, **settings)
        assert not isinstance(objective.build_objective(encoder, image, [image], chosen), CapturedModel)
