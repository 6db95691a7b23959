"""Allocation by trying everything: the oracle of the solver and of the front."""

from __future__ import annotations

from itertools import product

from engine.allocate.problem import Budget, Choice, Problem


def best_choice(problem: Problem, budget: Budget) -> Choice | None:
    """The first choice in the problem's order that keeps the budget; None where none does.

    Args:
        problem: at most a few layers: ``widths ** layers`` choices are tried.
        budget: upper bounds.
    """
    return min(
        (choice for choice in every_choice(problem) if keeps(problem, budget, choice)), key=problem.key, default=None
    )


def keeps(problem: Problem, budget: Budget, choice: Choice) -> bool:
    """Whether a choice is within the budget."""
    bits, size = budget.mean_weight_bits, budget.program_bytes
    return (bits is None or problem.mean_weight_bits(choice) <= bits) and (
        size is None or problem.program_bytes(choice) <= size
    )


def every_choice(problem: Problem) -> list[Choice]:
    """All of them, narrow first layers first."""
    return list(product(range(len(problem.widths)), repeat=len(problem.layers)))
