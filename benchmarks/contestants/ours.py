"""The engine itself: its float network, or its quantized form (``--bits``), through the one time loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contestants.common import contest
from benchmarks.workloads import DECAY, THRESHOLD, Weights, Workload, first_weights, samples, save_weights
from engine.kernels.memory import keep_memory
from engine.network.model import INPUT, Connection, Flatten, Network, NeuronLayer
from engine.network.simulate import run
from engine.program.quantized import start_training
from engine.specs.dynamics import Dynamics
from engine.specs.plan import NeuronPlan, Plan, WeightPlan
from engine.specs.steps import Surrogate
from engine.training.forms import FloatForm, QuantizedTrainable, float_parameters
from engine.training.loop import Trainable

SURROGATE = Surrogate(slope=math.pi)  # snnTorch's arctan
BRIEF_STEPS, BRIEF_RATE = 60, 1e-3


def network_of(workload: Workload, weights: Weights) -> Network:
    """The workload as the engine holds networks."""
    dynamics = Dynamics(
        dt_s=1e-3, integrator="forward_euler", reset="subtract", reset_timing="next_step", reset_order="after_leak",
        spike_test="gt", readout="membrane_sum",
    )  # fmt: skip
    layers, connections = [], []
    source, shape = INPUT, workload.input_shape
    for name, size in workload.layers.items():
        before: tuple[Flatten, ...] = ()
        if len(size) == 4:
            rows = (shape[1] - size[2]) // workload.stride + 1
            target: tuple[int, ...] = (size[0], rows, rows)
        else:
            target = (size[0],)
            before = (Flatten(0, 2),) if len(shape) == 3 else ()
        last = name == list(workload.layers)[-1]
        full = np.ones(target)
        layers.append(
            NeuronLayer(
                f"n_{name}", "li" if last else "lif", target, DECAY * full, full, 0 * full, 0 * full, 0 * full,
                threshold=None if last else THRESHOLD * full,
            )
        )  # fmt: skip
        stride = (workload.stride, workload.stride) if len(size) == 4 else (1, 1)
        connections.append(
            Connection(
                name, source, f"n_{name}", "conv2d" if len(size) == 4 else "linear", shape, target,
                np.asarray(weights[name], dtype=np.float64), before=before, stride=stride,
            )
        )  # fmt: skip
        source, shape = f"n_{name}", target
    return Network(dynamics, workload.input_shape, tuple(layers), tuple(connections), layers[-1].name)


def form_of(network: Network, bits: int | None) -> tuple[Trainable, dict[str, Tensor]]:
    """The float form (``bits`` None) or the quantized one, and its parameters."""
    if bits is None:
        form = FloatForm(network, torch.float32, torch.device("cpu"))
        return form, float_parameters(network, torch.float32, torch.device("cpu"))
    plan = Plan(
        weights={c.name: WeightPlan(bits=bits) for c in network.weighted},
        neurons={layer.name: NeuronPlan() for layer in network.layers},
    )
    quantized, parameters = start_training(network, plan, (0, 1))
    return QuantizedTrainable(quantized), parameters


def logits_of(form: Trainable, leaves: Mapping[str, Tensor], scale: float, x: Tensor) -> Tensor:
    """Mean membrane of the readout, ``[batch, class]``."""
    surrogate = SURROGATE if torch.is_grad_enabled() else None
    return run(form.prepare(leaves), x, surrogate=surrogate, reset_gradient="detached").counts * scale


def train_briefly(workload: Workload, path: Path) -> None:
    """Weights for all contestants: a few steps of Adam from :func:`first_weights`, written to ``path``."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    start = first_weights(workload)
    form, parameters = form_of(network_of(workload, start), None)
    leaves = {name: value.requires_grad_(name.startswith("weight:")) for name, value in parameters.items()}
    optimizer = torch.optim.Adam([v for v in leaves.values() if v.requires_grad], lr=BRIEF_RATE)
    for step in range(BRIEF_STEPS):
        found, labels = samples(workload, seed=100 + step)
        logits = logits_of(form, leaves, 1.0 / workload.steps, torch.as_tensor(found))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, torch.as_tensor(labels)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save_weights(path, {name: leaves[f"weight:{name}"].detach().numpy() for name in workload.layers})


def build(workload: Workload, weights: Weights, bits: int | None = None):  # type: ignore[no-untyped-def]
    keep_memory()  # as the engine does for a job
    network = network_of(workload, weights)
    form, parameters = form_of(network, bits)
    wanted = "weight:" if bits is None else ""  # thresholds of the float network are fixed, as the peers' are
    leaves = {name: value.requires_grad_(name.startswith(wanted)) for name, value in parameters.items()}
    unit = 1.0
    if bits is not None:
        scale = torch.exp2(leaves[f"log2_scale:{network.output}"].detach()).mean()
        unit = float(scale) * 2.0 ** -NeuronPlan().fraction_bits

    def forward(x: Tensor) -> Tensor:
        return logits_of(form, leaves, unit / workload.steps, x)

    def rates(x: Tensor) -> dict[str, float]:
        with torch.no_grad():
            spikes = run(form.prepare(leaves), x, record="*").spikes
        names = list(workload.layers)[:-1]
        return {name: float(spikes[f"n_{name}"].double().mean()) for name in names}

    return forward, [value for value in leaves.values() if value.requires_grad], rates


if __name__ == "__main__":
    contest(build, convert=lambda x: x)
