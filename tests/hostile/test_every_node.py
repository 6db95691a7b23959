"""Every node type with a wrong shape, a missing parameter, a value that is none: refused by name, what, and found.

The files are read as uploads are; the real child's time and memory are measured for one bad shape per type.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.network.nodes import NODE_TYPES
from tests.hostile.corpus import MODELS, write_graph
from tests.hostile.test_refused import request, run_child
from worker.intake_checks import check_upload

ONE = np.ones(2)
LEAK = {"tau": ONE, "r": ONE, "v_leak": ONE}
CURRENT = {"tau_syn": ONE, "tau_mem": ONE, "r": ONE, "v_leak": ONE}
IMAGE, LINE = (2, 4, 4), (2, 6)

# type → (good parameters, shape that enters, shape that leaves)
GOOD: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "Linear": ({"weight": np.ones((3, 2))}, (2,), (3,)),
    "Affine": ({"weight": np.ones((3, 2)), "bias": np.ones(3)}, (2,), (3,)),
    "Scale": ({"scale": ONE}, (2,), (2,)),
    "Conv1d": ({"weight": np.ones((3, 2, 3)), "bias": np.ones(3)}, LINE, (3, 4)),
    "Conv2d": ({"weight": np.ones((3, 2, 3, 3)), "bias": np.ones(3)}, IMAGE, (3, 2, 2)),
    "SumPool2d": ({"kernel_size": np.array([2, 2])}, IMAGE, (2, 2, 2)),
    "AvgPool2d": ({"kernel_size": np.array([2, 2])}, IMAGE, (2, 2, 2)),
    "Flatten": ({"start_dim": 0, "end_dim": -1}, IMAGE, (32,)),
    "Delay": ({"delay": ONE}, (2,), (2,)),
    "IF": ({"r": ONE, "v_threshold": ONE}, (2,), (2,)),
    "LIF": (LEAK | {"v_threshold": ONE}, (2,), (2,)),
    "CubaLIF": (CURRENT | {"v_threshold": ONE}, (2,), (2,)),
    "I": ({"r": ONE}, (2,), (2,)),
    "LI": (LEAK, (2,), (2,)),
    "CubaLI": (CURRENT, (2,), (2,)),
    "Threshold": ({"threshold": ONE}, (2,), (2,)),
}


def write(path: Path, kind: str, values: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...]) -> None:
    nodes = {
        "input": {"type": "Input", "shape": np.array(before)},
        "node": {"type": kind, **values},
        "output": {"type": "Output", "shape": np.array(after)},
    }
    write_graph(path, nodes, tuple(pairwise(nodes)))


def answer_to(path: Path) -> dict[str, Any]:
    return check_upload(request("model", path) | {"dynamics": None})


def test_every_type_is_here() -> None:
    assert set(GOOD) | {"Input", "Output"} == set(NODE_TYPES)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_good_node_is_taken(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "upload", kind, *GOOD[kind])
    assert answer_to(tmp_path / "upload")["ok"]


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_wrong_shape_is_refused_quickly_in_little_memory(kind: str, tmp_path: Path) -> None:
    values, before, after = GOOD[kind]
    write(tmp_path / "upload", kind, values, (*before[:-1], 1, 1) if kind == "Flatten" else (5, *before[1:]), after)
    answer, seconds, peak = run_child(request("model", tmp_path / "upload"))
    named = "node 'output' (Output)" if kind in ("Flatten", "SumPool2d", "AvgPool2d") else f"node 'node' ({kind})"
    assert answer["code"] == "shape_conflict", answer
    assert named in answer["detail"]
    assert "expected shape (" in answer["detail"]
    assert "found (" in answer["detail"]
    assert seconds < 1.0
    assert peak < 256 << 20  # an idle interpreter with h5py takes about 60 MiB


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in sorted(GOOD) for field in GOOD[kind][0] if field not in ("start_dim", "end_dim")],
)
def test_missing_ragged_and_non_finite_parameters(kind: str, field: str, tmp_path: Path) -> None:
    values, before, after = GOOD[kind]
    optional = kind in ("Conv1d", "Conv2d") and field == "bias"
    write(tmp_path / "upload", kind, {key: value for key, value in values.items() if key != field}, before, after)
    answer = answer_to(tmp_path / "upload")
    assert answer["ok"] is optional
    if not optional:
        assert answer["code"] == "missing_parameter"
        assert f"node 'node' ({kind}) lacks the parameter '{field}'" in answer["detail"]
    broken = np.array(values[field], dtype=np.float64)
    broken.flat[0] = np.nan
    write(tmp_path / "upload", kind, values | {field: broken}, before, after)
    answer = answer_to(tmp_path / "upload")
    assert answer["code"] in ("non_finite_weights", "invalid_parameter")
    assert f"node 'node' ({kind}), parameter '{field}'" in answer["detail"]
    write(tmp_path / "upload", kind, values | {field: np.ones((1,) * 8 + (3,))}, before, after)
    answer = answer_to(tmp_path / "upload")
    assert answer["code"] in ("shape_conflict", "invalid_parameter")
    assert f"parameter '{field}'" in answer["detail"]


@pytest.mark.parametrize("field", ["tau", "tau_syn", "tau_mem", "v_threshold", "threshold"])
@pytest.mark.parametrize("value", [-1e-3, 0.0])
def test_time_constants_and_thresholds_are_above_0(field: str, value: float, tmp_path: Path) -> None:
    for kind, (values, before, after) in GOOD.items():
        if field in values:
            write(tmp_path / "upload", kind, values | {field: np.array([1.0, value])}, before, after)
            answer = answer_to(tmp_path / "upload")
            assert answer["code"] == "invalid_parameter"
            assert f"node 'node' ({kind}), parameter '{field}': expected numbers above 0, found" in answer["detail"]


def billions(path: Path) -> None:
    """One number for all neurons, of which the Input declares 10^9."""
    write(path, "IF", {"r": 1.0, "v_threshold": 1.0}, (1000, 1000, 1000), (1000, 1000, 1000))


def millions(path: Path) -> None:
    """As many neurons as fit, so that the arrays themselves would be what is large."""
    write(path, "LIF", {"tau": 1.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0}, (1 << 24,), (1 << 24,))


@pytest.mark.parametrize("build", [billions, millions])
def test_neurons_that_are_only_declared_cost_nothing(build: Any, tmp_path: Path) -> None:
    MODELS["text"][0](tmp_path / "idle")
    _, _, idle_bytes = run_child(request("model", tmp_path / "idle"))
    build(tmp_path / "upload")
    answer, seconds, peak = run_child(request("model", tmp_path / "upload"))
    assert answer["code"] == "too_large"
    assert "node 'node'" in answer["detail"]
    assert seconds < 1.0
    assert peak - idle_bytes < 200 << 20
