"""Trace estimators against explicit matrices, for every layer type, reset, readout and loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.curvature import exact_rest
from engine.curvature import objective as objective_module
from engine.curvature.blocks import Blocks
from engine.curvature.estimator import Clock, LayerTrace, StopRule
from engine.curvature.gauss_newton import GaussNewton, gauss_newton
from engine.curvature.ggn import ggn_trace
from engine.curvature.hessian import hessian_trace, rest_probe
from engine.curvature.registry import ESTIMATORS, estimator
from engine.curvature.shards import Merged, merge
from engine.errors import InvalidSpec
from engine.reference.ggn_exact import ggn_traces
from engine.reference.hessian_exact import gauss_newton_block, hessian_block
from engine.specs.steps import SensitivityStep
from tests.curvature.networks import CASES, Case, objective_of

CHANNEL_BY_CHANNEL = ("dropped_input", "recurrent", "recurrent_dropped", "two_layer_cycle", "delays_in_a_loop")
LINEAR_FILTERS = (
    Case("one_leak", form="uniform", preset="snntorch-leaky"),
    Case("one_leak_readout", form="uniform_readout", preset="snntorch-leaky", readout="membrane_sum"),
    Case("one_leak_convolution", form="uniform_convolution", preset="snntorch-leaky"),
    Case("one_leak_cubalif", form="uniform_readout", kind="cubalif", readout="membrane_sum", preset="snntorch-leaky"),
    Case("one_leak_recurrent", form="uniform_recurrent", preset="snntorch-leaky"),
    Case("one_leak_skip", form="uniform_skip", preset="snntorch-leaky"),
)


class Silent:
    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        assert 0 < done <= total


def fixed(probes: int, error: float = 1e-9) -> StopRule:
    return StopRule(relative_error=error, min_probes=probes, max_probes=probes)


def sampled(case: Case, probes: int, seed: int = 0, reset_gradient: str = "through") -> GaussNewton:
    blocks = Blocks(objective_of(case, reset_gradient))
    return gauss_newton(blocks, fixed(probes), seed, Silent(), Clock(), allow_exact=False)


@pytest.mark.parametrize("reset_gradient", ["through", "detached"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exact_gauss_newton_is_the_explicit_trace(case: Case, reset_gradient: str) -> None:
    objective = objective_of(case, reset_gradient)
    for found in ggn_trace(objective, fixed(64), 0, Silent()):
        block = gauss_newton_block(objective, found.layer)
        assert found.exact
        assert found.standard_error == 0
        assert found.trace == pytest.approx(float(block.trace()), rel=1e-9)
        assert found.trace == found.gauss_newton
        channels = block.diagonal().reshape(len(found.channels), -1).sum(1)
        assert found.channels == pytest.approx(channels.tolist(), rel=1e-9, abs=1e-12 * found.trace)


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.name)
def test_random_outputs_are_within_their_error(case: Case) -> None:
    exact, found = ggn_traces(objective_of(case)), sampled(case, 200)
    for layer, (name, trace) in enumerate(exact.items()):
        error = float(found.variance[layer]) ** 0.5
        assert abs(float(found.trace[layer]) - trace) <= 3.5 * error + 1e-9 * trace, name
        assert error < 0.15 * trace
    assert float(found.channels.sum()) == pytest.approx(float(found.trace.sum()))


@pytest.mark.parametrize("bytes_kept", [3 * 2 * 8 * 7**2 - 1, 2 * 8 * 7**2 - 1])
def test_closed_terms_are_the_same_with_little_memory(bytes_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gram matrices of two samples at once and then one; none at all, step by step."""
    objective = objective_of(LINEAR_FILTERS[0], "detached", samples=3, steps=7)
    whole = hessian_trace(objective, fixed(60), 0, Silent())
    monkeypatch.setattr(exact_rest, "KEPT_BYTES", bytes_kept)
    little = hessian_trace(objective, fixed(60), 0, Silent())
    assert [layer.trace for layer in little] == pytest.approx([layer.trace for layer in whole], rel=1e-12)
    assert any(layer.exact and layer.trace != layer.gauss_newton for layer in little)


