"""Runs a network layer after layer over all time steps, and writes down its nodes, edges and what every layer needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import nir
import numpy as np
import torch

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Adapter, Neurons, Shape
from spikebit.capture.layers import stateless_node
from spikebit.capture.steps import INPUT, Step, free_name

_WEIGHTS = nir.Linear | nir.Affine | nir.Conv2d
_MEMBRANES = ("membrane_sum", "membrane_max", "membrane_last")


class Walk:
    """One pass over a network; values are ``[time, sample, ...]``.

    ``names`` are those of all steps: ports and weights of recurrent layers get others.
    ``output`` is what the last layer put out, ``spikes`` what every spiking layer did, by name.
    """

    def __init__(self, adapter: Adapter, x: torch.Tensor, names: Iterable[str]) -> None:
        self._adapter = adapter
        self._taken = set(names)
        self._values = {INPUT: x}
        port = self._free("input")
        self._sources: dict[str, tuple[str, ...]] = {INPUT: (port,)}  # nodes whose sum a value is
        self._nodes: dict[str, nir.NIRNode] = {port: nir.Input(np.array(x.shape[2:]))}
        self._places: dict[int, str] = {}  # of the modules of neurons
        self._edges: list[tuple[str, str]] = []
        self._neurons: dict[str, Neurons] = {}
        self._last = INPUT
        self.spikes: dict[str, torch.Tensor] = {}

    @property
    def input(self) -> torch.Tensor:
        """What enters."""
        return self._values[INPUT]

    @property
    def output(self) -> torch.Tensor:
        """What the last layer put out."""
        return self._values[self._last]

    @property
    def first(self) -> dict[str, torch.Tensor]:
        """The first layer that spikes."""
        return dict(list(self.spikes.items())[:1])

    def take(self, step: Step) -> None:
        """Run one step.

        Raises:
            CannotCapture: a layer that NIR cannot say, or a sum that enters no neuron layer.
        """
        values = [self._values[name] for name in step.inputs]
        sources = tuple(node for name in step.inputs for node in self._sources[name])
        self._last = step.name
        if step.module is None:
            if values[0].shape != values[-1].shape:
                shapes = " and ".join(str(tuple(value.shape[2:])) for value in values)
                raise CannotCapture(f"the sum {step.name} is one of different shapes, {shapes}")
            if len(set(sources)) < len(sources) or len(step.inputs) < 2:
                raise CannotCapture(f"the sum {step.name} adds a value to itself: NIR has an edge once")
            self._values[step.name], self._sources[step.name] = sum(values[1:], values[0]), sources
            return
        shape: Shape = tuple(values[0].shape[2:])
        found = self._adapter.neurons(step.name, step.module, shape)
        if found is None:
            self._stateless(step, values[0], sources)
            return
        known = self._places.setdefault(id(step.module), step.name)
        if known != step.name:
            raise CannotCapture(
                f"layer {known} is called twice in a step (again as {step.name}); a layer of neurons once"
            )
        if found.weights is not None:
            enters = self._free(f"{step.name}_in")
            self._put(enters, found.weights, sources)
            sources = (enters,)
        self._put(step.name, found.node, sources)
        if found.recurrent is not None:
            back = self._free(f"{step.name}_rec")
            self._nodes[back] = found.recurrent
            self._edges += [(step.name, back), (back, step.name)]
        self._neurons[step.name] = found
        self._values[step.name] = self._adapter.run(step.module, values[0]).double()
        if found.spikes:
            self.spikes[step.name] = self._values[step.name]

    def _stateless(self, step: Step, value: torch.Tensor, sources: tuple[str, ...]) -> None:
        if step.module is None:
            raise TypeError("a sum has no layer")
        layer = self._adapter.stateless(step.module)
        node = stateless_node(step.name, layer, tuple(value.shape[2:]))
        self._values[step.name] = self._adapter.through(step.module, value)
        if node is None:
            self._sources[step.name] = sources
            return
        self._put(step.name, node, sources)

    def _free(self, name: str) -> str:
        made = free_name(name, self._taken)
        self._taken.add(made)
        return made

    def _put(self, name: str, node: nir.NIRNode, sources: tuple[str, ...]) -> None:
        if len(sources) > 1 and not isinstance(node, nir.IF | nir.LIF | nir.CubaLIF | nir.LI | nir.CubaLI):
            raise CannotCapture(
                f"layer {name} is fed by the sum of {' and '.join(sources)}; the service sums into neuron layers "
                f"alone: give each of them a weight of its own into the same neurons (W(a + b) = Wa + Wb)"
            )
        self._nodes[name] = node
        self._sources[name] = (name,)
        self._edges += [(source, name) for source in sources]

    def finish(self, readout: str) -> tuple[nir.NIRGraph, dict[str, Any]]:
        """The graph and the profile.

        Raises:
            CannotCapture: a network that does not end in neurons, a readout that they do not have, a weight that
                feeds several layers, layers that need different profiles.
        """
        ends = self._sources.get(self._last, ())
        if len(ends) != 1 or ends[0] not in self._neurons:
            raise CannotCapture(f"expected a network that ends in a layer of neurons, found {self._last}")
        for name, found in self._neurons.items():
            if not found.spikes and (name != ends[0] or any(source == name for source, _ in self._edges)):
                raise CannotCapture(f"layer {name} never spikes: expected it as the last layer")
        last = self._neurons[ends[0]]
        if last.spikes != (readout == "spike_count") or readout not in ("spike_count", *_MEMBRANES):
            allowed = "spike_count" if last.spikes else ", ".join(_MEMBRANES)
            raise CannotCapture(f"layer {ends[0]}: expected readout {allowed}, found {readout}")
        for name, node in self._nodes.items():
            fed = [target for source, target in self._edges if source == name]
            if isinstance(node, _WEIGHTS) and len(fed) > 1:
                raise CannotCapture(f"layer {name} feeds {' and '.join(fed)}; in NIR a weight feeds one layer")
        port = self._free("output")
        self._nodes[port] = nir.Output(np.array(self.output.shape[2:]))
        graph = nir.NIRGraph(nodes=self._nodes, edges=[*self._edges, (ends[0], port)])
        profile = _profile(self._neurons)
        if readout != "spike_count":
            profile["set"]["readout"] = readout
        return graph, profile


def _profile(neurons: dict[str, Neurons]) -> dict[str, Any]:
    """The one profile that all layers share; each field as the layers that say something about it have it.

    Raises:
        CannotCapture: two layers that differ.
    """
    origin, first = next(iter(neurons.items()))
    fields: dict[str, tuple[Any, str]] = {}
    for name, found in neurons.items():
        if found.preset != first.preset:
            raise CannotCapture(
                f"layers {origin} and {name} need different dynamics ({first.preset}, {found.preset}); "
                "a network has one"
            )
        for key, value in found.fields.items():
            known, where = fields.setdefault(key, (value, name))
            if known != value:
                raise CannotCapture(f"layers {where} and {name} differ in {key} ({known}, {value}); a network has one")
    return {"preset": first.preset, "set": {key: value for key, (value, _) in fields.items()}}
