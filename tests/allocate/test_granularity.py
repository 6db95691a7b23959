"""Scales by layer or by channel where both compete with bits for the same bytes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.allocate import granularity
from engine.allocate.allocate import allocate
from engine.allocate.granularity import coarser
from engine.errors import InvalidSpec
from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.program.sizes import payload_bytes
from engine.quantizers.mse import mse_scale
from engine.specs.dynamics import PRESETS
from engine.specs.plan import Plan, WeightPlan
from engine.specs.planned import LayerSensitivity, SensitivitySection, WidthLoss
from engine.specs.steps import AllocateStep

WIDTHS = (2, 3, 4, 6)
TRACES = {"alike": 5.0, "unlike": 5.0}


def network() -> Network:
    """The rows of one layer are alike, those of the other differ by factors of up to 100."""
    rng = np.random.default_rng(0)
    rows = 10.0 ** np.linspace(-1, 1, 8)[:, None]

    def layer(name: str, n: int) -> NeuronLayer:
        zero, one = np.zeros(n), np.ones(n)
        return NeuronLayer(name, "lif", (n,), 0.9 * one, one, zero, zero, zero, one)

    connections = (
        Connection("alike", INPUT, "n1", "linear", (20,), (12,), rng.normal(size=(12, 20))),
        Connection("unlike", "n1", "n2", "linear", (12,), (8,), rows * rng.normal(size=(8, 12))),
    )
    return Network(PRESETS["nir-paper"], (20,), (layer("n1", 12), layer("n2", 8)), connections, "n2")


def distance(weight: Any, bits: int, axis: int | None) -> float:
    """‖δW‖² by hand, from the scale alone."""
    import torch

    tensor = torch.as_tensor(weight)
    scale, top = mse_scale(tensor, bits, axis), 2 ** (bits - 1) - 1
    return float(((tensor / scale).round().clamp(-top, top) * scale - tensor).square().sum())


def section(net: Network) -> SensitivitySection:
    layers = []
    for connection in net.weighted:
        weight = connection.weight
        assert weight is not None
        n, trace = weight.size, TRACES[connection.name]
        cells = tuple(
            WidthLoss(bits=b, predicted=0.5 * trace / n * distance(weight, b, 0), squared_distance=1.0) for b in WIDTHS
        )
        layers.append(
            LayerSensitivity(
                layer=connection.name,
                parameters=n,
                trace=trace,
                standard_error=0.0,
                probes=8,
                converged=True,
                trace_per_parameter=trace / n,
                widths=cells,
            )
        )
    return SensitivitySection(
        quantity="ggn", loss="cross_entropy", logit_scale=1.0, surrogate_kind="arctan", surrogate_slope=6.0,
        reset_gradient="through", samples=8, seed=0, baseline_loss=0.1, layers=tuple(layers), statement="", seconds=0.0,
    )  # fmt: skip


def loss_of(net: Network, plan: Plan) -> float:
    total = 0.0
    for connection in net.weighted:
        entry, weight = plan.weights[connection.name], connection.weight
        assert weight is not None
        axis = 0 if entry.granularity == "channel" else None
        total += 0.5 * TRACES[connection.name] / weight.size * distance(weight, entry.bits, axis)
    return total


@pytest.mark.parametrize("exhaustive", [True, False])
@pytest.mark.parametrize("budget", [165, 175, 185, 200])
def test_auto_is_the_best_of_all_combinations(budget: int, exhaustive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exhaustive:
        monkeypatch.setattr(granularity, "EXHAUSTIVE", 0)
    net = network()
    step = AllocateStep(
        widths=WIDTHS, mean_weight_bits=None, program_bytes=budget, predictor="trace", granularity="auto"
    )
    found = allocate(net, section(net), step, lambda plan: payload_bytes(net, plan))
    reachable = []
    for bits in itertools.product(WIDTHS, repeat=2):
        for scales in itertools.product(("layer", "channel"), repeat=2):
            entries = {
                c.name: WeightPlan(bits=b, granularity=g)  # type: ignore[arg-type]
                for c, b, g in zip(net.weighted, bits, scales, strict=True)
            }
            plan = Plan(weights=entries, neurons=found.plan.neurons)
            if payload_bytes(net, plan) <= budget:
                reachable.append(loss_of(net, plan))
    assert payload_bytes(net, found.plan) <= budget
    assert loss_of(net, found.plan) == pytest.approx(min(reachable), rel=1e-6)
    assert found.predicted_loss == pytest.approx(min(reachable), rel=1e-4)


def test_alike_rows_share_a_scale_and_unlike_ones_do_not() -> None:
    net = network()
    step = AllocateStep(widths=WIDTHS, mean_weight_bits=None, program_bytes=165, predictor="trace", granularity="auto")
    plan = allocate(net, section(net), step, lambda plan: payload_bytes(net, plan)).plan
    assert {name: entry.granularity for name, entry in plan.weights.items()} == {"alike": "layer", "unlike": "channel"}


def test_one_scale_is_tried_where_nothing_else_fits() -> None:
    net = network()
    sizes = {
        g: payload_bytes(net, Plan(weights={c.name: WeightPlan(bits=2, granularity=g) for c in net.weighted}))  # type: ignore[arg-type]
        for g in ("layer", "channel")
    }
    assert sizes["layer"] < sizes["channel"]
    step = AllocateStep(
        widths=WIDTHS, mean_weight_bits=None, program_bytes=sizes["layer"], predictor="trace", granularity="auto"
    )
    plan = allocate(net, section(net), step, lambda plan: payload_bytes(net, plan)).plan
    assert {entry.granularity for entry in plan.weights.values()} == {"layer"}
    least = step.model_copy(update={"program_bytes": sizes["layer"] - 1})
    with pytest.raises(InvalidSpec, match="least"):
        allocate(net, section(net), least, lambda plan: payload_bytes(net, plan))


def test_without_a_byte_budget_scales_are_by_channel() -> None:
    net = network()
    step = AllocateStep(widths=WIDTHS, mean_weight_bits=3.0, predictor="trace", granularity="auto")
    plan = allocate(net, section(net), step, lambda plan: payload_bytes(net, plan)).plan
    assert {entry.granularity for entry in plan.weights.values()} == {"channel"}


def test_the_ratio_is_that_of_the_squared_roundings() -> None:
    net = network()
    factors = coarser(net, ("alike", "unlike"), (3, 4), "lsq", {"alike": "channel", "unlike": "layer"}, "channel")
    weight = net.weighted[1].weight
    assert factors[0].tolist() == [1.0, 1.0]
    for column, bits in enumerate((3, 4)):
        expected = distance(weight, bits, None) / distance(weight, bits, 0)
        assert factors[1, column] == pytest.approx(expected, rel=1e-9)
    assert replace(net, connections=net.connections[:1]).weighted[0].name == "alike"
