"""The whole Pareto front of size against predicted loss, exactly, by dynamic programming over non-dominated sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.allocate.problem import Choice, Problem

Ints = NDArray[np.int64]


def pareto_front(problem: Problem) -> tuple[Choice, ...]:
    """Every non-dominated (weight bits, loss) and (program bytes, loss) pair, one choice of widths each.

    Source: Nemhauser and Ullmann 1969: of all partial sums over the first k layers only those that no other beats
    in both size and loss can be extended to an optimum, so layer after layer ::

        L_k = pareto{ (s + size[k,w], c + loss[k,w]) : (s, c) ∈ L_{k−1}, w }

    Losses are the integers of ``Problem.units``, so sums and ties are exact. The front holds an optimum for every
    single budget, in bits or in bytes; the two differ because each layer is padded to a whole byte.

    Args:
        problem: the tables.

    Returns:
        Choices, smallest program first.

    Example:
        >>> loss = np.array([[9.0, 1.0], [2.0, 1.0]])
        >>> two = Problem(("a", "b"), (10, 10), (2, 6), loss, np.array([[3, 8], [3, 8]]))
        >>> pareto_front(two)
        ((0, 0), (1, 0), (1, 1))
    """
    choices = {choice for size in (problem.bits, problem.size) for choice in _front(size, problem.units)}
    order = (problem.size, problem.bits)
    return tuple(sorted(choices, key=lambda c: (*(problem.total(t, c) for t in order), problem.key(c))))


def _front(size: Ints, units: Ints) -> list[Choice]:
    sizes, losses = np.zeros(1, np.int64), np.zeros(1, np.int64)
    steps: list[tuple[NDArray[np.int32], NDArray[np.int8]]] = []  # per layer: parent label, width taken
    widths = size.shape[1]
    for layer in range(size.shape[0]):
        all_sizes = (sizes[:, None] + size[layer]).ravel()  # [label · width]
        all_losses = (losses[:, None] + units[layer]).ravel()
        kept = _non_dominated(all_sizes, all_losses)
        steps.append(((kept // widths).astype(np.int32), (kept % widths).astype(np.int8)))
        sizes, losses = all_sizes[kept], all_losses[kept]
    return _trace_back(steps, len(sizes))


def _non_dominated(sizes: Ints, losses: Ints) -> Ints:
    """Indices by ascending size, loss strictly falling."""
    order = np.lexsort((losses, sizes))
    sorted_losses = losses[order]
    least_before = np.concatenate(([np.iinfo(np.int64).max], np.minimum.accumulate(sorted_losses)[:-1]))
    return order[sorted_losses < least_before]


def _trace_back(steps: list[tuple[NDArray[np.int32], NDArray[np.int8]]], count: int) -> list[Choice]:
    label: NDArray[np.int32] = np.arange(count, dtype=np.int32)
    columns = []
    for parents, taken in reversed(steps):
        columns.append(taken[label])
        label = parents[label]
    table = np.stack(columns[::-1], axis=1)  # [label, layer]
    return [tuple(int(width) for width in row) for row in table]
