"""Second-order rounding against plain rounding, brute force and its own definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.quantizers.second_order import second_order_rounding


def correlated(columns: int, seed: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    traces = torch.rand(rows, 40, columns, generator=generator, dtype=torch.float64) + 0.5  # all positive: correlated
    return torch.bmm(traces.transpose(1, 2), traces) / 40


def cost(change: Tensor, hessian: Tensor) -> float:
    return float(change @ hessian @ change)


def test_a_diagonal_hessian_rounds_to_the_nearest_level() -> None:
    weight = torch.tensor([[0.2, -1.7, 9.0]], dtype=torch.float64)
    out = second_order_rounding(
        weight, torch.ones_like(weight), torch.full((3,), 3.0).double(), torch.eye(3).double()[None], torch.arange(3)
    )
    assert out.values.tolist() == [[0.0, -2.0, 3.0]]
    assert out.cost.item() == pytest.approx(0.2**2 + 0.3**2 + 6.0**2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_it_gives_levels_with_their_cost_not_below_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    hessian, step = correlated(4, seed), torch.full((1, 4), 0.7, dtype=torch.float64)
    top = torch.full((4,), 3.0, dtype=torch.float64)
    out = second_order_rounding(weight, step, top, hessian, torch.arange(4))
    levels = out.values / step
    assert torch.allclose(levels, levels.round(), atol=1e-12)
    assert levels.abs().max() < 3.5
    best = min(
        cost(torch.tensor(q, dtype=torch.float64) * 0.7 - weight[0], hessian[0])
        for q in itertools.product(range(-3, 4), repeat=4)
    )
    assert out.cost.item() >= best - 1e-12
    assert out.cost.item() == pytest.approx(cost((out.values - weight)[0], hessian[0]))


def test_it_beats_plain_rounding_by_far_where_inputs_are_correlated() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 20, generator=generator, dtype=torch.float64)
    hessian = correlated(20, 2)
    step, top = torch.full_like(weight, 0.8), torch.full((20,), 3.0, dtype=torch.float64)
    out = second_order_rounding(weight, step, top, hessian, torch.arange(20))
    plain = (weight / step).round().clamp(-3, 3) * step - weight
    assert out.cost.sum() < 0.2 * torch.einsum("rc,cd,rd->", plain, hessian[0], plain)


def test_a_bias_makes_up_for_what_the_others_leave() -> None:
    weight = torch.tensor([[0.4, 0.0]], dtype=torch.float64)
    hessian = torch.ones(1, 2, 2, dtype=torch.float64) + 1e-6 * torch.eye(2, dtype=torch.float64)
    out = second_order_rounding(
        weight, torch.tensor([[1.0, 0.0]]).double(), torch.tensor([3.0, torch.inf]).double(), hessian, torch.arange(2)
    )
    assert out.values[0, 0] == 0.0
    assert out.values[0, 1].item() == pytest.approx(0.4, abs=0.01)  # but for the damping


def test_rows_with_hessians_of_their_own_are_rounded_as_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    hessian, order = correlated(6, 4, rows=5), torch.tensor([3, 1, 5, 0, 2, 4])
    step, top = torch.full_like(weight, 0.5), torch.full((6,), 7.0, dtype=torch.float64)
    together = second_order_rounding(weight, step, top, hessian, order)
    for row in range(5):
        alone = second_order_rounding(weight[row : row + 1], step[:1], top, hessian[row : row + 1], order)
        assert torch.allclose(alone.values, together.values[row : row + 1])


def test_shapes_that_do_not_fit_are_refused() -> None:
    weight = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"a Hessian \[1 or 2, 3, 3\]"):
        second_order_rounding(weight, weight + 1, torch.ones(3).double(), torch.eye(2).double()[None], torch.arange(3))
