"""The allocate step: predictors, budgets, the user's own plan, messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from engine.allocate import allocate as allocate_module
from engine.allocate.allocate import allocate
from engine.allocate.losses import caution, layer_losses, non_increasing
from engine.allocate.plan_check import check_plan
from engine.errors import InvalidSpec
from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.specs.dynamics import PRESETS
from engine.specs.plan import NeuronPlan, Plan, WeightPlan
from engine.specs.planned import LayerSensitivity, Prediction, SensitivitySection, WidthLoss
from engine.specs.steps import AllocateStep

SIZES = {"w1": (6, 10), "w2": (4, 6)}


def network() -> Network:
    rng = np.random.default_rng(0)

    def layer(name: str, n: int) -> NeuronLayer:
        zero, one = np.zeros(n), np.ones(n)
        return NeuronLayer(name, "lif", (n,), 0.9 * one, one, zero, zero, zero, one)

    connections = tuple(
        Connection(name, source, target, "linear", (shape[1],), (shape[0],), rng.normal(size=shape))
        for (name, shape), source, target in zip(SIZES.items(), (INPUT, "n1"), ("n1", "n2"), strict=True)
    )
    return Network(PRESETS["nir-paper"], (10,), (layer("n1", 6), layer("n2", 4)), connections, "n2")


def section(
    predicted: Sequence[Sequence[float]],
    measured: Sequence[Sequence[float]] | None = None,
    error: float = 0.0,
    widths: Sequence[int] = (2, 4, 8),
) -> SensitivitySection:
    layers = []
    for row, (name, shape) in enumerate(SIZES.items()):
        cells = tuple(
            WidthLoss(
                bits=bits,
                predicted=predicted[row][k],
                measured=None if measured is None else measured[row][k],
                measured_error=None if measured is None else error,
                squared_distance=1.0,
            )
            for k, bits in enumerate(widths)
        )
        layers.append(
            LayerSensitivity(
                layer=name,
                parameters=shape[0] * shape[1],
                trace=1.0,
                standard_error=0.1,
                probes=8,
                converged=True,
                trace_per_parameter=0.1,
                widths=cells,
            )
        )
    return SensitivitySection(
        quantity="ggn",
        loss="cross_entropy",
        logit_scale=1.0,
        surrogate_kind="arctan",
        surrogate_slope=6.0,
        reset_gradient="through",
        samples=4,
        seed=0,
        baseline_loss=1.0,
        layers=tuple(layers),
        statement="-",
        seconds=0.0,
    )


def bytes_of(plan: Plan) -> int:
    """Two bits hold three levels, five of which are packed into a byte."""
    counts = {n: SIZES[n][0] * SIZES[n][1] for n in plan.weights}
    sizes = {n: -(-counts[n] // 5) if e.bits == 2 else -(-counts[n] * e.bits // 8) for n, e in plan.weights.items()}
    return 100 + sum(sizes.values())


PREDICTED = [[8.0, 1.0, 0.1], [0.8, 0.1, 0.01]]
STEP = AllocateStep(widths=(2, 4, 8))


def test_chooses_under_mean_bits_and_reports_the_whole_front() -> None:
    result = allocate(network(), section(PREDICTED), STEP, bytes_of)
    assert {n: e.bits for n, e in result.plan.weights.items()} == {"w1": 4, "w2": 4}
    assert result.plan.neurons == {"n1": NeuronPlan(), "n2": NeuronPlan()}
    assert (result.source, result.predictor, result.mean_weight_bits) == ("solver", "trace", 4.0)
    assert result.predicted_loss == pytest.approx(1.1)
    sizes = [point.program_bytes for point in result.front]
    losses = [point.predicted_loss for point in result.front]
    assert sizes == sorted(sizes)
    assert losses == sorted(losses, reverse=True)
    assert result.front[0].bits == {"w1": 2, "w2": 2}
    assert result.front[-1].bits == {"w1": 8, "w2": 8}
    for point in result.front:
        plan = Plan(weights={name: WeightPlan(bits=bits) for name, bits in point.bits.items()})
        assert point.program_bytes == bytes_of(plan)
        assert point.weight_bytes == bytes_of(plan) - 100


def test_byte_budget_and_infeasible_budget() -> None:
    step = STEP.model_copy(update={"mean_weight_bits": None, "program_bytes": 140})
    result = allocate(network(), section(PREDICTED), step, bytes_of)
    assert bytes_of(result.plan) <= 140
    assert {n: e.bits for n, e in result.plan.weights.items()} == {"w1": 4, "w2": 2}
    tight = step.model_copy(update={"program_bytes": 105})
    with pytest.raises(InvalidSpec, match="program bytes: at most 105 asked for, the least that can be reached is 117"):
        allocate(network(), section(PREDICTED), tight, bytes_of)


def test_a_size_that_does_not_add_up_still_keeps_the_budget() -> None:
    def joint(plan: Plan) -> int:  # two wide layers together cost more than the sum of both
        return bytes_of(plan) + (7 if all(e.bits >= 4 for e in plan.weights.values()) else 0)

    step = STEP.model_copy(update={"mean_weight_bits": None, "program_bytes": 145})
    result = allocate(network(), section(PREDICTED), step, joint)
    assert joint(result.plan) <= 145


def test_a_long_front_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = allocate(network(), section(PREDICTED), STEP, bytes_of)
    monkeypatch.setattr(allocate_module, "MAX_FRONT_POINTS", 2)
    thinned = allocate(network(), section(PREDICTED), STEP, bytes_of)
    assert thinned.plan == whole.plan
    assert len(thinned.front) == 3  # both ends and the plan itself
    assert {point.program_bytes for point in thinned.front} < {point.program_bytes for point in whole.front}
    assert {name: entry.bits for name, entry in thinned.plan.weights.items()} in [point.bits for point in thinned.front]
    assert f"3 of its {len(whole.front)} points are listed" in thinned.solver


def test_measured_is_used_where_it_is_above_its_noise() -> None:
    measured = [[4.0, 0.05, -0.2], [0.4, 0.1, 0.0]]
    losses, used = layer_losses(section(PREDICTED, measured, error=0.1), (2, 4, 8), "auto")
    assert used == "measured"
    # both cells that stand clear are half of their prediction; w1 at 4 bits: 0.5·1.0 is above the error, so the error
    np.testing.assert_allclose(losses, [[4.0, 0.1, 0.05], [0.4, 0.1, 0.005]])
    losses, used = layer_losses(section(PREDICTED, measured, error=0.1), (2, 4), "trace")
    assert used == "trace"
    np.testing.assert_allclose(losses, np.array(PREDICTED)[:, :2])


def test_measurements_that_are_all_noise_leave_the_trace() -> None:
    measured = [[3.0, -1.0, 0.5], [1.0, 2.0, -2.0]]
    losses, used = layer_losses(section(PREDICTED, measured, error=5.0), (2, 4, 8), "auto")
    assert used == "trace"
    np.testing.assert_allclose(losses, PREDICTED)
    _, used = layer_losses(section(PREDICTED, measured, error=5.0), (2, 4, 8), "measured")
    assert used == "measured"
    mostly_noise = [[30.0, 1.0, 0.0], [1.0, 1.0, 0.0]]  # one of four narrow roundings stands clear
    assert layer_losses(section(PREDICTED, mostly_noise, error=5.0), (2, 4, 8), "auto")[1] == "trace"


@pytest.mark.parametrize(
    ("correlation", "holds", "said"),
    [
        (None, "unknown", "could not be checked"),
        (0.9, "unknown", "could not be checked"),  # ranks of noise
        (0.3, "neither", r"does not rank .* \(rank correlation 0.30\)"),
        (0.8, "trace", None),
    ],
)
def test_a_plan_from_a_prediction_that_fails_says_so(correlation: float | None, holds: str, said: str | None) -> None:
    judged = {"by_trace": Prediction(rank_correlation=correlation), "holds": holds}
    found = section(PREDICTED).model_copy(update=judged)
    result = allocate(network(), found, STEP, bytes_of)
    if said is None:
        assert result.caution is None
    else:
        assert re.search(said, result.caution or "")
    assert caution(found, "measured") is None
    assert "quadratic form" in (caution(found, "quadratic") or "")


def test_losses_never_rise_with_bits() -> None:
    losses, _ = layer_losses(section([[1.0, 3.0, 0.5], [0.2, 0.1, 0.1]]), (2, 4, 8), "auto")
    np.testing.assert_allclose(losses, [[2.0, 2.0, 0.5], [0.2, 0.1, 0.1]])
    assert non_increasing([0.0, 1.0, 2.0, 1.0]) == [1.0, 1.0, 1.0, 1.0]


def test_measured_predictor_without_measurements_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="predictor 'measured' needs a sensitivity step with measure 'on'"):
        allocate(network(), section(PREDICTED), STEP.model_copy(update={"predictor": "measured"}), bytes_of)


def test_width_that_was_not_analysed_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="width 3 was not analysed for layer 'w1'; the sensitivity step has 2, 4, 8"):
        allocate(network(), section(PREDICTED), AllocateStep(widths=(3, 4)), bytes_of)


def test_missing_sensitivity_and_foreign_sensitivity_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="allocate needs an earlier step 'sensitivity', or a plan"):
        allocate(network(), None, STEP, bytes_of)
    foreign = section(PREDICTED)
    foreign = foreign.model_copy(update={"layers": foreign.layers[:1]})
    with pytest.raises(InvalidSpec, match="the sensitivity step is of layers w1, the network has w1, w2"):
        allocate(network(), foreign, STEP, bytes_of)


def test_users_plan_is_kept_and_completed() -> None:
    own = Plan(
        weights={"w2": WeightPlan(bits=3, granularity="layer"), "w1": WeightPlan(bits=8)},
        neurons={"n2": NeuronPlan(state_bits=8)},
    )
    step = STEP.model_copy(update={"plan": own, "neuron": NeuronPlan(state_bits=12)})
    result = allocate(network(), section(PREDICTED), step, bytes_of)
    assert result.source == "user"
    assert list(result.plan.weights) == ["w1", "w2"]
    assert result.plan.weights == own.weights
    assert {n: p.state_bits for n, p in result.plan.neurons.items()} == {"n1": 12, "n2": 8}
    assert result.predicted_loss is None  # 3 bits were not analysed
    assert result.front
    assert result.mean_weight_bits == pytest.approx((60 * 8 + 24 * 3) / 84)
    alone = allocate(network(), None, step, bytes_of)
    assert (alone.front, alone.predictor, alone.predicted_loss) == ((), "none", None)


def test_users_plan_of_analysed_widths_has_a_predicted_loss() -> None:
    own = Plan(weights={"w1": WeightPlan(bits=4), "w2": WeightPlan(bits=2)})
    result = allocate(network(), section(PREDICTED), STEP.model_copy(update={"plan": own}), bytes_of)
    assert result.predicted_loss == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(weights={"w1": WeightPlan(bits=4)}), "no bits for weight layer w2; a plan names every one of w1, w2"),
        (
            Plan(weights={n: WeightPlan(bits=4) for n in ("w1", "w2", "w9")}),
            "weights names unknown layer 'w9'; known: w1, w2",
        ),
        (
            Plan(weights={n: WeightPlan(bits=4) for n in ("w1", "w2")}, neurons={"x": NeuronPlan()}),
            "neurons names unknown layer 'x'; known: n1, n2",
        ),
        (
            Plan(weights={n: WeightPlan(bits=4, quantizer="dream") for n in ("w1", "w2")}),
            "unknown quantizer 'dream'; known: ewgs, fixed_point, lsq,",
        ),
        (
            Plan(
                weights={n: WeightPlan(bits=4) for n in ("w1", "w2")},
                neurons={"n1": NeuronPlan(state_bits=4, fraction_bits=6)},
            ),
            "neuron layer 'n1' has 4 state bits, its 6 fraction bits",
        ),
    ],
)
def test_bad_plans_are_refused_by_name(plan: Plan, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as refused:
        check_plan(network(), plan)
    assert refused.value.code == "invalid_plan"
