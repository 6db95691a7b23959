"""Curvature quantity → the estimator that computes it."""

from __future__ import annotations

from engine.curvature.estimator import TraceEstimator
from engine.curvature.ggn import ggn_trace
from engine.curvature.hessian import hessian_trace
from engine.errors import InvalidSpec

ESTIMATORS: dict[str, TraceEstimator] = {"ggn": ggn_trace, "hessian": hessian_trace}


def estimator(quantity: str) -> TraceEstimator:
    """The estimator of a quantity.

    Raises:
        InvalidSpec: ``invalid_step``; the message lists the known quantities.

    Example:
        >>> estimator("ggn").__name__
        'ggn_trace'
    """
    if quantity not in ESTIMATORS:
        raise InvalidSpec(
            "invalid_step",
            f"sensitivity: unknown quantity {quantity!r}; known: {', '.join(sorted(ESTIMATORS))}",
            "quantity",
        )
    return ESTIMATORS[quantity]
