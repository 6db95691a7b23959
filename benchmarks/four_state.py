"""Rows about the neurons of Lui & Neftci's published code: four states, two, one (arXiv:2104.14117).

The *original* neuron holds P, Q, R and S; the *simplified* one is exactly a leaky state with a reset to zero. The two
spike differently, so the original is compared after training both from the same draw of weights, on the digits, with
the same loop: 64 → 128 → 10, logits the mean of the last U, arctan surrogate, Adam. Every layer has a fixed gain
before its weights with which U has unit spread on training samples at the start, for both: P of the original is small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import pi
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.frame import Finding, Measured, Row
from benchmarks.networks import NAMED

ALPHA, BETA, ALPHA_R = 0.97, 0.92, 0.65  # the published code
SIZES = (64, 128, 10)
EPOCHS, BATCH, RATE = 15, 64, 2e-3
TIMED_STEPS = 20
KINDS = ("four_state", "one_state")
ROWS = (
    Row("neuron.simplified_differing_spikes", "spikes", "lower", must=0.0),
    *(Row(f"neuron.{kind}_accuracy", "", "higher") for kind in KINDS),
    Row("neuron.state_bytes_ratio", "x", "higher", must=4.0),
    Row("neuron.training_step_ratio", "x", "higher"),
)


@dataclass(frozen=True)
class _Neuron:
    """A neuron layer: states at the start, and one step to (U, spikes, states)."""

    start: Callable[[int, int, int], tuple[Any, ...]]
    step: Callable[[Any, Any, Any, tuple[Any, ...]], tuple[Any, Any, tuple[Any, ...]]]  # weight, bias, input, states


def _four_state_start(batch: int, inputs: int, neurons: int) -> tuple[Any, ...]:
    import torch

    return (*(torch.zeros(batch, inputs) for _ in range(2)), *(torch.zeros(batch, neurons) for _ in range(2)))


def _four_state_step(weight: Any, bias: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
    """``Q = βQ + (1−β)S_in; P = αP + (1−α)Q_prev; R = α_r·R − S_prev; U = WP + b + R; S = [U > 0]``."""
    q, p, r, s = states
    q, p = BETA * q + (1 - BETA) * x, ALPHA * p + (1 - ALPHA) * q
    r = ALPHA_R * r - s
    u = p @ weight.T + bias + r
    spikes = _spike(u)
    return u, spikes, (q, p, r, spikes)


def _one_state_start(batch: int, inputs: int, neurons: int) -> tuple[Any, ...]:
    import torch

    return (torch.zeros(batch, neurons),)


def _one_state_step(weight: Any, bias: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
    """``U = α·V + W·S_in + b; S = [U > 0]; V = U·(1 − S)``: V, after the reset, is all that is kept."""
    (v,) = states
    u = ALPHA * v + x @ weight.T + bias
    spikes = _spike(u)
    return u, spikes, (u * (1 - spikes),)


_NEURONS = {
    "four_state": _Neuron(_four_state_start, _four_state_step),
    "one_state": _Neuron(_one_state_start, _one_state_step),
}


def _spike(u: Any) -> Any:
    """``[u > 0]`` with the derivative of an arctan, ``1/(1+(πu)²)``."""
    import torch

    smooth = torch.atan(pi * u) / pi
    return (u > 0).to(u.dtype) + smooth - smooth.detach()


def findings(folder: Path, seeds: tuple[int, ...]) -> Iterator[Finding]:
    """All rows; ``folder`` holds the canonical files of the digits."""
    import torch

    from engine.data.load import load

    torch.set_num_threads(1)
    case = next(case for case in NAMED if case.name == "digits")
    data = load(case.prepare(folder).dataset).with_validation(0)
    yield _simplified(case, folder, data)
    yield from _trained(data, seeds)


def _simplified(case: Any, folder: Path, data: Any) -> Finding:
    """The engine's one-state neuron against the simplified one, float64, the digits' first layer on its test split."""
    import numpy as np
    import torch

    from engine.network.canonical import read_canonical
    from engine.network.discretise import discretise
    from engine.network.model import INPUT, Connection, Network, NeuronLayer
    from engine.network.prepare import prepare
    from engine.network.simulate import run
    from engine.reference.decolle_neuron import simplified_neuron
    from engine.specs.dynamics import PRESETS

    digits = discretise(read_canonical(case.prepare(folder).model), case.dynamics)
    weight = np.asarray(digits.weighted[0].weight, np.float64)
    neurons, inputs = weight.shape
    bias = np.asarray(np.random.default_rng(0).normal(0.0, 0.1, neurons))
    one, zero = np.ones(neurons), np.zeros(neurons)
    layer = NeuronLayer("lif", "lif", (neurons,), ALPHA * one, one, zero, zero, zero, zero)
    connection = Connection("fc", INPUT, "lif", "linear", (inputs,), (neurons,), weight, bias)
    dynamics = PRESETS["nir-paper"].model_copy(update={"reset": "to_value", "spike_test": "gt"})
    network = Network(dynamics, (inputs,), (layer,), (connection,), "lif")
    x = np.moveaxis(np.asarray(data.test.x, np.float64), 0, 1)  # [time, sample, input]
    with torch.no_grad():
        ours = run(prepare(network, dtype=torch.float64), torch.as_tensor(x), record="*").spikes["lif"].numpy()
    theirs = np.stack([simplified_neuron(weight, bias, ALPHA, x[:, k]) for k in range(x.shape[1])], 1)
    detail = {"compared": int(theirs.size), "spikes": int(theirs.sum())}
    return Measured("neuron.simplified_differing_spikes", float((ours != theirs).sum()), None, detail)


def _trained(data: Any, seeds: tuple[int, ...]) -> Iterator[Finding]:
    results: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in seeds:
        for kind in KINDS:
            results[kind].append(_accuracy(kind, data, seed))
    for kind in KINDS:
        values = results[kind]
        detail = {"seeds": list(seeds), "accuracies": values, "state_variables": len(_NEURONS[kind].start(1, 1, 1))}
        yield Measured(f"neuron.{kind}_accuracy", mean(values), (min(values), max(values)), detail)
    square = {kind: sum(4 * state.numel() for state in _NEURONS[kind].start(1, 128, 128)) for kind in KINDS}
    yield Measured("neuron.state_bytes_ratio", square["four_state"] / square["one_state"], None, {"bytes": square})
    times = _step_times(data)
    ratios = [four / one for four, one in zip(times["four_state"], times["one_state"], strict=True)]
    middle = sorted(ratios)[len(ratios) // 2]
    yield Measured("neuron.training_step_ratio", middle, (min(ratios), max(ratios)), {"cpu_seconds": times})


Layer = tuple[Any, Any, Any]  # gain, weight, bias


def _start(kind: str, data: Any, seed: int) -> list[Layer]:
    """Per layer its gain, weights and biases."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    x = torch.as_tensor(data.train.x[:256]).float().transpose(0, 1)
    layers: list[Layer] = []
    for inputs, neurons in pairwise(SIZES):
        weight = torch.randn(neurons, inputs, generator=generator) / inputs**0.5
        bias, gain = torch.zeros(neurons), torch.ones(())
        with torch.no_grad():
            for _ in range(8):  # the reset depends on the scale: a few rounds settle it
                gain = gain / _run(kind, [*layers, (gain, weight, bias)], x).std()
        layers.append((gain, weight.requires_grad_(), bias.requires_grad_()))
    return layers


