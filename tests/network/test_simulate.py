"""The fast simulation against the slow oracle, over profiles, kinds of neuron and topologies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.data.batches import Split
from engine.network import measure as measuring
from engine.network.components import components_of
from engine.network.discretise import discretise
from engine.network.model import Network
from engine.network.nir_reader import read_nir
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import PRESETS, DynamicsRequest, resolve_dynamics
from tests.program.networks import convolutional, recurrent

NETWORKS = [
    *[recurrent(preset, kind) for preset in sorted(PRESETS) for kind in ("lif", "cubalif", "if")],
    *[convolutional(preset) for preset in sorted(PRESETS)],
    recurrent("nir-paper", "cubalif", readout="membrane_sum"),
    recurrent("nir-paper", "lif", readout="membrane_max"),
    recurrent("nir-paper", "lif", readout="membrane_last", membrane_floor="minus_threshold"),
    recurrent("spikingjelly", "lif", v_reset=-0.25),
]


def with_second_loop(network: Network) -> Network:
    """Feedback from the output layer into the hidden one: a cycle over two layers."""
    back = replace(
        network.connections[1], name="back", source="out", target="hid", source_shape=(4,),
        weight=np.random.default_rng(5).normal(size=(9, 4)), bias=None,
    )  # fmt: skip
    return replace(network, connections=(*network.connections, back))


@pytest.mark.parametrize("network", [*NETWORKS, with_second_loop(recurrent())])
def test_fast_equals_slow(network: Network) -> None:
    x = (np.random.default_rng(7).random((20, 5, *network.input_shape)) < 0.4).astype(np.uint8)
    slow = simulate_floats(network, x, ("*",))
    fast = run(prepare(network), torch.as_tensor(x), record="*")
    for name, spikes in slow.spikes.items():
        np.testing.assert_array_equal(fast.spikes[name].numpy(), spikes)
        assert spikes.any()
    np.testing.assert_allclose(fast.counts.numpy(), slow.counts.reshape(fast.counts.shape), rtol=1e-9, atol=1e-9)


def test_known_spikes_take_the_place_of_their_layers() -> None:
    network = recurrent()
    x = torch.as_tensor((np.random.default_rng(7).random((20, 5, 12)) < 0.4).astype(np.uint8))
    whole = run(prepare(network), x, record="*")
    again = run(prepare(network), x, record="*", known={"hid": whole.spikes["hid"]})
    assert torch.equal(again.counts, whole.counts)
    assert set(again.spikes) == {"out"}
    silent = run(prepare(network), x, known={"hid": torch.zeros_like(whole.spikes["hid"])})
    assert not torch.equal(silent.counts, whole.counts)
    with pytest.raises(ValueError, match="cannot take out as known: the output"):
        run(prepare(network), x, known={"out": whole.spikes["out"]})
    with pytest.raises(ValueError, match="part of a cycle"):
        run(prepare(with_second_loop(network)), x, known={"hid": whole.spikes["hid"]})


def test_components_group_cycles() -> None:
    network = with_second_loop(recurrent())
    assert components_of(("hid", "out"), network.connections) == ((0, 1),)
    assert components_of(("hid", "out"), recurrent().connections) == ((0,), (1,))


@pytest.mark.parametrize("loops", [recurrent(), with_second_loop(recurrent())])
def test_gradients_of_fast_and_general_paths_are_derivatives(loops: Network) -> None:
    """With a readout that is smooth in the weights (no spikes reach threshold) autograd must equal differences."""
    quiet = replace(
        loops,
        dynamics=loops.dynamics.model_copy(update={"readout": "membrane_sum"}),
        layers=tuple(replace(layer, threshold=np.full(layer.shape, 1e6)) for layer in loops.layers),
    )
    x = torch.as_tensor((np.random.default_rng(3).random((6, 2, 12)) < 0.5).astype(np.float64))
    from engine.specs.steps import Surrogate

    bias = torch.tensor(quiet.connections[2].bias, requires_grad=True)

    def total(value: torch.Tensor) -> torch.Tensor:
        prepared = prepare(quiet, biases={"fc2": value})
        return run(prepared, x, surrogate=Surrogate(), reset_gradient="detached").counts.sum()

    total(bias).backward()  # type: ignore[no-untyped-call]
    step = 1e-4
    with torch.no_grad():
        numeric = [
            float((total(bias + step * unit) - total(bias - step * unit)) / (2 * step))
            for unit in torch.eye(4).double()
        ]
    assert bias.grad is not None
    np.testing.assert_allclose(bias.grad.numpy(), numeric, rtol=1e-6)


def test_measure_batches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    network = recurrent()
    rng = np.random.default_rng(2)
    split = Split((rng.random((23, 15, 12)) < 0.4).astype(np.uint8), np.zeros(23, np.int64))
    whole = measuring.measure(prepare(network), split)
    monkeypatch.setattr(measuring, "LARGEST_BATCH", 4)
    parts = measuring.measure(prepare(network), split)
    np.testing.assert_array_equal(whole.counts, parts.counts)
    np.testing.assert_array_equal(measuring.readouts(prepare(network), split), whole.counts)
    for name, rates in whole.rates.items():
        np.testing.assert_allclose(rates, parts.rates[name])
        assert (parts.busy[name] <= 1).all()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "data", "preset", "fields", "correct"),
    [
        ("braille_noDelay_noBias_subtract", "braille7", "nir-paper", {}, 215),
        ("braille_noDelay_bias_zero", "braille7", "nir-paper", {"reset": "to_value"}, 212),
        (
            "cnn_sinabs",
            "nmnist_small_test_frames1ms",
            "sinabs",
            {"spikes_per_step": "one", "membrane_floor": "none"},
            99,
        ),
        ("cnn_sinabs", "nmnist_small_test_frames1ms", "sinabs", {"membrane_floor": "none"}, 100),
        ("cnn_sinabs", "nmnist_small_test_frames1ms", "sinabs", {}, 96),
    ],
)
def test_reference_table(
    shared_data: Path, model: str, data: str, preset: str, fields: dict[str, Any], correct: int
) -> None:
    dynamics = resolve_dynamics(DynamicsRequest(preset=preset, set=fields))
    network = discretise(read_nir(shared_data / "models" / f"{model}.nir"), dynamics)
    with np.load(shared_data / "datasets" / f"{data}.npz") as arrays:
        split = Split(arrays["x_test"], arrays["y_test"].astype(np.int64))
    counts = measuring.measure(prepare(network), split).counts
    assert int((counts.argmax(1) == split.y).sum()) == correct
