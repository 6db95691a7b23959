"""Step specs: the only extension point of a job. One class per kind; the handler of a kind is in engine/steps/."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.specs.base import Spec
from engine.specs.plan import NeuronPlan, Plan

WIDTHS = (2, 3, 4, 5, 6, 8)
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1, description="Bits, 1 to 16")]
EPOCHS = 30  # of a fine-tune; docs/adr/0007-plans-before-fine-tuning.md


class Surrogate(Spec):
    """Derivative that stands in for the spike's: arctan, ``1/(1+(k·(v−θ)/θ)²)/θ`` (QUALITY finding 2)."""

    kind: Literal["arctan"] = "arctan"
    slope: float = Field(default=6.0, gt=0, description="k; π is snnTorch's arctan, long-memory networks want about 6")


class EvaluateStep(Spec):
    """Run the test split and count."""

    kind: Literal["evaluate"] = "evaluate"
    of: Literal["network", "program"] = Field(default="network", description="The float network, or the program made")


class SensitivityStep(Spec):
    """Trace of the loss's curvature per weight layer, with standard error (DESIGN 6)."""

    kind: Literal["sensitivity"] = "sensitivity"
    quantity: Literal["ggn", "hessian"] = Field(
        default="ggn", description="Generalised Gauss-Newton with surrogate derivatives, or the full Hessian"
    )
    reset_gradient: Literal["through", "detached"] = "through"
    surrogate: Surrogate | None = Field(
        default=None, description="None: arctan, its slope chosen by predicted and measured loss of a few roundings"
    )
    loss: Literal["cross_entropy", "mse_counts"] = Field(
        default="cross_entropy", description="Of the readout against the label; mse_counts: half the squared distance"
    )
    logit_scale: float | None = Field(
        default=1.0, gt=0, le=1e9, description="None: the median sample is right by 4 nats (cross_entropy)"
    )
    relative_error: float = Field(
        default=0.05, gt=0, lt=1, description="Stop when every layer's standard error / max(|trace|, tr G) is below"
    )
    min_probes: int = Field(
        default=8, ge=2, description="Random probes before the error is judged; as many outputs or fewer: exact instead"
    )
    max_probes: int = Field(default=256, ge=2, description="Cap; a layer that needs more is marked not converged")
    max_seconds: float | None = Field(default=None, gt=0)
    max_samples: int = Field(default=512, ge=1, description="Training samples used, drawn by the job's seed")
    widths: Widths = WIDTHS
    granularity: Literal["layer", "channel"] = Field(
        default="channel", description="Scales of the roundings whose loss is predicted and measured; as in allocate"
    )
    channels: bool = Field(
        default=False,
        description="Traces of output channels of hessian too, for a further sweep or more a probe; ggn has them",
    )
    measure: Literal["auto", "on", "off"] = Field(
        default="auto", description="Also measure each layer alone at each width; auto: up to 20 layers"
    )

    @model_validator(mode="after")
    def _scale_of_the_loss(self) -> Self:
        if self.logit_scale is None and self.loss != "cross_entropy":
            raise ValueError(f"loss {self.loss!r} needs a logit_scale, it is chosen for cross_entropy only")
        return self


class AllocateStep(Spec):
    """Choose bits per layer by an exact integer program, or check the user's own plan."""

    kind: Literal["allocate"] = "allocate"
    widths: Widths = WIDTHS
    mean_weight_bits: float | None = Field(default=4.0, gt=0, description="Upper bound on Σ N·b / Σ N")
    program_bytes: int | None = Field(default=None, gt=0, description="Upper bound on the size of payload.bin")
    predictor: Literal["auto", "trace", "quadratic", "measured"] = Field(
        default="auto", description="auto: measured where it stands clear of its noise, else the prediction that holds"
    )
    granularity: Literal["layer", "channel", "auto"] = Field(
        default="channel", description="Scales of weights; auto: under a byte budget, by predicted loss per byte"
    )
    quantizer: str = Field(default="lsq", description="Of all layers: a name of docs/plan.md")
    neuron: NeuronPlan = NeuronPlan()
    plan: Plan | None = Field(default=None, description="The user's own plan; nothing is chosen then")


