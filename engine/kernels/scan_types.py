"""What the native and the torch scan have in common: outputs, what is saved, gradients.

Axes ``[time, batch, neuron...]`` for everything over time, ``[batch, neuron...]`` for sums over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kernels.rules import NeuronRule


@dataclass(frozen=True)
class ScanInput:
    """What flows into a layer: ``gain·current``, and the layer's own weights ``[neuron, neuron]`` (to, from).

    ``current`` may be float32 where the state (``dtype``) is float64; gains broadcast to the layer's shape.
    """

    current: Tensor
    gain: Tensor | None
    recurrent: Tensor | None
    dtype: torch.dtype


@dataclass(frozen=True)
class Saved:
    """What the backward pass needs; spikes are recomputed from ``u``.

    ``u`` the membrane before the spike's reset; ``raw`` the membrane before a dropped input replaced it (None: inputs
    are not dropped); ``inside`` where the current was strictly within its range (None: it has none).
    """

    u: Tensor
    raw: Tensor | None
    inside: Tensor | None


@dataclass(frozen=True)
class ScanOutput:
    """Spikes, membranes after every step (None: not asked), final membrane and current, what was saved."""

    spikes: Tensor
    membrane: Tensor | None
    v: Tensor
    i: Tensor | None
    saved: Saved | None


@dataclass(frozen=True)
class ScanGradients:
    """Of the input current ``[time, ...]``; of recurrent weights; of each neuron's values, one per sample."""

    current: Tensor
    recurrent: Tensor | None
    bias: Tensor | None
    bias_i: Tensor | None
    fire_at: Tensor | None
    reset_sub: Tensor | None


def saves_raw(rule: NeuronRule) -> bool:
    """Whether inputs are dropped, so that the membrane before that is needed too."""
    return rule.drop_input and rule.resets != "none"


def saves_inside(rule: NeuronRule) -> bool:
    """Whether the current can saturate."""
    return rule.limit is not None and rule.leak_i is not None


def recurrent_gradient(g_acc: Tensor, spikes: Tensor) -> Tensor:
    """``Σ_t g_t ⊗ s_{t−1}`` over time and batch, ``[neuron, neuron]`` (to, from)."""
    return g_acc[1:].flatten(0, 1).T @ spikes[:-1].flatten(0, 1)  # [(time−1)·batch, neuron]
