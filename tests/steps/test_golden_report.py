"""The recipe ``hessian-mixed`` on a small synthetic network gives the committed report.

Structure, counts, sizes and the plan exactly; what a processor may round otherwise within a tolerance.
``SPIKEBIT_UPDATE_GOLDEN=1`` rewrites the file; look at the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.run import Inputs
from tests.steps.small_job import go
from tests.steps.test_run import inputs as inputs  # the fixture: a recurrent network and four easy classes

GOLDEN = Path(__file__).parent / "golden" / "hessian-mixed.json"
OPTIONS = {"sensitivity": {"max_probes": 8, "max_samples": 32}, "finetune": {"epochs": 2, "batch_size": 16}}
TOLERANCE = 0.02  # relative, of curvature and predicted losses


def structure(value: Any) -> Any:
    """Keys and types; of a list the shape of its first item."""
    if isinstance(value, dict):
        return {key: structure(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [structure(value[0])] if value else []
    return {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}[type(value)]


def of(report: dict[str, Any]) -> dict[str, Any]:
    """What is compared."""
    sections = {section["kind"] + section.get("of", ""): section for section in report["sections"]}
    allocate, program = sections["allocate"], sections["integerize"]
    return {
        "structure": {name: structure(section) for name, section in sections.items()}
        | {"top": structure({name: inner for name, inner in report.items() if name != "sections"})},
        "exact": {
            "order": [section["kind"] for section in report["sections"]],
            "float_correct": sections["evaluatenetwork"]["accuracy"]["correct"],
            "plan": {name: layer["bits"] for name, layer in allocate["plan"]["weights"].items()},
            "mean_weight_bits": round(program["mean_weight_bits"], 6),
            "float_bytes": program["float_bytes"],
            "weight_bytes": [layer["bytes"] for layer in program["layers"]],
            "mismatched_spikes": program["mismatched_spikes"],
            "compared_spikes": program["compared_spikes"],
            "epochs": len(sections["finetune"]["quantized"]["epochs"]),
            "bases": sorted({part["basis"] for part in report["sections"] if "basis" in part}),
        },
        "close": {layer["layer"]: layer["trace"] for layer in sections["sensitivity"]["layers"]}
        | {"baseline_loss": sections["sensitivity"]["baseline_loss"]},
    }


def test_the_report_is_the_reviewed_one(inputs: Inputs, tmp_path: Path) -> None:
    outcome = go(inputs, tmp_path, options=OPTIONS, gates={"max_accuracy_drop_points": 100})
    found = of(json.loads(outcome.report.model_dump_json()))
    if os.environ.get("SPIKEBIT_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert found["structure"] == golden["structure"]
    assert found["exact"] == golden["exact"]
    assert found["close"] == pytest.approx(golden["close"], rel=TOLERANCE)
