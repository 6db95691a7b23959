"""Small random networks of every layer type, reset, readout and loss, whose exact curvature is cheap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.curvature.objective import Objective
from engine.curvature.output_losses import OUTPUT_LOSSES
from engine.network.model import INPUT, Connection, Flatten, Network, NeuronLayer, Scale, SumPool
from engine.specs.dynamics import Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.steps import Surrogate


@dataclass(frozen=True)
class Case:
    """A network form, its dynamics and loss."""

    name: str
    form: str = "two_layers"
    preset: str = "nir-paper"
    fields: tuple[tuple[str, Any], ...] = ()
    kind: str = "lif"
    loss: str = "cross_entropy"
    readout: str = "spike_count"


CASES = (
    Case("subtract_same_step"),
    Case("subtract_before_leak", preset="snntorch-leaky", fields=(("reset_order", "before_leak"),)),
    Case("subtract_after_leak", preset="snntorch-leaky"),
    Case("value_same_step", fields=(("reset", "to_value"), ("v_reset", 0.2))),
    Case(
        "value_before_leak",
        preset="snntorch-leaky",
        fields=(("reset", "to_value"), ("reset_order", "before_leak"), ("v_reset", 0.2)),
    ),
    Case("value_after_leak", preset="snntorch-leaky", fields=(("reset", "to_value"), ("v_reset", 0.2))),
    Case("dropped_input", preset="snntorch-synaptic-zero", kind="cubalif"),
    Case(
        "dropped_input_subtract_floor",
        preset="snntorch-leaky",
        fields=(("drop_reset_input", True), ("membrane_floor", -0.1), ("v_reset", 0.1)),
    ),
    Case("no_reset", fields=(("reset", "none"),)),
    Case("floor", fields=(("membrane_floor", -0.05),)),
    Case("many_spikes", preset="sinabs", kind="if"),
    Case("cubalif", kind="cubalif"),
    Case("cubalif_old_current", preset="norse", fields=(("current", "old"),), kind="cubalif"),
    Case("recurrent", form="recurrent"),
    Case("recurrent_cubalif_old", form="recurrent", preset="norse", fields=(("current", "old"),), kind="cubalif"),
    Case("recurrent_dropped", form="recurrent", preset="snntorch-synaptic-zero", kind="cubalif"),
    Case("two_layer_cycle", form="cycle"),
    Case("two_layer_cycle_cubalif", form="cycle", kind="cubalif"),
    Case("convolution", form="convolution"),
    Case("convolution_grouped", form="grouped"),
    Case("li_membrane_sum", form="readout", readout="membrane_sum"),
    Case("li_membrane_max", form="readout", readout="membrane_max"),
    Case("li_membrane_last", form="readout", readout="membrane_last", loss="mse_counts"),
    Case("lif_membrane_sum", readout="membrane_sum"),
    Case("lif_membrane_max_to_value", fields=(("reset", "to_value"),), readout="membrane_max"),
    Case("mse", loss="mse_counts"),
    Case("skip", form="skip"),
    Case("convolution_1d", form="convolution_1d"),
    Case("delays", form="delays"),
    Case("delays_in_a_loop", form="delayed_loop"),
    Case("residue", preset="snntorch-undelayed"),
    Case("cubali", form="readout_cubali", readout="membrane_sum"),
    Case("scaled", form="scaled"),
)


def objective_of(case: Case, reset_gradient: str = "through", *, samples: int = 5, steps: int = 9) -> Objective:
    """The case's network with weights, samples and labels drawn from one seed."""
    rng = np.random.default_rng(sum(map(ord, case.name)))
    network = FORMS[case.form](case, rng)
    shape = (samples, steps, *network.input_shape)
    x = (rng.random(shape) < 0.5).astype(np.uint8)
    y = rng.integers(0, int(np.prod(network.layer(network.output).shape)), samples)
    return Objective(network, x, y, OUTPUT_LOSSES[case.loss](0.4), Surrogate(slope=2.0), reset_gradient)


def dynamics_of(case: Case) -> Dynamics:
    return resolve_dynamics(
        DynamicsRequest(preset=case.preset, set={**dict(case.fields), "readout": case.readout, "dt_s": 1e-3})
    )


