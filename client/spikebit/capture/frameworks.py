"""What the adapters of the frameworks have in common, and where they are found."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import nir
import torch

Shape = tuple[int, ...]
FRAMEWORKS = ("norse", "rockpool", "sinabs", "snntorch", "spikingjelly")


@dataclass(frozen=True)
class Neurons:
    """One layer of neurons.

    Attributes:
        node: the layer.
        preset: the profile that it needs, and ``fields`` that differ from it.
        recurrent: a weight from its spikes of the step before to itself.
        weights: a weight that the layer itself holds for its input.
        spikes: whether it puts out spikes; else membranes, and it can only be read out.
    """

    node: nir.NIRNode
    preset: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    recurrent: nir.NIRNode | None = None
    weights: nir.NIRNode | None = None
    spikes: bool = True


class Adapter(Protocol):
    """One framework: which layers are neurons, what they mean, how they run."""

    def copied(self, net: torch.nn.Module) -> torch.nn.Module:
        """A copy of a network, to be changed at will."""

    def neurons(self, name: str, module: torch.nn.Module, shape: Shape) -> Neurons | None:
        """The layer's node and profile; None where it is no layer of neurons.

        Raises:
            CannotCapture: an option that NIR or a profile cannot say.
        """

    def run(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """What a layer of neurons puts out from its resting state on, ``[time, sample, neuron...]`` in and out."""

    def stateless(self, module: torch.nn.Module) -> torch.nn.Module:
        """The torch layer that a layer of the framework without a state is."""

    def through(self, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """What a layer without a state puts out, called as ``whole`` does, so that both round alike."""

    def whole(self, net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """What the network itself puts out, called as the framework does; its layers of neurons have been ``run``.

        None where the framework itself has no way to call such a network.
        """


def each_step(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A module called with one time step after the other."""
    return torch.stack([module(frame) for frame in x])


def adapter_of(framework: str) -> Adapter:
    """The adapter called ``framework``; ValueError where there is none."""
    if framework not in FRAMEWORKS:
        raise ValueError(f"unknown framework {framework!r}; known: {', '.join(FRAMEWORKS)}")
    made: Adapter = importlib.import_module(f"spikebit.capture.from_{framework}").ADAPTER
    return made
