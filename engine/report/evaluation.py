"""What an evaluation shows beyond its accuracies: dynamics tried, traces, operations, confusion."""

from __future__ import annotations

from engine.report import figures
from engine.report.blocks import Figure, Table, count, number, table
from engine.specs.evaluated import EvaluateSection, TraceAgreement
from engine.specs.report import DataSummary, DynamicsChoice


def dynamics_choice(choice: DynamicsChoice) -> Table:
    """A row per preset that was tried, best first."""
    rows = [
        (
            one.preset,
            "–" if one.met is None else f"{count(one.met)} of {count(choice.samples)}",
            "chosen" if one.preset == choice.chosen else one.problem or (one.identical_to or "–"),
        )
        for one in choice.ranking
    ]
    caption = f"Dynamics presets tried, by {choice.criterion}"
    return table(caption, ("preset", "samples met", "identical to, or not applicable because"), rows, choice.basis)


def trace_sentence(agreement: TraceAgreement) -> str:
    """How many traced spikes are met, and where they part first."""
    compared = sum(layer.compared for layer in agreement.layers)
    differing = sum(layer.differing for layer in agreement.layers)
    text = (
        f"Expected spikes inside the network: {count(differing)} of {count(compared)} neuron-steps differ over "
        f"{count(agreement.samples)} samples."
    )
    first = agreement.first_difference
    if first is None:
        return text
    return (
        f"{text} First difference: sample {first.sample}, layer {first.layer}, step {first.step}, neuron "
        f"{first.neuron}: expected {first.expected}, got {first.got}."
    )


def traces(agreement: TraceAgreement) -> Table:
    """A row per traced layer, in execution order."""
    rows = [
        (
            layer.layer,
            count(layer.compared),
            count(layer.differing),
            "–" if layer.first_step is None else str(layer.first_step),
        )
        for layer in agreement.layers
    ]
    header = ("layer", "neuron-steps compared", "differing", "first differing step")
    return table("Expected spikes by layer", header, rows, agreement.basis)


def operations(section: EvaluateSection, program: EvaluateSection | None) -> Table:
    """A row per connection; the program's operations beside the float network's where both ran."""
    later = {} if program is None else {one.connection: one for one in program.operations}
    rows = [
        (
            one.connection,
            f"{one.source} → {one.target}",
            count(one.synapses),
            number(one.per_sample, 6),
            number(later[one.connection].per_sample, 6) if one.connection in later else "–",
        )
        for one in section.operations
    ]
    header = ("connection", "from → to", "synapses", "operations / sample", "program")
    return table("Synaptic operations on the test split", header, rows, "measured", collapsed=len(rows) > 12)


def confusion(section: EvaluateSection, data: DataSummary) -> tuple[Figure, Table] | None:
    """The confusion matrix; None where it would be too large to read."""
    size = len(section.confusion)
    if not 2 <= size <= 30:
        return None
    labels = data.classes if len(data.classes) == size else tuple(str(index) for index in range(size))
    rows = [(label, *(str(n) for n in row)) for label, row in zip(labels, section.confusion, strict=True)]
    caption = f"Confusion matrix of the {section.of}"
    drawing = Figure(
        f"{caption}: label down, prediction across (measured).", lambda: figures.confusion(section, data.classes)
    )
    return drawing, table(f"{caption} (rows: label)", ("label", *labels), rows, "measured", collapsed=True)
