"""Products by events against the dense ones: exactly, where sums of whole numbers are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.kernels import native, spike_linear

pytestmark = pytest.mark.skipif(native.library() is None, reason="the native library is not built")
F32, F64 = torch.float32, torch.float64


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(spike_linear, "LEAST_VALUES", 0)


def sparse(rows, wide, dtype, highest=1, density=0.05):
    generator = torch.Generator().manual_seed(rows + wide)
    x = torch.randint(1, highest + 1, (rows, wide), generator=generator)
    return (x * (torch.rand(rows, wide, generator=generator) < density)).to(dtype)


@pytest.mark.parametrize("x_dtype", [torch.uint8, F32, F64])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("wide", "out"), [(700, 256), (33, 10), (16, 64), (40, 100), (1, 1)])
@pytest.mark.parametrize(("highest", "bias"), [(1, True), (7, False)])
def test_whole_numbers_give_the_dense_product_to_the_bit(x_dtype, dtype, wide, out, highest, bias):
    x = sparse(50, wide, x_dtype, highest)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-9, 10, (out, wide), generator=generator).to(dtype).requires_grad_()
    offset = torch.randint(-9, 10, (out,), generator=generator).to(dtype).requires_grad_() if bias else None
    leaves = [weight] if offset is None else [weight, offset]
    if x.is_floating_point():
        leaves.append(x.requires_grad_())
    assert spike_linear.find_events(native.library(), x, weight) is not None
    g = torch.randint(-9, 10, (50, out), generator=generator).to(dtype)
    got = spike_linear.spike_linear(x, weight, offset)
    want = F.linear(x.to(dtype), weight, offset)
    assert got.dtype == dtype
    assert torch.equal(got, want)
    for one, two in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g), strict=True):
        assert torch.equal(one, two)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(native, "LEAST_WORK", 1)
    x = sparse(77, 90, F32)
    weight = torch.randn(130, 90, generator=torch.Generator().manual_seed(2)).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = spike_linear.spike_linear(x, weight, None)
            results.append((y, *torch.autograd.grad(y.square().sum(), [weight])))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_dense_analogue_and_small_inputs_take_the_dense_product(monkeypatch):
    weight = torch.ones(4, 30)
    found = native.library()
    assert spike_linear.find_events(found, torch.ones(9, 30), weight) is None
    assert spike_linear.find_events(found, sparse(9, 30, F64) * 0.1, weight) is None, "0.1 is no float32"
    assert spike_linear.find_events(found, sparse(9, 30, torch.int64), weight) is None
    assert torch.equal(spike_linear.spike_linear(torch.ones(9, 30), weight, None), torch.full((9, 4), 30.0))
    monkeypatch.undo()
    assert spike_linear.find_events(found, sparse(9, 30, F32), weight) is None


def test_without_the_library_the_dense_product_runs():
    x, weight = sparse(50, 40, F32), torch.ones(3, 40)
    with native.switched_off():
        assert torch.equal(spike_linear.spike_linear(x, weight, None), F.linear(x, weight))
