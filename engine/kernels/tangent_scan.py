"""A linearised neuron layer over all steps: tangents forward, adjoints back, and what is asked of them summed.

Axes ``[time, batch, neuron...]``. With the factors of :mod:`engine.kernels.linear_neurons`, forward ::

    di_t = leak·di_{t−1} + dacc_t                 (current-based layers; ddrive is di_t or di_{t−1}, else dacc_t)
    du_t = carry_t·du_{t−1} + gate_t·ddrive_t     dn_t = spike_t·du_t
    curvature = Σ_t bend_t·du_t² + cross_t·du_{t−1}·ddrive_t          contracted = Σ_t read_t·dn_t

and back, for the adjoints n of spikes and v of the membrane at the end of a step ::

    u_t = spike_t·n_t + end_t·v_t + carry_{t+1}·u_{t+1}     acc_t = gate_t·u_t, filtered back where there is a current

The native form walks memory once; plain torch gives the same numbers where it is not built, and on other devices.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from engine.kernels.fill import Change, Sums, as_tensor
from engine.kernels.layout import laid_out, neuron_order
from engine.kernels.linear_neurons import Bends, LinearNeurons
from engine.kernels.linear_scan import backward_scan_, forward_scan_
from engine.kernels.native import LayerStruct, Library, PullStruct, PushStruct, in_parts, library

TYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Wanted:
    """What of a tangent is asked for: membranes, spikes, and spikes summed with a weight per step ``[time]``.

    Neurons that never spike have membranes alone.
    """

    u: bool = False
    n: bool = False
    read: Tensor | None = None


@dataclass(frozen=True)
class Pushed:
    """``u``, ``n`` ``[time, batch, neuron...]``, ``curvature`` ``[batch]``, ``contracted`` ``[batch, neuron...]``."""

    u: Tensor | None = None
    n: Tensor | None = None
    curvature: Tensor | None = None
    contracted: Tensor | None = None


@dataclass(frozen=True)
class SpikeAdjoint:
    """Adjoint of spikes ``full_t + time_t·sample``: an array over time, and a product that needs none; None: zero."""

    full: Tensor | None = None
    time: Tensor | None = None
    sample: Tensor | None = None

    def at(self, like: Tensor, steps: slice = slice(None)) -> Tensor:
        """As one array ``[time, batch, neuron...]`` of some steps, laid out as another."""
        like = like[steps]
        total = torch.zeros_like(like) if self.full is None else torch.empty_like(like).copy_(self.full[steps])
        if self.time is not None and self.sample is not None:
            total += self.time[steps].reshape(-1, *[1] * (like.dim() - 1)) * self.sample
        return total


def push(neurons: LinearNeurons, like: Tensor, acc: Change, bends: Bends | None, wanted: Wanted) -> Pushed:
    """Tangents of a layer.

    Args:
        neurons: its factors.
        like: an array over time of the layer, without gaps; results are laid out as it is.
        acc: changes of the synaptic sum, any strides over time and batch; may be overwritten. Or how to make them.
        bends: second derivatives; None: no curvature.
        wanted: see there.
    """
    bends = None if bends is None or bends.bend is None else bends
    if neurons.spike is None:
        bends, wanted = None, Wanted(u=wanted.u)
    found = _suited(like)
    if found is None:
        return _push_torch(neurons, as_tensor(acc), bends, wanted)
    return _push_native(found, neurons, like, acc, bends, wanted)


def pull(
    neurons: LinearNeurons, like: Tensor, n: SpikeAdjoint, v: Tensor | None, *, membranes: bool
) -> tuple[Tensor, Tensor | None]:
    """Adjoints of a layer: of its synaptic sum and, where asked, of the membrane before the spike.

    Args:
        neurons, like: as in :func:`push`.
        n: adjoint of the spikes, from outside the layer.
        v: adjoint of the membrane at the end of a step; None: nothing.
        membranes: whether the second is asked.
    """
    found = _suited(like)
    if found is None:
        return _pull_torch(neurons, like, n, v)
    return _pull_native(found, neurons, like, n, v, membranes)


def _suited(like: Tensor) -> Library | None:
    fits = like.device.type == "cpu" and like.dtype in TYPES and like.numel() > 0 and neuron_order(like) is not None
    return library() if fits else None


class _Packed:
    """The layer as C reads it, and the tensors whose memory that points to."""

    def __init__(self, found: Library, neurons: LinearNeurons, like: Tensor) -> None:
        self.like, self.alive = like, list[Tensor]()
        self.order = neuron_order(like) or []
        varies = neurons.carry.dim() == like.dim()
        self.struct = LayerStruct(
            steps=like.shape[0],
            batch=like.shape[1],
            neurons=prod(like.shape[2:]),
            varies=varies,
            old_current=neurons.old_current,
            mode=found.float_mode(),
            carry=self.over_time(neurons.carry) if varies else self.per_neuron(neurons.carry),
            slope=self.per_neuron(neurons.slope),
            gate=self.over_time(neurons.gate),
            spike=self.over_time(neurons.spike),
            end=self.over_time(neurons.end),
            leak=self.per_neuron(neurons.current_leak),
        )

    def over_time(self, values: Tensor | None) -> int | None:
        """``[time, batch, neuron...]`` in the layer's layout."""
        return None if values is None else self.keep(laid_out(values, self.like))

    def per_neuron(self, values: Tensor | None) -> int | None:
        """``[neuron...]``, or a scalar."""
        if values is None:
            return None
        wide = values.detach().to(self.like.dtype).expand(self.like.shape[2:])
        return self.keep(wide.permute(self.order).contiguous())

    def per_sample(self, values: Tensor | None) -> int | None:
        """``[batch, neuron...]``."""
        return None if values is None else self.keep(laid_out(values, self.like[0]))

    def per_step(self, values: Tensor | None) -> int | None:
        """``[time]``."""
        return None if values is None else self.keep(values.to(self.like.dtype).contiguous())

    def keep(self, values: Tensor) -> int:
        """Address of a tensor that lives as long as this."""
        self.alive.append(values)
        return values.data_ptr()

    def run(self, found: Library, direction: str, io: ctypes.Structure, work: int) -> None:
        """All samples, on as many threads as torch uses."""
        kernel, where = found.kernels[direction, self.like.dtype], (ctypes.byref(self.struct), ctypes.byref(io))
        batch = self.like.shape[1]
        if any(in_parts(lambda first, last: kernel(*where, first, last), batch, 1, work)):
            raise MemoryError("no memory for the buffers of a linearised layer")


