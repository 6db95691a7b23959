"""The spectrum-sensing example: the data, the detector's figures, and a program of it that replays to the spike."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from examples.spectrum import compare, data


@pytest.fixture(scope="module")
def signals() -> dict[str, data.Received]:
    return data.received()


def test_the_file_is_built_byte_for_byte_the_same(tmp_path: Path) -> None:
    first, second = (data.build(tmp_path / name).read_bytes() for name in ("a.npz", "b.npz"))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_what_is_drawn(signals: dict[str, data.Received]) -> None:
    test = signals["test"]
    assert test.energy.shape == (data.SAMPLES["test"], data.STEPS, data.ANTENNAS, data.CARRIERS)
    idle = test.busy == 0
    assert np.isnan(test.snr_db[idle]).all()
    assert idle.mean() == 0.5
    assert test.energy[idle].mean() == pytest.approx(1.0, abs=0.02)  # the nominal noise power
    strong = test.snr_db > 5
    assert test.energy[strong].mean() > test.energy[idle].mean() + 0.5
    frames = data.spikes(test.energy)
    assert frames.shape == (data.SAMPLES["test"], data.STEPS, data.INPUTS)
    assert (frames[..., 1::2] <= frames[..., ::2]).all()  # the higher level implies the lower


def test_receivers_of_known_quality() -> None:
    busy = np.array([False] * 50 + [True] * 50)
    perfect, blind = busy.astype(float), np.zeros(100)
    assert compare.area(perfect, busy) == 1.0
    assert compare.detection(perfect, busy) == 1.0
    assert compare.area(blind, busy) == 0.5
    assert compare.detection(blind, busy) == pytest.approx(compare.FALSE_ALARMS)
    rng = np.random.default_rng(0)
    score = rng.normal(size=100) + busy
    pairs = (score[busy][:, None] > score[~busy]).mean()  # the area is the share of pairs in the right order
    assert compare.area(score, busy) == pytest.approx(pairs)


def test_the_network_beats_counting_energy(signals: dict[str, data.Received]) -> None:
    busy = signals["test"].busy == 1
    float_area = compare.area(compare.float_scores(data.spikes(signals["test"].energy)), busy)
    energy_area = compare.area(signals["test"].energy.mean((1, 2, 3)), busy)
    assert float_area > energy_area + 0.05


def test_a_program_of_the_recipe(signals: dict[str, data.Received], tmp_path: Path) -> None:
    parts = {"train": 320, "val": 64, "test": 200}
    arrays = {f"x_{part}": data.spikes(signals[part].energy[:n]) for part, n in parts.items()}
    arrays |= {f"y_{part}": signals[part].busy[:n] for part, n in parts.items()}
    compare.write_inputs(tmp_path, arrays)
    program, facts = compare.quantize(tmp_path, 8, 0.5, epochs=1)
    assert facts["mismatched"] == 0
    busy = arrays["y_test"] == 1
    ours = compare.area(compare.program_scores(program, arrays["x_test"]), busy)
    assert ours > compare.area(compare.float_scores(arrays["x_test"]), busy) - 0.05
