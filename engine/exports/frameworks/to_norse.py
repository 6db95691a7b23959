"""Norse 1.1.0, ``norse.torch.from_nir``: what its importer builds, and which node makes it build this neuron.

With its default ``dt`` of 1e-3: LIF becomes LIFBoxCell (the file's ``r`` is not used), IF IAFCell (neither is its),
CubaLIF a leaky integrator before a LIFBoxCell. All fire where ``v > θ``, start at ``v_leak`` (IF: at 0) and reset to 0,
since ``v_reset`` is not passed on; ``from_nir``'s ``reset_method`` reaches CubaLIF alone. Parameters may differ by
neuron.
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
)
from engine.network.model import Array

DT_S = 1e-3
NAME = "Norse"
_METHODS: dict[Reset, str] = {"subtract": "reset_subtract", "none": "lambda z, v, reset, threshold: v"}


def write_cell(cell: Cell, snippet: bool) -> Written:
    """The node for one layer; the membrane is scaled so that the weights stay as they are.

    Args:
        cell: what the layer does.
        snippet: lines after the import may set the ``reset_method``.

    Raises:
        NotRepresentable: what Norse cannot be told, or ``needs_snippet``.
    """
    mended: tuple[str, ...] = ()
    if cell.reset != "value":
        if cell.reset not in _METHODS:
            raise no_such_reset(cell, NAME, "one to 0 in the same step")
        mended = (f"a reset to 0 in the same step, where this network has one {RESETS[cell.reset]}",)
        if not snippet:
            raise needs_snippet(cell, NAME, mended[0])
    shift = cell.layer.v_reset if cell.reset == "value" else np.zeros(cell.layer.shape)
    if cell.layer.decay_i is not None:
        return _current_based(cell, shift, mended)
    if (cell.layer.decay_v == 1.0).all() and cell.reset == "value":
        return _if(cell, shift)
    return _leaky(cell, shift, mended)


def _if(cell: Cell, shift: Array) -> Written:
    needs_rest(cell, NAME, shift, "its reset value")
    theta = nudge((cell.theta - shift) / cell.layer.gain, cell.fires_at_threshold, wanted=False)
    values = {"r": 1.0 / DT_S, "v_threshold": theta, "v_reset": 0.0}
    return Written("IF", values, np.ones(cell.layer.shape), cell.layer.drive / cell.layer.gain)


def _leaky(cell: Cell, shift: Array, mended: tuple[str, ...]) -> Written:
    layer = cell.layer
    enters = DT_S / time_constant(layer.decay_v, DT_S)  # 1 − β, or next to nothing where it never leaks
    scale = layer.gain / enters
    rest = (cell.start - shift) / scale  # it starts where it leaks to; what is left of the drive is a bias
    bias = (layer.drive - (1.0 - layer.decay_v) * cell.start) / layer.gain
    theta = nudge((cell.theta - shift) / scale, cell.fires_at_threshold, wanted=False)
    values = {"tau": DT_S / enters, "r": 1.0, "v_leak": rest, "v_threshold": theta, "v_reset": 0.0}
    return Written("LIF", values, np.ones(layer.shape), np.where(np.abs(bias) < 1e-12, 0.0, bias), mended)


def _current_based(cell: Cell, shift: Array, mended: tuple[str, ...]) -> Written:
    layer = cell.layer
    decay_i = np.zeros(layer.shape) if layer.decay_i is None else layer.decay_i
    needs_rest(cell, NAME, shift, "its reset value" if cell.reset == "value" else "0")
    no_drive(cell, NAME, layer.drive - (1.0 - layer.decay_v) * shift)
    tau, tau_syn = time_constant(layer.decay_v, DT_S), time_constant(decay_i, DT_S)
    values: dict[str, Any] = {
        "tau_syn": tau_syn,
        "tau_mem": tau,
        "w_in": layer.gain * tau_syn / DT_S,
        "r": tau / DT_S,
        "v_leak": 0.0,
        "v_threshold": nudge(cell.theta - shift, cell.fires_at_threshold, wanted=False),
        "v_reset": 0.0,
    }
    return Written("CubaLIF", values, np.ones(layer.shape), np.zeros(layer.shape), mended)


def snippet_of(cells: dict[str, Cell], mended: bool, order: tuple[str, ...] | None) -> str:
    """Python that loads and runs the file; with ``mended`` it sets the reset, with ``order`` the nodes' order."""
    method = _METHODS.get(next(iter(cells.values())).reset, "reset_value")
    mend = _MEND.replace("{method}", method) if mended else ""
    if order is not None:
        mend += _ORDER.replace("{order}", ", ".join(f'"{name}"' for name in order))
    return _TEXT.replace("{mend}", mend)


_MEND = """    for cell in net.modules():
        if isinstance(cell, LIFBoxCell):  # from_nir passes no reset method on to a LIF
            cell.p = cell.p._replace(reset_method={method})
"""
_ORDER = """    order = [{order}]
    net.execution_order.sort(key=lambda node: order.index(node.name))  # its own runs nodes before what feeds them
"""
_TEXT = '''"""Loads the NIR file beside it into Norse 1.1.0 and runs it as Spikebit does."""

import nir
import norse.torch
import torch
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.lif_box import LIFBoxCell


def load(path):
    net = norse.torch.from_nir(nir.read(path))
{mend}    return net


def run(net, frames):
    """Output spikes ``[time, sample, output]`` of frames ``[time, sample, ...]``."""
    state, spikes = None, []
    for frame in frames:
        out, state = net(frame, state)
        spikes.append(out)
    return torch.stack(spikes)
'''
