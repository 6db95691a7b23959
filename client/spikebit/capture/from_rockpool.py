"""Rockpool: LIFTorch with one synapse and time constants, LinearTorch.

Written from the modules, not by ``to_nir``, whose Input and Output keep batch and time. The input jumps onto the
current and decays with it; ``r`` and ``w_in`` are 1 and the profile says so.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from rockpool.nn.modules.torch import LIFTorch, LinearTorch

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape
from spikebit.capture.layers import array


class _Rockpool:
    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if not isinstance(module, LIFTorch):
            return None
        cell: Any = module
        if cell.leak_mode != "taus":
            raise CannotCapture(f"layer {name}: LIFTorch with leak_mode {cell.leak_mode!r} is not captured")
        feedback = getattr(cell, "w_rec", None)
        if cell.n_synapses != 1 or (feedback is not None and np.any(array(feedback) != 0.0)):
            raise CannotCapture(f"layer {name}: LIFTorch with several synapses or recurrent weights is not captured")
        if np.any(array(cell.bias) != 0.0):
            raise CannotCapture(f"layer {name}: LIFTorch with a bias; put it into the LinearTorch before")

        def full(value: Any) -> Any:
            return np.broadcast_to(array(value).reshape(-1), shape).copy()

        ones, zeros = np.ones(shape), np.zeros(shape)
        node = nir.CubaLIF(
            tau_syn=full(cell.tau_syn), tau_mem=full(cell.tau_mem), r=ones, w_in=ones.copy(), v_leak=zeros,
            v_threshold=full(cell.threshold), v_reset=zeros.copy(),
        )  # fmt: skip
        fields = {"dt_s": float(cell.dt), "max_spikes": int(min(float(cell.max_spikes_per_dt), 65535))}
        return Neurons(node, "rockpool", fields)

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
