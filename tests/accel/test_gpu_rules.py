"""What the package does on a GPU and nowhere else, as far as a CPU can tell: with stubs in the GPU's place."""

from __future__ import annotations

import pytest
import torch
from conftest import noise, picture

import nst_helpers as nst
from nst_helpers import build_model, prepare, stylize
from nst_helpers.accel.devices import choose_precision, to_host
from nst_helpers.budget.estimate import TooLargeError
from nst_helpers.encoders import Architecture, Encoder
from nst_helpers.engine.optimisation import Optimisation
from nst_helpers.engine.scaling import GradientScaler

TOY = Architecture("toy", ((8,), (12,)))
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1"]}


class Distant:
    """Numbers on some device; notes how they are asked for."""

    def __init__(self, kind):
        self.is_cuda, self.asked = kind == "cuda", []

    def to(self, device, non_blocking=False):
        self.asked.append((device, non_blocking))
        return torch.tensor([1.0])


class Event:
    recorded = 0

    def record(self):
        self.recorded += 1


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", "cpu"])
def test_numbers_come_without_waiting_only_where_there_is_an_event_to_wait_for(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    distant = Distant(kind)
    _, arrived = to_host(distant)
    assert distant.asked == [("cpu", kind == "cuda")]
    assert (arrived.recorded if kind == "cuda" else arrived) == (1 if kind == "cuda" else None)


def test_a_loss_is_read_after_its_event_and_not_before(monkeypatch):
    """The copy's memory is filled when the event is waited for, as a GPU might do."""

    class Late(Event):
        def synchronize(self):
            self.numbers.copy_(self.true)

    def late(numbers):
        event = Late()
        event.true, event.numbers = numbers.clone(), torch.full_like(numbers, torch.nan)
        return event.numbers, event

    model = build_model(Encoder(TOY, seed=3), noise(1, 3, 20, 24), noise(1, 3, 16, 16, seed=1), **LAYERS)
    told = []
    for patched in (False, True):
        if patched:
            monkeypatch.setattr("nst_helpers.engine.evaluation.to_host", late)
        run = Optimisation(model, noise(1, 3, 20, 24, seed=2), total=6, ahead=patched)
        told.append([run.step().loss for _ in range(6)])
    assert told[0] == told[1]


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_a_scaled_gradient_is_the_gradient_whatever_its_size(size):
    """Through float16, where a gradient of 1e-9 would be 0 and one of 1e9 infinite."""
    image, scaler, weights = noise(2, 40).requires_grad_(), GradientScaler(), noise(2, 40, seed=1)
    for _ in range(3):
        image.grad = None
        scaler.backward((image.half() * weights.half()).float().sum() * size, image)
        torch.testing.assert_close(image.grad / size, weights, rtol=2e-3, atol=1e-4)


def test_a_scaler_survives_a_loss_of_nothing_and_a_gradient_that_is_none():
    image, scaler = noise(4).requires_grad_(), GradientScaler()
    for factor in (0.0, float("nan"), 0.0, 1.0):
        image.grad = None
        scaler.backward((image * factor).sum(), image)
    assert image.grad.tolist() == [1.0] * 4


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("convention", ["relative", "gatys", "pytorch"])
def test_float16_ends_where_float32_does(optimizer, convention):
    """In every convention, whose losses differ by many powers of ten."""
    content, style, losses = picture(40, 48), picture(40, 48, seed=1), {}
    judge = build_model(Encoder(TOY, seed=1), content, style, convention=convention, **LAYERS)
    for precision in ("float32", "float16"):
        options = {"optimizer": optimizer, "steps": 25, "device": "cpu", "convention": convention, **LAYERS}
        made = stylize(content, style, encoder=Encoder(TOY, seed=1), precision=precision, **options)
        assert not any(e.event for e in made.history)
        judge(made.image)
        losses[precision] = judge.total_loss().item()
    assert losses["float16"] == pytest.approx(losses["float32"], rel=0.02)


def test_float16_gram_of_large_activations_is_finite_and_right():
    features = (noise(1, 8, 160, 160) * 3000).half()
    exact = nst.gram_matrix(features.double())
    model = nst.StyleLoss(exact.float())
    model(features)
    assert model.loss.item() < 1e-6


def test_an_encoder_prepared_for_this_cpu_takes_bfloat16_elsewhere(monkeypatch):
    """Here the first layer splits the image; elsewhere the image is rounded before it."""
    here = prepare(Encoder(Architecture("toy", ((16,), (16,))), seed=1), device="cpu", precision="bfloat16")
    monkeypatch.setattr("nst_helpers.accel.devices.choose_device", torch.device)
    there = prepare(here, device="meta", precision="bfloat16")
    assert here.normalize.output_dtype is None
    assert there.normalize.output_dtype == torch.bfloat16


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_one_sentence_that_names_a_size(error, monkeypatch):
    def full(*_, **__):
        raise error

    options = {"encoder": Encoder(TOY, seed=1), "device": "cpu", "precision": "float32", "steps": 3, **LAYERS}
    with monkeypatch.context() as patch:
        patch.setattr(nst.StyleModel, "forward", full)
        with pytest.raises(TooLargeError, match=r"40 x 50 pixels ran out of .* try is 32 px\.$") as told:
            stylize(picture(50, 40), picture(40, 40), **options)
    # Nothing of the run is kept alive by what was raised.
    assert told.value.__context__ is None
    assert len(stylize(picture(50, 40), picture(40, 40), **options).history) == 3


def test_other_errors_stay_what_they_are(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(nst.StyleModel, "forward", broken)
    with pytest.raises(RuntimeError, match="no kernel image"):
        stylize(picture(), picture(), encoder=Encoder(TOY, seed=1), device="cpu", steps=1, **LAYERS)


@pytest.mark.parametrize(
    ("name", "capability", "format"),
    [
        ("P100", (6, 0), torch.float32),
        ("V100", (7, 0), torch.float16),
        ("T4, which has no units for bfloat16", (7, 5), torch.float16),
        ("A100", (8, 0), torch.float16),
        ("H100", (9, 0), torch.float16),
    ],
)
def test_a_gpu_computes_in_the_format_that_it_has_matrix_units_for(name, capability, format, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    gpu = torch.device("cuda")
    assert choose_precision(Encoder(TOY), gpu) == format
    assert choose_precision(Encoder(TOY), gpu, "bfloat16") == torch.bfloat16
    assert choose_precision(Encoder(TOY), torch.device("mps")) == torch.float32


def test_an_estimate_times_an_evaluation_and_its_step_together_where_they_overlap(monkeypatch):
    options = {"encoder": Encoder(TOY, seed=4), "device": "cpu", "precision": "float32", "steps": 10, **LAYERS}
    with monkeypatch.context() as patch:
        patch.setattr("nst_helpers.budget.calibration.is_overlapping", lambda device: True)
        patch.setattr("nst_helpers.budget.calibration.SMALL_ON_GPU", 32)
        patch.setattr("nst_helpers.budget.calibration.LARGE_ON_GPU", 96)
        made = []
        step = Optimisation.step
        patch.setattr(Optimisation, "step", lambda self: made.append(tuple(self.image.shape[-2:])) or step(self))
        told = nst.estimate((96, 96), (96, 96), **options)
    assert set(made) == {(32, 32), (96, 96)}
    assert told.seconds > 0


def test_a_live_session_that_runs_out_of_memory_says_so_and_goes_on(monkeypatch):
    session = nst.StyleSession(picture(60, 50), picture(40, 40), encoder=Encoder(TOY, seed=1), device="cpu", size=50,
                               precision="float32", **LAYERS)  # fmt: skip
    session.step(2)
    before = session.image

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(nst.StyleModel, "forward", full)
        with pytest.raises(TooLargeError, match=r"50 x 60 pixels ran out of .* try is 40 px\.$") as told:
            session.step()
        assert told.value.__context__ is None
    with monkeypatch.context() as patch:
        patch.setattr("nst_helpers.live.painting.build_objective", full)
        with pytest.raises(TooLargeError, match="so nothing was changed"):
            session.set(size=60)
    assert session.settings.size == 50
    torch.testing.assert_close(session.image, before)
    session.step()
    assert len(session.history) == 3


@pytest.mark.parametrize("recording", [False, True])
def test_a_run_that_the_gpus_free_memory_cannot_hold_is_refused_by_it_and_not_by_the_computers(recording, monkeypatch):
    """Free is what the driver says, once PyTorch has given back what it holds without using it.

    PyTorch can't give back while another thread records. The memory of a recording looks unused, and counted as free.
    """
    from nst_helpers.budget import estimate as estimates

    gpu, megabyte = torch.device("cuda"), 2**20
    free = {"bytes": 30 * megabyte}

    def give_back():
        if recording:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        free["bytes"] += 40 * megabyte

    monkeypatch.setattr(estimates, "choose_device", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", give_back)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"], 80_000 * megabyte))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10_000 * megabyte)
    monkeypatch.setattr("psutil.virtual_memory", lambda: pytest.fail("the computer's own memory was asked for"))
    options = {"encoder": Encoder(TOY, seed=1), "precision": "float32", "steps": 3, **LAYERS}
    told = rf"2000 x 2000 pixels needs .* and {30 if recording else 70} MB are free: the largest short side"
    with pytest.raises(TooLargeError, match=told):
        estimates.check_fits((2000, 2000), (64, 64), **options)
    free["bytes"] = 60_000 * megabyte
    assert estimates.check_fits((2000, 2000), (64, 64), **options) > 70 * megabyte
