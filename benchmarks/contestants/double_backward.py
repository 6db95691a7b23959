"""Our own double backward with the reset differentiated: synapses over all steps at once, neurons by the plain step."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contestants.ours import network_of
from benchmarks.peers import serve
from benchmarks.workloads import ALL_WORKLOADS, load_weights, samples
from engine.kernels.step import SpikeGradient, neuron_step, start_state
from engine.network.model import INPUT
from engine.network.prepare import prepare
from engine.reference.plain_network import plain_synapse


class Contestant:
    """The handlers; ``setup`` keeps the gradient with its graph."""

    def __init__(self, workload_name: str, weights: Path) -> None:
        self.workload = ALL_WORKLOADS[workload_name]
        found, labels = samples(self.workload)
        self.x, self.y = torch.as_tensor(found).float(), torch.as_tensor(labels)
        self.network = network_of(self.workload, load_weights(weights))
        self.weights = {
            c.name: torch.tensor(c.weight, dtype=torch.float32, requires_grad=True) for c in self.network.weighted
        }
        self.gradients: tuple[Tensor, ...] = ()

    def setup(self) -> None:
        """Forward and backward with a graph."""
        self.gradients = ()
        loss = F.cross_entropy(self._logits(), self.y)
        self.gradients = torch.autograd.grad(loss, list(self.weights.values()), create_graph=True)

    def probe(self, seed: int = 0) -> dict[str, Any]:
        """One vector of signs for all layers, its product split by layer."""
        generator = torch.Generator().manual_seed(seed)
        signs = [torch.randint(0, 2, w.shape, generator=generator) * 2.0 - 1.0 for w in self.weights.values()]
        products = torch.autograd.grad(self.gradients, list(self.weights.values()), signs, retain_graph=True)
        return {"values": [float((a * b).sum()) for a, b in zip(products, signs, strict=True)]}

    def _logits(self) -> Tensor:
        prepared = prepare(self.network, dtype=torch.float32, weights=self.weights)
        gradient = SpikeGradient(math.pi, through_reset=True)
        seen = {INPUT: self.x}
        membranes: list[Tensor] = []
        for stage in prepared.stages:
            (synapse,) = stage.synapses
            spikes = seen[synapse.connection.source]
            current = plain_synapse(synapse, spikes.flatten(0, 1), stage.shape)
            steps = current.reshape(*self.x.shape[:2], *stage.shape).unbind(0)
            state = start_state(stage.rule, steps[0])
            fired, membranes = [], []
            for acc in steps:
                state = neuron_step(stage.rule, state, acc, gradient)
                fired.append(state.n)
                membranes.append(state.v)
            seen[stage.name] = torch.stack(fired)
        return torch.stack(membranes).mean(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=ALL_WORKLOADS)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    contestant = Contestant(options.workload, options.weights)
    serve({name: getattr(contestant, name) for name in ("setup", "probe")})
