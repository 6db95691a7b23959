"""The engine's curvature: whole analyses, single probes and values, on a workload in float32."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contestants.allocation import compare
from benchmarks.contestants.ours import network_of
from benchmarks.peers import memory, serve
from benchmarks.workloads import ALL_WORKLOADS, load_weights, samples
from engine.curvature.blocks import Block, Blocks
from engine.curvature.directions import draw
from engine.curvature.estimator import StopRule
from engine.curvature.linear_network import linearise
from engine.curvature.objective import Objective
from engine.curvature.orthogonal_signs import order_for
from engine.curvature.output_losses import CrossEntropy, rademacher
from engine.curvature.quadratic import along, second_order
from engine.curvature.registry import estimator
from engine.curvature.shards import generator_of
from engine.kernels.memory import keep_memory
from engine.specs.steps import Surrogate

ERROR = 0.05


class Silent:
    """Nobody listens."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Ignored."""


class Contestant:
    """The handlers; what one call leaves for the next is the linearised block, as a probe's timing excludes setup."""

    def __init__(self, workload_name: str, weights: Path) -> None:
        workload = ALL_WORKLOADS[workload_name]
        found, labels = samples(workload)
        network = network_of(workload, load_weights(weights))
        frames = np.moveaxis(found, 1, 0)  # [batch, time, ...]
        loss = CrossEntropy(1.0 / workload.steps)
        self.objective = Objective(
            network, frames, labels, loss, Surrogate(slope=math.pi), "detached", dtype=torch.float32
        )
        self.hidden = [c.name for c in network.weighted][:-1]
        self.block: Block | None = None

    def setup(self, reset: str) -> None:
        """Linearise, weigh second derivatives."""
        ((x, labels),) = self.objective.blocks(10**6)
        objective = replace(self.objective, reset_gradient=reset)
        self.block = Block(0, linearise(objective, x, dtype=torch.float32), labels, objective.loss)
        self.block.bent  # noqa: B018 - made when first asked for
        for name in self.hidden:
            draw(self.block, self.block.network.wire(name), generator_of(0, ("warm", 0, 0)))

    def probe(self, seed: int = 0) -> dict[str, Any]:
        """``V'HV`` for one direction in every hidden layer, one layer after the other."""
        if self.block is None:
            raise ValueError("expected a setup before")
        block, values = self.block, []
        for number, name in enumerate(self.hidden):
            wire = block.network.wire(name)
            direction = draw(block, wire, generator_of(seed, (name, 0, number)))
            seeds = {wire.connection.target: direction.seed}
            found = second_order(block.network, block.loss, block.labels, seeds, block.bent)
            if found.rest is not None:
                values.append(float((found.gauss_newton + found.rest).mean()))
        return {"values": values}

    def sweep(self, seed: int = 0) -> None:
        """One random-output sweep of the Gauss-Newton matrix for all layers."""
        from engine.curvature.gauss_newton import _probe

        if self.block is None:
            raise ValueError("expected a setup before")
        outputs = self.block.network.outputs
        signs = rademacher(tuple(outputs.shape), outputs, generator_of(seed, ("sweep", 0, 0)))
        _probe(Blocks(self.objective, torch.float32), self.block, signs, ("sweep", 0, 0))

    def allocation(self) -> dict[str, Any]:
        """Sweeps that every layer needs for the asked error: as many for each sample, or by the samples' spreads."""
        from engine.curvature.gauss_newton import _probe, _signs

        if self.block is None:
            raise ValueError("expected a setup before")
        block, blocks = self.block, Blocks(self.objective, torch.float32)
        order, units = order_for(block.network.outputs.shape[1]), []
        for number in range(order):
            units.append(_probe(blocks, block, _signs(block, number, order, 0), ("allocation", 0, number)).units)
        found = compare(torch.stack(units).numpy(), ERROR)
        return {name: {"sweeps": each.sweeps, "error": each.error, "equal": each.equal} for name, each in found.items()}

    def analysis(self, quantity: str, reset: str, seed: int = 0, min_probes: int = 2) -> dict[str, Any]:
        """Every layer's trace to a standard error of 5 %, from nothing."""
        objective = replace(self.objective, reset_gradient=reset)
        stop = StopRule(relative_error=ERROR, min_probes=min_probes, max_probes=20_000)
        layers = estimator(quantity)(objective, stop, seed, Silent(), torch.float32)
        return {
            "layers": [
                {
                    "layer": layer.layer, "trace": layer.trace, "standard_error": layer.standard_error,
                    "probes": layer.probes, "converged": layer.converged, "exact_share": layer.exact_share,
                    "gauss_newton": layer.gauss_newton,
                }
                for layer in layers
            ]
        }  # fmt: skip

    def value(self, directions: str) -> dict[str, Any]:
        """``V'HV`` per layer for the directions in an npz file, detached."""
        if self.block is None:
            raise ValueError("expected a setup before")
        with np.load(directions, allow_pickle=False) as file:
            given: dict[str, Tensor] = {name: torch.as_tensor(file[name]) for name in file.files}
        values = {}
        for name, direction in given.items():
            block = self.block
            found = along(block.network, block.loss, block.labels, {name: direction}, block.bent)
            if found.rest is not None:
                values[name] = float((found.gauss_newton + found.rest).double().mean())
        return {"values": values}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=ALL_WORKLOADS)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_memory()  # as the engine does for a job
    contestant = Contestant(options.workload, options.weights)
    names = ("setup", "probe", "sweep", "allocation", "analysis", "value")
    serve({"memory": memory, **{name: getattr(contestant, name) for name in names}})
