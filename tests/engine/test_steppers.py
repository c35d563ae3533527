"""Who makes the steps: Adam held to PyTorch's, and what importing it costs."""

from __future__ import annotations

import pytest
import torch
from conftest import noise
from forked import run_forked

from nst_helpers import Settings
from nst_helpers.engine.steppers import Adam, make_stepper


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_makes_pytorchs_steps(dtype):
    ours = noise(1, 3, 8, 9, dtype=dtype) * 0.5 + 0.25
    theirs = ours.clone().requires_grad_()
    stepper, optimizer = Adam(), torch.optim.Adam([theirs], lr=1.0)
    for n in range(60):
        gradient = (noise(1, 3, 8, 9, seed=n, dtype=dtype) - 0.3) * 10.0 ** (n % 7 - 3)
        optimizer.param_groups[0]["lr"] = lr = 0.001 * (1 + n % 3)
        theirs.grad = gradient.clone()
        optimizer.step()
        with torch.no_grad():
            theirs.clamp_(0, 1)
        ours = stepper.step(ours, gradient, torch.tensor(0.0), lr)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"optimizer": "adam"}, {}, {"precondition": True}], ids=["adam", "lbfgs", "shaped"]
)
def test_a_step_changes_neither_the_image_nor_its_gradient_and_stays_in_the_box(options):
    image, gradient = noise(1, 3, 12, 12), noise(1, 3, 12, 12, seed=1) - 0.5
    stepper = make_stepper(image, Settings(**options))
    for n in range(4):
        before, given = image.clone(), gradient.clone()
        after = stepper.step(image, gradient, torch.tensor(10.0 - n), 0.05)
        assert torch.equal(image, before)
        assert torch.equal(gradient, given)
        assert 0 <= after.min() <= after.max() <= 1
        assert not torch.equal(after, image)
        image, gradient = after, gradient * 0.9


@pytest.mark.slow
def test_a_run_loads_neither_pytorchs_optimisers_nor_its_compiler():
    """Importing torch.optim loads 907 modules, 130 MB, in 5 seconds, which no estimate knew of."""
    code = """
import sys, torch
from nst_helpers import Settings, stylize
from nst_helpers.encoders import Architecture, Encoder
image, toy = torch.rand(1, 3, 16, 16), Encoder(Architecture("toy", ((8,),)))
layers = {"content_layers": ["relu1_1"], "style_layers": ["relu1_1"]}
for optimizer in ("adam", "lbfgs"):
    stylize(image, image, encoder=toy, steps=2, optimizer=optimizer, device="cpu", init="noise", **layers)
names = list(sys.modules)
print(*names[names.index("nst_helpers") :])  # those that came after what `import torch` loads
"""
    loaded = run_forked(code).split()
    assert "nst_helpers.engine.optimisation" in loaded
    assert not [name for name in loaded if name.startswith(("torch.optim", "torch._dynamo", "torch._inductor"))]
    assert len([name for name in loaded if not name.startswith(("nst_helpers", "_pytest"))]) < 400
