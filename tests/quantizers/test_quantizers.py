"""Every registered quantizer: round trip within half a step, idempotent, equal forms, right gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import InvalidSpec
from engine.quantizers.form import Granularity, level_range, scale_axis
from engine.quantizers.lsq import Lsq, scaled_step, step_gradient_scale
from engine.quantizers.mse import POINTS, mse_scale
from engine.quantizers.registry import QUANTIZERS, quantizer

NAMES = sorted(QUANTIZERS)
values = st.floats(-1e3, 1e3, allow_nan=False, width=32)
weights = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 6).flatmap(
        lambda columns: st.lists(
            st.lists(values, min_size=columns, max_size=columns), min_size=rows, max_size=rows
        ).map(lambda lists: torch.tensor(lists, dtype=torch.float64))
    )
)
widths = st.integers(1, 8)
granularities: st.SearchStrategy[Granularity] = st.sampled_from(["layer", "channel"])


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(weight=weights, bits=widths, granularity=granularities)
def test_round_trip_within_half_a_step(name: str, weight: Tensor, bits: int, granularity: Granularity) -> None:
    method = quantizer(name)
    scale = method.parameters(weight, bits, granularity)
    low, high = level_range(bits)
    integers = method.to_integers(weight, scale, bits)
    assert integers.dtype == torch.int32
    assert int(integers.min()) >= low
    assert int(integers.max()) <= high
    clipped = weight.clamp(low * scale, high * scale)
    spacing = 2.0 if bits == 1 else 1.0  # ±1 lie two steps apart
    assert bool(((integers * scale - clipped).abs() <= spacing * scale / 2 * (1 + 1e-9)).all())


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(weight=weights, bits=widths, granularity=granularities)
def test_idempotent_and_equal_forms(name: str, weight: Tensor, bits: int, granularity: Granularity) -> None:
    method = quantizer(name)
    scale = method.parameters(weight, bits, granularity)
    integers = method.to_integers(weight, scale, bits)
    once = method.fake_quantize(weight, scale, bits)
    torch.testing.assert_close(once, integers * scale, rtol=0, atol=0)
    torch.testing.assert_close(method.levels(weight, scale, bits), integers.to(weight.dtype), rtol=0, atol=0)
    torch.testing.assert_close(method.fake_quantize(once, scale, bits), once, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(weight=weights, bits=st.integers(2, 8))
def test_nothing_is_clipped_at_the_maximum_scale(name: str, weight: Tensor, bits: int) -> None:
    scale = (weight.abs().max() / level_range(bits)[1]).clamp_min(1e-6)
    error = (quantizer(name).fake_quantize(weight, scale, bits) - weight).abs()
    assert bool((error <= scale / 2 * (1 + 1e-9)).all())


@settings(deadline=None, max_examples=60)
@given(weight=weights, bits=st.integers(2, 8), granularity=granularities)
def test_mse_scale_is_the_best_of_the_grid(weight: Tensor, bits: int, granularity: Granularity) -> None:
    scale = mse_scale(weight, bits, scale_axis(granularity))
    top = level_range(bits)[1]
    rows = list(weight) if granularity == "channel" else [weight.flatten()]
    for row, step in zip(rows, scale.flatten(), strict=True):
        if not bool(row.any()):
            continue
        found = (row - (row / step).round().clamp(-top, top) * step).square().sum()
        for share in torch.linspace(0.1, 1.0, POINTS, dtype=torch.float64):
            other = share * row.abs().max() / top
            error = (row - (row / other).round().clamp(-top, top) * other).square().sum()
            assert found <= error * (1 + 1e-9) + 1e-300


def test_mse_scale_shapes_and_dtype() -> None:
    weight = randn(5, 3, 2, 2, dtype=torch.float32)
    assert mse_scale(weight, 4).shape == ()
    assert mse_scale(weight, 4, 0).shape == (5, 1, 1, 1)
    assert mse_scale(weight, 4, -1).shape == (1, 1, 1, 2)
    assert mse_scale(weight, 4, 0).dtype == torch.float32


def test_mse_scale_beats_the_maximum_scale_at_three_bits() -> None:
    weight = randn(64, 64)
    best, largest = mse_scale(weight, 3), weight.abs().max() / 3
    errors = [(Lsq().fake_quantize(weight, s, 3) - weight).square().sum() for s in (best, largest)]
    assert errors[0] < 0.5 * errors[1]


def test_mse_scale_of_one_bit_is_the_mean() -> None:
    weight = randn(3, 7)
    torch.testing.assert_close(mse_scale(weight, 1, 0), weight.abs().mean(dim=1, keepdim=True))


def test_zero_weights_have_a_positive_scale() -> None:
    assert mse_scale(torch.zeros(2, 3), 4).item() == 1.0
    weight = torch.tensor([[0.0, 0.0], [7.0, 0.0]])
    assert mse_scale(weight, 4, 0)[0, 0].item() == 1.0  # the layer's 7 / 7
    subnormal = torch.full((1, 1), 1e-45)
    assert mse_scale(subnormal, 4).item() > 0


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_lsq_gradients_follow_the_paper(bits: int) -> None:
    weight = randn(6, 9).requires_grad_()
    scale = mse_scale(weight, bits, 0).requires_grad_()
    upstream = randn(6, 9, seed=1)
    (Lsq().fake_quantize(weight, scale, bits) * upstream).sum().backward()
    low, high = level_range(bits)
    ratio = (weight / scale).detach()
    inside = (ratio >= low) & (ratio <= high)
    q = Lsq().to_integers(weight, scale, bits).to(torch.float64)
    g = 1 / math.sqrt(9 * high)
    expected = (upstream * torch.where(inside, q - ratio, q)).sum(dim=1, keepdim=True) * g
    torch.testing.assert_close(scale.grad, expected)
    torch.testing.assert_close(weight.grad, upstream * inside)


def test_levels_with_a_scaled_step_have_the_same_gradient_as_fake_quantize() -> None:
    weight = randn(4, 5).requires_grad_()
    scale = mse_scale(weight, 3).requires_grad_()
    step = scaled_step(weight, scale, 3)
    split = torch.autograd.grad((Lsq().levels(weight, step, 3) * step).sum(), (weight, scale))
    whole = torch.autograd.grad(Lsq().fake_quantize(weight, scale, 3).sum(), (weight, scale))
    torch.testing.assert_close(split, whole, rtol=0, atol=0)


def test_step_gradient_scale_counts_the_weights_that_share_a_step() -> None:
    weight = torch.zeros(4, 25)
    assert step_gradient_scale(weight, torch.ones(()), 3) == pytest.approx(1 / math.sqrt(100 * 3))
    assert step_gradient_scale(weight, torch.ones(4, 1), 3) == pytest.approx(1 / math.sqrt(25 * 3))


def test_one_bit_has_no_zero() -> None:
    weight = torch.tensor([[-1.0, -0.0, 0.0, 1e-9]])
    assert Lsq().to_integers(weight, torch.tensor(1.0), 1).tolist() == [[-1, 1, 1, 1]]


@pytest.mark.parametrize("bits", [0, 17])
def test_width_out_of_range_is_refused(bits: int) -> None:
    with pytest.raises(InvalidSpec, match=f"weight bits: expected 1 to 16, got {bits}"):
        level_range(bits)


def test_unknown_quantizer_is_refused_with_the_known_names() -> None:
    with pytest.raises(InvalidSpec, match=r"unknown quantizer 'nope'; known: .*lsq"):
        quantizer("nope")
