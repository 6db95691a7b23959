"""Norse: LIFBoxCell, LIFCell, IAFCell.

Written from the modules, not by ``to_nir``, whose faults this works round: time constants times Norse's own step
(norse#411; here they are seconds and the profile's step is the cell's), scalar parameters, a missing reset value.
"""

from __future__ import annotations

from typing import Any

import nir
import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.module.iaf import IAFCell
from norse.torch.module.lif_box import LIFBoxCell

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape
from spikebit.capture.layers import array

_RESETS = {reset_value: "to_value", reset_subtract: "subtract"}


class _Norse:
    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if isinstance(module, norse.LIFRecurrentCell | norse.LICell):
            raise CannotCapture(f"layer {name}: {type(module).__name__} is not captured")
        if not isinstance(module, LIFBoxCell | norse.LIFCell | IAFCell):
            return None
        cell: Any = module
        reset = _RESETS.get(getattr(cell.p, "reset_method", reset_value))
        if reset is None:
            raise CannotCapture(f"layer {name}: a reset method that is neither reset_value nor reset_subtract")

        def full(value: Any) -> Any:
            return np.broadcast_to(array(value), shape).copy()

        common = {"v_threshold": full(cell.p.v_th), "v_reset": full(cell.p.v_reset)}
        node: nir.NIRNode
        if isinstance(module, IAFCell):
            node = nir.IF(r=np.full(shape, 1.0 / cell.dt), **common)
        else:
            ones = np.ones(shape)
            common |= {"v_leak": full(cell.p.v_leak), "r": ones}
            tau = 1.0 / full(cell.p.tau_mem_inv)
            if isinstance(module, LIFBoxCell):
                node = nir.LIF(tau=tau, **common)
            else:
                node = nir.CubaLIF(tau_syn=1.0 / full(cell.p.tau_syn_inv), tau_mem=tau, w_in=ones, **common)
        return Neurons(node, "norse", {"dt_s": float(cell.dt), "reset": reset})

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        state, spikes = None, []
        for frame in x:
            fired, state = module(frame, state)
            spikes.append(fired)
        return torch.stack(spikes)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        return module


ADAPTER = _Norse()
