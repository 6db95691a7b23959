"""One layer of neurons on its way into a framework: what it does in a step, and what an importer can be told.

With ``β`` the decay, ``g`` the gain, ``d`` the drive, ``I`` the sum of what enters (:mod:`engine.network.model`)::

    lif, if:  v' = β·v + g·I + d           cubalif:  i' = α·i + g·I;   v' = β·v + i' + d

An importer builds one kind of neuron. The membrane may be shifted and scaled, ``u = (v − t)/s`` with ``s > 0``: no
spike changes, and ``I`` enters with ``g/s``, ``d − (1 − β)·t`` with ``1/s``. So a reset to ``t`` becomes one to 0, and
where the importer wants one threshold for a layer, ``s = θ − t`` makes it 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine.errors import NotRepresentable
from engine.network.model import Array, NeuronLayer
from engine.specs.dynamics import Dynamics

Reset = Literal["value", "subtract", "subtract_late", "subtract_raises", "value_late", "none"]
FOREVER = 2.0**60  # steps: with so long a time constant 1 − dt/τ is 1 in float64


@dataclass(frozen=True)
class Cell:
    """What a layer does: ``start`` is the membrane before the first step, the rest as in :class:`NeuronLayer`."""

    name: str
    layer: NeuronLayer
    start: Array
    reset: Reset
    fires_at_threshold: bool  # v ≥ θ, not v > θ

    @property
    def theta(self) -> Array:
        """The threshold of a layer that spikes."""
        if self.layer.threshold is None:
            raise NotRepresentable("node_not_importable", f"node {self.name!r} never spikes", self.name)
        return self.layer.threshold


@dataclass(frozen=True)
class Written:
    """The node that an importer is given.

    Attributes:
        kind: the node's NIR type.
        values: its parameters.
        factor: what the weights into it are multiplied by, per neuron.
        bias: what is added to its input in every step, per neuron.
        mended: what the importer alone would do instead; lines after the import mend it (the snippet).
    """

    kind: str
    values: Mapping[str, Any]
    factor: Array
    bias: Array
    mended: tuple[str, ...] = field(default=())


def make_cell(layer: NeuronLayer, dynamics: Dynamics, framework: str) -> Cell:
    """A layer as importers see it.

    Raises:
        NotRepresentable: ``several_spikes``, ``membrane_floor``, ``old_current``: what no importer can be told.
    """
    name, dynamics = layer.name, layer.obeys(dynamics)
    if layer.kind not in ("if", "lif", "cubalif"):
        detail = f"node {name!r} ({layer.kind}): {framework}'s importer knows IF, LIF and CubaLIF alone"
        raise NotRepresentable("node_not_importable", detail, name)
    if dynamics.spikes_per_step == "many" and dynamics.max_spikes != 1:
        detail = f"node {name!r}: up to {dynamics.max_spikes} spikes a step; neurons of {framework} give one"
        raise NotRepresentable("several_spikes", detail, name)
    if dynamics.membrane_floor != "none":
        detail = f"node {name!r}: membrane_floor={dynamics.membrane_floor}; neurons of {framework} have no floor"
        raise NotRepresentable("membrane_floor", detail, name)
    if layer.kind == "cubalif" and dynamics.current != "new":
        detail = f"node {name!r}: the membrane sees the current of the step before; in {framework} it sees the new one"
        raise NotRepresentable("old_current", detail, name)
    start = {"zero": np.zeros(layer.shape), "v_reset": layer.v_reset, "v_leak": layer.v_leak}[dynamics.start]
    return Cell(name, layer, start, _reset(layer, dynamics), dynamics.spike_test == "ge")


def _reset(layer: NeuronLayer, dynamics: Dynamics) -> Reset:
    """The reset by what it does to later spikes: a late one before the leak is one at once."""
    if dynamics.reset == "none":
        return "none"
    if dynamics.drop_reset_input and dynamics.reset != "to_value":
        detail = f"node {layer.name!r}: drop_reset_input with a reset by subtraction; no importer builds one"
        raise NotRepresentable("reset_not_importable", detail, layer.name)
    late = dynamics.reset_timing == "next_step" and dynamics.reset_order == "after_leak"
    if dynamics.reset == "subtract":
        if dynamics.residue == "raises_threshold":
            return "subtract_raises"
        return "subtract_late" if late else "subtract"
    if dynamics.drop_reset_input:
        return "value_late"
    if late and (layer.v_reset != 0).any():  # at once and to 0 is the same: 0 does not leak
        detail = f"node {layer.name!r}: a reset in the next step, after the leak, to another value than 0"
        raise NotRepresentable("reset_not_importable", detail, layer.name)
    return "value"


def uniform(values: Array) -> bool:
    """One number for the whole layer?"""
    return bool(values.size == 0 or np.all(values == values.flat[0]))


def time_constant(decay: Array, dt_s: float) -> Array:
    """``τ`` so that ``1 − dt/τ`` is the decay; without a leak one that never ends.

    Example:
        >>> time_constant(np.array([0.5, 0.0]), 1e-4).tolist()
        [0.0002, 0.0001]
    """
    return dt_s / np.maximum(1.0 - decay, 1.0 / FOREVER)


def needs_rest(cell: Cell, framework: str, rest: Array, what: str) -> None:
    """Refuse where the membrane does not start at ``rest``."""
    if not np.allclose(cell.start, rest, rtol=0, atol=1e-12):
        detail = (
            f"node {cell.name!r}: the membrane starts at {cell.start.flat[0]:g}; "
            f"{framework}'s importer would start it at {what}"
        )
        raise NotRepresentable("start_not_importable", detail, cell.name)


def needs_snippet(cell: Cell, framework: str, builds: str) -> NotRepresentable:
    """The refusal of what lines after the import could mend."""
    detail = f"node {cell.name!r}: {framework}'s importer would build {builds}; ask for the snippet that mends it"
    return NotRepresentable("needs_snippet", detail, cell.name)


def no_such_reset(cell: Cell, framework: str, builds: str) -> NotRepresentable:
    """The refusal of a reset that neither the framework's importer nor a snippet can bring about."""
    detail = f"node {cell.name!r}: a reset {RESETS[cell.reset]}; {framework}'s importer would build {builds}"
    return NotRepresentable("reset_not_importable", detail, cell.name)


def no_drive(cell: Cell, framework: str, drive: Array) -> None:
    """Refuse a current-based neuron whose membrane is driven: a bias would enter the current, which smooths it."""
    if not np.allclose(drive, 0.0, rtol=0, atol=1e-12):
        detail = (
            f"node {cell.name!r} (CubaLIF): its membrane leaks to another value than it is reset to; "
            f"{framework}'s importer knows no v_leak of a CubaLIF"
        )
        raise NotRepresentable("leak_not_importable", detail, cell.name)


RESETS: dict[Reset, str] = {
    "value": "to a value in the same step",
    "subtract": "by subtraction in the same step",
    "subtract_late": "by subtraction in the next step",
    "subtract_raises": "by subtraction, after which a membrane above its threshold fires only above twice of it",
    "value_late": "to a value in the next step, whose input is lost",
    "none": "that does nothing",
}


def nudge(theta: Array, given: bool, wanted: bool) -> Array:
    """Thresholds for another spike test: in float32, ``v ≥ θ`` is ``v > `` the number below ``θ``.

    Args:
        theta: thresholds.
        given: the network fires at its threshold.
        wanted: the framework does.
    """
    if given == wanted:
        return theta
    return np.nextafter(theta.astype(np.float32), np.float32(np.inf if wanted else -np.inf)).astype(np.float64)
