"""Names of quantizers in a plan → the quantizers."""

from __future__ import annotations

from engine.errors import InvalidSpec
from engine.quantizers.ewgs import Ewgs
from engine.quantizers.fixed_point import FixedPoint
from engine.quantizers.form import Quantizer
from engine.quantizers.lsq import Lsq
from engine.quantizers.power_of_two import PowerOfTwo
from engine.quantizers.soft_sigmoid import SoftSigmoid

_PARTS: tuple[Quantizer, ...] = (Lsq(), PowerOfTwo(), FixedPoint(), Ewgs(), SoftSigmoid())
QUANTIZERS: dict[str, Quantizer] = {part.name: part for part in _PARTS}


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
