"""The NIR primitives that hold state or fire: their differential equations, and what a file must give.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", Nature Communications 15, 8122.
"""

# ruff: noqa: RUF009 - the called functions return dataclass fields, as dataclasses.field does

from __future__ import annotations

from dataclasses import dataclass

from engine.network.fields import Real, real_field
from engine.network.node import Elementwise


@dataclass(frozen=True, eq=False)
class Neuron(Elementwise):
    """A layer of neurons: every parameter has the layer's shape, or is one number for all."""


@dataclass(frozen=True, eq=False)
class IF(Neuron):
    """``dv/dt = r·I``; spike where ``v > v_threshold``, then reset."""

    r: Real = real_field()
    v_threshold: Real = real_field(positive=True)
    v_reset: Real | None = real_field(default=None)


@dataclass(frozen=True, eq=False)
class LIF(Neuron):
    """``tau·dv/dt = (v_leak − v) + r·I``; spike where ``v > v_threshold``, then reset."""

    tau: Real = real_field(positive=True)
    r: Real = real_field()
    v_leak: Real = real_field()
    v_threshold: Real = real_field(positive=True)
    v_reset: Real | None = real_field(default=None)


@dataclass(frozen=True, eq=False)
class CubaLIF(Neuron):
    """``tau_syn·di/dt = −i + w_in·x``, ``tau_mem·dv/dt = (v_leak − v) + r·i``; spike where ``v > v_threshold``."""

    tau_syn: Real = real_field(positive=True)
    tau_mem: Real = real_field(positive=True)
    r: Real = real_field()
    v_leak: Real = real_field()
    v_threshold: Real = real_field(positive=True)
    v_reset: Real | None = real_field(default=None)
    w_in: Real | None = real_field(default=None)


@dataclass(frozen=True, eq=False)
class LI(Neuron):
    """``tau·dv/dt = (v_leak − v) + r·I``, without spikes."""

    tau: Real = real_field(positive=True)
    r: Real = real_field()
    v_leak: Real = real_field()


@dataclass(frozen=True, eq=False)
class CubaLI(Neuron):
    """``tau_syn·di/dt = −i + w_in·x``, ``tau_mem·dv/dt = (v_leak − v) + r·i``, without spikes."""

    tau_syn: Real = real_field(positive=True)
    tau_mem: Real = real_field(positive=True)
    r: Real = real_field()
    v_leak: Real = real_field()
    w_in: Real | None = real_field(default=None)


@dataclass(frozen=True, eq=False)
class I(Neuron):  # noqa: E742
    """``dv/dt = r·I``, without spikes."""

    r: Real = real_field()


@dataclass(frozen=True, eq=False)
class Threshold(Neuron):
    """``z = 1`` where ``v > threshold``, else 0; no state."""

    threshold: Real = real_field(positive=True)
