"""Targets as data: what a chip or runner can hold, with the source of every limit; checked before any work.

Limits are those of ECOSYSTEM 5 (framework code and vendors' documentation read there; nothing was run on hardware).
``unconfirmed`` names the fields whose value has no source that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.plan import LeakForm, MulShiftLeak, NeuronPlan, NoLeak, Plan, ShiftLeak
from engine.specs.steps import AllocateStep, Step

Kind = Literal["if", "lif", "cubalif", "li", "cubali"]
Reset = Literal["subtract", "to_value", "none"]
LeakKind = Literal["none", "shift", "mul_shift"]
ALL_KINDS: tuple[Kind, ...] = ("if", "lif", "cubalif", "li", "cubali")


class Target(Spec):
    """Limits of one target; None: no limit that is known."""

    name: str
    title: str
    source: str
    weight_bits: int = Field(default=16, description="Widest weights")
    state_bits: int = Field(default=32, description="Widest membrane and current")
    kinds: tuple[Kind, ...] = ALL_KINDS
    leaks: tuple[LeakKind, ...] = ("none", "shift", "mul_shift")
    leak: LeakForm = Field(default=MulShiftLeak(), description="What allocate writes into a plan")
    resets: tuple[Reset, ...] = ("subtract", "to_value", "none")
    max_spikes: int = Field(default=65535, description="Most spikes of a neuron in one step")
    fraction_bits: int | None = Field(default=None, description="Fraction bits that allocate writes; fewer do not fit")
    level_bits: int = Field(default=0, description="Thresholds and biases are multiples of 2^level_bits state units")
    granularity: Literal["layer", "channel"] = Field(default="channel", description="Finest scale of weights")
    layers: int | None = Field(default=None, description="Most neuron layers")
    inputs: int | None = Field(default=None, description="Most input values of a step")
    neurons: int | None = Field(default=None, description="Most neurons, outputs apart")
    outputs: int | None = None
    unconfirmed: tuple[str, ...] = ()


class Violation(Spec):
    """One limit that a network or plan does not keep."""

    limit: str
    found: str
    allowed: str
    nearest: str = Field(description="The smallest change that would fit")


class NetworkFacts(Spec):
    """What targets limit, of a discretised network."""

    kinds: dict[str, Kind] = Field(description="Neuron layer → kind, in execution order")
    reset: Reset
    max_spikes: int
    inputs: int
    neurons: int
    outputs: int


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(name="generic", title="Any machine with integers", source="docs/program.md"),
        Target(name="c99", title="Microcontrollers, by the C99 export", source="docs/exports/c99.md"),
        Target(
            name="loihi2", title="Intel Loihi 2 by Lava", source="lava-nc 0.10.0, PyLifModelBitAcc; lava-dl 0.6.0",
            weight_bits=8, state_bits=24, kinds=("if", "lif", "cubalif"), leaks=("none", "mul_shift"),
            leak=MulShiftLeak(shift_bits=12, rounding="toward_zero"), resets=("to_value",), max_spikes=1,
            fraction_bits=7, level_bits=6, granularity="layer",
        ),
        Target(
            name="speck", title="SynSense Speck (DYNAP-CNN) by Sinabs", source="sinabs 3.1.3, backend.dynapcnn",
            weight_bits=8, state_bits=16, kinds=("if",), leaks=("none",), leak=NoLeak(), resets=("subtract",),
            granularity="layer", layers=9,
        ),
        Target(
            name="xylo", title="SynSense Xylo by Rockpool", source="rockpool 3.1.0, documentation and devices.xylo",
            weight_bits=8, state_bits=16, kinds=("lif", "cubalif"), leaks=("shift",), leak=ShiftLeak(k=4),
            resets=("subtract",), max_spikes=31, granularity="layer", inputs=16, neurons=1000, outputs=16,
            unconfirmed=("state_bits",),
        ),
        Target(
            name="spinnaker2", title="SpiNNaker2 by py-spinnaker2", source="py-spinnaker2, its NIR loader",
            weight_bits=8, kinds=("if", "lif", "cubalif"), resets=("subtract", "to_value"), max_spikes=1,
            granularity="layer",
        ),
        Target(name="fpga", title="FPGA flows: weights and states of any width", source="Spiker: one width a network"),
    )
}  # fmt: skip


def network_violations(target: Target, facts: NetworkFacts) -> tuple[Violation, ...]:
    """Limits that no plan can mend.

    Example:
        >>> facts = NetworkFacts(kinds={"a": "lif"}, reset="subtract", max_spikes=1, inputs=3, neurons=0, outputs=4)
        >>> [one.limit for one in network_violations(TARGETS["speck"], facts)]
        ['kinds']
    """
    found: list[Violation] = []
    wrong = [f"{name} ({kind})" for name, kind in facts.kinds.items() if kind not in target.kinds]
    if wrong:
        found.append(
            _violation("kinds", ", ".join(wrong), ", ".join(target.kinds), f"use {target.kinds[0]} neurons there")
        )
    if facts.reset not in target.resets:
        allowed = ", ".join(target.resets)
        found.append(_violation("resets", facts.reset, allowed, f"set the profile's reset to {target.resets[0]}"))
    for limit, value, most in (
        ("max_spikes", facts.max_spikes, target.max_spikes),
        ("layers", len(facts.kinds), target.layers),
        ("inputs", facts.inputs, target.inputs),
        ("neurons", facts.neurons, target.neurons),
        ("outputs", facts.outputs, target.outputs),
    ):
        if most is not None and value > most:
            found.append(_violation(limit, str(value), f"at most {most}", f"reduce {limit} by {value - most}"))
    return tuple(found)


def plan_violations(target: Target, plan: Plan) -> tuple[Violation, ...]:
    """Limits that a user's own plan does not keep."""
    found: list[Violation] = []
    for name, weights in plan.weights.items():
        if weights.bits > target.weight_bits:
            found.append(
                _violation(
                    f"weights.{name}.bits",
                    str(weights.bits),
                    f"at most {target.weight_bits}",
                    f"{target.weight_bits} bits",
                )
            )
        if weights.granularity == "channel" and target.granularity == "layer":
            found.append(_violation(f"weights.{name}.granularity", "channel", "layer", "one scale for the layer"))
    for name, neuron in plan.neurons.items():
        if neuron.state_bits > target.state_bits:
            most = target.state_bits
            found.append(
                _violation(f"neurons.{name}.state_bits", str(neuron.state_bits), f"at most {most}", f"{most} bits")
            )
        for field, least in (("fraction_bits", target.fraction_bits), ("level_bits", target.level_bits)):
            if least is not None and getattr(neuron, field) < least:
                told_value = str(getattr(neuron, field))
                found.append(_violation(f"neurons.{name}.{field}", told_value, f"at least {least}", f"{least} bits"))
        if neuron.leak.kind not in target.leaks:
            allowed = ", ".join(target.leaks)
            found.append(_violation(f"neurons.{name}.leak", neuron.leak.kind, allowed, f"leak {target.leak.kind}"))
    return tuple(found)


