"""What `evaluate` finds: accuracy, activity, agreement, operations. Sections of :mod:`engine.specs.report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.specs.base import Spec

Basis = Literal["measured", "simulated", "estimated"]


class Interval(Spec):
    """A confidence interval and how it was computed."""

    low: float
    high: float
    confidence: float = 0.95
    method: str


class Accuracy(Spec):
    """A fraction with its counts; ``interval`` is Wilson's."""

    correct: int
    samples: int
    value: float
    interval: Interval
    basis: Basis = "measured"


class LayerActivity(Spec):
    """Firing of one neuron layer over the test split."""

    layer: str
    neurons: int
    firing_rate: float = Field(description="Spikes per neuron and step")
    rate_histogram: tuple[int, ...] = Field(description="Neurons per bin of firing rate; bins: rate_edges")
    rate_edges: tuple[float, ...]
    dead: int = Field(description="Neurons that never fire on the split")
    saturated: int = Field(description="Neurons that fire in at least 95 % of the steps")
    basis: Basis = "measured"


class FirstDifference(Spec):
    """Where the counts part first."""

    sample: int
    output: int
    expected: int
    got: int


class Agreement(Spec):
    """Output spike counts against the ones that the user expects, row by row (a row is a sample)."""

    rows_equal: int
    rows_total: int
    first_difference: FirstDifference | None = None
    basis: Basis = "measured"


class FirstSpikeDifference(Spec):
    """Where the spikes of a traced layer part first: first sample, then earliest step, then execution order."""

    sample: int = Field(description="Row of x_test")
    sample_row: int = Field(description="Row of the traces file")
    layer: str
    step: int
    neuron: int = Field(description="Position in the flattened layer")
    expected: int
    got: int


class LayerTrace(Spec):
    """Spikes of one layer against the expected ones."""

    layer: str
    compared: int = Field(description="Neuron-steps")
    differing: int
    first_step: int | None = Field(default=None, description="Earliest step of any sample in which a neuron differs")


class TraceAgreement(Spec):
    """Spikes inside the network against the ones that the user expects."""

    samples: int
    layers: tuple[LayerTrace, ...] = Field(description="In execution order")
    first_difference: FirstSpikeDifference | None = None
    basis: Basis = "measured"


class EnergyEstimate(Spec):
    """Energy per sample by published figures; nothing was measured."""

    model: str
    source: str
    events_pj: float = Field(description="A runner that skips what no event reaches")
    dense_pj: float | None = Field(description="One that skips nothing; null where the source has no such machine")
    basis: Basis = "estimated"


class ProgramCost(Spec):
    """What a run costs per sample, counted on test samples (docs/cost.md)."""

    samples: int
    synaptic_operations: float
    multiply_adds_dense: float
    neuron_updates_dense: float
    neuron_updates_events: float = Field(description="Without the neurons that nothing reaches")
    multiplications_events: float
    memory_bytes_events: float = Field(description="Weights read, states read and written, at declared widths")
    memory_bytes_dense: float
    energy: tuple[EnergyEstimate, ...]
    basis: Basis = "measured"


class SynapticOperations(Spec):
    """How often the synapses of one connection were used, on average over the test samples."""

    connection: str
    source: str
    target: str
    synapses: int = Field(description="Pairs of source and target with a weight other than zero")
    per_sample: float = Field(description="Non-zero source values times the synapses that each reaches")
    basis: Basis = "measured"


class EvaluateSection(Spec):
    """Result of one ``evaluate`` step."""

    kind: Literal["evaluate"] = "evaluate"
    of: Literal["network", "program"]
    split: Literal["test"] = "test"
    runner: str | None = Field(default=None, description="What ran a program; every runner gives the same numbers")
    accuracy: Accuracy
    confusion: tuple[tuple[int, ...], ...] = Field(description="Rows: label, columns: prediction")
    agreement: Agreement | None = None
    traces: TraceAgreement | None = None
    layers: tuple[LayerActivity, ...]
    operations: tuple[SynapticOperations, ...] = Field(default=(), description="Per connection, in execution order")
    operations_per_sample: float | None = Field(default=None, description="Sum over the connections")
    cost: ProgramCost | None = Field(
        default=None, description="Of a program, counted by integerize on the same samples: all runners spike alike"
    )
    saturations: dict[str, int] | None = Field(
        default=None, description="Of a program: layers whose membrane or current left its range, and how often"
    )
    seconds: float
