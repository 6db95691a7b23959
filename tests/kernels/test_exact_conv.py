"""Sliced float32 convolution: the exact sums, or none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.kernels.exact_conv import exact_conv2d, slice_weight
from engine.network import synapse
from engine.network.prepare import prepare
from engine.network.simulate import run
from tests.program.networks import convolutional

GEOMETRIES = [
    ((1, 1), (0, 0), (1, 1), 1),
    ((2, 1), (1, 2), (1, 1), 1),
    ((1, 1), (1, 1), (2, 2), 1),
    ((1, 1), (1, 1), (1, 1), 2),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("most", [1, 3, 200])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_it_is_float64_to_the_bit(geometry, most, with_bias, share):
    stride, padding, dilation, groups = geometry
    generator = torch.Generator().manual_seed(most)
    shape = (5 if share == 1 else 240, 4, 9, 8)  # of sparse ones enough to be convolved by events
    x = torch.randint(-most if most == 3 else 0, most + 1, shape, generator=generator).float()
    x = x * (torch.rand(shape, generator=generator) < share)
    weight = torch.randn(6, 4 // groups, 3, 3, generator=generator).double() / 7
    weight = weight.float().double()
    bias = torch.randn(6, generator=generator).double() if with_bias else None
    bias = None if bias is None else bias.float().double()
    fast = exact_conv2d(x, weight, bias, geometry)
    assert fast is not None
    assert torch.equal(fast, F.conv2d(x.double(), weight, bias, stride, padding, dilation, groups))


def test_what_float64_would_round_is_refused():
    weight = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert slice_weight(weight, None, 1.0) is None  # 53 bits of mantissa leave no room for a sum
    assert slice_weight(weight.float().double(), None, 2.0**24) is None
    wide = torch.tensor([[[[1.0, 2.0**-60]]]], dtype=torch.float64)
    assert slice_weight(wide, None, 1.0) is None


def test_slices_add_up():
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(2)).double()
    slices = slice_weight(weight, None, 4.0)
    assert slices is not None
    assert torch.equal(sum(p.double() * u for p, u in zip(slices.pieces, slices.units, strict=True)), weight)


def test_weights_of_zero():
    x = torch.ones(1, 1, 3, 3)
    got = exact_conv2d(x, torch.zeros(2, 1, 2, 2, dtype=torch.float64), None, GEOMETRIES[0])
    assert got is not None
    assert got.shape == (1, 2, 2, 2)
    assert not got.any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_whole_numbers_in_floats_take_it_too_and_fractions_do_not(monkeypatch, dtype):
    taken = []

    def spy(*arguments):
        taken.append(exact_conv2d(*arguments))
        return taken[-1]

    monkeypatch.setattr(synapse, "exact_conv2d", spy)
    network = convolutional()
    x = torch.randint(0, 3, (6, 2, *network.input_shape), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        counts = run(prepare(network), x.to(dtype)).counts
        first = len(taken)
        assert first > 0
        fractions = run(prepare(network), x.double() + 0.5).counts
    assert len(taken) == 2 * first - 1
    assert not torch.equal(counts, fractions)
