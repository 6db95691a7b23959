"""``x @ W.T + b`` where few entries of ``x`` are not zero: forward and weight gradient cost by the event.

The dense product is taken where the measured density is high, where there is no native library, and for the gradient
of ``x``, which is dense. Sums run over events in order, so that results depend on no number of threads; beside the
dense product they differ in rounding alone, and not at all where the sums are exact.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.native import EventsStruct, Library, in_parts, library

MOST_DENSE = 0.18  # share of entries; above about 20 % a weight gradient by events takes longer than the dense one
LEAST_VALUES = 1 << 16  # of x: below, the dense product takes less time than finding events does
KINDS = {torch.uint8: 0, torch.float32: 1, torch.float64: 2}


@dataclass(frozen=True)
class Events:
    """Entries that are not zero of a matrix ``[row, wide]``; row r has ``count[r]`` from ``begin[r]`` on.

    ``values`` is None where all are 1.
    """

    begin: Tensor
    count: Tensor
    columns: Tensor
    values: Tensor | None
    wide: int

    def struct(self) -> EventsStruct:
        """As C reads it; valid as long as this object lives."""
        values = None if self.values is None else self.values.data_ptr()
        return EventsStruct(self.begin.data_ptr(), self.count.data_ptr(), self.columns.data_ptr(), values)


def spike_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` that is quick for sparse inputs.

    Args:
        x: spikes or counts ``[row, in]``, bytes or floats.
        weight: ``[out, in]``; its dtype is the result's.
        bias: ``[out]`` or None.

    Example:
        >>> spike_linear(torch.eye(2, dtype=torch.uint8), torch.tensor([[1.0, 2.0]]), None).tolist()
        [[1.0], [2.0]]
    """
    found = library()
    if found is not None and (events := find_events(found, x, weight)) is not None:
        product: Tensor = _SpikeLinear.apply(x, weight, bias, events, found)  # type: ignore[no-untyped-call]
        return product
    return F.linear(x.to(weight.dtype), weight, bias)


def find_events(found: Library, x: Tensor, weight: Tensor) -> Events | None:
    """The events of ``x``; None where the dense product is the better one."""
    if (
        x.dtype not in KINDS
        or weight.dtype not in (torch.float32, torch.float64)
        or x.device.type != "cpu"
        or weight.device.type != "cpu"
        or x.numel() < LEAST_VALUES
    ):
        return None
    x = x.detach().contiguous()
    rows, wide = x.shape
    room = int(MOST_DENSE * x.numel()) + 16
    begin, count = torch.empty(rows, dtype=torch.int64), torch.empty(rows, dtype=torch.int32)
    columns, values = torch.empty(room, dtype=torch.int32), torch.empty(room, dtype=torch.float32)
    plain = ctypes.c_int32()
    arrays = (begin.data_ptr(), count.data_ptr(), columns.data_ptr(), values.data_ptr(), ctypes.byref(plain))
    n = found.find_events(KINDS[x.dtype], x.data_ptr(), rows, wide, room, *arrays)
    if n < 0:
        return None
    kept = None if plain.value else values[:n].clone()
    return Events(begin, count, columns[:n].clone(), kept, wide)


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, events: Events, found: Library) -> Tensor:
        rows, out = len(events.begin), weight.shape[0]
        product = torch.empty(rows, out, dtype=weight.dtype)
        by_input = weight.detach().T.contiguous()
        offset = None if bias is None else bias.detach().contiguous()
        struct, kind = events.struct(), KINDS[weight.dtype]
        where = (
            ctypes.byref(struct), by_input.data_ptr(), None if offset is None else offset.data_ptr(), product.data_ptr()
        )  # fmt: skip
        in_parts(lambda first, last: found.multiply_rows(kind, *where, out, first, last), rows, 1, rows * out)
        ctx.save_for_backward(
            weight if ctx.needs_input_grad[0] else None, events.begin, events.count, events.columns, events.values
        )
        ctx.found, ctx.x_dtype, ctx.shape = found, x.dtype, weight.shape
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        weight, begin, count, columns, values = ctx.saved_tensors
        g = g.contiguous()
        g_x = (g @ weight).to(ctx.x_dtype) if ctx.needs_input_grad[0] else None
        g_weight = None
        if ctx.needs_input_grad[1]:
            out, wide = ctx.shape
            by_input = torch.zeros(wide, out, dtype=g.dtype)
            events = Events(begin, count, columns, values, wide)
            struct, kind = events.struct(), KINDS[g.dtype]
            where = ctypes.byref(struct), g.data_ptr(), by_input.data_ptr()
            in_parts(
                lambda first, last: ctx.found.add_outer(kind, *where, len(begin), out, first, last),
                out, 16, len(columns) * out,
            )  # fmt: skip
            g_weight = by_input.T.contiguous()
        g_bias = g.sum(0) if ctx.needs_input_grad[2] else None
        return g_x, g_weight, g_bias, None, None
