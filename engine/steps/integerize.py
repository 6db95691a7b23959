"""``integerize``: write, pack and verify the program; the runtime must agree on every spike of the test split."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import runtime
from engine.data.rows import Rows
from engine.errors import EngineError, InvalidSpec
from engine.network.graph import Graph
from engine.network.model import Network
from engine.network.nir_writer import write_nir
from engine.network.simulate import Prepared, run
from engine.program.bounds import multiplications, program_bounds
from engine.program.inputs import integer_side
from engine.program.program import IntegerProgram
from engine.program.quantized import prepare_quantized, start_training, to_program, with_parameters
from engine.program.sizes import float_bytes, mean_weight_bits, state_bytes
from engine.program.write import write_program
from engine.specs.evaluated import EnergyEstimate, ProgramCost
from engine.specs.programmed import ProgramLayer, ProgramSection
from engine.specs.sizes import weight_bytes
from engine.specs.steps import IntegerizeStep
from engine.steps.context import ArtifactFile, Context, Work
from engine.version import ENGINE_VERSION
from runtime.cost import Operations, count_operations
from runtime.energy import estimate_energy

BATCH = 32  # test samples compared at once


@dataclass(frozen=True)
class Agreement:
    """Torch simulation against the runtime, and what the runtime counted."""

    mismatched: int
    compared: int
    clamped: int
    saturated: dict[str, int]
    operations: Operations


def integerize_step(spec: IntegerizeStep, work: Work, context: Context) -> Work:
    """Turn the trained network into ``program/`` and check it on every test sample.

    Raises:
        InvalidSpec: there is no plan.
        NotRepresentable: something does not fit integers; the message names the neuron.
        EngineError: ``program_mismatch``: the two implementations differ (a fault of ours, never published).
    """
    began = time.perf_counter()
    if work.plan is None:
        raise InvalidSpec("invalid_step", "integerize needs an earlier step 'allocate'", "/steps")
    side = integer_side(work.network, work.data, work.plan)
    form, parameters = work.quantized or start_training(side.network, work.plan, side.limits, context.device)
    program = to_program(form, parameters)
    program = replace(program, input=replace(program.input, scale=side.scale))
    test = side.data.test
    provenance = {"engine": ENGINE_VERSION, "torch": torch.__version__, "seed": str(context.job.seed)}
    written = write_program(program, context.out / "program", test.x, provenance, spec.golden_samples)
    agreement = compare(prepare_quantized(form, parameters), program, context, test.x)
    if agreement.mismatched:
        raise EngineError(
            "program_mismatch",
            f"{agreement.mismatched} of {agreement.compared} spikes differ between the simulation and the runtime",
        )
    original = float_bytes(work.network)
    section = ProgramSection(
        program_digest=written.program_digest,
        program_bytes=written.program_bytes,
        float_bytes=original,
        reduction=1.0 - written.program_bytes / original,
        mean_weight_bits=mean_weight_bits(program),
        state_bytes=state_bytes(program),
        layers=_layers(program),
        mismatched_spikes=agreement.mismatched,
        compared_spikes=agreement.compared,
        clamped_inputs=agreement.clamped,
        saturations={name: times for name, times in agreement.saturated.items() if times},
        multiplications=multiplications(program),
        golden_samples=written.golden_samples,
        cost=program_cost(agreement.operations, len(test.x), written.program_bytes + state_bytes(program)),
        seconds=time.perf_counter() - began,
    )
    artifacts = [
        ArtifactFile("program-payload", "program/payload.bin", "application/octet-stream"),
        ArtifactFile("program-manifest", "program/manifest.json", "application/json"),
        ArtifactFile("program-golden", "program/golden.npz", "application/octet-stream"),
    ]
    tuned = None if side.changed else tuned_graph(work.graph, with_parameters(work.network, parameters))
    if tuned is None:
        context.events.log("network.nir is not written: weights of composed or scaled layers have no node of their own")
    else:
        write_nir(tuned, context.out / "network.nir")
        artifacts.append(ArtifactFile("finetuned-model", "network.nir", "application/x-hdf5"))
    return replace(work, program=program, sections=(*work.sections, section), artifacts=(*work.artifacts, *artifacts))


def program_cost(counted: Operations, n: int, memory_bytes: int) -> ProgramCost:
    """What a program costs per sample, from what was counted over ``n`` of them."""
    energy = tuple(
        EnergyEstimate(
            model=one.model,
            source=one.source,
            events_pj=one.events_pj / n,
            dense_pj=None if one.dense_pj is None else one.dense_pj / n,
        )
        for one in estimate_energy(counted, memory_bytes)
    )
    return ProgramCost(
        samples=n,
        synaptic_operations=counted.synaptic / n,
        multiply_adds_dense=counted.dense / n,
        neuron_updates_dense=counted.updates / n,
        neuron_updates_events=counted.needed / n,
        multiplications_events=counted.multiplied / n,
        memory_bytes_events=counted.moved_bits / 8 / n,
        memory_bytes_dense=counted.dense_moved_bits / 8 / n,
        energy=energy,
    )


def compare(prepared: Prepared, program: IntegerProgram, context: Context, x: NDArray[Any] | Rows) -> Agreement:
    """Every layer's spikes at every step of every sample: the training simulation against the runtime.

    Args:
        prepared: what was trained, in evaluation mode: levels, rounding to the nearest.
        program: for its layers and input range; the runtime reads the written folder.
        context: device, folder, progress.
        x: ``[sample, time, ...]``.
    """
    deployed = runtime.read_program(context.out / "program")
    mismatched = compared = clamped = 0
    operations = Operations()
    saturated = {layer.name: 0 for layer in program.layers}
    for start in range(0, len(x), BATCH):
        part = x[start : start + BATCH]
        trace = runtime.run(deployed, part, record=True)
        clamped += trace.clamped
        saturated = {name: times + trace.saturated[name] for name, times in saturated.items()}
        inside = np.clip(np.moveaxis(part, 0, 1), program.input.lo, program.input.hi)
        operations += count_operations(deployed, np.moveaxis(inside, 0, 1).astype(np.int64), trace.spikes)
        with torch.no_grad():
            ours = run(prepared, torch.as_tensor(inside, device=context.device), record="*")
        for name, spikes in ours.spikes.items():
            theirs = np.moveaxis(trace.spikes[name], 0, 1)  # [time, batch, ...]
            mismatched += int((spikes.cpu().numpy() != theirs).sum())
            compared += theirs.size
        mismatched += int((ours.counts.cpu().numpy() != trace.counts).sum())
        context.events.progress("integerize", min(start + BATCH, len(x)), len(x), "comparing with the runtime")
    return Agreement(mismatched, compared, clamped, saturated, operations)


def tuned_graph(graph: Graph, tuned: Network) -> Graph | None:
    """The uploaded graph with the fine-tuned weights, biases and thresholds in its nodes.

    None where a connection is composed of several nodes and so has no node of its own.
    """
    nodes = dict(graph.nodes)
    if any(c.weight is not None and c.name not in nodes for c in tuned.connections):
        return None
    for connection in tuned.connections:
        for field, value in (("weight", connection.weight), ("bias", connection.bias)):
            if value is not None:
                nodes[connection.name] = replace(nodes[connection.name], **{field: value})
    for layer in tuned.layers:
        if layer.threshold is not None:
            field = "threshold" if layer.kind == "threshold" else "v_threshold"
            nodes[layer.name] = replace(nodes[layer.name], **{field: layer.threshold})
    return Graph(nodes, graph.edges)


def _layers(program: IntegerProgram) -> tuple[ProgramLayer, ...]:
    bounds = {bound.name: bound for bound in program_bounds(program).connections}
    return tuple(
        ProgramLayer(
            layer=c.name,
            bits=c.bits,
            weights=c.weight.size,
            bytes=weight_bytes(c.weight.size, c.bits),
            multiplications=bounds[c.name].values[0] < 0 or bounds[c.name].values[1] > 1,
            accumulator_bound=bounds[c.name].accumulator,
        )
        for c in program.connections
        if c.weight is not None
    )