@pytest.mark.parametrize(
    ("case", "reset_gradient"),
    [*((case, "through") for case in CASES[::6]), *((case, "detached") for case in LINEAR_FILTERS[::2])],
    ids=lambda given: getattr(given, "name", given),
)
def test_hessian_trace_is_within_its_error(case: Case, reset_gradient: str) -> None:
    objective = objective_of(case, reset_gradient, samples=2, steps=6)
    stop = StopRule(relative_error=0.02, min_probes=50, max_probes=200)
    for found in hessian_trace(objective, stop, 1, Silent()):
        exact = float(hessian_block(objective, found.layer).trace())
        slack = 1e-5 * found.gauss_newton  # the jitter of a Gram matrix's root
        assert abs(found.trace - exact) <= 3.8 * found.standard_error + slack, (found, exact)
        assert found.gauss_newton == pytest.approx(float(gauss_newton_block(objective, found.layer).trace()))


@pytest.mark.parametrize("case", LINEAR_FILTERS[:4], ids=lambda case: case.name)
def test_closed_terms_are_exact(case: Case) -> None:
    objective = objective_of(case, "detached", samples=3, steps=7)
    found = hessian_trace(objective, fixed(60), 0, Silent())
    exact = [layer for layer in found if layer.exact]
    expected = {"uniform_convolution": {"fc"}, "uniform_readout": {"w_in", "w_mid", "w_out"}}
    if case.kind == "cubalif":  # a next layer with a current of its own is not closed
        expected["uniform_readout"] = {"w_mid", "w_out"}
    assert {layer.layer for layer in exact} == expected.get(case.form, {"w_in", "w_out"})
    for layer in exact:
        assert layer.probes == 0
        assert layer.trace == pytest.approx(float(hessian_block(objective, layer.layer).trace()), rel=1e-9)


@pytest.mark.parametrize(
    ("case", "reset_gradient"),
    [
        *((case, "through") for case in CASES if case.name in ("subtract_same_step", "convolution", "skip", "scaled")),
        *((case, "detached") for case in LINEAR_FILTERS[:3]),
        *((case, "through") for case in CASES if case.name in CHANNEL_BY_CHANNEL),
    ],
    ids=lambda given: getattr(given, "name", given),
)
def test_hessian_of_output_channels_is_within_its_error(case: Case, reset_gradient: str) -> None:
    objective = objective_of(case, reset_gradient, samples=2, steps=6)
    for found in hessian_trace(objective, fixed(150), 1, Silent(), channels=True):
        block = hessian_block(objective, found.layer)
        exact = block.diagonal().reshape(len(found.channels), -1).sum(1)
        assert sum(found.channels) == pytest.approx(found.trace, rel=1e-9, abs=1e-12 * found.gauss_newton)
        for trace, error, wanted in zip(found.channels, found.channel_errors, exact.tolist(), strict=True):
            assert abs(trace - wanted) <= 4.0 * error + 1e-5 * found.gauss_newton, (found, exact)
    closed = [layer for layer in hessian_trace(objective, fixed(9), 0, Silent()) if layer.channels]
    assert all(layer.exact for layer in closed)  # without being asked only where no probe is needed


def test_what_is_not_closed_says_so() -> None:
    for case in (LINEAR_FILTERS[4], CASES[0]):
        for layer in hessian_trace(objective_of(case), fixed(8), 0, Silent()):
            assert not layer.exact
            assert 0 < layer.exact_share < 1
            assert layer.probes == 8


def test_a_sample_without_a_gram_matrix_draws_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of(CASES[0], samples=3, steps=3)  # fewer steps than inputs: Gram matrix
    wide = Blocks(objective)
    (block,) = wide
    assert block.norms.wide(block.network.wire("w_in"))
    for found in hessian_trace(objective, fixed(300), 0, Silent()):
        exact = float(hessian_block(objective, found.layer).trace())
        assert abs(found.trace - exact) <= 3.5 * found.standard_error + 1e-5 * found.gauss_newton


