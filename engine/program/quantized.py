"""The program's arithmetic as something that can be trained: integers held in floats, straight-through gradients.

What is trained are the float weights and biases, every layer's base scale u (LSQ: Esser et al. 2020,
arXiv:1902.08153) and the thresholds. The forward pass is the integer program, to the bit: the roundings are those of
:mod:`engine.program.rounding`, and :func:`to_program` hands the same numbers to :func:`engine.program.integerize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from engine.kernels.rules import Leak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.kernels.through import straight_through
from engine.network.components import components_of
from engine.network.model import INPUT, Array, Connection, Network, NeuronLayer, SumPool, shrink
from engine.network.simulate import Prepared, Stage
from engine.network.synapse import Synapse
from engine.program.bounds import FLOAT32_EXACT
from engine.program.exponents import power_of_two_scale, split_exponents
from engine.program.geometry import apply_maps, sum_shape
from engine.program.integerize import IntegerWeights, integerize, pool_factor
from engine.program.levels import integer_levels, step_of
from engine.program.narrow import narrow
from engine.program.program import MAX_EXPONENT, IntArray, IntegerProgram, state_limits
from engine.program.rounding import check_programmable, leak_entry
from engine.quantizers.calibration import Scale
from engine.quantizers.form import Granularity, Phase, level_range, scale_axis
from engine.quantizers.registry import quantizer
from engine.specs.plan import NeuronPlan, Plan

HEADROOM = 4.0  # a state holds at least this many thresholds: below, saturation alone costs accuracy (QUALITY 6)


@dataclass(frozen=True)
class QuantizedForm:
    """A network under a plan, ready to be trained.

    ``exponents``: per weighted connection int64, 0-d or one per output row. ``fixed_scales``: layers whose u is not
    trained because spikes enter them without weights. ``per_row``: layers whose u has one value per row or channel.
    """

    network: Network
    plan: Plan
    input_range: tuple[int, int]
    exponents: Mapping[str, IntArray]
    fixed_scales: Mapping[str, float]
    per_row: frozenset[str]
    device: torch.device

    def neuron_plan(self, layer: str) -> NeuronPlan:
        """The layer's entry in the plan, or the defaults."""
        return self.plan.neurons.get(layer, NeuronPlan())


Parameters = dict[str, Tensor]  # "weight:fc1", "bias:fc1", "log2_scale:lif1", "threshold:lif1"; float64 leaves


def start_training(
    network: Network,
    plan: Plan,
    input_range: tuple[int, int],
    device: str | torch.device = "cpu",
    scale: Scale | None = None,
) -> tuple[QuantizedForm, Parameters]:
    """A form and its starting parameters: the network's weights, each quantizer's own scales or ``scale``'s.

    Connections into one layer share u per row; each gets the exponent nearest to the ratio that its own MSE-optimal
    scale wants, and u is then the geometric mean of what they ask for.

    Raises:
        NotRepresentable: a pool's factor is not positive, or the profile is none that the program knows.
    """
    check_programmable(network)
    device = torch.device(device)
    exponents: dict[str, IntArray] = {}
    fixed: dict[str, float] = {}
    rows: set[str] = set()
    neurons: dict[str, NeuronPlan] = {}
    parameters: Parameters = {}
    for layer in network.layers:
        into = [c for c in network.into(layer.name) if c.weight is not None]
        by_row = _one_scale_per_row(network, layer, into, plan)
        scales = [_wanted_scale(c, plan, by_row, scale) for c in into]
        if len(into) < len(network.into(layer.name)):
            plain = [pool_factor(c) for c in network.into(layer.name) if c.weight is None]
            u, steps = power_of_two_scale(scales, plain)
            fixed[layer.name] = u
        else:
            shared = plan.neurons.get(layer.name, NeuronPlan()).shared_scale
            steps, log2_u = split_exponents(scales, 0 if shared else MAX_EXPONENT)
            parameters[f"log2_scale:{layer.name}"] = torch.as_tensor(log2_u, device=device)
        if by_row:
            rows.add(layer.name)
        for connection, exponent in zip(into, steps, strict=True):
            exponents[connection.name] = exponent
            parameters[f"weight:{connection.name}"] = torch.as_tensor(connection.weight, device=device).clone()
            if connection.bias is not None:
                parameters[f"bias:{connection.name}"] = torch.as_tensor(connection.bias, device=device).clone()
        neurons[layer.name] = _fitted(layer, plan, u if layer.name in fixed else np.exp2(log2_u))
        if layer.threshold is not None:
            parameters[f"threshold:{layer.name}"] = torch.as_tensor(shrink(layer.threshold), device=device).clone()
    plan = plan.model_copy(update={"neurons": neurons})
    form = QuantizedForm(network, plan, input_range, exponents, fixed, frozenset(rows), device)
    parameters = {name: value.to(torch.float64) for name, value in parameters.items()}
    return form, with_ranges(form, parameters)


