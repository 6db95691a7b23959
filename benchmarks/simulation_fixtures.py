"""Rows of ``make bench NAME=simulation`` that count: fixtures and the reference table.

Included by the benchmark's module: ``ROWS`` and :func:`run` are its own rows; nothing here is timed against a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame import Absent, Finding, Measured, Row, collect, format_table

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
# model, data, preset, overrides, correct samples of the reference table (shared data, README)
REFERENCE: tuple[tuple[str, str, str, str, dict[str, Any], int], ...] = (
    ("braille_subtract", "braille_noDelay_noBias_subtract", "braille7", "nir-paper", {}, 215),
    ("braille_zero", "braille_noDelay_bias_zero", "braille7", "nir-paper", {"reset": "to_value"}, 212),
    (
        "cnn_one_spike",
        "cnn_sinabs",
        "nmnist_small_test_frames1ms",
        "sinabs",
        {"spikes_per_step": "one", "membrane_floor": "none"},
        99,
    ),
    ("cnn_several", "cnn_sinabs", "nmnist_small_test_frames1ms", "sinabs", {"membrane_floor": "none"}, 100),
    ("cnn_floor", "cnn_sinabs", "nmnist_small_test_frames1ms", "sinabs", {}, 96),
)
_NETWORKS = tuple(sorted(path.stem for path in (ROOT / "tests" / "fixtures" / "networks").glob("*.npz")))
ROWS = (
    *(Row(f"fixture.{name}.differing_spikes", "spikes", "lower", 0.0) for name in _NETWORKS),
    Row("fixtures.excused_spikes", "spikes", "lower", 0.0),
    Row("fixtures.worst_membrane_error", "", "lower", 1e-5),
    *(Row(f"reference.{name}.off_by", "samples", "lower", 0.0) for name, *_ in REFERENCE),
)


def run() -> Iterator[Finding]:
    """All rows, in their order."""
    yield from _fixtures()
    yield from _reference()


def _fixtures() -> Iterator[Finding]:
    import torch

    from engine.network.discretise import discretise
    from engine.network.nir_reader import read_nir
    from engine.network.prepare import prepare
    from engine.network.simulate import run as simulate
    from engine.reference.float_network import simulate_floats
    from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
    from tests.fixtures.load import load_fixture

    worst = 0.0
    for name in _NETWORKS:
        fixture = load_fixture(name)
        dynamics = resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
        network = discretise(read_nir(fixture.nir), dynamics)
        trace = simulate(prepare(network), torch.as_tensor(np.moveaxis(fixture.x, 0, 1)), record="*")
        wrong = compared = 0
        for node, expected in fixture.spikes.items():
            found = np.moveaxis(trace.spikes[node].numpy(), 0, 1)
            wrong, compared = wrong + int((found != expected).sum()), compared + expected.size
        counts = trace.counts.numpy()
        equal = int((np.abs(counts - fixture.readout).max(1) <= 1e-5).sum())
        detail = {"compared": compared, "samples": len(counts), "equal_outputs": equal, **fixture.about}
        yield Measured(f"fixture.{name}.differing_spikes", float(wrong), None, detail)
        samples = len(next(iter(fixture.membranes.values())))
        oracle = simulate_floats(network, np.moveaxis(fixture.x[:samples], 0, 1), "*")
        for node, membrane in fixture.membranes.items():
            worst = max(worst, float(np.abs(np.moveaxis(oracle.membranes[node], 0, 1) - membrane).max()))
    yield Measured("fixtures.excused_spikes", 0.0, None, {"note": "every differing spike is counted, none is excused"})
    yield Measured("fixtures.worst_membrane_error", worst)


def _reference() -> Iterator[Finding]:
    from engine.data.batches import Split
    from engine.network.discretise import discretise
    from engine.network.measure import measure
    from engine.network.nir_reader import read_nir
    from engine.network.prepare import prepare
    from engine.specs.dynamics import DynamicsRequest, resolve_dynamics

    for name, model, data, preset, fields, correct in REFERENCE:
        row = f"reference.{name}.off_by"
        if not (SHARED / "models" / f"{model}.nir").exists():
            yield Absent(row, "../shared/data is absent")
            continue
        dynamics = resolve_dynamics(DynamicsRequest(preset=preset, set=fields))
        network = discretise(read_nir(SHARED / "models" / f"{model}.nir"), dynamics)
        with np.load(SHARED / "datasets" / f"{data}.npz") as arrays:
            split = Split(arrays["x_test"], arrays["y_test"].astype(np.int64))
        found = int((measure(prepare(network), split).counts.argmax(1) == split.y).sum())
        detail = {"correct": found, "expected": correct, "samples": len(split)}
        yield Measured(row, float(abs(found - correct)), None, detail)


if __name__ == "__main__":
    print(format_table(collect(ROWS, run())))
