"""The one form of a quantizer, and the integer ranges that all of them share (DESIGN 5, "Numbers")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.errors import InvalidSpec

Granularity = Literal["layer", "channel"]
MAX_BITS = 16


def level_range(bits: int) -> tuple[int, int]:
    """Lowest and highest integer of a weight width: narrow and symmetric.

    ``−(2^(b−1)−1) .. 2^(b−1)−1``; one bit is −1 and +1 without zero (DESIGN 5).

    Args:
        bits: width, 1 to 16.

    Returns:
        (lowest, highest), both inclusive.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> level_range(4), level_range(1)
        ((-7, 7), (-1, 1))
    """
    if not 1 <= bits <= MAX_BITS:
        raise InvalidSpec("invalid_plan", f"weight bits: expected 1 to {MAX_BITS}, got {bits}", "bits")
    top = max(2 ** (bits - 1) - 1, 1)
    return -top, top


def scale_axis(granularity: Granularity) -> int | None:
    """The weight axis with scales of its own: 0 (output neuron or channel), or None for one scale a layer.

    Example:
        >>> scale_axis("channel"), scale_axis("layer")
        (0, None)
    """
    return 0 if granularity == "channel" else None


@dataclass(frozen=True)
class Phase:
    """Where training is: ``progress`` 0 to 1, the step's own random numbers, and how many layers are quantized now.

    ``share``: probability that a layer is quantized in this step (Liu, Mohammadi & Yi 2024,
    doi:10.1109/TGCN.2023.3337748); the others stay float.
    """

    progress: float
    generator: torch.Generator
    share: float = 1.0


class Quantizer(Protocol):
    """What every quantizer offers.

    Weights are ``[out, in, ...]``. A scale is positive and broadcasts against them: 0-d for a layer,
    ``[out, 1, ...]`` per channel. ``fake_quantize == levels · scale``, ``to_integers == levels``, to the bit.
    """

    @property
    def name(self) -> str:
        """The word a plan uses."""

    @property
    def free_scale(self) -> bool:
        """Whether the scale may be chosen and trained."""

    @property
    def own_range(self) -> bool:
        """Whether the range in which weights are rounded is trained apart from what a level stands for."""

    def parameters(self, weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
        """Starting scale, detached, in the weight's dtype and on its device."""

    def levels(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Integers held in floats, with plain straight-through gradients to weight and scale."""

    def training_levels(self, weight: Tensor, scale: Tensor, bits: int, phase: Phase) -> Tensor:
        """What stands in for ``levels`` in a training step: soft, random, or the same."""

    def constrain(self, scale: Tensor, *, up: bool = False) -> Tensor:
        """The scale that is used where this one is asked for: itself, or the nearest allowed (``up``: not below)."""

    def fake_quantize(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Rounded weights in the units of ``weight``, with the method's own gradients to weight and scale."""

    def to_integers(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """The integers themselves, int32, without gradient."""
