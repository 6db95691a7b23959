"""How the analysis grows with steps, parameters and samples; its peak on a large network; values in float64."""

from __future__ import annotations

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch

from engine.curvature.estimator import StopRule
from engine.curvature.ggn import ggn_trace
from engine.curvature.linear_network import linearise
from engine.curvature.objective import Objective
from engine.curvature.output_losses import CrossEntropy
from engine.curvature.peak import peak_bytes
from engine.curvature.quadratic import along, bending
from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.reference.hessian_exact import hessian_product
from engine.specs.dynamics import PRESETS
from engine.specs.steps import Surrogate

SIZES = {
    "steps": [(200, 128, 16), (400, 128, 16), (800, 128, 16)],
    "parameters": [(50, 256, 16), (50, 512, 16), (50, 1024, 16)],
    "samples": [(100, 128, 128), (100, 128, 256), (100, 128, 512)],
}  # what grows → (steps, neurons of two hidden layers, samples)
LARGE = (1000, 2236, 4)  # 2236 squared twice: 10 million parameters
PASSES = StopRule(relative_error=1e-9, min_probes=4, max_probes=4)


class Silent:
    """Nobody listens."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Ignored."""


def objective_of(steps: int, neurons: int, samples: int, dtype: torch.dtype = torch.float32) -> Objective:
    """A perceptron of two hidden layers, random weights and spikes."""
    draw = np.random.default_rng(0)
    sizes = (neurons, neurons, neurons, 10)
    layers = []
    for k, size in enumerate(sizes[1:]):
        zero, one = np.zeros(size), np.ones(size)
        layers.append(NeuronLayer(f"n{k}", "lif", (size,), 0.9 * one, one, zero, zero, zero, threshold=one))
    connections = tuple(
        Connection(
            f"w{k}", INPUT if k == 0 else f"n{k - 1}", f"n{k}", "linear", (sizes[k],), (sizes[k + 1],),
            draw.normal(0.2 / math.sqrt(sizes[k]), 2.0 / math.sqrt(sizes[k]), (sizes[k + 1], sizes[k])),
        )
        for k in range(3)
    )  # fmt: skip
    network = Network(PRESETS["nir-paper"], (neurons,), tuple(layers), connections, "n2")
    x = (draw.random((samples, steps, neurons)) < 0.05).astype(np.uint8)
    y = draw.integers(0, 10, samples)
    return Objective(network, x, y, CrossEntropy(0.1), Surrogate(slope=6.0), dtype=dtype)


def growth() -> dict[str, tuple[float, list[tuple[int, float]]]]:
    """What grows → (exponent of CPU seconds over size between the ends, table)."""
    torch.set_num_threads(1)
    found = {}
    for what, sizes in SIZES.items():
        table = []
        for steps, neurons, samples in sizes:
            objective = objective_of(steps, neurons, samples)
            size = {"steps": steps, "samples": samples}.get(
                what, sum(c.weight.size for c in objective.network.weighted if c.weight is not None)
            )
            start = time.process_time()
            ggn_trace(objective, PASSES, 0, Silent(), torch.float32)
            table.append((size, time.process_time() - start))
        (first, least), (last, most) = table[0], table[-1]
        found[what] = (math.log(most / least) / math.log(last / first), table)
    return found


def large() -> dict[str, Any]:
    """A thousand steps and ten million parameters, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_large).result()


def _large() -> dict[str, Any]:
    torch.set_num_threads(1)
    objective = objective_of(*LARGE)
    parameters = sum(c.weight.size for c in objective.network.weighted if c.weight is not None)
    start = time.process_time()
    layers = ggn_trace(objective, StopRule(relative_error=1e-9, min_probes=2, max_probes=2), 0, Silent(), torch.float32)
    return {
        "peak_bytes": peak_bytes(),
        "parameters": parameters,
        "steps": LARGE[0],
        "samples": LARGE[2],
        "cpu_s": time.process_time() - start,
        "traces": {layer.layer: layer.trace for layer in layers},
    }


def worst_in_double() -> float:
    """Largest relative difference of ``V'HV`` and double backward in float64, reset differentiated and detached."""
    worst, draw = 0.0, torch.Generator().manual_seed(0)
    for reset in ("through", "detached"):
        plain = objective_of(40, 24, 6, torch.float64)
        objective = Objective(plain.network, plain.x, plain.y, plain.loss, plain.surrogate, reset)
        ((x, labels),) = objective.blocks(64)
        network = linearise(objective, x)
        bent = bending(network, objective.loss, labels)
        for name, weight in objective.weights(requires_grad=False).items():
            v = torch.randn(weight.shape, generator=draw, dtype=torch.float64)
            exact = float((hessian_product(objective, {name: v})[name] * v).sum())
            found = along(network, objective.loss, labels, {name: v}, bent)
            value = found.gauss_newton if found.rest is None else found.gauss_newton + found.rest
            worst = max(worst, abs(float(value.mean()) - exact) / abs(exact))
    return worst
