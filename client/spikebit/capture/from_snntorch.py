"""snnTorch: Leaky, Synaptic, RLeaky, RSynaptic.

Written from the modules, not by ``export_to_nir``, whose faults this works round: scalar decays and thresholds, the
missing reset kind, the constant step. ``v' = βv + I`` is forward Euler with ``tau = dt/(1 − β)`` and ``r = tau/dt``.
RSynaptic with ``reset_delay=False`` is refused: snnTorch 1.0.0 ignores it there.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import snntorch as snn
import torch

from spikebit.capture.copies import copied
from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape, each_step
from spikebit.capture.layers import array, stateless_node

DT = 1e-4
_PROFILES: dict[tuple[str, bool, bool], tuple[str, dict[str, Any]]] = {  # (reset, delayed, is a plain Leaky)
    ("subtract", True, True): ("snntorch-leaky", {}),
    ("subtract", True, False): ("snntorch-leaky", {}),
    ("subtract", False, True): ("snntorch-undelayed", {}),
    ("subtract", False, False): ("snntorch-undelayed", {}),
    ("zero", True, True): ("snntorch-leaky-zero", {}),
    ("zero", False, True): ("snntorch-leaky-zero", {"reset_timing": "same_step"}),
    ("zero", False, False): ("snntorch-leaky-zero", {"reset_timing": "same_step"}),
    ("zero", True, False): ("snntorch-synaptic-zero", {}),
    ("none", True, True): ("snntorch-none", {}),
    ("none", True, False): ("snntorch-none", {}),
    ("none", False, True): ("snntorch-none", {}),
    ("none", False, False): ("snntorch-none", {}),
}


class _SnnTorch:
    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        return copied(net)

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if not isinstance(module, snn.Leaky | snn.Synaptic | snn.RLeaky | snn.RSynaptic):
            return None
        key = (module.reset_mechanism, bool(module.reset_delay), type(module) is snn.Leaky)
        if isinstance(module, snn.RSynaptic) and not module.reset_delay:
            raise CannotCapture(f"layer {name}: {type(module).__name__} with reset_delay=False: snnTorch ignores it")
        if module.inhibition or module.state_quant or np.any(array(module.graded_spikes_factor) != 1.0):
            raise CannotCapture(f"layer {name}: inhibition, state_quant or graded spikes have no counterpart")
        preset, fields = _PROFILES[key]
        current = isinstance(module, snn.Synaptic | snn.RSynaptic)
        values = {"v_threshold": _full(module.threshold, shape), "v_leak": np.zeros(shape), "v_reset": np.zeros(shape)}
        tau = _tau(name, module.beta, shape)
        if current:
            tau_syn = _tau(name, module.alpha, shape)
            node = nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau, r=tau / DT, w_in=tau_syn / DT, **values)
        else:
            node = nir.LIF(tau=tau, r=tau / DT, **values)
        return Neurons(node, preset, {"dt_s": DT, **fields}, _recurrent(name, module, shape))

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        cell: Any = module
        cell.init_hidden, cell.output, cell.spike_grad = True, False, _fire
        cell.reset_mem()
        return each_step(module, x)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return each_step(module, x)

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        for module in net.modules():
            if isinstance(module, snn.Leaky | snn.Synaptic | snn.RLeaky | snn.RSynaptic):
                module.reset_mem()
        return each_step(net, x)


ADAPTER = _SnnTorch()


def _fire(distance: torch.Tensor) -> torch.Tensor:
    return (distance > 0).to(distance.dtype)  # the default is a float32, whatever the membrane is


def _full(value: Any, shape: Shape) -> Any:
    return np.broadcast_to(array(value), shape).copy()


def _tau(name: str, decay: Any, shape: Shape) -> Any:
    values = np.clip(_full(decay, shape), 0.0, 1.0)  # as the module does
    if np.any(values >= 1.0):
        raise CannotCapture(f"layer {name}: a decay of 1 has no time constant")
    return DT / (1.0 - values)


def _recurrent(name: str, module: Any, shape: Shape) -> nir.NIRNode | None:
    """All to all (dense or a convolution), or every neuron to itself with ``V``."""
    if not isinstance(module, snn.RLeaky | snn.RSynaptic):
        return None
    if module.all_to_all:
        return stateless_node(f"{name}.recurrent", module.recurrent, shape)
    if len(shape) != 1:
        raise CannotCapture(f"layer {name}: all_to_all=False is captured for layers of shape [neuron], found {shape}")
    return nir.Linear(np.diag(_full(module.recurrent.V, shape)))
