"""Does a user's plan name the layers that the model has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.problems import FieldError, Problem, pointer_to
from engine.specs.job import Job
from engine.specs.plan import Plan


def check_plans(job: Job, model: Mapping[str, Any]) -> None:
    """Refuse a plan with layers that the model does not have, or without one that it has.

    Args:
        job: its ``allocate`` steps may hold a plan.
        model: summary with ``weight_layers`` and ``neuron_layers`` as (name, number).

    Raises:
        Problem: 422 ``invalid_plan`` with every wrong place.
    """
    weights = [str(name) for name, _ in model.get("weight_layers") or []]
    neurons = [str(name) for name, _ in model.get("neuron_layers") or []]
    if not weights:
        return
    for step in job.steps:
        plan = step.plan if step.kind == "allocate" else None
        if plan is not None:
            errors = list(_errors(plan, weights, neurons))
            if errors:
                detail = "; ".join(error.detail for error in errors[:5])
                raise Problem(422, "invalid_plan", detail, pointer=errors[0].pointer, errors=errors)


def _errors(plan: Plan, weights: list[str], neurons: list[str]) -> Iterable[FieldError]:
    for part, given, known in (("weights", list(plan.weights), weights), ("neurons", list(plan.neurons), neurons)):
        for name in given:
            if name not in known:
                detail = f"the model has no {part[:-1]} layer {name!r}; it has {', '.join(known)}"
                yield FieldError(pointer_to(("plan", part, name)), "invalid_plan", detail)
    for name in weights:
        if name not in plan.weights:
            yield FieldError("/plan/weights", "invalid_plan", f"weight layer {name!r} has no entry in the plan")
    for name, layer in plan.neurons.items():
        if layer.fraction_bits >= layer.state_bits:
            detail = (
                f"layer {name!r}: {layer.fraction_bits} fraction bits leave nothing of {layer.state_bits} state bits"
            )
            yield FieldError(pointer_to(("plan", "neurons", name, "fraction_bits")), "invalid_plan", detail)
