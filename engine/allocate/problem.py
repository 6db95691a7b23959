"""The allocation problem: one width per layer, a table of losses and sizes, and budgets. Axes: ``[layer, width]``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidSpec
from engine.specs.sizes import weight_bytes

LOSS_STEPS = 2**52  # losses are compared as integers below this sum: exact addition, exact ties, exact in float64

Choice = tuple[int, ...]  # per layer, the index of its width


@dataclass(frozen=True)
class Budget:
    """Upper bounds; None is no bound."""

    mean_weight_bits: float | None = None
    program_bytes: int | None = None


@dataclass(frozen=True)
class Problem:
    """Which widths there are, and what each costs.

    Args:
        layers: names.
        weights: number of weights per layer.
        widths: candidate bits, ascending, the same for every layer.
        loss: predicted loss increase ``[layer, width]``, nats, non-negative and finite.
        size: bytes of the program that depend on the layer's width, ``[layer, width]``.
        fixed_bytes: bytes that do not depend on any width.

    Raises:
        ValueError: shapes, order or signs are not as above.
    """

    layers: tuple[str, ...]
    weights: tuple[int, ...]
    widths: tuple[int, ...]
    loss: NDArray[np.float64]
    size: NDArray[np.int64]
    fixed_bytes: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.widths))
        if self.loss.shape != shape or self.size.shape != shape or len(self.weights) != shape[0]:
            raise ValueError(
                f"expected tables of {shape[0]} layers × {shape[1]} widths and as many weight counts, "
                f"got loss {self.loss.shape}, size {self.size.shape}, weights {len(self.weights)}"
            )
        if list(self.widths) != sorted(set(self.widths)) or 0 in shape:
            raise ValueError(f"expected layers, and widths that ascend, got {shape[0]} layers, {self.widths}")
        if not np.isfinite(self.loss).all() or (self.loss < 0).any():
            raise ValueError("expected losses that are finite and not negative")

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """Losses as integers in steps of ``Σ_l max_w loss / 2^52``, ``[layer, width]``."""
        largest = float(self.loss.max(axis=1).sum())
        return np.rint(self.loss / largest * LOSS_STEPS if largest > 0 else self.loss).astype(np.int64)

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """Weight bits ``N_l·b``, ``[layer, width]``."""
        return np.outer(np.asarray(self.weights, np.int64), np.asarray(self.widths, np.int64))

    def total(self, table: NDArray[np.int64], choice: Sequence[int]) -> int:
        """Sum of a table's entries over one choice."""
        return int(table[np.arange(len(self.layers)), list(choice)].sum())

    def predicted_loss(self, choice: Sequence[int]) -> float:
        """Sum of the layers' losses, nats."""
        return math.fsum(self.loss[np.arange(len(self.layers)), list(choice)])

    def program_bytes(self, choice: Sequence[int]) -> int:
        """Bytes of the program, the fixed part included."""
        return self.fixed_bytes + self.total(self.size, choice)

    def weight_bytes(self, choice: Sequence[int]) -> int:
        """Packed weights alone, every layer padded to a whole byte."""
        return sum(weight_bytes(n, self.widths[w]) for n, w in zip(self.weights, choice, strict=True))

    def mean_weight_bits(self, choice: Sequence[int]) -> float:
        """``Σ N_l·b_l / Σ N_l``."""
        return self.total(self.bits, choice) / sum(self.weights)

    def bits_by_layer(self, choice: Sequence[int]) -> dict[str, int]:
        """Layer name → width."""
        return {name: self.widths[w] for name, w in zip(self.layers, choice, strict=True)}

    def key(self, choice: Sequence[int]) -> tuple[int, int, int, Choice]:
        """The order of choices: least loss, then fewest bytes, then fewest weight bits, then narrow first layers."""
        totals = (self.total(table, choice) for table in (self.units, self.size, self.bits))
        return (*totals, tuple(int(w) for w in choice))  # type: ignore[return-value]

    def bounds(self, budget: Budget) -> tuple[int | None, int | None]:
        """The budget as integers: most weight bits ``Σ N·b``, and most bytes without the fixed ones.

        Raises:
            InvalidSpec: ``budget_infeasible`` with the least value that can be reached.

        Example:
            >>> one = Problem(("a",), (10,), (2, 4), np.array([[1.0, 0.0]]), np.array([[3, 5]]), fixed_bytes=100)
            >>> one.bounds(Budget(mean_weight_bits=3.5, program_bytes=104))
            (35, 4)
        """
        most_bits = most_bytes = None
        if budget.mean_weight_bits is not None:
            most_bits = _most_below(budget.mean_weight_bits, sum(self.weights))
            _check_reachable(
                "mean weight bits", budget.mean_weight_bits, most_bits >= int(self.bits[:, 0].sum()), self.widths[0]
            )
        if budget.program_bytes is not None:
            most_bytes = budget.program_bytes - self.fixed_bytes
            least = int(self.size.min(axis=1).sum())
            _check_reachable("program bytes", budget.program_bytes, most_bytes >= least, least + self.fixed_bytes)
        return most_bits, most_bytes


def _most_below(mean: float, count: int) -> int:
    """The largest integer k with ``k / count <= mean`` as floats compare, which is how a gate will judge it."""
    most = math.floor(mean * count) + 1
    while most / count > mean:
        most -= 1
    return most


def _check_reachable(name: str, bound: float, reachable: bool, least: float) -> None:
    if not reachable:
        field = name.replace(" ", "_")
        raise InvalidSpec(
            "budget_infeasible", f"{name}: at most {bound} asked for, the least that can be reached is {least}", field
        )
