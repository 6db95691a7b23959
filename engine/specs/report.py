"""The report: one typed JSON document per job, a section per step (DESIGN 1). HTML and Markdown are renderings.

Every number has a basis: *measured* (counted by running the named thing on real data), *simulated* (other hardware's
behaviour in a simulator), *estimated* (a model).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.data import Transform
from engine.specs.dynamics import Dynamics
from engine.specs.evaluated import Accuracy, Basis, EvaluateSection, Interval
from engine.specs.job import Job
from engine.specs.planned import AllocateSection, SensitivitySection
from engine.specs.programmed import ExportSection, ProgramSection
from engine.specs.trained import FinetuneSection, PtqSection, SweepSection


class Comparison(Spec):
    """Program against float network on the test split."""

    float_accuracy: Accuracy
    program_accuracy: Accuracy
    drop_points: float
    drop_interval: Interval = Field(description="Paired, in points")
    firing_distance: dict[str, float] = Field(
        description="Per layer: Wasserstein-1 distance between the neurons' firing rates before and after"
    )
    newly_dead: dict[str, int] = Field(description="Per layer: neurons that fire in the float network only")
    basis: Basis = "measured"


class GateResult(Spec):
    """One gate, judged."""

    gate: str
    bound: float
    value: float
    passed: bool


class NetworkSummary(Spec):
    """The uploaded network, as the engine understood it."""

    dynamics: Dynamics
    input_shape: tuple[int, ...]
    outputs: int
    parameters: int
    float_bytes: int
    weight_layers: tuple[tuple[str, int], ...] = Field(description="(name, weights) in execution order")
    neuron_layers: tuple[tuple[str, int], ...] = Field(description="(name, neurons) in execution order")
    delayed_edges: tuple[tuple[str, str], ...]


class PresetScore(Spec):
    """How well one preset fits."""

    preset: str
    met: int | None = Field(description="Samples whose counts, or whose label, it meets; None: it cannot run the file")
    identical_to: str | None = Field(default=None, description="A better ranked preset with the same counts everywhere")
    problem: str | None = None


class DynamicsChoice(Spec):
    """Ranking of the presets that ``dynamics: auto`` tried."""

    chosen: str
    criterion: Literal["expected counts", "train accuracy"]
    samples: int
    ranking: tuple[PresetScore, ...] = Field(description="Best first")
    basis: Basis = "measured"


class DataSummary(Spec):
    """The dataset and its splits."""

    train: int
    validation: int
    test: int
    steps: int
    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    validation_source: Literal["given", "stratified from train", "none"]
    labels: Literal["given", "the float network's own"] = Field(
        default="given", description="Of training and validation samples; test samples always have their own"
    )
    format: str = Field(default="frames", description="Format of the upload")
    source: str | None = Field(default=None, description="SHA-256 of the upload of events")
    transform: Transform | None = Field(default=None, description="What made frames of the events; None: frames")
    streamed: bool = Field(default=False, description="Read batch by batch, never whole in memory")


class Environment(Spec):
    """What the numbers depend on besides the inputs."""

    engine_version: str
    torch_version: str
    device: str
    threads: int
    cpu_capability: str
    neuron_scan: str = Field(default="", description="native (level), or torch (why); both give the same numbers")


Section = Annotated[
    EvaluateSection
    | SensitivitySection
    | AllocateSection
    | PtqSection
    | FinetuneSection
    | SweepSection
    | ProgramSection
    | ExportSection,
    Field(discriminator="kind"),
]


class Report(Spec):
    """The whole document."""

    schema_version: Literal[1] = 1
    job: Job
    network: NetworkSummary
    dynamics_choice: DynamicsChoice | None = Field(default=None, description="Where the job was to find the dynamics")
    data: DataSummary
    environment: Environment
    sections: tuple[Section, ...]
    comparison: Comparison | None = None
    gates: tuple[GateResult, ...] = ()
    verdict: Literal["pass", "fail", "none"] = "none"
    notes: tuple[str, ...] = ()
    seconds: float
    extra: dict[str, Any] = Field(default_factory=dict)
