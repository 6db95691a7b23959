"""The engine's one entry: a resolved job and canonical files in, a report and artifacts out.

Never learns of HTTP, Celery, SQL or what a job id is; runs in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.batches import Dataset
from engine.data.counts import read_counts
from engine.data.load import load
from engine.data.traces import read_traces
from engine.errors import InvalidDataset, InvalidSpec
from engine.kernels import native
from engine.kernels.memory import keep_memory
from engine.network.canonical import read_canonical
from engine.network.choose_dynamics import choose_dynamics
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.model import Network
from engine.network.own_labels import with_own_labels
from engine.network.shapes import infer_shapes
from engine.network.summary import target_facts
from engine.program.inputs import input_range
from engine.program.programmable import programmable_network
from engine.program.rounding import check_programmable
from engine.report.assemble import assemble
from engine.specs.job import Job
from engine.specs.recipes import needs_labels
from engine.specs.report import DynamicsChoice, Environment, Report
from engine.specs.target_check import network_violations
from engine.specs.targets import TARGETS, told
from engine.steps.checkpoint import load_checkpoint, restore
from engine.steps.context import ArtifactFile, Context, Events, Work
from engine.steps.registry import HANDLERS
from engine.version import ENGINE_VERSION

ValidationSource = Literal["given", "stratified from train", "none"]
THREADED_OPS = 2_000_000  # multiply-adds per sample and step from which a second thread pays


@dataclass(frozen=True)
class Inputs:
    """Canonical files on the local disk."""

    model: Path
    dataset: Path
    expected_counts: Path | None = None
    expected_traces: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """The report and every file below the output folder that is to be published."""

    report: Report
    artifacts: tuple[ArtifactFile, ...]
    verdict: Literal["pass", "fail", "none"]


def run(job: Job, inputs: Inputs, out: Path, events: Events, resume: Path | None = None) -> Outcome:
    """Run all steps of a job.

    Args:
        job: resolved, with the model's dynamics in it.
        inputs: canonical model and dataset.
        out: empty folder for results.
        events: progress, log and checkpoints.
        resume: the last checkpoint of an earlier attempt; the result is the same as without the interruption.

    Raises:
        EngineError: the job cannot be carried out; code and detail are for the user.
    """
    try:
        return _run(job, inputs, out, events, resume)
    finally:
        torch.set_flush_denormal(False)  # a mode of the processor: the caller's floats are not ours to change


def _run(job: Job, inputs: Inputs, out: Path, events: Events, resume: Path | None) -> Outcome:
    began = time.perf_counter()
    graph = read_canonical(inputs.model)
    job, choice = _choose(job, graph, inputs, events)
    if job.dynamics is None:
        raise InvalidSpec("invalid_dynamics", "the job names no dynamics profile", "/dynamics")
    network = discretise(graph, job.dynamics)
    _check_target(job, network)
    environment = _prepare_process(job, network)
    data, source = _load_data(job, inputs, network)
    _check_input(job, data)
    expected = _expected_counts(inputs, data, network)
    traces = None
    if inputs.expected_traces is not None:
        shapes = {layer.name: layer.shape for layer in network.layers}
        traces = read_traces(inputs.expected_traces, len(data.test), data.steps, shapes)
    saved: Mapping[str, Any] = {} if resume is None else load_checkpoint(resume)
    work = Work(graph=graph, network=network, data=data, validation_source=source, dynamics_choice=choice)
    if saved:
        work = restore(saved, work, out)
        events.log(f"continuing in step {job.steps[work.index].kind!r} from an earlier attempt's checkpoint")
    context = Context(
        job=job,
        out=out,
        events=events,
        device=torch.device(job.device),
        expected_counts=expected,
        expected_traces=traces,
        saved=saved.get("state"),
        saved_step=saved.get("step", -1),
    )
    for index in range(work.index, len(job.steps)):
        step = job.steps[index]
        events.log(f"step {index + 1} of {len(job.steps)}: {step.kind}")
        work = HANDLERS[step.kind](step, replace(work, index=index), context)
    report = assemble(job, work, environment, time.perf_counter() - began)
    from engine.report.write import write_report  # with it matplotlib: no job's start has to wait for that

    artifacts = (*write_report(report, out), *work.artifacts)
    return Outcome(report, artifacts, report.verdict)


def _choose(job: Job, graph: Graph, inputs: Inputs, events: Events) -> tuple[Job, DynamicsChoice | None]:
    """The job with the dynamics that fit best, where it leaves them open."""
    if job.auto is None:
        return job, None
    data = load(inputs.dataset)
    if inputs.expected_counts is None and data.train is not None and not data.train.labelled:
        raise _unlabelled("dynamics auto without expected counts counts correct training samples, which")
    if data.sample_shape != infer_shapes(graph).leaving[graph.input]:
        raise _wrong_shape(infer_shapes(graph).leaving[graph.input], data)
    expected = None if inputs.expected_counts is None else read_counts(inputs.expected_counts, len(data.test))
    keep_memory()
    torch.set_flush_denormal(True)
    dynamics, choice = choose_dynamics(
        graph, data, expected, job.auto, job.seed, lambda done, total, name: events.progress("auto", done, total, name)
    )
    events.log(f"dynamics {choice.chosen} chosen by {choice.criterion} on {choice.samples} samples")
    return job.model_copy(update={"dynamics": dynamics}), choice


def _expected_counts(inputs: Inputs, data: Dataset, network: Network) -> NDArray[np.int64] | None:
    if inputs.expected_counts is None:
        return None
    return read_counts(inputs.expected_counts, len(data.test), network.layer(network.output).decay_v.size)


def _check_target(job: Job, network: Network) -> None:
    """Before any work: the API may not have known the network's facts, or its dynamics."""
    if any(step.kind == "integerize" for step in job.steps):
        check_programmable(programmable_network(network).network)
        found = network_violations(TARGETS[job.target], target_facts(network), job.memory, job.state_bits)
        if found:
            detail = f"the network does not fit target {job.target!r}: {told(found)}"
            raise InvalidSpec("target_violated", detail, "/target")


