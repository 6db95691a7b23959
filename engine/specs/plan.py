"""The plan: bits per layer, as a user reads, edits and submits it (DESIGN 1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.specs.base import Spec


class NoLeak(Spec):
    """State is kept: ``v``."""

    kind: Literal["none"] = "none"


class ShiftLeak(Spec):
    """Leak by a shift alone: ``v - (v >> k)`` with the declared rounding of the shift."""

    kind: Literal["shift"] = "shift"
    k: int | None = Field(
        default=None, ge=1, le=15, description="One for all neurons that leak; null: for each the nearest to its decay"
    )
    rounding: Literal["floor", "toward_zero", "half_up"] = "floor"


class MulShiftLeak(Spec):
    """Leak by a multiplication and a shift: ``(m·v) >> shift_bits``; ``m`` is rounded from the network's decay."""

    kind: Literal["mul_shift"] = "mul_shift"
    shift_bits: int = Field(default=12, ge=1, le=15)
    rounding: Literal["floor", "toward_zero", "half_up"] = "half_up"


LeakForm = Annotated[NoLeak | ShiftLeak | MulShiftLeak, Field(discriminator="kind")]


class WeightPlan(Spec):
    """How one weight tensor (a Linear, Affine or Conv node) is written in integers."""

    bits: int = Field(ge=1, le=16)
    quantizer: str = Field(default="lsq", description="A name from the quantizer registry")
    granularity: Literal["layer", "channel"] = Field(
        default="channel", description="One scale for the layer, or one per output neuron or channel"
    )


class NeuronPlan(Spec):
    """How one neuron layer keeps its state."""

    state_bits: int = Field(
        default=16, ge=2, le=32, description="Width of membrane and current, fraction bits included"
    )
    fraction_bits: int = Field(
        default=3, ge=0, le=16, description="3 leaves a 16-bit state room: float membranes reach hundreds of thresholds"
    )
    level_bits: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Thresholds, biases, resets and starts are multiples of 2^level_bits state units (Loihi: 6)",
    )
    shared_scale: bool = Field(
        default=False, description="All connections into the layer have one scale: their exponents are 0 (Loihi)"
    )
    range_thresholds: float | None = Field(
        default=None,
        ge=1,
        description="Thresholds that the state's range holds at least; fraction bits are then as many as it leaves "
        "room for, at most `fraction_bits`. null: 4, and `fraction_bits` as they are",
    )
    leak: LeakForm = MulShiftLeak()


class Plan(Spec):
    """Per weight layer and per neuron layer, by NIR node name."""

    weights: dict[str, WeightPlan]
    neurons: dict[str, NeuronPlan] = Field(default_factory=dict, description="Layers left out take the defaults")
    input_bits: int = Field(
        default=8, ge=2, le=16, description="Width of analogue inputs (fractions); whole numbers enter as they are"
    )
