"""The ``sensitivity`` step: traces, predicted and measured cost of every width, and whether the prediction holds."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.curvature.estimator import LayerTrace, Progress, StopRule
from engine.curvature.logit_scale import margin_scale
from engine.curvature.measured_cost import Cost, measured_costs
from engine.curvature.objective import Objective
from engine.curvature.output_losses import OUTPUT_LOSSES
from engine.curvature.peak import peak_bytes
from engine.curvature.ranking import judge_predictions
from engine.curvature.registry import estimator
from engine.curvature.rounding_cost import predicted_increase, quadratic_increases, rounded
from engine.curvature.slope import choose_slope
from engine.data.rows import Rows
from engine.errors import InvalidSpec
from engine.network.model import Network
from engine.specs.planned import LayerSensitivity, SensitivitySection, SlopeCheck, WidthLoss
from engine.specs.steps import SensitivityStep, Surrogate

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

    Derivatives are computed in float32 along float64 trajectories; with a detached reset, where tangents can grow
    beyond float32, in float64.

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
    dtype = torch.float32 if spec.reset_gradient == "through" else torch.float64
    objective, counts, checks = _objective(network, x, y, spec, seed, device, dtype)
    stop = StopRule(spec.relative_error, spec.min_probes, spec.max_probes, spec.max_seconds)
    channels = spec.channels or spec.quantity == "ggn"
    traces = estimator(spec.quantity)(objective, stop, seed, events, dtype, channels=channels)
    layers = _layers(objective, traces, spec, events, dtype)
    section = _section(objective, counts, layers, spec, seed)
    seconds = time.perf_counter() - start
    return section.model_copy(update={"slope_checks": checks, "peak_bytes": peak_bytes(device), "seconds": seconds})


def _section(
    objective: Objective, counts: Tensor, layers: tuple[LayerSensitivity, ...], spec: SensitivityStep, seed: int
) -> SensitivitySection:
    """What was found, and whether the predictions hold; ``counts`` are the outputs ``[sample, output]``."""
    verdict = judge_predictions(layers)
    saturated = objective.loss.saturated(counts)
    return SensitivitySection(
        quantity=spec.quantity,
        loss=spec.loss,
        logit_scale=objective.loss.logit_scale,
        surrogate_kind=objective.surrogate.kind,
        surrogate_slope=objective.surrogate.slope,
        reset_gradient=spec.reset_gradient,
        samples=objective.samples,
        seed=seed,
        baseline_loss=float(objective.loss.values(counts, objective.labels).mean()),
        baseline_accuracy=float((counts.argmax(1) == objective.labels).double().mean()),
        layers=layers,
        rank_correlation=verdict.by_trace.rank_correlation,
        trivial_rank_correlation=verdict.trivial,
        by_trace=verdict.by_trace,
        by_quadratic=verdict.by_quadratic,
        holds=verdict.holds,
        statement=f"{verdict.statement}{SATURATED}" if saturated else verdict.statement,
        seconds=0.0,
    )


def _objective(
    network: Network,
    x: NDArray[np.generic] | Rows,
    y: NDArray[np.integer],
    spec: SensitivityStep,
    seed: int,
    device: str,
    dtype: torch.dtype,
) -> tuple[Objective, Tensor, tuple[SlopeCheck, ...]]:
    """The samples drawn, the logit scale and the surrogate's slope chosen; and the outputs ``[sample, output]``."""
    generator = torch.Generator().manual_seed(seed)
    chosen = np.sort(torch.randperm(len(x), generator=generator)[: spec.max_samples].numpy())
    loss = OUTPUT_LOSSES[spec.loss]
    surrogate = Surrogate() if spec.surrogate is None else spec.surrogate
    objective = Objective(network, x[chosen], y[chosen], loss(1.0), surrogate, spec.reset_gradient, device)
    counts = objective.counts()
    objective = replace(objective, loss=loss(_logit_scale(spec, counts, objective.labels)))
    if spec.surrogate is not None:
        return objective, counts, ()
    slope, checks = choose_slope(objective, spec.granularity, dtype)
    return replace(objective, surrogate=Surrogate(slope=slope)), counts, checks


def _logit_scale(spec: SensitivityStep, counts: Tensor, labels: Tensor) -> float:
    if spec.logit_scale is not None:
        return spec.logit_scale
    if spec.loss != "cross_entropy":
        raise InvalidSpec(
            "invalid_step", f"sensitivity: loss {spec.loss!r} needs a logit_scale, it is chosen for cross_entropy only"
        )
    return margin_scale(counts, labels)


def _layers(
    objective: Objective,
    traces: tuple[LayerTrace, ...],
    spec: SensitivityStep,
    events: Progress,
    dtype: torch.dtype,
) -> tuple[LayerSensitivity, ...]:
    weights = objective.weights(requires_grad=False)
    widths = tuple(sorted(set(spec.widths)))
    narrow = {
        (name, bits): rounded(weight, bits, spec.granularity) for name, weight in weights.items() for bits in widths
    }
    changes = {(name, bits): weight - weights[name] for (name, bits), weight in narrow.items()}
    forms = quadratic_increases(objective, changes, hessian=spec.quantity == "hessian", dtype=dtype)
    measure = spec.measure == "on" or (spec.measure == "auto" and len(weights) <= MEASURED_LAYERS)
    measured: dict[tuple[str, int], Cost] = {}
    if measure:
        measured = measured_costs(
            objective,
            narrow,
            lambda done: events.progress("measure", done, objective.samples, f"{len(narrow)} roundings"),
        )
    return tuple(
        LayerSensitivity(
            layer=trace.layer,
            parameters=weights[trace.layer].numel(),
            trace=trace.trace,
            standard_error=trace.standard_error,
            probes=trace.probes,
            converged=trace.converged,
            exact=trace.exact,
            exact_share=trace.exact_share,
            gauss_newton=trace.gauss_newton,
            trace_per_parameter=trace.trace / weights[trace.layer].numel(),
            channels=trace.channels,
            channel_errors=trace.channel_errors,
            widths=tuple(
                _width(
                    trace, bits, changes[trace.layer, bits], forms[trace.layer, bits], measured.get((trace.layer, bits))
                )
                for bits in widths
            ),
        )
        for trace in traces
    )


def _width(
    trace: LayerTrace,
    bits: int,
    change: Tensor,
    form: tuple[float, float | None],
    measured: Cost | None,
) -> WidthLoss:
    distance = float(change.square().sum())
    predicted = predicted_increase(trace.trace, change.numel(), distance)
    costs = {"by the trace": predicted, "by the quadratic form": form[0]}
    costs |= {"measured": measured.increase} if measured is not None else {}
    for name, cost in costs.items():
        if not math.isfinite(cost):
            raise InvalidSpec(
                "invalid_step",
                f"sensitivity: the loss that {bits} bits of layer {trace.layer!r} cost, {name}, overflows; a smaller "
                "logit_scale, a differentiated reset or weights of usual size keep it finite",
                trace.layer,
            )
    return WidthLoss(
        bits=bits,
        predicted=predicted,
        quadratic=form[0],
        quadratic_error=form[1],
        measured=None if measured is None else measured.increase,
        measured_error=None if measured is None else measured.error,
        accuracy=None if measured is None else measured.accuracy,
        accuracy_error=None if measured is None else measured.accuracy_error,
        squared_distance=distance,
    )
