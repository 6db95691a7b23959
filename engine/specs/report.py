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
from engine.specs.job import Job
from engine.specs.plan import Plan

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
    seconds: float


class WidthLoss(Spec):
    """Loss increase on training samples when this layer alone is rounded to this width, in nats."""

    bits: int
    predicted: float = Field(description="½·trace/N·‖δW‖²; basis: estimated")
    quadratic: float | None = Field(
        default=None, description="gᵀδW + ½·δWᵀHδW for the actual δW, H as `quantity` says; basis: estimated"
    )
    quadratic_error: float | None = Field(default=None, description="Standard error of `quadratic` over samples")
    measured: float | None = Field(default=None, description="Basis: measured")
    measured_error: float | None = Field(default=None, description="Standard error of `measured` over samples")
    accuracy: float | None = Field(
        default=None, description="Share of the training samples right with the layer rounded; basis: measured"
    )
    accuracy_error: float | None = Field(
        default=None, description="Standard error over samples of its difference from `baseline_accuracy`, paired"
    )
    squared_distance: float = Field(description="‖δW‖² with the MSE-optimal scale")


class LayerSensitivity(Spec):
    """Curvature trace of one weight layer."""

    layer: str
    parameters: int
    trace: float
    standard_error: float
    probes: int
    converged: bool = Field(description="Standard error within the asked share of max(|trace|, gauss_newton)")
    exact: bool = False
    exact_share: float = Field(default=0.0, description="Part of the trace's terms that no probe estimated")
    gauss_newton: float | None = Field(default=None, description="Trace of the Gauss-Newton part alone")
    trace_per_parameter: float
    channels: tuple[float, ...] = Field(default=(), description="Trace per output channel; empty: not asked for")
    channel_errors: tuple[float, ...] = Field(default=(), description="Their standard errors over probes")
    widths: tuple[WidthLoss, ...]


