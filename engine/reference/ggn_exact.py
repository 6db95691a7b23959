"""The generalised Gauss-Newton trace by its definition: one sample, one output at a time."""

from __future__ import annotations

from engine.curvature.objective import Objective
from engine.reference.hessian_exact import gauss_newton_block


def ggn_traces(objective: Objective) -> dict[str, float]:
    """``tr G_l`` of the explicit matrix, per weight layer.

    Args:
        objective: a small network and a few samples.

    Returns:
        Layer name → trace.
    """
    return {c.name: float(gauss_newton_block(objective, c.name).trace()) for c in objective.network.weighted}
