"""``evaluate``: run the test split, count, and compare with what the user expects."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import Split
from engine.data.counts import write_counts
from engine.errors import ExpectationMissed, InvalidSpec
from engine.network.compare_traces import compare_traces
from engine.network.measure import Activity, measure
from engine.network.operations import synaptic_operations
from engine.network.prepare import prepare
from engine.network.simulate import Prepared
from engine.program.inputs import encoded
from engine.program.runners import measure_program
from engine.program.simulate import prepare_program
from engine.report.statistics import accuracy_of, activity_of
from engine.specs.evaluated import Accuracy, Agreement, EvaluateSection, FirstDifference
from engine.specs.programmed import ProgramSection
from engine.specs.steps import EvaluateStep
from engine.steps.context import ArtifactFile, Context, Measured, Work

EXPECT_TOLERANCE = 0.0005  # an accuracy is stated with three decimals; half of the last one is rounding


def evaluate_step(spec: EvaluateStep, work: Work, context: Context) -> Work:
    """Measure the float network or the program on the test split.

    Raises:
        ExpectationMissed: the float network misses the accuracy that the user stated.
        InvalidDataset: the expected counts do not fit.
    """
    began = time.perf_counter()
    test = _clamped(spec, work)
    prepared = _prepared(spec, work, context)

    def progress(done: int, total: int) -> None:
        context.events.progress("evaluate", done, total, spec.of)

    runner, integerized, saturated = None, None, None
    if spec.of == "program" and work.program is not None:
        ran = measure_program(work.program, test, context.device, progress)
        activity, runner = ran.activity, ran.runner
        integerized = next((s for s in reversed(work.sections) if isinstance(s, ProgramSection)), None)
        saturated = ran.saturated
        if saturated is None and integerized is not None:  # counted by the reference on the same samples
            saturated = integerized.saturations
    else:
        activity = measure(prepared, test, progress)
    right = activity.counts.argmax(1) == test.y
    accuracy = accuracy_of(int(right.sum()), len(test))
    if spec.of == "network":
        _check_expectation(context.job.expect, accuracy)
    operations = synaptic_operations(prepared, activity.busy, test.x.shape[1])
    traces = context.expected_traces if spec.of == "network" else None
    path = f"counts-{spec.of}.npz"
    write_counts(context.out / path, _whole(activity))
    section = EvaluateSection(
        of=spec.of,
        runner=runner,
        accuracy=accuracy,
        confusion=_confusion(test.y, activity.counts.argmax(1), activity.counts.shape[1]),
        agreement=_agreement(activity, context) if spec.of == "network" else None,
        traces=None if traces is None else compare_traces(prepared, test, traces),
        layers=tuple(activity_of(name, rates, activity.busy[name]) for name, rates in activity.rates.items()),
        operations=operations,
        operations_per_sample=sum(one.per_sample for one in operations),
        cost=None if integerized is None else integerized.cost,
        saturations=None if saturated is None else {name: times for name, times in saturated.items() if times},
        seconds=time.perf_counter() - began,
    )
    return replace(
        work,
        measured={**work.measured, spec.of: Measured(activity.counts, right, activity.rates)},
        sections=(*work.sections, section),
        artifacts=(*work.artifacts, ArtifactFile(f"counts-{spec.of}", path, "application/octet-stream")),
    )


def _prepared(spec: EvaluateStep, work: Work, context: Context) -> Prepared:
    if spec.of == "network":
        return prepare(work.network, device=context.device)
    if work.program is None:
        raise InvalidSpec("invalid_step", "evaluate of a program needs an earlier step 'integerize'", "/steps")
    return prepare_program(work.program, context.device)


def _clamped(spec: EvaluateStep, work: Work) -> Split:
    """The test split; for a program, in integers and clamped to its input format as every runtime does."""
    test = work.data.test
    if spec.of == "network" or work.program is None:
        return test
    return encoded(test, work.program.input.scale).clamped(work.program.input.lo, work.program.input.hi)


def _check_expectation(expect: float | None, accuracy: Accuracy) -> None:
    if expect is not None and accuracy.value < expect - EXPECT_TOLERANCE:
        raise ExpectationMissed(
            "expectation_missed",
            f"expected an accuracy of at least {expect:.4f} on the test split, found {accuracy.value:.4f} "
            f"({accuracy.correct} of {accuracy.samples}); check the dynamics profile and the data's time step",
            "/expect",
        )


def _agreement(activity: Activity, context: Context) -> Agreement | None:
    """Rows of the expected counts that are met; the first difference in sample order, then output order."""
    expected = context.expected_counts
    if expected is None:
        return None
    differs = activity.counts != expected
    rows = differs.any(1)
    first = None
    if rows.any():
        sample, output = (int(n) for n in np.argwhere(differs)[0])
        got = activity.counts[sample, output]
        first = FirstDifference(sample=sample, output=output, expected=int(expected[sample, output]), got=int(got))
    return Agreement(rows_equal=int((~rows).sum()), rows_total=len(rows), first_difference=first)


def _confusion(labels: NDArray[np.int64], predictions: NDArray[np.int64], outputs: int) -> tuple[tuple[int, ...], ...]:
    table = np.zeros((outputs, outputs), dtype=np.int64)
    np.add.at(table, (labels, predictions), 1)
    return tuple(tuple(int(n) for n in row) for row in table)


def _whole(activity: Activity) -> NDArray[np.int64]:
    """Spike counts as integers; a membrane readout is kept in millionths of its unit."""
    counts = activity.counts
    whole = counts.astype(np.int64)
    return whole if np.array_equal(whole, counts) else np.round(counts * 1e6).astype(np.int64)
