"""Lava/Loihi export: a program as the HDF5 file that lava-dl's ``netx.hdf5.Network`` reads (docs/exports/lava.md).

Loihi's neuron (lava-nc, ``PyLifModelBitAcc``), ``tz`` being a shift that truncates toward zero::

    u ← tz(u·(4096 - iDecay) / 2^12) + (Σ weights << 6)
    v ← tz(v·(4096 - vDecay) / 2^12) + u + (bias << 6),  spike where v > vThMant << 6, then v ← 0

so a program fits where its leaks are ``mul_shift`` toward zero, resets go to 0, and whatever enters a state is a
multiple of 2^6 of its units.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from engine.errors import NotRepresentable
from engine.program.bounds import program_bounds
from engine.program.program import INPUT, Connection, Flatten, IntArray, IntegerProgram, Layer, Leak

LEVEL_BITS = 6  # Loihi's weights, biases and thresholds are worth 2^6 units of its states
DECAY_BITS = 12
WEIGHTS, BIAS, THRESHOLD = (-256, 254), 1 << 12, (1 << 17) - 1
STATE = (1 << 23) - 1
NETWORK = "network.net"


@dataclass(frozen=True)
class Lava:
    """Bytes of ``network.net``, and whether no state can leave Loihi's 24 bits or the program's own width."""

    network: bytes
    proved: bool


@dataclass(frozen=True)
class _Neuron:
    """A layer in Loihi's numbers."""

    current_decay: int
    voltage_decay: int
    threshold: int
    bias: IntArray | None


def export_lava(program: IntegerProgram) -> Lava:
    """Write a program as netx HDF5.

    Raises:
        NotRepresentable: ``export_not_representable``: all that Loihi or the format cannot say, one sentence each.
    """
    faults: list[str] = []
    if (program.input.lo, program.input.hi) != (0, 1):
        faults.append(f"input range: expected [0, 1], found [{program.input.lo}, {program.input.hi}]")
    if program.readout != "spike_count":
        faults.append(f"readout: expected spike_count, found {program.readout}")
    neurons = [_neuron(layer, faults) for layer in program.layers]
    chain = [_incoming(program, index, faults) for index in range(len(program.layers))]
    if faults:
        raise NotRepresentable("export_not_representable", "Lava cannot hold this program: " + "; ".join(faults))
    held = io.BytesIO()
    with h5py.File(held, "w", track_order=False) as file:
        groups = file.create_group("layer")
        if chain[0][0].kind == "conv2d":
            _described(groups, "input", program.input.shape)
        for layer, neuron, connections in zip(program.layers, neurons, chain, strict=True):
            if len(connections[0].source_shape) > 1 and connections[0].kind == "linear" and len(groups):
                _described(groups, "flatten", (layer.size,))
            _write(groups, layer, neuron, connections)
    proved = all(_bounded(program, k, neuron) for k, neuron in enumerate(neurons))
    return Lava(held.getvalue(), proved)


def _neuron(layer: Layer, faults: list[str]) -> _Neuron:
    rules = (
        (layer.kind in ("if", "lif", "cubalif"), f"kind {layer.kind} is no Loihi neuron"),
        (layer.reset == "to_value" and not np.any(layer.reset_to), f"reset: expected to 0, found {layer.reset}"),
        (layer.reset_timing == "same_step", "a delayed reset"),
        (layer.max_spikes == 1, f"up to {layer.max_spikes} spikes a step"),
        (layer.floor is None, "a membrane floor"),
        (layer.start is None, "a membrane that does not start at 0"),
        (layer.bias_i is None, "a bias of the current"),
        (layer.leak_i is None or layer.current == "new", "a membrane that sees the old current"),
    )
    faults += [f"layer {layer.name!r}: {words}" for holds, words in rules if not holds]
    current = 1 << DECAY_BITS if layer.leak_i is None else _decay(layer.leak_i, layer.name, faults)
    fire_at = np.zeros(1, np.int64) + 1 if layer.fire_at is None else np.unique(layer.fire_at)
    threshold, rest = divmod(int(fire_at[0]) - 1, 1 << LEVEL_BITS)
    if fire_at.size > 1 or rest or not 0 <= threshold <= THRESHOLD:
        faults.append(
            f"layer {layer.name!r}: threshold: expected one multiple of {1 << LEVEL_BITS} up to "
            f"{THRESHOLD << LEVEL_BITS} for the layer, found {fire_at[0] - 1} to {fire_at[-1] - 1}"
        )
    bias = None if layer.bias is None else layer.bias >> LEVEL_BITS
    if bias is not None and (np.any(bias << LEVEL_BITS != layer.bias) or np.abs(bias).max() >= BIAS):
        faults.append(f"layer {layer.name!r}: bias: expected multiples of {1 << LEVEL_BITS} below {BIAS << LEVEL_BITS}")
    return _Neuron(current, _decay(layer.leak_v, layer.name, faults), threshold, bias)


def _decay(leak: Leak, name: str, faults: list[str]) -> int:
    """``4096 - m``; 4096 where nothing is kept."""
    if leak.values is None:
        return 0
    factors = np.unique(leak.values)
    if leak.kind == "shift" and not factors.any():
        return 1 << DECAY_BITS
    exact = leak.kind == "mul_shift" and leak.rounding == "toward_zero" and leak.shift_bits <= DECAY_BITS
    factor = int(factors[0]) << max(0, DECAY_BITS - leak.shift_bits)
    if not exact or factors.size > 1 or not 0 <= factor <= 1 << DECAY_BITS:
        faults.append(
            f"layer {name!r}: leak: expected one mul_shift of at most {DECAY_BITS} bits toward zero for the layer, "
            f"found {leak.kind} {leak.rounding} with {factors.size} factors"
        )
    return (1 << DECAY_BITS) - factor


