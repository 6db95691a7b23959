"""Unbiased layer-wise trace of the generalised Gauss-Newton matrix, one backward pass per probe for all layers."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from engine.curvature.estimator import LayerTrace, Progress, StopRule
from engine.curvature.objective import GRADIENT_BLOCK, Objective
from engine.curvature.output_losses import rademacher
from engine.errors import InvalidSpec
from engine.network.prepare import prepare
from engine.network.simulate import run

MAX_GROWTH = 2  # a standard error from n probes is itself too rough to plan more than 2n further ones


def ggn_random_outputs(
    objective: Objective, stop: StopRule, generator: torch.Generator, events: Progress
) -> tuple[LayerTrace, ...]:
    """Estimate ``tr G_l`` for the weights of every layer l, ``G = 1/S·Σ_b J_bᵀ·H_b·J_b``.

    Source: the Monte-Carlo Gauss-Newton of Martens 2014 (arXiv:1412.1193, section 9) and Dangel et al. 2020
    (BackPACK, DiagGGN-MC), here with Rademacher vectors and all samples in one backward pass (PERFORMANCE section 0).

    Let ``z_b`` be sample b's outputs, ``J_b = ∂z_b/∂W_l`` (through the surrogate) and ``H_b = ∂²ℓ/∂z² = A_b·A_bᵀ``.
    Draw ``ξ_b`` with independent ±1 for every sample and output: ``E[ξ_b ξ_b'ᵀ] = I`` if b = b', else 0. One backward
    pass from the outputs with the seed ``A_b·ξ_b`` for every sample of a block gives, for every layer, ::

        g = Σ_{b ∈ block} J_bᵀ·A_b·ξ_b
        E‖g‖² = Σ_b Σ_b' tr(J_bᵀ A_b E[ξ_b ξ_b'ᵀ] A_b'ᵀ J_b') = Σ_{b ∈ block} tr(J_bᵀ H_b J_b)

    for terms of different samples vanish. Summed over blocks and divided by S once (the mean loss weighs every sample
    by 1/S, and H_b is not squared) ::

        probe = 1/S · Σ_blocks ‖g_block‖²,     E[probe] = 1/S · Σ_b tr(J_bᵀ H_b J_b) = tr G_l

    The products of different samples, whose mean is zero, are what makes a probe noisy; squaring per block leaves out
    those between blocks, so it is never worse than one pass over all samples. The forward pass of a block is kept
    for all probes of a round.

    Args:
        objective: network, S samples, loss, surrogate.
        stop: asked relative standard error and caps.
        generator: CPU generator; the only source of randomness.
        events: told after every block.

    Returns:
        Mean over probes and its standard error per weight layer, in the network's order.

    Raises:
        InvalidSpec: ``invalid_step`` where gradients overflow (a detached reset can do that).
    """
    start = time.monotonic()
    probes = torch.empty(0, len(objective.network.weighted), dtype=torch.float64)  # [probe, layer]
    wanted = min(stop.min_probes, stop.max_probes)
    while wanted > 0:
        probes = torch.cat([probes, _round(objective, wanted, len(probes), generator, events)])
        wanted = _further_probes(probes, stop, time.monotonic() - start)
    mean, error = probes.mean(dim=0), probes.std(dim=0) / math.sqrt(len(probes))
    return tuple(
        LayerTrace(
            layer=connection.name,
            trace=trace,
            standard_error=standard_error,
            probes=len(probes),
            converged=standard_error <= stop.relative_error * trace,
        )
        for connection, trace, standard_error in zip(
            objective.network.weighted, mean.tolist(), error.tolist(), strict=True
        )
    )


def _round(objective: Objective, count: int, before: int, generator: torch.Generator, events: Progress) -> Tensor:
    """``count`` probes over all samples: ``[probe, layer]``."""
    weights = objective.weights(requires_grad=True)
    total = torch.zeros(count, len(weights), dtype=torch.float64)
    done = 0
    for x, labels in objective.blocks(GRADIENT_BLOCK):
        total += _probe_block(objective, weights, x, count, generator) / objective.samples
        done += len(labels)
        events.progress(
            "sensitivity", done, objective.samples, f"probes {before + 1} to {before + count}", probes=before + count
        )
    for layer, finite in zip(weights, torch.isfinite(total).all(dim=0).tolist(), strict=True):
        if not finite:
            raise InvalidSpec(
                "invalid_step",
                f"sensitivity: gradients of layer {layer!r} overflow; a differentiated reset "
                "(reset_gradient 'through') or a steeper surrogate keeps them finite",
                layer,
            )
    return total


def _probe_block(
    objective: Objective, weights: dict[str, Tensor], x: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """``‖g‖²`` of one block, ``[probe, layer]``: one forward pass, ``count`` backward passes."""
    prepared = prepare(objective.network, device=objective.device, weights=weights)
    trace = run(prepared, x, surrogate=objective.surrogate, reset_gradient=objective.reset_gradient)
    squares = torch.zeros(count, len(weights), dtype=torch.float64)
    for probe in range(count):
        directions = rademacher(tuple(trace.counts.shape), trace.counts, generator)
        seed = objective.loss.root(trace.counts, directions)
        gradients = torch.autograd.grad(
            trace.counts, list(weights.values()), seed, retain_graph=probe + 1 < count, allow_unused=True
        )
        for layer, gradient in enumerate(gradients):
            if gradient is not None:  # None: nothing of this layer reaches the output
                squares[probe, layer] = gradient.square().sum().cpu()
    return squares


def _further_probes(probes: Tensor, stop: StopRule, seconds: float) -> int:
    """Size of the next round: what the present standard errors ask for, within the caps; 0: stop."""
    count = len(probes)
    mean, error = probes.mean(dim=0), probes.std(dim=0) / math.sqrt(count)
    missed = error > stop.relative_error * mean
    if not bool(missed.any()):
        return 0
    ratio = float((error[missed] / (stop.relative_error * mean[missed])).max())
    asked = math.ceil(count * (min(ratio, 1e3) ** 2 - 1))
    wanted = min(max(asked, stop.min_probes // 2, 1), MAX_GROWTH * count, stop.max_probes - count)
    if stop.max_seconds is not None:
        wanted = min(wanted, int((stop.max_seconds - seconds) / (seconds / count)))
    return max(wanted, 0)
