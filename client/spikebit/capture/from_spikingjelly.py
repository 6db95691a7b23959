"""SpikingJelly: IFNode, LIFNode, ParametricLIFNode, CUBALIFNode, hard and soft reset; LinearRecurrentContainer of one.

Written from the modules, not by ``export_to_nir``, which refuses a soft reset (the profile says it) and recurrence.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron

from spikebit.capture.copies import copied
from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape, each_step
from spikebit.capture.layers import array

DT = 1e-4
_NODES = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode, neuron.CUBALIFNode)


class _SpikingJelly:
    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        return copied(net)

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        cell: Any = module
        if isinstance(module, layer.LinearRecurrentContainer):
            return _container(name, cell)
        if not isinstance(module, neuron.BaseNode):
            if isinstance(module, layer.ElementWiseRecurrentContainer):
                raise CannotCapture(f"layer {name}: of recurrent containers only LinearRecurrentContainer is captured")
            return None
        if type(module) not in _NODES:
            known = ", ".join(kind.__name__ for kind in _NODES)
            raise CannotCapture(f"layer {name}: {type(module).__name__} has no NIR node; captured are {known}")
        fields = {"dt_s": DT, "reset": "subtract" if cell.v_reset is None else "to_value"}
        return Neurons(_node(cell, shape), "spikingjelly", fields)

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        for part in module.modules():
            cell: Any = part
            if hasattr(part, "step_mode"):
                cell.step_mode = "s"
            if isinstance(part, neuron.BaseNode):
                cell.backend = "torch"
        functional.reset_net(module)
        return each_step(module, x)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        plain: Any = module
        if hasattr(plain, "step_mode"):
            plain.step_mode = "s"
        return module

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return each_step(module, x)

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(net)
        return each_step(net, x)


ADAPTER = _SpikingJelly()


def _container(name: str, container: Any) -> Neurons:
    """Its one weight sees input and output side by side: ``rc(x, y) = W_x·x + W_y·y + b``."""
    found = ADAPTER.neurons(name, container.sub_module, (container.rc.out_features,))
    if found is None or found.recurrent is not None:
        kind = type(container.sub_module).__name__
        raise CannotCapture(f"layer {name}: expected one neuron layer in LinearRecurrentContainer, found {kind}")
    weight, fan_in = array(container.rc.weight), container.rc.in_features - container.sub_module_out_features
    bias = None if container.rc.bias is None else array(container.rc.bias)
    enters = nir.Linear(weight[:, :fan_in]) if bias is None else nir.Affine(weight[:, :fan_in], bias)
    return Neurons(found.node, found.preset, found.fields, nir.Linear(weight[:, fan_in:]), enters)


def _node(cell: Any, shape: Shape) -> nir.NIRNode:
    reset = np.full(shape, 0.0 if cell.v_reset is None else float(cell.v_reset))
    values = {"v_threshold": np.full(shape, float(cell.v_threshold)), "v_reset": reset}
    if type(cell) is neuron.IFNode:
        return nir.IF(r=np.full(shape, 1.0 / DT), **values)
    if type(cell) is neuron.CUBALIFNode:
        tau_syn, tau_mem = (DT / (1.0 - np.full(shape, float(decay))) for decay in (cell.c_decay, cell.v_decay))
        leak = np.zeros(shape)
        return nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau_mem, r=tau_mem / DT, w_in=tau_syn / DT, v_leak=leak, **values)
    tau = float(cell.tau) if type(cell) is neuron.LIFNode else 1.0 / cell.w.sigmoid().item()
    r = np.full(shape, 1.0 if cell.decay_input else tau)
    return nir.LIF(tau=np.full(shape, tau * DT), r=r, v_leak=reset.copy(), **values)
