"""A job's data and network as an integer program sees them: whole numbers in, factors in the weights.

Whole numbers enter as they are. Analogue values become ``floor(x/s + 1/2)`` with ``s`` the smallest power of two at
which the training split fits the plan's ``input_bits`` (two's complement); ``s`` goes into the first weights, exactly.
Every runner applies the same rule (docs/program.md, Input).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, frexp, log2

import numpy as np

from engine.data.batches import Dataset, Split
from engine.data.rows import Rows
from engine.errors import NotRepresentable
from engine.network.model import INPUT, Network
from engine.program.programmable import programmable_network
from engine.specs.plan import Plan

CODES = np.dtype(np.int32)  # of encoded inputs: 16 bits and what lies outside


@dataclass(frozen=True)
class IntegerSide:
    """``network`` on ``data`` in integers of ``scale`` (None: whole numbers); range ``[lo, hi]`` of the training split.

    ``changed`` names the connections whose weights are no longer those of their node.
    """

    network: Network
    data: Dataset
    scale: np.float32 | None
    limits: tuple[int, int]
    changed: frozenset[str]


def integer_side(network: Network, data: Dataset, plan: Plan) -> IntegerSide:
    """What is trained and deployed.

    Raises:
        NotRepresentable: ``non_integer_input``, where analogue values enter neurons without weights, or are not finite.
    """
    scale = None if data.whole_numbers else _scale(network, data, plan.input_bits)
    made = programmable_network(network, 1.0 if scale is None else float(scale))
    seen = data if scale is None else _encoded(data, scale)
    return IntegerSide(made.network, seen, scale, _limits(seen), made.changed)


def input_range(data: Dataset) -> tuple[int, int]:
    """Range of a program's input before there is a plan: whole numbers' own, of fractions the default width's."""
    if data.whole_numbers:
        return _limits(data)
    low, _ = (data.test if data.train is None else data.train).value_range()
    most = (1 << (Plan(weights={}).input_bits - 1)) - 1
    return (-most if low < 0 else 0), most


def _limits(data: Dataset) -> tuple[int, int]:
    """Smallest and largest value of the training split, 0 and 1 included."""
    low, high = (data.test if data.train is None else data.train).value_range()
    return min(0, int(low)), max(1, int(high))


def encoded(split: Split, scale: np.float32 | None) -> Split:
    """A split's values as the program's integers, not clamped; as they are where the program has no scale."""
    if scale is None:
        return split
    if isinstance(split.x, Rows):
        return Split(split.x.encoded(float(scale)), split.y)
    return Split(np.floor(split.x.astype(np.float64) / float(scale) + 0.5).astype(CODES), split.y)


def _encoded(data: Dataset, scale: np.float32) -> Dataset:
    return replace(
        data,
        test=encoded(data.test, scale),
        train=None if data.train is None else encoded(data.train, scale),
        val=None if data.val is None else encoded(data.val, scale),
    )


def _scale(network: Network, data: Dataset, bits: int) -> np.float32:
    """The smallest power of two at which the training split fits."""
    low, high = (data.test if data.train is None else data.train).value_range()
    largest = max(-low, high)
    if not np.isfinite(largest) or largest <= 0:
        raise NotRepresentable(
            "non_integer_input", f"expected finite input that is not all 0, found {low} to {high}", "x_train"
        )
    bare = [c.name for c in network.connections if c.source == INPUT and c.weight is None]
    if bare:
        raise NotRepresentable(
            "non_integer_input",
            f"connection {bare[0]!r} brings fractions into neurons without weights that could hold their scale; put a "
            "Linear or Scale node before them or encode the data as spikes or whole numbers",
            "x_train",
        )
    step = ceil(log2(largest / ((1 << (bits - 1)) - 1)))
    return np.float32(2.0 ** max(step, frexp(float(np.finfo(np.float32).tiny))[1]))
