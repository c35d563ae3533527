"""The Gram matrix with a hand-written backward pass equals the plain one, in value, gradient and batch."""

from __future__ import annotations

import pytest
import torch
from conftest import noise

from nst_helpers import gram_matrix
from nst_helpers.accel.gram import features_and_gram, fused_gram


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (3, 7, 6, 2), (2, 1, 1, 9)])
def test_equals_the_plain_gram_matrix_and_its_gradient(shape, layout):
    features = noise(*shape, dtype=torch.float64).contiguous(memory_format=layout)
    weights = noise(shape[0], shape[1], shape[1], seed=1, dtype=torch.float64)
    a, b = features.clone().requires_grad_(), features.clone().requires_grad_()
    one, two = fused_gram(a), gram_matrix(b)
    (one * weights).sum().backward()
    (two * weights).sum().backward()
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


def test_gradient_against_finite_differences():
    features = noise(2, 3, 2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fused_gram, features)
    assert torch.autograd.gradcheck(features_and_gram, features)


def test_a_second_derivative_is_refused_and_not_wrong():
    features = noise(1, 3, 2, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(fused_gram(features).square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 6, 4, 5), (3, 7, 6, 2), (1, 96, 32, 40)])
def test_the_gradient_from_behind_is_added(shape, layout, dtype):
    """Of features that go on to another layer: the sum of both ways, by autograd's own addition."""
    features = noise(*shape).to(dtype).contiguous(memory_format=layout)
    a, b = features.clone().requires_grad_(), features.double().requires_grad_()
    on, gram = features_and_gram(a)
    assert torch.equal(on, a)
    (on.square().sum() + gram.double().sum()).backward()
    (b.square().sum() + gram_matrix(b).sum()).backward()
    bound = 1e-12 if dtype == torch.float64 else 2**-7
    assert (a.grad.double() - b.grad).norm() < bound * b.grad.norm()


def test_half_precision_keeps_a_float32_gram_and_a_near_gradient():
    features = (noise(1, 8, 32, 32) * 3).bfloat16().contiguous(memory_format=torch.channels_last)
    a, b = features.clone().requires_grad_(), features.float().requires_grad_()
    one, two = fused_gram(a), gram_matrix(b)
    assert one.dtype == torch.float32
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    one.square().sum().backward()
    two.square().sum().backward()
    assert a.grad.dtype == torch.bfloat16
    assert (a.grad.float() - b.grad).norm() < 0.01 * b.grad.norm()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_near_a_target_the_difference_to_it_has_bfloat16s_digits(layout):
    """Also where it is a thousandth of the matrix; what the target's own rounding adds is 2e-3 of 2e-3 of it."""
    features = (noise(1, 24, 40, 32) * 3).bfloat16().contiguous(memory_format=layout)
    exact = gram_matrix(features.double())
    for far in (1.0, 0.1, 0.001):
        near = (exact * (1 + far * (noise(1, 24, 24, seed=2) - 0.5))).float()
        leaf = features.clone().requires_grad_()
        on, gram = features_and_gram(leaf, near)
        assert torch.equal(on, features)
        right = exact - near.double()
        assert (gram.double() - near.double() - right).norm() < 2**-8 * right.norm() + 2**-17 * exact.norm()
        weights = noise(1, 24, 24, seed=1)
        (gradient,) = torch.autograd.grad((gram * weights).sum(), leaf)
        (plain,) = torch.autograd.grad((fused_gram(leaf) * weights).sum(), leaf)
        assert torch.equal(gradient, plain)


def test_the_gradient_comes_in_the_convolutions_layout():
    features = noise(1, 4, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(fused_gram(features).sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="a PyTorch without oneDNN")
def test_one_thread_is_no_reason_to_do_without_onednn():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.autograd.profiler.profile() as seen:
            fused_gram(noise(1, 96, 32, 40).requires_grad_()).sum().backward()
    finally:
        torch.set_num_threads(before)
    routines = {event.name for event in seen.function_events}
    assert "aten::mkldnn_convolution" in routines
    assert not any("slow_conv2d" in name for name in routines)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_product_goes_by_a_convolution_with_the_same_result(layout, monkeypatch):
    """The oracle is float64, which takes the matrix product."""
    from nst_helpers.accel import gram

    taken = []
    for name in ("conv2d", "conv2d_weight"):
        plain = getattr(gram, name)
        monkeypatch.setattr(gram, name, lambda *a, name=name, plain=plain, **o: (taken.append(name), plain(*a, **o))[1])
    features = noise(1, 96, 32, 40).contiguous(memory_format=layout)
    weights = noise(1, 96, 96, seed=1)
    one, two = features.clone().requires_grad_(), features.double().requires_grad_()
    found, exact = fused_gram(one), gram_matrix(two)
    (found * weights).sum().backward()
    (exact * weights).sum().backward()
    assert sorted(taken) == ["conv2d", "conv2d_weight"]
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.grad.double(), two.grad, rtol=1e-5, atol=1e-6)
    # Two pictures at once, or few numbers, stay with the matrix product.
    for shape in ((2, 96, 32, 40), (1, 8, 6, 6)):
        fused_gram(noise(*shape).requires_grad_()).sum().backward()
    assert len(taken) == 2
