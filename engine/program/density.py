"""The one place that decides between events and a dense product, from the measured density of a connection's source.

Events cost additions: events times the weights that each meets. A dense product costs multiply-adds, whatever the
spikes. One addition of the event kernel takes as long as so many multiply-adds of the product; the factors are those of
``make bench NAME=inference`` (rows ``crossover_*``; docs/runners.md).
"""

from __future__ import annotations

from engine.program.event_tables import PreparedEvents
from engine.program.program import Connection

# share of a product's multiply-adds that events may add before the product is quicker: level → (bytes, float32)
LINEAR = {"AVX512": (0.25, 1.0), "AVX2": (0.15, 0.7), "DEFAULT": (0.09, 0.35)}
CONVOLUTION = {"AVX512": (0.2, 0.7), "AVX2": (0.2, 0.7), "DEFAULT": (0.15, 0.5)}


def dense_is_quicker(additions: float, products: int, prepared: PreparedEvents, connection: Connection) -> bool:
    """Whether a connection's sums come quicker from a matrix product.

    Args:
        additions: weights that its events add.
        products: multiply-adds of the dense product.
        prepared: the kernel's level, and whether a product was asked for anyway.
        connection: whose sums.
    """
    table = LINEAR if connection.kind == "linear" else CONVOLUTION
    in_bytes, in_floats = table[prepared.library.level]
    share = in_bytes if prepared.dense[connection.name].matrix.element_size() == 1 else in_floats
    return prepared.always or additions > share * products