def with_ranges(form: QuantizedForm, parameters: Mapping[str, Tensor]) -> Parameters:
    """Parameters whose input ranges, where a quantizer trains them apart from its step, are those of the step."""
    ranges = {
        f"log2_range:{c.name}": torch.log2(step_of(form, c, base_scale(form, parameters, layer))).detach().flatten()
        for layer in form.network.layers
        for c in form.network.into(layer.name)
        if c.weight is not None and quantizer(form.plan.weights[c.name].quantizer).own_range
    }
    return {**parameters, **ranges}


def prepare_quantized(form: QuantizedForm, parameters: Mapping[str, Tensor], phase: Phase | None = None) -> Prepared:
    """The integer network of these parameters, for :func:`engine.network.simulate.run`; differentiable.

    With a phase it is what a training step runs: quantizers may then be soft or random, or left out for a layer.

    Its states are float32 where that is provably exact (:mod:`engine.program.narrow`), else float64.
    """
    highest = _highest_inputs(form)
    stages = []
    for layer in form.network.layers:
        plan = form.neuron_plan(layer.name)
        u = base_scale(form, parameters, layer)
        inner = u * 2.0**-plan.fraction_bits
        unit = inner * torch.as_tensor(shrink(layer.gain), device=form.device)
        synapses, bias = [], torch.zeros((), dtype=torch.float64, device=form.device)
        for connection in form.network.into(layer.name):
            synapses.append(_synapse(form, parameters, connection, layer, u, highest[connection.name], phase))
            if connection.bias is not None:
                bias = bias + _spread(parameters[f"bias:{connection.name}"], connection)
        stages.append(
            Stage(layer.name, layer.shape, _rule(form, parameters, layer, bias, inner, unit), tuple(synapses))
        )
    prepared = Prepared(
        stages=tuple(stages),
        components=components_of(tuple(layer.name for layer in form.network.layers), form.network.connections),
        output=form.network.output,
        readout=form.network.dynamics.readout,
        dtype=torch.float64,
        device=form.device,
    )
    return narrow(prepared, highest)


def to_program(form: QuantizedForm, parameters: Mapping[str, Tensor]) -> IntegerProgram:
    """The deployable program with exactly the integers that :func:`prepare_quantized` computes with."""
    weights: dict[str, IntegerWeights] = {}
    scales: dict[str, Array] = {}
    with torch.no_grad():
        for layer in form.network.layers:
            u = base_scale(form, parameters, layer)
            scales[layer.name] = u.cpu().numpy()
            for connection in form.network.into(layer.name):
                if connection.weight is not None:
                    levels = integer_levels(form, parameters, connection, u)
                    exponent = np.asarray(form.exponents[connection.name], dtype=np.int64)
                    weights[connection.name] = IntegerWeights(levels.cpu().numpy().astype(np.int64), exponent)
    return integerize(with_parameters(form.network, parameters), form.plan, weights, scales, form.input_range)


def with_parameters(network: Network, parameters: Mapping[str, Tensor]) -> Network:
    """A copy of a float network with trained weights, biases and thresholds in it; scales are left out."""
    values = {name: tensor.detach().cpu().numpy().astype(np.float64) for name, tensor in parameters.items()}
    connections = tuple(
        replace(c, weight=values.get(f"weight:{c.name}", c.weight), bias=values.get(f"bias:{c.name}", c.bias))
        for c in network.connections
    )
    layers = []
    for layer in network.layers:
        threshold = values.get(f"threshold:{layer.name}")
        layers.append(
            layer if threshold is None else replace(layer, threshold=np.broadcast_to(threshold, layer.shape).copy())
        )
    return replace(network, connections=connections, layers=tuple(layers))