class SlopeCheck(Spec):
    """How well one slope of the surrogate predicts a few measured roundings (nats)."""

    slope: float
    layers: tuple[str, ...]
    bits: tuple[int, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    log_error: float = Field(description="Mean |log(predicted / measured)|")


class Prediction(Spec):
    """How one prediction fares against the measured increases, over (layer, 4/3/2 bits)."""

    rank_correlation: float | None = Field(default=None, description="Spearman; None: not measured, or too few pairs")
    calibration: float | None = Field(
        default=None, description="Median of predicted / measured over pairs that stand clear of their noise"
    )
    within_ten: float | None = Field(default=None, description="Share of those pairs within a factor of 10")
    pairs: int = 0
    clear_pairs: int = 0


class SensitivitySection(Spec):
    """Result of ``sensitivity``."""

    kind: Literal["sensitivity"] = "sensitivity"
    basis: Basis = Field(default="estimated", description="Of traces and predicted losses; what was measured says so")
    quantity: Literal["ggn", "hessian"]
    loss: str
    logit_scale: float
    surrogate_kind: str
    surrogate_slope: float
    slope_checks: tuple[SlopeCheck, ...] = Field(default=(), description="Empty: the slope was given")
    reset_gradient: Literal["through", "detached"]
    samples: int
    seed: int
    baseline_loss: float
    baseline_accuracy: float | None = Field(
        default=None, description="Share of these training samples that the network as it is gets right"
    )
    layers: tuple[LayerSensitivity, ...]
    rank_correlation: float | None = Field(
        default=None, description="Spearman of predicted and measured over (layer, 4/3/2 bits); None: not measured"
    )
    trivial_rank_correlation: float | None = Field(default=None, description="The same for ‖δW‖² alone")
    by_trace: Prediction = Prediction()
    by_quadratic: Prediction = Prediction()
    holds: Literal["trace", "quadratic", "neither", "unknown"] = Field(
        default="unknown", description="The prediction that ranks best, where that is good enough to rely on"
    )
    statement: str = Field(description="One honest sentence: does the prediction hold on this network")
    peak_bytes: int | None = Field(default=None, description="Most memory the process has held; basis: measured")
    seconds: float


class FrontPoint(Spec):
    """One Pareto-optimal allocation."""

    bits: dict[str, int]
    mean_weight_bits: float
    weight_bytes: int
    program_bytes: int = Field(description="Size that payload.bin will have; basis: estimated")
    predicted_loss: float


class AllocateSection(Spec):
    """Result of ``allocate``: the plan and the whole front it was taken from."""

    kind: Literal["allocate"] = "allocate"
    basis: Basis = Field(default="estimated", description="Of losses and sizes on the front")
    plan: Plan
    source: Literal["solver", "user"]
    predictor: Literal["trace", "quadratic", "measured", "none"]
    caution: str | None = Field(
        default=None, description="Where the prediction was found not to rank this network's roundings, or not checked"
    )
    mean_weight_bits: float
    predicted_loss: float | None
    budget_mean_weight_bits: float | None
    budget_program_bytes: int | None
    front: tuple[FrontPoint, ...]
    solver: str
    seconds: float


class Epoch(Spec):
    """One epoch of fine-tuning; accuracies on the validation part."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


class TrainingCurve(Spec):
    """What one fine-tune did."""

    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped: Literal["schedule", "patience", "time"]
    validation_samples: int


class PtqSection(Spec):
    """Result of ``ptq``: what was calibrated, on how many samples."""

    kind: Literal["ptq"] = "ptq"
    basis: Basis = "measured"
    calibration: Literal["second_order", "mse", "max", "percentile"]
    samples: int
    plain: tuple[str, ...] = Field(
        default=(), description="Weight layers rounded to the nearest level: no second-order rounding is possible there"
    )
    agreement: float = Field(description="Share of calibration samples that keep the float network's class")
    agreement_before: float = Field(description="The same for plain rounding at MSE-optimal scales")
    seconds: float


class FinetuneSection(Spec):
    """Result of ``finetune``, with the float network given the same training beside it."""

    kind: Literal["finetune"] = "finetune"
    basis: Basis = Field(default="measured", description="Of losses and accuracies per epoch")
    quantized: TrainingCurve
    control: TrainingCurve | None = None
    control_accuracy: Accuracy | None = Field(default=None, description="Float network, same schedule, test split")
    resumed_from_epoch: int | None = None
    seconds: float


class SweepPoint(Spec):
    """One finished program of a sweep; sizes and counts are exact, accuracy is of the validation split."""

    name: str
    recipe: str
    budget_mean_weight_bits: float
    bits: dict[str, int]
    mean_weight_bits: float
    program_bytes: int
    reduction: float
    state_bytes: int
    validation: Accuracy
    operations_per_sample: float = Field(description="Synaptic operations on the validation split")
    dominated: bool = Field(
        default=False, description="Another program is no worse in bytes, accuracy and operations, and better in one"
    )


class SweepSection(Spec):
    """Result of ``sweep``: all programs, and which one the job went on with."""

    kind: Literal["sweep"] = "sweep"
    basis: Basis = "measured"
    points: tuple[SweepPoint, ...]
    infeasible: dict[str, str] = Field(default_factory=dict, description="Variants whose budget no plan meets, and why")
    within_points: float
    chosen: str
    kept: bool = Field(description="Whether the chosen program keeps the bound on validation; else it loses least")
    float_validation: Accuracy
    drop_points: float = Field(description="Of the chosen program on the validation split")
    drop_interval: Interval = Field(description="Paired, in points, on the validation split")
    sample_points: float = Field(description="What one validation sample is worth, in points")
    decidable: bool = Field(description="Whether a sample is worth no more than the bound")
    resumed: bool = False
    seconds: float


class ProgramLayer(Spec):
    """Sizes of one weight layer in the program."""

    layer: str
    bits: int
    weights: int
    bytes: int
    multiplications: bool = Field(description="Does any edge into it carry more than 0 and 1")
    accumulator_bound: int


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


class ProgramSection(Spec):
    """Result of ``integerize``."""

    kind: Literal["integerize"] = "integerize"
    program_digest: str
    program_bytes: int
    float_bytes: int
    reduction: float
    mean_weight_bits: float
    state_bytes: int
    layers: tuple[ProgramLayer, ...]
    mismatched_spikes: int = Field(description="Torch simulation against the runtime, every layer and step, test split")
    compared_spikes: int = Field(description="Neuron-steps compared")
    clamped_inputs: int
    saturations: dict[str, int] = Field(
        default_factory=dict, description="Layers whose membrane or current left its range on the test split: how often"
    )
    multiplications: tuple[str, ...] = Field(description="Every multiplication that the program needs, in words")
    golden_samples: int
    cost: ProgramCost | None = None
    seconds: float
    basis: Basis = "measured"


class ExportedFile(Spec):
    """One file that an export wrote."""

    format: str
    path: str
    bytes: int


class ExportSection(Spec):
    """Result of ``export``."""

    kind: Literal["export"] = "export"
    files: tuple[ExportedFile, ...]
    facts: dict[str, dict[str, str]] = Field(default_factory=dict, description="Format → what to know of it → value")
    seconds: float
    basis: Basis = "measured"


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
