"""Rockpool: LIFTorch with one synapse (taus, decays or bit shifts, recurrent or not), LIFNeuronTorch, LinearTorch.

Written from the modules, not by ``to_nir``, which drops biases and recurrent weights and whose Input and Output keep
batch and time. The input jumps onto the current and decays with it; ``r`` and ``w_in`` are 1 and the profile says so. A
bias is a leak towards ``bias/(1 − decay)``.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from rockpool.nn.modules.torch import LIFNeuronTorch, LIFTorch, LinearTorch, TorchModule

from spikebit.capture.copies import copied
from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape
from spikebit.capture.layers import array


class _Rockpool:
    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        return copied(net)

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        cell: Any = module
        if type(module) not in (LIFTorch, LIFNeuronTorch):
            if isinstance(module, TorchModule) and not isinstance(module, LinearTorch):
                kind = type(module).__name__
                raise CannotCapture(f"layer {name}: {kind} is not captured; LIFTorch, LIFNeuronTorch, LinearTorch are")
            return None
        if getattr(cell, "n_synapses", 1) != 1:
            raise CannotCapture(f"layer {name}: LIFTorch with {cell.n_synapses} synapses a neuron; NIR has one")
        if float(cell.noise_std) != 0.0:
            raise CannotCapture(f"layer {name}: {type(module).__name__} with noise")

        def full(value: Any) -> Any:
            return np.broadcast_to(array(value).reshape(-1), shape).copy()

        tau, decay = _leak(name, cell, shape, "mem")
        common = {
            "v_leak": full(cell.bias) / (1.0 - decay),
            "v_threshold": full(cell.threshold),
            "v_reset": np.zeros(shape),
            "r": np.ones(shape),
        }
        fields = {"dt_s": float(cell.dt), "max_spikes": int(min(float(cell.max_spikes_per_dt), 65535))}
        if isinstance(module, LIFNeuronTorch):
            return Neurons(nir.LIF(tau=tau, **common), "rockpool", fields)
        tau_syn, _ = _leak(name, cell, shape, "syn")
        node = nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau, w_in=np.ones(shape), **common)
        back = array(cell.w_rec)
        recurrent = nir.Linear(back.T.copy()) if np.any(back != 0.0) else None  # Rockpool's are [from, to]
        return Neurons(node, "rockpool", fields, recurrent)

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        cell: Any = module
        own = cell.spike_generation_fn
        cell.spike_generation_fn = lambda *values: own(*values).to(x.dtype)  # Rockpool's are float32, whatever v is
        fired: torch.Tensor = cell.evolve(x.transpose(0, 1))[0]
        return fired.transpose(0, 1).to(x.dtype)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        if not isinstance(module, LinearTorch):
            return module
        weight, bias = module.weight, getattr(module, "bias", None)
        linear = torch.nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None, dtype=weight.dtype)
        linear.weight.data = weight.detach().T.contiguous()
        if bias is not None:
            linear.bias.data = bias.detach()
        return linear


ADAPTER = _Rockpool()
_DECAYS = {"mem": "alpha", "syn": "beta"}


def _leak(name: str, cell: Any, shape: Shape, of: str) -> tuple[Any, Any]:
    """Time constant and decay of the membrane or the synapse, however the module keeps them."""
    mode = getattr(cell, "leak_mode", "taus")
    if mode == "taus":
        tau = np.broadcast_to(array(getattr(cell, f"tau_{of}")).reshape(-1), shape).copy()
        return tau, np.exp(-float(cell.dt) / tau)
    kept = array(getattr(cell, _DECAYS[of] if mode == "decays" else f"dash_{of}")).reshape(-1)
    decay = np.broadcast_to(kept if mode == "decays" else 1.0 - 2.0**-kept, shape).copy()
    if np.any((decay <= 0.0) | (decay >= 1.0)):
        raise CannotCapture(f"layer {name}: a decay of 0 or 1 has no time constant")
    return -float(cell.dt) / np.log(decay), decay
