"""Sizes of a program: exact once it exists, bounded from above before training."""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np

from engine.errors import NotRepresentable
from engine.network.model import Array, Network, NeuronLayer, SumPool
from engine.network.model import Connection as FloatConnection
from engine.program.pack import packed_bytes, program_arrays, shrink
from engine.program.program import INPUT, MAX_EXPONENT, IntArray, IntegerProgram
from engine.program.rounding import leak_entry
from engine.specs.plan import NeuronPlan, Plan, WeightPlan
from engine.specs.sizes import weight_bytes


def program_bytes(program: IntegerProgram) -> int:
    """Size of ``payload.bin``."""
    return sum(array.size_bytes for array in program_arrays(program))


def float_bytes(network: Network) -> int:
    """``4 × (weights + biases)`` of the upload."""
    arrays = [a for c in network.connections for a in (c.weight, c.bias) if a is not None]
    return 4 * sum(array.size for array in arrays)


def mean_weight_bits(program: IntegerProgram) -> float:
    """``Σ N_l·b_l / Σ N_l`` over weights; 0 for a program without any."""
    sizes = [(c.weight.size, c.bits) for c in program.connections if c.weight is not None]
    total = sum(size for size, _ in sizes)
    return sum(size * bits for size, bits in sizes) / total if total else 0.0


def state_bytes(program: IntegerProgram) -> int:
    """Memory of all state: membranes, currents, and the spikes of past steps where something needs them.

    Each is packed at its own width, each layer's array padded to whole bytes.
    """
    total = 0
    for layer in program.layers:
        variables = 1 if layer.leak_i is None else 2
        total += variables * packed_bytes(layer.size, layer.state_bits)
        steps = steps_held(program, layer.name)
        if layer.reset_timing == "next_step" and layer.reset != "none":
            steps = max(steps, 1)
        total += steps * packed_bytes(layer.size, layer.max_spikes.bit_length())
    held = program.input.hi - program.input.lo
    steps = steps_held(program, INPUT)
    return total + steps * packed_bytes(prod(program.input.shape), max(1, held.bit_length()))


def steps_held(program: IntegerProgram, source: str) -> int:
    """How many past steps of a source's values its connections look back: the length of its ring buffer."""
    late = [
        int(c.delayed) + (0 if c.delay is None else int(c.delay.max()))
        for c in program.connections
        if c.source == source
    ]
    return max(late, default=0)


def payload_bytes(network: Network, plan: Plan) -> int:
    """An upper bound of ``program_bytes`` before training; weights are exact, the rest at its widest.

    Exponents need at most 4 bits, thresholds one bit less than the state (a ``fire_at`` above the state's maximum is
    refused), biases and resets at most the state's width, leaks what they are. An array counts one entry where plan and
    network force it to be constant over the layer, one per channel where a channel shares everything that enters
    it, else one per neuron. What training makes smaller (narrower values, equal exponents) is saved on top, so a byte
    budget that this bound meets is met by the program.

    Args:
        network: before or after training.
        plan: widths; neuron layers left out take the defaults.
    """
    total = 0
    for connection in network.connections:
        total += _connection_bound(network, connection, plan)
    for layer in network.layers:
        total += _layer_bound(network, layer, plan)
    return total


def rest_bytes(network: Network, granularity: Literal["layer", "channel"]) -> int | None:
    """What :func:`payload_bytes` counts beyond the weights, at the default widths of neurons.

    Args:
        network: as uploaded.
        granularity: of all weights.

    Returns:
        None where a decay has no integers in the default leak form: only a plan says what it takes then.
    """
    plan = Plan(weights={c.name: WeightPlan(bits=8, granularity=granularity) for c in network.weighted})
    weights = sum(c.weight.size for c in network.weighted if c.weight is not None)
    try:
        return payload_bytes(network, plan) - weights
    except NotRepresentable:
        return None


def _connection_bound(network: Network, connection: FloatConnection, plan: Plan) -> int:
    """Weights at their width; exponents vary by row only where several connections with scales by row meet."""
    if connection.weight is None:
        return 1 + (0 if connection.delay is None else packed_bytes(*_delay_entries(connection.delay)))
    rows = connection.weight.shape[0]
    delays = 0 if connection.delay is None else packed_bytes(*_delay_entries(connection.delay))
    meets = len(network.into(connection.target)) > 1 and _scale_by_row(network, connection.target, plan)
    weights = weight_bytes(connection.weight.size, plan.weights[connection.name].bits)
    return weights + delays + packed_bytes(rows if meets else 1, MAX_EXPONENT.bit_length())