def _incoming(program: IntegerProgram, index: int, faults: list[str]) -> list[Connection]:
    """The connection from the layer before (or the input), then the one from the layer itself where there is one."""
    layer = program.layers[index]
    before = program.layers[index - 1].name if index else INPUT
    into = program.into(layer.name)
    forward = [c for c in into if c.source == before and not c.delayed]
    loop = [c for c in into if c.source == layer.name and c.delayed]
    if len(forward) != 1 or len(loop) > 1 or len(into) != len(forward) + len(loop):
        faults.append(f"layer {layer.name!r}: expected one connection from {before!r} and at most one from itself")
    for c in into:
        plain = not c.after and c.delay is None and all(isinstance(part, Flatten) for part in c.before)
        if c.kind not in ("linear", "conv2d") or not plain or (c in loop and c.kind != "linear"):
            faults.append(f"connection {c.name!r}: expected a linear map or conv2d without pools, identity or delays")
    if (
        layer.bias is not None
        and any(c.kind == "conv2d" for c in into)
        and np.ptp(layer.bias.reshape(layer.shape[0], -1), axis=1).any()
    ):
        faults.append(f"layer {layer.name!r}: bias: expected one number a channel")
    if not any(c.weight is None for c in into):
        values = [_weights(c, layer) for c in into]
        whole = np.concatenate([part.reshape(-1) for part in values]) if values else np.zeros(1)
        even = not np.any(whole % 2)
        small = np.abs(whole).max() <= 127 and all(c.kind == "linear" for c in into)
        if (
            np.any(whole != np.floor(whole))
            or not (even or small)
            or whole.min() < WEIGHTS[0]
            or whole.max() > WEIGHTS[1]
        ):
            faults.append(
                f"layer {layer.name!r}: weights: expected even integers from {WEIGHTS[0]} to {WEIGHTS[1]} (or to ±127 "
                f"where all are linear) in units of 2^{LEVEL_BITS}, found {whole.min():g} to {whole.max():g}"
            )
        elif not whole.any():
            faults.append(f"layer {layer.name!r}: all its weights are 0, which lava-dl cannot load")
    return [*forward, *loop]


def _weights(connection: Connection, layer: Layer) -> NDArray[np.float64]:
    """In Loihi's unit: ``w·2^(exponent + fraction bits - 6)``."""
    if connection.weight is None:
        raise ValueError(f"connection {connection.name!r} has no weights")
    shift = np.asarray(connection.exponents + layer.fraction_bits - LEVEL_BITS, dtype=np.float64)
    rows = shift.reshape(-1, *[1] * (connection.weight.ndim - 1)) if shift.ndim else shift
    values: NDArray[np.float64] = connection.weight * 2.0**rows
    return values


def _bounded(program: IntegerProgram, index: int, neuron: _Neuron) -> bool:
    """No state saturates in the program (its width) or wraps on Loihi (24 bits), whatever the input."""
    layer = program.layers[index]
    limit = min(STATE, layer.limits[1])
    if neuron.current_decay == 0 or neuron.voltage_decay == 0:
        return False
    whole = 1 << DECAY_BITS
    current = program_bounds(program).layers[index].input * whole / neuron.current_decay
    bias = 0 if layer.bias is None else int(np.abs(layer.bias).max())
    return (current + bias) * whole / neuron.voltage_decay <= limit


def _described(groups: h5py.Group, kind: str, shape: tuple[int, ...]) -> h5py.Group:
    group: h5py.Group = groups.create_group(str(len(groups)))
    group.create_dataset("type", (1,), "S10", [kind.encode("ascii")])
    group.create_dataset("shape", data=np.array(shape, dtype=np.int64))
    return group


def _write(groups: h5py.Group, layer: Layer, neuron: _Neuron, connections: list[Connection]) -> None:
    """One block as SLAYER's ``export_hdf5`` writes it: weights as float32 that hold integers."""
    first, *loop = connections
    kind = "conv" if first.kind == "conv2d" else "dense_rec" if loop else "dense"
    group = _described(groups, kind, layer.shape)
    group.create_dataset("weight", data=_weights(first, layer).astype(np.float32))
    numbers: dict[str, Any]
    if kind == "conv":
        shape = first.weight_shape
        numbers = {"inChannels": shape[1] * first.groups, "outChannels": shape[0], "groups": first.groups}
        for name, pair in (("kernelSize", shape[2:]), ("stride", first.stride)):
            group.create_dataset(name, data=np.array(pair, dtype=np.int64))
        for name, pair in (("padding", first.padding), ("dilation", first.dilation)):
            group.create_dataset(name, data=np.array(pair, dtype=np.int64))
    else:
        numbers = {"inFeatures": first.weight_shape[1], "outFeatures": first.weight_shape[0]}
    for name, number in numbers.items():
        group.create_dataset(name, data=np.int64(number))
    if loop:
        group.create_dataset("weight_rec", data=_weights(loop[0], layer).astype(np.float32))
    if neuron.bias is not None:
        per_channel = kind == "conv"
        bias = neuron.bias.reshape(layer.shape[0], -1)[:, 0] if per_channel else neuron.bias.reshape(-1)
        group.create_dataset("bias", data=bias.astype(np.float32))
    described = group.create_group("neuron")
    described.create_dataset("type", data="CUBA", dtype=h5py.string_dtype())
    for name, number in (
        ("iDecay", neuron.current_decay),
        ("vDecay", neuron.voltage_decay),
        ("vThMant", neuron.threshold),
        ("refDelay", 1),
    ):
        described.create_dataset(name, data=np.int64(number))
    described.create_dataset("gradedSpike", data=False)
