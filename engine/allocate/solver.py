"""The exact integer program of mixed precision: one width per layer, least predicted loss under budgets."""

from __future__ import annotations

from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from engine.allocate.problem import Budget, Choice, Problem
from engine.errors import InvalidSpec

OBJECTIVE_RANGE = 1e6  # HiGHS stops at a gap of 1e-6 and takes rows as kept within 1e-6: 1e-12 of this range
Row = tuple[NDArray[np.float64], float]  # coefficients [layer, width], upper bound
SOLVER = f"HiGHS (scipy {metadata.version('scipy')}) with relative gap 0"


def solve(problem: Problem, budget: Budget) -> Choice:
    """The width of every layer that minimises the summed loss under the budget.

    Source: the multiple-choice knapsack of HAWQ-V3 (Yao et al. 2021, section 3.4), ``x[l, w] ∈ {0, 1}``::

        min Σ loss[l,w]·x[l,w]   s.t.  Σ_w x[l,w] = 1 for every layer
        Σ N_l·b_w·x[l,w] ≤ mean·Σ N_l,   fixed + Σ size[l,w]·x[l,w] ≤ bytes

    HiGHS works with absolute tolerances, so it is run twice: once for a feasible answer of loss U, then on losses
    scaled to U, where no width that alone costs more than U can take part. Equal losses are decided by fewest bytes,
    then by fewest weight bits (two more runs), beyond that by HiGHS, which is deterministic.

    Args:
        problem: the tables.
        budget: upper bounds; both, one or none.

    Returns:
        Per layer, the index of its width.

    Raises:
        InvalidSpec: ``budget_infeasible`` with the least value that can be reached.

    Example:
        >>> loss = np.array([[9.0, 1.0], [2.0, 1.0]])
        >>> two = Problem(("a", "b"), (10, 10), (2, 6), loss, np.array([[3, 8], [3, 8]]))
        >>> solve(two, Budget(mean_weight_bits=4))
        (1, 0)
    """
    most_bits, most_bytes = problem.bounds(budget)
    rows: list[Row] = []
    if most_bits is not None:
        rows.append(_scaled_row(problem.bits, most_bits))
    if most_bytes is not None:
        rows.append(_scaled_row(problem.size, most_bytes))
    units = problem.units.astype(np.float64)
    allowed = np.ones(units.shape, dtype=bool)
    best = _run(problem, units, allowed, rows)
    if best is None:
        raise InvalidSpec("budget_infeasible", f"no widths of {problem.widths} keep both budgets: {budget}", "budget")
    for _ in range(2):  # the second round only where the first one lowered U
        bound = problem.total(problem.units, best)
        allowed &= units <= bound
        better = _run(problem, units, allowed, rows)
        if better is None or problem.total(problem.units, better) >= bound:
            break
        best = better
    for table in (problem.size, problem.bits):
        bound = problem.total(problem.units, best)
        rows_now = [*rows, _scaled_row(np.where(allowed, problem.units, 0), bound)]
        smaller = _run(problem, table.astype(np.float64), allowed, rows_now)
        if smaller is not None and problem.key(smaller) < problem.key(best):
            best = smaller
        rows.append(_scaled_row(table, problem.total(table, best)))
    return best


def _scaled_row(table: NDArray[np.int64], bound: int) -> Row:
    """``Σ table·x ≤ bound`` of integers. Half a unit of slack keeps the row's rounding away from the boundary."""
    scale = OBJECTIVE_RANGE / max(bound, 1) if bound > OBJECTIVE_RANGE else 1.0
    return table.astype(np.float64) * scale, (bound + 0.5) * scale


def _run(
    problem: Problem, objective: NDArray[np.float64], allowed: NDArray[np.bool_], rows: list[Row]
) -> Choice | None:
    """One run of HiGHS; None where nothing is feasible or its rounded answer breaks a row."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # a second: not at the start of every job

    layers, widths = objective.shape
    largest = float(np.where(allowed, objective, 0).max())
    scaled = np.where(allowed, objective, 0) * (OBJECTIVE_RANGE / largest if largest > 0 else 1.0)
    one_width = LinearConstraint(np.kron(np.eye(layers), np.ones(widths)), 1, 1)
    limits = [LinearConstraint(coefficients.reshape(1, -1), -np.inf, bound) for coefficients, bound in rows]
    answer = milp(
        scaled.ravel(),
        constraints=[one_width, *limits],
        bounds=Bounds(0, allowed.ravel().astype(np.float64)),
        integrality=np.ones(layers * widths),
        options={"mip_rel_gap": 0.0},
    )
    if answer.x is None:
        return None
    choice = tuple(int(w) for w in answer.x.reshape(layers, widths).argmax(axis=1))
    picked = np.arange(layers)
    kept = all(coefficients[picked, list(choice)].sum() <= bound for coefficients, bound in rows)
    return choice if kept else None
