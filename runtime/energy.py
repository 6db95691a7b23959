"""Energy of a run from its counts: estimates with published figures, never measurements.

``cmos45``: Horowitz 2014, "Computing's energy problem (and what we can do about it)", ISSCC, 45 nm at 0.9 V: 0.1 pJ for
a 32-bit addition, 3.1 pJ for a 32-bit multiplication, 10, 20 and 100 pJ for 64 bits from 8 KiB, 32 KiB and 1 MiB of
SRAM. ``loihi``: Davies et al. 2018, "Loihi: a neuromorphic manycore processor with on-chip learning", IEEE Micro 38(1):
23.6 pJ for a synaptic operation, 81 and 52 pJ for the update of an active and of an inactive neuron.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.cost import Operations

ADD_PJ, MULTIPLY_PJ = 0.1, 3.1
SRAM_PJ = ((8 << 10, 10.0), (32 << 10, 20.0), (1 << 20, 100.0))  # bytes, for 64 bits
ADDITIONS = 3  # of an update: leak, sum, comparison
SYNAPSE_PJ, ACTIVE_PJ, INACTIVE_PJ = 23.6, 81.0, 52.0


@dataclass(frozen=True)
class Energy:
    """Estimated picojoule of a run by events, and of one that skips nothing (None: the source has no such machine)."""

    model: str
    source: str
    events_pj: float
    dense_pj: float | None


def estimate_energy(counted: Operations, memory_bytes: int) -> tuple[Energy, ...]:
    """Both models.

    Args:
        counted: what was counted.
        memory_bytes: payload and state; beyond 1 MiB the SRAM figure of 1 MiB is used, which is then too low.

    Example:
        >>> [round(e.events_pj) for e in estimate_energy(Operations(synaptic=10, updates=4, needed=2), 1024)]
        [2, 502]
    """
    read = next((pj for size, pj in SRAM_PJ if memory_bytes <= size), SRAM_PJ[-1][1])
    events = (
        ADD_PJ * (counted.synaptic + ADDITIONS * counted.needed)
        + MULTIPLY_PJ * counted.multiplied
        + read * counted.moved_bits / 64
    )
    dense = (
        ADD_PJ * (counted.dense + ADDITIONS * counted.updates)
        + MULTIPLY_PJ * counted.dense_multiplied
        + read * counted.dense_moved_bits / 64
    )
    idle = counted.updates - counted.needed
    loihi = SYNAPSE_PJ * counted.synaptic + ACTIVE_PJ * counted.needed + INACTIVE_PJ * idle
    return (
        Energy("cmos45", "Horowitz 2014, ISSCC, 45 nm", events, dense),
        Energy("loihi", "Davies et al. 2018, IEEE Micro 38(1)", loihi, None),
    )