@pytest.mark.parametrize("name", ["recurrent", "convolution"])
def test_vectors_that_a_block_shares_are_unbiased_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.curvature.directions.OWN_BYTES", 0)
    monkeypatch.setattr("engine.curvature.norms.KEPT_BYTES", 0)
    objective = objective_of(next(case for case in CASES if case.name == name), samples=3, steps=7)
    (block,) = Blocks(objective)
    layer = "w_rec" if name == "recurrent" else "conv1"
    probe = rest_probe(block, layer)
    assert probe(0, 0).units.shape == (1, 1)
    for found in hessian_trace(objective, fixed(400), 0, Silent()):
        exact = float(hessian_block(objective, found.layer).trace())
        assert abs(found.trace - exact) <= 3.5 * found.standard_error + 1e-5 * found.gauss_newton


def test_blocks_do_not_change_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in (CASES[0], next(case for case in CASES if case.name == "recurrent")):
        objective = objective_of(case)
        whole = ggn_trace(objective, fixed(8), 0, Silent())
        monkeypatch.setattr(objective_module, "BLOCK_BYTES", 0)
        assert [len(labels) for _, labels in objective.blocks(64)] == [1] * objective.samples
        for single, together in zip(ggn_trace(objective, fixed(8), 0, Silent()), whole, strict=True):
            assert single.trace == pytest.approx(together.trace, rel=1e-12)
        monkeypatch.undo()
        exact = {found.layer: float(hessian_block(objective, found.layer).trace()) for found in whole}
        monkeypatch.setattr(objective_module, "BLOCK_BYTES", 0)
        for found in hessian_trace(objective, fixed(30), 0, Silent()):
            slack = 1e-5 * found.gauss_newton
            assert abs(found.trace - exact[found.layer]) <= 3.5 * found.standard_error + slack
        monkeypatch.undo()


def test_pieces_merge_to_the_same_digits_in_any_order() -> None:
    objective = objective_of(CASES[0], samples=8)
    blocks = Blocks(objective)
    (block,) = blocks
    probe = rest_probe(block, "w_in")
    pieces = [probe(5, number) for number in range(20)]
    again = [rest_probe(block, "w_in")(5, number) for number in reversed(range(20))]
    whole, shuffled = merge(pieces), merge(again)
    assert torch.equal(whole.units, shuffled.units)
    assert torch.equal(whole.mean(), shuffled.mean())
    assert torch.equal(whole.variance(), shuffled.variance())
    with pytest.raises(ValueError, match="each of 1 blocks once for 20 probes, got 21 pieces"):
        merge([*pieces, pieces[0]])


def test_stated_error_is_the_spread_of_repeated_estimates() -> None:
    runs = [sampled(CASES[0], 4, seed=seed) for seed in range(80)]
    for layer in range(2):
        spread = np.std([float(run.trace[layer]) for run in runs], ddof=1)
        stated = math.sqrt(np.mean([float(run.variance[layer]) for run in runs]))
        assert spread == pytest.approx(stated, rel=0.3)


def test_standard_error_falls_as_one_over_the_root_of_probes() -> None:
    few, many = sampled(CASES[0], 60), sampled(CASES[0], 960, seed=1)
    torch.testing.assert_close((few.variance / many.variance).sqrt(), torch.full((2,), 4.0).double(), rtol=0.35, atol=0)


def test_stops_when_every_layer_has_the_asked_error() -> None:
    stop = StopRule(relative_error=0.05, min_probes=2, max_probes=5000)
    blocks = Blocks(objective_of(CASES[0]))
    found = gauss_newton(blocks, stop, 0, Silent(), Clock(), allow_exact=False)
    assert bool((found.variance.sqrt() <= 0.05 * found.trace).all())
    assert 2 <= found.probes < 1500


def test_an_error_of_few_random_numbers_stops_nothing() -> None:
    """Two probes of one sample can agree by luck: their error says nothing yet."""
    loose = StopRule(relative_error=0.9, min_probes=2, max_probes=200)
    for seed in range(5):
        alone = Blocks(objective_of(CASES[0], samples=1))
        assert gauss_newton(alone, loose, seed, Silent(), Clock(), allow_exact=False).probes > 12
        layers = hessian_trace(objective_of(CASES[0], samples=1), loose, seed, Silent())
        assert all(layer.probes > 12 or layer.standard_error == 0 for layer in layers)
    many = Blocks(objective_of(CASES[0], samples=60))
    assert gauss_newton(many, loose, 0, Silent(), Clock(), allow_exact=False).probes == 2


