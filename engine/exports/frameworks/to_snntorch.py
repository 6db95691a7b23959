"""snnTorch 1.0.0, ``import_from_nir``: what its importer builds, and which node makes it build this neuron.

It sets ``dt`` to 1e-4, the reset to zero in the same step, ``v > θ``, one threshold a layer; LIF becomes Leaky with
``r·dt/tau = 1``, CubaLIF Synaptic with ``r = tau_mem/dt``. IF becomes a Leaky with beta 0.9, whatever the file says, so
an IF is written as a LIF that never leaks. Its treatment of a cell with a weight back to itself is broken (the input
passes the recurrent weight); a Flatten in the loop hides the loop from it, and nirtorch closes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.exports.frameworks.cell import (
    RESETS,
    Cell,
    Reset,
    Written,
    needs_rest,
    needs_snippet,
    no_drive,
    no_such_reset,
    nudge,
    time_constant,
    uniform,
)

DT_S = 1e-4
NAME = "snnTorch"
_MODULE: dict[Reset, tuple[str, bool]] = {  # reset_mechanism, reset_delay
    "value": ("zero", False),
    "value_late": ("zero", True),
    "subtract_late": ("subtract", True),
    "subtract_raises": ("subtract", False),
    "none": ("none", True),
}


def write_cell(cell: Cell, snippet: bool) -> Written:
    """The node for one layer.

    Args:
        cell: what the layer does.
        snippet: lines after the import may set the reset and the thresholds.

    Raises:
        NotRepresentable: what snnTorch cannot be told, or ``needs_snippet``.
    """
    if cell.reset not in _MODULE:
        raise no_such_reset(cell, NAME, "one to zero in the same step")
    layer, to_value = cell.layer, cell.reset in ("value", "value_late")
    shift = layer.v_reset if to_value else np.zeros(layer.shape)
    needs_rest(cell, NAME, shift, "its reset value" if to_value else "0")
    drive = layer.drive - (1.0 - layer.decay_v) * shift
    theta = (cell.theta - shift) / layer.gain  # in units of the input: weights stay as they are
    mended = []
    if cell.reset != "value":
        mended.append(f"a reset to 0 in the same step, where this network has one {RESETS[cell.reset]}")
    scale = layer.gain
    if not uniform(theta):
        if snippet:
            mended.append("one threshold for the layer")
        else:
            scale, theta = cell.theta - shift, np.ones(layer.shape)
    if mended and not snippet:
        raise needs_snippet(cell, NAME, mended[0])
    theta = nudge(theta, cell.fires_at_threshold, wanted=False)
    tau = time_constant(layer.decay_v, DT_S)
    values: dict[str, Any] = {"v_threshold": theta, "v_leak": 0.0, "v_reset": 0.0, "r": tau / DT_S}
    if layer.decay_i is None:
        return Written("LIF", {"tau": tau, **values}, layer.gain / scale, drive / scale, tuple(mended))
    no_drive(cell, NAME, drive)
    tau_syn = time_constant(layer.decay_i, DT_S)
    values |= {"tau_mem": tau, "tau_syn": tau_syn, "w_in": tau_syn / DT_S}
    return Written("CubaLIF", values, layer.gain / scale, np.zeros(layer.shape), tuple(mended))


def snippet_of(cells: dict[str, Cell], mended: bool, order: tuple[str, ...] | None) -> str:
    """Python that loads the file and runs it; with ``mended`` it sets what the importer gets wrong."""
    resets = {_MODULE[cell.reset] for cell in cells.values()}
    mechanism, delay = next(iter(resets))
    if not mended:
        return _HEAD + _PLAIN + _RUN
    drops = _DROP if (mechanism, delay) == ("zero", True) else ""
    function = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}[mechanism]
    return _HEAD + _MEND.format(mechanism=mechanism, delay=delay, function=function) + drops + "    return net\n" + _RUN


_HEAD = '''"""Loads the NIR file beside it into snnTorch 1.0.0 and runs it as Spikebit does."""

import nir
import numpy as np
import torch
import snntorch as snn
from snntorch.import_nir import import_from_nir


def load(path):
    graph = nir.read(path)
'''
_PLAIN = """    return import_from_nir(graph)
"""
_MEND = """    # The importer takes one threshold a layer and always resets to zero at once: the rest is set here.
    thresholds = {{name: node.v_threshold for name, node in graph.nodes.items() if hasattr(node, "v_threshold")}}
    for name, theta in thresholds.items():
        graph.nodes[name].v_threshold = np.ones_like(theta)
    net = import_from_nir(graph)
    for name, theta in thresholds.items():
        cell = net.get_submodule(name)
        cell.threshold = torch.as_tensor(theta, dtype=torch.float32)
        cell.reset_mechanism, cell.reset_delay = "{mechanism}", {delay}
        cell.state_function = cell.{function}
"""
_DROP = """        if isinstance(cell, snn.Leaky):  # its zero keeps the input of the reset's step; here it is lost
            cell.state_function = lambda x, cell=cell: (1 - cell.reset) * (cell.beta.clamp(0, 1) * cell.mem + x)
"""
_RUN = '''

def run(net, frames):
    """Output spikes ``[time, sample, output]`` of frames ``[time, sample, ...]``."""
    for cell in net.modules():
        if isinstance(cell, (snn.Leaky, snn.Synaptic)):
            cell.reset_mem()
    state, spikes = None, []
    for frame in frames:
        out, state = net(frame, state)
        spikes.append(out)
    return torch.stack(spikes)
'''
