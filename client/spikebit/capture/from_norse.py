"""Norse: LIFBoxCell, LIFCell, IAFCell, LIFRecurrentCell; LIBoxCell and LICell to be read out.

Written from the modules, not by ``to_nir``, whose faults this works round: time constants times Norse's own step
(norse#411; here they are seconds and the profile's step is the cell's), scalar parameters, a missing reset value, no
recurrent cells.
"""

from __future__ import annotations

from typing import Any

import nir
import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.lif import LIFState
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.module.iaf import IAFCell
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif_box import LIFBoxCell

from spikebit.capture.copies import copied
from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape, each_step
from spikebit.capture.layers import array

_RESETS = {reset_value: "to_value", reset_subtract: "subtract"}
_CELLS = (LIFBoxCell, norse.LIFCell, IAFCell, norse.LIFRecurrentCell, LIBoxCell, norse.LICell)


class _Norse:
    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        return copied(net)

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        cell: Any = module
        if type(module) not in _CELLS:
            if hasattr(module, "p") and hasattr(module, "dt"):
                known = ", ".join(kind.__name__ for kind in _CELLS)
                raise CannotCapture(f"layer {name}: {type(module).__name__} has no NIR node; captured are {known}")
            return None
        weights = recurrent = None
        if isinstance(module, norse.LIFRecurrentCell):
            shape = (int(cell.hidden_size),)
            weights = nir.Linear(array(cell.input_weights))
            recurrent = nir.Linear(array(cell.recurrent_weights))
        fields: dict[str, Any] = {"dt_s": float(cell.dt)}
        spikes = not isinstance(module, LIBoxCell | norse.LICell)
        if spikes:
            reset = _RESETS.get(getattr(cell.p, "reset_method", reset_value))
            if reset is None:
                raise CannotCapture(f"layer {name}: a reset method that is neither reset_value nor reset_subtract")
            fields["reset"] = reset
        fields |= _starts(cell)
        return Neurons(_node(cell, shape), "norse", fields, recurrent, weights, spikes)

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        state, out = _start(module, x), []
        for frame in x:
            value, state = module(frame, state)
            out.append(value)
        return torch.stack(out)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return each_step(module, x)

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """Norse calls no chain of cells but a ``SequentialState``."""
        return self.run(net, x) if isinstance(net, norse.SequentialState) else None


ADAPTER = _Norse()


def _starts(cell: Any) -> dict[str, str]:
    """The profile's ``start``, where it matters: leaky cells start at their leak, an IAFCell at its reset value."""
    if isinstance(cell, IAFCell):
        return {"start": "v_reset"} if np.any(array(cell.p.v_reset) != 0.0) else {}
    leak = array(cell.p.v_leak)
    return {"start": "v_leak"} if np.any(leak != array(getattr(cell.p, "v_reset", 0.0))) else {}


def _start(module: torch.nn.Module, x: torch.Tensor) -> Any:
    """The state before the first step; None where the module's own will do."""
    if isinstance(module, norse.SequentialState):
        return [_start(one, x) for one in module]
    if not isinstance(module, norse.LIFRecurrentCell):
        return None
    cell: Any = module  # its own start takes one v_leak for all neurons
    zeros = torch.zeros(x.shape[1], int(cell.hidden_size), dtype=x.dtype)
    return LIFState(zeros, zeros + cell.p.v_leak, zeros)


def _node(cell: Any, shape: Shape) -> nir.NIRNode:
    def full(value: Any) -> Any:
        return np.broadcast_to(array(value), shape).copy()

    ones = np.ones(shape)
    if isinstance(cell, IAFCell):
        return nir.IF(r=ones / cell.dt, v_threshold=full(cell.p.v_th), v_reset=full(cell.p.v_reset))
    tau, leak = 1.0 / full(cell.p.tau_mem_inv), {"v_leak": full(cell.p.v_leak), "r": ones}
    if isinstance(cell, LIBoxCell):
        return nir.LI(tau=tau, **leak)
    if isinstance(cell, norse.LICell):
        return nir.CubaLI(tau_syn=1.0 / full(cell.p.tau_syn_inv), tau_mem=tau, w_in=ones.copy(), **leak)
    fires = {"v_threshold": full(cell.p.v_th), "v_reset": full(cell.p.v_reset)}
    if isinstance(cell, LIFBoxCell):
        return nir.LIF(tau=tau, **leak, **fires)
    return nir.CubaLIF(tau_syn=1.0 / full(cell.p.tau_syn_inv), tau_mem=tau, w_in=ones.copy(), **leak, **fires)
