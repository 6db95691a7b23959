"""What one neuron does in one step, as data: the leak's form, thresholds, reset and saturation (DESIGN 5).

The float network and the integer program obey the same rule; they differ in the leak's form and in ``limit``.
Integers are held in floats, so every product must stay exact: the program's bounds check that (< 2^53 in float64).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

Rounding = Literal["floor", "toward_zero", "half_up"]


class Leak(Protocol):
    """A leak: its exact value, and the factor that stands in for its derivative."""

    @property
    def slope(self) -> Tensor | float:
        """Straight-through derivative, broadcastable to the state."""
        ...

    def apply(self, state: Tensor) -> Tensor:
        """The state after one step of leak, same shape."""
        ...


@dataclass(frozen=True)
class NoLeak:
    """The state is kept."""

    slope: float = 1.0

    def apply(self, state: Tensor) -> Tensor:
        """``v``."""
        return state


@dataclass(frozen=True)
class FloatLeak:
    """The float network's leak, ``factor·v``."""

    factor: Tensor

    @property
    def slope(self) -> Tensor:
        """The factor itself."""
        return self.factor

    def apply(self, state: Tensor) -> Tensor:
        """``factor·v``."""
        return state * self.factor


@dataclass(frozen=True)
class ShiftLeak:
    """``v − round(v / 2^k)``."""

    k: Tensor
    rounding: Rounding

    @cached_property
    def slope(self) -> Tensor:
        """``1 − 2^-k``."""
        return 1.0 - torch.exp2(-self.k)

    def apply(self, state: Tensor) -> Tensor:
        """Exact for integers held in floats."""
        return state - round_as(state.double() * self._part, self.rounding).to(state.dtype)

    @cached_property
    def _part(self) -> Tensor:
        return torch.exp2(-self.k.double())


@dataclass(frozen=True)
class MulShiftLeak:
    """``round(m·v / 2^n)``.

    Example:
        >>> leak = MulShiftLeak(torch.tensor(3.0), 2, "floor")
        >>> leak.apply(torch.tensor([5.0, -5.0])).tolist()
        [3.0, -4.0]
    """

    m: Tensor
    shift_bits: int
    rounding: Rounding

    @cached_property
    def slope(self) -> Tensor:
        """``m / 2^n``."""
        return self.m * 2.0**-self.shift_bits

    def apply(self, state: Tensor) -> Tensor:
        """Exact while ``|m·v| < 2^53``, in float32 too where ``v`` and the result are: the product is a float64."""
        if self.rounding == "half_up":  # one operation less than round_as: this is the inner loop
            return torch.addcmul(self._half, state.double(), self._exact_slope).floor_().to(state.dtype)
        return round_as(state.double() * self._exact_slope, self.rounding).to(state.dtype)

    @cached_property
    def _half(self) -> Tensor:
        return torch.full_like(self.m, 0.5, dtype=torch.float64)

    @cached_property
    def _exact_slope(self) -> Tensor:
        return self.slope.double()


def round_as(value: Tensor, rounding: Rounding) -> Tensor:
    """Round to integers: ``floor``, ``toward_zero``, or ``half_up`` (``floor(x + ½)``)."""
    if rounding == "toward_zero":
        return torch.trunc(value)
    return torch.floor(value + 0.5 if rounding == "half_up" else value)


@dataclass(frozen=True)
class NeuronRule:
    """One step of a layer's neurons; tensors broadcast to the layer's shape.

    ``leak_i`` is None but for current-based neurons, whose current takes ``bias_i`` each step; ``fire_at`` is None
    for neurons that never spike. ``limit`` is the saturation of membrane and current, None in the float network.
    ``start`` is the membrane before the first step (None: 0). ``residue_raises``: a membrane that ends a step above
    ``fire_at`` fires in the next one only at ``reset_sub`` more (float networks alone).
    """

    leak_v: Leak
    leak_i: Leak | None = None
    bias: Tensor | None = None
    bias_i: Tensor | None = None
    fire_at: Tensor | None = None
    compare: Literal["gt", "ge"] = "ge"
    reset: Literal["subtract", "to_value", "none"] = "subtract"
    reset_sub: Tensor | None = None
    reset_to: Tensor | None = None
    timing: Literal["same_step", "next_step"] = "same_step"
    order: Literal["before_leak", "after_leak"] | None = None
    drop_input: bool = False
    current: Literal["new", "old"] = "new"
    floor: Tensor | None = None
    limit: tuple[float, float] | None = None
    max_spikes: int = 1
    start: Tensor | None = None
    residue_raises: bool = False

    @property
    def resets(self) -> Literal["subtract", "to_value", "none"]:
        """The reset that takes place at all: none for neurons that never spike."""
        return "none" if self.fire_at is None else self.reset
