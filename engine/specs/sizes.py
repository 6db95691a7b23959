"""Sizes that follow from a plan alone (docs/program.md, Payload)."""

from __future__ import annotations


def weight_bytes(count: int, bits: int) -> int:
    """Bytes of a layer's weights in ``payload.bin``.

    The range is narrow and symmetric, so two bits are ternary, and those go five to a byte (3^5 = 243).

    Example:
        >>> weight_bytes(100, 2), weight_bytes(100, 3)
        (20, 38)
    """
    return -(-count // 5) if bits == 2 else -(-count * bits // 8)
