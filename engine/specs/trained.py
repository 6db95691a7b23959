"""What `ptq`, `finetune` and `sweep` find. Sections of :mod:`engine.specs.report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.evaluated import Accuracy, Basis, Interval


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
    wider: tuple[TrainingCurve, ...] = Field(
        default=(), description="Before it, with more bits: what `descend_from` asks"
    )
    seed: int | None = Field(default=None, description="Of several seeds, the one that was kept")
    other_seeds: tuple[TrainingCurve, ...] = Field(default=(), description="Trainings that were not kept")
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
