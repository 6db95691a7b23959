"""Checks a user's plan against the network: every name known, every weight layer there."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import InvalidSpec
from engine.network.model import Network
from engine.quantizers.registry import quantizer
from engine.specs.plan import NeuronPlan, Plan


def check_plan(network: Network, plan: Plan, neuron: NeuronPlan | None = None) -> Plan:
    """The plan with a state for every neuron layer.

    Args:
        network: whose weight and neuron layers the plan must name.
        plan: as the user wrote it; every weight layer must be there, neuron layers may be left out.
        neuron: what a neuron layer that is left out takes; None: the spec's defaults.

    Returns:
        A plan that names every layer, in the network's order.

    Raises:
        InvalidSpec: ``invalid_plan``, with the name and the known ones, or the widths that contradict each other.
    """
    weights = [connection.name for connection in network.weighted]
    neurons = [layer.name for layer in network.layers]
    _check_names("weights", plan.weights, weights)
    _check_names("neurons", plan.neurons, neurons)
    missing = [name for name in weights if name not in plan.weights]
    if missing:
        raise InvalidSpec(
            "invalid_plan",
            f"plan: no bits for weight layer {', '.join(missing)}; a plan names every one of {', '.join(weights)}",
            "/plan/weights",
        )
    for entry in plan.weights.values():
        quantizer(entry.quantizer)
    default = neuron or NeuronPlan()
    states = {name: plan.neurons.get(name, default) for name in neurons}
    for name, state in states.items():
        if state.fraction_bits >= state.state_bits:
            raise InvalidSpec(
                "invalid_plan",
                f"plan: neuron layer {name!r} has {state.state_bits} state bits, its {state.fraction_bits} fraction "
                "bits are counted in them and must be fewer",
                f"/plan/neurons/{name}",
            )
    kept = {name: plan.weights[name] for name in weights}
    return Plan(weights=kept, neurons=states, input_bits=plan.input_bits)


def _check_names(part: str, given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidSpec(
                "invalid_plan", f"plan: {part} names unknown layer {name!r}; known: {', '.join(known)}", f"/plan/{part}"
            )
