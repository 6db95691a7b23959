"""A network against a target: every limit that no plan can mend, with the nearest change that would fit."""

from __future__ import annotations

from collections.abc import Iterator

from engine.specs.target_memory import UNSAID, Memory, most_outputs, needs, unplaced, weights_of
from engine.specs.targets import NetworkFacts, Target, Violation, violation


def network_violations(
    target: Target, facts: NetworkFacts, memory: Memory = UNSAID, state_bits: int = 8
) -> tuple[Violation, ...]:
    """Limits that no plan can mend.

    Args:
        target: what is to hold the network.
        facts: of the network.
        memory: of the user's own machine.
        state_bits: of the states that are asked for: what RAM has to hold.

    Example:
        >>> from engine.specs.targets import TARGETS
        >>> facts = NetworkFacts(kinds={"a": "lif"}, reset="subtract", max_spikes=1, inputs=3, neurons=0, outputs=4)
        >>> [one.limit for one in network_violations(TARGETS["speck"], facts)]
        ['kinds']
    """
    return (
        *_neurons(target, facts), *_sizes(target, facts), *_graph(target, facts), *_levels(target, facts),
        *_memory(target, facts), *_user_memory(facts, memory, state_bits),
    )  # fmt: skip


def _neurons(target: Target, facts: NetworkFacts) -> Iterator[Violation]:
    wrong = [f"{name} ({kind})" for name, kind in facts.kinds.items() if kind not in target.kinds]
    if wrong:
        yield violation("kinds", ", ".join(wrong), ", ".join(target.kinds), f"use {target.kinds[0]} neurons there")
    fires = any(kind not in ("li", "cubali") for kind in facts.kinds.values())
    if fires and facts.reset not in target.resets:
        allowed = ", ".join(target.resets)
        yield violation("resets", facts.reset, allowed, f"set the profile's reset to {target.resets[0]}")
    for field, allowed_values in target.profile.items():
        found = facts.profile.get(field)
        if field == "current" and not {"cubalif", "cubali"} & set(facts.kinds.values()):
            continue
        if found is not None and found not in allowed_values:
            allowed = ", ".join(allowed_values)
            yield violation(field, found, allowed, f"set the profile's {field} to {allowed_values[0]}")


def _sizes(target: Target, facts: NetworkFacts) -> Iterator[Violation]:
    for limit, value, most in (
        ("max_spikes", facts.max_spikes, target.max_spikes),
        ("layers", len(facts.kinds), target.layers),
        ("inputs", facts.inputs, target.inputs),
        ("neurons", facts.neurons, target.neurons),
        ("outputs", facts.outputs, target.outputs),
        ("weights", _weights(facts), target.weights),
        ("memory_bytes", _weights(facts), target.memory_bytes),  # a byte a weight, and nothing else
    ):
        if most is not None and value > most:
            change = f"reduce {limit} by {value - most}"
            if limit == "max_spikes":
                change = f"set the profile's {'spikes_per_step to one' if most == 1 else f'max_spikes to {most}'}"
            yield violation(limit, str(value), f"at most {most}", change)


def _graph(target: Target, facts: NetworkFacts) -> Iterator[Violation]:
    wrong = [f"{name} ({kind})" for name, kind in facts.connections.items() if kind not in target.connections]
    if wrong:
        allowed = ", ".join(target.connections)
        yield violation("connections", ", ".join(wrong), allowed, f"use {target.connections[0]} layers there")
    for limit, names, allowed_at_all, instead in (
        ("recurrent", facts.delayed, target.recurrent, "train without feedback"),
        ("pools", facts.pooled, target.pools, "use strides instead of pools"),
        ("delays", facts.late, target.delays, "train without delays"),
    ):
        if names and not allowed_at_all:
            yield violation(limit, ", ".join(names), "none", instead)


def _levels(target: Target, facts: NetworkFacts) -> Iterator[Violation]:
    for limit, names, bound, allowed, instead in (
        ("current_bias", facts.current_biased, not target.current_bias, "no bias of a current", "train without biases"),
        ("one_level", facts.uneven, target.one_level, "one threshold and one leak a layer", "share them in training"),
        ("zero_reset", facts.off_zero, target.zero_reset, "a reset to 0", "set v_reset to 0"),
    ):
        if names and bound:
            yield violation(limit, ", ".join(names), allowed, instead)


def _memory(target: Target, facts: NetworkFacts) -> Iterator[Violation]:
    """Layers that fit no core, then layers for which none is left."""
    if target.cores is None:
        return
    cores = target.cores
    alone = [name for name, block in facts.blocks.items() if unplaced({name: block}, cores)]
    for name in alone:
        need, most = needs(facts.blocks[name]), most_outputs(facts.blocks[name], cores)
        kernel, neurons = max(core.kernel for core in cores), max(core.neurons for core in cores)
        change = f"at most {most} outputs" if most else "fewer inputs or a smaller kernel"
        yield violation(
            f"memory.{name}",
            f"kernel {need.kernel}, neurons {need.neurons}, biases {need.biases}",
            f"at most kernel {kernel}, neurons {neurons} in a core",
            change,
        )
    left = unplaced({name: block for name, block in facts.blocks.items() if name not in alone}, cores)
    if left:
        allowed = f"one of {len(cores)} cores for each layer"
        yield violation(
            "memory", ", ".join(left), allowed, f"make {len(left)} of the layers smaller, or leave them out"
        )


def _weights(facts: NetworkFacts) -> int:
    return sum(weights_of(block) for block in facts.blocks.values())


def _user_memory(facts: NetworkFacts, memory: Memory, state_bits: int) -> Iterator[Violation]:
    """The least that the C99 export needs: a byte a weight; per neuron its states and a byte for its spikes."""
    word = next(size for size in (1, 2, 4) if state_bits <= 8 * size)
    states = 2 if all(kind in ("cubalif", "cubali") for kind in facts.kinds.values()) else 1
    neurons = facts.neurons + facts.outputs
    for limit, need, have, what in (
        ("flash_bytes", _weights(facts), memory.flash_bytes, "weights"),
        ("ram_bytes", neurons * (states * word + 1), memory.ram_bytes, "neurons, or narrower states"),
    ):
        if have is not None and need > have:
            yield violation(
                limit, f"at least {need}", f"at most {have}", f"reduce {limit} by {need - have}: fewer {what}"
            )