def base_scale(form: QuantizedForm, parameters: Mapping[str, Tensor], layer: NeuronLayer) -> Tensor:
    """u, float64 holding a float32 value, 0-d or shaped ``[row, 1...]`` against the layer.

    Never so small that the state could not hold the plan's ``range_thresholds``, or ``HEADROOM``.
    """
    if layer.name in form.fixed_scales:
        return torch.full((), form.fixed_scales[layer.name], dtype=torch.float64, device=form.device)
    u = torch.exp2(parameters[f"log2_scale:{layer.name}"])
    methods = {
        form.plan.weights[c.name].quantizer for c in form.network.into(layer.name) if c.name in form.plan.weights
    }
    for method in sorted(methods):
        u = quantizer(method).constrain(u)
    threshold = parameters.get(f"threshold:{layer.name}")
    if threshold is not None:
        plan = form.neuron_plan(layer.name)
        share = (plan.range_thresholds or HEADROOM) * 2.0**plan.fraction_bits / -state_limits(plan.state_bits)[0]
        least = threshold.detach().abs() * share / torch.as_tensor(shrink(layer.gain), device=form.device)
        if least.dim() > 1:
            least = least.flatten(1).amax(1) if u.dim() else least.amax()
        elif u.dim() == 0:
            least = least.max()
        for method in sorted(methods):
            least = quantizer(method).constrain(least, up=True)
        u = torch.maximum(u, least)
    rounded = straight_through(u, u.detach().to(torch.float32).to(torch.float64))
    return rounded.reshape(-1, *[1] * (len(layer.shape) - 1)) if u.dim() else rounded


def _round_half_up(value: Tensor, step: float = 1.0) -> Tensor:
    """The nearest multiple of ``step``, a power of two."""
    return straight_through(value, torch.floor(value.detach() / step + 0.5) * step)


def _rule(
    form: QuantizedForm, parameters: Mapping[str, Tensor], layer: NeuronLayer, bias: Tensor, inner: Tensor, unit: Tensor
) -> NeuronRule:
    dynamics, plan = layer.obeys(form.network.dynamics), form.neuron_plan(layer.name)
    low, high = state_limits(plan.state_bits)
    step = 2.0**plan.level_bits

    def level(values: Array) -> Tensor:
        return _round_half_up(torch.as_tensor(shrink(values), device=form.device) / unit, step)

    cuba = layer.decay_i is not None
    drive = torch.as_tensor(shrink(layer.drive), device=form.device) / unit
    fire_at = reset_sub = None
    if layer.threshold is not None:
        ratio = parameters[f"threshold:{layer.name}"] / unit
        exact = torch.floor(ratio.detach()) + 1 if dynamics.spike_test == "gt" else torch.ceil(ratio.detach())
        reset_sub = _round_half_up(ratio, step)
        if plan.level_bits:
            exact = reset_sub.detach() + 1
        fire_at = straight_through(ratio, exact)
    floor = None
    if dynamics.membrane_floor == "minus_threshold" and layer.threshold is not None:
        floor = _round_half_up(-parameters[f"threshold:{layer.name}"].detach() / unit.detach(), step)
    elif isinstance(dynamics.membrane_floor, float | int) and layer.threshold is not None:
        floor = _round_half_up(float(dynamics.membrane_floor) / unit.detach(), step)
    starts = {"zero": None, "v_reset": layer.v_reset, "v_leak": layer.v_leak}
    start = starts[dynamics.start]
    return NeuronRule(
        leak_v=_leak(layer.decay_v, plan, form.device),
        leak_i=None if layer.decay_i is None else _leak(layer.decay_i, plan, form.device),
        bias=None
        if cuba and not np.any(layer.drive)
        else _round_half_up(drive if cuba else drive + bias / inner, step),
        bias_i=_round_half_up(bias / inner, step) if cuba else None,
        fire_at=fire_at,
        compare="ge",
        reset=dynamics.reset,
        reset_sub=reset_sub,
        reset_to=level(layer.v_reset).detach(),
        timing=dynamics.reset_timing,
        order=dynamics.reset_order,
        drop_input=dynamics.drop_reset_input,
        current=dynamics.current,
        floor=floor,
        limit=(float(low), float(high)),
        max_spikes=dynamics.max_spikes or 1,
        start=None if start is None else level(start).detach(),
    )


def _leak(decay: Array, plan: NeuronPlan, device: torch.device) -> Leak:
    entry = leak_entry(shrink(decay), plan.leak)
    if entry.values is None:
        return NoLeak()
    values = torch.as_tensor(np.asarray(entry.values), dtype=torch.float64, device=device)
    if entry.kind == "shift":
        return ShiftLeak(values, entry.rounding)
    return MulShiftLeak(values, entry.shift_bits, entry.rounding)


