"""SpikingJelly 2.0.0, ``import_from_nir``: what its importer builds, and which node makes it build this neuron.

With its default ``dt`` of 1e-4: LIF becomes LIFNode (``r`` 1: its input decays, ``tau/dt``: it does not), IF IFNode,
CubaLIF CUBALIFNode. All fire where ``v ≥ θ``, start at ``v_reset`` and reset to it; LIF leaks to it too, CubaLIF to 0.
Every parameter is one number for the layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import NotRepresentable
from engine.exports.frameworks.cell import (
    RESETS,
    Cell,
    Written,
    needs_rest,
    needs_snippet,
    no_drive,
    no_such_reset,
    nudge,
    time_constant,
    uniform,
)
from engine.network.model import Array

DT_S = 1e-4
NAME = "SpikingJelly"


def write_cell(cell: Cell, snippet: bool) -> Written:
    """The node for one layer.

    Args:
        cell: what the layer does.
        snippet: lines after the import may make the reset a subtraction.

    Raises:
        NotRepresentable: what SpikingJelly cannot be told, or ``needs_snippet``.
    """
    if cell.reset not in ("value", "subtract"):
        raise no_such_reset(cell, NAME, "one to v_reset in the same step")
    mended: tuple[str, ...] = ()
    if cell.reset == "subtract":
        mended = (f"a reset to 0 in the same step, where this network has one {RESETS['subtract']}",)
        if not snippet:
            raise needs_snippet(cell, NAME, mended[0])
    layer = cell.layer
    for what, decay in (("tau", layer.decay_v), ("tau_syn", layer.decay_i)):
        if decay is not None and not uniform(decay):
            detail = f"node {cell.name!r}: {what} differs by neuron; {NAME}'s importer takes one for the layer"
            raise NotRepresentable("not_uniform", detail, cell.name)
    if layer.decay_i is None and (layer.decay_v == 0.0).all():
        detail = f"node {cell.name!r}: it forgets its membrane in one step; {NAME}'s importer wants tau above dt"
        raise NotRepresentable("leak_not_importable", detail, cell.name)
    reset = layer.v_reset if cell.reset == "value" else np.zeros(layer.shape)
    needs_rest(cell, NAME, reset, "v_reset" if cell.reset == "value" else "0")
    return _scaled(cell, reset, mended)


def _scaled(cell: Cell, reset: Array, mended: tuple[str, ...]) -> Written:
    """In the network's own units where the layer's numbers are uniform; else shifted and scaled until they are."""
    layer, enters = cell.layer, 1.0 - cell.layer.decay_v
    decays_input = layer.decay_i is None and bool(np.allclose(layer.gain, enters, rtol=1e-12, atol=0))
    shift, scale, theta = np.zeros(layer.shape), np.ones(layer.shape), cell.theta
    if not (uniform(reset) and uniform(theta) and (decays_input or (layer.gain == 1.0).all())):
        decays_input = False
        shift, scale, reset, theta = reset, layer.gain, np.zeros(layer.shape), (cell.theta - reset) / layer.gain
        if not uniform(theta):
            scale, theta = cell.theta - shift, np.ones(layer.shape)
    leak = np.zeros(layer.shape) if layer.decay_i is not None else reset
    drive = (layer.drive - enters * shift) / scale - enters * leak  # what the framework's own leak does not bring
    drive = np.where(np.abs(drive) < 1e-12, 0.0, drive)
    values: dict[str, Any] = {"v_threshold": nudge(theta, cell.fires_at_threshold, wanted=True), "v_reset": reset}
    gain = layer.gain / scale
    if layer.decay_i is not None:
        no_drive(cell, NAME, drive)
        tau, tau_syn = time_constant(layer.decay_v, DT_S), time_constant(layer.decay_i, DT_S)
        values |= {"tau_mem": tau, "tau_syn": tau_syn, "v_leak": leak, "r": tau / DT_S, "w_in": tau_syn / DT_S}
        return Written("CubaLIF", values, gain, drive, mended)
    if (layer.decay_v == 1.0).all():
        return Written("IF", {"r": 1.0 / DT_S, **values}, gain, drive, mended)
    tau = time_constant(layer.decay_v, DT_S)
    values |= {"tau": tau, "v_leak": leak, "r": 1.0 if decays_input else tau / DT_S}
    if decays_input:
        gain, drive = np.ones(layer.shape), drive / enters
    return Written("LIF", values, gain, drive, mended)


def snippet_of(cells: dict[str, Cell], mended: bool, order: tuple[str, ...] | None) -> str:
    """Python that loads the file and runs it; with ``mended`` it makes the reset a subtraction."""
    return _TEXT.replace("{mend}", _MEND if mended else "")


_MEND = """    for cell in net.modules():
        if isinstance(cell, neuron.BaseNode):
            cell.v_reset = None  # a soft reset, which a NIR file cannot say
"""
_TEXT = '''"""Loads the NIR file beside it into SpikingJelly 2.0.0 and runs it as Spikebit does."""

import torch
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.nir_exchange import import_from_nir


def load(path, dtype=torch.float32):
    net = import_from_nir(path, dtype=dtype)
{mend}    return net


def run(net, frames):
    """Output spikes ``[time, sample, output]`` of frames ``[time, sample, ...]``."""
    state, spikes = None, []
    for frame in frames:
        out, state = net(frame, state)
        spikes.append(out)
    return torch.stack(spikes)
'''
