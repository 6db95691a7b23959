"""Reports that no engine made: every field filled in by hand."""

from __future__ import annotations

from typing import Any

import pytest

from engine.report.statistics import RATE_EDGES, accuracy_of
from engine.specs.dynamics import PRESETS
from engine.specs.job import Job
from engine.specs.report import Report
from engine.specs.steps import EvaluateStep

LAYERS = ("fc1", "fc2", "readout <b>$x$</b>")

TRACES = {
    "samples": 4,
    "layers": [
        {"layer": "lif1", "compared": 5120, "differing": 0, "first_step": None},
        {"layer": "lif2", "compared": 5120, "differing": 3, "first_step": 6},
    ],
    "first_difference": {
        "sample": 11, "sample_row": 1, "layer": "lif2", "step": 6, "neuron": 40, "expected": 1, "got": 0,
    },
}  # fmt: skip


def activity(layer: str, rate: float, dead: int) -> dict[str, Any]:
    histogram = [dead, *([3] * (len(RATE_EDGES) - 2))]
    return {
        "layer": layer,
        "neurons": 128,
        "firing_rate": rate,
        "rate_histogram": histogram,
        "rate_edges": RATE_EDGES[:-1],
        "dead": dead,
        "saturated": 1,
    }


def evaluated(of: str, correct: int, scale: float, agreement: Any = None) -> dict[str, Any]:
    return {
        "kind": "evaluate",
        "of": of,
        "accuracy": accuracy_of(correct, 450),
        "confusion": [[140, 8, 2], [5, 145, 0], [3, 0, 147]],
        "agreement": agreement,
        "traces": None if agreement is None else TRACES,
        "layers": [activity(f"lif{n}", scale * 0.1 * n, n - 1 if scale == 1 else n) for n in (1, 2, 3)],
        "operations": [
            {
                "connection": name,
                "source": "input",
                "target": f"lif{n}",
                "synapses": 900,
                "per_sample": scale * 50.0 * n,
            }
            for n, name in enumerate(LAYERS, start=1)
        ],
        "operations_per_sample": scale * 300.0,
        "seconds": 0.5,
    }


def sensitivity() -> dict[str, Any]:
    layers = [
        {
            "layer": name,
            "parameters": size,
            "trace": trace,
            "standard_error": trace * 0.04,
            "probes": 40,
            "converged": converged,
            "trace_per_parameter": trace / size,
            "widths": [
                {
                    "bits": b,
                    "predicted": trace / 4**b,
                    "measured": trace / 4**b * 1.1,
                    "accuracy": 0.9375 - 1 / 4**b,
                    "accuracy_error": 0.25 / 4**b,
                    "squared_distance": 1 / 4**b,
                }
                for b in (2, 3, 4, 8)
            ],
        }
        for name, size, trace, converged in zip(
            LAYERS, (8192, 16384, 1280), (812.0, 96.5, 7.25), (True, False, True), strict=True
        )
    ]
    return {
        "kind": "sensitivity",
        "quantity": "ggn",
        "loss": "cross_entropy",
        "logit_scale": 1.0,
        "surrogate_kind": "arctan",
        "surrogate_slope": 6.0,
        "reset_gradient": "through",
        "samples": 512,
        "seed": 0,
        "baseline_loss": 0.0123,
        "baseline_accuracy": 0.9375,
        "layers": layers,
        "rank_correlation": 0.95,
        "by_trace": {
            "rank_correlation": 0.95,
            "calibration": 0.91,
            "within_ten": 0.75,
            "pairs": 9,
            "clear_pairs": 8,
        },
        "trivial_rank_correlation": 0.4,
        "statement": "The prediction ranks the layers of this network as the measurement does.",
        "seconds": 3.0,
    }


def allocate() -> dict[str, Any]:
    front = [
        {
            "bits": dict.fromkeys(LAYERS, width),
            "mean_weight_bits": float(width),
            "weight_bytes": 25856 * width // 8,
            "program_bytes": 25856 * width // 8 + 2000,
            "predicted_loss": 1.5 / 4**width,
        }
        for width in (2, 3, 4, 5, 6, 8)
    ]
    return {
        "kind": "allocate",
        "plan": {"weights": {name: {"bits": width} for name, width in zip(LAYERS, (5, 3, 8), strict=True)}},
        "source": "solver",
        "predictor": "trace",
        "caution": "The trace does not rank the roundings of this network.",
        "mean_weight_bits": 3.88,
        "predicted_loss": 0.004,
        "budget_mean_weight_bits": 4.0,
        "budget_program_bytes": None,
        "front": front,
        "solver": "scipy HiGHS",
        "seconds": 0.1,
    }


def curve(start: float, epochs: int) -> dict[str, Any]:
    rows = [
        {
            "epoch": n,
            "train_loss": 0.5 / n,
            "validation_loss": 0.6 / n,
            "validation_accuracy": min(0.99, start + 0.01 * n),
            "learning_rate": 0.002,
            "seconds": 0.5,
        }
        for n in range(1, epochs + 1)
    ]
    return {"epochs": rows, "best_epoch": epochs - 1, "stopped": "schedule", "validation_samples": 202}