def _check_input(job: Job, data: Dataset) -> None:
    """The data's values against the target's, as soon as they are known."""
    allowed = TARGETS[job.target].input_range
    if allowed is None or not any(step.kind == "integerize" for step in job.steps):
        return
    low, high = input_range(data)
    if low < allowed[0] or high > allowed[1]:
        detail = (
            f"the data do not fit target {job.target!r}: input_range: found [{low}, {high}], allowed {list(allowed)} "
            "(nearest: shorter time steps, so that a step holds one spike at most)"
        )
        raise InvalidSpec("target_violated", detail, "/target")


def _prepare_process(job: Job, network: Network) -> Environment:
    """Everything global that results depend on, set once and recorded (DESIGN 5, reproducibility)."""
    if job.device == "cuda" and not torch.cuda.is_available():
        raise InvalidSpec("device_unavailable", "device 'cuda' was asked for, this worker has none", "/device")
    weights = sum(c.weight.size for c in network.weighted if c.weight is not None)
    conv = any(c.kind == "conv2d" for c in network.connections)
    if not conv and weights < THREADED_OPS:
        torch.set_num_threads(1)  # small products: a second thread costs more than it brings
    torch.set_flush_denormal(True)  # decaying membranes reach denormals, which halve the speed (QUALITY, traps)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(job.seed)
    return Environment(
        engine_version=ENGINE_VERSION,
        torch_version=torch.__version__,
        device=job.device,
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        neuron_scan=native.status(),
    )


def _load_data(job: Job, inputs: Inputs, network: Network) -> tuple[Dataset, ValidationSource]:
    """The dataset, fitted to the network; with a validation split where a step trains."""
    data = load(inputs.dataset)
    if data.sample_shape != network.input_shape:
        raise _wrong_shape(network.input_shape, data)
    outputs = network.layer(network.output).decay_v.size
    highest = max(int(split.y.max()) for split in (data.test, data.train, data.val) if split is not None)
    if highest >= outputs:
        raise InvalidDataset(
            "labels_out_of_range", f"expected labels from 0 to {outputs - 1}, found {highest}", "y_test"
        )
    if not any(step.kind in ("sensitivity", "ptq", "finetune", "sweep", "integerize") for step in job.steps):
        return data, "none"
    if not data.labelled and (wanting := next((step.kind for step in job.steps if needs_labels(step)), None)):
        raise _unlabelled(f"step {wanting!r} of this job (finetune: unless distillation is 1)")
    source = data.validation_source
    data = data.with_validation(job.seed)
    return (data, source) if data.labelled else (with_own_labels(network, data, job.device), source)


def _unlabelled(what: str) -> InvalidDataset:
    detail = f"{what} needs labels of training samples: expected the array y_train, found none"
    return InvalidDataset("unlabelled", detail, "y_train")


def _wrong_shape(wanted: tuple[int, ...], data: Dataset) -> InvalidDataset:
    detail = f"expected samples of shape {wanted} per time step (the model's input), found {data.sample_shape}"
    return InvalidDataset("sample_shape_mismatch", detail, "x_test")
