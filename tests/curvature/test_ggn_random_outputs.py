"""The random-output estimator against the explicit Gauss-Newton matrix."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.curvature import objective as objective_module
from engine.curvature.estimator import LayerTrace, StopRule
from engine.curvature.ggn_random_outputs import ggn_random_outputs
from engine.curvature.objective import Objective
from engine.curvature.output_losses import OUTPUT_LOSSES, rademacher
from engine.curvature.registry import ESTIMATORS, estimator
from engine.errors import InvalidSpec
from engine.reference.ggn_exact import ggn_traces
from engine.specs.dynamics import PRESETS
from engine.specs.steps import SensitivityStep

MakeObjective = Callable[..., Objective]


class Silent:
    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        assert 0 < done <= total


def estimate(objective: Objective, probes: int, seed: int = 0) -> tuple[LayerTrace, ...]:
    stop = StopRule(relative_error=1e-9, min_probes=probes, max_probes=probes)
    return ggn_random_outputs(objective, stop, torch.Generator().manual_seed(seed), Silent())


@pytest.mark.parametrize("loss", sorted(OUTPUT_LOSSES))
@pytest.mark.parametrize("kind", ["feedforward", "recurrent", "readout"])
def test_trace_is_within_three_standard_errors_of_the_exact_one(
    make_objective: MakeObjective, kind: str, loss: str
) -> None:
    objective = make_objective(kind, loss)
    exact = ggn_traces(objective)
    found = estimate(objective, 200)
    assert [layer.layer for layer in found] == list(exact)
    for layer in found:
        assert exact[layer.layer] > 0
        assert abs(layer.trace - exact[layer.layer]) <= 3 * layer.standard_error
        assert layer.standard_error < 0.1 * layer.trace


@pytest.mark.parametrize("preset", ["snntorch-leaky", "snntorch-synaptic-zero", "spikingjelly", "sinabs"])
def test_other_dynamics_are_unbiased_too(make_objective: MakeObjective, preset: str) -> None:
    objective = make_objective(dynamics=PRESETS[preset])
    exact = ggn_traces(objective)
    for layer in estimate(objective, 200):
        assert abs(layer.trace - exact[layer.layer]) <= 3 * layer.standard_error


def test_detached_reset_is_another_number(make_objective: MakeObjective) -> None:
    through, detached = (ggn_traces(make_objective(reset_gradient=kind)) for kind in ("through", "detached"))
    assert through["w_in"] != pytest.approx(detached["w_in"], rel=0.05)
    objective = make_objective(reset_gradient="detached")
    for layer in estimate(objective, 200):
        assert abs(layer.trace - detached[layer.layer]) <= 3 * layer.standard_error


def test_blocks_do_not_change_the_expectation(make_objective: MakeObjective, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make_objective("recurrent")
    exact = ggn_traces(objective)
    whole = estimate(objective, 100)
    monkeypatch.setattr(objective_module, "BLOCK_BYTES", 0)  # one sample a block
    assert [len(labels) for _, labels in objective.blocks(64)] == [1] * objective.samples
    for single, together in zip(estimate(objective, 100), whole, strict=True):
        assert abs(single.trace - exact[single.layer]) <= 3 * single.standard_error
        assert single.standard_error < together.standard_error


def test_standard_error_falls_as_one_over_the_root_of_probes(make_objective: MakeObjective) -> None:
    objective = make_objective()
    few, many = estimate(objective, 60), estimate(objective, 960, seed=1)
    for a, b in zip(few, many, strict=True):
        assert a.standard_error / b.standard_error == pytest.approx(math.sqrt(960 / 60), rel=0.35)


def test_stated_error_is_the_spread_of_repeated_estimates(make_objective: MakeObjective) -> None:
    objective = make_objective()
    runs = [estimate(objective, 20, seed=seed) for seed in range(40)]
    for layer in range(2):
        spread = np.std([run[layer].trace for run in runs], ddof=1)
        stated = np.mean([run[layer].standard_error for run in runs])
        assert spread == pytest.approx(stated, rel=0.35)


def test_stops_when_every_layer_has_the_asked_error(make_objective: MakeObjective) -> None:
    stop = StopRule(relative_error=0.05, min_probes=4, max_probes=5000)
    found = ggn_random_outputs(make_objective("recurrent"), stop, torch.Generator().manual_seed(0), Silent())
    assert all(layer.converged and layer.standard_error <= 0.05 * layer.trace for layer in found)
    assert 4 <= found[0].probes < 1500


def test_cap_of_probes_is_flagged(make_objective: MakeObjective) -> None:
    stop = StopRule(relative_error=1e-6, min_probes=4, max_probes=11)
    found = ggn_random_outputs(make_objective(), stop, torch.Generator().manual_seed(0), Silent())
    assert {layer.probes for layer in found} == {11}
    assert not any(layer.converged for layer in found)


def test_cap_of_seconds_is_flagged_after_the_least_probes(make_objective: MakeObjective) -> None:
    stop = StopRule(relative_error=1e-6, min_probes=4, max_probes=10**6, max_seconds=1e-9)
    found = ggn_random_outputs(make_objective(), stop, torch.Generator().manual_seed(0), Silent())
    assert {layer.probes for layer in found} == {4}
    assert not any(layer.converged for layer in found)


def test_same_seed_same_numbers_and_no_global_state(make_objective: MakeObjective) -> None:
    objective = make_objective()
    before = torch.get_rng_state()
    assert estimate(objective, 5, seed=3) == estimate(objective, 5, seed=3)
    assert estimate(objective, 5, seed=3) != estimate(objective, 5, seed=4)
    assert torch.equal(before, torch.get_rng_state())


def test_a_layer_that_reaches_no_output_has_no_curvature(make_objective: MakeObjective) -> None:
    objective = make_objective()
    weight = objective.network.connections[1].weight
    assert weight is not None
    weight[:] = -1.0  # the output never fires, and far below threshold hardly reacts
    for layer in estimate(objective, 4):
        assert 0 <= layer.trace < 1e-2


def test_overflow_is_refused_by_layer(make_objective: MakeObjective) -> None:
    objective = make_objective(logit_scale=1e300, loss="mse_counts")
    with pytest.raises(InvalidSpec, match="gradients of layer 'w_in' overflow"):
        estimate(objective, 2)


@pytest.mark.parametrize("loss", sorted(OUTPUT_LOSSES))
def test_root_squared_is_the_hessian(loss: str) -> None:
    output_loss = OUTPUT_LOSSES[loss](0.7)
    counts = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.tensor([2])
    basis = torch.eye(5, dtype=torch.float64)
    root = output_loss.root(counts.expand(5, 5), basis).T  # column k: A·e_k
    hessian = torch.autograd.functional.hessian(lambda z: output_loss.values(z, labels).sum(), counts)
    torch.testing.assert_close(root @ root.T, hessian[0, :, 0, :])


def test_rademacher_is_signs_with_mean_zero() -> None:
    signs = rademacher((1000, 10), torch.zeros(1, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.05
    torch.testing.assert_close(signs.T @ signs / 1000, torch.eye(10, dtype=torch.float64), atol=0.15, rtol=0)


def test_registry_serves_every_quantity_of_the_spec() -> None:
    quantity = SensitivityStep.model_fields["quantity"].annotation
    assert set(ESTIMATORS) == set(quantity.__args__)  # type: ignore[union-attr]
    with pytest.raises(InvalidSpec, match="unknown quantity 'fisher'; known: ggn"):
        estimator("fisher")
