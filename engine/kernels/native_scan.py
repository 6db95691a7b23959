"""The native scan: tensors handed to the C kernels of ``native/``, which compute what :mod:`torch_scan` computes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from engine.kernels.layout import laid_out, neuron_order
from engine.kernels.native import BackwardStruct, ForwardStruct, LeakStruct, Library, RuleStruct, library, run_split
from engine.kernels.rules import FloatLeak, Leak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.kernels.scan_types import (
    Saved,
    ScanGradients,
    ScanInput,
    ScanOutput,
    recurrent_gradient,
    saves_inside,
    saves_raw,
)
from engine.kernels.step import SpikeGradient, needed, spikes_of

WIDTH = 512  # columns walked together: a dozen buffers of them fit the first cache
ROUNDINGS = {"floor": 0, "toward_zero": 1, "half_up": 2}
RESETS = {"none": 0, "subtract": 1, "to_value": 2}
ORDERS = {None: 0, "before_leak": 1, "after_leak": 2}
KNOWN_LEAKS = (NoLeak, FloatLeak, ShiftLeak, MulShiftLeak)


def suited(given: ScanInput, rule: NeuronRule) -> Library | None:
    """The library, where there is one that can run this rule on these tensors."""
    current = given.current
    leaks = (rule.leak_v, *(() if rule.leak_i is None else (rule.leak_i,)))
    fits = (
        current.device.type == "cpu"
        and given.dtype in (torch.float32, torch.float64)
        and current.dtype in (given.dtype, torch.float32)
        and current.numel() > 0
        and current.shape[0] > 0
        and all(type(leak) in KNOWN_LEAKS for leak in leaks)
    )
    return library() if fits else None


def forward(found: Library, given: ScanInput, rule: NeuronRule, *, keep_membrane: bool, saving: bool) -> ScanOutput:
    """All steps of a layer; ``saving`` keeps what :func:`backward` needs."""
    current = given.current if neuron_order(given.current) else given.current.contiguous()
    given = replace(given, current=current)
    spikes = torch.empty_like(current, dtype=given.dtype)  # in the same layout of memory
    like = torch.empty_like(spikes[0])
    membrane = torch.empty_like(spikes) if keep_membrane else None
    u = torch.empty_like(spikes) if saving else None
    raw = torch.empty_like(spikes) if saving and saves_raw(rule) else None
    inside = torch.empty_like(spikes, dtype=torch.bool) if saving and saves_inside(rule) else None
    final_i = torch.empty_like(like) if rule.leak_i is not None else None
    packed = _pack(found, given, rule, None)
    if given.recurrent is not None:
        packed.struct.recurrent = packed.pointer(given.recurrent.detach().T)  # [from, to]
    io = ForwardStruct(*map(_pointer, (current, spikes, u, raw, membrane, like, final_i, inside)))
    _run(found, "forward", given, packed, io)
    return ScanOutput(spikes, membrane, like, final_i, None if u is None else Saved(u, raw, inside))


def backward(
    found: Library,
    given: ScanInput,
    rule: NeuronRule,
    gradient: SpikeGradient,
    saved: Saved,
    g_spikes: Tensor | None,
    g_membrane: Tensor | None,
    *,
    recurrent_wanted: bool,
    sums_wanted: bool = True,
) -> ScanGradients:
    """Gradients of everything that flowed into :func:`forward`, from those of spikes and membranes.

    ``sums_wanted``: those of biases, thresholds and resets too.
    """
    u = saved.u
    given = replace(given, current=torch.empty_like(u, dtype=given.current.dtype))
    g_current = given.current
    separate = recurrent_wanted and (given.gain is not None or given.current.dtype != given.dtype)
    g_acc = torch.empty_like(u) if separate else None
    g_bias = torch.empty_like(u[0]) if sums_wanted and rule.bias is not None else None
    g_bias_i = torch.empty_like(u[0]) if sums_wanted and rule.bias_i is not None else None
    g_fire = torch.empty_like(u[0]) if sums_wanted and rule.fire_at is not None else None
    g_sub = torch.empty_like(u[0]) if sums_wanted and rule.reset_sub is not None else None
    packed = _pack(found, given, rule, gradient)
    if given.recurrent is not None:
        packed.struct.recurrent = packed.pointer(given.recurrent.detach())  # [to, from]
    g_spikes, g_membrane = (None if g is None else laid_out(g, u) for g in (g_spikes, g_membrane))
    arrays = (u, saved.raw, g_spikes, g_membrane, saved.inside, g_current, g_acc, g_bias, g_bias_i, g_fire, g_sub)
    _run(found, "backward", given, packed, BackwardStruct(*map(_pointer, arrays)))
    g_recurrent = None
    if recurrent_wanted:
        g_recurrent = recurrent_gradient(g_current if g_acc is None else g_acc, spikes_of(rule, u))
    return ScanGradients(g_current, g_recurrent, g_bias, g_bias_i, g_fire, g_sub)


@dataclass
class _Packed:
    """The C structure, and the tensors whose memory it points to."""

    struct: RuleStruct
    shape: torch.Size  # of the layer
    order: list[int]  # its axes as they lie in memory
    repeats: int
    dtype: torch.dtype
    alive: list[Tensor] = field(default_factory=list)

    def pointer(self, values: Tensor) -> int:
        """Address of a tensor as it is, contiguous."""
        kept = values.to(self.dtype).contiguous()
        self.alive.append(kept)
        return kept.data_ptr()

    def per_neuron(self, values: Tensor | float | None) -> int | None:
        """Address of one value per neuron, repeated over the samples of a block."""
        if values is None:
            return None
        if not isinstance(values, Tensor):
            values = torch.full((), values, dtype=self.dtype)
        wide = values.detach().to(self.dtype).expand(self.shape).permute(self.order).reshape(1, -1)
        return self.pointer(wide.expand(self.repeats, -1))


def _pack(found: Library, given: ScanInput, rule: NeuronRule, gradient: SpikeGradient | None) -> _Packed:
    steps, batch, *shape = given.current.shape
    neurons = prod(shape)
    repeats = max(1, min(batch, WIDTH // neurons))
    period = neurons * repeats
    struct = RuleStruct(
        steps=steps,
        columns=batch * neurons,
        neurons=neurons,
        period=period,
        width=period if given.recurrent is not None else min(period, WIDTH),
        has_current=rule.leak_i is not None,
        current_old=rule.current == "old",
        resets=RESETS[rule.resets],
        same_step=rule.timing == "same_step",
        order=ORDERS[rule.order],
        drops=rule.drop_input,
        fires=rule.fire_at is not None,
        compare_gt=rule.compare == "gt",
        max_spikes=rule.max_spikes,
        limited=rule.limit is not None,
        through=gradient is not None and gradient.through_reset,
        narrow=given.current.dtype != given.dtype,
        mode=found.float_mode(),
    )
    if rule.limit is not None:
        struct.low, struct.high = rule.limit
    packed = _Packed(struct, torch.Size(shape), neuron_order(given.current) or [], repeats, given.dtype)
    struct.leak_v = _leak(packed, rule.leak_v)
    if rule.leak_i is not None:
        struct.leak_i = _leak(packed, rule.leak_i)
    struct.gain = packed.per_neuron(given.gain)
    for name in ("bias", "bias_i", "fire_at", "reset_sub", "floor", "start"):
        setattr(struct, name, packed.per_neuron(getattr(rule, name)))
    if rule.resets == "to_value" or saves_raw(rule):
        struct.reset_to = packed.per_neuron(needed(rule.reset_to))
    if rule.resets == "subtract" or (rule.fire_at is not None and rule.max_spikes > 1):
        needed(rule.reset_sub)
    if gradient is not None and rule.fire_at is not None:  # as surrogate_of writes it
        scale = (rule.fire_at if rule.reset_sub is None else rule.reset_sub).detach().abs()
        struct.scale, struct.steep = packed.per_neuron(scale), packed.per_neuron(gradient.slope / scale)
    return packed


def _leak(packed: _Packed, leak: Leak) -> LeakStruct:
    if isinstance(leak, FloatLeak):
        factor = packed.per_neuron(leak.factor)
        return LeakStruct(1, 0, factor, factor)
    if isinstance(leak, ShiftLeak):
        return LeakStruct(
            2, ROUNDINGS[leak.rounding], packed.per_neuron(torch.exp2(-leak.k)), packed.per_neuron(leak.slope)
        )
    if isinstance(leak, MulShiftLeak):
        slope = packed.per_neuron(leak.slope)
        return LeakStruct(3, ROUNDINGS[leak.rounding], slope, slope)
    return LeakStruct(0, 0, None, None)


def _run(found: Library, direction: str, given: ScanInput, packed: _Packed, io: ctypes.Structure) -> None:
    struct = packed.struct
    cut = struct.neurons if given.recurrent is not None else min(64, struct.columns)
    run_split(found.kernels[direction, given.dtype], struct, io, int(cut), int(struct.steps * struct.columns))


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