def _run(kind: str, layers: list[Layer], x: Any) -> Any:
    """Membranes of the last layer ``[time, sample, neuron]``."""
    import torch

    neuron = _NEURONS[kind]
    states = [neuron.start(x.shape[1], weight.shape[1], weight.shape[0]) for _, weight, _ in layers]
    scaled = [(gain * weight, bias) for gain, weight, bias in layers]
    membranes = []
    for signal in x:
        for k, (weight, bias) in enumerate(scaled):
            u, signal, states[k] = neuron.step(weight, bias, signal, states[k])
        membranes.append(u)
    return torch.stack(membranes)


def _trained_of(layers: list[Layer]) -> list[Any]:
    return [tensor for _, weight, bias in layers for tensor in (weight, bias)]


def _train_step(kind: str, layers: list[Layer], optimiser: Any, x: Any, y: Any) -> None:
    import torch.nn.functional as F

    u = _run(kind, layers, x.float().transpose(0, 1))
    loss = F.cross_entropy(u.mean(0), y)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _accuracy(kind: str, data: Any, seed: int) -> float:
    """Test accuracy after the last epoch: nothing is chosen."""
    import torch

    layers = _start(kind, data, seed)
    optimiser = torch.optim.Adam(_trained_of(layers), lr=RATE)
    x, y = torch.as_tensor(data.train.x), torch.as_tensor(data.train.y)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(y), generator=generator), BATCH):
            _train_step(kind, layers, optimiser, x[rows], y[rows])
    with torch.no_grad():
        u = _run(kind, layers, torch.as_tensor(data.test.x).float().transpose(0, 1))
    return float((u.mean(0).argmax(1) == torch.as_tensor(data.test.y)).double().mean())


def _step_times(data: Any) -> dict[str, list[float]]:
    """Processor seconds of single training steps, the two kinds in turn."""
    import torch

    ready = {kind: _start(kind, data, 0) for kind in KINDS}
    optimisers = {kind: torch.optim.Adam(_trained_of(ready[kind]), lr=RATE) for kind in KINDS}
    x, y = torch.as_tensor(data.train.x[:BATCH]), torch.as_tensor(data.train.y[:BATCH])
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(TIMED_STEPS):
        for kind in KINDS:
            began = time.process_time()
            _train_step(kind, ready[kind], optimisers[kind], x, y)
            times[kind].append(time.process_time() - began)
    return times
