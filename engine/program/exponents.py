"""One scale per layer and an exponent per connection: weights of several connections in one unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.program.program import MAX_EXPONENT, IntArray

Array = NDArray[np.float64]


def split_exponents(scales: list[Array], most: int) -> tuple[list[IntArray], Array]:
    """Exponents of the connections into one layer, 0 to ``most``, and log2 of the u that then fits them best."""
    if not scales:
        return [], np.zeros(())
    wanted = np.log2(np.stack(scales))  # [connection, row] or [connection]
    exponents = np.clip(np.floor(wanted - wanted.min(axis=0) + 0.5), 0, most)
    return list(exponents.astype(np.int64)), np.asarray((wanted - exponents).mean(axis=0))


def power_of_two_scale(scales: list[Array], plain: list[float]) -> tuple[float, list[IntArray]]:
    """u = 2^-k at or below every wanted step, where spikes worth ``plain`` (1, or a pool's factor) enter unweighted."""
    least = min([*(float(s) for s in scales), *plain])
    k = int(np.clip(np.ceil(-np.log2(least)), 0, MAX_EXPONENT))
    exponents = [np.asarray(np.clip(np.floor(np.log2(s) + k + 0.5), 0, MAX_EXPONENT), dtype=np.int64) for s in scales]
    return 2.0**-k, exponents
