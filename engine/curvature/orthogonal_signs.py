"""Random sign vectors that are orthogonal to each other: as many as there are of them replace every output.

A Hadamard matrix H of order n has entries ±1 and ``HᵀH = n·I``. With a random sign per column, D, and its rows in
random order, any one row ``ξ`` of ``H·D`` has ``E[ξξᵀ] = I``, and the mean of ``ξ'Mξ`` over all n rows is ``tr M``
exactly. Rows are drawn without replacement: the mean of k of them has the variance ``(1 − k/n)·s²/k`` with s² the
variance within the sample (Cochran 1977, *Sampling Techniques*, theorem 2.2).

Orders: 1, 2, powers of two (Sylvester), and q + 1 for a prime q = 3 mod 4 (Paley 1933).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

LARGEST = 4096  # order up to which a matrix is made: 64 MiB of float32


def order_for(outputs: int) -> int:
    """The smallest order of at least ``outputs``; 0: none is small enough to be made.

    Example:
        >>> [order_for(n) for n in (1, 2, 3, 7, 10, 11, 20, 33, 100)]
        [1, 2, 4, 8, 12, 12, 20, 44, 104]
    """
    order = max(outputs, 1)
    while order <= LARGEST:
        if order & (order - 1) == 0 or (order % 4 == 0 and _prime(order - 1)):
            return order
        order += 1
    return 0


@cache
def hadamard(order: int) -> Tensor:
    """Entries ±1 with ``HᵀH = order·I``, float32 ``[order, order]``.

    Raises:
        ValueError: no construction for this order.

    Example:
        >>> h = hadamard(12)
        >>> bool((h.T @ h == 12 * torch.eye(12)).all())
        True
    """
    if order & (order - 1) == 0:
        matrix = torch.ones(1, 1)
        while len(matrix) < order:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        return matrix
    q = order - 1
    if order % 4 or not _prime(q):
        raise ValueError(f"expected a power of two or a prime = 3 mod 4 plus one, got {order}")
    residues = torch.full((q,), -1.0)
    residues[torch.arange(1, q).square() % q] = 1.0
    residues[0] = 0.0
    shift = torch.arange(q)
    skew = torch.zeros(order, order)
    skew[0, 1:], skew[1:, 0] = 1.0, -1.0
    skew[1:, 1:] = residues[(shift.unsqueeze(0) - shift.unsqueeze(1)) % q]
    return skew + torch.eye(order)


def rows_drawn(generator: torch.Generator, batch: int, outputs: int, order: int) -> tuple[Tensor, Tensor]:
    """For every sample an order of the rows ``[batch, order]`` and a sign per column ``[batch, outputs]``."""
    rows = torch.rand(batch, order, generator=generator).argsort(dim=1)
    signs = torch.randint(0, 2, (batch, outputs), generator=generator) * 2 - 1
    return rows, signs


def _prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
