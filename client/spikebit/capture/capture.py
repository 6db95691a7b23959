"""``capture``: a trained chain of layers becomes a NIR file, a profile, and what the framework itself counted."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Adapter, Neurons, adapter_of
from spikebit.capture.layers import stateless_node


@dataclass(frozen=True)
class Captured:
    """The files that were written, and the profile; ``samples`` only where labels were given."""

    model: Path
    dynamics: Path
    counts: Path
    traces: Path
    samples: Path | None
    profile: dict[str, Any]

    @property
    def command(self) -> str:
        """The command that proves that the service runs this network as its framework does."""
        data = "DATA.npz" if self.samples is None else str(self.samples)
        return (
            f"spikebit evaluate {self.model} {data} --dynamics {self.dynamics} "
            f"--expect-counts {self.counts} --expect-traces {self.traces}"
        )


def capture(
    net: torch.nn.Module,
    samples: Any,
    *,
    framework: str,
    labels: Any = None,
    out: str | Path = "captured",
    traced: int = 4,
) -> Captured:
    """Write everything that Spikebit wants to know about a network.

    The network is copied, turned to float64 and evaluation, and run by the framework's own layers; ``net`` itself is
    left as it is.

    Args:
        net: a chain of layers (``Sequential``, nested or not) that ends in neurons; their spike counts are read out.
        samples: the test split, ``[sample, time, ...]``: the counts are those of exactly these, in this order.
        framework: ``snntorch``, ``norse``, ``spikingjelly``, ``sinabs`` or ``rockpool``.
        labels: ``[sample]``; where given, ``samples.npz`` is a dataset with this test split.
        out: the folder to write to.
        traced: how many samples of the first layer of neurons are kept spike by spike.

    Raises:
        CannotCapture: a layer or an option that a NIR file and one profile cannot say; the message names it.
        ValueError: unknown framework, or samples without a time axis.
    """
    adapter, x = adapter_of(framework), np.asarray(samples)
    if x.ndim < 3 or not len(x):
        raise ValueError(f"expected samples of shape [sample, time, ...], found {x.shape}")
    chain = list(_layers(copy.deepcopy(net).double().eval()))
    with torch.no_grad():
        graph, profile, first, spikes = _walk(adapter, chain, torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float64)))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    nir.write(folder / "model.nir", graph)
    (folder / "dynamics.json").write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    counts = spikes.sum(0).flatten(1).numpy()
    np.savez_compressed(folder / "counts.npz", counts=counts.astype(np.int64))
    name, fired = first
    kept = np.moveaxis(fired[:, :traced].numpy(), 0, 1).astype(np.uint16)  # [sample, time, neuron...]
    np.savez_compressed(folder / "traces.npz", samples=np.arange(len(kept)), layers=np.array([name]), spikes_0=kept)
    if labels is not None:
        np.savez_compressed(folder / "samples.npz", x_test=x, y_test=np.asarray(labels, dtype=np.int64))
    return Captured(
        folder / "model.nir",
        folder / "dynamics.json",
        folder / "counts.npz",
        folder / "traces.npz",
        None if labels is None else folder / "samples.npz",
        profile,
    )


def _layers(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """The layers of a chain in order, by dotted name."""
    if "Sequential" not in type(module).__name__:
        yield name or "net", module
        return
    for inner, child in module.named_children():
        yield from _layers(child, f"{name}.{inner}" if name else inner)


def _walk(
    adapter: Adapter, chain: list[tuple[str, torch.nn.Module]], x: torch.Tensor
) -> tuple[nir.NIRGraph, dict[str, Any], tuple[str, torch.Tensor], torch.Tensor]:
    """Graph, profile, name and spikes of the first layer of neurons, spikes of the last."""
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array(x.shape[2:]))}
    path, back = ["input"], []
    neurons: list[tuple[str, Neurons]] = []
    first: tuple[str, torch.Tensor] | None = None
    value = x
    for name, module in chain:
        shape = tuple(value.shape[2:])
        found = adapter.neurons(name, module, shape)
        if found is None:
            layer = adapter.stateless(module)
            node = stateless_node(name, layer, shape)
            value = layer(value.flatten(0, 1)).unflatten(0, x.shape[:2])  # [time, sample, ...]
        else:
            node, value = found.node, adapter.run(module, value).double()
            neurons.append((name, found))
            first = first or (name, value)
            if found.recurrent is not None:
                nodes[f"{name}_rec"] = found.recurrent
                back += [(name, f"{name}_rec"), (f"{name}_rec", name)]
        if node is not None:
            nodes[name] = node
            path.append(name)
    if first is None or path[-1] != neurons[-1][0]:
        raise CannotCapture(f"expected a chain that ends in a layer of neurons, found {type(chain[-1][1]).__name__}")
    nodes["output"] = nir.Output(np.array(value.shape[2:]))
    graph = nir.NIRGraph(nodes=nodes, edges=[*pairwise([*path, "output"]), *back])
    return graph, _profile(neurons), first, value


def _profile(neurons: list[tuple[str, Neurons]]) -> dict[str, Any]:
    """The one profile that all layers share; each field as the layers that say something about it have it.

    Raises:
        CannotCapture: two layers that differ.
    """
    preset, origin = neurons[0][1].preset, neurons[0][0]
    fields: dict[str, tuple[Any, str]] = {}
    for name, found in neurons:
        if found.preset != preset:
            raise CannotCapture(
                f"layers {origin} and {name} need different dynamics ({preset}, {found.preset}); a network has one"
            )
        for key, value in found.fields.items():
            known, where = fields.setdefault(key, (value, name))
            if known != value:
                raise CannotCapture(f"layers {where} and {name} differ in {key} ({known}, {value}); a network has one")
    return {"preset": preset, "set": {key: value for key, (value, _) in fields.items()}}