def _push_native(
    found: Library, neurons: LinearNeurons, like: Tensor, acc: Change, bends: Bends | None, wanted: Wanted
) -> Pushed:
    packed = _Packed(found, neurons, like)
    fill = None
    if isinstance(acc, Sums) and (acc.dtype != like.dtype or acc.order() != packed.order):
        acc = acc.tensor()
    if isinstance(acc, Sums):
        fill = acc.struct()
    elif acc.dtype != like.dtype or _inside(acc) != _inside(like):
        acc = laid_out(acc, like)
    u = torch.empty_like(like) if wanted.u else None
    n = torch.empty_like(like) if wanted.n else None
    contracted = torch.empty_like(like[0]) if wanted.read is not None else None
    curvature = None if bends is None else torch.zeros(like.shape[1], dtype=torch.float64)
    io = PushStruct(
        fill=None if fill is None else ctypes.addressof(fill),
        u=_pointer(u),
        n=_pointer(n),
        bend=None if bends is None else packed.over_time(bends.bend),
        cross=None if bends is None else packed.over_time(bends.cross),
        curvature=_pointer(curvature),
        read=packed.per_step(wanted.read),
        contracted=_pointer(contracted),
    )
    if not isinstance(acc, Sums):
        io.input, io.input_time, io.input_sample = acc.data_ptr(), acc.stride(0), acc.stride(1)
    packed.run(found, "push", io, max(like.numel(), acc.work if isinstance(acc, Sums) else 0))
    return Pushed(u, n, curvature, contracted)


def _pull_native(
    found: Library, neurons: LinearNeurons, like: Tensor, n: SpikeAdjoint, v: Tensor | None, membranes: bool
) -> tuple[Tensor, Tensor | None]:
    packed = _Packed(found, neurons, like)
    acc, u = torch.empty_like(like), torch.empty_like(like) if membranes else None
    io = PullStruct(
        n=packed.over_time(n.full),
        v=packed.over_time(v),
        n_time=packed.per_step(n.time),
        n_sample=packed.per_sample(n.sample),
        u=_pointer(u),
        input=acc.data_ptr(),
    )
    packed.run(found, "pull", io, like.numel())
    return acc, u


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _inside(values: Tensor) -> list[int]:
    """Strides of the neuron axes, of those that matter."""
    return [stride for size, stride in zip(values.shape[2:], values.stride()[2:], strict=True) if size != 1]


def _push_torch(neurons: LinearNeurons, acc: Tensor, bends: Bends | None, wanted: Wanted) -> Pushed:
    drive = acc
    if neurons.current_leak is not None:
        drive = forward_scan_(acc.clone(), neurons.current_leak)
        drive = _moved(drive, 1) if neurons.old_current else drive
    u = drive.clone() if neurons.gate is None else drive * neurons.gate
    for t in range(1, len(u)):
        u[t].addcmul_(u[t - 1], neurons.carry_at(t))
    n = u if neurons.spike is None else u * neurons.spike
    curvature = None
    if bends is not None and bends.bend is not None:
        per_sample = (bends.bend * u.square()).flatten(2).sum(0)
        if bends.cross is not None:
            per_sample = per_sample + (bends.cross * _moved(u, 1) * drive).flatten(2).sum(0)
        curvature = per_sample.double().sum(1)
    contracted = None
    if wanted.read is not None:
        contracted = (wanted.read.to(n.dtype).reshape(-1, *[1] * (n.dim() - 1)) * n).sum(0)
    return Pushed(u if wanted.u else None, n if wanted.n else None, curvature, contracted)


def _pull_torch(
    neurons: LinearNeurons, like: Tensor, n: SpikeAdjoint, v: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    u = torch.zeros_like(like) if neurons.spike is None else n.at(like).mul_(neurons.spike)
    if v is not None:
        u += v if neurons.end is None else v * neurons.end
    for t in range(len(u) - 2, -1, -1):
        u[t].addcmul_(u[t + 1], neurons.carry_at(t + 1))
    acc = u if neurons.gate is None else u * neurons.gate
    if neurons.current_leak is not None:
        acc = backward_scan_(_moved(acc, -1) if neurons.old_current else acc.clone(), neurons.current_leak)
    return acc, u


def _moved(values: Tensor, steps: int) -> Tensor:
    """One step later (1) or earlier (−1), zeros where nothing comes from."""
    moved = torch.zeros_like(values)
    if steps > 0:
        moved[1:] = values[:-1]
    else:
        moved[:-1] = values[1:]
    return moved
