"""SpikingJelly: IFNode, LIFNode, ParametricLIFNode, hard and soft reset.

Written from the modules, not by ``export_to_nir``, which refuses a soft reset: the profile says it.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from spikingjelly.activation_based import neuron

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape

DT = 1e-4


class _SpikingJelly:
    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if not isinstance(module, neuron.BaseNode):
            return None
        if type(module) not in (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode):
            raise CannotCapture(f"layer {name}: {type(module).__name__} is not captured")
        cell: Any = module
        reset = np.full(shape, 0.0 if cell.v_reset is None else float(cell.v_reset))
        values = {"v_threshold": np.full(shape, float(cell.v_threshold)), "v_reset": reset}
        node: nir.NIRNode
        if type(module) is neuron.IFNode:
            node = nir.IF(r=np.full(shape, 1.0 / DT), **values)
        else:
            tau = float(cell.tau) if type(module) is neuron.LIFNode else 1.0 / cell.w.sigmoid().item()
            r = np.full(shape, 1.0 if cell.decay_input else tau)
            node = nir.LIF(tau=np.full(shape, tau * DT), r=r, v_leak=reset.copy(), **values)
        fields = {"dt_s": DT, "reset": "subtract" if cell.v_reset is None else "to_value"}
        return Neurons(node, "spikingjelly", fields)

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        cell: Any = module
        cell.step_mode, cell.backend = "s", "torch"
        cell.reset()
        return torch.stack([cell(frame) for frame in x])

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        layer: Any = module
        if hasattr(layer, "step_mode"):
            layer.step_mode = "s"
        return module


ADAPTER = _SpikingJelly()