def layer(case: Case, name: str, shape: tuple[int, ...], rng: np.random.Generator, kind: str = "") -> NeuronLayer:
    kind = kind or case.kind
    fields = dict(case.fields)
    one = np.ones(shape)
    return NeuronLayer(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        shape=shape,
        decay_v=one if kind == "if" else rng.uniform(0.7, 0.95, shape),
        gain=rng.uniform(0.8, 1.2, shape),
        drive=rng.uniform(-0.05, 0.05, shape),
        v_leak=0 * one,
        v_reset=float(fields.get("v_reset", 0.0)) * one,
        threshold=None if kind == "li" else rng.uniform(0.7, 1.1, shape),
        decay_i=rng.uniform(0.3, 0.6, shape) if kind == "cubalif" else None,
    )


def linear(
    name: str, source: str, target: str, fan_in: int, fan_out: int, rng: np.random.Generator, **more: Any
) -> Connection:
    weight = rng.normal(0.25, 0.6, (fan_out, fan_in))
    return Connection(
        name, source, target, "linear", (fan_in,), (fan_out,), weight, rng.normal(0, 0.1, fan_out), **more
    )


def two_layers(case: Case, rng: np.random.Generator) -> Network:
    layers = (layer(case, "a", (4,), rng), layer(case, "b", (3,), rng))
    wires = (linear("w_in", INPUT, "a", 3, 4, rng), linear("w_out", "a", "b", 4, 3, rng))
    return Network(dynamics_of(case), (3,), layers, wires, "b")


def readout(case: Case, rng: np.random.Generator) -> Network:
    layers = (layer(case, "a", (4,), rng), layer(case, "b", (3,), rng), layer(case, "out", (3,), rng, "li"))
    wires = (
        linear("w_in", INPUT, "a", 3, 4, rng),
        linear("w_mid", "a", "b", 4, 3, rng),
        linear("w_out", "b", "out", 3, 3, rng),
    )
    return Network(dynamics_of(case), (3,), layers, wires, "out")


def many_outputs(case: Case, rng: np.random.Generator) -> Network:
    layers = (layer(case, "a", (6,), rng), layer(case, "b", (7,), rng))
    wires = (linear("w_in", INPUT, "a", 3, 6, rng), linear("w_out", "a", "b", 6, 7, rng))
    return Network(dynamics_of(case), (3,), layers, wires, "b")


def recurrent(case: Case, rng: np.random.Generator) -> Network:
    base = two_layers(case, rng)
    loop = linear("w_rec", "a", "a", 4, 4, rng, delayed=True)
    return Network(base.dynamics, (3,), base.layers, (*base.connections, loop), "b")


def cycle(case: Case, rng: np.random.Generator) -> Network:
    base = two_layers(case, rng)
    out = layer(case, "out", (3,), rng)
    back = linear("w_back", "b", "a", 3, 4, rng, delayed=True)
    last = linear("w_last", "b", "out", 3, 3, rng)
    return Network(base.dynamics, (3,), (*base.layers, out), (*base.connections, back, last), "out")


def skip(case: Case, rng: np.random.Generator) -> Network:
    base = two_layers(case, rng)
    same = Connection("same", "a", "b2", "identity", (4,), (4,), None)
    mid = layer(case, "b2", (4,), rng)
    wires = (
        linear("w_in", INPUT, "a", 3, 4, rng),
        same,
        linear("w_out", "b2", "b", 4, 3, rng),
        linear("w_skip", "a", "b", 4, 3, rng),
    )
    return Network(base.dynamics, (3,), (base.layers[0], mid, base.layers[1]), wires, "b")