def test_degrees_of_freedom_of_a_variance() -> None:
    generator = torch.Generator().manual_seed(0)

    def of(probes: int, units: int) -> float:
        values = torch.randn(probes, units, 1, generator=generator, dtype=torch.float64)
        return float(Merged(values, torch.zeros(probes, 0)).degrees())

    assert of(5, 1) == pytest.approx(4)
    assert of(2, 1) == pytest.approx(1)
    assert np.mean([of(3, 500) for _ in range(20)]) == pytest.approx(1000, rel=0.05)
    assert Merged(torch.ones(4, 3, 1), torch.zeros(4, 0)).degrees().tolist() == [math.inf]
    assert Merged(torch.ones(1, 3, 1), torch.zeros(1, 0)).degrees().tolist() == [0.0]


def test_many_asked_probes_turn_into_all_outputs() -> None:
    stop = StopRule(relative_error=1e-6, min_probes=2, max_probes=50)
    for layer in ggn_trace(objective_of(CASES[0]), stop, 0, Silent()):
        assert layer.exact
        assert layer.converged
        assert layer.probes == 4  # a Hadamard matrix's order for three outputs
        assert layer.trace == pytest.approx(ggn_traces(objective_of(CASES[0]))[layer.layer], rel=1e-9)


def test_drawn_without_replacement_the_stated_error_is_the_spread() -> None:
    objective = replace(objective_of(Case("many", form="many_outputs")), reset_gradient="through")
    blocks, exact = Blocks(objective), ggn_traces(objective)
    runs = [gauss_newton(blocks, fixed(6), seed, Silent(), Clock()) for seed in range(80)]
    free = [gauss_newton(blocks, fixed(6), seed, Silent(), Clock(), allow_exact=False) for seed in range(80)]
    for layer, trace in enumerate(exact.values()):
        found = [float(run.trace[layer]) for run in runs]
        stated = math.sqrt(np.mean([float(run.variance[layer]) for run in runs]))
        assert abs(np.mean(found) - trace) <= 4 * stated / math.sqrt(len(runs))
        assert np.std(found, ddof=1) == pytest.approx(stated, rel=0.3)
        assert np.std(found) < 0.8 * np.std([float(run.trace[layer]) for run in free])


def test_caps_are_flagged() -> None:
    for stop, probes in (
        (StopRule(relative_error=1e-6, min_probes=4, max_probes=11), 11),
        (StopRule(relative_error=1e-6, min_probes=4, max_probes=10**6, max_seconds=1e-9), 4),
    ):
        for layer in hessian_trace(objective_of(CASES[0]), stop, 0, Silent()):
            assert layer.probes == probes
            assert not layer.converged


def test_same_seed_same_numbers_and_no_global_state() -> None:
    def estimate(seed: int) -> tuple[LayerTrace, ...]:
        return hessian_trace(objective_of(CASES[0]), fixed(5), seed, Silent())

    before = torch.get_rng_state()
    assert estimate(3) == estimate(3)
    assert estimate(3) != estimate(4)
    assert torch.equal(before, torch.get_rng_state())


def test_float32_gives_the_same_trace() -> None:
    for case in CASES[::9]:
        objective = objective_of(case)
        for rough, exact in zip(
            ggn_trace(objective, fixed(8), 0, Silent(), torch.float32),
            ggn_trace(objective, fixed(8), 0, Silent()),
            strict=True,
        ):
            assert rough.trace == pytest.approx(exact.trace, rel=1e-4)


def test_overflow_is_refused_by_layer() -> None:
    objective = objective_of(CASES[0])
    loud = type(objective)(**{**vars(objective), "loss": type(objective.loss)(1e300)})
    with pytest.raises(InvalidSpec, match="gradients of layer 'w_in' overflow"):
        ggn_trace(loud, fixed(4), 0, Silent())


def test_registry_serves_every_quantity_of_the_spec() -> None:
    quantity = SensitivityStep.model_fields["quantity"].annotation
    assert set(ESTIMATORS) == set(quantity.__args__)  # type: ignore[union-attr]
    with pytest.raises(InvalidSpec, match="unknown quantity 'fisher'; known: ggn, hessian"):
        estimator("fisher")
