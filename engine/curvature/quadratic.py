"""``V'HV`` along a direction in weight space, part by part, from one tangent pass (PERFORMANCE section 0).

For any direction V (one layer's weights, or several), per sample ::

    V'HV = dz'·∂²ℓ/∂z²·dz  +  Σ_layers Σ bend·du²  +  2·Σ_connections ⟨λ, V·ds⟩

with dz, du, ds the first-order changes along V, ``bend`` the second derivatives of a layer weighed by adjoints
(:mod:`engine.kernels.linear_neurons`), and λ the adjoint of a connection's sum. The last term is there where the
direction changes a weight and what it multiplies at once: recurrent weights, or several layers. The first term alone
is ``V'GV``. Adjoints are those of the loss of every sample, not of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from engine.curvature.adjoints import Adjoint, adjoints
from engine.curvature.linear_network import LinearNetwork, LinearStage, feeds_itself
from engine.curvature.output_losses import OutputLoss
from engine.curvature.sweeps import tangents
from engine.kernels.fill import Change
from engine.kernels.linear_neurons import Bends, bends


@dataclass(frozen=True)
class Bending:
    """What ``H − G`` needs: ``bends`` per layer, ``acc`` adjoints of synaptic sums where a change can meet another."""

    bends: Mapping[str, Bends]
    acc: Mapping[str, Tensor]
    together: bool = False


@dataclass(frozen=True)
class Along:
    """Per sample ``[batch]`` in the loss's unit: ``g·V``, ``V'GV``, ``V'(H − G)V`` (None: not asked for)."""

    slope: Tensor
    gauss_newton: Tensor
    rest: Tensor | None


def bending(network: LinearNetwork, loss: OutputLoss, labels: Tensor, *, together: bool = False) -> Bending:
    """One backward sweep of the loss: second derivatives of every layer, weighed.

    Args:
        network: linearised.
        loss: per sample.
        labels: ``[batch]``.
        together: keep what directions in several layers at once need; else what one layer that feeds itself does.
    """
    weights: dict[str, Bends] = {}
    acc: dict[str, Tensor] = {}
    met = {s.name for s in network.stages for w in s.wires if together or feeds_itself(network, w)}

    def visit(stage: LinearStage, adjoint: Adjoint) -> None:
        if stage.neurons.spike is not None:
            n = partial(adjoint.n.at, stage.path.u)
            weights[stage.name] = bends(
                stage.rule, stage.path, stage.neurons, adjoint.u, n, adjoint.v, network.gradient
            )
        if stage.name in met:
            acc[stage.name] = adjoint.acc

    membranes = network.gradient.through_reset
    adjoints(network, loss.slope(network.outputs, labels), visit, membranes=membranes)
    return Bending(weights, acc, together)


def along(
    network: LinearNetwork,
    loss: OutputLoss,
    labels: Tensor,
    direction: Mapping[str, Tensor],
    bent: Bending | None,
) -> Along:
    """First and second derivative of every sample's loss along a direction that all samples share.

    Args:
        network: linearised.
        loss: per sample.
        labels: ``[batch]``.
        direction: V by connection name ``[out, in, ...]``.
        bent: from :func:`bending`; None: only G.
    """
    seeds: dict[str, Tensor] = {}
    for name, weight in direction.items():
        wire = network.wire(name)
        target = wire.connection.target
        value = weigh(network, name, weight)
        seeds[target] = seeds[target].add_(value) if target in seeds else value
    return second_order(network, loss, labels, seeds, bent, _bilinear(network, direction, bent))


def weigh(network: LinearNetwork, name: str, weight: Tensor) -> Tensor:
    """``V·s``: what a change of one connection's weight adds to its target's sum, ``[time, batch, neuron...]``."""
    wire = network.wire(name)
    value = wire.weigh(network.seen[name], weight.to(network.seen[name].dtype))
    return value.reshape(network.steps, network.batch, *wire.target_shape)


def second_order(
    network: LinearNetwork,
    loss: OutputLoss,
    labels: Tensor,
    seeds: Mapping[str, Change],
    bent: Bending | None,
    bilinear: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
) -> Along:
    """:func:`along` for changes of the synaptic sums themselves (consumed); ``bilinear`` adds the last term."""
    rest = None if bent is None else network.outputs.new_zeros(network.batch)
    slope = gauss = network.outputs.new_zeros(network.batch)
    changed: dict[str, Tensor] = {}
    keep = () if bilinear is None else {stage.name for stage in network.stages}
    for stage, tangent in tangents(network, seeds, None if bent is None else bent.bends, keep):
        if rest is not None and tangent.curvature is not None:
            rest = rest + tangent.curvature
        if tangent.n is not None and bilinear is not None:
            changed[stage.name] = tangent.n
        if tangent.outputs is not None:
            dz = tangent.outputs.to(network.outputs.dtype)
            slope = (loss.slope(network.outputs, labels) * dz).sum(1)
            gauss = loss.curvature(network.outputs, dz)
    if bilinear is not None and rest is not None:
        rest = rest + bilinear(changed)
    return Along(slope, gauss, rest)


def _bilinear(
    network: LinearNetwork, direction: Mapping[str, Tensor], bent: Bending | None
) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
    if bent is not None and len(direction) > 1 and not bent.together:
        raise ValueError("a direction in several layers at once needs bending(..., together=True)")
    if bent is None or not any(network.wire(name).connection.target in bent.acc for name in direction):
        return None

    def total(changed: Mapping[str, Tensor]) -> Tensor:
        value = network.outputs.new_zeros(network.batch)
        for name, weight in direction.items():
            wire = network.wire(name)
            spikes, acc = changed.get(wire.connection.source), bent.acc.get(wire.connection.target)
            if spikes is None or acc is None:
                continue
            product = wire.weigh(wire.map(wire.late(spikes).flatten(0, 1)), weight.to(spikes.dtype)).reshape(acc.shape)
            value = value + 2.0 * (acc * product).flatten(2).sum((0, 2)).to(value.dtype)
        return value

    return total
