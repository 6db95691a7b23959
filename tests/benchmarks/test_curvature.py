"""The curvature benchmark's arithmetic on numbers whose answer is known, its workloads, and the gate of its ratios."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from benchmarks import curvature, workloads
from benchmarks.contestants import allocation, curvature_ours, double_backward
from benchmarks.curvature_sizes import PASSES, Silent, objective_of, worst_in_double
from benchmarks.frame import Absent, Measured
from benchmarks.peers import FRAMEWORKS, interpreter, memory
from engine.curvature.ggn import ggn_trace

GATE = 0.6  # of a floor: what CI asks of a ratio on a machine that it shares


def test_probes_needed_are_the_squared_relative_spread_over_five_percent() -> None:
    probes = [[1.0, 10.0], [3.1, 10.5]]  # spreads 2.1/√2 round 2.05, and 0.5/√2 round 10.25
    needed = [math.ceil(2.1**2 / 2.0 / 2.05**2 / 0.0025), math.ceil(0.125 / 10.25**2 / 0.0025)]
    assert curvature._needed(probes) == needed == [210, 1]
    assert curvature._needed(probes, floor=[20.0, 1.0]) == [3, 1]


def test_a_peer_costs_its_setup_and_what_its_slowest_layer_needs() -> None:
    timed = [{"cpu_s": 0.5}, {"cpu_s": 0.7}, {"cpu_s": 5.0}]
    assert curvature._cost(2.0, timed, [10, 40, 3]) == pytest.approx(2.0 + 40 * 0.7)


def test_a_layer_that_did_not_converge_is_no_ratio() -> None:
    runs = [{"cpu_s": s, "layers": [{"converged": True}, {"converged": s != 4.0}]} for s in (2.0, 4.0, 8.0)]
    probes = [[1.0, 2.0], [3.0, 4.0]]
    assert isinstance(curvature._against("x", 80.0, probes, runs), Absent)
    runs[1]["layers"][1]["converged"] = True  # type: ignore[index]
    found = curvature._against("x", 80.0, probes, runs)
    assert isinstance(found, Measured)
    assert (found.value, found.spread) == (20.0, (10.0, 40.0))


def test_samples_that_spread_alike_gain_nothing_and_a_single_one_takes_all() -> None:
    draw = np.random.default_rng(0)
    alike = 10.0 + draw.permuted(np.tile(np.linspace(-1, 1, 12)[:, None, None], (1, 40, 2)), axis=0)
    found = allocation.compare(alike, 0.005)
    assert found["true spreads"].equal == pytest.approx(found["alike"].equal, rel=0.2)
    single = np.full((12, 40, 1), 10.0) + 1e-6 * alike[:, :, :1]
    single[:, 0, 0] = 10.0 + 30.0 * np.linspace(-1, 1, 12)
    found = allocation.compare(single, 0.01)
    assert found["true spreads"].sweeps < 1.5 < found["alike"].sweeps
    assert found["true spreads"].error <= 1.0
    assert found["alike"].error <= 1.0


def test_every_ratio_has_a_floor_on_drawn_data_and_none_on_recordings() -> None:
    rows = {row.name: row for row in curvature.ROWS}
    assert len(rows) == len(curvature.ROWS)
    for name in ("hessian_detached", "ggn_through", "hessian_through", "one_probe"):
        assert all(rows[f"{name}.{workload}"].must is not None for workload in workloads.WORKLOADS)
        assert all(rows[f"{name}.{workload}"].must is None for workload in workloads.REAL_WORKLOADS)


@pytest.mark.shared
@pytest.mark.parametrize("name", workloads.REAL_WORKLOADS)
def test_recordings_fill_the_workload(name: str) -> None:
    workload = workloads.REAL_WORKLOADS[name]
    if not workloads.recordings_path(workload).exists():
        pytest.skip("../shared/data is absent")
    x, y = workloads.samples(workload, seed=3)
    assert x.shape == (workload.steps, workload.batch, *workload.input_shape)
    assert set(np.unique(x)) == {0, 1}
    assert 0 <= y.min() <= y.max() < workload.classes
    assert np.array_equal(x, workloads.samples(workload, seed=3)[0])
    assert not np.array_equal(x, workloads.samples(workload, seed=4)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="the record of a process's memory is Linux's")
def test_memory_is_of_this_process_and_starts_anew() -> None:
    memory()
    held = torch.ones(30_000_000)  # 120 MB
    whole = memory()
    del held
    before = memory()
    assert whole["peak"] - before["now"] > 100_000_000
    assert memory()["peak"] - before["now"] < 50_000_000


def test_sizes_run_and_values_agree_in_double_precision() -> None:
    for layer in ggn_trace(objective_of(12, 16, 4), PASSES, 0, Silent(), torch.float32):
        assert layer.trace > 0
    assert worst_in_double() < 1e-9


def test_a_tangent_probe_is_far_quicker_than_a_double_backward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of workload B, against our own double backward; the floor of one probe is 8."""
    small = replace(workloads.B, batch=16)
    monkeypatch.setitem(workloads.ALL_WORKLOADS, "B", small)
    workloads.save_weights(tmp_path / "w.npz", workloads.first_weights(small))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = curvature_ours.Contestant("B", tmp_path / "w.npz")
        theirs = double_backward.Contestant("B", tmp_path / "w.npz")
        ours.setup("detached")
        theirs.setup()
        spent: dict[str, list[float]] = {"ours": [], "theirs": []}
        for seed in range(4):
            for name, contestant in (("ours", ours), ("theirs", theirs)):
                start = time.process_time()
                contestant.probe(seed)
                spent[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert median(spent["theirs"][1:]) / median(spent["ours"][1:]) > GATE * 8.0


@pytest.mark.slow
@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_ratios_are_above_the_gate(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = interpreter(FRAMEWORKS)
    if python is None:
        pytest.skip("make frameworks was not run")
    monkeypatch.setattr(curvature, "PROBES", 20)
    rows = {row.name: row for row in curvature.ROWS}
    for found in curvature._contest(workloads.WORKLOADS[name], tmp_path, python):
        assert isinstance(found, Measured), found
        row = rows[found.name]
        if row.unit == "x" and row.must is not None:
            assert found.value >= GATE * row.must, found
