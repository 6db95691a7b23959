"""Convolutions by events against the dense ones: exactly, where sums of whole numbers are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.kernels import native, spike_linear
from engine.kernels.spike_conv import spike_conv2d

pytestmark = pytest.mark.skipif(native.library() is None, reason="the native library is not built")
F32, F64 = torch.float32, torch.float64


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(spike_linear, "LEAST_VALUES", 0)


def sparse(shape, dtype, highest=3, density=0.08):
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randint(1, highest + 1, shape, generator=generator)
    return (x * (torch.rand(shape, generator=generator) < density)).to(dtype)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("x_dtype", "dtype"), [(torch.uint8, F32), (F32, F32), (F64, F64)])
@pytest.mark.parametrize(
    "geometry",
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 2), (0, 0), (1, 1), 1),
        ((1, 2), (2, 1), (1, 1), 1),
        ((3, 1), (1, 2), (2, 3), 1),
    ],
)
@pytest.mark.parametrize(("out", "bias"), [(16, True), (37, False), (1, True)])
def test_whole_numbers_give_the_dense_product_to_the_bit(geometry, x_dtype, dtype, channels_last, out, bias):
    x = sparse((10, 3, 13, 11), x_dtype)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-9, 10, (out, 3, 3, 2), generator=generator).to(dtype).requires_grad_()
    offset = torch.randint(-9, 10, (out,), generator=generator).to(dtype).requires_grad_() if bias else None
    leaves = [weight] if offset is None else [weight, offset]
    if x.is_floating_point():
        leaves.append(x.requires_grad_())
    got, want = spike_conv2d(x, weight, offset, geometry), F.conv2d(x.to(dtype), weight, offset, *geometry)
    assert got is not None
    assert torch.equal(got, want)
    g = torch.randint(-9, 10, got.shape, generator=generator).to(dtype)
    for one, two in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g), strict=True):
        assert torch.equal(one, two)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(native, "LEAST_WORK", 1)
    x = sparse((33, 2, 12, 12), F32)
    weight = torch.randn(20, 2, 3, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = spike_conv2d(x, weight, None, ((2, 2), (1, 1), (1, 1), 1))
            results.append((y, *torch.autograd.grad(y.square().sum(), [weight])))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_groups_dense_inputs_and_a_missing_library_are_left_to_the_dense_product():
    weight, plain = torch.ones(4, 2, 3, 3), ((1, 1), (0, 0), (1, 1), 1)
    x = sparse((9, 2, 8, 8), F32)
    assert spike_conv2d(torch.ones(9, 2, 8, 8), weight, None, plain) is None
    assert spike_conv2d(x, torch.ones(4, 1, 3, 3), None, ((1, 1), (0, 0), (1, 1), 2)) is None
    with native.switched_off():
        assert spike_conv2d(x, weight, None, plain) is None


def test_the_events_alone_are_kept():
    x = sparse((40, 2, 16, 16), F32, highest=1, density=0.03).requires_grad_()
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        spike_conv2d(x, torch.ones(3, 2, 3, 3, requires_grad=True), None, ((1, 1), (0, 0), (1, 1), 1))
    assert sum(t.numel() * t.element_size() for t in kept) < x.numel() * x.element_size() / 4
