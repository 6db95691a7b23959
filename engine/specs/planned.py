"""What `sensitivity` and `allocate` find. Sections of :mod:`engine.specs.report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.evaluated import Basis
from engine.specs.plan import Plan


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
