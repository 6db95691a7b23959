"""A program as the runner uses it: plain data, every array int64 and of full shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

LARGEST = 2.0**62  # far outside every declared range: clamping follows
IntArray = NDArray[np.int64]
INPUT = "@input"
UNDECLARED = -1  # a bound that no manifest declares, until :mod:`runtime.check` has found it


@dataclass(frozen=True)
class InputFormat:
    """Shape of one time step, and the range that values are clamped to.

    ``scale``: what one integer step of an analogue input is worth; None: inputs are whole numbers by themselves.
    """

    shape: tuple[int, ...]
    lo: int
    hi: int
    scale: np.float32 | None = None

    def integers(self, x: NDArray[Any]) -> IntArray:
        """Analogue values as this program's integers, ``floor(x / scale + 1/2)``; not clamped yet.

        Raises:
            ProgramError: values that are not finite, or fractions for a program without a scale.

        Example:
            >>> InputFormat((1,), -4, 3, np.float32(0.25)).integers(np.array([0.3, -9.0])).tolist()
            [1, -36]
        """
        x = np.asarray(x)
        if x.dtype.kind in "biu" and self.scale is None:
            return x.astype(np.int64)
        if x.dtype.kind not in "biuf":
            raise ProgramError(f"input must hold numbers, found dtype {x.dtype}")
        wide = x.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ProgramError("input holds values that are not finite")
        steps = np.floor(wide / (1.0 if self.scale is None else float(self.scale)) + 0.5)
        if self.scale is None and not np.array_equal(steps, wide):
            raise ProgramError("input holds fractions, the program takes whole numbers")
        return np.clip(steps, -LARGEST, LARGEST).astype(np.int64)


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
    largest_input: int  # bound of the synaptic sums
    largest_inner: int  # bound of every number of a step

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of membrane and current."""
        return -(1 << (self.state_bits - 1)), (1 << (self.state_bits - 1)) - 1


@dataclass(frozen=True)
class Connection:
    """Weights into one layer; ``exponent`` has one value or one per output row or channel.

    ``delay`` (full ``source_shape``, or None) holds whole steps on top of ``delayed``. Strides, paddings and dilations
    have one entry for ``conv1d``, else two.
    """

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
    delay: IntArray | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    values: tuple[int, int]  # range of what is multiplied
    accumulator: int  # bound of every sum


@dataclass(frozen=True)
class Program:
    """A whole program, layers in execution order."""

    input: InputFormat
    layers: tuple[Layer, ...]
    connections: tuple[Connection, ...]
    output: str
    readout: str

    def layer(self, name: str) -> Layer:
        """The layer called ``name``; KeyError where there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def into(self, target: str) -> tuple[Connection, ...]:
        """Connections into one layer, in the program's order."""
        return tuple(c for c in self.connections if c.target == target)
