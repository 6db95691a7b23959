"""Roundings that the training form and integerize share, as pure NumPy functions (DESIGN 5).

With u a neuron's base scale, g its gain (``r``, ``w_in``, ``dt/tau`` folded) and f its layer's fraction bits, one unit
of state is worth ``unit = u·g·2**-f`` of the float membrane.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import NotRepresentable
from engine.network.model import Network, Scale
from engine.program.program import MAX_EXPONENT, IntArray, Leak
from engine.specs.dynamics import not_programmable
from engine.specs.plan import LeakForm, NoLeak, ShiftLeak

Array = NDArray[np.float64]


def integer_thresholds(
    theta: ArrayLike, unit: ArrayLike, test: Literal["gt", "ge"], level_bits: int = 0
) -> tuple[IntArray, IntArray]:
    """The two integers of a threshold (DESIGN 5, Thresholds).

    ``v > θ`` fires at ``floor(θ/unit) + 1``, ``v ≥ θ`` at ``ceil(θ/unit)``; ``reset_sub = floor(θ/unit + 1/2)``, so
    ``fire_at - reset_sub`` is 0 or 1. Where levels are multiples of ``s = 2**level_bits``, the threshold is the nearest
    multiple and a chip's ``v > θ``: ``reset_sub = s·floor(θ/(unit·s) + 1/2)``, ``fire_at = reset_sub + 1``.

    Args:
        theta: thresholds, any shape.
        unit: worth of one state unit, broadcastable to ``theta``, positive.
        test: ``gt`` or ``ge``.
        level_bits: of the layer's plan.

    Returns:
        ``(fire_at, reset_sub)``, int64.

    Example:
        >>> [int(n[0]) for n in integer_thresholds([1.0], [0.25], "gt")]
        [5, 4]
    """
    ratio = np.asarray(theta, dtype=np.float64) / np.asarray(unit, dtype=np.float64)
    if level_bits:
        coarse = integer_level(theta, unit, level_bits)
        return coarse + 1, coarse
    fire_at = np.floor(ratio) + 1 if test == "gt" else np.ceil(ratio)
    return _to_int64(fire_at, "a threshold"), _to_int64(np.floor(ratio + 0.5), "a threshold")


def check_programmable(network: Network) -> None:
    """Refuse what the integer program's step (DESIGN 5) does not know.

    Raises:
        NotRepresentable: ``dynamics_not_representable``, naming the profile's field; ``node_not_representable``,
            naming the node.
    """
    reason = not_programmable(network.dynamics)
    if reason is not None:
        raise NotRepresentable("dynamics_not_representable", reason, "residue")
    for connection in network.connections:
        if any(isinstance(part, Scale) for part in (*connection.before, *connection.after)):
            detail = f"connection {connection.name!r} holds a Scale, which the integer program does not know"
            raise NotRepresentable("node_not_representable", detail, connection.name)


def integer_level(value: ArrayLike, unit: ArrayLike, level_bits: int = 0) -> IntArray:
    """A bias, reset value, floor or start in state units: ``s·floor(value/(unit·s) + 1/2)`` with ``s = 2**level_bits``.

    Example:
        >>> integer_level([0.6, -0.6], 0.25).tolist()
        [2, -2]
    """
    ratio = np.asarray(value, dtype=np.float64) / np.asarray(unit, dtype=np.float64)
    return _to_int64(np.floor(ratio * 2.0**-level_bits + 0.5), "a level") << level_bits


def leak_entry(decay: ArrayLike, form: LeakForm) -> Leak:
    """The registry entry that stands for a float decay (``s' = decay·s``).

    ``mul_shift``: ``m = floor(decay·2**n + 1/2)``; ``shift``: the form's ``k``, else
    ``k = floor(-log2(1 - decay) + 1/2)``. Decays that are 1
    everywhere after rounding become ``none``, whatever the form: the results are equal and no product is needed.

    Args:
        decay: one value per neuron (or broadcastable).
        form: the plan's leak form.

    Returns:
        a :class:`Leak` whose ``values`` have ``decay``'s shape.

    Raises:
        NotRepresentable: the form cannot say this decay.

    Example:
        >>> from engine.specs.plan import MulShiftLeak
        >>> int(leak_entry(0.9, MulShiftLeak(shift_bits=12)).values)
        3686
    """
    decay = np.asarray(decay, dtype=np.float64)
    if np.all(decay == 1):
        return Leak()
    if np.all(decay == 0):  # no memory: exact in every form, and no product is needed
        return Leak("shift", np.zeros(decay.shape, dtype=np.int64), 0, "floor")
    if isinstance(form, NoLeak):
        raise NotRepresentable("leak_form", f"leak form 'none' needs a decay of 1, found {float(decay.min()):g}")
    if isinstance(form, ShiftLeak):
        if np.any((decay < 0) | (decay >= 1)):
            worst = float(decay[(decay < 0) | (decay >= 1)].flat[0])
            raise NotRepresentable("leak_form", f"leak form 'shift' needs decays in [0, 1), found {worst:g}")
        k = np.floor(-np.log2(1 - decay) + 0.5) if form.k is None else np.where(decay == 0, 0, form.k)
        return Leak("shift", np.clip(k, 0, 31).astype(np.int64), 0, form.rounding)
    factor = _to_int64(np.floor(decay * 2.0**form.shift_bits + 0.5), "a leak factor")
    if np.all(factor == 1 << form.shift_bits):
        return Leak()
    return Leak("mul_shift", factor, form.shift_bits, form.rounding)


def common_scale(steps: list[Array]) -> tuple[NDArray[np.float32], list[IntArray]]:
    """Base scale and exponents nearest to the step sizes that connections into one layer want.

    ``u = min_c s_c`` as float32 and ``e_c = clip(floor(log2(s_c/u) + 1/2), 0, 15)``: each connection's step becomes
    ``u·2**e_c``.

    Args:
        steps: positive step sizes, one array per connection, all of one shape.

    Returns:
        ``(u, [e_c, ...])`` of that shape.

    Example:
        >>> u, e = common_scale([np.array([0.5]), np.array([0.13])])
        >>> float(u[0]).__round__(2), [int(x[0]) for x in e]
        (0.13, [2, 0])
    """
    stacked = np.stack([np.asarray(step, dtype=np.float64) for step in steps])
    if not np.all(stacked > 0):
        raise NotRepresentable("non_positive_factor", "step sizes must be positive")
    base = stacked.min(axis=0).astype(np.float32)
    exponents = np.clip(np.floor(np.log2(stacked / base) + 0.5), 0, MAX_EXPONENT).astype(np.int64)
    return base, list(exponents)


def _to_int64(value: Array, what: str) -> IntArray:
    if not np.all(np.abs(value) < 2.0**62):
        raise NotRepresentable("state_range", f"{what} is too large for its unit: {float(np.abs(value).max()):g} units")
    return value.astype(np.int64)
