"""The solver and the front against trying everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.allocate.front import pareto_front
from engine.allocate.problem import Budget, Problem
from engine.allocate.solver import solve
from engine.errors import InvalidSpec
from engine.reference.allocate_brute_force import best_choice, every_choice, keeps


def random_problem(seed: int, layers: int, widths: tuple[int, ...], *, ties: bool) -> Problem:
    rng = np.random.default_rng(seed)
    weights = tuple(int(n) for n in rng.integers(1, 2000, layers))
    loss = 10 ** rng.uniform(-4, 2, (layers, 1)) * 4.0 ** -np.array(widths) * rng.uniform(0.5, 2, (layers, len(widths)))
    if ties:
        loss = rng.integers(0, 4, loss.shape).astype(np.float64)
    loss = -np.sort(-loss, axis=1)
    size = np.array([[-(-n * bits // 8) + 2 for bits in widths] for n in weights])
    return Problem(tuple(f"layer{k}" for k in range(layers)), weights, widths, loss, size, fixed_bytes=50)


problems = st.builds(
    random_problem,
    seed=st.integers(0, 2**32 - 1),
    layers=st.integers(1, 4),
    widths=st.sampled_from([(2, 3, 4, 5, 6, 8), (2, 4), (3, 4, 8), (4,)]),
    ties=st.booleans(),
)


@settings(deadline=None, max_examples=40)
@given(
    problem=problems,
    mean=st.floats(2, 8),
    share=st.floats(0, 1),
    which=st.sampled_from(["bits", "bytes", "both", "none"]),
)
def test_solver_equals_brute_force(problem: Problem, mean: float, share: float, which: str) -> None:
    least, most = int(problem.size[:, 0].sum()), int(problem.size[:, -1].sum())
    budget = Budget(
        mean if which in ("bits", "both") else None,
        round(least + share * (most - least)) + problem.fixed_bytes if which in ("bytes", "both") else None,
    )
    expected = best_choice(problem, budget)
    if expected is None:
        with pytest.raises(InvalidSpec) as refused:
            solve(problem, budget)
        assert refused.value.code == "budget_infeasible"
        return
    found = solve(problem, budget)
    assert keeps(problem, budget, found)
    assert problem.key(found)[:3] == problem.key(expected)[:3]  # loss, bytes, bits


@settings(deadline=None, max_examples=40)
@given(problem=problems)
def test_front_is_exactly_the_non_dominated_choices(problem: Problem) -> None:
    front = pareto_front(problem)
    for size in (problem.bits, problem.size):
        pairs = {(problem.total(size, c), problem.total(problem.units, c)) for c in every_choice(problem)}
        best = {p for p in pairs if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in pairs)}
        assert best <= {(problem.total(size, c), problem.total(problem.units, c)) for c in front}
    everything = [
        (problem.total(problem.bits, c), problem.total(problem.size, c), problem.total(problem.units, c)) for c in front
    ]
    assert len(set(everything)) == len(front)


@settings(deadline=None, max_examples=25)
@given(problem=problems, mean=st.floats(2, 8))
def test_front_contains_the_optimum_of_every_budget(problem: Problem, mean: float) -> None:
    for budget in (Budget(mean_weight_bits=mean), Budget(program_bytes=int(problem.fixed_bytes + 100 * mean))):
        expected = best_choice(problem, budget)
        if expected is not None:
            inside = [c for c in pareto_front(problem) if keeps(problem, budget, c)]
            assert min(problem.key(c)[0] for c in inside) == problem.key(expected)[0]


def test_fifty_layers_solve_to_the_optimum_of_the_exact_front() -> None:
    problem = random_problem(1, 50, (2, 3, 4, 5, 6, 8), ties=False)
    budget = Budget(mean_weight_bits=4.0)
    best = min((c for c in pareto_front(problem) if keeps(problem, budget, c)), key=problem.key)
    assert problem.key(solve(problem, budget))[:1] == problem.key(best)[:1]


def test_losses_of_very_different_size_are_told_apart() -> None:
    loss = np.array([[1e10, 1e-3, 0.0], [2e-3, 1e-3, 0.0]])
    problem = Problem(("a", "b"), (100, 100), (2, 4, 8), loss, np.array([[25, 50, 100]] * 2))
    assert solve(problem, Budget(mean_weight_bits=6.0)) == (1, 2)


def test_ties_take_the_smallest_program() -> None:
    problem = Problem(("a", "b"), (8, 8), (2, 4), np.zeros((2, 2)), np.array([[2, 4], [2, 4]]))
    assert solve(problem, Budget(mean_weight_bits=4.0)) == (0, 0)
    assert pareto_front(problem) == ((0, 0),)


def test_mean_bits_that_are_met_exactly_are_allowed() -> None:
    problem = Problem(("a",), (10,), (2, 4), np.array([[1.0, 0.0]]), np.array([[3, 5]]))
    assert solve(problem, Budget(mean_weight_bits=4.0)) == (1,)
    third = Problem(("a", "b", "c"), (1, 1, 1), (2, 4), np.array([[1.0, 0.0]] * 3), np.array([[1, 1]] * 3))
    assert third.mean_weight_bits(solve(third, Budget(mean_weight_bits=8 / 3))) == 8 / 3


def test_infeasible_budgets_name_the_least_reachable_value() -> None:
    problem = random_problem(0, 2, (3, 4), ties=False)
    with pytest.raises(
        InvalidSpec, match=r"mean weight bits: at most 2\.5 asked for, the least that can be reached is 3"
    ):
        solve(problem, Budget(mean_weight_bits=2.5))
    least = int(problem.size[:, 0].sum()) + 50
    with pytest.raises(
        InvalidSpec, match=f"program bytes: at most 10 asked for, the least that can be reached is {least}"
    ):
        solve(problem, Budget(program_bytes=10))
    assert solve(problem, Budget(program_bytes=least)) == (0, 0)


def test_budgets_that_exclude_each_other_are_refused() -> None:
    size = np.array([[10, 1]])  # the wider width happens to be smaller
    problem = Problem(("a",), (8,), (2, 4), np.array([[1.0, 0.0]]), size)
    with pytest.raises(InvalidSpec, match="keep both budgets"):
        solve(problem, Budget(mean_weight_bits=2.0, program_bytes=5))


@pytest.mark.parametrize(
    ("widths", "loss", "message"),
    [
        ((4, 2), [[1.0, 0.0]], "widths that ascend"),
        ((2, 4), [[1.0, -1.0]], "finite and not negative"),
        ((2, 4), [[1.0, np.nan]], "finite and not negative"),
        ((2, 4), [[1.0]], "expected tables of 1 layers × 2 widths"),
    ],
)
def test_problem_refuses_bad_tables(widths: tuple[int, ...], loss: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Problem(("a",), (8,), widths, np.array(loss), np.array([[1, 2]]))
