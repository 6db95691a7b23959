"""Changes of a layer's synaptic sum that are made where they are needed, a few samples at a time.

A native scan asks for the sums of some samples, walks them while they are in the cache, and asks for the next; nobody
holds them all. Everybody else takes them as one array. Both have the same bits.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from engine.kernels.native import FillStruct, Kernel, in_parts

GROUP_BYTES = 384 * 2**10  # of sums at a time: they and what a scan walks beside them stay in the second cache


@dataclass(frozen=True)
class Sums:
    """How to make sums ``[time, batch, neuron...]``; for one pass, as what they are made from may be overwritten.

    Args:
        into: native function that writes those of some samples, ``[sample, step, *frame]``.
        context: what it reads.
        alive: whatever ``context`` points to.
        steps, batch: of the block.
        frame: the neuron axes as they lie in memory; with three of them channels are innermost.
        dtype: of the sums.
        rows: a sample's rows that ``into`` takes most gladly in whole bunches of ``bunch``.
        work: values or products walked through.
    """

    into: Kernel
    context: ctypes.Structure
    alive: tuple[object, ...]
    steps: int
    batch: int
    frame: tuple[int, ...]
    dtype: torch.dtype
    work: int
    rows: int = 1
    bunch: int = 1

    def struct(self) -> FillStruct:
        """As C reads it; valid as long as this object lives."""
        into = ctypes.cast(self.into, ctypes.c_void_p).value  # type: ignore[arg-type]
        return FillStruct(into, ctypes.addressof(self.context), self._group())

    def order(self) -> list[int]:
        """Neuron axes from the outermost in memory to the innermost."""
        return [1, 2, 0] if len(self.frame) == 3 else list(range(len(self.frame)))

    def tensor(self) -> Tensor:
        """All of them, ``[time, batch, neuron...]``.

        Raises:
            MemoryError: of the native function.
        """
        out = torch.empty(self.batch, self.steps, *self.frame, dtype=self.dtype)
        size, context = out[0].numel() * out.element_size(), ctypes.byref(self.context)

        def part(first: int, last: int) -> int:
            return self.into(context, first, last, out.data_ptr() + first * size)

        if any(in_parts(part, self.batch, 1, self.work)):
            raise MemoryError("no memory for the buffers of synaptic sums")
        sums = out.transpose(0, 1)
        return sums.movedim(4, 2) if len(self.frame) == 3 else sums

    def _group(self) -> int:
        """Samples at a time: as many as the cache holds, of these the number that wastes fewest rows."""
        most = max(1, GROUP_BYTES // (self.steps * prod(self.frame) * self.dtype.itemsize))
        most = min(most, self.batch)

        def waste(group: int) -> tuple[float, int]:
            taken = -(-group * self.rows // self.bunch) * self.bunch
            return taken / (group * self.rows), -group

        return min(range(1, most + 1), key=waste)


Change = Tensor | Sums  # of a layer's synaptic sum


def as_tensor(change: Change) -> Tensor:
    """``[time, batch, neuron...]``."""
    return change.tensor() if isinstance(change, Sums) else change