def _synapse(
    form: QuantizedForm,
    parameters: Mapping[str, Tensor],
    connection: Connection,
    layer: NeuronLayer,
    u: Tensor,
    highest: int,
    phase: Phase | None,
) -> Synapse:
    fraction = form.neuron_plan(layer.name).fraction_bits
    unscaled = replace(connection, before=_unscaled(connection.before), after=_unscaled(connection.after))
    if connection.weight is None:
        exponent = round(np.log2(pool_factor(connection) / form.fixed_scales[layer.name]))
        gain = torch.full((), 2.0 ** (exponent + fraction), dtype=torch.float64, device=form.device)
        return Synapse(unscaled, None, None, gain)
    levels = integer_levels(form, parameters, connection, u, phase)
    exponents = torch.as_tensor(np.asarray(form.exponents[connection.name]), dtype=torch.float64, device=form.device)
    if exponents.dim():
        exponents = exponents.reshape(-1, *[1] * (len(layer.shape) - 1))
    bits = form.plan.weights[connection.name].bits
    bound = connection.weight[0].size * level_range(bits)[1] * highest
    exact = torch.float32 if bound <= FLOAT32_EXACT else torch.float64
    return Synapse(unscaled, levels.to(exact), None, torch.exp2(exponents + fraction))


def _one_scale_per_row(network: Network, layer: NeuronLayer, into: list[Connection], plan: Plan) -> bool:
    """May every row or channel have its own u: weights by row alone, membrane not read out, nothing in between."""
    if layer.name == network.output and network.dynamics.readout != "spike_count":
        return False
    if len(into) < len(network.into(layer.name)) or not into:
        return False
    plain = all(not c.after and c.kind == into[0].kind for c in into)
    return plain and all(plan.weights[c.name].granularity == "channel" for c in into)


def _fitted(layer: NeuronLayer, plan: Plan, u: ArrayLike) -> NeuronPlan:
    """The layer's state with as many fraction bits as its range leaves room for, by the median neuron.

    ``f = floor(log2(2^(b−1)·u·g / (range·θ)))``, from 0 to the plan's fraction bits.
    """
    own = plan.neurons.get(layer.name, NeuronPlan())
    if own.range_thresholds is None or layer.threshold is None:
        return own
    rows = np.reshape(u, (-1, *[1] * (len(layer.shape) - 1))) if np.ndim(u) else np.asarray(u)
    room = -state_limits(own.state_bits)[0] * rows * layer.gain / (own.range_thresholds * np.abs(layer.threshold))
    middle = float(np.median(room))
    most = int(np.floor(np.log2(middle))) if middle > 0 else 0
    return own.model_copy(update={"fraction_bits": int(np.clip(most, 0, min(own.fraction_bits, own.state_bits - 1)))})


def _wanted_scale(connection: Connection, plan: Plan, by_row: bool, scale: Scale | None) -> Array:
    """Step of a connection by itself, 0-d or ``[row]``."""
    weight = torch.as_tensor(connection.weight) * pool_factor(connection)
    bits = plan.weights[connection.name].bits
    granularity: Granularity = "channel" if by_row else "layer"
    if scale is not None:
        step = scale(weight, bits, scale_axis(granularity))
    else:
        step = quantizer(plan.weights[connection.name].quantizer).parameters(weight, bits, granularity)
    return step.flatten().squeeze().numpy().astype(float)


def _highest_inputs(form: QuantizedForm) -> dict[str, int]:
    """Largest magnitude on the edge into each connection's weights."""
    result = {}
    for connection in form.network.connections:
        spikes = form.network.dynamics.max_spikes or 1
        highest = max(map(abs, form.input_range)) if connection.source == INPUT else spikes
        for part in connection.before:
            if isinstance(part, SumPool):
                highest *= part.kernel[0] * part.kernel[1]
        result[connection.name] = highest
    return result


def _spread(bias: Tensor, connection: Connection) -> Tensor:
    """A connection's bias as what it adds to each neuron of its target (``merged_bias`` with gradients)."""
    shape = sum_shape(connection, None if connection.weight is None else connection.weight.shape)
    if not connection.after:
        return bias.reshape(-1, *[1] * (len(shape) - 1))
    channel = np.arange(bias.numel()).reshape(-1, *[1] * (len(shape) - 1))
    ones = np.stack(
        [apply_maps(np.broadcast_to(channel == k, shape).astype(float), connection.after) for k in channel.flat]
    )
    return torch.einsum("c,c...->...", bias, torch.as_tensor(ones, device=bias.device))


def _unscaled(maps: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(replace(m, scale=1.0) if isinstance(m, SumPool) else m for m in maps)
