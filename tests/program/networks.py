"""Small float networks under several profiles, for the tests of integerize and sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.network.model import INPUT, Connection, Flatten, Network, NeuronLayer, SumPool
from engine.specs.dynamics import PRESETS
from engine.specs.plan import NeuronPlan, Plan, WeightPlan

PROGRAMMABLE = tuple(name for name in sorted(PRESETS) if PRESETS[name].residue == "fires")


def recurrent(preset: str = "nir-paper", kind: str = "cubalif", gain: float = 0.5, **dynamics: Any) -> Network:
    """12 inputs, 9 recurrent neurons, 4 outputs, biases everywhere."""
    rng = np.random.default_rng(0)
    profile = PRESETS[preset].model_copy(update=dynamics)
    layers = (_neurons("hid", (9,), kind, gain), _neurons("out", (4,), kind, gain))
    connections = (
        _linear(rng, "fc1", INPUT, "hid", 12, 9),
        replace(_linear(rng, "rec", "hid", "hid", 9, 9), delayed=True),
        _linear(rng, "fc2", "hid", "out", 9, 4),
    )
    return Network(profile, (12,), layers, connections, "out")


def memoryless(network: Network) -> Network:
    """The same network with NIR's Threshold as its hidden layer."""
    hidden = network.layers[0]
    zeros = np.zeros(hidden.shape)
    return replace(network, layers=(replace(hidden, kind="threshold", decay_v=zeros), *network.layers[1:]))


def convolutional(preset: str = "nir-paper", **dynamics: Any) -> Network:
    """2×8×8 input, four channels, average pool, four outputs; the bias passes a padded pool."""
    rng = np.random.default_rng(1)
    profile = PRESETS[preset].model_copy(update=dynamics)
    pool = SumPool((2, 2), (2, 2), (0, 0), 0.25)
    conv = Connection(
        "conv", INPUT, "maps", "conv2d", (2, 8, 8), (4, 4, 4), rng.normal(size=(4, 2, 3, 3)), rng.normal(size=4),
        after=(replace(pool, padding=(0, 0)),), padding=(1, 1),
    )  # fmt: skip
    fc = replace(_linear(rng, "fc", "maps", "out", 16, 4), source_shape=(4, 4, 4), before=(pool, Flatten(0, 2)))
    layers = (_neurons("maps", (4, 4, 4), "lif"), _neurons("out", (4,), "if"))
    return Network(profile, (2, 8, 8), layers, (conv, fc), "out")


def plan_of(network: Network, bits: int = 4, granularity: str = "channel", **neuron: Any) -> Plan:
    """The same widths everywhere."""
    return Plan(
        weights={c.name: WeightPlan(bits=bits, granularity=granularity) for c in network.weighted},
        neurons={layer.name: NeuronPlan(**neuron) for layer in network.layers},
    )


def _neurons(name: str, shape: tuple[int, ...], kind: str, gain: float = 1.0) -> NeuronLayer:
    def full(value: float) -> np.ndarray[Any, Any]:
        return np.full(shape, value)

    return NeuronLayer(
        name, kind, shape, full(1.0 if kind == "if" else 0.9), full(gain), full(0.0), full(0.0), full(0.0), full(1.0),
        full(0.7) if kind == "cubalif" else None,
    )  # fmt: skip


def _linear(rng: np.random.Generator, name: str, source: str, target: str, inner: int, out: int) -> Connection:
    return Connection(
        name, source, target, "linear", (inner,), (out,), rng.normal(size=(out, inner)), 0.1 * rng.normal(size=out)
    )