def ptq() -> dict[str, Any]:
    return {
        "kind": "ptq",
        "calibration": "second_order",
        "samples": 256,
        "plain": ["readout <b>$x$</b>"],
        "agreement": 0.95,
        "agreement_before": 0.5,
        "seconds": 2.0,
    }


def sweep() -> dict[str, Any]:
    return {
        "kind": "sweep",
        "points": [
            {
                "name": f"ptq at {bits} bits",
                "recipe": "ptq",
                "budget_mean_weight_bits": bits,
                "bits": dict.fromkeys(LAYERS, bits),
                "mean_weight_bits": bits,
                "program_bytes": 3200 * bits,
                "reduction": 1 - 3200 * bits / 103424,
                "state_bytes": 532,
                "validation": accuracy_of(right, 202),
                "operations_per_sample": 5000.5,
                "dominated": bits == 6,
            }
            for bits, right in ((3, 195), (4, 200), (6, 199))
        ],
        "infeasible": {"ptq at 1 bits": "1 mean weight bits: the least is 2"},
        "within_points": 0.2,
        "chosen": "ptq at 4 bits",
        "kept": True,
        "float_validation": accuracy_of(200, 202),
        "drop_points": 0.0,
        "drop_interval": {"low": -1.5, "high": 1.5, "method": "Agresti-Min, paired"},
        "sample_points": 100 / 202,
        "decidable": False,
        "seconds": 30.0,
    }


def finetune() -> dict[str, Any]:
    return {
        "kind": "finetune",
        "quantized": curve(0.90, 10),
        "control": curve(0.95, 10),
        "control_accuracy": accuracy_of(438, 450),
        "resumed_from_epoch": 3,
        "seconds": 10.0,
    }


def integerize() -> dict[str, Any]:
    return {
        "kind": "integerize",
        "program_digest": "ab" * 32,
        "program_bytes": 14000,
        "float_bytes": 103424,
        "reduction": 1 - 14000 / 103424,
        "mean_weight_bits": 3.88,
        "state_bytes": 532,
        "layers": [
            {
                "layer": name,
                "bits": width,
                "weights": 1000,
                "bytes": 125 * width,
                "multiplications": False,
                "accumulator_bound": 4000,
            }
            for name, width in zip(LAYERS, (5, 3, 8), strict=True)
        ],
        "mismatched_spikes": 0,
        "compared_spikes": 2872800,
        "clamped_inputs": 0,
        "saturations": {"lif1": 12},
        "multiplications": ["leak of lif1: one 12-bit multiplication per neuron and step"],
        "golden_samples": 16,
        "seconds": 1.0,
    }


def report(sections: list[dict[str, Any]], **fields: Any) -> Report:
    base = {
        "job": Job(steps=(EvaluateStep(),)),
        "network": {
            "dynamics": PRESETS["nir-paper"],
            "input_shape": (64,),
            "outputs": 10,
            "parameters": 25856,
            "float_bytes": 103424,
            "weight_layers": tuple(zip(LAYERS, (8192, 16384, 1280), strict=True)),
            "neuron_layers": (("lif1", 128), ("lif2", 128), ("lif3", 10)),
            "delayed_edges": (),
        },
        "data": {
            "train": 1145,
            "validation": 202,
            "test": 450,
            "steps": 24,
            "sample_shape": (64,),
            "classes": ("a", "b", "c"),
            "validation_source": "stratified from train",
        },
        "environment": {
            "engine_version": "0.1.0",
            "torch_version": "2.13.0",
            "device": "cpu",
            "threads": 2,
            "cpu_capability": "AVX512",
        },
        "sections": sections,
        "seconds": 42.0,
    }
    return Report.model_validate(base | fields)


@pytest.fixture
def whole() -> Report:
    """A report of the whole main job."""
    comparison = {
        "float_accuracy": accuracy_of(437, 450),
        "program_accuracy": accuracy_of(433, 450),
        "drop_points": 0.89,
        "drop_interval": {"low": -0.5, "high": 2.3, "method": "Agresti-Min, paired"},
        "firing_distance": {"lif1": 0.012, "lif2": 0.03, "lif3": 0.004},
        "newly_dead": {"lif1": 1, "lif2": 0, "lif3": 0},
    }
    gates = [
        {"gate": "max_accuracy_drop_points", "bound": 0.5, "value": 0.89, "passed": False},
        {"gate": "max_program_bytes", "bound": 20000, "value": 14000, "passed": True},
    ]
    agreement = {
        "rows_equal": 449,
        "rows_total": 450,
        "first_difference": {"sample": 3, "output": 1, "expected": 4, "got": 5},
    }
    parts = [
        evaluated("network", 437, 1, agreement),
        sensitivity(),
        allocate(),
        ptq(),
        finetune(),
        sweep(),
        integerize(),
        evaluated("program", 433, 0.9),
    ]
    notes = ["The network <script>alert(1)</script> was | measured."]
    return report(parts, comparison=comparison, gates=gates, verdict="fail", notes=notes)


@pytest.fixture
def evaluate_only() -> Report:
    """A report of ``evaluate`` alone."""
    return report([evaluated("network", 437, 1)])


@pytest.fixture
def sensitivity_only() -> Report:
    """A report of ``sensitivity``."""
    return report([evaluated("network", 437, 1), sensitivity()])
