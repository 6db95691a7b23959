"""The slow simulator reproduces the reference table of the shared data as counts of correct samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.network.discretise import discretise
from engine.network.model import Connection, SumPool
from engine.network.nir_reader import read_nir
from engine.reference.float_network import apply_connection, simulate_floats
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics


def correct(shared: Path, model: str, data: str, preset: str, samples: slice = slice(None), **fields: Any) -> int:
    dynamics = resolve_dynamics(DynamicsRequest(preset=preset, set=fields))
    network = discretise(read_nir(shared / "models" / model, repair=True), dynamics)
    with np.load(shared / "datasets" / data, allow_pickle=False) as arrays:
        x, y = arrays["x_test"][samples], arrays["y_test"][samples]
    parts = [simulate_floats(network, np.moveaxis(x[k : k + 32], 0, 1)).counts for k in range(0, len(x), 32)]
    return int((np.concatenate(parts).argmax(1) == y).sum())


@pytest.mark.shared
@pytest.mark.parametrize("suffix", ["", "_subgraph"])
def test_braille_subtract(shared_data: Path, suffix: str) -> None:
    name = f"braille_noDelay_noBias_subtract{suffix}.nir"
    assert correct(shared_data, name, "braille7.npz", "nir-paper") == 215


@pytest.mark.shared
@pytest.mark.parametrize("suffix", ["", "_subgraph"])
def test_braille_zero(shared_data: Path, suffix: str) -> None:
    name = f"braille_noDelay_bias_zero{suffix}.nir"
    assert correct(shared_data, name, "braille7.npz", "nir-paper", reset="to_value") == 212


CNN = ("cnn_sinabs.nir", "nmnist_small_test_frames1ms.npz", "sinabs")


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"spikes_per_step": "one", "membrane_floor": "none"}, 99),
        ({"membrane_floor": "none"}, 100),
        ({}, 96),
    ],
)
def test_cnn(shared_data: Path, fields: dict[str, Any], expected: int) -> None:
    assert correct(shared_data, *CNN, **fields) == expected


@pytest.mark.shared
def test_cnn_on_a_few_samples(shared_data: Path) -> None:
    assert correct(shared_data, *CNN, samples=slice(0, 5), membrane_floor="none") == 5


def test_convolution_against_loops() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 4, 7, 6)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    connection = Connection(
        "c",
        "@input",
        "t",
        "conv2d",
        (4, 7, 6),
        (6, 2, 3),
        w,
        b,
        stride=(2, 3),
        padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    )
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    got = apply_connection(connection, x)
    for (n, o, i, j), value in np.ndenumerate(got):
        group = slice(0, 2) if o < 3 else slice(2, 4)
        window = padded[n, group, 2 * i : 2 * i + 5 : 2, 3 * j : 3 * j + 2]
        assert value == pytest.approx((window * w[o]).sum() + b[o])
    assert got.shape == (2, 6, 3, 3)


def test_pool_against_torch_semantics() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    pool = SumPool((2, 2), (2, 2), (1, 1), 0.25)
    connection = Connection("p", "@input", "t", "identity", (1, 4, 4), (1, 3, 3), None, before=(pool,))
    assert apply_connection(connection, x)[0, 0].tolist() == [[0.0, 0.75, 0.75], [3.0, 7.5, 4.5], [3.0, 6.75, 3.75]]
