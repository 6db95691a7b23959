"""What can be trained: the float network itself, or its quantized form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.network.model import Network, shrink
from engine.network.prepare import prepare
from engine.network.simulate import Prepared
from engine.program.quantized import Parameters, QuantizedForm, prepare_quantized
from engine.quantizers.form import Phase


@dataclass(frozen=True)
class FloatForm:
    """The float network: weights, biases and thresholds are trained."""

    network: Network
    dtype: torch.dtype
    device: torch.device

    def prepare(self, parameters: Mapping[str, Tensor], phase: Phase | None = None) -> Prepared:
        """Tensors with the parameters in place of the network's own."""
        groups: dict[str, dict[str, Tensor]] = {"weight": {}, "bias": {}, "threshold": {}}
        for key, value in parameters.items():
            group, name = key.split(":", 1)
            groups[group][name] = value
        return prepare(
            self.network,
            dtype=self.dtype,
            device=self.device,
            weights=groups["weight"],
            biases=groups["bias"],
            thresholds=groups["threshold"],
        )


@dataclass(frozen=True)
class QuantizedTrainable:
    """The program's arithmetic as a :class:`engine.training.loop.Trainable`."""

    form: QuantizedForm

    def prepare(self, parameters: Mapping[str, Tensor], phase: Phase | None = None) -> Prepared:
        """The integer network of these parameters; with a phase, what a training step runs."""
        return prepare_quantized(self.form, parameters, phase)


def float_parameters(network: Network, dtype: torch.dtype, device: torch.device) -> Parameters:
    """Starting parameters of :class:`FloatForm`, named as in the quantized form."""
    result: Parameters = {}
    for connection in network.connections:
        if connection.weight is not None:
            result[f"weight:{connection.name}"] = torch.as_tensor(connection.weight, dtype=dtype, device=device).clone()
        if connection.bias is not None:
            result[f"bias:{connection.name}"] = torch.as_tensor(connection.bias, dtype=dtype, device=device).clone()
    for layer in network.layers:
        if layer.threshold is not None:
            value = torch.as_tensor(shrink(layer.threshold), dtype=dtype, device=device)
            result[f"threshold:{layer.name}"] = value.clone()
    return result
