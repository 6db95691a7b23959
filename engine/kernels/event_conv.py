"""Convolutions of spikes by the event, every sample with its own kernels: no unfolded patches, cost by the spike.

Axes: spikes, sums and adjoints ``[time, batch, channel, row, column]`` with channels innermost in memory. Plain torch,
over unfolded windows of a few samples and steps at a time, gives the same numbers to rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.fill import Change, Sums
from engine.kernels.layout import channels_last
from engine.kernels.native import KernelFillStruct, Library, in_parts, library
from engine.kernels.spike_conv import MOST_TAPS, taps_of
from engine.kernels.spike_linear import KINDS, MOST_DENSE, Events

WINDOW_BYTES = 16 * 2**20  # of unfolded windows at a time, in torch
Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvGeometry:
    """Shapes and steps of a convolution; one of one dimension has rows of height 1."""

    channels: int
    size: Pair
    out: int
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Of one sample's kernels in memory: ``[ky, kx, channel, out / groups]``."""
        return (*self.kernel, self.channels, self.out // self.groups)


class SpikeWindows:
    """What the kernels of a convolution meet in a block of samples.

    Args:
        seen: spikes or counts ``[time, batch, channel, row, column]``.
        geometry: of the convolution.
    """

    def __init__(self, seen: Tensor, geometry: ConvGeometry) -> None:
        self.geometry, self.steps, self.batch = geometry, seen.shape[0], seen.shape[1]
        self.dtype, self.device = seen.dtype, seen.device
        fits = seen.device.type == "cpu" and seen.dtype in KINDS and seen.is_floating_point()
        found = library() if fits and prod(geometry.size) * prod(geometry.kernel) <= MOST_TAPS else None
        self._events = None if found is None else all_events(found, _rows(channels_last(seen)))
        self._library = found
        self._seen = seen if self._events is None else None

    def sums(self, kernels: Tensor) -> Change:
        """Every sample convolved with its own kernels: ``[batch, *kernel_shape]`` to ``[time, batch, out, oy, ox]``."""
        g = self.geometry
        if self._events is None or self._library is None:
            return self._sums_torch(kernels)
        context, alive = self._context(self._events, self._library, kernels.contiguous())
        frame = (*g.out_size, g.out)
        return Sums(self._library.fill_kernels, context, alive, self.steps, self.batch, frame, self.dtype, self._work())

    def squared_gradients(self, adjoint: Tensor) -> Tensor:
        """``Σ (∂/∂kernel)²`` per sample and output channel, ``[batch, out]`` float64.

        Args:
            adjoint: of the sums ``[time, batch, out, oy, ox]``.
        """
        if self._events is None or self._library is None:
            return self._squared_torch(adjoint)
        squares = torch.zeros(self.batch, self.geometry.out, dtype=torch.float64)
        adjoint = channels_last(adjoint)
        context, alive = self._context(self._events, self._library, None)
        where, square = (ctypes.byref(context), adjoint.data_ptr(), squares.data_ptr()), self._library.square_gradients
        if any(in_parts(lambda begin, end: square(*where, begin, end), self.batch, 1, self._work())):
            raise MemoryError("no memory for the gradient of a convolution")
        del alive
        return squares

    def _work(self) -> int:
        events = 0 if self._events is None else len(self._events.columns)
        return events * prod(self.geometry.kernel) * self.geometry.out // prod(self.geometry.stride)

    def _context(
        self, events: Events, found: Library, kernels: Tensor | None
    ) -> tuple[KernelFillStruct, tuple[object, ...]]:
        """As C reads it, and what it points to."""
        g = self.geometry
        taps = taps_of((1, *g.size), g.kernel, g.stride, g.padding, g.dilation, True)
        if taps is None:
            raise ValueError("a table of places that is too large was not refused before")
        structs = events.struct(), taps.struct(g.out)
        context = KernelFillStruct(
            *(ctypes.addressof(struct) for struct in structs),
            None if kernels is None else kernels.data_ptr(),
            *(self.steps, self.batch, prod(g.kernel), g.channels, g.out, g.groups),
            *(KINDS[self.dtype], found.float_mode()),
        )
        return context, (events, taps, structs, kernels)

    def _sums_torch(self, kernels: Tensor) -> Tensor:
        g = self.geometry
        weight = _by_group(kernels, g)  # [batch, group, out, channel·kernel]
        out = torch.empty(self.steps, self.batch, g.out, *g.out_size, dtype=self.dtype, device=self.device)
        for samples, steps, windows in self._windows():
            raw = weight[samples] @ windows  # [batch, group, out, time·position]
            out[steps, samples] = raw.reshape(len(raw), g.out, -1, *g.out_size).movedim(2, 0)
        return out

    def _squared_torch(self, adjoint: Tensor) -> Tensor:
        g = self.geometry
        squares = torch.zeros(self.batch, g.out, dtype=torch.float64, device=self.device)
        gradient: Tensor | None = None
        for samples, steps, windows in self._windows():
            part = adjoint[steps, samples].flatten(3)  # [time, batch, out, position]
            part = part.reshape(*part.shape[:2], g.groups, -1, part.shape[3]).permute(1, 2, 3, 0, 4).flatten(3)
            product = part @ windows.transpose(2, 3)
            gradient = product if gradient is None else gradient + product
            if steps.stop == self.steps:
                squares[samples] = gradient.double().square().sum(3).flatten(1)
                gradient = None
        return squares

    def _windows(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Few samples and steps at a time, steps innermost: ``[batch, group, channel·kernel, time·position]``."""
        g, seen = self.geometry, self._seen
        if seen is None:
            raise ValueError("windows are unfolded only where there are no events")
        each = seen.element_size() * g.channels * prod(g.kernel) * prod(g.out_size)  # bytes of a sample's step
        steps = max(1, min(self.steps, WINDOW_BYTES // each))
        samples = max(1, WINDOW_BYTES // (each * steps)) if steps == self.steps else 1
        for b in range(0, self.batch, samples):
            for t in range(0, self.steps, steps):
                part = seen[t : t + steps, b : b + samples]
                unfolded = F.unfold(
                    part.flatten(0, 1), g.kernel, dilation=g.dilation, padding=g.padding, stride=g.stride
                )
                unfolded = unfolded.reshape(*part.shape[:2], g.groups, -1, unfolded.shape[-1])
                yield (
                    slice(b, b + part.shape[1]),
                    slice(t, t + part.shape[0]),
                    unfolded.permute(1, 2, 3, 0, 4).flatten(3),
                )


def _by_group(kernels: Tensor, g: ConvGeometry) -> Tensor:
    """``[batch, ky, kx, channel, out / groups]`` to ``[batch, group, out / groups, channel / groups·ky·kx]``."""
    split = kernels.reshape(len(kernels), *g.kernel, g.groups, g.channels // g.groups, g.out // g.groups)
    return split.permute(0, 3, 5, 4, 1, 2).flatten(3)


def _rows(seen: Tensor) -> Tensor:
    """``[time·batch, row·column·channel]``."""
    return seen.movedim(2, 4).flatten(0, 1).flatten(1)


def all_events(found: Library, flat: Tensor) -> Events | None:
    """The events of ``[row, column]`` however dense it is; None where a value is no float."""
    few = int(MOST_DENSE * flat.numel()) + 16
    return _events_within(found, flat, few) or _events_within(found, flat, flat.numel() + 16)


def _events_within(found: Library, flat: Tensor, room: int) -> Events | None:
    rows = len(flat)
    begin, count = torch.empty(rows, dtype=torch.int64), torch.empty(rows, dtype=torch.int32)
    columns, values = torch.empty(room, dtype=torch.int32), torch.empty(room, dtype=torch.float32)
    plain = ctypes.c_int32()
    arrays = (begin.data_ptr(), count.data_ptr(), columns.data_ptr(), values.data_ptr(), ctypes.byref(plain))
    kind = KINDS[flat.dtype]
    n = int(found.find_events(kind, flat.data_ptr(), rows, flat.shape[1], room, *arrays))
    if n < 0:
        return None
    return Events(begin, count, columns[:n].clone(), None if plain.value else values[:n].clone(), flat.shape[1])
