from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import NotRepresentable
from engine.network.model import Connection, Network
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.program.integerize import IntegerWeights, integer_layer, integerize, merged_bias, pool_factor
from engine.program.program import IntegerProgram
from engine.program.simulate import simulate_program
from engine.specs.plan import NeuronPlan
from tests.program.networks import convolutional, plan_of, recurrent

FINE = {"state_bits": 32, "fraction_bits": 12}


def _at_16_bits(network: Network, **neuron: Any) -> tuple[IntegerProgram, Network]:
    """A program with 16-bit weights on one scale, and the float network with those very weights."""
    step = 2.0**-12
    weights = {
        c.name: IntegerWeights(np.rint(c.weight * pool_factor(c) / step).astype(np.int64)) for c in network.weighted
    }
    scales = {layer.name: np.float32(step) for layer in network.layers}
    same = tuple(
        replace(c, weight=weights[c.name].values * step / pool_factor(c)) if c.weight is not None else c
        for c in network.connections
    )
    program = integerize(network, plan_of(network, 16, **(FINE | neuron)), weights, scales)
    return program, replace(network, connections=same)


@pytest.mark.parametrize(
    ("preset", "dynamics"),
    [
        ("nir-paper", {}),
        ("nir-paper", {"readout": "membrane_max"}),
        ("snntorch-leaky", {}),
        ("snntorch-synaptic-zero", {}),
        ("norse", {}),
        ("spikingjelly", {"start": "v_leak"}),
        ("sinabs", {"membrane_floor": "minus_threshold", "max_spikes": 2}),
        ("rockpool", {"max_spikes": 31}),
    ],
)
@pytest.mark.parametrize("make", [recurrent, convolutional])
def test_a_fine_program_follows_the_float_network(make: Any, preset: str, dynamics: dict[str, Any]) -> None:
    """With 16-bit weights and 12 fraction bits, spikes differ only where a membrane grazes a threshold."""
    program, network = _at_16_bits(make(preset, **dynamics))
    x = torch.as_tensor(np.random.default_rng(2).random((15, 6, *network.input_shape)) < 0.3).double()
    mine, theirs = simulate_program(program, x, ("*",)), run(prepare(network), x, record=("*",))
    for layer in network.layers:
        assert theirs.spikes[layer.name].sum() > 0
        assert (mine.spikes[layer.name] != theirs.spikes[layer.name]).double().mean() < 0.02
    if network.dynamics.readout != "spike_count":
        unit = float(program.layer(network.output).scale[0]) * 2.0**-12 * float(network.layers[-1].gain[0])
        np.testing.assert_allclose(mine.counts.numpy() * unit, theirs.counts.numpy(), atol=0.02)


def test_gains_go_to_thresholds_and_drive_never_to_weights() -> None:
    network = recurrent(kind="lif", gain=1.0)
    gain = np.linspace(0.5, 2, 9)
    hid = replace(network.layers[0], gain=gain, drive=gain * 0.25)
    layer = integer_layer(hid, network.dynamics, NeuronPlan(fraction_bits=4), 0.125, np.zeros(9))
    assert layer.fire_at is not None
    assert layer.bias is not None
    np.testing.assert_array_equal(layer.fire_at, np.floor(1 / (0.125 / 16 * gain)) + 1)
    np.testing.assert_array_equal(layer.bias, np.full(9, 32))  # 0.25 in units of 1/128


def test_a_current_keeps_connection_biases_apart_from_drive() -> None:
    network = recurrent()
    layer = integer_layer(network.layers[0], network.dynamics, NeuronPlan(fraction_bits=4), 0.125, np.full(9, 0.5))
    assert layer.bias is None
    assert layer.bias_i is not None
    np.testing.assert_array_equal(layer.bias_i, np.full(9, 64))


def test_biases_merge_through_the_maps_after_the_weights() -> None:
    network = convolutional()
    bias = network.connections[0].bias
    assert bias is not None
    expected = np.broadcast_to(bias[:, None, None], (4, 4, 4))  # an average keeps a constant
    np.testing.assert_allclose(merged_bias(network, "maps"), expected)
    both = recurrent()
    np.testing.assert_allclose(merged_bias(both, "hid"), both.connections[0].bias + both.connections[1].bias)  # type: ignore[operator]


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_factors_at_or_below_zero_are_refused_by_name(gain: float) -> None:
    network = recurrent()
    values = np.ones(9)
    values[3] = gain
    bad = replace(network.layers[0], gain=values)
    with pytest.raises(NotRepresentable, match=rf"gain .* of neuron hid\[3\] must be > 0, found {gain:g}"):
        integer_layer(bad, network.dynamics, NeuronPlan(), 0.1, np.zeros(9))
    with pytest.raises(NotRepresentable, match=r"scale of neuron hid\[0\]"):
        integer_layer(network.layers[0], network.dynamics, NeuronPlan(), gain, np.zeros(9))


def test_a_membrane_that_is_read_out_has_one_unit() -> None:
    network = recurrent()
    with pytest.raises(NotRepresentable, match="all neurons need one unit"):
        integer_layer(
            network.layers[0], network.dynamics, NeuronPlan(), np.linspace(0.1, 1, 9), np.zeros(9), output=True
        )


def test_a_threshold_above_the_state_names_the_neuron() -> None:
    network = recurrent()
    silent = replace(network, connections=tuple(replace(c, bias=None) for c in network.connections))
    with pytest.raises(NotRepresentable, match=r"fire_at of neuron hid\[0\] is .* outside the 8-bit state"):
        _at_16_bits(silent, state_bits=8)


def test_missing_and_misshapen_integers_are_refused() -> None:
    network = recurrent()
    plan, scales = plan_of(network), {"hid": 0.1, "out": 0.1}
    with pytest.raises(NotRepresentable, match="no integer weights for layer 'fc1'"):
        integerize(network, plan, {}, scales)
    with pytest.raises(NotRepresentable, match=r"expected shape \(9, 12\), found \(2,\)"):
        integerize(network, plan, {"fc1": IntegerWeights(np.ones(2, np.int64))}, scales)


def test_spikes_that_enter_without_weights_need_a_power_of_two() -> None:
    network = recurrent()
    skip = Connection("skip", "hid", "hid", "identity", (9,), (9,), None, delayed=True)
    with_skip = replace(network, connections=(*network.connections, skip))
    program, _ = _at_16_bits(with_skip)
    assert int(program.connections[-1].exponents) == 12
    scales = {"hid": 0.3, "out": 0.1}
    weights = {c.name: IntegerWeights(np.ones(c.weight.shape, np.int64)) for c in network.weighted}  # type: ignore[union-attr]
    with pytest.raises(NotRepresentable, match="times a power of two"):
        integerize(with_skip, plan_of(network), weights, scales)
