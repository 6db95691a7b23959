"""From the discretised float network to tensors: what :func:`engine.network.simulate.run` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from engine.kernels.rules import FloatLeak, Leak, NeuronRule, NoLeak
from engine.network.components import components_of
from engine.network.model import Array, Network, NeuronLayer, shrink
from engine.network.simulate import Prepared, Stage
from engine.network.synapse import Synapse
from engine.specs.dynamics import Dynamics

MakeTensor = Callable[[Array], Tensor]


def prepare(
    network: Network,
    *,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    weights: Mapping[str, Tensor] | None = None,
    biases: Mapping[str, Tensor] | None = None,
    thresholds: Mapping[str, Tensor] | None = None,
) -> Prepared:
    """Tensors for a float network.

    Args:
        network: from :func:`engine.network.discretise.discretise`.
        dtype: float64 reproduces frameworks spike for spike, float32 is for training.
        device: where it runs.
        weights: replacements by connection name, ``[out, in, ...]``, may require gradients.
        biases: replacements by connection name, one value per output neuron or channel.
        thresholds: replacements by neuron layer name, of the layer's shape.
    """
    device = torch.device(device)
    weights, biases, thresholds = weights or {}, biases or {}, thresholds or {}

    def make(array: Array) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=dtype, device=device)

    def maybe(array: Array | None) -> Tensor | None:
        return None if array is None else make(array)

    stages = []
    for layer in network.layers:
        gain = make(shrink(layer.gain))
        synapses = tuple(
            Synapse(
                connection,
                weights[connection.name] if connection.name in weights else maybe(connection.weight),
                biases[connection.name] if connection.name in biases else maybe(connection.bias),
                None if gain.numel() == 1 and gain.item() == 1.0 else gain,
            )
            for connection in network.into(layer.name)
        )
        threshold = thresholds.get(layer.name, maybe(layer.threshold))
        stages.append(Stage(layer.name, layer.shape, _rule(network.dynamics, layer, threshold, make), synapses))
    return Prepared(
        stages=tuple(stages),
        components=components_of(tuple(layer.name for layer in network.layers), network.connections),
        output=network.output,
        readout=network.dynamics.readout,
        dtype=dtype,
        device=device,
    )


def _rule(dynamics: Dynamics, layer: NeuronLayer, threshold: Tensor | None, make: MakeTensor) -> NeuronRule:
    dynamics = layer.obeys(dynamics)
    drive = None if not np.any(layer.drive) else make(shrink(layer.drive))
    floor = None
    if threshold is not None and dynamics.membrane_floor == "minus_threshold":
        floor = -threshold.detach()
    elif threshold is not None and isinstance(dynamics.membrane_floor, float):
        floor = torch.full((), dynamics.membrane_floor, dtype=threshold.dtype, device=threshold.device)
    start = {"zero": None, "v_reset": make(layer.v_reset), "v_leak": make(layer.v_leak)}[dynamics.start]
    return NeuronRule(
        leak_v=_float_leak(layer.decay_v, make),
        leak_i=None if layer.decay_i is None else _float_leak(layer.decay_i, make),
        bias=drive,
        fire_at=threshold,
        compare=dynamics.spike_test,
        reset=dynamics.reset,
        reset_sub=threshold,
        reset_to=make(layer.v_reset),
        timing=dynamics.reset_timing,
        order=dynamics.reset_order,
        drop_input=dynamics.drop_reset_input,
        current=dynamics.current,
        floor=floor,
        max_spikes=dynamics.max_spikes or 1,
        start=start,
        residue_raises=threshold is not None and dynamics.residue == "raises_threshold",
    )


def _float_leak(decay: Array, make: MakeTensor) -> Leak:
    if np.all(decay == 1.0):
        return NoLeak()
    return FloatLeak(make(shrink(decay)))
