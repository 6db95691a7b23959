"""The whole report as a sequence of blocks, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from engine.report import evaluation, figures, parts
from engine.report.blocks import Block, Figure, Table, count, number, percent, points, table
from engine.specs.evaluated import Accuracy, EvaluateSection, LayerActivity
from engine.specs.planned import AllocateSection, SensitivitySection
from engine.specs.programmed import ExportSection, ProgramSection
from engine.specs.report import Report
from engine.specs.trained import FinetuneSection, PtqSection, SweepSection

S = TypeVar("S")
_WORDS = {"network": "float network", "program": "program"}


def outline(report: Report) -> tuple[Block, ...]:
    """The blocks of a report; a step that did not run has none."""
    blocks: list[Block | None] = [_summary(report), _accuracy(report)]
    for section in report.sections:
        if isinstance(section, SensitivitySection):
            blocks.append(parts.sensitivity(section))
        elif isinstance(section, AllocateSection):
            blocks.append(parts.allocation(section))
        elif isinstance(section, PtqSection):
            blocks.append(parts.post_training(section))
        elif isinstance(section, FinetuneSection):
            blocks.append(parts.finetuning(section))
        elif isinstance(section, SweepSection):
            blocks.append(parts.sweep(section))
        elif isinstance(section, ProgramSection):
            blocks.append(parts.program(section))
        elif isinstance(section, ExportSection):
            blocks.append(parts.exports(section))
    blocks += [_firing(report), _inputs(report)]
    return tuple(block for block in blocks if block is not None)


def _last(report: Report, kind: type[S]) -> S | None:
    found = [section for section in report.sections if isinstance(section, kind)]
    return found[-1] if found else None


def _evaluated(report: Report, of: str) -> EvaluateSection | None:
    found = [part for part in report.sections if isinstance(part, EvaluateSection) and part.of == of]
    return found[-1] if found else None


def _accuracies(report: Report) -> list[tuple[str, Accuracy]]:
    """Name and accuracy of everything that ran on the test split."""
    entries: list[tuple[str, Accuracy]] = []
    before, after = _evaluated(report, "network"), _evaluated(report, "program")
    finetuned = _last(report, FinetuneSection)
    if before is not None:
        entries.append(("float network", before.accuracy))
    if finetuned is not None and finetuned.control_accuracy is not None:
        entries.append(("float, fine-tuned alike", finetuned.control_accuracy))
    if after is not None:
        entries.append(("program", after.accuracy))
    return entries


def _summary(report: Report) -> Block:
    facts: list[tuple[str, str, str]] = [
        (f"accuracy, {name}", percent(accuracy.value), accuracy.basis) for name, accuracy in _accuracies(report)
    ]
    if report.comparison is not None:
        drop = report.comparison
        spread = f"{points(drop.drop_interval.low)} to {points(drop.drop_interval.high)}"
        text = f"{points(drop.drop_points)} points ({spread}; 95 %, {drop.drop_interval.method})"
        facts.append(("accuracy lost by the program", text, drop.basis))
    program = _last(report, ProgramSection)
    if program is not None:
        facts += [
            (
                "size",
                f"{count(program.program_bytes)} bytes instead of {count(program.float_bytes)} "
                f"(−{percent(program.reduction, 1)})",
                program.basis,
            ),
            ("mean weight bits", number(program.mean_weight_bits), program.basis),
            ("spikes that differ", f"{program.mismatched_spikes} of {count(program.compared_spikes)}", program.basis),
        ]
    facts.append(("seconds", number(report.seconds, 3), "measured"))
    tables = [table("Result", ("what", "value", "basis"), facts)]
    if report.dynamics_choice is not None:
        tables.append(evaluation.dynamics_choice(report.dynamics_choice))
    if report.gates:
        rows = [
            (gate.gate, number(gate.bound, 6), number(gate.value, 6), "passed" if gate.passed else "FAILED")
            for gate in report.gates
        ]
        tables.append(table("Gates, judged on the test split", ("gate", "bound", "value", "verdict"), rows, "measured"))
    return Block("summary", "Summary", tuple(report.notes), (), tuple(tables))


def _accuracy(report: Report) -> Block | None:
    entries = _accuracies(report)
    if not entries:
        return None
    drawn: list[Figure] = [Figure("Test accuracy with 95 % intervals (measured).", lambda: figures.accuracies(entries))]
    tables: list[Table] = [
        table(
            "Accuracy on the test split",
            ("network", "accuracy", "correct", "95 % interval (Wilson)"),
            [parts.accuracy_row(*entry) for entry in entries],
            "measured",
        )
    ]
    sentences = []
    before, after = _evaluated(report, "network"), _evaluated(report, "program")
    if before is not None and before.agreement is not None:
        agreement = before.agreement
        text = f"Expected output counts: {agreement.rows_equal} of {agreement.rows_total} samples agree."
        first = agreement.first_difference
        if first is not None:
            text += (
                f" First difference: sample {first.sample}, output {first.output}: expected {first.expected}, "
                f"got {first.got}."
            )
        sentences.append(text)
    if before is not None and before.traces is not None:
        sentences.append(evaluation.trace_sentence(before.traces))
        tables.append(evaluation.traces(before.traces))
    shown = after or before
    matrix = None if shown is None else evaluation.confusion(shown, report.data)
    if matrix is not None:
        drawn.append(matrix[0])
        tables.append(matrix[1])
    return Block("accuracy", "Accuracy", tuple(sentences), tuple(drawn), tuple(tables))


def _firing(report: Report) -> Block | None:
    before, after = _evaluated(report, "network"), _evaluated(report, "program")
    first = before or after
    if first is None or not first.layers:
        return None
    later = {layer.layer: layer for layer in after.layers} if after is not None and after is not first else {}
    distance = report.comparison.firing_distance if report.comparison is not None else {}
    newly_dead = report.comparison.newly_dead if report.comparison is not None else {}
    drawn = _firing_figures(first, later, distance)
    rows = _firing_rows(first, later, distance, newly_dead)
    header = (
        "layer",
        "neurons",
        "rate",
        "rate, program",
        "distance",
        "dead",
        "dead, program",
        "newly dead",
        "saturated",
    )
    said = [
        "Rates are spikes per neuron and step over the whole test split. Dead: not one spike there; saturated (float "
        "network): a spike in at least 95 % of the steps."
    ]
    if distance:
        said.append(
            "Distance: Wasserstein-1 between the distributions of the layer's firing rates, float network against "
            "program, in spikes per step."
        )
    tables = [table("Firing on the test split", header, rows, "measured")]
    if first.operations:
        said.append(
            "A synaptic operation is one non-zero source value that reaches one synapse with a weight other than zero; "
            f"{number(first.operations_per_sample, 6)} per sample in the {_WORDS[first.of]}"
            + (
                "."
                if after is None or after is first
                else f", {number(after.operations_per_sample, 6)} in the program."
            )
        )
        tables.append(evaluation.operations(first, after if after is not first else None))
    return Block("firing", "Firing", tuple(said), tuple(drawn), tuple(tables))


def _firing_figures(
    first: EvaluateSection, later: Mapping[str, LayerActivity], distance: Mapping[str, float]
) -> list[Figure]:
    """Rates, how far they moved, and dead neurons: before, and after where that is known."""
    rates = [(layer.layer, layer.firing_rate) for layer in first.layers]
    dead = [(layer.layer, float(layer.dead)) for layer in first.layers]
    rates_after = [(name, layer.firing_rate) for name, layer in later.items()] or None
    dead_after = [(name, float(layer.dead)) for name, layer in later.items()] or None
    drawn = [
        Figure(
            "Mean firing rate per layer (measured).",
            lambda: figures.before_after(
                "rates", "Firing rate per layer", "spikes per neuron and step", rates, rates_after
            ),
        )
    ]
    if distance:
        pairs: Sequence[tuple[str, float]] = list(distance.items())
        drawn.append(Figure("How far the neurons' firing rates moved (measured).", lambda: figures.distances(pairs)))
    drawn.append(
        Figure(
            "Neurons that never fire on the test split (measured).",
            lambda: figures.before_after(
                "dead", "Dead neurons per layer", "neurons that never fire", dead, dead_after, whole=True
            ),
        )
    )
    return drawn


def _firing_rows(
    first: EvaluateSection,
    later: Mapping[str, LayerActivity],
    distance: Mapping[str, float],
    newly_dead: Mapping[str, int],
) -> list[tuple[str, ...]]:
    """A row per neuron layer: before, after, and how far apart."""
    rows: list[tuple[str, ...]] = []
    for layer in first.layers:
        other = later.get(layer.layer)
        rows.append(
            (
                layer.layer,
                count(layer.neurons),
                number(layer.firing_rate, 3),
                "–" if other is None else number(other.firing_rate, 3),
                number(distance.get(layer.layer), 3),
                str(layer.dead),
                "–" if other is None else str(other.dead),
                str(newly_dead.get(layer.layer, "–")),
                str(layer.saturated),
            )
        )
    return rows


def _inputs(report: Report) -> Block:
    network, data, where = report.network, report.data, report.environment
    rows = [
        ("input shape", " × ".join(str(size) for size in network.input_shape)),
        ("outputs", str(network.outputs)),
        ("parameters", f"{count(network.parameters)} ({count(network.float_bytes)} bytes as float32)"),
        ("neuron layers", ", ".join(f"{name} ({count(size)})" for name, size in network.neuron_layers)),
        ("delayed edges", ", ".join(f"{a} → {b}" for a, b in network.delayed_edges) or "none"),
        ("samples", f"{count(data.train)} training, {count(data.validation)} validation, {count(data.test)} test"),
        ("validation part", data.validation_source),
        ("labels of training samples", data.labels),
        ("time steps", count(data.steps)),
        ("steps of the job", " → ".join(step.kind for step in report.job.steps)),
        ("seed", str(report.job.seed)),
        ("engine", f"{where.engine_version}, torch {where.torch_version}"),
        ("device", f"{where.device}, {where.threads} threads, {where.cpu_capability}"),
        ("neuron scan", where.neuron_scan or "–"),
    ]
    if data.transform is not None:
        place = rows.index(("time steps", count(data.steps)))
        reading = "read batch by batch" if data.streamed else "held in memory"
        rows.insert(place, ("data", f"{data.format}, {reading}; source sha256:{data.source}"))
    dynamics = [(name, str(value)) for name, value in network.dynamics.model_dump().items() if value is not None]
    return Block(
        "inputs",
        "Network, data, environment",
        (),
        (),
        (
            table("What ran", ("what", "value"), rows),
            table("Dynamics profile", ("field", "value"), dynamics, collapsed=True),
            *_transform(report),
        ),
    )


def _transform(report: Report) -> tuple[Table, ...]:
    """How frames were made of events; nothing for a dataset that was uploaded as frames."""
    if report.data.transform is None:
        return ()
    fields: list[tuple[str, str]] = []
    for name, value in report.data.transform.model_dump(exclude_none=True).items():
        inner = value.items() if isinstance(value, dict) else ()
        fields += [(f"{name}.{key}", str(part)) for key, part in inner] or [(name, str(value))]
    return (table("Transform of the events", ("field", "value"), fields),)
