"""Torch simulation of an integer program: integers held in floats, through the engine's one time loop.

An implementation of docs/program.md separate from ``runtime``; tests compare the two spike for spike.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from engine.kernels.rules import Leak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.network.components import components_of
from engine.network.model import Connection as FloatConnection
from engine.network.simulate import Prepared, Stage, Trace, run
from engine.network.synapse import Synapse
from engine.program.bounds import FLOAT32_EXACT, ConnectionBounds, program_bounds
from engine.program.program import Connection, IntArray, IntegerProgram, Layer
from engine.program.program import Leak as IntegerLeak


def prepare_program(program: IntegerProgram, device: str | torch.device = "cpu") -> Prepared:
    """Tensors of an integer program for :func:`engine.network.simulate.run`.

    Synaptic sums run in float32 where the proved bound allows it (2**24, exponents included), else in float64; state
    is float64. Inputs must be clamped beforehand: :func:`simulate_program` does.
    """
    device = torch.device(device)
    bounds = {bound.name: bound for bound in program_bounds(program).connections}
    links = {c.name: _float_connection(c) for c in program.connections}
    stages = []
    for layer in program.layers:
        synapses = tuple(_synapse(c, links[c.name], layer, bounds[c.name], device) for c in program.into(layer.name))
        stages.append(Stage(layer.name, layer.shape, _rule(layer, device), synapses))
    return Prepared(
        stages=tuple(stages),
        components=components_of(tuple(layer.name for layer in program.layers), links.values()),
        output=program.output,
        readout=program.readout,
        dtype=torch.float64,
        device=device,
    )


def simulate_program(program: IntegerProgram, x: Tensor, record: tuple[str, ...] = ()) -> Trace:
    """Run a batch through an integer program.

    Args:
        program: what to run.
        x: input ``[time, batch, *input_shape]``; clamped to the program's range.
        record: layers whose spikes are kept; ``"*"`` keeps all.

    Example:
        >>> from engine.program.program import INPUT, InputFormat
        >>> lif = Layer("lif", "lif", (1,), 8, 0, np.float32(1), fire_at=3, reset="subtract", reset_sub=3)
        >>> fc = Connection("fc", INPUT, "lif", "linear", (1,), (1,), bits=3, weight=[[2]])
        >>> program = IntegerProgram(InputFormat((1,)), (lif,), (fc,), output="lif")
        >>> simulate_program(program, torch.ones(6, 1, 1)).counts.tolist()  # 12 units in, 3 a spike
        [[4.0]]
    """
    clamped = x.to(torch.float64).clamp(program.input.lo, program.input.hi)
    with torch.no_grad():
        return run(prepare_program(program, x.device), clamped, record=record)


def _float_connection(connection: Connection) -> FloatConnection:
    """The same geometry in the form that the time loop reads; its tensors are given apart."""
    return FloatConnection(
        name=connection.name,
        source=connection.source,
        target=connection.target,
        kind=connection.kind,
        source_shape=connection.source_shape,
        target_shape=connection.target_shape,
        weight=None,
        before=connection.before,
        after=connection.after,
        delayed=connection.delayed,
        stride=connection.stride,
        padding=connection.padding,
        dilation=connection.dilation,
        groups=connection.groups,
        delay=connection.delay,
    )


def _synapse(
    connection: Connection, link: FloatConnection, layer: Layer, bound: ConnectionBounds, device: torch.device
) -> Synapse:
    """Exponents go into the integers (exact, and they commute with the pools after); fraction bits are the gain."""
    exponent = connection.exponents
    if connection.weight is None:
        column = exponent.reshape(-1, *[1] * (len(layer.shape) - 1)) if exponent.ndim else exponent
        return Synapse(link, None, None, _tensor(np.int64(1) << (column + layer.fraction_bits), device))
    column = exponent.reshape(-1, *[1] * (connection.weight.ndim - 1)) if exponent.ndim else exponent
    exact = bound.accumulator << int(exponent.max()) <= FLOAT32_EXACT
    weight = _tensor(connection.weight << column, device)
    return Synapse(
        link,
        weight.to(torch.float32) if exact else weight,
        None,
        torch.full((), 2.0**layer.fraction_bits, dtype=torch.float64, device=device),
    )


def _rule(layer: Layer, device: torch.device) -> NeuronRule:
    def maybe(values: IntArray | None) -> Tensor | None:
        return None if values is None else _tensor(_shrink(values), device)

    lo, hi = layer.limits
    return NeuronRule(
        leak_v=_leak(layer.leak_v, device),
        leak_i=None if layer.leak_i is None else _leak(layer.leak_i, device),
        bias=maybe(layer.bias),
        bias_i=maybe(layer.bias_i),
        fire_at=maybe(layer.fire_at),
        compare="ge",
        reset=layer.reset,
        reset_sub=maybe(layer.reset_sub),
        reset_to=maybe(layer.reset_to),
        timing=layer.reset_timing,
        order=layer.reset_order,
        drop_input=layer.drop_reset_input,
        current=layer.current,
        floor=maybe(layer.floor),
        limit=(float(lo), float(hi)),
        max_spikes=layer.max_spikes,
        start=maybe(layer.start),
    )


def _leak(leak: IntegerLeak, device: torch.device) -> Leak:
    if leak.values is None:
        return NoLeak()
    values = _tensor(_shrink(leak.values), device)
    if leak.kind == "shift":
        return ShiftLeak(values, leak.rounding)
    return MulShiftLeak(values, leak.shift_bits, leak.rounding)


def _tensor(values: IntArray, device: torch.device) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64), device=device)


def _shrink(values: IntArray) -> IntArray:
    """One number where all are equal: broadcasting a scalar is faster."""
    return values.reshape(-1)[0].reshape(()) if prod(values.shape) and np.all(values == values.flat[0]) else values
