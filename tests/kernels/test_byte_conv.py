"""The convolution that keeps bytes against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.kernels.byte_conv import byte_conv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("geometry", [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 2), 2)])
def test_values_and_gradients_are_those_of_torch(geometry, bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 4, (6, 4, 9, 8), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-5, 6, (6, 4 // geometry[3], 3, 3), generator=generator).float().requires_grad_()
    offset = torch.randint(-5, 6, (6,), generator=generator).float().requires_grad_() if bias else None
    leaves = [weight] if offset is None else [weight, offset]
    got, want = byte_conv2d(x, weight, offset, geometry), F.conv2d(x.float(), weight, offset, *geometry)
    assert torch.equal(got, want)
    g = torch.randint(-3, 4, got.shape, generator=generator).float()
    for one, two in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g), strict=True):
        assert torch.equal(one, two)


def test_the_bytes_alone_are_kept():
    x = torch.ones(4, 2, 8, 8, dtype=torch.uint8)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        byte_conv2d(x, torch.ones(3, 2, 3, 3, requires_grad=True), None, ((1, 1), (0, 0), (1, 1), 1))
    assert {t.data_ptr() for t in kept if t.shape == x.shape} == {x.data_ptr()}
