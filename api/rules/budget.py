"""Can the asked size be met at all: a lower bound from the number of weights and the narrowest bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.problems import invalid
from engine.specs.job import Job
from engine.specs.sizes import weight_bytes
from engine.specs.steps import AllocateStep

TOLERANCE = 1e-9  # of a mean of whole numbers


def check_budgets(job: Job, model: Mapping[str, Any]) -> None:
    """Refuse a byte budget below the weights at their narrowest, and gates that the user's own plan must miss.

    Args:
        job: its ``allocate`` steps hold the budgets, its gates the bounds.
        model: summary with ``weight_layers`` as (name, number).

    Raises:
        Problem: 422 ``budget_infeasible`` or, for a plan, ``contradictory_gates``.
    """
    layers = [(str(name), int(number)) for name, number in model.get("weight_layers") or []]
    for step in job.steps:
        if isinstance(step, AllocateStep) and layers:
            _check_bytes(step, job, layers)
            _check_mean(step, job, layers)


def _bits(step: AllocateStep, layer: str) -> int:
    if step.plan is not None and layer in step.plan.weights:
        return step.plan.weights[layer].bits
    return min(step.widths)


def _check_bytes(step: AllocateStep, job: Job, layers: list[tuple[str, int]]) -> None:
    least = sum(weight_bytes(number, _bits(step, name)) for name, number in layers)
    for bound, pointer in (
        (step.program_bytes, "/program_bytes"),
        (job.gates.max_program_bytes, "/gates/max_program_bytes"),
    ):
        if bound is None or bound >= least:
            continue
        if step.plan is not None:
            detail = f"the plan's weights alone take {least} bytes, more than the {bound} that are allowed"
            raise invalid("contradictory_gates", detail, pointer)
        detail = f"{bound} bytes cannot hold the program: its weights alone take {least} at {min(step.widths)} bits"
        raise invalid("budget_infeasible", detail, pointer)


def _check_mean(step: AllocateStep, job: Job, layers: list[tuple[str, int]]) -> None:
    if step.plan is None:
        return
    mean = sum(number * _bits(step, name) for name, number in layers) / sum(number for _, number in layers)
    bound = job.gates.max_mean_weight_bits  # the step's own budget binds what is chosen, not the user's plan
    if bound is not None and mean > bound + TOLERANCE:
        detail = f"the plan has {mean:.4g} mean weight bits, more than the {bound:g} that are allowed"
        raise invalid("contradictory_gates", detail, "/gates/max_mean_weight_bits")
