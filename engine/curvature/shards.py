"""Work in pieces that may run anywhere and in any order: the sum has the same digits.

A probe of one block of samples is the smallest piece. Its random numbers come from the job's seed and its own place
alone, and pieces are added in the order of their places, whoever computed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Place = tuple[str, int, int]  # what is probed, block, probe


@dataclass(frozen=True)
class Piece:
    """One probe of one block, float64 on the CPU.

    ``units`` ``[unit, layer]``: sums over samples that share no random number with another unit (a sample each, where
    every sample has its own vector; else the block). ``channels`` ``[channel]``: of all units, all layers in a row.
    """

    place: Place
    units: Tensor
    channels: Tensor


@dataclass(frozen=True)
class Merged:
    """All probes over all samples: ``units`` ``[probe, unit, layer]``, ``channels`` ``[probe, channel]``."""

    units: Tensor
    channels: Tensor

    @property
    def probes(self) -> int:
        """How many."""
        return len(self.units)

    def mean(self) -> Tensor:
        """Per layer, ``[layer]``: of the sum over units."""
        return self.units.sum(1).mean(0)

    def variance(self) -> Tensor:
        """Of :meth:`mean`: units are independent, so their variances add; ``[layer]``.

        Summed over units before anything is divided, two probes already tell it well where there are many samples.
        """
        if self.probes < 2:
            return torch.full_like(self.units[0, 0], torch.inf)
        return self.units.var(0).sum(0) / self.probes

    def degrees(self) -> Tensor:
        """Degrees of freedom of :meth:`variance`, ``[layer]``: how well it is known; 0 with one probe.

        Satterthwaite 1946: ``ν = (Σσ²)²/Σ(σ⁴/(n−1))`` over units, each σ known from n probes alone. With the estimates
        s² in their place both sums are too large; without bias it is ``(n+1)·(Σs²)²/Σs⁴ − 2``: n − 1 for one unit,
        about ``m·(n−1)`` for m alike. Infinite where nothing varies.
        """
        if self.probes < 2:
            return torch.zeros_like(self.units[0, 0])
        each = self.units.var(0)
        total, squares = each.sum(0), each.square().sum(0)
        return torch.where(squares > 0, (self.probes + 1) * total.square() / squares - 2, torch.inf)


def generator_of(seed: int, place: Place) -> torch.Generator:
    """Random numbers of one piece, on the CPU so that every device sees the same ones.

    Example:
        >>> a, b = (generator_of(1, ("outputs", 0, 3)) for _ in range(2))
        >>> torch.equal(torch.rand(2, generator=a), torch.rand(2, generator=b))
        True
    """
    what, block, probe = place
    words = np.random.SeedSequence([seed, *what.encode(), block, probe]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def merge(pieces: Iterable[Piece]) -> Merged:
    """Put pieces of one kind together, in the order of their places.

    Raises:
        ValueError: a piece is missing or there twice.
    """
    ordered = sorted(pieces, key=lambda piece: (piece.place[2], piece.place[1]))
    probes = sorted({piece.place[2] for piece in ordered})
    blocks = sorted({piece.place[1] for piece in ordered})
    if [(p.place[2], p.place[1]) for p in ordered] != [(probe, block) for probe in probes for block in blocks]:
        raise ValueError(
            f"expected each of {len(blocks)} blocks once for {len(probes)} probes, got {len(ordered)} pieces"
        )
    rows = [ordered[k * len(blocks) : (k + 1) * len(blocks)] for k in range(len(probes))]
    units = torch.stack([torch.cat([piece.units for piece in row]) for row in rows])
    channels = torch.stack([torch.stack([piece.channels for piece in row]).sum(0) for row in rows])
    return Merged(units, channels)
