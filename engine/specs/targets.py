"""Targets as data: what a chip or runner can hold, with the source of every limit; checked before any work.

Limits are those of the frameworks' code, named in ``source`` (nothing was run on hardware); ``unconfirmed`` names the
fields whose value has no source that was read. A target with an ``export`` also binds what that export can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.plan import LeakForm, MulShiftLeak, NeuronPlan, NoLeak, Plan, ShiftLeak
from engine.specs.steps import AllocateStep, ExportFormat, ExportStep, Step
from engine.specs.target_memory import Block, Core

Kind = Literal["if", "lif", "cubalif", "li", "cubali"]
Reset = Literal["subtract", "to_value", "none"]
LeakKind = Literal["none", "shift", "mul_shift"]
ConnectionKind = Literal["linear", "conv1d", "conv2d", "identity"]
ALL_KINDS: tuple[Kind, ...] = ("if", "lif", "cubalif", "li", "cubali")
ALL_CONNECTIONS: tuple[ConnectionKind, ...] = ("linear", "conv1d", "conv2d", "identity")
PROFILE_FIELDS = ("reset_timing", "membrane_floor", "start", "current", "readout")


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
    shared_scale: bool = Field(default=False, description="One scale for all connections into a layer")
    granularity: Literal["layer", "channel"] = Field(default="channel", description="Finest scale of weights")
    layers: int | None = Field(default=None, description="Most neuron layers")
    inputs: int | None = Field(default=None, description="Most input values of a step")
    neurons: int | None = Field(default=None, description="Most neurons, outputs apart")
    outputs: int | None = None
    connections: tuple[ConnectionKind, ...] = ALL_CONNECTIONS
    recurrent: bool = Field(default=True, description="Connections that see the step before")
    pools: bool = True
    delays: bool = True
    current_bias: bool = Field(default=True, description="Connections into cubalif and cubali may have biases")
    one_level: bool = Field(default=False, description="One threshold and one leak for all neurons of a layer")
    zero_reset: bool = Field(default=False, description="A reset to a value is a reset to 0")
    profile: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Dynamics fields that are bound, with what they may be"
    )
    input_range: tuple[int, int] | None = Field(default=None, description="Input values of a step that fit")
    cores: tuple[Core, ...] | None = Field(default=None, description="Memories; each weight layer takes one of them")
    weights: int | None = Field(default=None, description="Most weights, whatever their width")
    memory_bytes: int | None = Field(default=None, description="All on-chip memory: a weight takes a byte at least")
    user_memory: bool = Field(default=False, description="`memory` in a job says what flash and RAM there are")
    export: ExportFormat | None = Field(default=None, description="The export that a job for this target writes")
    sources: dict[str, str] = Field(default_factory=dict, description="Limit → its source, where not `source`")
    unconfirmed: tuple[str, ...] = ()
    unknown: dict[str, str] = Field(
        default_factory=dict,
        description="What surely is limited, but by no figure that was found: why it is not checked",
    )


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
    connections: dict[str, ConnectionKind] = Field(default_factory=dict, description="Connection → kind")
    delayed: tuple[str, ...] = Field(default=(), description="Connections that see the step before")
    pooled: tuple[str, ...] = Field(default=(), description="Connections with pools")
    late: tuple[str, ...] = Field(default=(), description="Connections with delays")
    current_biased: tuple[str, ...] = Field(default=(), description="Layers whose current has a bias")
    uneven: tuple[str, ...] = Field(default=(), description="Layers whose neurons differ in threshold, leak or gain")
    off_zero: tuple[str, ...] = Field(default=(), description="Layers that reset to another value than 0")
    profile: dict[str, str] = Field(default_factory=dict, description="Dynamics fields that targets bind")
    blocks: dict[str, Block] = Field(default_factory=dict, description="Weight layer → what a core sees of it")


_K = 1024
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(name="generic", title="Any machine with integers", source="docs/program.md"),
        Target(
            name="c99", title="Microcontrollers, by the C99 export", source="docs/exports/c99.md", export="c99",
            user_memory=True,
            unknown={"code size": "depends on compiler and options; constants and states are counted"},
        ),
        Target(
            name="loihi2", title="Intel Loihi 2 by Lava",
            source="lava-nc 0.10.0, PyLifModelBitAcc; lava-dl 0.6.0, netx",
            weight_bits=8, state_bits=24, kinds=("if", "lif", "cubalif"), leaks=("none", "mul_shift"),
            leak=MulShiftLeak(shift_bits=12, rounding="toward_zero"), resets=("to_value",), max_spikes=1,
            fraction_bits=7, level_bits=6, shared_scale=True, input_range=(0, 1), granularity="layer",
            connections=("linear", "conv2d"), pools=False,
            delays=False, current_bias=False, one_level=True, zero_reset=True, export="lava",
            profile={
                "reset_timing": ("same_step",), "membrane_floor": ("none",), "start": ("zero",), "current": ("new",),
                "readout": ("spike_count",),
            },
            neurons=1_000_000, weights=120_000_000,
            sources=dict.fromkeys(
                ("neurons", "weights"),
                "Intel, Loihi 2 technology brief (2021): 1 million neurons, 120 million synapses",
            ),
            unknown={
                "memory of a core": "how Lava's compiler fills the 128 cores of a chip is not public",
                "fan-in, fan-out": "in no source that was read",
            },
        ),
        Target(
            name="speck", title="SynSense Speck (DYNAP-CNN) by Sinabs", source="sinabs 3.1.3, backend.dynapcnn",
            weight_bits=8, state_bits=16, kinds=("if",), leaks=("none",), leak=NoLeak(), resets=("subtract",),
            granularity="layer", layers=9, connections=("linear", "conv2d"), recurrent=False, delays=False,
            profile={"reset_timing": ("same_step",), "start": ("zero",)},
            unknown={"fan-out": "to how many others a core may send: not in the code that was read"},
            cores=tuple(
                Core(kernel=kernel * _K, neurons=neurons * _K, biases=_K)
                for kernel, neurons in zip(
                    (16, 16, 16, 32, 32, 64, 64, 16, 16), (64, 64, 64, 32, 32, 16, 16, 16, 16), strict=True
                )
            ),
        ),
        Target(
            name="xylo", title="SynSense Xylo by Rockpool", source="rockpool 3.1.0, devices.xylo.syns61201",
            weight_bits=8, state_bits=16, kinds=("lif", "cubalif"), leaks=("shift",), leak=ShiftLeak(),
            resets=("subtract",), max_spikes=31, granularity="layer", inputs=16, neurons=1000, outputs=8,
            connections=("linear",), pools=False, delays=False,
            profile={"reset_timing": ("same_step",), "membrane_floor": ("none",), "start": ("zero",)},
            unconfirmed=("state_bits",),
            unknown={"fan-out": "checked by samna's validate_configuration, whose code is not public"},
        ),
        Target(
            name="spinnaker2", title="SpiNNaker2 by py-spinnaker2", source="py-spinnaker2, its NIR loader",
            weight_bits=8, kinds=("if", "lif", "cubalif"), resets=("subtract", "to_value"), max_spikes=1,
            granularity="layer", memory_bytes=152 * 128 * _K,
            sources={"memory_bytes": "SpiNNaker2 datasheet 0.03 (2021): 152 processors of 128 KiB, code included"},
            unknown={
                "neurons of a core": "not in the loader", "fan-in": "not in the loader",
                "external memory": "two LPDDR4 ports; whether weights may lie there is not in the loader",
            },
        ),
        Target(
            name="fpga", title="FPGA flows, by the Verilog export: any width", source="docs/exports/verilog.md",
            max_spikes=1, connections=("linear",), pools=False, delays=False, export="verilog",
            unknown={"memory": "the device's; the export's report says what bits of memory the program needs"},
        ),
    )
}  # fmt: skip


def plan_violations(target: Target, plan: Plan) -> tuple[Violation, ...]:
    """Limits that a user's own plan does not keep."""
    found: list[Violation] = []
    for name, weights in plan.weights.items():
        if weights.bits > target.weight_bits:
            found.append(
                violation(
                    f"weights.{name}.bits",
                    str(weights.bits),
                    f"at most {target.weight_bits}",
                    f"{target.weight_bits} bits",
                )
            )
        if weights.granularity == "channel" and target.granularity == "layer":
            found.append(violation(f"weights.{name}.granularity", "channel", "layer", "one scale for the layer"))
    for name, neuron in plan.neurons.items():
        if neuron.state_bits > target.state_bits:
            most = target.state_bits
            found.append(
                violation(f"neurons.{name}.state_bits", str(neuron.state_bits), f"at most {most}", f"{most} bits")
            )
        for field, least in (("fraction_bits", target.fraction_bits), ("level_bits", target.level_bits)):
            if least is not None and getattr(neuron, field) < least:
                told_value = str(getattr(neuron, field))
                found.append(violation(f"neurons.{name}.{field}", told_value, f"at least {least}", f"{least} bits"))
        if target.shared_scale and not neuron.shared_scale:
            found.append(violation(f"neurons.{name}.shared_scale", "false", "true", "shared_scale true"))
        if neuron.leak.kind not in target.leaks:
            allowed = ", ".join(target.leaks)
            found.append(violation(f"neurons.{name}.leak", neuron.leak.kind, allowed, f"leak {target.leak.kind}"))
    return tuple(found)


