"""The float network after discretisation: neuron layers and the weighted connections between them (DESIGN 4).

Axes: state and currents ``[time, batch, neuron...]``, weights ``[out, in, ...]``. Everything here is NumPy and
immutable; :mod:`engine.network.simulate` turns it into tensors.

One step of a neuron, with ``I`` the sum of its connections (biases included)::

    lif, if, li, threshold:  v' = decay_v·v + gain·I + drive
    cubalif, cubali:         i' = decay_i·i + gain·I;   v' = decay_v·v + i' (or the old i) + drive
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.specs.dynamics import Dynamics

Array = NDArray[np.float64]
INPUT = "@input"  # the source name of a connection that reads the network's input


@dataclass(frozen=True)
class SumPool:
    """Sum over ``kernel`` windows of the last two axes; an average pool is this with ``scale = 1/(k_h·k_w)``."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    scale: float = 1.0


@dataclass(frozen=True)
class Flatten:
    """Joins the neuron axes ``start..end`` (counted without time and batch, ``end`` inclusive, non-negative)."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Scale:
    """Multiplies element by element; ``factor`` has the shape of what passes, without time and batch."""

    factor: Array


Map = SumPool | Flatten | Scale  # a linear map without weights


@dataclass(frozen=True)
class Connection:
    """One weight tensor into one neuron layer, with the weightless maps around it.

    ``kind`` is ``linear`` (weight ``[out, in]``), ``conv1d`` (``[out, in/groups, k]``), ``conv2d``
    (``[out, in/groups, kh, kw]``) or ``identity`` (no weight: spikes enter as they are). ``before`` acts on the
    source's spikes, ``after`` on the weighted sum. ``bias`` has one value per output neuron (linear) or channel
    (convolutions). ``delayed`` connections see the source's spikes of the step before (zero at the start; their bias
    acts from the first step). ``delay`` holds further whole steps by which the source's values are late, int64 of
    ``source_shape``. Strides, paddings and dilations have one entry for ``conv1d``, else two.
    """

    name: str
    source: str
    target: str
    kind: Literal["linear", "conv1d", "conv2d", "identity"]
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    weight: Array | None
    bias: Array | None = None
    before: tuple[Map, ...] = ()
    after: tuple[Map, ...] = ()
    delayed: bool = False
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    delay: NDArray[np.int64] | None = None

    @property
    def lags(self) -> bool:
        """Whether nothing of it acts in the step of its source."""
        return self.delayed or (self.delay is not None and bool((self.delay > 0).all()))


_MEMORYLESS: dict[str, Any] = {
    "reset": "none",
    "reset_timing": "same_step",
    "reset_order": None,
    "drop_reset_input": False,
    "spikes_per_step": "one",
    "max_spikes": None,
    "residue": "fires",
    "membrane_floor": "none",
    "start": "zero",
}


@dataclass(frozen=True)
class NeuronLayer:
    """A layer of spiking or leaky-integrating neurons; every array has the layer's shape.

    ``decay_i`` is None but for CubaLIF and CubaLI; ``threshold`` is None for ``li`` (NIR's LI and I) and ``cubali``,
    which never spike. ``threshold`` layers (NIR's Threshold) keep nothing: no decay, reset, floor or second spike. The
    ``gain`` of neurons with a current holds both ``w_in·dt/tau_syn`` (or its exponential form) and the membrane's
    ``r·dt/tau_mem``: the current is stored in units of what it adds to the membrane in one step.
    """

    name: str
    kind: Literal["if", "lif", "cubalif", "li", "cubali", "threshold"]
    shape: tuple[int, ...]
    decay_v: Array
    gain: Array
    drive: Array
    v_leak: Array
    v_reset: Array
    threshold: Array | None = None
    decay_i: Array | None = None

    def obeys(self, dynamics: Dynamics) -> Dynamics:
        """The profile as it holds for this layer: a memoryless threshold knows neither reset nor floor."""
        return dynamics.model_copy(update=_MEMORYLESS) if self.kind == "threshold" else dynamics


@dataclass(frozen=True)
class Network:
    """A whole network: layers in execution order, connections by target.

    ``output`` names the neuron layer that is read out. ``delayed_edges`` are the NIR edges (source node, target node)
    that carry one step of delay.
    """

    dynamics: Dynamics
    input_shape: tuple[int, ...]
    layers: tuple[NeuronLayer, ...]
    connections: tuple[Connection, ...]
    output: str
    delayed_edges: tuple[tuple[str, str], ...] = ()

    def layer(self, name: str) -> NeuronLayer:
        """The neuron layer called ``name``; KeyError where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no neuron layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    def into(self, target: str) -> tuple[Connection, ...]:
        """Connections into one layer, in their fixed order."""
        return self._into.get(target, ())

    @cached_property
    def _into(self) -> dict[str, tuple[Connection, ...]]:
        found: dict[str, list[Connection]] = {}
        for connection in self.connections:
            found.setdefault(connection.target, []).append(connection)
        return {target: tuple(connections) for target, connections in found.items()}

    @property
    def weighted(self) -> tuple[Connection, ...]:
        """Connections that hold weights: the layers of a plan."""
        return tuple(c for c in self.connections if c.weight is not None)


def shrink(array: Array) -> Array:
    """One number where all are equal: broadcasting a scalar is faster than multiplying by a full array.

    Example:
        >>> shrink(np.ones((3, 2))).shape, shrink(np.arange(3.0)).shape
        ((), (3,))
    """
    return array.ravel()[:1].reshape(()) if array.size and np.all(array == array.ravel()[0]) else array