def fit_steps(target: Target, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with allocate's choices cut to what the target holds; a user's own plan is left as it is.

    Leaves an allocate without widths to the caller: it has none only where all asked ones are too wide.
    """
    return tuple(_fit(target, step) if isinstance(step, AllocateStep) and step.plan is None else step for step in steps)


def _fit(target: Target, step: AllocateStep) -> AllocateStep:
    leak = step.neuron.leak if step.neuron.leak.kind in target.leaks and target.leak.kind != "none" else target.leak
    leak = leak if step.neuron.leak != NeuronPlan().leak else target.leak
    held = {"state_bits": min(step.neuron.state_bits, target.state_bits), "leak": leak}
    if target.fraction_bits is not None:  # a chip with its own unit of states: its whole width is there for the asking
        held |= {
            "fraction_bits": target.fraction_bits,
            "level_bits": target.level_bits,
            "state_bits": target.state_bits,
        }
    neuron = step.neuron.model_copy(update=held)
    return step.model_copy(
        update={
            "widths": tuple(bits for bits in step.widths if bits <= target.weight_bits),
            "granularity": "layer" if target.granularity == "layer" else step.granularity,
            "neuron": neuron,
        }
    )


def told(violations: Sequence[Violation]) -> str:
    """All of them in one sentence each."""
    return "; ".join(f"{v.limit}: found {v.found}, allowed {v.allowed} (nearest: {v.nearest})" for v in violations)


def _violation(limit: str, found: str, allowed: str, nearest: str) -> Violation:
    return Violation(limit=limit, found=found, allowed=allowed, nearest=nearest)
