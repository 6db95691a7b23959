"""The ``allocate`` step: bits per layer from a sensitivity report, or the user's own plan, checked."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engine.allocate.front import pareto_front
from engine.allocate.granularity import Granularities, Granularity, choose_granularity, coarser
from engine.allocate.losses import Predictor, caution, layer_losses
from engine.allocate.plan_check import check_plan
from engine.allocate.problem import Budget, Choice, Problem
from engine.allocate.solver import SOLVER, solve
from engine.errors import InvalidSpec
from engine.network.model import Network
from engine.specs.plan import Plan, WeightPlan
from engine.specs.planned import AllocateSection, FrontPoint, SensitivitySection
from engine.specs.steps import AllocateStep

BytesOf = Callable[[Plan], int]  # size that payload.bin will have for a plan
MAX_FRONT_POINTS = 1000  # of a report; more are thinned evenly, a page cannot show them


def allocate(
    network: Network, sensitivity: SensitivitySection | None, spec: AllocateStep, bytes_of: BytesOf
) -> AllocateSection:
    """Choose the width of every weight layer under the budgets, and the front it was chosen from.

    The program's size is taken as a fixed part plus a part per (layer, width), each found by asking ``bytes_of`` for
    the narrowest plan with that one layer widened. The plan's size is asked for once more at the end; where the parts
    do not simply add up and it exceeds the budget, the budget is tightened by the excess and the program solved again.

    Args:
        network: whose weighted connections are the layers.
        sensitivity: losses per layer and width; None only with the user's own plan.
        spec: widths, budgets, predictor, granularity, state; or the user's own plan, for which budgets do not count
            (gates judge it).
        bytes_of: size of ``payload.bin`` for a complete plan.

    Returns:
        The section, with the plan and the front (all of it up to 1,000 points, else evenly thinned, its two ends and
        the plan kept).

    Raises:
        InvalidSpec: ``budget_infeasible`` with the least reachable value, ``invalid_plan``, or ``invalid_step``.
    """
    start = time.perf_counter()
    if spec.plan is not None:
        return _users_plan(network, sensitivity, spec, spec.plan, bytes_of, start)
    if sensitivity is None and len(set(spec.widths)) == 1:
        return _one_width(network, spec, bytes_of, start)
    if sensitivity is None:
        raise InvalidSpec("invalid_step", "allocate needs an earlier step 'sensitivity', or a plan", "/steps")
    found = sensitivity

    def solved(scales: Granularities) -> AllocateSection:
        return _solved(network, found, spec, bytes_of, scales, start)

    if spec.granularity == "auto" and spec.program_bytes is not None:
        return choose_granularity(network, solved)
    return solved(_scales(network, spec))


def _scales(network: Network, spec: AllocateStep) -> dict[str, Granularity]:
    """What the step says; ``auto`` without a byte budget: by channel, which is never worse."""
    one: Granularity = "channel" if spec.granularity == "auto" else spec.granularity
    return {c.name: one for c in network.weighted}


def _solved(
    network: Network,
    sensitivity: SensitivitySection,
    spec: AllocateStep,
    bytes_of: BytesOf,
    scales: Granularities,
    start: float,
) -> AllocateSection:
    """The exact optimum with these scales."""
    problem, predictor = _problem(network, sensitivity, spec, bytes_of, scales)
    budget = Budget(spec.mean_weight_bits, spec.program_bytes)
    front = pareto_front(problem)
    choice = _choose(problem, budget, front, lambda c: bytes_of(_plan(network, spec, problem.bits_by_layer(c), scales)))
    points, note = _front_points(problem, front, choice)
    return AllocateSection(
        plan=_plan(network, spec, problem.bits_by_layer(choice), scales),
        source="solver",
        predictor=predictor,
        caution=caution(sensitivity, predictor),
        mean_weight_bits=problem.mean_weight_bits(choice),
        predicted_loss=problem.predicted_loss(choice),
        budget_mean_weight_bits=spec.mean_weight_bits,
        budget_program_bytes=spec.program_bytes,
        front=points,
        solver=f"{SOLVER}, checked against the exact front{note}",
        seconds=time.perf_counter() - start,
    )


def _one_width(network: Network, spec: AllocateStep, bytes_of: BytesOf, start: float) -> AllocateSection:
    """The plan where there is nothing to choose."""
    bits = spec.widths[0]
    plan = _plan(network, spec, dict.fromkeys((c.name for c in network.weighted), bits), _scales(network, spec))
    size = bytes_of(plan)
    if spec.program_bytes is not None and size > spec.program_bytes:
        detail = f"{spec.program_bytes} bytes cannot hold the program: at {bits} bits, the only width, it takes {size}"
        raise InvalidSpec("budget_infeasible", detail, "/program_bytes")
    return AllocateSection(
        plan=plan,
        source="solver",
        predictor="none",
        mean_weight_bits=float(bits),
        predicted_loss=None,
        budget_mean_weight_bits=spec.mean_weight_bits,
        budget_program_bytes=spec.program_bytes,
        front=(),
        solver="nothing: there is one width",
        seconds=time.perf_counter() - start,
    )


def _users_plan(
    network: Network,
    sensitivity: SensitivitySection | None,
    spec: AllocateStep,
    own: Plan,
    bytes_of: BytesOf,
    start: float,
) -> AllocateSection:
    plan = check_plan(network, own, spec.neuron)
    counts = {c.name: c.weight.size for c in network.weighted if c.weight is not None}
    bits = {name: entry.bits for name, entry in plan.weights.items()}
    points: tuple[FrontPoint, ...] = ()
    predictor: Predictor | None = None
    loss, note = None, ""
    if sensitivity is not None:
        problem, predictor = _problem(network, sensitivity, spec, bytes_of, _scales(network, spec))
        points, note = _front_points(problem, pareto_front(problem), None)
        if set(bits.values()) <= set(problem.widths):
            loss = problem.predicted_loss([problem.widths.index(bits[name]) for name in problem.layers])
    return AllocateSection(
        plan=plan,
        source="user",
        predictor=predictor or "none",
        mean_weight_bits=sum(counts[name] * b for name, b in bits.items()) / sum(counts.values()),
        predicted_loss=loss,
        budget_mean_weight_bits=None,
        budget_program_bytes=None,
        front=points,
        solver=f"none: the user's plan{note}",
        seconds=time.perf_counter() - start,
    )


def _problem(
    network: Network, sensitivity: SensitivitySection, spec: AllocateStep, bytes_of: BytesOf, scales: Granularities
) -> tuple[Problem, Predictor]:
    widths = tuple(sorted(set(spec.widths)))
    counts = {c.name: c.weight.size for c in network.weighted if c.weight is not None}
    analysed = tuple(layer.layer for layer in sensitivity.layers)
    if sorted(analysed) != sorted(counts):
        raise InvalidSpec(
            "invalid_step",
            f"allocate: the sensitivity step is of layers {', '.join(analysed)}, the network has {', '.join(counts)}",
            "/steps",
        )
    losses, predictor = layer_losses(sensitivity, widths, spec.predictor)
    if spec.granularity == "auto":
        losses = losses * coarser(network, analysed, widths, spec.quantizer, scales, "channel")
    narrowest = dict.fromkeys(counts, widths[0])
    fixed = bytes_of(_plan(network, spec, narrowest, scales))
    size = [
        [bytes_of(_plan(network, spec, narrowest | {name: b}, scales)) - fixed for b in widths] for name in analysed
    ]
    table = np.array(size, dtype=np.int64)
    return Problem(analysed, tuple(counts[name] for name in analysed), widths, losses, table, fixed), predictor


def _plan(network: Network, spec: AllocateStep, bits: dict[str, int], scales: Granularities) -> Plan:
    entries = {
        c.name: WeightPlan(bits=bits[c.name], quantizer=spec.quantizer, granularity=scales[c.name])
        for c in network.weighted
    }
    return check_plan(network, Plan(weights=entries), spec.neuron)


def _choose(problem: Problem, budget: Budget, front: tuple[Choice, ...], size_of: Callable[[Choice], int]) -> Choice:
    """The solver's optimum, or a point of the exact front that HiGHS's tolerances hid from it."""
    asked = budget
    while True:
        most_bits, most_bytes = problem.bounds(asked)
        candidates = [solve(problem, asked)]
        candidates += [c for c in front if _keeps(problem, c, most_bits, most_bytes)]
        choice = min(candidates, key=problem.key)
        excess = size_of(choice) - budget.program_bytes if budget.program_bytes is not None else 0
        if excess <= 0 or asked.program_bytes is None:
            return choice
        asked = Budget(asked.mean_weight_bits, min(problem.program_bytes(choice), asked.program_bytes) - excess)


def _keeps(problem: Problem, choice: Choice, most_bits: int | None, most_bytes: int | None) -> bool:
    return (most_bits is None or problem.total(problem.bits, choice) <= most_bits) and (
        most_bytes is None or problem.total(problem.size, choice) <= most_bytes
    )


def _front_points(
    problem: Problem, front: tuple[Choice, ...], choice: Choice | None
) -> tuple[tuple[FrontPoint, ...], str]:
    shown, note = front, ""
    if len(front) > MAX_FRONT_POINTS:
        kept = np.linspace(0, len(front) - 1, MAX_FRONT_POINTS).round().astype(int)
        shown = tuple(front[i] for i in sorted({*kept.tolist(), *([front.index(choice)] if choice in front else [])}))
        note = f"; {len(shown)} of its {len(front)} points are listed"
    points = tuple(
        FrontPoint(
            bits=problem.bits_by_layer(c),
            mean_weight_bits=problem.mean_weight_bits(c),
            weight_bytes=problem.weight_bytes(c),
            program_bytes=problem.program_bytes(c),
            predicted_loss=problem.predicted_loss(c),
        )
        for c in shown
    )
    return points, note
