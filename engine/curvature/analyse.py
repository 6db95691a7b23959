"""The ``sensitivity`` step: traces, predicted and measured cost of every width, and whether the prediction holds."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.curvature.estimator import LayerTrace, Progress, StopRule
from engine.curvature.objective import Objective
from engine.curvature.output_losses import OUTPUT_LOSSES
from engine.curvature.ranking import judge_prediction
from engine.curvature.registry import estimator
from engine.curvature.rounding_cost import measured_increase, predicted_increase, rounded
from engine.data.rows import Rows
from engine.errors import InvalidSpec
from engine.network.model import Network
from engine.specs.report import LayerSensitivity, SensitivitySection, WidthLoss
from engine.specs.steps import SensitivityStep
from engine.training.loss import choose_logit_scale

MEASURED_LAYERS = 20  # of `measure: auto`: up to here it takes seconds (QUALITY finding 4)
SATURATED = (
    " The outputs are saturated at this logit scale (almost every probability is 0 or 1), where the loss hardly bends: "
    "give a smaller logit_scale, or null to have it chosen."
)


def analyse(
    network: Network,
    x: NDArray[np.generic] | Rows,
    y: NDArray[np.integer],
    spec: SensitivityStep,
    *,
    seed: int,
    events: Progress,
    device: str = "cpu",
) -> SensitivitySection:
    """Curvature of the mean training loss along every weight layer, and what rounding the layer costs.

    Args:
        network: the float network.
        x: frames of the training split ``[sample, time, *input_shape]``; never the test split.
        y: its labels ``[sample]``.
        spec: loss, surrogate, stopping rule, widths, whether to measure.
        seed: draws the samples (``max_samples`` of them, in their order) and the probes.
        events: progress; may raise to interrupt.
        device: where the network runs.

    Returns:
        The section of the report.

    Raises:
        InvalidSpec: ``invalid_step`` for a network without weights, no samples, gradients that overflow, or a logit
            scale that is to be chosen for another loss than cross-entropy.
    """
    start = time.perf_counter()
    if not network.weighted or len(x) == 0:
        raise InvalidSpec(
            "invalid_step", f"sensitivity: expected weight layers and samples, got {len(network.weighted)} and {len(x)}"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = np.sort(torch.randperm(len(x), generator=generator)[: spec.max_samples].numpy())
    loss = OUTPUT_LOSSES[spec.loss]
    objective = Objective(network, x[chosen], y[chosen], loss(1.0), spec.surrogate, spec.reset_gradient, device)
    counts = objective.counts()
    scale = _logit_scale(spec, counts, objective.labels)
    objective = replace(objective, loss=loss(scale))
    stop = StopRule(spec.relative_error, spec.min_probes, spec.max_probes, spec.max_seconds)
    traces = estimator(spec.quantity)(objective, stop, generator, events)
    baseline = objective.loss.values(counts, objective.labels)
    layers = _layers(objective, traces, spec, baseline, events)
    correlation, trivial, statement = judge_prediction(layers)
    return SensitivitySection(
        quantity=spec.quantity,
        loss=spec.loss,
        logit_scale=scale,
        surrogate_kind=spec.surrogate.kind,
        surrogate_slope=spec.surrogate.slope,
        reset_gradient=spec.reset_gradient,
        samples=objective.samples,
        seed=seed,
        baseline_loss=float(baseline.mean()),
        layers=layers,
        rank_correlation=correlation,
        trivial_rank_correlation=trivial,
        statement=f"{statement}{SATURATED}" if objective.loss.saturated(counts) else statement,
        seconds=time.perf_counter() - start,
    )


def _logit_scale(spec: SensitivityStep, counts: Tensor, labels: Tensor) -> float:
    if spec.logit_scale is not None:
        return spec.logit_scale
    if spec.loss != "cross_entropy":
        raise InvalidSpec(
            "invalid_step", f"sensitivity: loss {spec.loss!r} needs a logit_scale, it is chosen for cross_entropy only"
        )
    return choose_logit_scale(counts, labels)


def _layers(
    objective: Objective, traces: tuple[LayerTrace, ...], spec: SensitivityStep, baseline: Tensor, events: Progress
) -> tuple[LayerSensitivity, ...]:
    weights = objective.weights(requires_grad=False)
    widths = tuple(sorted(set(spec.widths)))
    measure = spec.measure == "on" or (spec.measure == "auto" and len(weights) <= MEASURED_LAYERS)
    layers: list[LayerSensitivity] = []
    for trace in traces:
        weight = weights[trace.layer]
        cells = []
        for bits in widths:
            cells.append(_width(objective, trace, weight, bits, spec, baseline if measure else None))
            if measure:
                done = len(layers) * len(widths) + len(cells)
                events.progress("measure", done, len(traces) * len(widths), f"{trace.layer} at {bits} bits")
        layers.append(
            LayerSensitivity(
                layer=trace.layer,
                parameters=weight.numel(),
                trace=trace.trace,
                standard_error=trace.standard_error,
                probes=trace.probes,
                converged=trace.converged,
                exact=trace.exact,
                trace_per_parameter=trace.trace / weight.numel(),
                widths=tuple(cells),
            )
        )
    return tuple(layers)


def _width(
    objective: Objective, trace: LayerTrace, weight: Tensor, bits: int, spec: SensitivityStep, baseline: Tensor | None
) -> WidthLoss:
    narrow = rounded(weight, bits, spec.granularity)
    distance = float((narrow - weight).square().sum())
    measured = error = None
    if baseline is not None:
        measured, error = measured_increase(objective, trace.layer, narrow, baseline)
    return WidthLoss(
        bits=bits,
        predicted=predicted_increase(trace.trace, weight.numel(), distance),
        measured=measured,
        measured_error=error,
        squared_distance=distance,
    )
