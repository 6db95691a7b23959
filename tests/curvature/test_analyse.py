"""The sensitivity step: predicted, measured, ranked; and the sentence that says whether it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from engine.curvature.analyse import analyse
from engine.curvature.measured_cost import measured_costs
from engine.curvature.objective import Objective
from engine.curvature.ranking import judge_predictions, rank_correlation
from engine.curvature.rounding_cost import quadratic_increases, rounded
from engine.curvature.slope import SLOPES
from engine.errors import InvalidSpec
from engine.reference.hessian_exact import gauss_newton_block, gradient, hessian_block
from engine.specs.planned import LayerSensitivity, SensitivitySection, WidthLoss
from engine.specs.steps import SensitivityStep, Surrogate

MakeObjective = Callable[..., Objective]
SPEC = SensitivityStep(relative_error=0.2, max_probes=64, logit_scale=0.5, surrogate=Surrogate())


class Silent:
    def __init__(self) -> None:
        self.stages: list[str] = []

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        assert 0 < done <= total
        self.stages.append(stage)


def run(objective: Objective, spec: SensitivityStep = SPEC, seed: int = 0) -> SensitivitySection:
    return analyse(objective.network, objective.x, objective.y, spec, seed=seed, events=Silent())


def test_section_holds_what_was_asked(make_objective: MakeObjective) -> None:
    objective = make_objective("recurrent")
    section = run(objective)
    assert [layer.layer for layer in section.layers] == ["w_in", "w_rec", "w_out"]
    assert section.samples == objective.samples
    assert section.baseline_loss == pytest.approx(float(objective.losses().mean()))
    assert section.baseline_accuracy == float((objective.counts().argmax(1).numpy() == objective.y).mean())
    assert (section.surrogate_slope, section.reset_gradient, section.logit_scale) == (6.0, "through", 0.5)
    for layer in section.layers:
        assert [cell.bits for cell in layer.widths] == [2, 3, 4, 5, 6, 8]
        for cell in layer.widths:
            assert cell.predicted == pytest.approx(0.5 * layer.trace / layer.parameters * cell.squared_distance)
            assert cell.measured is not None
            assert cell.measured_error is not None
            assert cell.accuracy is not None
            assert cell.accuracy_error is not None
        assert layer.widths[0].squared_distance > layer.widths[-1].squared_distance
    assert section.rank_correlation is not None
    assert section.trivial_rank_correlation is not None
    assert section.by_trace.pairs == 9


@pytest.mark.parametrize("kind", ["feedforward", "recurrent", "readout"])
def test_measured_is_the_loss_of_the_rounded_network(make_objective: MakeObjective, kind: str) -> None:
    objective = make_objective(kind)
    weights = objective.weights(requires_grad=False)
    narrow = {(name, bits): rounded(weight, bits, "channel") for name, weight in weights.items() for bits in (2, 3)}
    done: list[int] = []
    costs = measured_costs(objective, narrow, done.append)
    assert done == [objective.samples]
    baseline, labels = objective.losses(), objective.labels
    before = (objective.counts().argmax(1) == labels).double()
    for (name, bits), cost in costs.items():
        counts = objective.counts({name: narrow[name, bits]})
        rows = objective.loss.values(counts, labels) - baseline
        right = (counts.argmax(1) == labels).double()
        assert cost.increase == pytest.approx(float(rows.mean()), rel=1e-9, abs=1e-12)
        assert cost.error == pytest.approx(float(rows.std()) / np.sqrt(len(rows)), rel=1e-9, abs=1e-12)
        assert cost.accuracy == float(right.mean())
        assert cost.accuracy_error == pytest.approx(float((right - before).std()) / np.sqrt(len(rows)))
    assert any(cost.increase != 0 for cost in costs.values())
    same = measured_costs(objective, {("w_out", 8): weights["w_out"]})["w_out", 8]
    assert (same.increase, same.error, same.accuracy, same.accuracy_error) == (0.0, 0.0, float(before.mean()), 0.0)
    assert measured_costs(objective, {}) == {}


def test_wide_rounding_costs_next_to_nothing(make_objective: MakeObjective) -> None:
    section = run(make_objective(), SPEC.model_copy(update={"widths": (2, 16)}))
    for layer in section.layers:
        assert layer.widths[1].predicted < 1e-6 * max(layer.widths[0].predicted, 1e-9) + 1e-9
        assert layer.widths[1].measured == pytest.approx(0.0, abs=1e-9)


def test_same_seed_same_section(make_objective: MakeObjective) -> None:
    objective = make_objective()
    first, again, other = (
        run(objective, seed=seed).model_copy(update={"seconds": 0.0, "peak_bytes": 0}) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_samples_are_drawn_by_the_seed(make_objective: MakeObjective) -> None:
    objective = make_objective()
    few = SPEC.model_copy(update={"max_samples": 5})
    sections = [run(objective, few, seed=seed) for seed in (0, 1)]
    assert [section.samples for section in sections] == [5, 5]
    assert sections[0].baseline_loss != sections[1].baseline_loss


def test_measure_off_says_that_it_is_not_known(make_objective: MakeObjective) -> None:
    section = run(make_objective(), SPEC.model_copy(update={"measure": "off"}))
    assert section.rank_correlation is None
    assert all(cell.measured is None for layer in section.layers for cell in layer.widths)
    assert "not known" in section.statement


def test_one_sample_has_no_standard_error(make_objective: MakeObjective) -> None:
    section = run(make_objective(), SPEC.model_copy(update={"max_samples": 1}))
    assert {cell.measured_error for layer in section.layers for cell in layer.widths} == {None}


def test_granularity_changes_the_rounding(make_objective: MakeObjective) -> None:
    per_channel, per_layer = (
        run(make_objective(), SPEC.model_copy(update={"granularity": kind})) for kind in ("channel", "layer")
    )
    for a, b in zip(per_channel.layers, per_layer.layers, strict=True):
        assert a.widths[0].squared_distance < b.widths[0].squared_distance


def test_nothing_it_was_given_is_changed(make_objective: MakeObjective) -> None:
    objective = make_objective()
    before = [c.weight.copy() for c in objective.network.weighted if c.weight is not None]
    x, y = objective.x.copy(), objective.y.copy()
    run(objective)
    for connection, weight in zip(objective.network.weighted, before, strict=True):
        np.testing.assert_array_equal(connection.weight, weight)
    np.testing.assert_array_equal(objective.x, x)
    np.testing.assert_array_equal(objective.y, y)


def test_logit_scale_is_chosen_on_request(make_objective: MakeObjective) -> None:
    objective = make_objective()
    chosen = run(objective, SPEC.model_copy(update={"logit_scale": None}))
    counts, labels = objective.counts().numpy(), objective.y
    margins = [row[label] - np.delete(row, label).max() for row, label in zip(counts, labels, strict=True)]
    middle = sorted(np.abs(margins))[(len(margins) - 1) // 2]  # torch's median: the lower of two
    assert middle > 0
    assert chosen.logit_scale == pytest.approx(4 / middle)
    with pytest.raises(InvalidSpec, match="loss 'mse_counts' needs a logit_scale"):
        run(make_objective(), SPEC.model_copy(update={"logit_scale": None, "loss": "mse_counts"}))


def test_saturated_outputs_are_owned_up_to(make_objective: MakeObjective) -> None:
    objective = make_objective("readout")
    steep = run(objective, SPEC.model_copy(update={"logit_scale": 1e4}))
    assert "saturated at this logit scale" in steep.statement
    assert "saturated" not in run(objective).statement
    assert "saturated" not in run(objective, SPEC.model_copy(update={"loss": "mse_counts"})).statement


def test_no_samples_are_refused(make_objective: MakeObjective) -> None:
    objective = make_objective()
    with pytest.raises(InvalidSpec, match="expected weight layers and samples, got 2 and 0"):
        analyse(objective.network, objective.x[:0], objective.y[:0], SPEC, seed=0, events=Silent())


def sensitivities(
    predicted: list[float], measured: list[float | None], distance: list[float], error: float | None = 0.01
) -> list[LayerSensitivity]:
    return [
        LayerSensitivity(
            layer=f"l{k}",
            parameters=1,
            trace=1.0,
            standard_error=0.0,
            probes=8,
            converged=True,
            trace_per_parameter=1.0,
            widths=(WidthLoss(bits=3, predicted=p, measured=m, measured_error=error, squared_distance=d),),
        )
        for k, (p, m, d) in enumerate(zip(predicted, measured, distance, strict=True))
    ]


@pytest.mark.parametrize(
    ("predicted", "verdict"),
    [
        ([1.0, 2.0, 3.0, 4.0], "ranking holds on"),
        ([2.0, 1.0, 4.0, 3.0], "holds in part"),
        ([4.0, 3.0, 2.0, 1.0], "does not"),
    ],
)
def test_statement_is_honest(predicted: list[float], verdict: str) -> None:
    layers = sensitivities(predicted, [2.0, 4.0, 6.0, 8.0], [1.0, 1.0, 2.0, 1.0])
    found = judge_predictions(layers)
    assert verdict in found.statement
    assert found.by_trace.rank_correlation == rank_correlation(predicted, [2.0, 4.0, 6.0, 8.0])
    assert found.trivial is not None
    assert found.holds == ("neither" if verdict == "does not" else "trace")
    assert ("do not rely on the predictions" in found.statement) == (verdict == "does not")


def test_statement_owns_up_to_the_trivial_predictor_and_to_noise() -> None:
    layers = sensitivities([2.0, 1.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert "so that it is no better than the size of the rounding itself" in judge_predictions(layers).statement
    assert "predicted is 1 times measured in the median of the 3 pairs" in judge_predictions(layers).statement
    assert judge_predictions(layers).holds == "trace"
    few = sensitivities([1.0], [1.0], [1.0])
    assert judge_predictions(few).by_trace.rank_correlation is None
    assert judge_predictions(few).holds == "unknown"
    assert "too few" in judge_predictions(few).statement


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (10.0, "no measured increase is above twice its standard error"),
        (1.4, "only 1 of 4 measured increases is above"),
        (1.2, "only 2 of 4 measured increases are each above"),
        (None, "no measured increase is above"),  # one sample: its error is not known
    ],
)
def test_ranks_of_noise_are_no_verdict(error: float | None, said: str) -> None:
    """A perfect and a reversed ranking of increases that are noise say the same: nothing."""
    for predicted in ([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]):
        layers = sensitivities(predicted, [0.5, 1.0, 2.6, 3.0], [1.0, 3.0, 2.0, 4.0], error=error)
        found = judge_predictions(layers)
        assert found.holds == "unknown"
        assert f"holds on this network cannot be told: {said}" in found.statement
        assert "The predicted ranking" not in found.statement


def test_the_sentence_is_of_the_better_prediction_where_neither_holds() -> None:
    layers = [
        layer.model_copy(update={"widths": (layer.widths[0].model_copy(update={"quadratic": quadratic}),)})
        for layer, quadratic in zip(
            sensitivities([4.0, 3.0, 2.0, 1.0], [2.0, 4.0, 6.0, 8.0], [1.0] * 4), [3.0, 1.0, 2.0, 4.0], strict=True
        )
    ]
    found = judge_predictions(layers)
    assert found.holds == "neither"
    assert "does not hold on this network: rank correlation 0.40 (the quadratic form" in found.statement
    assert "by the trace: -1.00" in found.statement


def test_rank_correlation_shares_ranks_of_ties() -> None:
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == 1.0
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1.0
    assert rank_correlation([1, 1, 2], [1, 2, 3]) == pytest.approx(np.sqrt(0.75))
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2], [1, 2]) is None


def test_the_better_prediction_holds() -> None:
    layers = sensitivities([2.0, 1.0, 4.0, 3.0], [2.0, 4.0, 6.0, 8.0], [1.0, 1.0, 2.0, 1.0])
    better = [
        layer.model_copy(update={"widths": (layer.widths[0].model_copy(update={"quadratic": quadratic}),)})
        for layer, quadratic in zip(layers, [1.0, 2.0, 3.0, 40.0], strict=True)
    ]
    found = judge_predictions(better)
    assert found.holds == "quadratic"
    assert found.by_quadratic.rank_correlation == 1.0
    assert found.by_quadratic.calibration == pytest.approx(0.5)
    assert found.by_quadratic.within_ten == 1.0
    assert "ranking holds on" in found.statement
    assert "rank correlation 1.00 (the quadratic form of the actual rounding)" in found.statement
    assert "; by the trace: 0.60; ‖δW‖² alone" in found.statement
    assert "predicted is 0.5 times measured" in found.statement


def test_sizes_that_fail_are_owned_up_to() -> None:
    layers = sensitivities([100.0, 200.0, 300.0, 4.0], [1.0, 2.0, 3.0, 0.5], [1.0, 3.0, 2.0, 1.0])
    found = judge_predictions(layers)
    assert found.by_trace.within_ten == 0.25
    assert "ranking holds on" in found.statement
    assert "within a factor of ten in only 25% of them: its size is not to be relied on" in found.statement


def test_quadratic_forms_are_those_of_the_explicit_hessian(make_objective: MakeObjective) -> None:
    objective = make_objective("recurrent")
    weight = objective.weights(requires_grad=False)["w_rec"]
    change = rounded(weight, 3, "channel") - weight
    v = change.flatten()
    for hessian, matrix in ((True, hessian_block), (False, gauss_newton_block)):
        exact = float(gradient(objective)["w_rec"].flatten() @ v + 0.5 * v @ matrix(objective, "w_rec") @ v)
        found = quadratic_increases(objective, {("w_rec", 3): change}, hessian=hessian, dtype=torch.float64)
        assert found["w_rec", 3][0] == pytest.approx(exact, rel=1e-9)
        assert found["w_rec", 3][1] is not None


def test_the_slope_is_chosen_by_what_was_measured(make_objective: MakeObjective) -> None:
    objective = make_objective()
    certain = replace(objective, y=objective.counts().argmax(1).numpy())  # so that rounding costs something
    section = run(certain, SPEC.model_copy(update={"surrogate": None}))
    assert [check.slope for check in section.slope_checks] == list(SLOPES)
    best = min(section.slope_checks, key=lambda check: check.log_error)
    assert section.surrogate_slope == best.slope
    for check in section.slope_checks:
        assert len(check.layers) == len(check.predicted) == len(check.measured) == len(check.bits)
        assert set(check.bits) <= {2, 3}
    layer = next(layer for layer in section.layers if layer.layer == best.layers[0])
    cell = next(c for c in layer.widths if c.bits == best.bits[0])
    assert cell.quadratic == pytest.approx(best.predicted[0], rel=1e-3)
    assert cell.measured == pytest.approx(best.measured[0])


def test_without_a_clear_rounding_the_usual_slope_is_taken(make_objective: MakeObjective) -> None:
    section = run(make_objective(), SPEC.model_copy(update={"surrogate": None, "max_samples": 1}))
    blank = run(make_objective(logit_scale=1e-9), SPEC.model_copy(update={"surrogate": None, "logit_scale": 1e-12}))
    assert section.surrogate_slope in SLOPES
    assert blank.surrogate_slope == 6.0
    assert blank.slope_checks == ()


def test_both_quantities_are_reported_apart(make_objective: MakeObjective) -> None:
    ggn, hessian = (run(make_objective(), SPEC.model_copy(update={"quantity": q})) for q in ("ggn", "hessian"))
    assert (ggn.quantity, hessian.quantity) == ("ggn", "hessian")
    for a, b in zip(ggn.layers, hessian.layers, strict=True):
        assert a.exact
        assert a.exact_share == 1
        assert b.exact_share < 1
        assert a.trace == pytest.approx(b.gauss_newton, rel=1e-4)
        assert a.trace != pytest.approx(b.trace, rel=1e-3)
        assert len(a.channels) == len(a.channel_errors) > 0


def test_peak_memory_is_reported(make_objective: MakeObjective) -> None:
    section = run(make_objective())
    assert section.peak_bytes is not None
    assert section.peak_bytes > 2**26


@pytest.mark.parametrize("reset_gradient", ["through", "detached"])
def test_weights_so_large_that_losses_overflow_are_refused(make_objective: MakeObjective, reset_gradient: str) -> None:
    objective = make_objective("readout")
    huge = [replace(c, weight=None if c.weight is None else c.weight * 1e160) for c in objective.network.connections]
    objective = replace(objective, network=replace(objective.network, connections=tuple(huge)))
    with pytest.raises(InvalidSpec, match="overflow"):
        run(objective, SPEC.model_copy(update={"reset_gradient": reset_gradient}))


def test_a_loss_that_no_scale_is_chosen_for_needs_one() -> None:
    with pytest.raises(ValidationError, match="'mse_counts' needs a logit_scale"):
        SensitivityStep(loss="mse_counts", logit_scale=None)