def fit_steps(target: Target, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with allocate's choices cut to what the target holds; a user's own plan is left as it is.

    Where the target has an export of its own, the job writes it. Leaves an allocate without widths to the caller: it
    has none only where all asked ones are too wide.
    """
    fitted = [_fit(target, step) if isinstance(step, AllocateStep) and step.plan is None else step for step in steps]
    written = {name for step in steps if isinstance(step, ExportStep) for name in step.formats}
    if target.export not in (None, *written) and any(step.kind == "integerize" for step in steps):
        fitted.append(ExportStep(formats=(target.export,)))
    return tuple(fitted)


def _fit(target: Target, step: AllocateStep) -> AllocateStep:
    leak = step.neuron.leak if step.neuron.leak.kind in target.leaks and target.leak.kind != "none" else target.leak
    leak = leak if step.neuron.leak != NeuronPlan().leak else target.leak
    held = {"state_bits": min(step.neuron.state_bits, target.state_bits), "leak": leak}
    if target.fraction_bits is not None:  # a chip with its own unit of states: its whole width is there for the asking
        held |= {
            "fraction_bits": target.fraction_bits,
            "level_bits": target.level_bits,
            "state_bits": target.state_bits,
            "shared_scale": target.shared_scale,
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


def violation(limit: str, found: str, allowed: str, nearest: str) -> Violation:
    """By position, as checks write it."""
    return Violation(limit=limit, found=found, allowed=allowed, nearest=nearest)
