"""Second derivatives by their definitions, on networks so small that nothing needs to be clever.

``H`` is the derivative of the gradient that autograd takes with surrogate derivatives (and, where the reset is
detached, with the reset held fixed); ``G`` leaves out what the network itself bends: ``Jᵀ·∂²ℓ/∂z²·J``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.curvature.objective import Objective
from engine.reference.plain_network import plain_outputs


def hessian_product(objective: Objective, direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``H·V`` of the mean loss by double backward through time, per layer ``[out, in, ...]``.

    Args:
        objective: a small network and its samples.
        direction: V by layer name; layers that are not named have V = 0.
    """
    weights = objective.weights(requires_grad=True)
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, labels in objective.blocks(64):
        outputs = plain_outputs(objective, weights, x)
        loss = objective.loss.values(outputs, labels).sum() / objective.samples
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
        along = [
            (gradient * direction[name]).sum()
            for name, gradient in zip(weights, gradients, strict=True)
            if gradient is not None and name in direction
        ]
        inner = torch.stack([*along, loss * 0.0]).sum()
        products = torch.autograd.grad(inner, list(weights.values()), allow_unused=True)
        for name, product in zip(weights, products, strict=True):
            if product is not None:
                totals[name] += product
    return totals


def hessian_block(objective: Objective, layer: str) -> Tensor:
    """The layer's block of H, ``[weights, weights]``: one product per basis vector."""
    shape = objective.weights(requires_grad=False)[layer].shape
    columns = [
        hessian_product(objective, {layer: basis.reshape(shape)})[layer].flatten()
        for basis in torch.eye(shape.numel(), dtype=torch.float64)
    ]
    return torch.stack(columns, dim=1)


def gauss_newton_block(objective: Objective, layer: str) -> Tensor:
    """The layer's block of G, ``[weights, weights]``: ``1/S·Σ_b J_bᵀ·H_b·J_b`` with every row of J a backward pass."""
    weights = objective.weights(requires_grad=True)
    weight = weights[layer]
    total = torch.zeros(weight.numel(), weight.numel(), dtype=torch.float64)
    for x, labels in objective.blocks(1):
        outputs = plain_outputs(objective, weights, x)
        rows = [torch.autograd.grad(output, weight, retain_graph=True, allow_unused=True)[0] for output in outputs[0]]
        jacobian = torch.stack([torch.zeros_like(weight) if row is None else row for row in rows]).flatten(1)
        total += jacobian.T @ output_hessian(objective, outputs.detach(), labels) @ jacobian / objective.samples
    return total


def gradient(objective: Objective) -> dict[str, Tensor]:
    """Gradient of the mean loss per layer."""
    weights = objective.weights(requires_grad=True)
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, labels in objective.blocks(64):
        loss = objective.loss.values(plain_outputs(objective, weights, x), labels).sum() / objective.samples
        for name, found in zip(
            weights, torch.autograd.grad(loss, list(weights.values()), allow_unused=True), strict=True
        ):
            if found is not None:
                totals[name] += found
    return totals


def output_hessian(objective: Objective, outputs: Tensor, labels: Tensor) -> Tensor:
    """``∂²ℓ/∂z²`` of one sample ``[1, output]`` by autograd, ``[output, output]``."""

    def of_outputs(z: Tensor) -> Tensor:
        return objective.loss.values(z.unsqueeze(0), labels).sum()

    hessian: Tensor = torch.autograd.functional.hessian(of_outputs, outputs[0])  # type: ignore[no-untyped-call]
    return hessian
