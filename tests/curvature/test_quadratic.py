"""Tangent passes against autograd twice, the same vector: every layer type, reset, readout and loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.curvature.linear_network import linearise
from engine.curvature.objective import Objective
from engine.curvature.quadratic import Along, along, bending
from engine.reference.hessian_exact import gauss_newton_block, gradient, hessian_product
from tests.curvature.networks import CASES, Case, objective_of


def evaluate(objective: Objective, direction: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> Along:
    (x, labels), *_ = objective.blocks(64)
    network = linearise(objective, x, dtype=dtype)
    return along(network, objective.loss, labels, direction, bending(network, objective.loss, labels, together=True))


def directions(objective: Objective) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        for name, weight in objective.weights(requires_grad=False).items()
    }


def close(found: Tensor, exact: float, scale: float) -> None:
    assert abs(float(found.double().mean()) - exact) <= 1e-9 * max(abs(exact), scale), (float(found.mean()), exact)


@pytest.mark.parametrize("reset_gradient", ["through", "detached"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_second_derivatives_are_those_of_autograd_twice(case: Case, reset_gradient: str) -> None:
    objective = objective_of(case, reset_gradient)
    every = directions(objective)
    slopes = gradient(objective)
    for chosen in [*({name: v} for name, v in every.items()), every]:
        product = hessian_product(objective, chosen)
        exact = sum(float((product[name] * v).sum()) for name, v in chosen.items())
        found = evaluate(objective, chosen)
        assert found.rest is not None
        scale = float(found.gauss_newton.mean() + found.rest.abs().mean())
        close(found.gauss_newton + found.rest, exact, scale)
        close(found.slope, sum(float((slopes[name] * v).sum()) for name, v in chosen.items()), scale)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gauss_newton_part_is_the_explicit_matrix(case: Case) -> None:
    objective = objective_of(case)
    for name, v in directions(objective).items():
        exact = float(v.flatten() @ gauss_newton_block(objective, name) @ v.flatten())
        close(evaluate(objective, {name: v}).gauss_newton, exact, abs(exact))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float32_is_within_a_ten_thousandth(case: Case) -> None:
    objective = objective_of(case)
    for name, v in directions(objective).items():
        exact, rough = (evaluate(objective, {name: v}, dtype) for dtype in (torch.float64, torch.float32))
        assert exact.rest is not None
        assert rough.rest is not None
        scale = float(exact.gauss_newton.mean() + exact.rest.abs().mean())
        difference = (rough.gauss_newton + rough.rest).double() - exact.gauss_newton - exact.rest
        assert abs(float(difference.mean())) <= 1e-4 * scale


def test_the_cases_bend_and_spike() -> None:
    """Else the tests above would compare zeros."""
    for case in CASES:
        objective = objective_of(case)
        for name, v in directions(objective).items():
            found = evaluate(objective, {name: v})
            assert found.rest is not None
            assert float(found.gauss_newton.mean()) > 0, (case.name, name)
        last = next(iter(directions(objective)))
        found = evaluate(objective, {last: directions(objective)[last]})
        assert found.rest is not None
        assert float(found.rest.abs().max()) > 1e-3 * float(found.gauss_newton.mean()), case.name
