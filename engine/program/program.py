"""The integer network that is deployed: typed, immutable, NumPy integers only (DESIGN 5; docs/program.md is normative).

Axes: per-neuron arrays have their layer's shape, weights are ``[out, in, ...]``. A layer's state unit is
``scale · 2**-fraction_bits``; a connection's weighted sum enters as ``sum << (exponent + fraction_bits)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import NotRepresentable
from engine.network.model import INPUT, Flatten, SumPool
from engine.specs.dynamics import Readout

__all__ = [
    "INPUT",
    "Connection",
    "Flatten",
    "InputFormat",
    "IntegerProgram",
    "Layer",
    "Leak",
    "Map",
    "SumPool",
    "state_limits",
]

IntArray = NDArray[np.int64]
Map = SumPool | Flatten
LayerKind = Literal["if", "lif", "cubalif", "li", "cubali"]
Rounding = Literal["floor", "toward_zero", "half_up"]
MAX_EXPONENT = 15  # DESIGN 5: exponents need at most 4 bits
MAX_DELAY = 65535  # steps
MAX_SPIKES = 65535  # a spike count fits 16 bits, so golden digests have one format


@dataclass(frozen=True)
class Leak:
    """One leak of a state variable ``s`` (the registry's entries are the three kinds).

    ``none``: ``s``; ``shift``: ``s - round(s / 2**k)``; ``mul_shift``: ``round(m·s / 2**shift_bits)``. ``values`` holds
    ``k`` or ``m``: a scalar or an array that broadcasts to the layer's shape; None for ``none``.
    """

    kind: Literal["none", "shift", "mul_shift"] = "none"
    values: IntArray | None = None
    shift_bits: int = 0
    rounding: Rounding = "floor"


@dataclass(frozen=True)
class InputFormat:
    """What a time step of input looks like; values outside ``[lo, hi]`` are clamped and counted.

    ``scale``: what one integer step of an analogue input is worth (float32, positive); None: inputs are whole numbers.
    """

    shape: tuple[int, ...]
    lo: int = 0
    hi: int = 1
    scale: np.float32 | None = None


@dataclass(frozen=True)
class Layer:
    """A neuron layer in integers.

    Arrays may be given as anything that broadcasts to ``shape`` (a scalar, one value per channel shaped
    ``[C, 1, 1]``, or one per neuron) and are stored as int64 of the full shape; an all-zero ``bias``, ``bias_i`` or
    ``start`` becomes None.

    Args:
        name: the NIR node's name.
        kind: ``li`` and ``cubali`` never fire; ``cubalif`` and ``cubali`` have a current and ``leak_i``.
        shape: neuron axes.
        state_bits: width of membrane and current, fraction bits included (two's complement, saturating).
        fraction_bits: f of the state unit ``scale · 2**-f``.
        scale: float32 u, one value or broadcastable; not needed to run.
        leak_v, leak_i: leaks of membrane and current (``leak_i`` for neurons with a current alone).
        bias: added to the membrane each step (LIF: merged connection biases and drive; CubaLIF: drive).
        bias_i: CubaLIF: merged connection biases, added to the current each step.
        fire_at: spike where ``v >= fire_at``; None: never.
        reset: what a spike does to the membrane.
        reset_sub: subtracted per spike; ``fire_at - reset_sub`` is 0 or 1. Needed by ``subtract`` and several spikes.
        reset_to: needed by ``to_value`` and by ``drop_reset_input``.
        reset_timing, reset_order, drop_reset_input, current: as in the dynamics profile.
        floor: the membrane is kept at or above it.
        start: membrane before the first step (current and pending spikes start at 0).
        max_spikes: 1, or the most spikes in one step.
    """

    name: str
    kind: LayerKind
    shape: tuple[int, ...]
    state_bits: int
    fraction_bits: int
    scale: NDArray[np.float32]
    leak_v: Leak = Leak()
    leak_i: Leak | None = None
    bias: IntArray | None = None
    bias_i: IntArray | None = None
    fire_at: IntArray | None = None
    reset: Literal["subtract", "to_value", "none"] = "none"
    reset_sub: IntArray | None = None
    reset_to: IntArray | None = None
    reset_timing: Literal["same_step", "next_step"] = "same_step"
    reset_order: Literal["before_leak", "after_leak"] | None = None
    drop_reset_input: bool = False
    current: Literal["new", "old"] = "new"
    floor: IntArray | None = None
    start: IntArray | None = None
    max_spikes: int = 1

    def __post_init__(self) -> None:
        """Bring every array to int64 of the layer's shape."""
        for field in ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start"):
            value = getattr(self, field)
            if value is not None:
                value = _full(value, self.shape, f"{field} of layer {self.name!r}")
                if field in ("bias", "bias_i", "start") and not value.any():
                    value = None
            object.__setattr__(self, field, value)
        for field in ("leak_v", "leak_i"):
            leak: Leak | None = getattr(self, field)
            if leak is not None and leak.values is not None:
                full = _full(leak.values, self.shape, f"{field} of layer {self.name!r}")
                object.__setattr__(self, field, Leak(leak.kind, full, leak.shift_bits, leak.rounding))
        scale = np.broadcast_to(np.asarray(self.scale, dtype=np.float32), self.shape).copy()
        object.__setattr__(self, "scale", scale)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of membrane and current."""
        return state_limits(self.state_bits)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True)
class Connection:
    """One integer weight tensor into one layer, with the weightless maps around it.

    ``weight`` is int64 ``[out, in]``, ``[out, in/groups, k]`` or ``[out, in/groups, kh, kw]`` within ``bits``
    bits (1 bit: ±1), None for ``identity``. ``exponent`` is a scalar or has one value per output row or channel
    (identity: per first axis of the source after ``before``); it acts on the weighted sum, before ``after``. Pools have
    ``scale == 1``. ``delay`` holds whole steps by which the source's values are late, on top of ``delayed``: anything
    that broadcasts to ``source_shape``, kept at that shape; all zero becomes None. Strides, paddings and dilations have
    one entry for ``conv1d``, else two.
    """

    name: str
    source: str
    target: str
    kind: Literal["linear", "conv1d", "conv2d", "identity"]
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    bits: int = 0
    weight: IntArray | None = None
    exponent: IntArray | int = 0
    before: tuple[Map, ...] = ()
    after: tuple[Map, ...] = ()
    delayed: bool = False
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    delay: IntArray | None = None

    def __post_init__(self) -> None:
        """Bring weight, exponent and delay to int64."""
        if self.delay is not None:
            delay = _full(self.delay, self.source_shape, f"delay of connection {self.name!r}")
            object.__setattr__(self, "delay", delay if delay.any() else None)
        if self.weight is not None:
            object.__setattr__(self, "weight", _integers(self.weight, f"weight of {self.name!r}"))
        exponent = _integers(self.exponent, f"exponent of {self.name!r}")
        if exponent.ndim > 1:
            raise NotRepresentable(
                "invalid_program",
                f"exponent of {self.name!r} must have at most one axis, has {exponent.ndim}",
                self.name,
            )
        object.__setattr__(self, "exponent", exponent)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights; ``()`` for identity."""
        return () if self.weight is None else self.weight.shape

    @property
    def exponents(self) -> IntArray:
        """The exponent as an array: shape ``()`` or ``[out]``."""
        return np.asarray(self.exponent, dtype=np.int64)


@dataclass(frozen=True)
class IntegerProgram:
    """A whole integer network: layers in execution order, connections in their fixed order.

    Constructing one checks it (:func:`engine.program.check.check_program`): shapes, widths, order of execution,
    ranges, and that every sum is exact.

    Raises:
        NotRepresentable: something does not fit; the message names the layer, neuron or connection.

    Example:
        >>> lif = Layer("lif", "lif", (2,), 8, 0, np.float32(1), fire_at=5, reset="subtract", reset_sub=4)
        >>> fc = Connection("fc", INPUT, "lif", "linear", (3,), (2,), bits=3, weight=[[1, 2, 3], [-3, 0, 1]])
        >>> program = IntegerProgram(InputFormat((3,)), (lif,), (fc,), output="lif")
        >>> program.layer("lif").fire_at.tolist()
        [5, 5]
    """

    input: InputFormat
    layers: tuple[Layer, ...]
    connections: tuple[Connection, ...]
    output: str
    readout: Readout = "spike_count"

    def __post_init__(self) -> None:
        """Check everything once, so that whoever holds a program holds a valid one."""
        from engine.program.check import check_program  # the checks import these types

        check_program(self)

    def layer(self, name: str) -> Layer:
        """The layer called ``name``; KeyError where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    def into(self, target: str) -> tuple[Connection, ...]:
        """Connections into one layer, in their fixed order."""
        return tuple(c for c in self.connections if c.target == target)


def state_limits(bits: int) -> tuple[int, int]:
    """Smallest and largest two's complement number of ``bits`` bits.

    Example:
        >>> state_limits(8)
        (-128, 127)
    """
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def _full(value: ArrayLike, shape: tuple[int, ...], what: str) -> IntArray:
    array = _integers(value, what)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape))
    except ValueError as error:
        raise NotRepresentable("invalid_program", f"{what}: shape {array.shape} does not fit {shape}") from error


def _integers(value: ArrayLike, what: str) -> IntArray:
    """Int64 from integers, or from floats that hold integers exactly (the training form's)."""
    array = np.asarray(value)
    result = array.astype(np.int64)
    if not np.array_equal(result, array):
        raise NotRepresentable("invalid_program", f"{what} must hold integers")
    return result
