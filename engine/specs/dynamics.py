"""The dynamics profile: what a NIR file does not say and accuracy depends on (DESIGN 4).

A profile is either explicit, field by field, or a preset with overrides. Presets fix every field; their sources are
the frameworks' own update equations, on one page each in docs/dynamics/.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from engine.specs.base import Spec

Readout = Literal["spike_count", "membrane_sum", "membrane_max", "membrane_last"]


class Dynamics(Spec):
    """How a NIR graph is to be simulated; every field is part of the model's identity."""

    dt_s: float = Field(gt=0, description="Length of one time step in seconds (sinabs: 1, its unit is the step)")
    integrator: Literal["forward_euler", "exponential"]
    reset: Literal["subtract", "to_value", "none"]
    reset_timing: Literal["same_step", "next_step"]
    reset_order: Literal["before_leak", "after_leak"] | None = Field(
        default=None, description="For next_step only: does the delayed reset act before or after the leak"
    )
    drop_reset_input: bool = Field(default=False, description="The input of the reset step is lost")
    current: Literal["new", "old"] = Field(default="new", description="CubaLIF: the current that the membrane sees")
    current_gain: Literal["ode", "jump", "decayed_jump"] = Field(
        default="ode",
        description="What an input of 1 adds to the current: w_in·(1 − decay), w_in, or w_in·decay",
    )
    membrane_gain: Literal["ode", "direct"] = Field(
        default="ode",
        description="What an input of 1 adds to a leaky membrane: r·(1 − decay), or 1 with the file's r unused",
    )
    spike_test: Literal["gt", "ge"]
    spikes_per_step: Literal["one", "many"] = "one"
    max_spikes: int | None = Field(default=None, ge=1, le=65535, description="For many: the most spikes in one step")
    residue: Literal["fires", "raises_threshold"] = Field(
        default="fires",
        description="For subtract in the same step: what a membrane that its reset left above threshold does next; "
        "raises_threshold: in that step it fires only above θ more (snnTorch with reset_delay=False)",
    )
    start: Literal["zero", "v_reset", "v_leak"] = "zero"
    v_reset: float | None = Field(default=None, description="None: the file's, absent there: 0")
    membrane_floor: float | Literal["minus_threshold", "none"] = "none"
    readout: Readout = "spike_count"
    feedback_edges: tuple[tuple[str, str], ...] | None = Field(
        default=None, description="Edges (source, target) that carry one step of delay; None: found by DESIGN 4.3"
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if (self.reset_timing == "next_step") != (self.reset_order is not None):
            raise ValueError("reset_order belongs to reset_timing=next_step, and is needed there")
        if (self.spikes_per_step == "many") != (self.max_spikes is not None):
            raise ValueError("max_spikes belongs to spikes_per_step=many, and is needed there")
        if self.spikes_per_step == "many" and self.reset == "to_value":
            raise ValueError("several spikes a step with a reset to a value are not defined (DESIGN 5)")
        if self.residue != "fires" and (
            self.reset != "subtract" or self.reset_timing != "same_step" or self.spikes_per_step != "one"
        ):
            raise ValueError("residue belongs to a subtraction in the same step and one spike a step")
        if self.drop_reset_input and self.reset_timing == "same_step":
            raise ValueError("drop_reset_input belongs to reset_timing=next_step")
        return self


_NIR_PAPER = Dynamics(
    dt_s=1e-4,
    integrator="forward_euler",
    reset="subtract",
    reset_timing="same_step",
    spike_test="gt",
)

_ZERO: dict[str, Any] = {"reset": "to_value", "v_reset": 0.0}
_NEXT_STEP: dict[str, Any] = {"reset_timing": "next_step", "reset_order": "after_leak"}
_MANY: dict[str, Any] = {"spikes_per_step": "many", "max_spikes": 65535}

_FIELDS: dict[str, dict[str, Any]] = {
    "nir-paper": {},
    "snntorch-leaky": _NEXT_STEP,
    "snntorch-leaky-zero": _NEXT_STEP | _ZERO,
    "snntorch-synaptic-zero": _NEXT_STEP | _ZERO | {"drop_reset_input": True},
    "snntorch-none": {"reset": "none"},
    "snntorch-undelayed": {"residue": "raises_threshold"},
    "norse": {"dt_s": 1e-6, "reset": "to_value", "current_gain": "jump", "start": "v_leak"},
    "spikingjelly": {"reset": "to_value", "spike_test": "ge", "start": "v_reset"},
    "sinabs": _MANY | {"dt_s": 1.0, "integrator": "exponential", "spike_test": "ge", "membrane_floor": -1.0},
    "rockpool": _MANY
    | {
        "dt_s": 1e-3,
        "integrator": "exponential",
        "spike_test": "ge",
        "current_gain": "decayed_jump",
        "membrane_gain": "direct",
    },
    "lava": _ZERO,
}
PRESETS: dict[str, Dynamics] = {name: _NIR_PAPER.model_copy(update=fields) for name, fields in _FIELDS.items()}


def not_programmable(dynamics: Dynamics) -> str | None:
    """Why the integer program cannot follow a profile, with what to do; None: it can.

    Example:
        >>> not_programmable(PRESETS["nir-paper"]) is None
        True
    """
    if dynamics.residue == "fires":
        return None
    return (
        f"dynamics field 'residue': the integer program knows 'fires' alone, found {dynamics.residue!r}; train with a "
        "delayed reset, or set residue=fires where no membrane stays above its threshold"
    )


class DynamicsRequest(Spec):
    """A preset's name and the fields that differ from it."""

    preset: str
    set: dict[str, Any] = Field(default_factory=dict)


AUTO = "auto"  # no preset: the job tries all of them


class AutoDynamics(Spec):
    """All presets are tried; the one that fits best is the job's, unless there is a tie."""

    preset: Literal["auto"] = "auto"
    set: dict[str, Any] = Field(default_factory=dict, description="Fields that hold for every preset")
    max_samples: int = Field(default=256, ge=16, le=4096, description="Samples that every preset runs")

    @model_validator(mode="after")
    def _fits_a_preset(self) -> Self:
        problem = ""
        for preset in PRESETS:
            try:
                resolve_dynamics(DynamicsRequest(preset=preset, set=self.set))
            except ValueError as error:
                problem = str(error)
            else:
                return self
        raise ValueError(f"no preset can take these fields: {problem}")


def resolve_dynamics(request: DynamicsRequest) -> Dynamics:
    """The explicit profile that a preset with overrides stands for.

    Overriding a field drops the companion fields that lose their meaning with it (``spikes_per_step=one`` drops the
    preset's ``max_spikes``), unless the request sets them itself.

    Raises:
        KeyError: the preset is unknown; the message lists the known ones.
        ValueError: a field is unknown, or the fields contradict each other.

    Example:
        >>> resolve_dynamics(DynamicsRequest(preset="sinabs", set={"membrane_floor": "none"})).membrane_floor
        'none'
    """
    if request.preset not in PRESETS:
        raise KeyError(f"unknown dynamics preset {request.preset!r}; known: {', '.join(sorted(PRESETS))}")
    fields = PRESETS[request.preset].model_dump() | request.set
    for switch, kept, companion in (
        ("spikes_per_step", "many", "max_spikes"),
        ("reset_timing", "next_step", "reset_order"),
    ):
        if fields.get(switch) != kept and companion not in request.set:
            fields[companion] = None
    if fields.get("spikes_per_step") == "many" and fields.get("max_spikes") is None:
        fields["max_spikes"] = 65535
    if fields.get("reset_timing") == "next_step" and fields.get("reset_order") is None:
        fields["reset_order"] = "after_leak"
    if fields.get("reset_timing") == "same_step" and "drop_reset_input" not in request.set:
        fields["drop_reset_input"] = False
    plain = [fields.get(name) for name in ("reset", "reset_timing", "spikes_per_step")] != [
        "subtract",
        "same_step",
        "one",
    ]
    if plain and "residue" not in request.set:
        fields["residue"] = "fires"
    return Dynamics.model_validate(fields)
