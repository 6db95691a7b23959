"""Small random networks whose exact curvature is cheap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.curvature.objective import Objective
from engine.curvature.output_losses import OUTPUT_LOSSES
from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.specs.dynamics import PRESETS, Dynamics
from engine.specs.steps import Surrogate

STEPS, SAMPLES, INPUTS, HIDDEN, OUTPUTS = 15, 12, 6, 7, 4


def layer(name: str, neurons: int, kind: str, rng: np.random.Generator) -> NeuronLayer:
    zero, one = np.zeros(neurons), np.ones(neurons)
    return NeuronLayer(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        shape=(neurons,),
        decay_v=rng.uniform(0.7, 0.95, neurons),
        gain=one,
        drive=zero,
        v_leak=zero,
        v_reset=zero,
        threshold=None if kind == "li" else one,
        decay_i=rng.uniform(0.3, 0.6, neurons) if kind == "cubalif" else None,
    )


def make_network(kind: str = "feedforward", *, dynamics: Dynamics | None = None, seed: int = 0) -> Network:
    """``feedforward``: lif, lif; ``recurrent``: current-based, feeding itself; ``readout``: lif, li."""
    rng = np.random.default_rng(seed)
    hidden = layer("hidden", HIDDEN, "cubalif" if kind == "recurrent" else "lif", rng)
    out = layer("out", OUTPUTS, "li" if kind == "readout" else "lif", rng)
    connections = [
        Connection("w_in", INPUT, "hidden", "linear", (INPUTS,), (HIDDEN,), rng.normal(0.3, 0.7, (HIDDEN, INPUTS))),
        Connection("w_out", "hidden", "out", "linear", (HIDDEN,), (OUTPUTS,), rng.normal(0.1, 0.6, (OUTPUTS, HIDDEN))),
    ]
    if kind == "recurrent":
        weight = rng.normal(0, 0.4, (HIDDEN, HIDDEN))
        connections.insert(
            1, Connection("w_rec", "hidden", "hidden", "linear", (HIDDEN,), (HIDDEN,), weight, delayed=True)
        )
    profile = dynamics or PRESETS["nir-paper"]
    if kind == "readout":
        profile = profile.model_copy(update={"readout": "membrane_sum"})
    return Network(profile, (INPUTS,), (hidden, out), tuple(connections), "out")


MakeObjective = Callable[..., Objective]


@pytest.fixture
def make_objective() -> MakeObjective:
    def make(
        kind: str = "feedforward",
        loss: str = "cross_entropy",
        *,
        logit_scale: float = 0.5,
        reset_gradient: str = "through",
        dynamics: Dynamics | None = None,
    ) -> Objective:
        rng = np.random.default_rng(1)
        x = (rng.random((SAMPLES, STEPS, INPUTS)) < 0.4).astype(np.uint8)
        y = rng.integers(0, OUTPUTS, SAMPLES)
        network = make_network(kind, dynamics=dynamics)
        return Objective(network, x, y, OUTPUT_LOSSES[loss](logit_scale), Surrogate(slope=3.0), reset_gradient)

    return make
