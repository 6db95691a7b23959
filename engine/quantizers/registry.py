"""Names of quantizers in a plan → the quantizers."""

from __future__ import annotations

from engine.errors import InvalidSpec
from engine.quantizers.form import Quantizer
from engine.quantizers.lsq import Lsq

QUANTIZERS: dict[str, Quantizer] = {quantizer.name: quantizer for quantizer in (Lsq(),)}


def quantizer(name: str) -> Quantizer:
    """The quantizer that a plan names.

    Raises:
        InvalidSpec: ``invalid_plan``; the message lists the known names.

    Example:
        >>> quantizer("lsq").name
        'lsq'
    """
    if name not in QUANTIZERS:
        raise InvalidSpec("invalid_plan", f"unknown quantizer {name!r}; known: {', '.join(sorted(QUANTIZERS))}", name)
    return QUANTIZERS[name]