def _delay_entries(delay: IntArray) -> tuple[int, int]:
    """Entries and width of a connection's delays: exact, training does not change them."""
    return shrink(delay).size, max(1, int(delay.max()).bit_length())


def _layer_bound(network: Network, layer: NeuronLayer, plan: Plan) -> int:
    neuron = plan.neurons.get(layer.name, NeuronPlan())
    dynamics, bits = layer.obeys(network.dynamics), neuron.state_bits
    by_row = _scale_by_row(network, layer.name, plan)
    biases = [c for c in network.into(layer.name) if c.bias is not None]
    bias_entries = max((_bias_entries(c, layer) for c in biases), default=0)
    if by_row:
        bias_entries = bias_entries and max(bias_entries, layer.shape[0])
    drive = _entries(layer, layer.drive, layer.gain, by_row=by_row) if np.any(layer.drive) else 0
    total = 0
    for decay in (layer.decay_v, layer.decay_i):
        leak = None if decay is None else leak_entry(decay, neuron.leak)
        if leak is not None and leak.values is not None:
            largest = int(np.abs(leak.values).max())
            signed = int(leak.values.min() < 0)
            total += packed_bytes(
                _entries(layer, leak.values.astype(np.float64)), max(1, largest.bit_length() + signed)
            )
    merged = [bias_entries, drive] if layer.decay_i is not None else [max(bias_entries, drive)]
    total += sum(packed_bytes(entries, bits) for entries in merged)
    if layer.threshold is None:
        return total + _start_bound(network, layer, bits, by_row)
    entries = _entries(layer, layer.threshold, layer.gain, by_row=by_row)
    total += packed_bytes(entries, bits if layer.threshold.min() < 0 else bits - 1)
    if dynamics.reset == "subtract" or dynamics.spikes_per_step == "many":
        total += packed_bytes(entries, 1)
    if dynamics.reset == "to_value" or (dynamics.drop_reset_input and dynamics.reset != "none"):
        total += packed_bytes(_level_entries(layer, layer.v_reset, by_row), bits)
    if dynamics.membrane_floor != "none":
        total += packed_bytes(entries, bits)
    return total + _start_bound(network, layer, bits, by_row)


def _start_bound(network: Network, layer: NeuronLayer, bits: int, by_row: bool) -> int:
    values = {"zero": None, "v_reset": layer.v_reset, "v_leak": layer.v_leak}[layer.obeys(network.dynamics).start]
    return 0 if values is None else packed_bytes(_level_entries(layer, values, by_row), bits)


def _level_entries(layer: NeuronLayer, values: Array, by_row: bool) -> int:
    """A level that is 0 everywhere is one entry, whatever the scales."""
    return _entries(layer, values, layer.gain, by_row=by_row) if np.any(values) else 1


def _entries(layer: NeuronLayer, *arrays: Array, by_row: bool = False) -> int:
    """Entries of what is computed from these arrays (of the layer's shape) and a scale by row or by layer."""
    rows = [array.reshape(layer.shape[0], -1) for array in arrays]  # [channel, neuron of it]
    if not all(np.all(array == array[:, :1]) for array in rows):
        return prod(layer.shape)
    constant = not by_row and all(np.all(array == array.flat[0]) for array in rows)
    return 1 if constant else layer.shape[0]


def _bias_entries(connection: FloatConnection, layer: NeuronLayer) -> int:
    """A bias by channel stays so, unless a padded pool or a flatten after the weights mixes or splits channels."""
    plain = all(isinstance(part, SumPool) and not any(part.padding) for part in connection.after)
    return layer.shape[0] if plain else prod(layer.shape)


def _scale_by_row(network: Network, target: str, plan: Plan) -> bool:
    """Whether u may differ between rows: some connection into the layer has a scale per output row or channel."""
    return any(
        connection.weight is not None and plan.weights[connection.name].granularity == "channel"
        for connection in network.into(target)
    )