def convolution(case: Case, rng: np.random.Generator, groups: int = 1) -> Network:
    layers = (layer(case, "a", (2, 3, 3), rng), layer(case, "b", (2, 2, 2), rng), layer(case, "c", (3,), rng))
    first = Connection(
        "conv1", INPUT, "a", "conv2d", (2, 6, 6), (2, 3, 3),
        rng.normal(0.2, 0.5, (2, 2 // groups, 2, 2)), rng.normal(0, 0.1, 2), stride=(2, 2), groups=groups,
    )  # fmt: skip
    second = Connection(
        "conv2", "a", "b", "conv2d", (2, 3, 3), (2, 2, 2), rng.normal(0.2, 0.5, (2, 2, 3, 3)), None,
        padding=(1, 1), after=(SumPool((2, 2), (1, 1), (0, 0), 0.25),),
    )  # fmt: skip
    third = Connection(
        "fc", "b", "c", "linear", (2, 2, 2), (3,), rng.normal(0.3, 0.6, (3, 2)), None,
        before=(SumPool((2, 2), (2, 2), (0, 0)), Flatten(0, 2)),
    )  # fmt: skip
    return Network(dynamics_of(case), (2, 6, 6), layers, (first, second, third), "c")


def convolution_1d(case: Case, rng: np.random.Generator) -> Network:
    layers = (layer(case, "a", (2, 4), rng), layer(case, "c", (3,), rng))
    first = Connection(
        "conv1", INPUT, "a", "conv1d", (2, 8), (2, 4), rng.normal(0.2, 0.5, (2, 2, 3)), rng.normal(0, 0.1, 2),
        stride=(2,), padding=(1,), dilation=(1,),
    )  # fmt: skip
    second = Connection(
        "fc", "a", "c", "linear", (2, 4), (3,), rng.normal(0.3, 0.6, (3, 8)), None, before=(Flatten(0, 1),)
    )
    return Network(dynamics_of(case), (2, 8), layers, (first, second), "c")


def delays(case: Case, rng: np.random.Generator) -> Network:
    base = two_layers(case, rng)
    first, second = base.connections
    slow = replace(first, delay=np.array([0, 1, 3])), replace(second, delay=np.array([2, 0, 1, 2]))
    return replace(base, connections=slow)


def delayed_loop(case: Case, rng: np.random.Generator) -> Network:
    base = cycle(case, rng)
    slow = {"w_back": np.array([1, 0, 2]), "w_out": np.array([0, 1, 1, 0])}
    return replace(base, connections=tuple(replace(c, delay=slow.get(c.name)) for c in base.connections))


def scaled(case: Case, rng: np.random.Generator) -> Network:
    """Factors before one weight and after the other; a quarter of them negative."""
    base = two_layers(case, rng)
    first, second = base.connections
    wires = (
        replace(first, after=(Scale(rng.normal(1.0, 0.8, 4)),)),
        replace(second, before=(Scale(rng.normal(1, 1, 4)),)),
    )
    return replace(base, connections=wires)


def readout_cubali(case: Case, rng: np.random.Generator) -> Network:
    base = readout(case, rng)
    last = replace(base.layers[-1], kind="cubali", decay_i=rng.uniform(0.3, 0.6, 3))
    return replace(base, layers=(*base.layers[:-1], last))


def alike(network: Network) -> Network:
    """The same with one leak for all neurons of a layer: they filter their input alike."""
    layers = tuple(
        replace(one, decay_v=np.full(one.shape, 0.85), decay_i=None if one.decay_i is None else np.full(one.shape, 0.4))
        for one in network.layers
    )
    return replace(network, layers=layers)


FORMS = {
    "convolution_1d": convolution_1d,
    "delays": delays,
    "delayed_loop": delayed_loop,
    "readout_cubali": readout_cubali,
    "scaled": scaled,
    "uniform": lambda case, rng: alike(two_layers(case, rng)),
    "uniform_readout": lambda case, rng: alike(readout(case, rng)),
    "uniform_convolution": lambda case, rng: alike(convolution(case, rng)),
    "uniform_recurrent": lambda case, rng: alike(recurrent(case, rng)),
    "uniform_skip": lambda case, rng: alike(skip(case, rng)),
    "two_layers": two_layers,
    "many_outputs": many_outputs,
    "readout": readout,
    "recurrent": recurrent,
    "cycle": cycle,
    "skip": skip,
    "convolution": convolution,
    "grouped": lambda case, rng: convolution(case, rng, groups=2),
}
