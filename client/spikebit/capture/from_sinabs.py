"""Sinabs: IAF and LIF without a synapse, squeezed or not.

Written from the modules, not by ``to_nir``, which leaves out the shapes of convolutions, the floor, how many spikes a
step has, and ``norm_input``: the profile says them. Its time is the step (``dt_s`` 1).
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import sinabs.activation as sa
import sinabs.layers as sl
import torch

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape
from spikebit.capture.layers import array


class _Sinabs:
    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if not isinstance(module, sl.StatefulLayer):
            return None
        cell: Any = module
        if not isinstance(module, sl.LIF) or isinstance(module, sl.LIFRecurrent):  # IAF is a LIF without leak
            raise CannotCapture(f"layer {name}: {type(module).__name__} is not captured")
        if not isinstance(cell.reset_fn, sa.MembraneSubtract) or cell.reset_fn.subtract_value is not None:
            raise CannotCapture(f"layer {name}: expected the reset MembraneSubtract() by the threshold")
        leaky = not isinstance(module, sl.IAF)
        if leaky and cell.tau_syn is not None:
            raise CannotCapture(f"layer {name}: LIF with tau_syn is not captured")
        theta = np.broadcast_to(array(cell.spike_threshold), shape).copy()
        fields: dict[str, Any] = {"membrane_floor": "none" if cell.min_v_mem is None else float(cell.min_v_mem)}
        if cell.spike_fn is sa.SingleSpike:
            fields["spikes_per_step"] = "one"
        elif cell.spike_fn is not sa.MultiSpike:
            raise CannotCapture(f"layer {name}: expected spikes by MultiSpike or SingleSpike")
        ones, zeros = np.ones(shape), np.zeros(shape)
        if not leaky:
            return Neurons(nir.IF(r=ones, v_threshold=theta, v_reset=zeros), "sinabs", fields)
        if not cell.norm_input:
            fields["membrane_gain"] = "direct"
        tau = np.broadcast_to(array(cell.tau_mem), shape).copy()
        node = nir.LIF(tau=tau, r=ones, v_leak=zeros, v_threshold=theta, v_reset=zeros.copy())
        return Neurons(node, "sinabs", fields)

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        cell: Any = module
        kind = sl.IAF if isinstance(module, sl.IAF) else sl.LIF
        cell.init_state_with_shape((x.shape[1], *x.shape[2:]))
        fired: torch.Tensor = kind.forward(cell, x.transpose(0, 1))  # past the squeezing of batch and time
        return fired.transpose(0, 1).to(x.dtype)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        return module


ADAPTER = _Sinabs()
