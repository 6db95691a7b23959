"""Factors moved into weights change no spike of the float network, and what cannot be moved is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.data.batches import Dataset, Split
from engine.errors import NotRepresentable
from engine.network.discretise import discretise
from engine.network.model import INPUT, Connection, Flatten, Network, Scale
from engine.network.nir_reader import read_nir
from engine.program.inputs import encoded, integer_side
from engine.program.programmable import programmable_network
from engine.program.quantized import start_training, to_program
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from engine.specs.plan import Plan
from tests.fixtures.load import load_fixture
from tests.program.networks import convolutional, plan_of, recurrent

RNG = np.random.default_rng(5)


def with_maps(network: Network, name: str, before: tuple[object, ...] = (), after: tuple[object, ...] = ()) -> Network:
    connections = tuple(
        replace(c, before=(*before, *c.before), after=(*c.after, *after)) if c.name == name else c
        for c in network.connections
    )
    return replace(network, connections=connections)


def readouts(network: Network, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return simulate_floats(network, x).counts


@pytest.mark.parametrize("bias_of", ["rows and columns", "recurrent"])
def test_scales_round_linear_weights(bias_of: str) -> None:
    plain = recurrent()
    name = "fc1" if bias_of == "rows and columns" else "rec"
    size = 12 if name == "fc1" else 9
    network = with_maps(plain, name, (Scale(RNG.uniform(0.5, 2, size)), Flatten(0, 0)), (Scale(RNG.uniform(-1, 2, 9)),))
    made = programmable_network(network)
    assert made.changed == {name}
    assert not any(isinstance(p, Scale) for c in made.network.connections for p in (*c.before, *c.after))
    x = (RNG.random((20, 6, 12)) < 0.4).astype(float)
    np.testing.assert_array_equal(readouts(made.network, x), readouts(network, x))
    assert (readouts(network, x) != readouts(plain, x)).any()
    to_program(*start_training(made.network, plan_of(network), (0, 1)))


def test_scales_per_channel_of_a_convolution() -> None:
    network = convolutional()
    conv = network.connections[0]
    each = RNG.uniform(0.5, 2, 2)[:, None, None] * np.ones((2, 8, 8))
    rows = RNG.uniform(0.5, 2, 4)[:, None, None] * np.ones((4, 8, 8))
    network = replace(
        network, connections=(replace(conv, before=(Scale(each),), after=(Scale(rows),)), *network.connections[1:])
    )
    network = replace(
        network, layers=(replace(network.layers[0], **_full(network.layers[0], (4, 8, 8))), network.layers[1])
    )
    conv = replace(network.connections[0], target_shape=(4, 8, 8))
    fc = replace(
        network.connections[1], source_shape=(4, 8, 8), before=(Flatten(0, 2),), weight=RNG.normal(size=(4, 256))
    )
    network = replace(network, connections=(conv, fc))
    made = programmable_network(network)
    assert made.changed == {"conv"}
    x = (RNG.random((12, 5, 2, 8, 8)) < 0.3).astype(float)
    np.testing.assert_array_equal(readouts(made.network, x), readouts(network, x))
    by_place = replace(conv, before=(Scale(RNG.uniform(0.5, 2, (2, 8, 8))),))
    refused = programmable_network(replace(network, connections=(by_place, fc))).network
    with pytest.raises(NotRepresentable, match="connection 'conv' holds a Scale") as caught:
        start_training(refused, plan_of(network), (0, 1))
    assert caught.value.code == "node_not_representable"


def _full(layer: object, shape: tuple[int, ...]) -> dict[str, object]:
    names = ("decay_v", "gain", "drive", "v_leak", "v_reset", "threshold")
    return {"shape": shape} | {name: np.full(shape, getattr(layer, name).flat[0]) for name in names}


def test_gains_of_a_readout_go_into_its_weights() -> None:
    fixture = load_fixture("norse-li-readout")
    network = discretise(read_nir(fixture.nir), resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics)))
    assert np.ptp(network.layer(network.output).gain) > 0
    made = programmable_network(network)
    x = np.moveaxis(fixture.x[:8], 0, 1).astype(float)
    np.testing.assert_allclose(readouts(made.network, x), readouts(network, x), rtol=1e-9, atol=1e-9)
    assert np.ptp(made.network.layer(network.output).gain) == 0


def test_the_scale_of_analogue_inputs_goes_into_the_first_weights() -> None:
    network = recurrent()
    x = RNG.normal(size=(6, 10, 12))
    split = Split(x, np.zeros(6, dtype=np.int64))
    data = Dataset(test=split, train=split, val=None, classes=("0",))
    side = integer_side(network, data, Plan(weights={}, input_bits=6))
    assert side.scale is not None
    assert side.changed == {"fc1"}
    whole = side.data.test.x
    assert side.limits == (int(whole.min()), int(whole.max()))
    assert 16 <= np.abs(np.asarray(whole)).max() <= 31
    seen = np.moveaxis(np.asarray(whole), 0, 1).astype(float)
    np.testing.assert_array_equal(readouts(side.network, seen), readouts(network, seen * float(side.scale)))
    np.testing.assert_array_equal(encoded(split, side.scale).x, whole)


def test_fractions_without_weights_are_refused_with_a_code() -> None:
    network = recurrent()
    bare = Connection("bare", INPUT, "hid", "identity", (9,), (9,), None)
    network = replace(network, input_shape=(9,), connections=(bare, *network.connections[1:]))
    split = Split(RNG.normal(size=(2, 3, 9)), np.zeros(2, dtype=np.int64))
    with pytest.raises(NotRepresentable, match="connection 'bare' brings fractions") as caught:
        integer_side(network, Dataset(test=split, train=None, val=None, classes=("0",)), Plan(weights={}))
    assert caught.value.code == "non_integer_input"


def test_whole_numbers_stay_as_they_are() -> None:
    split = Split(RNG.integers(0, 5, (2, 3, 12)), np.zeros(2, dtype=np.int64))
    side = integer_side(recurrent(), Dataset(test=split, train=None, val=None, classes=("0",)), Plan(weights={}))
    assert side.scale is None
    assert side.limits[0] == 0
    assert side.changed == frozenset()
