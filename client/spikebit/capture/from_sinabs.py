"""Sinabs: IAF and LIF with or without a synapse, recurrent or not, squeezed or not; ExpLeak to be read out.

Written from the modules, not by ``to_nir``, which leaves out recurrence, ``tau_syn``, the shapes of convolutions, the
floor, how many spikes a step has, and ``norm_input`` (here ``r`` says it). Its time is the step (``dt_s`` 1).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import nir
import numpy as np
import sinabs.activation as sa
import sinabs.layers as sl
import torch
from sinabs.network import Network

from spikebit.capture.copies import copied
from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Neurons, Shape
from spikebit.capture.layers import array


class _Sinabs:
    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        memo: dict[int, Any] = {}
        for module in net.modules():
            if isinstance(module, sl.LIFRecurrent):  # its own __deepcopy__ looks for its weights in the wrong place
                cell: Any = module
                made = type(module)(**{**cell.arg_dict, "rec_connect": copy.deepcopy(cell.rec_connect)})
                for name, value in module.named_parameters(recurse=False):
                    getattr(made, name).data = value.detach().clone()
                memo[id(module)] = made
        return copied(net, memo)

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        if isinstance(module, Network):
            raise CannotCapture(f"layer {name}: of a sinabs Network give capture the .spiking_model")
        if not isinstance(module, sl.StatefulLayer):
            return None
        cell: Any = module
        if not isinstance(module, sl.LIF | sl.LIFRecurrent) or isinstance(module, sl.ALIF):  # IAF, ExpLeak are LIF too
            raise CannotCapture(
                f"layer {name}: {type(module).__name__} has no NIR node; captured are IAF, LIF, ExpLeak"
            )
        if cell.min_v_mem is not None and np.any(array(cell.min_v_mem) > 0.0):
            raise CannotCapture(
                f"layer {name}: min_v_mem {array(cell.min_v_mem).max()}: a floor above 0 lies above the start"
            )
        fields: dict[str, Any] = {"membrane_floor": "none" if cell.min_v_mem is None else float(cell.min_v_mem)}
        if isinstance(module, sl.ExpLeak):
            if cell.min_v_mem is not None:
                raise CannotCapture(f"layer {name}: ExpLeak with min_v_mem")
            return Neurons(_leak_node(cell, shape), "sinabs", spikes=False)
        if not isinstance(cell.reset_fn, sa.MembraneSubtract) or cell.reset_fn.subtract_value is not None:
            raise CannotCapture(f"layer {name}: expected the reset MembraneSubtract() by the threshold")
        if cell.spike_fn is sa.SingleSpike:
            fields["spikes_per_step"] = "one"
        elif cell.spike_fn is not sa.MultiSpike:
            raise CannotCapture(f"layer {name}: expected spikes by MultiSpike or SingleSpike")
        if cell.tau_syn_calculated is not None:
            if isinstance(module, sl.IAF | sl.IAFRecurrent):
                raise CannotCapture(f"layer {name}: an IAF with tau_syn; NIR's current-based neurons leak")
            fields["current_gain"] = "decayed_jump"
        return Neurons(_node(cell, shape), "sinabs", fields, _recurrent(name, cell, shape))

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        cell: Any = module
        recurrent = isinstance(module, sl.LIFRecurrent)
        kind = sl.LIFRecurrent if recurrent else sl.LIF
        if (
            cell.spike_threshold is not None
        ):  # torch multiplies by the inverse of a single number, which rounds otherwise
            cell.spike_threshold.data = cell.spike_threshold.data.expand(x.shape[2:]).clone()
        cell.init_state_with_shape((x.shape[1], *x.shape[2:]))
        with contextlib.ExitStack() as stack:
            if recurrent:  # spikes are float32
                double = cell.rec_connect.register_forward_pre_hook(lambda _, given: (given[0].to(x.dtype),))
                stack.enter_context(double)
            fired: torch.Tensor = kind.forward(cell, x.transpose(0, 1))  # past the squeezing of batch and time
        return fired.transpose(0, 1).to(x.dtype)

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = module(x.flatten(0, 1))
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """All layers squeezed: recurrent ones cannot go on from step to step, convolutions take no axis of time."""
        for module in net.modules():
            if isinstance(module, sl.StatefulLayer):
                cell: Any = module
                cell.forward = lambda given, cell=cell: self.run(cell, given.unflatten(0, x.shape[:2])).flatten(0, 1)
        return self.through(net, x)


ADAPTER = _Sinabs()


def _node(cell: Any, shape: Shape) -> nir.NIRNode:
    values = {"v_threshold": np.broadcast_to(array(cell.spike_threshold), shape).copy(), "v_reset": np.zeros(shape)}
    if isinstance(cell, sl.IAF | sl.IAFRecurrent):
        return nir.IF(r=np.ones(shape), **values)
    tau, r = _membrane(cell, shape)
    if cell.tau_syn_calculated is None:
        return nir.LIF(tau=tau, r=r, v_leak=np.zeros(shape), **values)
    tau_syn = np.broadcast_to(array(cell.tau_syn_calculated), shape).copy()
    return nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau, r=r, w_in=np.ones(shape), v_leak=np.zeros(shape), **values)


def _leak_node(cell: Any, shape: Shape) -> nir.NIRNode:
    tau, r = _membrane(cell, shape)
    return nir.LI(tau=tau, r=r, v_leak=np.zeros(shape))


def _membrane(cell: Any, shape: Shape) -> tuple[Any, Any]:
    """``tau`` and ``r``: an input of 1 adds ``r·(1 − e^(−1/tau))``, which is 1 without ``norm_input``."""
    tau = np.broadcast_to(array(cell.tau_mem_calculated), shape).copy()
    return tau, np.ones(shape) if cell.norm_input else -1.0 / np.expm1(-1.0 / tau)


def _recurrent(name: str, cell: Any, shape: Shape) -> nir.NIRNode | None:
    if not isinstance(cell, sl.LIFRecurrent):
        return None
    connect = cell.rec_connect
    if not isinstance(connect, torch.nn.Linear) or len(shape) != 1:
        raise CannotCapture(f"layer {name}: of recurrent connections one Linear is captured")
    if connect.bias is not None and np.any(array(connect.bias) != 0.0):
        raise CannotCapture(f"layer {name}: a bias of rec_connect acts from the second step on, which NIR cannot say")
    return nir.Linear(array(connect.weight))