class FinetuneStep(Spec):
    """Quantization-aware training in the program's own arithmetic (LSQ; DESIGN 5, QUALITY)."""

    kind: Literal["finetune"] = "finetune"
    epochs: int | None = Field(
        default=None, ge=0, le=10_000, description="None: 30, or fewer (at least 2) where an epoch is dear"
    )
    patience: int | None = Field(default=None, ge=1, description="Early stop after this many epochs without a gain")
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float | None = Field(
        default=None, gt=0, description="None: 5e-4 after a second-order start, else by kind and size of network"
    )
    distillation: float = Field(default=0.9, ge=0, le=1, description="Share of KL to the float network's counts")
    logit_scale: float | None = Field(default=None, gt=0, le=1e9, description="None: chosen on the training split")
    start: Literal["second_order", "mse"] = Field(
        default="second_order",
        description="Weights at the start: rounded so that membranes change least, or left as they are; scales are "
        "MSE-optimal at first in both",
    )
    start_samples: int = Field(default=256, ge=1, description="Training samples, drawn by the seed, that it looks at")
    surrogate: Surrogate = Surrogate(slope=12.0)
    scale_rate: float = Field(
        default=0.1,
        ge=0,
        description="Rate of scales over that of weights: one step rounds a whole row anew",
    )
    reset_gradient: Literal["through", "detached"] = "through"
    weight_average: float = Field(
        default=0.98, ge=0, lt=1, description="Decay per optimiser step of the averaged weights; 0: none"
    )
    layer_probability: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Of a weight layer being quantized in a training step, at the start; rises to 1",
    )
    descend_from: int = Field(
        default=0, ge=0, le=4, description="Train first with so many bits more per weight, then one fewer each time"
    )
    seeds: int = Field(default=1, ge=1, le=16, description="Trainings by other seeds; the best on validation is kept")
    input_jitter_steps: int = Field(default=0, ge=0, description="Random shift of a sample in time, at most")
    float_control: bool = Field(default=True, description="Fine-tune the float network with the same schedule too")
    max_seconds: float | None = Field(default=None, gt=0)


class PtqStep(Spec):
    """Quantize under the plan without a gradient step and without labels: calibration on training samples."""

    kind: Literal["ptq"] = "ptq"
    calibration: Literal["second_order", "mse", "max", "percentile"] = Field(
        default="second_order",
        description="Weight scales: MSE-optimal and weights rounded so that membranes change least; MSE-optimal; the "
        "largest magnitude; a percentile of the magnitudes",
    )
    percentile: float = Field(default=99.0, gt=50, le=100, description="Of the magnitudes, with `percentile` alone")
    samples: int = Field(default=256, ge=1, description="Calibration samples, drawn by the seed from the train split")


class SweepStep(Spec):
    """Several recipes at several budgets: the Pareto front, and the smallest program within a bound on validation."""

    kind: Literal["sweep"] = "sweep"
    recipes: tuple[str, ...] = Field(default=("ptq",), min_length=1, description="Each is run at every budget")
    mean_weight_bits: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(3.0, 3.5, 4.0, 5.0, 6.0), min_length=1, max_length=32, description="Budgets of `allocate`"
    )
    within_points: float = Field(
        default=0.2, ge=0, description="The smallest program that loses at most this on the validation split is chosen"
    )


class IntegerizeStep(Spec):
    """Write, pack and verify the integer program."""

    kind: Literal["integerize"] = "integerize"
    golden_samples: int = Field(default=16, ge=1, le=64)


ExportFormat = Literal["c99", "lava", "nir", "safetensors", "verilog"]


class ExportStep(Spec):
    """Write the program in the forms that targets take; a page for each format is in `docs/exports/`."""

    kind: Literal["export"] = "export"
    formats: tuple[ExportFormat, ...] = Field(default=("c99",), min_length=1)


Step = Annotated[
    EvaluateStep | SensitivityStep | AllocateStep | PtqStep | FinetuneStep | SweepStep | IntegerizeStep | ExportStep,
    Field(discriminator="kind"),
]
STEPS: dict[str, type[Spec]] = {
    "evaluate": EvaluateStep,
    "sensitivity": SensitivityStep,
    "allocate": AllocateStep,
    "ptq": PtqStep,
    "finetune": FinetuneStep,
    "sweep": SweepStep,
    "integerize": IntegerizeStep,
    "export": ExportStep,
}
