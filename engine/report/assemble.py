"""From the sections of a finished run to the report: summaries, comparison, gates, verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from engine.network.model import Network
from engine.report.statistics import accuracy_of, paired_drop, wasserstein
from engine.specs.data import Transform
from engine.specs.evaluated import EvaluateSection
from engine.specs.job import Gates, Job
from engine.specs.programmed import ProgramSection
from engine.specs.report import Comparison, DataSummary, Environment, GateResult, NetworkSummary, Report
from engine.steps.context import Measured, Work


def assemble(job: Job, work: Work, environment: Environment, seconds: float) -> Report:
    """The whole document of a finished job."""
    comparison = None
    if {"network", "program"} <= work.measured.keys():
        comparison = compare_networks(work.measured["network"], work.measured["program"])
    gates = judge(job.gates, work, comparison)
    verdict: Literal["pass", "fail", "none"] = "none"
    if gates:
        verdict = "pass" if all(gate.passed for gate in gates) else "fail"
    return Report(
        job=job,
        network=summarise_network(work.network),
        dynamics_choice=work.dynamics_choice,
        data=_summarise_data(work),
        environment=environment,
        sections=work.sections,
        comparison=comparison,
        gates=gates,
        verdict=verdict,
        notes=tuple(f"repaired on request: {repair}" for repair in work.graph.repairs),
        seconds=seconds,
    )


def compare_networks(before: Measured, after: Measured) -> Comparison:
    """Program against float network on the same test samples."""
    drop, interval = paired_drop(before.right, after.right)
    return Comparison(
        float_accuracy=accuracy_of(int(before.right.sum()), len(before.right)),
        program_accuracy=accuracy_of(int(after.right.sum()), len(after.right)),
        drop_points=drop,
        drop_interval=interval,
        firing_distance={name: wasserstein(rates, after.rates[name]) for name, rates in before.rates.items()},
        newly_dead={name: int(np.sum((rates > 0) & (after.rates[name] == 0))) for name, rates in before.rates.items()},
    )


def judge(gates: Gates, work: Work, comparison: Comparison | None) -> tuple[GateResult, ...]:
    """Every gate that the user set, against the number it bounds."""
    program = next((s for s in reversed(work.sections) if isinstance(s, ProgramSection)), None)
    last = next((s for s in reversed(work.sections) if isinstance(s, EvaluateSection)), None)
    most: Callable[[float, float], bool] = lambda value, bound: value <= bound + 1e-9  # noqa: E731
    least: Callable[[float, float], bool] = lambda value, bound: value >= bound - 1e-9  # noqa: E731
    numbers: dict[str, tuple[float | None, Callable[[float, float], bool]]] = {
        "max_accuracy_drop_points": (None if comparison is None else comparison.drop_points, most),
        "min_accuracy": (None if last is None else last.accuracy.value, least),
        "max_program_bytes": (None if program is None else float(program.program_bytes), most),
        "max_mean_weight_bits": (None if program is None else program.mean_weight_bits, most),
    }
    results = []
    for gate, (value, holds) in numbers.items():
        bound = getattr(gates, gate)
        if bound is not None and value is not None:
            results.append(GateResult(gate=gate, bound=bound, value=value, passed=holds(value, bound)))
    return tuple(results)


def summarise_network(network: Network) -> NetworkSummary:
    """The network as the engine understood it."""
    arrays = [a for c in network.connections for a in (c.weight, c.bias) if a is not None]
    parameters = int(sum(a.size for a in arrays))
    return NetworkSummary(
        dynamics=network.dynamics,
        input_shape=network.input_shape,
        outputs=network.layer(network.output).decay_v.size,
        parameters=parameters,
        float_bytes=4 * parameters,
        weight_layers=tuple((c.name, int(c.weight.size)) for c in network.connections if c.weight is not None),
        neuron_layers=tuple((layer.name, int(layer.decay_v.size)) for layer in network.layers),
        delayed_edges=network.delayed_edges,
    )


def _summarise_data(work: Work) -> DataSummary:
    data = work.data
    return DataSummary(
        train=0 if data.train is None else len(data.train),
        validation=0 if data.val is None else len(data.val),
        test=len(data.test),
        steps=data.steps,
        sample_shape=data.sample_shape,
        classes=data.classes,
        validation_source=work.validation_source,
        labels="the float network's own" if data.own_labels else "given",
        format="frames" if data.origin is None else data.origin.format,
        source=None if data.origin is None else data.origin.source,
        transform=None if data.origin is None else Transform.model_validate(data.origin.transform),
        streamed=data.streamed,
    )
