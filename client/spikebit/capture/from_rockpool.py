"""Rockpool: LIFTorch with one synapse (taus, decays or bit shifts, recurrent or not), LIFNeuronTorch, LinearTorch.

Written from the modules, not by ``to_nir``, which drops biases and recurrent weights and whose Input and Output keep
batch and time. The input jumps onto the current and decays with it; ``r`` and ``w_in`` are 1 and the profile says so. A
bias is a leak towards ``bias/(1 − decay)``.
"""

from __future__ import annotations

import contextlib
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
        if not isinstance(cell.spike_generation_fn, _Double):
            cell.spike_generation_fn = _Double(cell.spike_generation_fn)
        cell.reset_state().double()
        return _evolved(module, x)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        if not isinstance(module, LinearTorch):
            return module
        weight, bias = module.weight, getattr(module, "bias", None)
        linear = torch.nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None, dtype=weight.dtype)
        linear.weight.data = weight.detach().T.contiguous()
        if bias is not None:
            linear.bias.data = bias.detach()
        return linear

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        if isinstance(module, TorchModule):
            return _evolved(module, x)
        out: torch.Tensor = module(x.flatten(0, 1))
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """Rockpool calls no chain but its own ``Sequential``."""
        if not isinstance(net, TorchModule):
            return None
        with contextlib.ExitStack() as stack:
            for module in torch.nn.Module.modules(net):
                if isinstance(module, LIFTorch | LIFNeuronTorch):
                    module.reset_state().double()
                double = module.register_forward_pre_hook(lambda _, given: (given[0].to(x.dtype),))
                stack.enter_context(double)  # what a layer puts out is float32
            return _evolved(net, x)


class _Double:
    """Rockpool's spikes are float32, whatever the membrane is."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __call__(self, membrane: torch.Tensor, *options: Any) -> torch.Tensor:
        fired: torch.Tensor = self._own(membrane, *options)
        return fired.to(membrane.dtype)


def _evolved(module: Any, x: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = module.evolve(x.transpose(0, 1))[0]
    return out.transpose(0, 1).to(x.dtype)


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
