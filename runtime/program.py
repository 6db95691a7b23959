"""A program as the runner uses it: plain data, every array int64 and of full shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
INPUT = "@input"


@dataclass(frozen=True)
class InputFormat:
    """Shape of one time step, and the range that values are clamped to."""

    shape: tuple[int, ...]
    lo: int
    hi: int


@dataclass(frozen=True)
class SumPool:
    """Sums over windows of the last two axes, zeros outside."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Flatten:
    """Joins neuron axes ``start..end``, both inclusive."""

    start: int
    end: int


Map = SumPool | Flatten


@dataclass(frozen=True)
class Leak:
    """``kind`` is none, shift or mul_shift; ``values`` holds k or m."""

    kind: str
    values: IntArray | None
    shift_bits: int
    rounding: str


@dataclass(frozen=True)
class Layer:
    """A neuron layer; ``fire_at`` None: it never spikes; ``leak_i`` None: it has no current."""

    name: str
    kind: str
    shape: tuple[int, ...]
    state_bits: int
    fraction_bits: int
    scale: NDArray[np.float32]
    leak_v: Leak
    leak_i: Leak | None
    bias: IntArray | None
    bias_i: IntArray | None
    fire_at: IntArray | None
    reset: str
    reset_sub: IntArray | None
    reset_to: IntArray | None
    reset_timing: str
    reset_order: str | None
    drop_reset_input: bool
    current: str
    floor: IntArray | None
    start: IntArray | None
    max_spikes: int
    largest_input: int  # declared bound of the synaptic sums
    largest_inner: int  # declared bound of every number of a step

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of membrane and current."""
        return -(1 << (self.state_bits - 1)), (1 << (self.state_bits - 1)) - 1


@dataclass(frozen=True)
class Connection:
    """Weights into one layer; ``exponent`` has one value or one per output row or channel."""

    name: str
    source: str
    target: str
    kind: str
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    bits: int
    weight: IntArray | None
    exponent: IntArray
    before: tuple[Map, ...]
    after: tuple[Map, ...]
    delayed: bool
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    values: tuple[int, int]  # declared range of what is multiplied
    accumulator: int  # declared bound of every sum


@dataclass(frozen=True)
class Program:
    """A whole program, layers in execution order."""

    input: InputFormat
    layers: tuple[Layer, ...]
    connections: tuple[Connection, ...]
    output: str
    readout: str
    multiplications: tuple[str, ...] = ()

    def layer(self, name: str) -> Layer:
        """The layer called ``name``; KeyError where there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def into(self, target: str) -> tuple[Connection, ...]:
        """Connections into one layer, in the program's order."""
        return tuple(c for c in self.connections if c.target == target)
