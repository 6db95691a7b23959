"""The generalised Gauss-Newton trace by its definition: one sample, one output at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.curvature.objective import Objective
from engine.network.prepare import prepare
from engine.network.simulate import run


def ggn_traces(objective: Objective) -> dict[str, float]:
    """``tr G_l = 1/S·Σ_b Σ_{c,d} H_b[c,d]·⟨J_b[c], J_b[d]⟩`` per weight layer.

    Every row of the Jacobian is a backward pass of its own, and ``H_b`` is autograd's Hessian of the loss.

    Args:
        objective: a small network and a few samples.

    Returns:
        Layer name → trace.
    """
    totals = dict.fromkeys((c.name for c in objective.network.weighted), 0.0)
    for x, labels in objective.blocks(1):
        weights = objective.weights(requires_grad=True)
        prepared = prepare(objective.network, device=objective.device, weights=weights)
        counts = run(prepared, x, surrogate=objective.surrogate, reset_gradient=objective.reset_gradient).counts
        hessian = _output_hessian(objective, counts.detach(), labels)
        jacobian = [
            torch.autograd.grad(output, list(weights.values()), retain_graph=True, allow_unused=True)
            for output in counts[0]
        ]  # [output][layer]
        for layer, name in enumerate(weights):
            rows = [torch.zeros_like(weights[name]) if row[layer] is None else row[layer] for row in jacobian]
            for c, left in enumerate(rows):
                for d, right in enumerate(rows):
                    totals[name] += float(hessian[c, d] * (left * right).sum()) / objective.samples
    return totals


def _output_hessian(objective: Objective, counts: Tensor, labels: Tensor) -> Tensor:
    """``∂²ℓ/∂z²`` of one sample, ``[output, output]``."""

    def of_outputs(z: Tensor) -> Tensor:
        return objective.loss.values(z.unsqueeze(0), labels).sum()

    hessian: Tensor = torch.autograd.functional.hessian(of_outputs, counts[0])  # type: ignore[no-untyped-call]
    return hessian
