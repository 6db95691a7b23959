"""A dataset that is read from disk gives the same program as one in memory: every step, fine-tuning too."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import load as loading
from engine.data.canonicalise import canonicalise
from engine.data.zip_safe import ZipLimits
from engine.network.canonical import write_canonical
from engine.network.graph import Graph
from engine.network.nodes import make_node
from engine.run import Inputs
from engine.specs.data import TimeBins, Transform
from tests.data.event_files import SENSOR, write_events
from tests.steps.test_run import go, section


def events_of(draw: np.random.Generator, label: int, count: int = 60) -> Any:
    """Class 0 fires in the left columns, class 1 in the right ones."""
    t = np.sort(draw.integers(0, 8000, count))
    column = np.clip(draw.integers(0, 3, count) + 2 * label, 0, SENSOR[1] - 1)
    return np.stack([t, draw.integers(0, SENSOR[0], count), column, draw.integers(0, 2, count)], 1)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    draw = np.random.default_rng(0)
    splits = {name: [events_of(draw, k % 2) for k in range(n)] for name, n in (("train", 40), ("test", 16))}
    write_events(tmp_path / "events.npz", splits)
    transform = Transform(binning=TimeBins(bin_s=1e-3, steps=8))
    canonicalise(tmp_path / "events.npz", tmp_path / "data", "events", transform, None, ZipLimits())
    values = {"tau": [1e-3] * 8, "r": [10.0] * 8, "v_leak": [0.0] * 8, "v_threshold": [1.0] * 8}
    nodes = {
        "input": make_node("input", "Input", {"shape": [2, *SENSOR]}),
        "flat": make_node("flat", "Flatten", {"start_dim": 0, "end_dim": -1}),
        "fc": make_node("fc", "Linear", {"weight": draw.normal(size=(8, 60)) * 0.3}),
        "lif": make_node("lif", "LIF", values),
        "fc2": make_node("fc2", "Linear", {"weight": draw.normal(size=(2, 8)) * 0.5}),
        "out": make_node("out", "LIF", {name: value[:2] for name, value in values.items()}),
        "output": make_node("output", "Output", {"shape": [2]}),
    }
    write_canonical(Graph(nodes, tuple(pairwise(nodes))), tmp_path / "model")
    return Inputs(tmp_path / "model", tmp_path / "data")


def test_a_streamed_job_is_the_same_job(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = go(inputs, tmp_path / "held", gates={"max_mean_weight_bits": 4})
    monkeypatch.setattr(loading, "IN_MEMORY_BYTES", 0)
    streamed = go(inputs, tmp_path / "streamed", gates={"max_mean_weight_bits": 4})
    assert (held.report.data.streamed, streamed.report.data.streamed) == (False, True)
    curves = [section(one, "finetune").quantized.epochs for one in (held, streamed)]
    told = [[epoch.model_dump(exclude={"seconds"}) for epoch in curve] for curve in curves]
    assert told[0] == told[1]
    assert told[0]
    for name in ("payload.bin", "manifest.json"):
        one, other = ((tmp_path / where / "program" / name).read_bytes() for where in ("held", "streamed"))
        assert one == other, name
    assert section(held, "integerize").mismatched_spikes == section(streamed, "integerize").mismatched_spikes == 0
